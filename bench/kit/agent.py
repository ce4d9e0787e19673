"""The agent as users run it, its output thrown away, and its books."""

import subprocess
import time
import urllib.request
from pathlib import Path

from kit.journal import note
from kit.process import Failed, Process, cpu_seconds, free_port, status_mib, until

CONFIGURATION = """version: 2
services:
  event_stores:
    - type: stdout
  object_stores:
    - type: stdout
stacks:
  bench:
    plugins:
      - type: {plugin}
        config: {config}
tap:
  direction: {direction}
  ignore_loopback: false
  tls: {{source: {source}}}
  limits: {{cpu_percent: 100000}}
  http: {{stack: bench}}
"""


class Agent(Process):
    """qtap with one plugin. `level` is one of http_capture, or `details` for access_logs; with `direction="ingress"` it looks at
    servers alone."""

    def __init__(self, binary, folder, level="headers", source="auto", direction="all", log=subprocess.DEVNULL):
        plugin, config = ("http_capture", f"{{level: {level}, format: json}}")
        if level == "details":
            plugin, config = ("access_logs", "{mode: details, format: json}")
        folder = Path(folder)
        file = folder / "qtap.yaml"
        file.write_text(CONFIGURATION.format(plugin=plugin, config=config, source=source, direction=direction))
        self.address = f"127.0.0.1:{free_port()}"
        command = [binary, "--config", file, "--httpd-listen", self.address, "--data-dir", folder / "data"]
        note(["qtap", *command[1:], f"# {plugin}: {config}, tls.source: {source}, direction: {direction}"])
        began = time.monotonic()
        super().__init__(command, stdout=subprocess.DEVNULL, stderr=log)
        until("the agent to be ready", 60, self.is_ready, pause=0.005)
        self.started_after = time.monotonic() - began

    def is_ready(self):
        if self.child.poll() is not None:
            raise Failed(f"the agent ended at start with code {self.child.returncode}")
        return self.get("/readyz") is not None

    def get(self, path):
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=5) as response:
            return response.read().decode()

    def metrics(self):
        """Every sample of /system/metrics as `{name{labels}: value}`."""
        samples = {}
        for line in self.get("/system/metrics").splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                samples[name] = float(value)
        return samples

    def await_connections(self, count, patience=90):
        """Waits until the agent knows of so many open connections."""
        deadline = time.monotonic() + patience
        while (known := total(samples := self.metrics(), "qtap_engine_connections")) < count:
            if time.monotonic() > deadline:
                opened = total(samples, "qtap_engine_connections_opened_total")
                raise Failed(f"the agent knows of {known:.0f} open connections, not of {count}, of {opened:.0f} that were opened; "
                             f"counters: {losses({}, samples) or 'nothing lost'}")
            time.sleep(0.1)

    def settled(self, before):
        """The samples once the load is worked off and its connections are closed. Other traffic of the host may go on, at a
        low rate. `before` are the samples before the load."""
        former = None
        few = total(before, "qtap_engine_connections") + 4
        patience = time.monotonic() + 15

        def at_rest():
            nonlocal former
            samples = self.metrics()
            busy = total(samples, "qtap_engine_queue_depth") + total(samples, "qtap_store_queue_depth")
            seen = total(samples, "qtap_engine_emitted_total", kind="transaction")
            quiet = former is not None and seen - former < 100
            former = seen
            time.sleep(0.3)
            closed = total(samples, "qtap_engine_connections") <= few
            late = time.monotonic() > patience
            return samples if busy < 1000 and (late or (quiet and closed)) else None

        return until("the agent to work off the load", 120, at_rest)

    def cpu(self):
        return cpu_seconds(self.pid)

    def rss_mib(self):
        return status_mib(self.pid, "VmRSS")

    def peak_mib(self):
        """Largest resident size so far."""
        return status_mib(self.pid, "VmHWM")


class Books:
    """What the agent made of one load, against what the load generator says it sent.

    Every request whose head reached the parser comes out as one transaction, whole or not. One that is missing lost its head on the
    way, so the bytes of all missing requests cannot be more than the bytes counted as lost. `sides` is 2 when the agent looks at
    both ends; `request_bytes` is what a request has at least on the wire.
    """

    def __init__(self, agent, sides=1, request_bytes=0):
        self.agent, self.sides, self.request_bytes = agent, sides, request_bytes
        self.before, self.cpu_before = agent.metrics(), agent.cpu()

    def close(self, load):
        """Balances them with a load that is over. Fails when they do not balance."""
        after = self.agent.settled(self.before)
        self.cpu = self.agent.cpu() - self.cpu_before
        grown = lambda name, **labels: int(total(after, name, **labels) - total(self.before, name, **labels))
        self.expected = load.requests * self.sides
        # Requests under way when the load stops are not among its own count, but they were made.
        slack = load.connections * self.sides
        self.seen = grown("qtap_engine_emitted_total", kind="transaction")
        self.missing = max(self.expected - self.seen, 0)
        self.gap_bytes = grown("qtap_engine_gap_bytes_total")
        self.losses = losses(self.before, after)
        self.cpu_us = self.cpu * 1e6 / max(self.seen, 1)
        # Other traffic of the host, if any, is seen too.
        if self.seen > self.expected * 1.01 + slack:
            raise Failed(f"{self.seen} transactions seen of {self.expected} made")
        if self.missing * self.request_bytes > self.gap_bytes:
            raise Failed(f"{self.missing} requests of at least {self.request_bytes} bytes are missing, "
                         f"but only {self.gap_bytes} bytes count as lost; counters: {self.losses or 'nothing'}")
        return self

    @property
    def seen_percent(self):
        return 100 * min(self.seen / max(self.expected, 1), 1)


def total(samples, name, **labels):
    """Sum of the samples of a metric that carry all these labels."""
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    return sum(
        value
        for sample, value in samples.items()
        if sample.split("{")[0] == name and all(label in sample for label in wanted)
    )


def losses(before, after):
    """What was lost between two sets of samples: `{name{labels}: amount}`, without zeros."""
    lost = {}
    for sample, value in after.items():
        if "_lost_total" in sample and value > before.get(sample, 0):
            lost[sample] = value - before.get(sample, 0)
    return lost
