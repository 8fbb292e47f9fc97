"""A web server for a test host that keeps up with ``ab`` and ``wrk``: each request is answered with "NAME\\n".

    python3 http_server.py NAME PORT

Many connections at once, both families on one socket.  It closes a connection after its answer where the client has
not asked to keep it: in HTTP/1.0, or with "Connection: close".
"""

from __future__ import annotations

import asyncio
import socket
import sys

BACKLOG = 1024


class Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *requests, self._pending = (self._pending + data).split(b"\r\n\r\n")
        for request in requests:
            closes = b"HTTP/1.0" in request or b"connection: close" in request.lower()
            name = sys.argv[1].encode() + b"\n"
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(name), name))
            if closes:
                self._transport.close()
                return


async def main() -> None:
    listening = socket.socket(socket.AF_INET6)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listening.bind(("::", int(sys.argv[2])))
    server = await asyncio.get_running_loop().create_server(Connection, sock=listening, backlog=BACKLOG)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
