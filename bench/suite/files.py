"""Work with files, which is not the agent's business, but passes its hook at the exit of system calls."""

import os
import subprocess
import time
from contextlib import contextmanager
from functools import partial

from kit import tracer
from kit.journal import note
from kit.plan import Case, Figure, Plan
from kit.process import Failed, clean_environment

TITLE = "work with many small files, the agent idle"

WORK = {
    "tar": "tar -cf - -C {tree} . | cat >/dev/null",
    "find": "for n in 1 2 3 4 5; do find {tree} -type f -size +1k -newer {tree}/0/0 >/dev/null; done",
    "dd": "dd if=/dev/zero of={tree}.blocks bs=512 count={blocks} status=none && dd if={tree}.blocks of=/dev/null bs=512 status=none",
}
FOLDERS, FILES, BLOCKS = 40, 100, 100_000
LEAST = 0.97


@contextmanager
def plan(settings):
    tree = settings.folder / "tree"
    for folder in range(FOLDERS):
        (tree / str(folder)).mkdir(parents=True)
        for number in range(FILES):
            (tree / str(folder) / str(number)).write_bytes(bytes(number * 97 % 8192))
    tracers = {
        "none": tracer.nothing,
        "empty": tracer.empty_syscall_exit,
        "agent": partial(tracer.agent, settings),
    }
    cases = [Case(name, partial(measure, how, tree, settings.seconds)) for name, how in tracers.items()]
    figures = [Figure(f"{work} runs/s", "agent", over, least=LEAST if over == "none" else None)
               for work in WORK for over in ("none", "empty")]
    yield Plan(cases, figures, [f"{FOLDERS * FILES:,} files of up to 8 KiB; dd in blocks of 512 bytes. `empty` does nothing at the exit of "
                                "every system call."])


def measure(how, tree, seconds):
    with how():
        return {f"{name} runs/s": rate(name, command.format(tree=tree, blocks=BLOCKS), seconds) for name, command in WORK.items()}


def rate(name, command, seconds):
    """How often a second of processor time the work gets done: the clock on the wall would count what other programs take."""
    note(["sh", "-c", command])
    spent, runs, deadline = 0, 0, time.monotonic() + seconds
    while runs == 0 or time.monotonic() < deadline:
        child = subprocess.Popen(["sh", "-c", command], stdin=subprocess.DEVNULL, env=clean_environment())
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise Failed(f"{name} failed: {command}")
        # Its own and that of all it waited for.
        spent += usage.ru_utime + usage.ru_stime
        runs += 1
    return runs / spent
