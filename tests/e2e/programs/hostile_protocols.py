"""Both ends of connections that begin as a protocol should and go on as it should not: HTTP's streams, databases, Kafka and DNS.

    hostile_protocols.py [SEED]      says "ready"; for each line that it reads, what it did in the next protocol, as JSON

To be run in a network namespace of its own: it listens on the ports that the protocols have. A case is its protocol, its name, what is
said by turns (client, server) for a beginning, and what both ends say after that. Of each protocol the last case is called "sound": it
is what is expected of a client and a server, and nothing more.
"""

import gzip
import json
import socket
import struct
import sys
import threading
import zlib

from hostile import GET, OK, PREFACE, SETTINGS, frame, noise, speak

PORTS = {"websocket": 8080, "sse": 8081, "grpc": 50051, "redis": 6379, "postgres": 5432, "mysql": 3306, "kafka": 9092, "dns": 53}
MIB = 1 << 20


def redis():
    begin = [(b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n")]
    get = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
    yield "noise", begin, noise(1, 30_000), noise(2, 30_000)
    for length in (b"-2", b"2147483647", b"9223372036854775807", b"99999999999999999999", b"", b"x", b"-", b"+1"):
        yield f"an array of {length}", begin, b"*" + length + b"\r\n" + get, b"*" + length + b"\r\n$1\r\nv\r\n"
        yield f"a string of {length}", begin, b"*1\r\n$" + length + b"\r\nPING\r\n", b"$" + length + b"\r\nhello\r\n"
    for kind in b"%~>|=(,#_!":
        yield f"{chr(kind)} of 2,147,483,647", begin, get, bytes([kind]) + b"2147483647\r\n+a\r\n" * 50
    yield "100,000 arrays in arrays", begin, b"*1\r\n" * 100_000, b"*1\r\n" * 100_000
    yield "attributes of attributes", begin, get, b"|1\r\n" * 50_000
    yield "streams without an end", begin, get, b"*?\r\n" * 1000 + b"$?\r\n;4\r\nabcd\r\n" * 1000
    yield "a line without an end", begin, b"x" * MIB, b"+" + b"y" * MIB
    yield "a string longer than it says", begin, b"*1\r\n$4\r\nPINGPONG\r\n", b"$1\r\nvalue\r\n"
    yield "2,000 questions unanswered", begin, get * 2_000, b""
    yield "2,000 answers to nothing", begin, b"", b"+OK\r\n" * 2_000
    yield "a transaction without an end", begin, b"*1\r\n$5\r\nMULTI\r\n" + get * 2_000, b"+OK\r\n" + b"+QUEUED\r\n" * 2_000 + b"*999999\r\n"
    yield "subscriptions", begin, b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n", b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$-7\r\n" * 5_000
    yield "sound", begin + [(get, b"$1\r\nv\r\n")], b"", b""


def message(kind, body, length=None):
    return kind + struct.pack(">i", len(body) + 4 if length is None else length) + body


def postgres():
    startup = message(b"", struct.pack(">i", 196608) + b"user\0a\0database\0b\0\0")
    ready = message(b"Z", b"I")
    welcome = message(b"R", struct.pack(">i", 0)) + message(b"S", b"server_version\x0016.1\0") + message(b"K", bytes(8)) + ready
    row = message(b"T", struct.pack(">h", 1) + b"n\0" + struct.pack(">ihihih", 0, 0, 23, 4, -1, 0))
    row += message(b"D", struct.pack(">hi", 1, 1) + b"1")
    select, answer = message(b"Q", b"SELECT 1\0"), row + message(b"C", b"SELECT 1\0") + ready
    begin = [(startup, welcome), (select, answer)]
    yield "noise", begin, noise(10, 30_000), noise(11, 30_000)
    for length in (0, 3, -1, -(1 << 31), (1 << 31) - 1, 1 << 30):
        yield f"a message of {length}", begin, message(b"Q", b"SELECT 2\0" * 9, length), message(b"D", b"x" * 90, length)
    for kind in range(0, 256):
        if kind % 8 == 0:
            kinds = b"".join(message(bytes([kind + n]), noise(kind + n, 40)) for n in range(8))
            yield f"messages of the types from {kind}", begin, kinds, kinds[::-1] if kind % 16 else kinds
    yield "a statement without an end", begin, message(b"Q", b"SELECT '" + b"q" * MIB), answer
    yield "65,535 columns", begin, select, message(b"T", b"\xff\xff" + b"n\0" * 40) + message(b"D", b"\xff\xff" + b"\xff\xff\xff\xfe" * 400)
    yield "binds beyond their end", begin, message(b"P", b"s\0SELECT $1\0\xff\xff") + message(b"B", b"\0s\0\x7f\xff\x7f\xff\x7f\xff\x7f\xff") * 200, b""
    yield "2,000 parses without a sync", begin, message(b"P", b"\0SELECT 1\0\0\0") * 2_000, message(b"1", b"") * 2_000
    yield "2,000 names", begin, b"".join(message(b"P", b"s%d\0SELECT %d\0\0\0" % (n, n)) for n in range(2_000)), b""
    yield "errors without an end", begin, select, message(b"E", b"SERROR\0C42P01" + b"M" * 60_000) * 10
    yield "ready 2,000 times", begin, b"", ready * 2_000
    yield "a copy of noise", begin, message(b"Q", b"COPY t FROM STDIN\0") + message(b"d", noise(12, 60_000)) * 9, message(b"G", b"\0\xff\xff") * 9
    yield "a second startup", begin, startup * 100, welcome * 100
    yield "requests for encryption", [], message(b"", struct.pack(">i", 80877103)) * 500, b"N" * 500
    yield "a startup of 2 GiB", [], struct.pack(">ii", (1 << 31) - 1, 196608) + b"user\0" * 5_000, b""
    yield "sound", begin, message(b"X", b""), b""


def packet(sequence, body, length=None):
    return struct.pack("<I", len(body) if length is None else length)[:3] + bytes([sequence % 256]) + body


def mysql():
    def greeting(low, high):
        salt = noise(20, 20).replace(b"\0", b"x")
        head = b"\x0a8.0.36\0" + struct.pack("<I", 7) + salt[:8] + b"\0"
        return packet(0, head + struct.pack("<HBHHB", low, 45, 2, high, 21) + bytes(10) + salt[8:] + b"\0mysql_native_password\0")

    def login(capabilities):
        return packet(1, struct.pack("<IIB", capabilities, 1 << 24, 45) + bytes(23) + b"user\0\x14" + noise(21, 20) + b"mysql_native_password\0")

    fine = b"\0\0\0\x02\0\0\0"
    plain = 0x0008_A205
    query, answer = packet(0, b"\x03SELECT 1"), packet(1, fine)
    begin = [(b"", greeting(0xFFFF & ~0x0820, 0xFFFF & ~0x0100)), (login(plain), packet(2, fine)), (query, answer)]
    squeezed = [(b"", greeting(0xFFFF & ~0x0800, 0xFFFF & ~0x0100)), (login(plain | 0x20), packet(2, fine))]
    yield "noise", begin, noise(22, 30_000), noise(23, 30_000)
    yield "packets of 16 MiB", begin, packet(0, b"\x03SELECT 2", 0xFFFFFF) * 100, packet(1, b"\x05", 0xFFFFFF) * 100
    yield "empty packets", begin, packet(0, b"") * 2_000, packet(1, b"") * 2_000
    for count in (b"\xfe" + b"\xff" * 8, b"\xfd\xff\xff\xff", b"\xfc\xff\xff", b"\xfb", b"\xfe", b"\xff"):
        result = packet(1, count) + b"".join(packet(n, noise(n, 30)) for n in range(2, 200))
        yield f"columns {count}", begin, query, result
    for kind in range(0, 256, 16):
        commands = b"".join(packet(0, bytes([kind + n]) + noise(kind + n, 60)) for n in range(16))
        yield f"commands from {kind}", begin, commands, commands
    column = b"\x03def" + b"\0" * 3 + b"\xfe" + b"\xff" * 8 + b"c"
    yield "a column beyond its end", begin, query, packet(1, b"\x01") + packet(2, column) + packet(3, b"\xfe\0\0\2\0")
    yield "a statement of 65,535 parameters", begin, packet(0, b"\x16SELECT ?"), packet(1, b"\0" + struct.pack("<IHH", 1, 0xFFFF, 0xFFFF) + bytes(3))
    executes = b"".join(packet(0, b"\x17" + struct.pack("<IBI", n, 0, 1) + noise(n, 50)) for n in range(5_000))
    yield "statements that nobody prepared", begin, executes, answer * 5_000
    yield "2,000 questions unanswered", begin, query * 2_000, b""
    yield "2,000 answers to nothing", begin, b"", answer * 2_000
    yield "a file of noise", begin, packet(0, b"\x03LOAD DATA LOCAL INFILE 'x'") + packet(2, noise(24, 9_000)) * 20, packet(1, b"\xfb/etc/x")
    bomb = zlib.compress(bytes(16_000_000), 9)
    for name, body, length in (
        ("a bomb", bomb, 0xFFFFFF),
        ("noise", noise(25, 9_000), 0x8000),
        ("nothing", b"", 0xFFFFFF),
        ("less than it says", zlib.compress(b"abc"), 0xFFFF),
        ("more than it says", zlib.compress(b"abc" * 5_000), 3),
    ):
        whole = packet(0, b"", len(body)) + struct.pack("<I", length)[:3] + body
        yield f"compressed: {name}", squeezed, whole * 5, whole * 5
    yield "logins without an end", [(b"", greeting(0xFFFF, 0xFFFF))], login(0xFFFF_F7FF) * 50, packet(2, b"\xfeother\0" + noise(26, 20)) * 50
    yield "a greeting without an end", [], b"", b"\xff\xff\xff\0\x0a" + b"8" * MIB
    yield "sound", begin, packet(0, b"\x01"), b""


def kafka():
    def ask(key, version, number, body, client=b"\0\x01c"):
        whole = struct.pack(">hhi", key, version, number) + client + body
        return struct.pack(">i", len(whole)) + whole

    def reply(number, body):
        return struct.pack(">ii", len(body) + 4, number) + body

    versions, known = ask(18, 0, 1, b""), reply(1, bytes.fromhex("0000000000010012 00000000"))
    metadata, nothing = ask(3, 1, 2, b"\xff\xff\xff\xff"), reply(2, bytes.fromhex("00000000 00000000 00000000"))
    begin = [(versions, known), (metadata, nothing)]
    yield "noise", begin, noise(30, 30_000), noise(31, 30_000)
    for length in (0, -1, -(1 << 31), (1 << 31) - 1, 3):
        yield f"a frame of {length}", begin, struct.pack(">i", length) + metadata[4:] * 50, struct.pack(">i", length) + nothing[4:] * 50
    many = b"\x7f\xff\xff\xff"
    for key in range(0, 70):
        body = many + noise(key, 100)
        yield f"counts beyond the end, of {key}", begin, ask(key, 0, 7, body) + ask(key, 9, 8, many + many), reply(7, many * 5) + reply(8, b"\0" + b"\xff" * 99)
    yield "numbers without an end", begin, ask(3, 12, 7, b"\0" + b"\xff" * 5_000), reply(7, b"\0" + b"\xff" * 5_000)
    yield "a client's name beyond its end", begin, ask(3, 1, 7, b"", b"\x7f\xff" + b"n" * 50), b""
    batch = bytes(8) + many + bytes(4) + b"\x02" + bytes(4)
    for coding in range(8):
        records = batch + struct.pack(">h", coding) + bytes(36) + many + noise(coding, 2_000)
        squeezed = batch + struct.pack(">h", coding) + bytes(36) + many + gzip.compress(bytes(64 << 20), 9)
        for part in (records, squeezed):
            produced = b"\xff\xff\0\x01\0\0\0\x64\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0" + struct.pack(">i", len(part)) + part
            yield f"records in the coding {coding}, {len(part)}", begin, ask(0, 3, 7, produced), reply(7, noise(coding + 90, 200))
            fetch = b"\xff\xff\xff\xff\0\0\0\x64\0\0\0\x01\0\x10\0\0\0\0\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0" + bytes(8) + b"\0\x10\0\0"
            got = bytes(4) + b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0\0\0" + bytes(16) + many + struct.pack(">i", len(part)) + part
            yield f"fetched in the coding {coding}, {len(part)}", begin, ask(1, 4, 7, fetch), reply(7, got)
    yield "2,000 questions unanswered", begin, metadata * 2_000, b""
    yield "2,000 answers to nothing", begin, b"", nothing * 2_000
    yield "a login of noise", begin, ask(17, 0, 7, b"\0\x05PLAIN") + struct.pack(">i", 2_000) + noise(32, 2_000) * 10, reply(7, bytes(6)) + noise(33, 400)
    yield "sound", begin, b"", b""


def websocket():
    ask = b"GET /ws HTTP/1.1\r\nHost: hostile\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    ask += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    yes = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    deflate = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"

    def said(first, body, length=None, masked=True):
        mark = 0x80 if masked else 0
        size = len(body) if length is None else length
        head = bytes([first])
        if size < 126:
            head += bytes([mark | size])
        elif size < 1 << 16:
            head += bytes([mark | 126]) + struct.pack(">H", size)
        else:
            head += bytes([mark | 127]) + struct.pack(">Q", size)
        return head + (bytes(4) if masked else b"") + body

    begin = [(ask + b"\r\n", yes + b"\r\n"), (said(0x81, b"hello"), said(0x81, b"world", masked=False))]
    small = [(ask + deflate + b"\r\n", yes + deflate + b"\r\n")]
    yield "noise", begin, noise(40, 30_000), noise(41, 30_000)
    for length in (1 << 16, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
        yield f"a message of {length}", begin, said(0x82, noise(42, 70_000), length), said(0x82, noise(43, 70_000), length, False)
    for first in range(0, 256, 4):
        frames = b"".join(said(first + n, noise(first + n, 100 + n * 40)) for n in range(4))
        yield f"frames from {first}", begin, frames, b"".join(said(first + n, noise(first + n, 60), masked=False) for n in range(4))
    yield "masks on the wrong side", begin, said(0x81, b"bare", masked=False) * 50, said(0x81, b"masked") * 50
    yield "5,000 fragments", begin, said(0x01, b"a") + said(0x00, b"b") * 5_000, said(0x02, b"a", masked=False) + said(0x00, b"", masked=False) * 5_000
    yield "fragments of nothing", begin, said(0x80, b"x") * 100, said(0x00, b"x", masked=False) * 100
    yield "control frames too long", begin, said(0x89, noise(44, 5_000)) * 3, said(0x88, noise(45, 60_000), masked=False)
    yield "5,000 pings", begin, said(0x89, b"p") * 5_000, said(0x8A, b"p", masked=False) * 5_000
    yield "a close and more", begin, said(0x88, b"\0") + said(0x81, b"after") * 100, said(0x88, b"\xff\xff" + noise(46, 120), masked=False) * 9
    yield "text that is none", begin, said(0x81, b"\xff\xfe\xc0\x80\x1b[2J" * 900), said(0x81, b"\xed\xa0\x80" * 900, masked=False)
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    squeezed = bomb.compress(bytes(64 << 20)) + bomb.flush(zlib.Z_SYNC_FLUSH)
    yield "compressed: a bomb", small, said(0xC2, squeezed[:-4]) * 3, said(0xC2, squeezed[:-4], masked=False) * 3
    yield "compressed: noise", small, said(0xC2, noise(47, 9_000)) * 3, said(0xC1, noise(48, 9_000), masked=False) * 3
    yield "compressed: in the middle", small, said(0x01, b"a") + said(0xC0, noise(49, 900)), said(0xC0, b"", masked=False) * 50
    yield "sound", begin, said(0x88, b"\x03\xe8"), said(0x88, b"\x03\xe8", masked=False)


def sse():
    ask = GET + b"Accept: text/event-stream\r\n\r\n"
    head = OK + b"Content-Type: text/event-stream\r\n"
    to_close = [(ask, head + b"Connection: close\r\n\r\ndata: first\n\n")]
    # Any bytes are an event stream: lines of names that mean nothing (HTML, 9.2.6).
    yield "lines of noise", to_close, b"", noise(50, 60_000)
    yield "a line without an end", to_close, b"", b"data: " + b"d" * MIB
    yield "100,000 lines of one event", to_close, b"", b"data: d\n" * 100_000
    yield "100,000 empty lines", to_close, b"", b"\n\r\n\r" * 30_000
    yield "20,000 fields", to_close, b"", b"".join(b"f%d: v\n" % n for n in range(20_000))
    yield "2,000 events", to_close, b"", b"data:\n\n" * 2_000
    yield "odd fields", to_close, b"", b"\xef\xbb\xbfid: a\0b\nretry: 99999999999999999999999\nretry: -1\nevent\n:\n: \x1b[2J\ndata\xff\n\n" * 500
    yield "a name of 1 MiB", to_close, b"", b"event: " + b"e" * MIB + b"\nid: " + b"i" * MIB + b"\ndata: x\n\n"
    bomb = gzip.compress(b": 0123456789\n" * (4 << 20), 9)
    yield "a bomb of comments", [], ask, head + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb
    yield "broken chunks", [], ask, head + b"Transfer-Encoding: chunked\r\n\r\n" + b"5\r\ndata:\r\n7fffffffffffffff\r\n" + noise(51, 3_000)
    body = b"data: first\n\ndata: last\n\n"
    yield "sound", [(ask, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)], b"", b""


def field(name, value):
    def text(part):
        length = bytes([len(part)]) if len(part) < 127 else b"\x7f" + number(len(part) - 127)
        return length + part

    return b"\0" + text(name) + text(value)


def number(value):
    out = b""
    while value >= 128:
        out += bytes([value % 128 + 128])
        value //= 128
    return out + bytes([value])


def grpc():
    def call(stream, kind=b"application/grpc", more=b""):
        head = b"\x83\x86" + field(b":path", b"/hostile.Service/Call") + field(b"content-type", kind) + field(b"te", b"trailers") + more
        return frame(1, 4, stream, head)

    def carried(body, flag=0, length=None):
        return bytes([flag]) + struct.pack(">I", len(body) if length is None else length) + body

    reply = frame(1, 4, 1, b"\x88" + field(b"content-type", b"application/grpc"))
    trailer = frame(1, 5, 1, field(b"grpc-status", b"0"))
    begin = [(PREFACE + SETTINGS + frame(4, 1, 0, b""), SETTINGS + frame(4, 1, 0, b""))]
    fine = [(call(1) + frame(0, 1, 1, carried(b"\x0a\x01a")), reply + frame(0, 0, 1, carried(b"\x0a\x01b")) + trailer)]

    def both(data, more=b"", status=b""):
        head = frame(1, 4, 3, b"\x88" + field(b"content-type", b"application/grpc") + more)
        end = frame(1, 5, 3, status) if status else b""
        pieces = b"".join(frame(0, 0, 3, data[at : at + 16_384]) for at in range(0, len(data), 16_384))
        return call(3, more=more) + pieces, head + pieces + end

    yield "noise in messages", begin + fine, *both(noise(60, 60_000))
    for length in (0xFFFFFFFF, 0x7FFFFFFF, 1 << 20):
        yield f"a message of {length}", begin + fine, *both(carried(noise(61, 50_000), 0, length))
    for flag in (1, 2, 0x80, 0xFF):
        yield f"messages with the flag {flag}", begin + fine, *both(carried(noise(flag, 300), flag) * 50)
    gzipped = field(b"grpc-encoding", b"gzip")
    yield "a bomb", begin + fine, *both(carried(gzip.compress(bytes(64 << 20), 9), 1) * 2, gzipped)
    yield "broken gzip", begin + fine, *both(carried(noise(62, 3_000), 1) * 5, gzipped)
    yield "an encoding that nobody knows", begin + fine, *both(carried(b"x", 1) * 5, field(b"grpc-encoding", b"\xff\0" * 900))
    yield "5,000 empty messages", begin + fine, *both(carried(b"") * 5_000)
    yield "depth of 100,000", begin + fine, *both(carried(b"\x0a\xff\xff\x03" * 25_000))
    for status in (b"", b"-1", b"17", b"99999999999999999999", b"\0", b"0x1"):
        ended = field(b"grpc-status", status) + field(b"grpc-message", b"%zz%" + b"%ff" * 3_000) + field(b"grpc-status-details-bin", noise(63, 90))
        yield f"a status of {status}", begin + fine, *both(carried(b"ok"), b"", ended)
    yield "a deadline of noise", begin + fine, *both(carried(b"ok"), field(b"grpc-timeout", b"9" * 90) + field(b"grpc-timeout", b"1x"))
    calls = b"".join(call(3 + 2 * n) + frame(0, 1, 3 + 2 * n, carried(b"q")) for n in range(500))
    yield "500 calls unanswered", begin + fine, calls, b""
    yield "500 calls reset", begin + fine, calls + b"".join(frame(3, 0, 3 + 2 * n, bytes(4)) for n in range(500)), b""
    text = b"application/grpc-web-text"
    yield "text that is no base64", begin + fine, call(3, text) + frame(0, 1, 3, noise(64, 9_000)), frame(1, 4, 3, b"\x88" + field(b"content-type", text)) + frame(0, 1, 3, b"====" * 2_000)
    yield "sound", begin + fine, b"", b""


def dns():
    name = b"\x07hostile\x04qtap\x04test\0"

    def asked(ident, body=name + b"\0\1\0\1", counts=(1, 0, 0, 0), flags=0x0100):
        return struct.pack(">HH4H", ident, flags, *counts) + body

    def told(ident, answers=b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1", counts=(1, 1, 0, 0)):
        return asked(ident, name + b"\0\1\0\1" + answers, counts, 0x8180)

    def framed(body, length=None):
        return struct.pack(">H", len(body) if length is None else length) + body

    begin = [(framed(asked(1)), framed(told(1)))]
    for what, question, answer in dns_cases(asked, told):
        yield what, begin, framed(question), framed(answer)
    yield "noise", begin, noise(70, 30_000), noise(71, 30_000)
    yield "frames of nothing", begin, framed(b"") * 2_000, framed(b"") * 2_000
    yield "a frame of 65,535", begin, framed(asked(2), 0xFFFF) + noise(72, 70_000), framed(told(2), 0xFFFF) + noise(73, 70_000)
    yield "2,000 questions unanswered", begin, b"".join(framed(asked(n)) for n in range(2_000)), b""
    yield "2,000 answers to nothing", begin, b"", framed(told(9)) * 2_000
    yield "sound", begin, b"", b""


def dns_cases(asked, told):
    """Messages that are no good, whatever carries them: what is wrong, a question, an answer."""
    end = b"\0\1\0\1"
    record = b"\0\1\0\0\0\x3c"
    yield "a name that is itself", asked(2, b"\xc0\x0c" + end), told(2, b"\xc0\x2e\0\1" + record + b"\0\4\x7f\0\0\1")
    yield "names in a circle", asked(3, b"\x01a\xc0\x10\x01b\xc0\x0c" + end), told(3, (b"\x01a\xc0\x2e\0\1" + record + b"\0\0") * 50, (1, 50, 0, 0))
    yield "a name of 4,000", asked(4, (b"\x3f" + b"n" * 63) * 62 + b"\0" + end), told(4, (b"\x3f" + b"n" * 63) * 62 + b"\0" + end)
    yield "labels of 191", asked(5, b"\xbf" + b"n" * 191 + b"\0" + end), told(5, b"\x80\x40" + end)
    yield "65,535 of everything", asked(6, counts=(0xFFFF,) * 4), told(6, counts=(0xFFFF,) * 4)
    yield "data beyond its end", asked(7), told(7, b"\xc0\x0c\0\1" + record + b"\xff\xff\x7f")
    yield "an address of 3", asked(8), told(8, b"\xc0\x0c\0\1" + record + b"\0\3\x7f\0\0" + b"\xc0\x0c\0\x1c" + record + b"\0\5aaaaa", (1, 2, 0, 0))
    yield "a name that would harm a terminal", asked(9, b"\x08\x1b[2J\0\xff\r\n\0" + end), told(9)
    for kind in (5, 6, 12, 15, 16, 33, 41, 43, 46, 64, 65, 257, 0xFFFF):
        for length in (0, 1, 300):
            data = noise(kind + length, length)
            yield f"{length} of type {kind}", asked(kind), told(kind, b"\xc0\x0c" + struct.pack(">H", kind) + record + struct.pack(">H", length) + data)
    for size in range(0, 60, 3):
        yield f"the first {size}", asked(10)[:size], told(10)[:size]
    for seed in range(40):
        yield f"noise {seed}", noise(80 + seed, 12 + seed * 9), noise(130 + seed, 12 + seed * 9)


def exactly(sock, count):
    while count:
        got = sock.recv(count)
        assert got, "the peer closed"
        count -= len(got)


def main():
    listeners = {name: socket.create_server(("127.0.0.1", port)) for name, port in PORTS.items()}
    print("ready", flush=True)
    for group in (redis, postgres, mysql, kafka, websocket, sse, grpc, dns):
        sys.stdin.readline()
        protocol, told = group.__name__, []
        for name, turns, request, response in group():
            near = socket.create_connection(("127.0.0.1", PORTS[protocol]))
            far, _ = listeners[protocol].accept()
            for asked, answered in turns:
                near.sendall(asked)
                exactly(far, len(asked))
                far.sendall(answered)
                exactly(near, len(answered))
            client = near.getsockname()[1]
            server = threading.Thread(target=speak, args=(far, response))
            server.start()
            speak(near, request)
            server.join(20)
            told.append({"name": name, "port": client, "begins": bool(turns)})
        print(json.dumps(told), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
