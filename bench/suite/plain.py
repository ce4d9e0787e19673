"""Plain HTTP/1.1: what an agent costs that sees all sockets, against one that does nothing at the same place."""

from contextlib import contextmanager
from functools import partial

from kit import tracer
from kit.load import h2load, wrk
from kit.nginx import Nginx
from kit.plan import Case, Figure, Plan

TITLE = "plain HTTP/1.1, constant rate and saturated"

RATE = 10_000
CONNECTIONS = 16
REQUEST_BYTES = len("GET /hello HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n")
# Of the floor's throughput; for processor time the same, turned around.
SHARE = 0.95


@contextmanager
def plan(settings):
    with Nginx(settings.folder) as nginx:
        url = nginx.url("hello", tls=False)
        loads = {
            "": partial(h2load, url, settings.seconds, CONNECTIONS, http1=True, rate=RATE),
            "saturated ": partial(wrk, url, settings.seconds, CONNECTIONS),
        }
        tracers = {
            "none": tracer.nothing,
            "empty": tracer.empty_syscall_exit,
            "headers": partial(tracer.agent, settings, level="headers", direction="ingress"),
        }
        cases = [Case(kind + name, partial(measure, how, nginx, load))
                 for kind, load in loads.items() for name, how in tracers.items()]
        figures = [
            Figure("requests/s", "headers", "empty", least=SHARE),
            Figure("server us/request", "headers", "empty", most=round(1 / SHARE, 3)),
            Figure("server us/request", "empty", "none"),
            Figure("p99 us", "headers", "none"),
            Figure("requests/s", "saturated headers", "saturated empty"),
            Figure("requests/s", "saturated headers", "saturated none"),
        ]
        yield Plan(cases, figures, [f"{RATE:,} requests/s where not saturated, {CONNECTIONS} connections; the agent looks at the "
                                    "server alone. `empty` does nothing at the exit of every system call of the host."])


def measure(how, nginx, load):
    return tracer.load_under(how(), nginx, load, request_bytes=REQUEST_BYTES)
