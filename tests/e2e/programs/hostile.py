"""Both ends of connections that say what no program should: a server and a client on loopback, from a fixed seed.

    hostile.py [SEED]      prints its port, then what it did as JSON

Each case is what the client sends and what the server answers; both ends read everything the other sends.
"""

import gzip
import hashlib
import json
import random
import socket
import struct
import sys
import threading
import zlib

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
OK = b"HTTP/1.1 200 OK\r\n"
GET = b"GET /x HTTP/1.1\r\nHost: hostile\r\n"


def noise(number, size):
    return hashlib.shake_256(f"{SEED}-{number}".encode()).digest(size)


def frame(kind, flags, stream, payload, length=None):
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def record(kind, payload, length=None, version=0x0303):
    return struct.pack(">BHH", kind, version, len(payload) if length is None else length) + payload


def hello(kind, body, length=None):
    size = len(body) if length is None else length
    return bytes([kind]) + struct.pack(">I", size)[1:] + body


def http1():
    long_value = b"a" * (1 << 20)
    yield "garbage", noise(1, 20000), noise(2, 20000)
    yield "garbage after a method", b"GET " + noise(3, 5000), OK + noise(4, 5000)
    yield "a field of 1 MiB", GET + b"X: " + long_value + b"\r\n\r\n", OK + b"Content-Length: 0\r\n\r\n"
    yield "a head of 100,000 fields", GET + b"A: b\r\n" * 100_000 + b"\r\n", OK + b"C: d\r\n" * 100_000 + b"\r\n"
    yield "a head without an end", GET + b"X: " + long_value, OK + b"Y: " + long_value
    yield "a target of 1 MiB", b"GET /" + long_value + b" HTTP/1.1\r\n\r\n", OK + b"Content-Length: 0\r\n\r\n"
    for value in (b"-1", b"99999999999999999999999", b"18446744073709551615", b"0x10", b"1,2", b"", b"\xff"):
        yield "a length of " + repr(value), GET + b"Content-Length: " + value + b"\r\n\r\nbody", OK + b"Content-Length: " + value + b"\r\n\r\nbody"
    for size in (b"FFFFFFFFFFFFFFFFF", b"-1", b"", b"zz", b"7fffffffffffffff", b"5;" + b"e" * 70_000):
        chunked = b"Transfer-Encoding: chunked\r\n\r\n" + size + b"\r\nhello\r\n0\r\n\r\n"
        yield "a chunk of " + repr(size[:20]), b"POST /c HTTP/1.1\r\nHost: h\r\n" + chunked, OK + chunked
    yield "both lengths", GET + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /y HTTP/1.1\r\n\r\n", OK + b"\r\n"
    yield "folded and bare", b"GET / HTTP/1.1\nHost : x\n folded\r\rA\0B: \x01\n\n", b"HTTP/1.1 99999 \0\n\n"
    yield "a response without a request", b"", OK + b"Content-Length: 5\r\n\r\nhello"
    yield "10,000 interim responses", GET + b"\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000 + OK + b"Content-Length: 0\r\n\r\n"
    yield "2,000 requests unanswered", (GET + b"\r\n") * 2_000, b""
    yield "10,000 answers to one", GET + b"\r\n", (OK + b"Content-Length: 0\r\n\r\n") * 10_000
    bomb = gzip.compress(b"\0" * (64 << 20), 9)
    coded = b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n"
    yield "a gzip bomb", GET + b"\r\n", OK + coded % (b"gzip", len(bomb)) + bomb
    nested = gzip.compress(bomb, 9)
    yield "a bomb in a bomb", GET + b"\r\n", OK + coded % (b"gzip, gzip", len(nested)) + nested
    yield "32 codings", GET + b"\r\n", OK + coded % (b", ".join([b"gzip"] * 32), 10) + noise(5, 10)
    broken = zlib.compress(b"x" * 100_000)[:50] + noise(6, 1000)
    for name in (b"gzip", b"deflate", b"br", b"zstd"):
        yield "broken " + name.decode(), GET + b"\r\n", OK + coded % (name, len(broken)) + broken
    yield "an upgrade to noise", GET + b"Upgrade: websocket\r\nConnection: upgrade\r\n\r\n" + noise(7, 9000), b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n" + noise(8, 9000)
    yield "an upgrade to HTTP/2 and noise", GET + b"Upgrade: h2c\r\nHTTP2-Settings: !!\r\nConnection: upgrade\r\n\r\n" + noise(9, 900), b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\n\r\n" + noise(10, 900)


