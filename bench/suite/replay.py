"""Recorded kernel events through engine, plugins and store, on one core."""

import json
from contextlib import contextmanager
from functools import partial

from kit.load import run
from kit.plan import Case, Figure, Plan
from kit.process import HERE, Failed

TITLE = "recorded kernel events through engine, plugins and store"

# Recording, level.
PLAYED = [(name, level)
          for name in ("http1-plain", "http1-tls", "http2-tls")
          for level in ("summary", "headers")] + [("http1-plain-1k", "full"), ("http1-tls-1k", "full")]
# Small transactions a second.
LEAST = 150_000


@contextmanager
def plan(settings):
    cases = [Case(f"{name} {level}", partial(measure, settings, name, level)) for name, level in PLAYED]
    figures = [Figure("transactions/s a core", f"{name} {level}", least=LEAST) for name, level in PLAYED if level != "full"]
    yield Plan(cases, figures, ["Processor time of all threads of the agent's that take part; what the kernel side and the reading "
                                "of its rings cost is not in it."])


def measure(settings, name, level):
    file = (HERE / "recordings" / f"{name}.jsonl.zst").relative_to(HERE.parent)
    said = json.loads(run([settings.replay, "run", "--levels", level, "--seconds", settings.seconds, "--json", HERE.parent / file]))
    if said["transactions"] != said["expected"]:
        raise Failed(f"{said['transactions']} transactions came out of {said['expected']}")
    return {
        "transactions/s a core": said["per_core"],
        "us each": said["cpu_us"],
        "us each, worker alone": said["worker_us"],
    }
