"""What is attached while a server is loaded: nothing, programs that do nothing, or the agent; and what that does to the server."""

import tempfile
import time
from contextlib import contextmanager, nullcontext

from kit import probes
from kit.agent import Agent, Books

# The agent has looked at what runs when it is ready; what it starts in the background then is not to be measured.
SETTLE_S = 0.5


def nothing():
    return nullcontext()


def empty_calls(library):
    """The floor of whoever hooks the calls of the TLS library."""
    return probes.on_calls(library)


def empty_syscall_exit():
    """The floor of whoever sees all sockets."""
    return probes.on_syscall_exit()


@contextmanager
def agent(settings, **how):
    """The agent, see `Agent`."""
    with tempfile.TemporaryDirectory() as folder, Agent(settings.qtap, folder, **how) as started:
        time.sleep(SETTLE_S)
        yield started


def load_under(tracer, nginx, load, sides=1, request_bytes=0):
    """Figures of one load of nginx under a tracer; with the agent, its books have to balance."""
    with tracer as attached:
        return load_of(attached, nginx, load, sides, request_bytes)


def load_of(attached, nginx, load, sides=1, request_bytes=0):
    """The same, with what is attached already."""
    watched = isinstance(attached, Agent)
    books = Books(attached, sides, request_bytes) if watched else None
    server = nginx.cpu()
    done = load()
    server = nginx.cpu() - server
    figures = {
        "requests/s": done.rate,
        "p50 us": done.percentile(50),
        "p99 us": done.percentile(99),
        "server us/request": server * 1e6 / max(done.requests, 1),
    }
    if done.slices:
        figures["usual p99 us"] = done.usual(99)
    if watched:
        books.close(done)
        figures |= {
            "agent us/transaction": books.cpu_us,
            "seen %": books.seen_percent,
            "peak MiB": attached.peak_mib(),
        }
    return figures
