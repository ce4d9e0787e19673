"""A WebSocket client over aiohttp: ws_aiohttp.py URL [CA].

Sends a text and 70,000 bytes of binary, which must come back, and a ping; closes with 1000 "done". Without permessage-deflate when
PLAIN_MESSAGES is set.
"""

import asyncio
import os
import ssl
import sys

import aiohttp


async def main():
    url, *rest = sys.argv[1:]
    context = ssl.create_default_context(cafile=rest[0]) if rest else True
    compress = 0 if os.environ.get("PLAIN_MESSAGES") else 15
    binary = bytes((at * 7 + at // 256) & 0xFF for at in range(70_000))
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url, protocols=["chat.v1"], compress=compress, ssl=context) as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"
            await socket.send_bytes(binary)
            assert await socket.receive_bytes() == binary
            await socket.ping(b"are you there")
            await socket.close(code=1000, message=b"done")


asyncio.run(main())
