"""Clients and servers as people write them in Python: `zoo.py MODE ADDRESS CA BODY`, `zoo.py MODE CERTIFICATE KEY BODY`.

What they print and read is described in tests/e2e/src/zoo.rs.
"""

import asyncio
import hashlib
import json
import ssl
import sys
from importlib.metadata import version
from urllib.parse import urlsplit

MODE, FIRST, SECOND, BODY_FILE = sys.argv[1:5]
# `MODE-any`: whatever the server answers with.
MODE, ANY = MODE.removesuffix("-any"), MODE.endswith("-any")
with open(BODY_FILE, "rb") as file:
    BODY = file.read()
PATHS = (("GET", "/bytes/30721", b""), ("POST", "/echo", BODY))


def say(word, **facts):
    print(word, json.dumps(facts), flush=True)


def done(*bodies):
    got, echoed = (hashlib.sha256(body).hexdigest() for body in bodies)
    say("done", **({} if ANY else {"get": got, "post": echoed}))


def ready(package, library, **more):
    name = sys.version.split()[0] if package is None else version(package)
    say("ready", version=name, library=library, **more)


def die_with_parent():
    """What this program started does not outlive it, however it ends."""
    import ctypes
    import signal

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def rounds(exchange):
    """`exchange(method, path, body)` → body, as often as asked for."""
    for _ in sys.stdin:
        done(*[exchange(*request) for request in PATHS])


async def async_rounds(exchange):
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        done(*[await exchange(*request) for request in PATHS])


def http1_request(method, path, body):
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Http1Reader:
    """One response with a length, from a blocking read."""

    def __init__(self, read):
        self.read, self.buffer = read, b""

    def response(self):
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += self.read()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
        length = int(fields["content-length"])
        while len(self.buffer) < length:
            self.buffer += self.read()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return body


def http_client():
    import http.client

    ready(None, ssl.OPENSSL_VERSION)
    url = urlsplit(FIRST)
    context = ssl.create_default_context(cafile=SECOND)
    connection = http.client.HTTPSConnection(url.hostname, url.port, context=context, timeout=30)

    def exchange(method, path, body):
        connection.request(method, path, body or None)
        return connection.getresponse().read()

    rounds(exchange)
    connection.close()


def asyncio_streams():
    async def main():
        ready(None, ssl.OPENSSL_VERSION)
        url = urlsplit(FIRST)
        streams = []

        async def exchange(method, path, body):
            if not streams:
                context = ssl.create_default_context(cafile=SECOND)
                streams.extend(await asyncio.open_connection(url.hostname, url.port, ssl=context))
            reader, writer = streams
            writer.write(http1_request(method, path, body))
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.split("content-length: ")[1].split("\r\n")[0])
            return await reader.readexactly(length)

        await async_rounds(exchange)
        streams[1].close()
        await streams[1].wait_closed()

    asyncio.run(main())


def aiohttp_client():
    import aiohttp

    async def main():
        ready("aiohttp", ssl.OPENSSL_VERSION)
        context = ssl.create_default_context(cafile=SECOND)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:

            async def exchange(method, path, body):
                async with session.request(method, FIRST + path, data=body or None) as response:
                    return await response.read()

            await async_rounds(exchange)

    asyncio.run(main())


def httpx_client(http2=False):
    import httpx

    ready("httpx", ssl.OPENSSL_VERSION)
    context = ssl.create_default_context(cafile=SECOND)
    # By default a connection is given up after five seconds of rest, in which an agent may not be there yet on a busy machine.
    limits = httpx.Limits(keepalive_expiry=None)
    with httpx.Client(verify=context, http1=not http2, http2=http2, trust_env=False, limits=limits) as client:
        rounds(lambda method, path, body: client.request(method, FIRST + path, content=body or None).content)


