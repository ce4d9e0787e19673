"""What a transaction costs the agent beside many connections and beside many processes."""

import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from kit import crowd, holder, tracer
from kit.agent import total
from kit.load import h2load
from kit.nginx import Nginx, mapped_libssl
from kit.plan import Case, Figure, Plan
from kit.process import Failed

TITLE = "cost against the number of connections and of processes"

RATE = 4_000
CONNECTIONS = [10, 1_000, 10_000, 50_000]
PROCESSES = [10, 300, 2_000]
FLAT = 1.2
START_S = 1
# Connections that make the requests; with more, each would make one in a while and all at a time.
ACTIVE = 500
# Until a connection that opened last has told what it did.
SETTLE_S = 12
# The files of one worker are limited.
WORKERS = 4


@contextmanager
def plan(settings):
    with Nginx(settings.folder, WORKERS) as nginx:
        library = str(Path(mapped_libssl(nginx.worker)).resolve())
        cases = [Case(f"{count:,} connections", partial(connected, settings, nginx, count)) for count in CONNECTIONS]
        cases += [Case(f"{count:,} processes", partial(crowded, settings, nginx, library, count)) for count in PROCESSES]
        figures = [Figure("agent us/transaction", f"{count:,} connections", f"{CONNECTIONS[0]:,} connections", most=FLAT)
                   for count in CONNECTIONS[1:]]
        figures += [Figure("agent us/transaction", f"{count:,} processes", f"{PROCESSES[0]:,} processes", most=FLAT)
                    for count in PROCESSES[1:]]
        # Each process is looked at once, so this cannot be flat.
        figures += [Figure("start s", f"{count:,} processes", most=START_S) for count in PROCESSES]
        yield Plan(cases, figures, [f"Plain HTTP/1.1, {RATE:,} transactions/s, level headers. Connections: both ends of loopback connections, "
                                    f"measured once all are open; {ACTIVE} make the requests. Processes: the agent looks at the server alone."], rounds=3)


def connected(settings, nginx, count):
    # Each end is a connection for the agent, whose kernel side knows 65,536 at most.
    pairs = count // 2
    active = min(pairs, ACTIVE)
    with tracer.agent(settings) as agent:
        with holder.connections(nginx, pairs - active, 0), holder.connections(nginx, active, RATE // 2):
            agent.await_connections(count)
            # Each reports what it did ten seconds after it opened, and then has nothing more to report.
            time.sleep(SETTLE_S)
            figures = cost(agent, settings.seconds)
            agent.await_connections(count, 0)
            return figures | {"RSS MiB": agent.rss_mib()}


def cost(agent, seconds):
    """Processor time of the agent for a transaction over the next seconds."""
    before, cpu = total(agent.metrics(), "qtap_engine_emitted_total", kind="transaction"), agent.cpu()
    began = time.monotonic()
    time.sleep(seconds)
    seen = total(agent.metrics(), "qtap_engine_emitted_total", kind="transaction") - before
    if not seen:
        raise Failed("no transaction was seen")
    return {
        "agent us/transaction": (agent.cpu() - cpu) * 1e6 / seen,
        "transactions/s": seen / (time.monotonic() - began),
    }


def crowded(settings, nginx, library, count):
    with crowd.processes(count, library), tracer.agent(settings, direction="ingress") as agent:
        load = partial(h2load, nginx.url("hello", tls=False), settings.seconds, 16, http1=True, rate=RATE)
        figures = tracer.load_of(agent, nginx, load)
        return {
            "agent us/transaction": figures["agent us/transaction"],
            "transactions/s": figures["requests/s"],
            "RSS MiB": agent.rss_mib(),
            "start s": agent.started_after,
        }
