"""Datagrams that no program should send: DNS on port 53 and QUIC on port 443 of loopback, from a fixed seed.

    hostile_datagrams.py QUESTION ANSWER      two files: first packets of QUIC that are sound; says "ready"; waits for a line; then what it sent as JSON

To be run in a network namespace of its own. Every question goes from a socket of its own and is answered. At last one exchange of each
protocol is sound.
"""

import json
import socket
import struct
import sys
from pathlib import Path

from aioquic.quic.crypto import CryptoPair

sys.path.append(str(Path(__file__).parent.parent))
QUESTION, ANSWER = (Path(name).read_bytes() for name in sys.argv[1:3])
sys.argv[1:] = []
from hostile import noise  # noqa: E402: it takes its seed from the arguments
from hostile_protocols import dns_cases  # noqa: E402

MOST = 60_000
NAME = b"\x07hostile\x04qtap\x04test\0"


def asked(ident, body=NAME + b"\0\1\0\1", counts=(1, 0, 0, 0), flags=0x0100):
    return struct.pack(">HH4H", ident, flags, *counts) + body


def told(ident, answers=b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1", counts=(1, 1, 0, 0)):
    return asked(ident, NAME + b"\0\1\0\1" + answers, counts, 0x8180)


def number(value):
    """RFC 9000 §16, in the longest form."""
    return struct.pack(">Q", value | 3 << 62)


def initial(frames, seed, version=1, token=b""):
    """A packet that opens under the keys everybody can compute, with these frames."""
    there, here = noise(seed, 8), noise(seed + 1, 8)
    keys = CryptoPair()
    keys.setup_initial(cid=there, is_client=True, version=version)
    frames += bytes(max(0, 1150 - len(frames)))
    first = 0xC3 if version == 1 else 0xD3
    head = struct.pack(">BIB", first, version, len(there)) + there + bytes([len(here)]) + here + number(len(token)) + token
    head += number(len(frames) + 4 + 16) + bytes(4)
    return keys.encrypt_packet(head, frames, 0)


def crypto(offset, data, length=None):
    return b"\x06" + number(offset) + number(len(data) if length is None else length) + data


def hellos():
    random, name = noise(1, 32), b"qtap.test"
    sni = struct.pack(">HHHBH", 0, len(name) + 5, len(name) + 3, 0, len(name)) + name

    def hello(extensions, length=None):
        body = b"\x03\x03" + random + b"\0\0\x02\x13\x01\x01\0" + struct.pack(">H", len(extensions)) + extensions
        return b"\x01" + struct.pack(">I", len(body) if length is None else length)[1:] + body

    yield "a hello of 16 MiB", hello(sni, 0xFFFFFF)
    yield "extensions beyond their end", hello(sni)[:-12] + b"\0\0\xff\xff\xff\xff"
    yield "a name of nothing", hello(b"\0\0\0\0")
    yield "parameters of noise", hello(sni + struct.pack(">HH", 0x39, 400) + noise(2, 400))
    yield "noise for a hello", b"\x01" + noise(3, 900)


def quic_cases():
    yield "noise", noise(10, 1200)
    for first in (0x40, 0x80, 0xC0, 0xD0, 0xE0, 0xF0, 0xFF):
        yield f"noise behind {first:#x} of version 1", bytes([first]) + b"\0\0\0\x01" + noise(first, 1195)
    for version in (0, 1, 2, 0x6B3343CF, 0xFF00001D, 0x0A0A0A0A, 0xFFFFFFFF):
        yield f"ids of 255, version {version:#x}", struct.pack(">BI", 0xC3, version) + b"\xff" + noise(11, 1200)
    head = struct.pack(">BI", 0xC3, 1) + b"\x08" + noise(12, 8) + b"\x00"
    yield "a token of 2^62", head + b"\xff" * 8 + noise(13, 1200)
    yield "a packet of 2^62", head + b"\0" + b"\xff" * 8 + noise(14, 1200)
    yield "a packet of nothing", head + b"\0\0" + noise(15, 1200)
    for size in (0, 1, 5, 6, 20, 22, 40, 1199):
        yield f"the first {size} of a sound packet", QUESTION[:size]
    for at in range(0, 60, 4):
        yield f"a sound packet changed at {at}", QUESTION[:at] + bytes([QUESTION[at] ^ 0xFF]) + QUESTION[at + 1 :]
    yield "a datagram of 60,000", QUESTION * (MOST // len(QUESTION))
    yield "a token of 50,000", initial(crypto(0, b"\x01"), 20, token=noise(16, 50_000))
    for version in (1, 0x6B3343CF):
        for name, hello in hellos():
            yield f"{name}, {version:#x}", initial(crypto(0, hello), 30 + len(name), version)
        whole = b"\x01\0\xff\xff" + noise(17, 1_000)
        yield f"one byte at a time, backwards, {version:#x}", initial(b"".join(crypto(at, whole[at : at + 1]) for at in reversed(range(1_000))), 40, version)
        yield f"the end of a stream of 2^62, {version:#x}", initial(crypto((1 << 62) - 1, b"x" * 50) + crypto((1 << 62) - 9, b"y" * 9), 41, version)
        yield f"bytes beyond the end, {version:#x}", initial(crypto(0, b"\x01", (1 << 62) - 1), 42, version)
        yield f"bytes that contradict, {version:#x}", initial(b"".join(crypto(n % 50, noise(n, 90)) for n in range(200)), 43, version)
        acknowledged = b"\x02" + number((1 << 62) - 1) * 2 + number((1 << 62) - 1) * 40
        yield f"acknowledgements of 2^62, {version:#x}", initial(acknowledged, 44, version)
        yield f"a close of noise, {version:#x}", initial(b"\x1c" + number(10) + number(0) + number(1 << 61) + noise(18, 40), 45, version)
        for kind in range(0, 256, 5):
            yield f"a frame of the type {kind}, {version:#x}", initial(bytes([kind]) + noise(kind, 300), 50 + kind, version)
    for place in range(200):
        yield f"stream {place} of many without an end", initial(crypto(place % 7 * 900, noise(place, 800)), 400 + 2 * place)


def exchange(server, port, question, answer):
    """A socket of its own asks; the answer goes to it whatever was asked."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(("127.0.0.1", port))
        client.send(question)
        got, peer = server.recvfrom(1 << 16)
        assert got == question
        server.sendto(answer, peer)
        assert client.recv(1 << 16) == answer


def main():
    servers = {}
    for port in (53, 443):
        servers[port] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        servers[port].bind(("127.0.0.1", port))
        servers[port].settimeout(10)
    print("ready", flush=True)
    sys.stdin.readline()
    counts = {"dns": 0, "quic": 0}
    for _, question, answer in dns_cases(asked, told):
        exchange(servers[53], 53, question, answer)
        counts["dns"] += 1
    for count, (_, question) in enumerate(quic_cases()):
        # Answers that are sound, of another connection, and none at all.
        exchange(servers[443], 443, question, (ANSWER, noise(count, 1200), question, b"")[count % 4])
        counts["quic"] += 1
    exchange(servers[53], 53, asked(4711), told(4711))
    exchange(servers[443], 443, QUESTION, ANSWER)
    print(json.dumps(counts), flush=True)
    sys.stdin.readline()


main()
