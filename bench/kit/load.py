"""Load generators: wrk and h2load as fast as they go, h2load at a constant rate, and oha at a constant pace."""

import re
import statistics
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path

from kit.journal import note
from kit.process import Failed, clean_environment, on_cpu

# Requests in the first moments count, but not for rate and latency.
WARM_UP_US = 300_000
# At a constant rate: what could not be sent during the handshakes, some 10 ms and under an agent that looks at a new program 50, is
# sent as well, and takes up to 0.7 s at half of what the load makes.
STEADY_AFTER_US = 1_000_000
# Some thousand requests each, and longer than what the agent lets gather.
SLICE_US = 100_000
# As `scripts/setup bench` installs it.
OHA = Path(__file__).resolve().parents[2] / "target/bench-tools/bin/oha"


class Result:
    """What a load generator says: requests made, their rate a second, and how long they took in microseconds."""

    def __init__(self, requests, rate, latencies, connections, slices=()):
        self.requests = requests
        self.rate = rate
        # Sorted; or {50: …, 99: …} where the generator only tells these.
        self.latencies = latencies
        self.connections = connections
        # The same by tenths of a second, where it tells when each request was to leave.
        self.slices = slices

    def percentile(self, percent):
        if isinstance(self.latencies, dict):
            return self.latencies[percent]
        return rank(self.latencies, percent)

    def usual(self, percent):
        """The percentile of a tenth of a second, of which half have more. Within a run of 2 s, the 1 % of requests that take the longest are mostly
        of one or two moments at which something stalls that has nothing to do with the server: a neighbour of the virtual machine, or the
        generator itself."""
        return statistics.median(rank(slice, percent) for slice in self.slices)


def rank(latencies, percent):
    return latencies[min(len(latencies) * percent // 100, len(latencies) - 1)]


def run(command):
    """Standard output of a command that has to succeed."""
    command = [str(word) for word in command]
    note(command)
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment())
    if done.returncode:
        raise Failed(f"{command[0]} failed with code {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def wrk(url, seconds, connections=16, threads=1):
    """HTTP/1.1 keep-alive, as fast as it goes."""
    command = ["wrk", "-t", threads, "-c", connections, "-d", f"{seconds}s", "--timeout", "30s", "--latency", url]
    said = run(command)
    made = re.search(r"(\d+) requests in", said)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if not made or not rate or re.search(r"Non-2xx|Socket errors", said):
        raise Failed(f"wrk failed:\n{said}")
    units = {"us": 1, "ms": 1e3, "s": 1e6}
    found = re.findall(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)$", said, re.MULTILINE)
    latencies = {int(percent): float(value) * units[unit] for percent, value, unit in found}
    return Result(int(made.group(1)), float(rate.group(1)), latencies, connections)


def h2load(url, seconds, connections=16, streams=1, http1=False, rate=None, cpu=None):
    """HTTP/2, or HTTP/1.1 where asked for; as fast as it goes, or `rate` requests a second, all connections together.

    At a constant rate a request that leaves late, because the answer before it was late, counts from when it should have left:
    otherwise a server that stalls would be asked less and look well. `seconds` are then those that are looked at. `cpu`: on that alone.
    """
    warm_up = STEADY_AFTER_US if rate else WARM_UP_US
    if rate:
        seconds += warm_up / 1e6
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "requests"
        command = [*on_cpu(cpu), "h2load", "-t", 1, "-c", connections, "-m", streams, "-D", f"{round(seconds * 1000)}ms", f"--log-file={log}"]
        if http1:
            command.append("--h1")
        if rate:
            command.append(f"--rps={rate / connections:.3f}")
        said = run([*command, url])
        failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", said)
        if not failed or any(int(count) for count in failed.groups()):
            raise Failed(f"h2load failed:\n{said}")
        rows = [tuple(map(int, line.split("\t"))) for line in log.read_text().splitlines()]
    if not rows or any(status != 200 for _, status, _ in rows):
        raise Failed(f"h2load did not get what it asked for:\n{said}")
    rows.sort()
    # Handshakes come first.
    start = rows[0][0] + warm_up
    counted = [row for row in rows if row[0] >= start]
    if len(counted) < 2:
        raise Failed("h2load made no requests once it was warm")
    latencies = sorted(late_too(counted, rate, connections) if rate else (took for _, _, took in counted))
    elapsed = (counted[-1][0] - counted[0][0]) / 1e6
    return Result(len(rows), (len(counted) - 1) / elapsed, latencies, connections)


def paced(url, seconds, rate=None, connections=16, http1=False, cpu=None):
    """`rate` requests a second at a constant pace, or as fast as it goes. A request that leaves late, because the answer before it was late, counts
    from when it should have left. `seconds` are those that are looked at. `cpu`: on that alone.

    Not h2load, which looks at the pace of a connection 100 times a second: 16 connections send for 7 ms as fast as they can and then nothing for 3,
    or more evenly, as chance has it when they connect. oha stalls as well, for 5 to 17 ms, but just when its list of what it did has to grow: at
    65,536 requests, 131,072 and so on. See `Result.usual`.
    """
    seconds += STEADY_AFTER_US / 1e6
    command = [*on_cpu(cpu), OHA, "--no-tui", "--output-format", "csv", "--insecure", "-c", connections, "-z", f"{round(seconds * 1000)}ms"]
    if not http1:
        command += ["--http2", "-p", 1]
    if rate:
        command += ["-q", rate, "--latency-correction"]
    rows = [line.split(",") for line in run([*command, url]).splitlines()[1:]]
    if not rows or any(row[-1] != "200" for row in rows):
        raise Failed(f"oha did not get what it asked for: {[row for row in rows if row[-1] != '200'][:3]}")
    began = [(float(row[0]) * 1e6, float(row[4]) * 1e6) for row in rows]
    counted = [(begun, took) for begun, took in began if begun >= STEADY_AFTER_US]
    if len(counted) < 2:
        raise Failed("oha made no requests once it was warm")
    elapsed = max(begun for begun, _ in counted) - STEADY_AFTER_US
    slices = defaultdict(list)
    for begun, took in counted:
        slices[begun // SLICE_US].append(took)
    slices = [sorted(slice) for slice in slices.values()]
    return Result(len(rows), len(counted) / elapsed * 1e6, sorted(took for _, took in counted), connections, slices)


def late_too(rows, rate, connections):
    """Latencies of rows in the order of their begin, with what each request left late by. h2load's connections all send at the same
    time, once in their common period, so being late begins beyond that."""
    interval = 1e6 / rate
    leads = [begun - number * interval for number, (begun, _, _) in enumerate(rows)]
    on_time = statistics.median(leads) + connections * interval
    return [max(lead - on_time, 0) + took for lead, (_, _, took) in zip(leads, rows)]
