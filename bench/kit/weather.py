"""What else goes on on the host while something is measured."""

import os
import re
import resource
import threading
from pathlib import Path

from kit.probes import tracing_programs
from kit.process import TICK, host_seconds


def family():
    """Ids of all that descend from this program."""
    waiting, found = [os.getpid()], []
    while waiting:
        born = children(waiting.pop())
        waiting += born
        found += born
    return found


def children(pid):
    found = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except OSError:
        pass
    return found


def own_seconds():
    """Processor time so far of this program, of what it started, and of what those have waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    total = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    for pid in family():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15])) / TICK
    return total


def own_programs():
    """Ids of the BPF programs that our own processes hold."""
    return set().union(*map(programs_of, family()))


def programs_of(pid):
    """Ids of the BPF programs that a process holds."""
    found = set()
    try:
        descriptors = list(Path(f"/proc/{pid}/fdinfo").iterdir())
    except OSError:
        return found
    for descriptor in descriptors:
        try:
            found |= set(map(int, re.findall(r"^prog_id:\s+(\d+)", descriptor.read_text(), re.MULTILINE)))
        except OSError:
            continue
    return found


class Weather(threading.Thread):
    """From begin to end of a measurement: the share of all CPUs that went to other programs or to other guests of the machine
    (`others`), and the programs of other tracers (`strangers`)."""

    def __init__(self):
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.others = 0.0
        self.strangers = set()

    def run(self):
        while not self.over.wait(1):
            # Before and after: ours may come or go in between.
            own = own_programs()
            programs = tracing_programs()
            self.strangers |= programs - own - own_programs()

    def __enter__(self):
        self.host, self.own = host_seconds(), own_seconds()
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()
        own = own_seconds() - self.own
        passed, busy = (after - before for after, before in zip(host_seconds(), self.host))
        self.others = max(busy - own, 0) / max(passed, 1e-9)
