"""Children that end with us, and what the kernel says of processes and of the host."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
from pathlib import Path

# The folder bench/.
HERE = Path(__file__).resolve().parent.parent
TICK = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """The measurement cannot be made, or what it shows is wrong."""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(what, patience, ready, pause=0.05):
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
        time.sleep(pause)


def cpu_seconds(pid):
    """User and kernel time of a process so far, ended threads included, to the nanosecond (/proc/PID/stat counts ticks)."""
    # clock_getcpuclockid(3): the complement of the pid, and 2 for the scheduler's own account.
    return time.clock_gettime((~pid << 3) | 2)


def children_seconds():
    """Processor time of children that were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def host_seconds():
    """Processor time of the whole host so far, all CPUs together: passed, and not idle."""
    fields = [int(field) / TICK for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(fields), sum(fields) - fields[3] - fields[4]


def status_mib(pid, field):
    """A size from /proc/PID/status, for instance VmRSS (now) or VmHWM (largest so far)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise Failed(f"/proc/{pid}/status has no {field}")


def unobserved():
    """Runs this program anew as one that the agent ignores: its own requests for metrics are not to be counted."""
    if os.environ.get("QPOINT_STRATEGY") != "ignore":
        os.environ["QPOINT_STRATEGY"] = "ignore"
        os.execv(sys.executable, [sys.executable, *sys.argv])


def clean_environment():
    """For children: nothing that tells the agent what to do with them, or how to run."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("QPOINT_", "LOG_"))}


def on_cpu(cpu):
    """What to put before a command that is to run on one processor alone; nothing for `None`."""
    return [] if cpu is None else ["taskset", "-c", str(cpu)]


class Process:
    """A child that ends with us."""

    def __init__(self, command, **options):
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("env", clean_environment())
        self.command = [str(word) for word in command]
        self.child = subprocess.Popen(self.command, **options)
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
