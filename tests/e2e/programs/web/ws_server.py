#!/usr/bin/env python3
"""A WebSocket server over the library `websockets`. Says its port, then serves until its standard input ends.

What it does is told by the path:
  /echo    sends back every message
  /error   closes with 1011 after the first message
  /abrupt  drops the connection after the first message, without a close frame
  /tick    sends a number every 100 ms until the client closes
"""

import argparse
import asyncio
import ssl
import sys

from websockets.asyncio.server import serve


async def handle(socket):
    path = socket.request.path
    if path == "/tick":
        number = 0
        while True:
            await socket.send(f'{{"tick":{number}}}')
            number += 1
            await asyncio.sleep(0.1)
    async for message in socket:
        if path == "/error":
            await socket.close(1011, "internal trouble")
        elif path == "/abrupt":
            socket.transport.abort()
        else:
            await socket.send(message)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--plain-messages", action="store_true", help="no permessage-deflate")
    arguments = parser.parse_args()
    context = None
    if arguments.cert:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(arguments.cert, arguments.key)
    compression = None if arguments.plain_messages else "deflate"
    async with serve(
        handle, "127.0.0.1", 0, ssl=context, compression=compression, subprotocols=["chat.v1"], ping_interval=None
    ) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
