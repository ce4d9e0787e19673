"""qtap beside other programs that show TLS traffic."""

import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from kit import peers, tracer
from kit.load import wrk
from kit.nginx import Nginx, mapped_libssl
from kit.plan import Case, Figure, Plan

TITLE = "side by side: sslsniff (bcc), bpftrace, mitmproxy"

CONNECTIONS = 16
PEERS = ["sslsniff", "bpftrace", "mitmproxy"]


@contextmanager
def plan(settings):
    with Nginx(settings.folder) as nginx:
        library = mapped_libssl(nginx.worker)
        cases = [
            Case("none", partial(untraced, settings, nginx)),
            Case("qtap", partial(agent, settings, nginx)),
            Case("sslsniff", partial(sniffer, settings, nginx, partial(peers.sslsniff, nginx=nginx, library=library))),
            Case("bpftrace", partial(sniffer, settings, nginx, partial(peers.bpftrace, nginx=nginx, library=library))),
            Case("mitmproxy", partial(proxy, settings, nginx)),
        ]
        figures = [Figure("requests/s", "qtap", "none")]
        figures += [Figure("requests/s", name, "none") for name in PEERS]
        figures += [Figure("requests/s", "qtap", name, least=1) for name in PEERS]
        figures += [Figure("seen %", "qtap", name, least=1) for name in PEERS]
        yield Plan(cases, figures, [
            f"nginx and wrk over keep-alive TLS, {CONNECTIONS} connections, as fast as they go; all look at the server alone, and their "
            "output is thrown away (qtap) or goes to a file, where it is counted afterwards. `seen %`: requests that came out, of those made. "
            "sslsniff is Debian's with the repairs that it needs to run on a kernel of today (bench/kit/peers.py)."])


def load(settings, url):
    return wrk(url, settings.seconds, CONNECTIONS)


def untraced(settings, nginx):
    return {"requests/s": load(settings, nginx.url("hello")).rate}


def agent(settings, nginx):
    how = tracer.agent(settings, level="headers", direction="ingress")
    figures = tracer.load_under(how, nginx, partial(load, settings, nginx.url("hello")))
    return {"requests/s": figures["requests/s"], "seen %": figures["seen %"], "tracer us/request": figures["agent us/transaction"]}


def sniffer(settings, nginx, start):
    with tempfile.TemporaryDirectory() as folder, start(Path(folder)) as peer:
        return measured(settings, peer, nginx.url("hello"))


def proxy(settings, nginx):
    with tempfile.TemporaryDirectory() as folder, peers.mitmproxy(Path(folder), nginx) as peer:
        return measured(settings, peer, f"https://127.0.0.1:{peer.port}/hello")


def measured(settings, peer, url):
    cpu = peer.cpu()
    done = load(settings, url)
    cpu = peer.cpu() - cpu
    # Requests under way when wrk stops are seen, but not among its own count.
    seen = min(peer.seen(), done.requests)
    return {"requests/s": done.rate, "seen %": 100 * seen / done.requests, "tracer us/request": cpu * 1e6 / done.requests}
