#!/usr/bin/env python3
"""A WebSocket client over the library `websockets`: ws_client.py MODE URL [CA].

  talk    text, 70,000 bytes of binary, a text in three fragments, a ping; each message must come back; closes with 1000 "done"
  first   sends "hello" and waits for the server to end it; prints code and reason
  listen  reads until its standard input ends, then closes with 1001
Without permessage-deflate when PLAIN_MESSAGES is set; through a proxy when PROXY is.
"""

import asyncio
import json
import os
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


def binary():
    return bytes((at * 7 + at // 256) & 0xFF for at in range(70_000))


async def talk(socket):
    fragments = ["frag", "men", "ted"]
    for sent, expected in (("hello", "hello"), (binary(), binary()), (fragments, "".join(fragments))):
        await socket.send(sent)
        assert await socket.recv() == expected
    await (await socket.ping(b"are you there"))
    await socket.close(1000, "done")


async def main():
    mode, url, *rest = sys.argv[1:]
    context = ssl.create_default_context(cafile=rest[0]) if rest else None
    compression = None if os.environ.get("PLAIN_MESSAGES") else "deflate"
    async with connect(
        url,
        ssl=context,
        compression=compression,
        subprotocols=["chat.v1"],
        ping_interval=None,
        proxy=os.environ.get("PROXY"),
    ) as socket:
        if mode == "talk":
            await talk(socket)
        elif mode == "first":
            try:
                await socket.send("hello")
                await socket.recv()
            except ConnectionClosed as closed:
                received = closed.rcvd
                print(json.dumps({"code": received and received.code, "reason": received and received.reason}))
        else:
            done = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
            reader = asyncio.create_task(read_all(socket))
            await done
            await socket.close(1001, "going away")
            await reader


async def read_all(socket):
    try:
        async for _ in socket:
            pass
    except ConnectionClosed:
        pass


asyncio.run(main())
