"""Judges what the emulated machines brought back, and prints one table: a column for each kernel, a row for each check.

    python3 tests/kernels/report.py [--accept] FOLDER VERSION…

FOLDER/VERSION/out is what tests/kernels/init wrote there. The exit code is 1 if any check failed anywhere. With --accept the
verifier's figures are taken over instead of compared.
"""

import hashlib
import json
import re
import sys
from pathlib import Path

import figures

# Ways to move the same body by io_uring, and their ports.
URING = {"message": 8090, "file": 8091, "vector": 8092, "multishot": 8093}
# Ways to move it without a buffer of the program, their ports, and the end that does so.
SPLICE = {"sendfile": (8094, "server"), "splice-to": (8095, "server"), "splice-from": (8096, "client")}
PATTERN = "".join(chr(ord("a") + index % 23) for index in range(100_000))
GROUPS = ["sockets", "process", "existing", "tls-secrets", "tls-calls"]
NUMBERS = "".join(f"{number}\n" for number in range(1, 50001))
SMALL = "a small text\n"

# Exchange: port, body, TLS version, source of the plaintext, program of the client, program of the server.
EXCHANGES = {
    "plain": (8080, NUMBERS, None, None, "/usr/bin/curl", "/usr/bin/busybox"),
    "tls13": (8443, NUMBERS, "TLS 1.3", "secrets", "/usr/bin/curl", "/usr/bin/openssl"),
    "tls12": (8443, NUMBERS, "TLS 1.2", "secrets", "/usr/bin/curl", "/usr/bin/openssl"),
    "gnutls": (8443, NUMBERS, "TLS 1.3", "secrets", "/usr/bin/wget", "/usr/bin/openssl"),
    "session": (8444, SMALL, None, "calls", "/usr/bin/openssl", "/usr/bin/openssl"),
    "ktls12": (8445, NUMBERS, "TLS 1.2", "kernel", "/usr/bin/openssl", "/usr/bin/openssl"),
    "ktls13": (8445, NUMBERS, "TLS 1.3", "kernel", "/usr/bin/openssl", "/usr/bin/openssl"),
    "ktls-file": (8446, NUMBERS, "TLS 1.2", "kernel", "/usr/bin/openssl", "/usr/bin/openssl"),
    "ktls-session": (8447, SMALL, None, "kernel", "/usr/bin/openssl", "/usr/bin/openssl"),
}
# Older than the agent.
OLD = ("session", "ktls-session")
# Debian's kernels with a module for TLS; 5.10 of the cloud flavour has none.
KTLS = ("6.1", "6.12")


class Failed(Exception):
    """A check that did not hold; the text says what was seen instead."""


def expect(condition, seen):
    if not condition:
        raise Failed(seen)


class Machine:
    """What one machine brought back."""

    def __init__(self, folder):
        self.version = folder.name
        self.out = folder / "out"
        expect((self.out / "steps").exists(), f"brought nothing back; see {folder / 'console'}")
        self.release = self.text("release")
        self.doctor = json.loads(self.text("doctor.json") or "{}")
        self.connections = []
        self.transactions = {}
        for line in self.text("agent.out").splitlines():
            event = json.loads(line)
            if event.get("type") == "connection" and event.get("finalized"):
                self.connections.append(event)
            elif event.get("msg") == "HTTP transaction":
                self.transactions.setdefault(event["connection_id"], []).append(event)

    def text(self, name):
        path = self.out / name
        return path.read_text(encoding="utf-8").strip() if path.exists() else ""

    def ends(self, port, client, server):
        """The connections of an exchange as seen from its client and from its server."""

        def of(direction, end, exe):
            return [
                event
                for event in self.connections
                if event["destination"]["address"]["port"] == port
                and event["direction"].startswith(direction)
                and event[end].get("exe") == exe
            ]

        return of("egress", "source", client), of("ingress", "destination", server)


def group(machine, name):
    found = {finding["name"]: finding for finding in machine.doctor.get("findings", [])}
    finding = found.get(f"hooks: {name}")
    expect(finding is not None, "doctor does not mention it")
    expect(finding["ok"], finding["found"])
    return "loads"


def version_of(machine):
    return tuple(int(part) for part in re.match(r"(\d+)\.(\d+)", machine.release).groups())


def shows_requests(machine):
    """The tracepoint of completions has the request."""
    return version_of(machine) >= (5, 19)


def shows_repeated(machine):
    """There is a function to hook that tells each completion of a repeated request."""
    return version_of(machine) >= (6, 10)


