"""HTTP clients as people write them in Python. The last line of the output is JSON: what each request got.

Names under qtap.test resolve to RESOLVE_TO (127.0.0.1), so that each test has a server name of its own.
"""

import argparse
import asyncio
import hashlib
import http.client
import json
import os
import socket
import ssl
import sys
import urllib.request
from urllib.parse import urlsplit

RESOLVE_TO = os.environ.get("RESOLVE_TO", "127.0.0.1")
original_getaddrinfo = socket.getaddrinfo


def getaddrinfo(host, *arguments, **named):
    if isinstance(host, str) and host.endswith("qtap.test"):
        host = RESOLVE_TO
    return original_getaddrinfo(host, *arguments, **named)


socket.getaddrinfo = getaddrinfo


def payload(size):
    """As in server.py."""
    return hashlib.shake_256(str(size).encode()).digest(size)


def said(status, headers, body, **more):
    digest = hashlib.sha256(body).hexdigest() if body else None
    return {"status": status, "headers": headers, "body_sha256": digest, "body_len": len(body), **more}


def gate(options, number):
    """Waits for a word before each request but the first, if asked to."""
    if options.gate and number:
        print(f"done {number}", flush=True)
        sys.stdin.readline()


def context_of(options):
    context = ssl.create_default_context(cafile=options.ca)
    if options.tls:
        version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[options.tls]
        context.minimum_version = context.maximum_version = version
    return context


def with_requests(options):
    import requests

    with requests.Session() as session:
        session.trust_env = False
        for number in range(options.count):
            gate(options, number)
            data = payload(options.size) if options.size else None
            answer = session.request(options.method, options.url, data=data, verify=options.ca, timeout=30)
            headers = [list(pair) for pair in answer.raw.headers.items()]
            sent = [[name, str(value)] for name, value in answer.request.headers.items()]
            yield said(answer.status_code, headers, answer.content, request_headers=sent)


def with_urllib(options):
    data = payload(options.size) if options.size else None
    for number in range(options.count):
        gate(options, number)
        request = urllib.request.Request(options.url, data=data, method=options.method)
        context = context_of(options) if options.url.startswith("https") else None
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            yield said(answer.status, [list(pair) for pair in answer.headers.items()], answer.read())


def with_http_client(options):
    url = urlsplit(options.url)
    if url.scheme == "https":
        connection = http.client.HTTPSConnection(url.hostname, url.port, timeout=30, context=context_of(options))
    else:
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    target = url.path + ("?" + url.query if url.query else "")
    for number in range(options.count):
        gate(options, number)
        body = payload(options.size) if options.size else None
        if options.chunked:
            body = iter([body[start : start + 1000] for start in range(0, len(body), 1000)])
        connection.request(options.method, target, body, encode_chunked=options.chunked, headers={"X-Number": str(number)})
        answer = connection.getresponse()
        yield said(answer.status, [list(pair) for pair in answer.getheaders()], answer.read())
    connection.close()


def with_aiohttp(options):
    import aiohttp

    async def run():
        answers = []
        tls = context_of(options) if options.url.startswith("https") else None
        connector = aiohttp.TCPConnector(limit=options.parallel)
        async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:

            async def one():
                data = payload(options.size) if options.size else None
                async with session.request(options.method, options.url, data=data, ssl=tls) as answer:
                    body = await answer.read()
                    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in answer.raw_headers]
                    sent = [list(pair) for pair in answer.request_info.headers.items()]
                    answers.append(said(answer.status, headers, body, request_headers=sent))

            if options.parallel > 1:
                await asyncio.gather(*(one() for _ in range(options.count)))
            else:
                for number in range(options.count):
                    gate(options, number)
                    await one()
            # The connection's TLS is ended in the background.
        await asyncio.sleep(0.25)
        return answers

    yield from asyncio.run(run())


def read_response(file):
    """Status, headers and body of the next response with a length, from a buffered file."""
    status = int(file.readline().split()[1])
    headers = []
    while (line := file.readline()) not in (b"\r\n", b""):
        name, value = line.decode("latin-1").split(":", 1)
        headers.append([name, value.strip()])
    length = int(dict((name.lower(), value) for name, value in headers).get("content-length", 0))
    return said(status, headers, file.read(length))


