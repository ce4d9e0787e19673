"""gRPC for Python: a server and a client of the same calls as calls.js.

`calls.py server CERTIFICATE KEY` prints `ready {"version":…,"plain":PORT,"tls":PORT}`, serves until the end of its input, and then prints
what it saw. `calls.py client ADDRESS [CA]` prints `ready`, waits for a line, makes one call of each method and prints what it saw; with HOLD in its
environment it makes the first one before that. What was seen is a JSON list of
`{"method":…,"sent":[{"size":…,"sha256":…},…],"received":[…],"status":CODE,"message":…}`; a server does not know the status of a call that
its client gave up, which is then null.
"""

import hashlib
import json
import os
import sys
import threading
import time
from concurrent import futures

import grpc

SERVICE = "e2e.Calls"
FAILURE = "no such thing: 100% of grüße"
TIMEOUT_SECONDS = 0.3
SEEN = []
LOCK = threading.Lock()


def told(messages):
    return [{"size": len(message), "sha256": hashlib.sha256(message).hexdigest()} for message in messages]


def note(method, sent, received, status, message=""):
    with LOCK:
        SEEN.append(
            {"method": method, "sent": told(sent), "received": told(received), "status": status, "message": message}
        )


def payload(size):
    return hashlib.shake_256(str(size).encode()).digest(size)


class Calls(grpc.GenericRpcHandler):
    def service(self, details):
        service, method = details.method.lstrip("/").split("/")
        handler = getattr(self, method.lower(), None)
        if service != SERVICE or handler is None:
            return None
        kind = {
            "Up": grpc.stream_unary_rpc_method_handler,
            "Down": grpc.unary_stream_rpc_method_handler,
            "Both": grpc.stream_stream_rpc_method_handler,
            "Cancelled": grpc.unary_stream_rpc_method_handler,
        }.get(method, grpc.unary_unary_rpc_method_handler)
        return kind(handler)

    def unary(self, request, context):
        note("Unary", [request], [request], 0)
        return request

    def packed(self, request, context):
        context.set_compression(grpc.Compression.Gzip)
        note("Packed", [request], [request], 0)
        return request

    def up(self, requests, context):
        received = list(requests)
        answer = str(sum(map(len, received))).encode()
        note("Up", [answer], received, 0)
        return answer

    def down(self, request, context):
        sent = []
        for index in range(int(request)):
            sent.append(payload(index * 1000))
            yield sent[-1]
        note("Down", sent, [request], 0)

    def both(self, requests, context):
        seen = []
        for request in requests:
            seen.append(request)
            yield request
        note("Both", seen, seen, 0)

    def fail(self, request, context):
        context.set_trailing_metadata((("grpc-status-details-bin", b"\x08\x05"),))
        note("Fail", [], [request], grpc.StatusCode.NOT_FOUND.value[0], FAILURE)
        context.abort(grpc.StatusCode.NOT_FOUND, FAILURE)

    def slow(self, request, context):
        note("Slow", [], [request], None)
        deadline = time.monotonic() + 5
        while context.is_active() and time.monotonic() < deadline:
            time.sleep(0.01)
        return b"late"

    def cancelled(self, request, context):
        sent = []
        deadline = time.monotonic() + 5
        # A call that is cancelled while it is here is not resumed, but ended at the yield.
        try:
            while context.is_active() and time.monotonic() < deadline:
                sent.append(b"tick")
                yield sent[-1]
                time.sleep(0.02)
        finally:
            note("Cancelled", sent, [request], None)


def serve(certificate, key):
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers([Calls()])
    plain = server.add_insecure_port("127.0.0.1:0")
    with open(certificate, "rb") as chain, open(key, "rb") as private:
        credentials = grpc.ssl_server_credentials([(private.read(), chain.read())])
    tls = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    print("ready", json.dumps({"version": grpc.__version__, "plain": plain, "tls": tls}), flush=True)
    sys.stdin.read()
    server.stop(1).wait()
    print(json.dumps(SEEN), flush=True)


def call(channel, kind, method, requests, **options):
    stub = getattr(channel, kind)(f"/{SERVICE}/{method}")
    argument = iter(requests) if kind.startswith("stream") else requests[0]
    received, code, message = [], grpc.StatusCode.OK, ""
    try:
        answer = stub(argument, **options)
        if kind.endswith("unary"):
            received.append(answer)
        else:
            for part in answer:
                received.append(part)
                if method == "Cancelled" and len(received) == 2:
                    answer.cancel()
    except grpc.RpcError as error:
        code, message = error.code(), error.details()
    note(method, requests, received, code.value[0], message)


def wait():
    print("ready", flush=True)
    sys.stdin.readline()


def make_calls(address, authority):
    options = [("grpc.use_local_subchannel_pool", 1)]
    if authority:
        with open(authority, "rb") as file:
            channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(file.read()), options)
    else:
        channel = grpc.insecure_channel(address, options)
    with channel:
        if "HOLD" not in os.environ:
            wait()
        call(channel, "unary_unary", "Unary", [payload(30721)])
        if "HOLD" in os.environ:
            wait()
        call(channel, "unary_unary", "Packed", [b"qtap" * 2500], compression=grpc.Compression.Gzip)
        call(channel, "stream_unary", "Up", [payload(size) for size in (10, 0, 70_000, 1)])
        call(channel, "unary_stream", "Down", [b"5"])
        call(channel, "stream_stream", "Both", [payload(size) for size in (3, 2000, 40_000)])
        call(channel, "unary_unary", "Fail", [b"what"])
        call(channel, "unary_unary", "Missing", [b""])
        call(channel, "unary_unary", "Slow", [b"wait"], timeout=TIMEOUT_SECONDS)
        call(channel, "unary_stream", "Cancelled", [b"go"])
    print(json.dumps(SEEN), flush=True)


mode, *arguments = sys.argv[1:]
if mode == "server":
    serve(*arguments)
else:
    make_calls(arguments[0], arguments[1] if len(arguments) > 1 else None)
