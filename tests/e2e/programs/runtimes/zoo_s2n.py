"""s2n-tls, and what is built on it: `zoo_s2n.py MODE ADDRESS CA BODY`, `zoo_s2n.py MODE CERTIFICATE KEY BODY`.

The AWS Common Runtime for Python (awscrt) has s2n-tls linked in and exports its functions, so one copy serves as client and server.
The mode is `crt`, `crt-h2`: the client as people use it; or `client` or `server`: the functions of s2n themselves, out of the file
that S2N_LIBRARY names, with the security policy S2N_POLICY. What they print and read is described in tests/e2e/src/zoo.rs.
"""

import ctypes
import hashlib
import json
import os
import socket
import sys
import threading
from importlib.metadata import version
from io import BytesIO
from urllib.parse import urlsplit

MODE, FIRST, SECOND, BODY_FILE = sys.argv[1:5]
with open(BODY_FILE, "rb") as file:
    BODY = file.read()
PATHS = (("GET", "/bytes/30721", b""), ("POST", "/echo", BODY))
VERSION = version("awscrt")


def say(word, **facts):
    print(word, json.dumps(facts), flush=True)


def rounds(exchange):
    for _ in sys.stdin:
        got, echoed = (hashlib.sha256(exchange(*request)).hexdigest() for request in PATHS)
        say("done", get=got, post=echoed)


def crt(http2=False):
    from awscrt import http, io

    options = io.TlsContextOptions()
    options.override_default_trust_store_from_path(None, SECOND)
    options.alpn_list = ["h2" if http2 else "http/1.1"]
    context = io.ClientTlsContext(options)
    say("ready", version=VERSION, library="s2n-tls")
    url = urlsplit(FIRST)
    found = []

    def exchange(method, path, body):
        if not found:
            tls = context.new_connection_options()
            tls.set_server_name(url.hostname)
            kind = http.Http2ClientConnection if http2 else http.HttpClientConnection
            found.append(kind.new(url.hostname, url.port, tls_connection_options=tls).result(30))
        # The library makes pseudo-header fields of it where they are wanted.
        headers = http.HttpHeaders([("host", url.netloc), ("content-length", str(len(body)))])
        request = http.HttpRequest(method, path, headers, BytesIO(body) if body else None)
        chunks = []
        answer = found[0].request(request, None, lambda http_stream, chunk, **_: chunks.append(bytes(chunk)))
        answer.activate()
        answer.completion_future.result(30)
        return b"".join(chunks)

    rounds(exchange)
    found[0].close().result(30)


class S2n:
    """The functions of s2n that are needed."""

    CLIENT, SERVER = 1, 0

    def __init__(self):
        os.environ["S2N_DONT_MLOCK"] = "1"
        self.library = ctypes.CDLL(os.environ["S2N_LIBRARY"])
        for name in ("s2n_config_new", "s2n_cert_chain_and_key_new", "s2n_connection_new"):
            getattr(self.library, name).restype = ctypes.c_void_p
        for name in ("s2n_recv", "s2n_send"):
            getattr(self.library, name).restype = ctypes.c_ssize_t
        self.library.s2n_strerror.restype = ctypes.c_char_p
        self.library.s2n_errno_location.restype = ctypes.POINTER(ctypes.c_int)
        self.call("s2n_init")
        self.config = ctypes.c_void_p(self.library.s2n_config_new())
        self.call("s2n_config_set_cipher_preferences", self.config, os.environ["S2N_POLICY"].encode())

    def call(self, name, *arguments):
        result = getattr(self.library, name)(*arguments)
        if result < 0:
            error = self.library.s2n_errno_location()[0]
            raise OSError(f"{name}: {self.library.s2n_strerror(error, b'EN').decode()}")
        return result

    def connection(self, mode, descriptor):
        connection = ctypes.c_void_p(self.library.s2n_connection_new(mode))
        self.call("s2n_connection_set_config", connection, self.config)
        self.call("s2n_connection_set_blinding", connection, 1)
        self.call("s2n_connection_set_fd", connection, descriptor)
        return connection

    def negotiate(self, connection):
        self.call("s2n_negotiate", connection, ctypes.byref(ctypes.c_int()))

    def send(self, connection, data):
        while data:
            blocked = ctypes.c_int()
            data = data[self.call("s2n_send", connection, data, ctypes.c_ssize_t(len(data)), ctypes.byref(blocked)) :]

    def receive(self, connection):
        buffer = ctypes.create_string_buffer(65536)
        blocked = ctypes.c_int()
        length = self.call("s2n_recv", connection, buffer, ctypes.c_ssize_t(len(buffer)), ctypes.byref(blocked))
        return buffer.raw[:length]

    def close(self, connection):
        self.library.s2n_shutdown_send(connection, ctypes.byref(ctypes.c_int()))
        self.call("s2n_connection_free", connection)


class Messages:
    """Messages with a length, from a blocking read."""

    def __init__(self, read):
        self.read, self.buffer = read, b""

    def more(self):
        data = self.read()
        self.buffer += data
        return bool(data)

    def next(self):
        """Head and body, or None at the end."""
        while b"\r\n\r\n" not in self.buffer:
            if not self.more():
                return None
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
        length = int(fields.get("content-length", 0))
        while len(self.buffer) < length and self.more():
            pass
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return head, body


def client():
    s2n = S2n()
    s2n.call("s2n_config_set_verification_ca_location", s2n.config, SECOND.encode(), None)
    say("ready", version=VERSION, library="s2n-tls")
    url = urlsplit(FIRST)
    state = []

    def exchange(method, path, body):
        if not state:
            plain = socket.create_connection((url.hostname, url.port))
            connection = s2n.connection(S2n.CLIENT, plain.fileno())
            s2n.call("s2n_set_server_name", connection, url.hostname.encode())
            s2n.negotiate(connection)
            state.extend([plain, connection, Messages(lambda: s2n.receive(connection))])
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        s2n.send(state[1], head.encode() + body)
        return state[2].next()[1]

    rounds(exchange)
    s2n.close(state[1])
    state[0].close()


def serve():
    s2n = S2n()
    with open(FIRST, "rb") as certificate, open(SECOND, "rb") as key:
        pair = ctypes.c_void_p(s2n.library.s2n_cert_chain_and_key_new())
        s2n.call("s2n_cert_chain_and_key_load_pem", pair, certificate.read(), key.read())
    s2n.call("s2n_config_add_cert_chain_and_key_to_store", s2n.config, pair)

    def answer(plain):
        with plain:
            connection = s2n.connection(S2n.SERVER, plain.fileno())
            s2n.negotiate(connection)
            messages = Messages(lambda: s2n.receive(connection))
            while message := messages.next():
                head, received = message
                body = received if head.startswith(b"POST") else BODY
                s2n.send(connection, f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            s2n.close(connection)

    listener = socket.create_server(("127.0.0.1", 0))
    say("ready", version=VERSION, library="s2n-tls", port=listener.getsockname()[1])

    def accept():
        while True:
            plain, _ = listener.accept()
            threading.Thread(target=answer, args=(plain,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


{"crt": crt, "crt-h2": lambda: crt(http2=True), "client": client, "server": serve}[MODE]()
