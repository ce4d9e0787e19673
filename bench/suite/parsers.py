"""Each parser on the bytes of an exchange, beside a public parser of the same protocol in the same process."""

import json
from contextlib import contextmanager
from functools import partial

from kit.load import run
from kit.plan import Case, Figure, Plan

TITLE = "parsers beside public ones"

PROTOCOLS = ["http1", "http2", "grpc", "websocket", "sse", "redis", "mysql", "postgres", "kafka", "dns", "tls_hello", "tls_records"]


@contextmanager
def plan(settings):
    cases = [Case(name, partial(measure, settings, name)) for name in PROTOCOLS]
    figures = [Figure("qtap / peer", name) for name in PROTOCOLS]
    yield Plan(cases, figures, ["Processor time of one thread. The two do not do the same: see docs/performance.md."])


def measure(settings, name):
    # Five rounds, in which the two alternate; medians.
    said = json.loads(run([settings.parsers, name, "--seconds", str(min(settings.seconds / 10, 0.3)), "--json"]))
    return {
        "qtap / peer": said["ratio"],
        "MB/s": said["ours"]["megabytes"],
        "messages/s": said["ours"]["messages"],
        "MB/s, peer": said["theirs"]["megabytes"],
        "messages/s, peer": said["theirs"]["messages"],
    }
