"""HTTP/1.1 server on raw sockets that writes down what it really received and sent.

Prints its port, then serves until its standard input ends. Paths say what it answers, see `answer`. Each line of the log
is a JSON object: `kind` `transaction` or `connection`.
"""

import argparse
import base64
import gzip
import hashlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import zlib
from urllib.parse import parse_qs, urlsplit

CRLF = b"\r\n"
LOG_LOCK = threading.Lock()


def payload(size):
    """Bytes without a pattern, different for each size."""
    return hashlib.shake_256(str(size).encode()).digest(size)


def text(size):
    """Bytes that compress."""
    words = b"".join(b"line %d of a text that compresses well\n" % n for n in range(size // 30 + 1))
    return words[:size]


def encode(coding, data):
    if coding == "gzip":
        return gzip.compress(data, mtime=0)
    if coding == "deflate":
        return zlib.compress(data)
    program = {"br": ["brotli", "-c"], "zstd": ["zstd", "-q", "-c"]}[coding]
    return subprocess.run(program, input=data, stdout=subprocess.PIPE, check=True, timeout=20).stdout


class Closed(Exception):
    """The peer ended the connection."""


class Connection:
    """One accepted connection; counts the bytes on top of TLS."""

    def __init__(self, sock, peer, options):
        self.sock, self.peer, self.options = sock, peer, options
        self.buffer = b""
        self.received = self.sent = self.requests = 0

    def fill(self):
        data = self.sock.recv(self.options.read_size)
        if not data:
            raise Closed
        self.buffer += data

    def take(self, count):
        """Exactly `count` bytes."""
        parts, missing = [], count
        while missing:
            if not self.buffer:
                self.fill()
            part, self.buffer = self.buffer[:missing], self.buffer[missing:]
            parts.append(part)
            missing -= len(part)
        self.received += count
        return b"".join(parts)

    def take_until(self, mark):
        while mark not in self.buffer:
            self.fill()
        return self.take(self.buffer.index(mark) + len(mark))

    def send(self, data, pieces=0):
        self.sent += len(data)
        if not pieces:
            self.sock.sendall(data)
        for start in range(0, len(data) if pieces else 0, max(pieces, 1)):
            self.sock.sendall(data[start : start + pieces])

    def log(self, **facts):
        with LOG_LOCK, open(self.options.log, "a", encoding="utf-8") as log:
            log.write(json.dumps({**facts, "client_port": self.peer[1]}) + "\n")

    def serve(self):
        try:
            while self.transaction():
                pass
        except (Closed, ConnectionError, ssl.SSLError, OSError) as end:
            self.end = repr(end)
        finally:
            try:
                if isinstance(self.sock, ssl.SSLSocket):
                    self.sock.settimeout(2)
                    self.sock = self.sock.unwrap()
            except (OSError, ssl.SSLError):
                pass
            try:
                # A reset would lose what the peer has not read.
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            self.sock.close()
            self.log(kind="connection", received=self.received, sent=self.sent, requests=self.requests)

    def transaction(self):
        before = self.received, self.sent
        head = self.take_until(CRLF + CRLF)
        lines = head[: -len(CRLF + CRLF)].split(CRLF)
        method, target, _ = lines[0].decode("latin-1").split(" ", 2)
        headers = [[part.strip() for part in line.decode("latin-1").split(":", 1)] for line in lines[1:]]
        fields = {name.lower(): value for name, value in headers}
        interim = []
        if fields.get("expect", "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            interim.append(100)
        body = self.body(fields)
        self.requests += 1
        exchange = Exchange(self, method, target, fields, body, interim)
        goes_on = exchange.answer() and fields.get("connection", "").lower() != "close"
        self.log(
            kind="transaction",
            method=method,
            target=target,
            request_headers=headers,
            request_body_sha256=hashlib.sha256(body).hexdigest() if body else None,
            request_body_len=len(body),
            status=exchange.status,
            response_headers=exchange.headers,
            response_body_sha256=hashlib.sha256(exchange.body).hexdigest() if exchange.body else None,
            response_body_len=len(exchange.body),
            interim=interim,
            request_bytes=self.received - before[0],
            response_bytes=self.sent - before[1],
            seconds=exchange.seconds,
            port=self.options.port,
        )
        return goes_on

    def body(self, fields):
        if "chunked" in fields.get("transfer-encoding", "").lower():
            parts = []
            while size := int(self.take_until(CRLF).split(b";")[0], 16):
                parts.append(self.take(size))
                self.take(len(CRLF))
            while self.take_until(CRLF) != CRLF:
                pass
            return b"".join(parts)
        return self.take(int(fields.get("content-length", 0)))


class Exchange:
    """The answer to one request."""

    def __init__(self, connection, method, target, fields, request_body, interim):
        self.connection, self.method, self.fields = connection, method, fields
        self.request_body, self.interim = request_body, interim
        url = urlsplit(target)
        self.parts = url.path.strip("/").split("/")
        self.query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.target = target
        self.status, self.headers, self.body = 0, [], b""
        self.started = time.monotonic()

    @property
    def seconds(self):
        return time.monotonic() - self.started

    def answer(self):
        """Whether the connection goes on."""
        if self.method == "CONNECT":
            return self.tunnel()
        kind = self.parts[0]
        if delay := float(self.query.get("delay", 0)):
            time.sleep(delay)
        return getattr(self, "answer_" + kind.replace("-", "_"), self.answer_missing)()

    def head(self, status, *headers):
        reason = {200: "OK", 204: "No Content", 304: "Not Modified", 101: "Switching Protocols"}.get(status, "Status")
        self.status = status
        self.headers = [["Server", "qtap-e2e"], *map(list, headers)]
        lines = [f"HTTP/1.1 {status} {reason}"] + [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join(lines).encode("latin-1") + CRLF + CRLF

    def plain(self, status, body, *headers, of=None):
        """With a length; `of` is what the body means where it is encoded."""
        head = self.head(status, *headers, ["Content-Length", len(body)])
        self.headers = [[name, str(value)] for name, value in self.headers]
        if self.method == "HEAD":
            body = of = b""
        self.body = body if of is None else of
        self.connection.send(head + body, int(self.query.get("pieces", 0)))
        return True

    def answer_missing(self):
        said = b"" if self.connection.options.empty else b"no such path\n"
        return self.plain(404, said, ["Content-Type", "text/plain"])

    def answer_bytes(self):
        size = int(self.parts[1])
        return self.plain(200, payload(size), ["Content-Type", "application/octet-stream"])

    def answer_text(self):
        return self.plain(200, text(int(self.parts[1])), ["Content-Type", "text/plain"])

    def answer_echo(self):
        return self.plain(200, self.request_body, ["Content-Type", "application/octet-stream"])

    def answer_sink(self):
        digest = hashlib.sha256(self.request_body).hexdigest().encode()
        return self.plain(200, digest, ["Content-Type", "text/plain"])

    def answer_repeated(self):
        cookies = [["Set-Cookie", "a=1; Path=/"], ["X-One", "once"], ["Set-Cookie", "b=2"], ["set-cookie", "a=1"]]
        return self.plain(200, b"repeated\n", ["Content-Type", "text/plain"], *cookies)

    def answer_status(self):
        status = int(self.parts[1])
        if status in (204, 304):
            self.connection.send(self.head(status, ["ETag", '"e2e"']))
            return True
        return self.plain(status, b"status\n", ["Content-Type", "text/plain"])

    def answer_early_hints(self):
        self.connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
        self.interim.append(103)
        return self.answer_text_of(2000)

    def answer_text_of(self, size):
        return self.plain(200, text(size), ["Content-Type", "text/plain"])

    def chunks(self, body):
        """Chunks of 1, 2, 4 … bytes, then of at most 64 KiB."""
        size, start = 1, 0
        while start < len(body):
            part = body[start : start + size]
            yield f"{len(part):x}".encode() + CRLF + part + CRLF
            start, size = start + size, min(size * 2, 65536)

    def answer_chunked(self, *trailers):
        self.body = payload(int(self.parts[1]))
        names = [["Trailer", ", ".join(name for name, _ in trailers)]] if trailers else []
        self.connection.send(self.head(200, ["Content-Type", "application/octet-stream"], ["Transfer-Encoding", "chunked"], *names))
        for chunk in self.chunks(self.body):
            self.connection.send(chunk)
        end = b"".join(f"{name}: {value}\r\n".encode() for name, value in trailers)
        self.connection.send(b"0" + CRLF + end + CRLF)
        return True

    def answer_trailers(self):
        digest = hashlib.sha256(payload(int(self.parts[1]))).hexdigest()
        return self.answer_chunked(["X-Digest", digest], ["X-End", "yes"])

    def answer_encoded(self):
        coding, plain = self.parts[1], text(int(self.parts[2]))
        return self.plain(200, encode(coding, plain), ["Content-Type", "text/plain"], ["Content-Encoding", coding], of=plain)

    def answer_close(self):
        self.body = payload(int(self.parts[1]))
        self.connection.send(self.head(200, ["Content-Type", "application/octet-stream"]) + self.body)
        return False

    def answer_sse(self):
        self.connection.send(self.head(200, ["Content-Type", "text/event-stream"], ["Cache-Control", "no-store"]))
        for number in range(int(self.parts[1])):
            event = f"id: {number}\ndata: event {number}\n\n".encode()
            self.body += event
            self.connection.send(event)
            time.sleep(0.02)
        return False

    def answer_sendfile(self):
        """By sendfile(2), so that no call shows the bytes."""
        self.body = payload(int(self.parts[1]))
        self.connection.send(self.head(200, ["Content-Type", "application/octet-stream"], ["Content-Length", str(len(self.body))]))
        with open(self.connection.options.log + ".body", "w+b") as file:
            file.write(self.body)
            file.flush()
            file.seek(0)
            self.connection.sock.sendfile(file)
            self.connection.sent += len(self.body)
        return True

    def answer_ws(self):
        key = self.fields["sec-websocket-key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key).digest()).decode()
        self.connection.send(self.head(101, ["Upgrade", "websocket"], ["Connection", "Upgrade"], ["Sec-WebSocket-Accept", accept]))
        connection = self.connection
        while True:
            frame = connection.buffer or connection.sock.recv(65536)
            connection.buffer = b""
            if not frame:
                return False
            connection.received += len(frame)
            connection.send(b"\x82\x7e" + len(frame).to_bytes(2, "big") + frame)
            if frame[0] & 0x0F == 8:
                return False

    def tunnel(self):
        host, port = self.target.rsplit(":", 1)
        with socket.create_connection((self.connection.options.tunnel_to or host, int(port)), timeout=10) as far:
            self.connection.send(self.head(200))
            relay_both(self.connection.sock, far)
        return False


def relay(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def relay_both(near, far):
    """Until both ends have said everything."""
    both = [threading.Thread(target=relay, args=pair) for pair in ((near, far), (far, near))]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(30)


def tls_context(options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.cert, options.key)
    context.set_alpn_protocols(["http/1.1"])
    if options.tls:
        version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[options.tls]
        context.minimum_version = context.maximum_version = version
    if options.ciphers:
        context.set_ciphers(options.ciphers)
    return context


def accept(sock, peer, options, context):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(60)
    if context:
        try:
            sock = context.wrap_socket(sock, server_side=True)
        except (OSError, ssl.SSLError):
            sock.close()
            return
    Connection(sock, peer, options).serve()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", required=True)
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--tls", choices=["1.2", "1.3"])
    parser.add_argument("--ciphers")
    parser.add_argument("--read-size", type=int, default=65536)
    parser.add_argument("--tunnel-to")
    # What is not there is said without a body, so that clients which do not read it keep their connection.
    parser.add_argument("--empty", action="store_true")
    options = parser.parse_args()
    context = tls_context(options) if options.cert else None
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        # `::` also takes IPv4, which then shows as v4-mapped.
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind((options.host, options.port))
    listener.listen(1024)
    options.port = listener.getsockname()[1]
    print(options.port, flush=True)
    threading.Thread(target=accept_all, args=(listener, options, context), daemon=True).start()
    sys.stdin.read()
    os._exit(0)


def accept_all(listener, options, context):
    while True:
        sock, peer = listener.accept()
        threading.Thread(target=accept, args=(sock, peer, options, context), daemon=True).start()


if __name__ == "__main__":
    main()
