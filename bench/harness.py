"""nginx, wrk, empty probes and the agent, each as something that is started, asked, and ended. Everything listens on loopback."""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
TICK = os.sysconf("SC_CLK_TCK")

NGINX = """user root; worker_processes 1; daemon off; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile off; keepalive_requests 1000000000; keepalive_timeout 600; default_type application/octet-stream;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate cert.pem; ssl_certificate_key key.pem; ssl_protocols TLSv1.2 TLSv1.3;
    location = /hello {{ return 200 "hello, world, this is the body of a small answer\\n"; }}
    location = /status {{ stub_status; }}
  }}
}}
"""

AGENT = """version: 2
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
  http: {{stack: bench}}
"""


class Failed(Exception):
    """The measurement cannot be made, or what it shows is wrong."""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(what, patience, ready):
    """What `ready` returns once that is true; OSErrors count as not yet."""
    deadline = time.monotonic() + patience
    while True:
        try:
            found = ready()
        except (OSError, urllib.error.URLError):
            found = None
        if found:
            return found
        if time.monotonic() > deadline:
            raise Failed(f"waited {patience} s for {what}")
        time.sleep(0.05)


def cpu_seconds(pid):
    """User and kernel time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def host_seconds():
    """Processor time of the whole host so far, all CPUs together: passed, and not idle."""
    fields = [int(field) / TICK for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(fields), sum(fields) - fields[3] - fields[4]


def tracing_programs():
    """Ids of the BPF programs on this host that may cost a traced program time."""
    kinds = {"kprobe", "tracepoint", "raw_tracepoint", "raw_tracepoint_writable", "perf_event", "tracing"}
    said = subprocess.run(["bpftool", "--json", "prog", "show"], check=True, capture_output=True, text=True).stdout
    return {program["id"] for program in json.loads(said) if program["type"] in kinds}


class Watch(threading.Thread):
    """Looks once a second for programs of other tracers than our own."""

    def __init__(self, own):
        super().__init__(daemon=True)
        self.own = own
        self.strangers = set()
        self.over = threading.Event()

    def run(self):
        while True:
            self.strangers |= tracing_programs() - self.own
            if self.over.wait(1):
                return

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


def mapped_libssl(pid):
    """The file of libssl that a process has mapped."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        path = line.split(maxsplit=5)[-1]
        if "/libssl.so" in path:
            return path
    raise Failed("nginx does not use a shared libssl: install Debian's nginx-light")


def unobserved():
    """Runs this program anew as one that the agent ignores: its own requests for metrics are not to be counted."""
    if os.environ.get("QPOINT_STRATEGY") != "ignore":
        os.environ["QPOINT_STRATEGY"] = "ignore"
        os.execv(sys.executable, [sys.executable, *sys.argv])


def clean_environment():
    """For children: nothing that tells the agent what to do with them, or how to run."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("QPOINT_", "LOG_"))}


class Process:
    """A child that ends with us."""

    def __init__(self, command, **options):
        options.setdefault("stdin", subprocess.DEVNULL)
        self.child = subprocess.Popen([str(word) for word in command], env=clean_environment(), **options)
        self.pid = self.child.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(15)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


class Nginx(Process):
    """Debian's nginx with one worker, which answers small requests over TLS."""

    def __init__(self, folder):
        folder = Path(folder) / "nginx"
        folder.mkdir()
        self.port = free_port()
        (folder / "nginx.conf").write_text(NGINX.format(port=self.port))
        request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem"
        subprocess.run(["openssl", *request.split()], cwd=folder, check=True, capture_output=True)
        super().__init__(["nginx", "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr"])
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        self.worker = int(until("nginx", 10, lambda: children.read_text().split())[0])
        until("nginx to listen", 10, lambda: socket.create_connection(("127.0.0.1", self.port)).close() is None)

    def cpu(self):
        return cpu_seconds(self.worker)


def children_seconds():
    """Processor time of children that were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Load:
    """One run of wrk: requests made, their rate, the processor time that nginx spent on each, and the share of all CPUs that went
    to programs other than nginx, wrk and the agent."""

    def __init__(self, nginx, seconds, connections, agent=None):
        url = f"https://127.0.0.1:{nginx.port}/hello"
        command = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "30s", url]

        def ours():
            return nginx.cpu() + children_seconds() + (agent.cpu() if agent else 0)

        own, server_seconds, (passed, busy) = ours(), nginx.cpu(), host_seconds()
        said = subprocess.run(command, check=True, capture_output=True, text=True, env=clean_environment()).stdout
        own, server_seconds = ours() - own, nginx.cpu() - server_seconds
        passed, busy = (after - before for after, before in zip(host_seconds(), (passed, busy)))
        self.others = max(busy - own, 0) / max(passed, 1e-9)
        made = re.search(r"(\d+) requests in", said)
        rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
        if not made or not rate or re.search(r"Non-2xx|Socket errors", said):
            raise Failed(f"wrk failed:\n{said}")
        self.requests = int(made.group(1))
        self.rate = float(rate.group(1))
        self.connections = connections
        # What wrk sends, in a record of TLS 1.3 with AES-GCM: header, content type and tag are 22 bytes.
        self.request_bytes = len(f"GET /hello HTTP/1.1\r\nHost: 127.0.0.1:{nginx.port}\r\n\r\n") + 22
        self.server_us = server_seconds * 1e6 / max(self.requests, 1)


class EmptyProbes(Process):
    """Programs that do nothing, at entry and return of SSL_read and SSL_write, in every process that uses the library."""

    def __init__(self, library, *flags):
        command = [HERE / "empty-probes", *flags, library, "SSL_read", "SSL_write"]
        super().__init__(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        said = self.child.stdout.readline().split()
        if said[:1] != ["ready"]:
            raise Failed("the empty probes could not be attached")
        self.kind = said[1]

    def counts(self):
        """Ends it; runs of each function as `{name: (entries, returns)}`."""
        said, _ = self.child.communicate(timeout=15)
        return {name: (int(entries), int(returns)) for name, entries, returns in map(str.split, said.splitlines())}


class Agent(Process):
    """qtap with one plugin, its output thrown away."""

    def __init__(self, binary, folder, plugin, config, source="auto", direction="all", log=subprocess.DEVNULL):
        folder = Path(folder)
        file = folder / "qtap.yaml"
        file.write_text(AGENT.format(plugin=plugin, config=config, source=source, direction=direction))
        self.address = f"127.0.0.1:{free_port()}"
        command = [binary, "--config", file, "--httpd-listen", self.address, "--data-dir", folder / "data"]
        super().__init__(command, stdout=subprocess.DEVNULL, stderr=log)
        until("the agent to be ready", 60, self.is_ready)

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

    def peak_mib(self):
        """Largest resident size so far."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 1024


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