def with_tstclnt():
    """NSS's own client, which has the connection, from its start on: what it reads it sends, and what comes it prints."""
    import pathlib
    import subprocess
    import tempfile

    installed = ["dpkg-query", "-W", "-f=${Version}", "libnss3-tools"]
    debian = subprocess.run(installed, check=True, capture_output=True, text=True).stdout
    number = debian.split(":")[-1].split("-")[0].split("+")[0]
    url = urlsplit(FIRST)
    with tempfile.TemporaryDirectory(prefix="qtap-nss-") as folder:
        database = f"sql:{pathlib.Path(folder)}"
        for command in (["-N", "--empty-password"], ["-A", "-n", "authority", "-t", "C,,", "-i", SECOND]):
            subprocess.run(["certutil", *command, "-d", database], check=True, capture_output=True)
        command = ["tstclnt", "-h", "127.0.0.1", "-p", str(url.port), "-a", url.hostname, "-d", database]
        client = subprocess.Popen(
            [*command, "-V", "tls1.2:tls1.3"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            preexec_fn=die_with_parent,
        )
        reader = Http1Reader(lambda: client.stdout.read(65536))

        def exchange(method, path, body):
            client.stdin.write(http1_request(method, path, body))
            return reader.response()

        # Until it has connected it does not read.
        exchange(*PATHS[0])
        say("ready", version=number, library=f"NSS {number}", pid=client.pid)
        rounds(exchange)
        # It would wait for the server to close.
        client.terminate()
        client.wait(20)


def pyopenssl():
    import socket

    from OpenSSL import SSL

    library = SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode()
    ready("cryptography", library)
    url = urlsplit(FIRST)
    state = []

    def exchange(method, path, body):
        if not state:
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.load_verify_locations(SECOND)
            context.set_verify(SSL.VERIFY_PEER, lambda *found: bool(found[-1]))
            connection = SSL.Connection(context, socket.create_connection((url.hostname, url.port)))
            connection.set_tlsext_host_name(url.hostname.encode())
            connection.set_connect_state()
            connection.do_handshake()
            state.extend([connection, Http1Reader(lambda: connection.recv(65536))])
        connection, reader = state
        connection.sendall(http1_request(method, path, body))
        return reader.response()

    rounds(exchange)
    state[0].shutdown()
    state[0].close()


def curl_cffi_client(http2=False):
    from curl_cffi import CurlHttpVersion, requests

    ready("curl_cffi", "BoringSSL")
    kind = CurlHttpVersion.V2_0 if http2 else CurlHttpVersion.V1_1
    with requests.Session(verify=SECOND, http_version=kind, trust_env=False) as session:
        rounds(lambda method, path, body: session.request(method, FIRST + path, data=body or None).content)


def grpc_client():
    import grpc

    ready("grpcio", "BoringSSL")
    with open(SECOND, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    with grpc.secure_channel(FIRST.removeprefix("https://"), credentials) as channel:
        get, echo = (channel.unary_unary("/zoo.Zoo/" + name) for name in ("Get", "Echo"))
        rounds(lambda method, _, body: echo(body) if method == "POST" else get(b""))


def serve_grpc():
    from concurrent import futures

    import grpc

    def answer(details):
        got = {"/zoo.Zoo/Get": lambda *_: BODY, "/zoo.Zoo/Echo": lambda body, _: body}[details.method]
        return grpc.unary_unary_rpc_method_handler(got)

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            return answer(details)

    with open(SECOND, "rb") as key, open(FIRST, "rb") as certificate:
        credentials = grpc.ssl_server_credentials([(key.read(), certificate.read())])
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([Handler()])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    ready("grpcio", "BoringSSL", port=port)
    sys.stdin.read()
    server.stop(None).wait()


def server_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(FIRST, SECOND)
    return context


async def end_of_input():
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def serve_aiohttp():
    from aiohttp import web

    async def answer(request):
        received = await request.read()
        return web.Response(body=received if request.method == "POST" else BODY)

    async def main():
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context())
        await site.start()
        ready("aiohttp", ssl.OPENSSL_VERSION, port=runner.addresses[0][1])
        await end_of_input()
        await runner.cleanup()

    asyncio.run(main())


def serve_asyncio():
    async def serve(reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.split("content-length: ")[1].split("\r\n")[0]) if "content-length" in head else 0
                received = await reader.readexactly(length)
                body = received if head.startswith("post") else BODY
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context())
        ready(None, ssl.OPENSSL_VERSION, port=server.sockets[0].getsockname()[1])
        await end_of_input()

    asyncio.run(main())


MODES = {
    "http.client": http_client,
    "asyncio": asyncio_streams,
    "aiohttp": aiohttp_client,
    "httpx": httpx_client,
    "httpx-h2": lambda: httpx_client(http2=True),
    "pyopenssl": pyopenssl,
    "tstclnt": with_tstclnt,
    "curl_cffi": curl_cffi_client,
    "curl_cffi-h2": lambda: curl_cffi_client(http2=True),
    "grpc": grpc_client,
    "grpc-server": serve_grpc,
    "aiohttp-server": serve_aiohttp,
    "asyncio-server": serve_asyncio,
}

MODES[MODE]()
