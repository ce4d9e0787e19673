"""Many open connections, and what a server makes of them: h2load in several processes, which dial several loopback addresses, since
one pair of addresses has no more than 28,000 ports."""

import subprocess
from contextlib import ExitStack, contextmanager

from kit.journal import note
from kit.process import Process

# Of one process: its files are limited.
EACH = 8_000
# They are ended long before, in seconds.
BOUND = 300
# Requests a second of a connection that is to be idle: one when it opens, the next after BOUND.
SELDOM = 0.001


@contextmanager
def connections(nginx, count, rate):
    """`count` plain connections that together make `rate` requests a second. They open while the caller does what it wants."""
    with ExitStack() as stack:
        for number in range(0, count, EACH):
            part = min(EACH, count - number)
            # 127.0.0.2 and so on are loopback too.
            url = f"http://127.0.0.{1 + number // EACH}:{nginx.plain}/hello"
            command = ["h2load", "--h1", "-t", 1, "-c", part, "-m", 1, "-D", f"{BOUND}s", f"--rps={max(rate / count, SELDOM)}", url]
            note(command)
            stack.enter_context(Process(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        yield

