"""gRPC-Web by sonora: a server over HTTP/1 and a client, which print what they saw as calls.py does.

`web.py server` prints `ready {"port":PORT}` and serves until the end of its input; `web.py client URL` makes one call of each method;
`web.py text HOST PORT` makes one in the text form, whose answer it decodes by hand.
"""

import base64
import hashlib
import http.client
import json
import struct
import sys
import threading
from wsgiref.simple_server import WSGIRequestHandler, make_server

import grpc

SERVICE = "e2e.Web"
FAILURE = "no such thing: 100% of grüße"


def told(messages):
    return [{"size": len(message), "sha256": hashlib.sha256(message).hexdigest()} for message in messages]


def payload(size):
    return hashlib.shake_256(str(size).encode()).digest(size)


def same(message):
    return message


class Web(grpc.GenericRpcHandler):
    def service(self, details):
        method = details.method.rsplit("/", 1)[1]
        if method == "Down":
            return grpc.unary_stream_rpc_method_handler(self.down, same, same)
        if method in ("Unary", "Fail"):
            return grpc.unary_unary_rpc_method_handler(getattr(self, method.lower()), same, same)
        return None

    def unary(self, request, context):
        return request

    def down(self, request, context):
        for index in range(int(request)):
            yield payload(index * 1000)

    def fail(self, request, context):
        context.abort(grpc.StatusCode.NOT_FOUND, FAILURE)


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def serve():
    from sonora.wsgi import grpcWSGI

    application = grpcWSGI()
    application.add_generic_rpc_handlers((Web(),))
    with make_server("127.0.0.1", 0, application, handler_class=Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print("ready", json.dumps({"port": server.server_port}), flush=True)
        sys.stdin.read()
        server.shutdown()


def make_calls(url):
    import sonora.client

    seen = []
    with sonora.client.insecure_web_channel(url) as channel:
        for kind, method, request in (
            ("unary_unary", "Unary", payload(30721)),
            ("unary_stream", "Down", b"4"),
            ("unary_unary", "Fail", b"what"),
        ):
            received, status, message = [], 0, ""
            try:
                answer = getattr(channel, kind)(f"/{SERVICE}/{method}", same, same)(request)
                received = [answer] if kind == "unary_unary" else list(answer)
            except grpc.RpcError as error:
                status, message = error.code().value[0], error.details()
            seen.append(
                {
                    "method": method,
                    "sent": told([request]),
                    "received": told(received),
                    "status": status,
                    "message": message,
                }
            )
    print(json.dumps(seen))


def make_text_call(host, port):
    request = payload(500)
    body = base64.b64encode(struct.pack(">BI", 0, len(request)) + request)
    connection = http.client.HTTPConnection(host, int(port))
    kind = "application/grpc-web-text"
    connection.request("POST", f"/{SERVICE}/Unary", body, {"Content-Type": kind, "Accept": kind})
    text = connection.getresponse().read()
    connection.close()
    # Each piece is padded by itself.
    answer = b"".join(base64.b64decode(text[at : at + 4]) for at in range(0, len(text), 4))
    (size,) = struct.unpack(">I", answer[1:5])
    received = [answer[5 : 5 + size]]
    print(
        json.dumps(
            [{"method": "Unary", "sent": told([request]), "received": told(received), "status": 0, "message": ""}]
        )
    )


mode, *arguments = sys.argv[1:]
{"server": serve, "client": make_calls, "text": make_text_call}[mode](*arguments)
