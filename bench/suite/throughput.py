"""A saturated TLS server, and its latency at half of that load."""

import os
from contextlib import contextmanager
from functools import partial

from kit import probes, tracer
from kit.load import h2load, paced, wrk
from kit.nginx import Nginx, mapped_libssl
from kit.plan import Case, Figure, Plan
from kit.process import Failed

TITLE = "keep-alive TLS, saturated, and at half the untraced rate"

CONNECTIONS = 16
STREAMS = 4
# What a request has at least on the wire: a record's header, type and tag, and a head (HTTP/2: a frame with indexed fields).
REQUEST_BYTES = {"http1": 22 + len("GET /hello HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n"), "http2": 22 + 9 + 5}
LEAST = 5
# Where no agent at all is less than LEAST times the empty probes: that many times 7,000 requests/s of 62,000, as measured where a
# probe costs 20 us.
SHARE = 0.56
P99 = 1.3


@contextmanager
def plan(settings):
    # Half load is looked at twice: on all processors, where the agent shares those of server and load, and with server and load on one,
    # where it finds another.
    one = min(os.sched_getaffinity(0))
    with Nginx(settings.folder) as nginx, Nginx(settings.folder, cpu=one) as nginx_apart:
        library = mapped_libssl(nginx.worker)
        kind = check_probes(nginx, library)
        tracers = {
            "none": (tracer.nothing, 1),
            "empty": (partial(tracer.empty_calls, library), 1),
            "headers": (partial(tracer.agent, settings, level="headers"), 2),
        }
        served = {
            "none": tracers["none"],
            "headers": (partial(tracer.agent, settings, level="headers", direction="ingress"), 1),
        }
        cases, figures, remarks = [], [], [f"Empty probes: {kind}, on SSL_read and SSL_write."]
        for version, saturate in (("http1", partial(wrk, nginx.url("hello"), settings.seconds, CONNECTIONS)),
                                  ("http2", partial(h2load, nginx.url("hello"), settings.seconds, CONNECTIONS, STREAMS))):
            # Half of what this very load makes untraced: the others make more on the same CPUs.
            load = partial(paced, nginx.url("hello"), settings.seconds, connections=CONNECTIONS, http1=version == "http1")
            half = round(load().rate / 2)
            apart = partial(paced, nginx_apart.url("hello"), settings.seconds, connections=CONNECTIONS, http1=version == "http1", cpu=one)
            half_apart = round(apart().rate / 2)
            remarks.append(f"Half load of {version}: {half:,} requests/s, with server and load on one CPU {half_apart:,}.")
            cases += [case(f"{version} {name}", how, nginx, saturate, sides, REQUEST_BYTES[version])
                      for name, (how, sides) in tracers.items()]
            cases.append(case(f"{version} server alone", served["headers"][0], nginx, saturate, 1, REQUEST_BYTES[version]))
            for where, server, steady in (("half", nginx, partial(load, rate=half)), ("half apart", nginx_apart, partial(apart, rate=half_apart))):
                cases += [case(f"{version} {where} {name}", how, server, steady, sides, REQUEST_BYTES[version])
                          for name, (how, sides) in served.items()]
            figures += wanted(version)
        yield Plan(cases, figures, remarks)


def case(name, how, nginx, load, sides, request_bytes):
    return Case(name, lambda: tracer.load_under(how(), nginx, load, sides, request_bytes))


def wanted(version):
    none, empty, headers = (f"{version} {name}" for name in ("none", "empty", "headers"))
    return [
        Figure("requests/s", headers, empty, least=LEAST, ceiling=none),
        Figure("requests/s", headers, none, least=SHARE),
        Figure("requests/s", f"{version} server alone", none),
        Figure("requests/s", empty, none),
        Figure("usual p99 us", f"{version} half headers", f"{version} half none", most=P99),
        Figure("p99 us", f"{version} half headers", f"{version} half none"),
        Figure("usual p99 us", f"{version} half apart headers", f"{version} half apart none", most=P99),
        Figure("p99 us", f"{version} half apart headers", f"{version} half apart none"),
    ]


def check_probes(nginx, library):
    """That the empty probes fire at all, on both ends; returns how they are attached."""
    with probes.on_calls(library, "--count") as attached:
        done = wrk(nginx.url("hello"), 1, 4)
        counts = attached.counts()
    for name, (entries, returns) in counts.items():
        if min(entries, returns) < 2 * done.requests:
            raise Failed(f"{name} was probed {entries} and {returns} times in {done.requests} requests")
    return attached.kind
