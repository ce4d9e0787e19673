#!/usr/bin/env python3
"""Server-sent events. Says its port, then serves until its standard input ends.

  /events   five events with names and ids, a retry and a comment, in chunks
  /gzip     the same, compressed and flushed event by event
  /endless  an event every 100 ms until the client goes
  /numbers?first=N&count=N  events with these numbers, each in a chunk, as the clients of numbered.py want them
"""

import argparse
import gzip
import io
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


def events():
    yield "retry: 2500\n\n"
    for number in range(5):
        yield f'id: {number}\nevent: delta\ndata: {{"number":{number}}}\n\n'
    yield ": end\n\n"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def do_GET(self):
        is_gzip = self.path == "/gzip"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        if is_gzip:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        if self.path == "/endless":
            number = 0
            try:
                while True:
                    self.chunk(f"data: {number}\n\n".encode())
                    number += 1
                    time.sleep(0.1)
            except OSError:
                self.close_connection = True
                return
        if self.path.startswith("/numbers"):
            query = parse_qs(urlsplit(self.path).query)
            first, count = (int(query[key][0]) for key in ("first", "count"))
            for number in range(first, first + count):
                self.chunk(f"id: {number}\ndata: answer-{number}-{'x' * (number * 37 % 301)}\n\n".encode())
            self.chunk(b"")
            return
        buffer = io.BytesIO()
        coder = gzip.GzipFile(fileobj=buffer, mode="wb") if is_gzip else buffer
        for event in events():
            coder.write(event.encode())
            coder.flush()
            self.chunk(buffer.getvalue())
            buffer.seek(0)
            buffer.truncate()
            time.sleep(0.02)
        if is_gzip:
            coder.close()
            self.chunk(buffer.getvalue())
        self.chunk(b"")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cert")
    parser.add_argument("--key")
    arguments = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if arguments.cert:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(arguments.cert, arguments.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


main()