def http2():
    begin = PREFACE + SETTINGS
    yield "noise after the preface", PREFACE + noise(11, 50_000), SETTINGS + noise(12, 50_000)
    for kind in range(12):
        yield f"a frame of type {kind} and 16 MiB", begin + frame(kind, 0xFF, 1, noise(kind, 3000), 0xFFFFFF), SETTINGS + frame(kind, 0, 1, noise(kind + 20, 3000), 0xFFFFFF)
        yield f"an empty frame of type {kind}", begin + frame(kind, 0xFF, 0x7FFFFFFF, b""), SETTINGS + frame(kind, 0xFF, 0, b"")
    # One field of 4,000 bytes in the table, then 4,000 references to it in each of 20 heads: 320 MB of fields.
    value = b"v" * 4000
    insert = b"\x40\x01x" + b"\x7f" + integer(len(value) - 127) + value
    heads = frame(1, 4, 1, b"\x82\x86\x84" + insert)
    for number in range(20):
        heads += frame(1, 4, 3 + 2 * number, b"\x82\x86\x84" + b"\xbe" * 4000)
    yield "an HPACK bomb", begin + heads, SETTINGS + frame(1, 4, 1, b"\x88" + insert + b"\xbe" * 4000)
    yield "a table of 4 GiB", begin + frame(4, 0, 0, struct.pack(">HI", 1, 0xFFFFFFFF)) + frame(1, 5, 1, b"\x3f\xff\xff\xff\xff\x0f\x82"), SETTINGS + frame(4, 0, 0, struct.pack(">HI", 1, 0xFFFFFFFF))
    yield "an integer without an end", begin + frame(1, 5, 1, b"\xff" * 10_000), SETTINGS + frame(1, 5, 1, b"\x7f" + b"\xff" * 10_000)
    yield "bad Huffman", begin + frame(1, 5, 1, b"\x82\x40\x84\xff\xff\xff\xff\x84\xff\xff\xff\xff"), SETTINGS
    parts = b"".join(frame(9, 0, 1, noise(30, 100)) for _ in range(4_000))
    yield "4,000 continuations", begin + frame(1, 0, 1, b"\x82") + parts, SETTINGS
    yield "a continuation of nothing", begin + frame(9, 4, 1, b"\x82"), SETTINGS + frame(9, 4, 7, b"\x88")
    resets = b"".join(frame(1, 5, 1 + 2 * n, b"\x82\x86\x84") + frame(3, 0, 1 + 2 * n, b"\0\0\0\x08") for n in range(1_000))
    yield "1,000 streams opened and reset", begin + resets, SETTINGS
    yield "1,000 streams opened", begin + b"".join(frame(1, 4, 1 + 2 * n, b"\x82\x86\x84") for n in range(1_000)), SETTINGS
    yield "4,000 settings", begin + SETTINGS * 4_000, SETTINGS * 4_000
    yield "padding longer than the frame", begin + frame(0, 8, 1, b"\xff" + b"x" * 10) + frame(1, 0x28, 1, b"\xff\0\0\0\0\x10\x82"), SETTINGS
    yield "pushes", begin, SETTINGS + b"".join(frame(5, 4, 1, struct.pack(">I", 2 * n) + b"\x82\x86\x84") for n in range(1000))


def integer(value):
    out = b""
    while value >= 128:
        out += bytes([value % 128 + 128])
        value //= 128
    return out + bytes([value])


