"""What the traced server itself pays for a request over TLS."""

from contextlib import contextmanager
from functools import partial

from kit import tracer
from kit.load import h2load
from kit.nginx import Nginx, mapped_libssl
from kit.plan import Case, Figure, Plan

TITLE = "processor time of the traced server, TLS, constant rate"

RATE = 5_000
CONNECTIONS = 16


@contextmanager
def plan(settings):
    with Nginx(settings.folder) as nginx:
        load = partial(h2load, nginx.url("hello"), settings.seconds, CONNECTIONS, http1=True, rate=RATE)
        tracers = {
            "none": tracer.nothing,
            "empty": partial(tracer.empty_calls, mapped_libssl(nginx.worker)),
            "secrets": partial(tracer.agent, settings, source="secrets", direction="ingress"),
            "calls": partial(tracer.agent, settings, source="calls", direction="ingress"),
        }
        cases = [Case(name, partial(measure, how, nginx, load)) for name, how in tracers.items()]
        figures = [
            Figure("server us/request", "secrets", "none", most=1.10),
            Figure("server us/request", "calls", "empty", most=1.15),
            Figure("server us/request", "empty", "none"),
            Figure("server us/request", "calls", "none"),
        ]
        yield Plan(cases, figures, [f"HTTP/1.1 at {RATE:,} requests/s on {CONNECTIONS} connections; the agent looks at the server alone."])


def measure(how, nginx, load):
    return tracer.load_under(how(), nginx, load)
