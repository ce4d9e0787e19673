"""Many open connections, and what a server makes of them: h2load in several processes, which dial several loopback addresses, since
one pair of addresses has no more than 28,000 ports."""

import re
import subprocess
from contextlib import ExitStack, contextmanager

from kit.journal import note
from kit.process import Failed, Process

# Of one process: its files are limited.
EACH = 8_000


@contextmanager
def connections(nginx, count, rate, seconds):
    """`count` plain connections that together make `rate` requests a second for `seconds`; yields the loads."""
    with ExitStack() as stack:
        loads = []
        for number in range(0, count, EACH):
            part = min(EACH, count - number)
            # 127.0.0.2 and so on are loopback too.
            url = f"http://127.0.0.{1 + number // EACH}:{nginx.plain}/hello"
            command = ["h2load", "--h1", "-t", 1, "-c", part, "-m", 1, "-D", f"{seconds}s", f"--rps={rate / count:.5f}", url]
            note(command)
            loads.append(stack.enter_context(Process(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)))
        yield loads


def requests_made(loads):
    """Waits for the end of all; requests made."""
    made = 0
    for load in loads:
        said, _ = load.child.communicate(timeout=300)
        found = re.search(r"requests: \d+ total, (\d+) started, (\d+) done, (\d+) succeeded, 0 failed, 0 errored", said)
        if load.child.returncode or not found:
            raise Failed(f"{' '.join(load.command)} failed:\n{said}")
        made += int(found.group(3))
    return made

