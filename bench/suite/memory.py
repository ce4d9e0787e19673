"""What the agent holds, and how fast it starts."""

import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from kit import crowd, holder, tracer
from kit.load import h2load
from kit.nginx import Nginx, mapped_libssl
from kit.plan import Case, Figure, Plan

TITLE = "memory and start-up of the agent"

RATE = 10_000
CONNECTIONS = 10_000
PROCESSES = 300


@contextmanager
def plan(settings):
    with Nginx(settings.folder) as nginx:
        library = str(Path(mapped_libssl(nginx.worker)).resolve())
        cases = [
            Case("idle", partial(idle, settings)),
            Case("10,000 requests/s", partial(loaded, settings, nginx)),
            Case("10,000 connections", partial(connected, settings, nginx)),
            Case("300 processes", partial(started, settings, library)),
        ]
        figures = [
            Figure("RSS MiB", "idle", most=30),
            Figure("RSS MiB", "10,000 requests/s", most=64),
            Figure("RSS MiB", "10,000 connections", most=150),
            Figure("start s", "300 processes", most=1),
            Figure("peak MiB", "300 processes"),
        ]
        yield Plan(cases, figures, [
            f"Level headers, the agent looks at servers alone. Requests: TLS, HTTP/1.1, 16 connections. Connections: plain, idle but for "
            f"1,000 requests/s. Processes: one in {crowd.TLS_EVERY} has a TLS library."])


def sizes(agent):
    return {"RSS MiB": agent.rss_mib(), "peak MiB": agent.peak_mib(), "start s": agent.started_after}


def idle(settings):
    with tracer.agent(settings, direction="ingress") as agent:
        time.sleep(settings.seconds)
        return sizes(agent)


def loaded(settings, nginx):
    with tracer.agent(settings, direction="ingress") as agent:
        load = h2load(nginx.url("hello"), settings.seconds, 16, http1=True, rate=RATE)
        # Now, and not when it has settled: what is held under the load.
        found = sizes(agent)
        return found | {"requests/s": load.rate}


def connected(settings, nginx):
    with tracer.agent(settings, direction="ingress") as agent:
        with holder.connections(nginx, CONNECTIONS, 1_000):
            agent.await_connections(CONNECTIONS)
            time.sleep(settings.seconds)
            agent.await_connections(CONNECTIONS, 0)
            return sizes(agent)


def started(settings, library):
    with crowd.processes(PROCESSES, library), tracer.agent(settings, direction="ingress") as agent:
        return sizes(agent)
