"""Client on aioquic: `client.py PORT`. Asks for one document by HTTP/3, or sends a line by another protocol. Prints what it got, and
how many bytes of UDP it sent and received, as JSON. With `--hold` it says `ready` first and goes on when its standard input ends."""

import argparse
import asyncio
import json
import ssl
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, StreamDataReceived
from aioquic.quic.packet import QuicProtocolVersion

count = {"sent": 0, "received": 0}


class Counted:
    """A transport that counts what it sends."""

    def __init__(self, transport):
        self.transport = transport

    def sendto(self, data, *address):
        count["sent"] += len(data)
        self.transport.sendto(data, *address)

    def __getattr__(self, name):
        return getattr(self.transport, name)


class Client(QuicConnectionProtocol):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.http = None
        self.status = None
        self.body = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        count["port"] = transport.get_extra_info("sockname")[1]
        super().connection_made(Counted(transport))

    def datagram_received(self, data, address):
        count["received"] += len(data)
        super().datagram_received(data, address)

    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated) and event.alpn_protocol == "h3":
            self.http = H3Connection(self._quic)
        if self.http is None:
            if isinstance(event, StreamDataReceived):
                self.take(event.data, event.end_stream)
            return
        for part in self.http.handle_event(event):
            if isinstance(part, HeadersReceived):
                self.status = dict(part.headers)[b":status"].decode()
                self.take(b"", part.stream_ended)
            elif isinstance(part, DataReceived):
                self.take(part.data, part.stream_ended)

    def take(self, data, ended):
        self.body += data
        if ended and not self.done.done():
            self.done.set_result(None)

    async def ask(self, name):
        stream = self._quic.get_next_available_stream_id()
        if self.http is not None:
            headers = [
                (b":method", b"GET"),
                (b":scheme", b"https"),
                (b":authority", name.encode()),
                (b":path", b"/"),
            ]
            self.http.send_headers(stream, headers, end_stream=True)
        else:
            self._quic.send_stream_data(stream, b"a line\n", end_stream=True)
        self.transmit()
        await asyncio.wait_for(self.done, 20)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--name", default="quic.qtap.test")
    parser.add_argument("--alpn", action="append", default=[])
    parser.add_argument("--version", type=int, default=1)
    parser.add_argument("--hold", action="store_true")
    arguments = parser.parse_args()
    version = QuicProtocolVersion.VERSION_2 if arguments.version == 2 else QuicProtocolVersion.VERSION_1
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=arguments.alpn or ["h3"],
        server_name=arguments.name,
        verify_mode=ssl.CERT_NONE,
        original_version=version,
        supported_versions=[version],
    )
    try:
        async with connect(
            "127.0.0.1", arguments.port, configuration=configuration, create_protocol=Client
        ) as client:
            await client.ask(arguments.name)
            if arguments.hold:
                print("ready", flush=True)
                await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
            count["status"] = client.status
            count["body"] = len(client.body)
    except ConnectionError:
        count["status"] = "refused"
    print(json.dumps(count))


asyncio.run(main())