def with_pipeline(options):
    """All requests in one write, then all responses."""
    url = urlsplit(options.url)
    sock = socket.create_connection((url.hostname, url.port), timeout=30)
    if url.scheme == "https":
        sock = context_of(options).wrap_socket(sock, server_hostname=url.hostname)
    requests = [f"GET {url.path}?n={n} HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n".encode() for n in range(options.count)]
    sock.sendall(b"".join(requests))
    with sock.makefile("rb") as file:
        for _ in requests:
            yield read_response(file)
    sock.close()


def with_memory_bio(options):
    """TLS without a socket, its records written and read one byte, two, three … at a time; counts them."""
    url = urlsplit(options.url)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context_of(options).wrap_bio(incoming, outgoing, server_hostname=url.hostname)
    sock = socket.create_connection((url.hostname, url.port), timeout=30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    count = {"sent": 0, "received": 0, "step": 0}

    def flush():
        data = outgoing.read()
        while data:
            count["step"] = count["step"] % 97 + 1
            part, data = data[: count["step"]], data[count["step"] :]
            sock.sendall(part)
            count["sent"] += len(part)

    def perform(call):
        while True:
            try:
                done = call()
                flush()
                return done
            except ssl.SSLWantReadError:
                flush()
                count["step"] = count["step"] % 97 + 1
                data = sock.recv(count["step"])
                if not data:
                    incoming.write_eof()
                count["received"] += len(data)
                incoming.write(data)

    perform(tls.do_handshake)
    request = f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n\r\n".encode()
    perform(lambda: tls.write(request))
    answer = b""
    while True:
        try:
            part = perform(lambda: tls.read(65536))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            break
        if not part:
            break
        answer += part
    try:
        tls.unwrap()
    except ssl.SSLError:
        pass
    flush()
    sock.shutdown(socket.SHUT_WR)
    while rest := sock.recv(65536):
        count["received"] += len(rest)
    sock.close()
    head, body = answer.split(b"\r\n\r\n", 1)
    headers = [line.decode().split(": ", 1) for line in head.split(b"\r\n")[1:]]
    yield said(int(head.split()[1]), headers, body, socket_sent=count["sent"], socket_received=count["received"])


def with_websocket(options):
    url = urlsplit(options.url)
    sock = socket.create_connection((url.hostname, url.port), timeout=30)
    if url.scheme == "https":
        sock = context_of(options).wrap_socket(sock, server_hostname=url.hostname)
    sock.sendall(
        f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    with sock.makefile("rb") as file:
        yield read_response(file)
        for number in range(options.count):
            # The text looks like HTTP on purpose.
            text = f"GET /phantom/{number} HTTP/1.1\r\n\r\n".encode()
            sock.sendall(bytes([0x81, 0x80 | len(text)]) + bytes(4) + text)
            file.read(4 + len(text) + 6)
        sock.sendall(bytes([0x88, 0x80]) + bytes(4))
        file.read()
    sock.close()


def with_raw(options):
    """Sends standard input as it is over a plain connection, and reads to the end."""
    url = urlsplit(options.url)
    sock = socket.create_connection((url.hostname, url.port), timeout=30)
    sock.sendall(sys.stdin.buffer.read())
    sock.shutdown(socket.SHUT_WR)
    answer = b""
    while part := sock.recv(65536):
        answer += part
    sock.close()
    yield said(0, [], answer)


def main():
    modes = {
        "requests": with_requests,
        "urllib": with_urllib,
        "http-client": with_http_client,
        "aiohttp": with_aiohttp,
        "pipeline": with_pipeline,
        "memory-bio": with_memory_bio,
        "websocket": with_websocket,
        "raw": with_raw,
    }
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=modes)
    parser.add_argument("url")
    parser.add_argument("--ca")
    parser.add_argument("--tls", choices=["1.2", "1.3"])
    parser.add_argument("--method", default="GET")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--chunked", action="store_true")
    parser.add_argument("--gate", action="store_true")
    options = parser.parse_args()
    answers = list(modes[options.mode](options))
    print(json.dumps({"answers": answers}), flush=True)


if __name__ == "__main__":
    main()