def optional_group(machine, name, expected):
    """Loads where it can, and is left out with a reason where it cannot: both are told in docs/kernels.md."""
    if expected:
        return group(machine, name)
    found = {finding["name"]: finding for finding in machine.doctor.get("findings", [])}
    finding = found[f"hooks: {name}"]
    expect(not finding["ok"] and "nothing to hook" in finding["found"], f"{finding}")
    return "nothing to hook"


def uring(machine, way):
    """Read where the kernel shows it; elsewhere the verdict names io_uring, and the kernel's own count the bytes."""
    results = dict(line.split(" ", 1) for line in machine.text("clients").splitlines())
    code, *length = results.get(f"uring-{way}", "none").split()
    if code == "2" and version_of(machine) < (5, 19) and way == "multishot":
        return "not in this kernel"
    expect(code == "0" and int(length[0]) > len(PATTERN), f"client: {code} {length}: {machine.text('uring.err')}")
    readable = shows_requests(machine) and (way in ("message", "file") or (way == "multishot" and shows_repeated(machine)))
    program = "/usr/bin/uring"
    for side, events in zip(("client", "server"), machine.ends(URING[way], program, program)):
        expect(len(events) == 1, f"{side}: {len(events)} connections")
        health = events[0]["health"]
        if readable:
            healthy(machine, side, events[0], f"uring-{way}", PATTERN, None)
            continue
        reasons = [reason["code"] for reason in health["reasons"]]
        expect("io_uring" in reasons and health["status"] == "degraded", f"{side}: {health['status']} {reasons}")
        moved = health["socketBytesSent"] + health["socketBytesReceived"]
        expect(moved > len(PATTERN), f"{side}: the kernel counted {moved} bytes")
    return "healthy" if readable else "degraded: io_uring"


def spliced(machine, way):
    """Of two bodies the first never was in the memory of one end: there a gap of just its length, at the other end nothing amiss.
    The second is read at both, which it only can be where the gap ends at the right byte."""
    results = dict(line.split(" ", 1) for line in machine.text("clients").splitlines())
    code, *moved = results.get(way, "none").split()
    expect(code == "0" and len(moved) == 2, f"client: {code} {moved}: {machine.text('splice.err')}")
    sent, received = (int(number) for number in moved)
    expect(sent > 0 and received > 2 * len(PATTERN), f"client: sent {sent}, received {received}")
    port, end_without = SPLICE[way]
    program = "/usr/bin/splice"
    for side, events in zip(("client", "server"), machine.ends(port, program, program)):
        expect(len(events) == 1, f"{side}: {len(events)} connections")
        event, health = events[0], events[0]["health"]
        gap = len(PATTERN) if side == end_without else 0
        # By the program's own count.
        told = (event["bytesSent"], event["bytesReceived"], health["socketBytesSent"], health["socketBytesReceived"])
        expect(told == ((sent, received) if side == "client" else (received, sent)) * 2, f"{side}: {told} bytes of {sent}, {received}")
        captured = (health["capturedBytesSent"], health["capturedBytesReceived"], health["gapBytes"], health["socketBytesUnread"])
        expected = (sent, received - gap, gap, 0) if side == "client" else (received - gap, sent, gap, 0)
        expect(captured == expected, f"{side}: captured {captured} instead of {expected}")
        reasons = {reason["code"]: reason["detail"] for reason in health["reasons"]}
        expected = {"unreadable_bytes": f"{gap} bytes", "transaction_incomplete": f"1 of 2 miss {gap} bytes"} if gap else {}
        expect(reasons == expected, f"{side}: {reasons}")
        expect(health["status"] == ("degraded" if gap else "healthy"), f"{side}: {health['status']}")
        two_bodies(machine, side, event, gap)
    return f"{end_without} degraded: {len(PATTERN)} unreadable_bytes"


def two_bodies(machine, side, event, gap):
    """The transactions of such a connection: the first lacks so many bytes, all of its body or none."""
    transactions = machine.transactions.get(event["meta"]["connectionId"], [])
    expect(len(transactions) == 2, f"{side}: {len(transactions)} transactions")
    for transaction, missing in zip(transactions, (gap, 0)):
        response = transaction["response"]
        expect(response["status"] == 200, f"{side}: status {response['status']}")
        told = (transaction.get("incomplete", False), transaction.get("gap_bytes", 0), response.get("body_gap_bytes", 0))
        expect(told == (missing > 0, missing, missing), f"{side}: (incomplete, missing, missing of body) are {told}")
        expect(response.get("body", "") == ("" if missing else PATTERN), f"{side}: another body than was sent")


def ready(machine):
    expect(machine.text("ready.code") == "0", machine.text("agent.err").splitlines()[-1:])
    return "yes"


