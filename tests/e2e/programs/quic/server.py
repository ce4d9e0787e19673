"""HTTP/3 server on aioquic; other protocols are echoed. Says its port, and when its standard input ends, which ends it too, one line of
JSON for each peer: `{"peer": port, "sent": bytes}`."""

import argparse
import asyncio
import json
import socket
import sys

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, StreamDataReceived
from aioquic.quic.packet import QuicProtocolVersion

sent = {}


class Counted:
    """A transport that counts what goes to each peer."""

    def __init__(self, transport):
        self.transport = transport

    def sendto(self, data, address):
        sent[address[1]] = sent.get(address[1], 0) + len(data)
        self.transport.sendto(data, address)

    def __getattr__(self, name):
        return getattr(self.transport, name)


class Server(QuicConnectionProtocol):
    http = None

    def connection_made(self, transport):
        super().connection_made(Counted(transport))

    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated) and event.alpn_protocol == "h3":
            self.http = H3Connection(self._quic)
        if self.http is None:
            if isinstance(event, StreamDataReceived):
                self._quic.send_stream_data(event.stream_id, event.data, event.end_stream)
                self.transmit()
            return
        for part in self.http.handle_event(event):
            if isinstance(part, (HeadersReceived, DataReceived)) and part.stream_ended:
                body = b"h3 " * 10_000
                headers = [(b":status", b"200"), (b"content-length", str(len(body)).encode())]
                self.http.send_headers(part.stream_id, headers)
                self.http.send_data(part.stream_id, body, end_stream=True)
                self.transmit()


def free_port(host):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--alpn", action="append", default=[])
    parser.add_argument("--retry", action="store_true")
    arguments = parser.parse_args()
    configuration = QuicConfiguration(
        is_client=False,
        alpn_protocols=arguments.alpn or ["h3"],
        supported_versions=[QuicProtocolVersion.VERSION_1, QuicProtocolVersion.VERSION_2],
    )
    configuration.load_cert_chain(arguments.cert, arguments.key)
    port = free_port("127.0.0.1")
    server = await serve(
        "127.0.0.1", port, configuration=configuration, create_protocol=Server, retry=arguments.retry
    )
    print(port)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for peer, count in sent.items():
        print(json.dumps({"peer": peer, "sent": count}))
    server.close()


asyncio.run(main())
