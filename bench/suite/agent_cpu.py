"""What a transaction costs the agent itself, and how fast it decrypts."""

import json
from contextlib import contextmanager
from functools import partial

from kit import tracer
from kit.load import h2load, run
from kit.nginx import Nginx
from kit.plan import Case, Figure, Plan
from kit.process import Failed
from kit.recording import record

TITLE = "processor time of the agent, TLS, constant rate"

CONNECTIONS = 16
# Level, what is fetched, requests a second.
CASES = {
    "summary": ("summary", "hello", 5_000),
    "headers": ("headers", "hello", 5_000),
    "full 1 KiB": ("full", "1k.json", 5_000),
    "full 16 KiB": ("full", "16k.json", 1_000),
    "full 1 MiB": ("full", "1m.json", 32),
}


@contextmanager
def plan(settings):
    with Nginx(settings.folder) as nginx:
        recording = settings.folder / "http1-tls-1m.jsonl.zst"
        record(settings.replay, nginx, recording, True, True, "1m.json", 8)
        cases = [Case(name, partial(measure, settings, nginx, *how)) for name, how in CASES.items()]
        cases.append(Case("decryption", partial(decrypt, settings, recording)))
        rates = ", ".join(f"{name} {rate:,}" for name, (_, _, rate) in CASES.items())
        figures = [
            Figure("agent us/transaction", "headers", most=10),
            Figure("agent us/transaction", "full 1 KiB", most=15),
            Figure("GB/s a core", "decryption", least=1),
        ]
        yield Plan(cases, figures, [
            f"HTTP/1.1, requests/s: {rates}. The agent looks at the server alone, nothing may be lost. Decryption: recorded traffic "
            "with bodies of 1 MiB through the TLS room alone."])


def measure(settings, nginx, level, path, rate):
    load = partial(h2load, nginx.url(path), settings.seconds, CONNECTIONS, http1=True, rate=rate)
    how = tracer.agent(settings, level=level, direction="ingress")
    figures = tracer.load_under(how, nginx, load)
    if figures["seen %"] < 100:
        raise Failed(f"only {figures['seen %']:.2f} % of the requests were seen: the host is too slow for {rate} requests/s")
    return {name: figures[name] for name in ("agent us/transaction", "server us/request", "requests/s", "peak MiB")}


def decrypt(settings, recording):
    said = json.loads(run([settings.replay, "decrypt", "--seconds", min(settings.seconds, 2), recording]))
    return {"GB/s a core": said["gb_per_second"]}