def exchange(machine, name):
    if name.startswith("ktls") and machine.version not in KTLS:
        expect(not machine.text("tls_stat"), "there is one in this kernel")
        return "not in this kernel"
    if name.startswith("ktls"):
        counts = dict(line.split() for line in machine.text("tls_stat").splitlines())
        expect(counts, f"no TLS in this kernel: {machine.text('ktls.err')}")
        for count in ("TlsTxSw", "TlsRxSw"):
            expect(int(counts[count]) > 0, f"no program used it: {counts}")
    port, body, version, source, client, server = EXCHANGES[name]
    digest = hashlib.sha256(body.encode()).hexdigest()
    results = dict(line.split(" ", 1) for line in machine.text("clients").splitlines())
    result = results.get(name, "did not run").split()
    expect(result[0] == "0", f"client: {' '.join(result)}")
    expect(name in OLD or result[1] == digest, "the client did not get the body")
    sides = machine.ends(port, client, server)
    told = []
    for side, events in zip(("client", "server"), sides):
        if name == "session" and side == "server":
            # `openssl s_server -WWW` reads through a BIO, which goes past the exported functions that calls are read at.
            continue
        if version:
            events = [event for event in events if event.get("tlsVersion") == version]
        if name in ("tls13", "gnutls") and side == "server":
            # Both are TLS 1.3 to the same server: told apart by what the client asked with.
            events = [event for event in events if agent_of(machine, event).startswith("Wget") == (name == "gnutls")]
        expect(len(events) == 1, f"{side}: {len(events)} connections")
        if name == "ktls-file" and side == "server":
            told.append(sent_by_kernel(machine, side, events[0], body))
            continue
        told.append(healthy(machine, side, events[0], name, body, source))
    return " and ".join(sorted(set(told)))


def sent_by_kernel(machine, side, event, body):
    """A file that the kernel read, encrypted and sent by itself: a gap of its length, said why, and no byte of anything else."""
    health = event["health"]
    reasons = [reason["code"] for reason in health["reasons"]]
    expect(health["status"] == "degraded" and "unreadable_bytes" in reasons, f"{side}: {health['status']} {reasons}")
    expect(health["gapBytes"] == len(body), f"{side}: {health['gapBytes']} bytes missing")
    expect(event["meta"].get("tlsSource") == "kernel", f"{side}: tls source {event['meta'].get('tlsSource')}")
    for transaction in machine.transactions.get(event["meta"]["connectionId"], []):
        expect(not transaction["response"].get("body"), f"{side}: a body that was never seen")
    return "degraded: unreadable_bytes"


def agent_of(machine, event):
    for transaction in machine.transactions.get(event["meta"]["connectionId"], []):
        headers = {key.lower(): value for key, value in transaction["request"]["headers"].items()}
        return headers.get("user-agent", "")
    return ""


def healthy(machine, side, event, name, body, source):
    health = event["health"]
    reasons = [reason["code"] for reason in health["reasons"]]
    if name in OLD:
        expect(reasons == ["joined_midstream"], f"{side}: {health['status']} {reasons}")
    else:
        expect(health["status"] == "healthy" and not reasons, f"{side}: {health['status']} {reasons} {health['checks']}")
    expect(health["gapBytes"] == 0, f"{side}: {health['gapBytes']} bytes missing")
    expect(event["meta"].get("tlsSource") == source, f"{side}: tls source {event['meta'].get('tlsSource')}")
    transactions = machine.transactions.get(event["meta"]["connectionId"], [])
    expect(len(transactions) == 1, f"{side}: {len(transactions)} transactions")
    transaction = transactions[0]
    expect(transaction["response"]["status"] == 200, f"{side}: status {transaction['response']['status']}")
    expect(transaction["response"]["body"] == body, f"{side}: another body than was sent")
    return f"read by {source}" if name in OLD else health["status"]


def idle(machine):
    """A connection that never said a word while the agent ran: only the pass over existing sockets knows it."""
    busybox = "/usr/bin/busybox"
    for side, events in zip(("client", "server"), machine.ends(8081, busybox, busybox)):
        expect(len(events) == 1, f"{side}: {len(events)} connections")
    return "found"


def quic(machine):
    """Client and server of a program that exchanges the sample packets: one socket is connected, the other is not."""
    results = dict(line.split(" ", 1) for line in machine.text("clients").splitlines())
    expect(results.get("quic") == "0", f"client: {results.get('quic')}")
    program = "/usr/bin/quic_sample"
    expected = {"client": (1200, 135), "server": (135, 1200)}
    for side, events in zip(("client", "server"), machine.ends(4433, program, program)):
        expect(len(events) == 1, f"{side}: {len(events)} connections")
        event = events[0]
        name, version = event["tls"].get("sni"), event.get("tlsVersion")
        expect((name, version) == ("example.com", "TLS 1.3"), f"{side}: {name} {version}")
        moved = (event.get("bytesSent"), event.get("bytesReceived"))
        expect(moved == expected[side], f"{side}: {moved} bytes")
        reasons = [reason["code"] for reason in event["health"]["reasons"]]
        expect(reasons == ["quic_unsupported"], f"{side}: {reasons}")
    return "named and counted"


