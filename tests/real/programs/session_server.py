#!/usr/bin/env python3
"""A TCP server that holds at most so many connections at once: session_server.py NAME PORT LIMIT FILE

It greets each client with its name and keeps the connection until the client closes it.  A client beyond the limit is
reset at once.  How many there are is written into FILE, every half a second.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys

name, port, limit, file = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
open_now = 0


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    global open_now
    if open_now >= limit:
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        return
    open_now += 1
    try:
        writer.write(f"{name}\n".encode())
        await writer.drain()
        await reader.read()
        writer.close()
    except OSError:
        pass
    finally:
        open_now -= 1


async def main() -> None:
    await asyncio.start_server(serve, None, port, backlog=256)
    while True:
        with open(f"{file}.new", "w") as new:
            new.write(str(open_now))
        os.replace(f"{file}.new", file)
        await asyncio.sleep(0.5)


asyncio.run(main())