def tls():
    client = b"\x03\x03" + noise(40, 32) + b"\x20" + noise(41, 32) + b"\x00\x02\x13\x01\x01\x00"
    extensions = struct.pack(">HH", 0, 14) + struct.pack(">HBH", 12, 0, 9) + b"qtap.test"
    good = client + struct.pack(">H", len(extensions)) + extensions
    server = b"\x03\x03" + noise(42, 32) + b"\x20" + noise(41, 32) + b"\x13\x01\x00" + b"\x00\x06\x00\x2b\x00\x02\x03\x04"
    both = record(22, hello(1, good)), record(22, hello(2, server))
    yield "a record of 65,535", record(22, hello(1, good), 0xFFFF) + noise(43, 70_000), record(22, hello(2, server), 0xFFFF) + noise(44, 70_000)
    yield "a hello of 16 MiB", record(22, hello(1, good, 0xFFFFFF)) + record(22, noise(45, 16_000)) * 50, b""
    yield "a hello of one byte at a time", b"".join(record(22, bytes([byte])) for byte in hello(1, good)), both[1]
    yield "a hello with lengths beyond its end", record(22, hello(1, client + b"\xff\xff" + extensions)), both[1]
    yield "a name beyond its end", record(22, hello(1, client + struct.pack(">H", 6) + b"\0\0\xff\xff\xff\xff")), b""
    yield "empty records", both[0] + record(23, b"") * 5000, both[1] + record(23, b"") * 5000
    yield "noise as ciphertext", both[0] + b"".join(record(23, noise(n, 1000)) for n in range(200)), both[1] + b"".join(record(23, noise(n + 300, 1000)) for n in range(200))
    yield "records too long for the protocol", both[0] + record(23, noise(46, 40_000)), both[1] + record(23, noise(47, 60_000))
    yield "unknown record types", both[0] + b"".join(record(kind, noise(kind, 50)) for kind in range(256)), both[1] + noise(48, 4_000)
    yield "alerts", both[0] + record(21, b"\x02\x28") * 100, both[1] + record(21, noise(49, 300))
    yield "a hello in the middle", both[0] + both[0] + both[0], both[1] + both[0] + both[1]
    yield "half a hello", both[0][:40], both[1][:3]
    yield "plaintext after the hellos", both[0] + GET + b"\r\n", both[1] + OK + b"\r\n"


def others():
    for number in range(40):
        yield f"noise {number}", noise(100 + number, 1 << (number % 15)), noise(200 + number, 1 << (number % 13))
    mutated = random.Random(SEED)
    for number in range(40):
        seeds = [GET + b"Content-Length: 5\r\n\r\nhello", PREFACE + SETTINGS + frame(1, 5, 1, b"\x82\x86\x84"), record(22, hello(1, noise(50, 200)))]
        data = bytearray(seeds[number % 3] * 20)
        for _ in range(mutated.randrange(1, 40)):
            data[mutated.randrange(len(data))] = mutated.randrange(256)
        yield f"mutation {number}", bytes(data), bytes(reversed(data))


def drain(sock):
    try:
        while sock.recv(1 << 16):
            pass
    except OSError:
        pass


def speak(sock, data):
    """Says it in pieces, reads until the other end is done, and closes."""
    reader = threading.Thread(target=drain, args=(sock,))
    reader.start()
    try:
        sizes = random.Random(len(data))
        at = 0
        while at < len(data):
            size = sizes.choice((1, 7, 1000, 16384, 200_000)) if at < 200_000 else 200_000
            sock.sendall(data[at : at + size])
            at += size
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    reader.join(20)
    sock.close()


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    print(port, flush=True)
    sys.stdin.readline()
    said = []
    for group in (http1, http2, tls, others):
        for name, request, response in group():
            near = socket.create_connection(("127.0.0.1", port))
            far, _ = listener.accept()
            client = near.getsockname()[1]
            server = threading.Thread(target=speak, args=(far, response))
            server.start()
            speak(near, request)
            server.join(20)
            said.append({"name": name, "port": client, "sent": len(request), "answered": len(response)})
    print(json.dumps(said), flush=True)
    sys.stdin.readline()


SEED = int(sys.argv[1]) if len(sys.argv) > 1 else 1
if __name__ == "__main__":
    main()