def losses(machine):
    """What the kernel side or the probes lost; the stages behind them do not depend on the kernel."""
    expect(machine.text("metrics"), "no metrics")
    pattern = r'^(qtap_\w+_lost_total\{.*stage="(?:kernel|probe)".*\}) ([1-9][0-9]*)$'
    lost = re.findall(pattern, machine.text("metrics"), re.MULTILINE)
    # Looked at with the exchanges of io_uring, and in a row of its own.
    lost = [(name, value) for name, value in lost if "io_uring" not in name and "data_bytes_lost_unreadable" not in name]
    expect(not lost, " ".join(f"{name}={value}" for name, value in lost))
    return "none"


def unreadable(machine):
    """Bytes that the kernel side told as unreadable: those that were moved without a buffer, and no other."""
    pattern = r'^qtap_capture_lost_total\{.*reason="data_bytes_lost_unreadable".*\} ([0-9]+)$'
    found = re.findall(pattern, machine.text("metrics"), re.MULTILINE)
    expect(len(found) == 1, f"{len(found)} counters")
    expected = len(SPLICE) * len(PATTERN) + (len(NUMBERS) if machine.version in KTLS else 0)
    expect(int(found[0]) == expected, f"{found[0]} bytes instead of {expected}")
    return f"{expected}, as moved"


def end(machine):
    expect(machine.text("agent.code") == "0", f"exit code {machine.text('agent.code')}")
    expect((machine.out / "left").exists() and not machine.text("left"), f"left: {machine.text('left')}")
    return "clean"


def verified(machine):
    """Instructions that the verifier walked through, of the largest program and of all, against what was accepted."""
    found = figures.parse(machine.text("verified"))
    expect(found, "the agent told no figures")
    problems = figures.compare(machine.version, found, figures.load(), figures.compiler())
    expect(not problems, "\n    " + "\n    ".join(problems))
    largest = max(found, key=found.get)
    return f"{largest} {found[largest]:,}, all {sum(found.values()):,}"


CHECKS = (
    [("kernel", lambda machine: machine.release)]
    + [(f"hooks: {name}", lambda machine, name=name: group(machine, name)) for name in GROUPS]
    + [
        ("hooks: io-uring", lambda machine: optional_group(machine, "io-uring", shows_requests(machine))),
        (
            "hooks: io-uring-hooks",
            lambda machine: optional_group(machine, "io-uring-hooks", shows_repeated(machine) or not shows_requests(machine)),
        ),
    ]
    + [("ready", ready)]
    + [(f"exchange: {name}", lambda machine, name=name: exchange(machine, name)) for name in EXCHANGES]
    + [(f"io_uring: {way}", lambda machine, way=way: uring(machine, way)) for way in URING]
    + [(f"no buffer: {way}", lambda machine, way=way: spliced(machine, way)) for way in SPLICE]
    + [("idle connection", idle), ("quic", quic), ("losses", losses), ("unreadable bytes", unreadable), ("end", end), ("verifier", verified)]
)


def main(folder, versions):
    rows = {name: {} for name, _ in CHECKS}
    problems = []
    for version in versions:
        try:
            machine = Machine(Path(folder) / version)
        except (Failed, ValueError) as error:
            problems.append(f"{version}: {error}")
            continue
        for name, check in CHECKS:
            try:
                rows[name][version] = check(machine)
            except (Failed, KeyError, ValueError) as error:
                rows[name][version] = "FAILED"
                problems.append(f"{version}: {name}: {error if isinstance(error, Failed) else repr(error)}")
    width = max(len(name) for name in rows)
    widths = {version: max([len(version)] + [len(row.get(version, "-")) for row in rows.values()]) for version in versions}
    print(" " * width, *(version.ljust(widths[version]) for version in versions), sep="  ")
    for name, row in rows.items():
        print(name.ljust(width), *(row.get(version, "-").ljust(widths[version]) for version in versions), sep="  ")
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def accept(folder, versions):
    found = {version: figures.parse(Machine(Path(folder) / version).text("verified")) for version in versions}
    lacking = [version for version in versions if not found[version]]
    expect(not lacking, f"the agent told no figures on {lacking}")
    figures.accept(found)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[0] == "--accept":
        arguments = arguments[1:]
        try:
            accept(arguments[0], arguments[1:])
        except Failed as error:
            sys.exit(f"test-kernels: {error}")
    sys.exit(main(arguments[0], arguments[1:]))
