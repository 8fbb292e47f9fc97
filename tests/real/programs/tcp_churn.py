"""Many short TCP connections from a test host: each one asks, is answered, and ends, and the next one begins.

    python3 tcp_churn.py ADDRESS PORT --seconds S [--at-once N] [--reset PART] [--refused PORT]

``N`` connections are open at a time, a ``PART`` (0-1) of them end with a reset instead of a FIN; with
``--refused`` a client of its own tries that closed port, four times a second.  It prints
"OK served, FAILED failed, REFUSED refused, P99 ms" at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import struct
import sys
import time

_LINGER = struct.pack("ii", 1, 0)  # close by a reset


class Churn:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.end = time.monotonic() + arguments.seconds
        self.times: list[float] = []
        self.failed = self.refused = 0

    async def one(self) -> None:
        reader, writer = await asyncio.open_connection(self.arguments.address, self.arguments.port)
        name = await reader.readline()
        writer.write(b"x" * 100)
        answer = await reader.readexactly(100)
        assert name
        assert answer == b"x" * 100
        if (len(self.times) % 100) < 100 * self.arguments.reset:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def client(self) -> None:
        while time.monotonic() < self.end:
            began = time.monotonic()
            try:
                await asyncio.wait_for(self.one(), 10)
                self.times.append(time.monotonic() - began)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                self.failed += 1
                await asyncio.sleep(0.05)

    async def refusals(self) -> None:
        while time.monotonic() < self.end:
            try:
                await asyncio.wait_for(asyncio.open_connection(self.arguments.address, self.arguments.refused), 2)
            except ConnectionRefusedError:
                self.refused += 1
            except (OSError, TimeoutError):
                self.failed += 1
            await asyncio.sleep(0.25)

    async def run(self) -> None:
        clients = [self.client() for _ in range(self.arguments.at_once)]
        await asyncio.gather(*clients, *([self.refusals()] if self.arguments.refused else []))
        slowest = sorted(self.times)[len(self.times) * 99 // 100] if self.times else 0
        print(f"{len(self.times)} served, {self.failed} failed, {self.refused} refused, {slowest * 1000:.0f} ms")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--at-once", type=int, default=20)
    parser.add_argument("--reset", type=float, default=0.0)
    parser.add_argument("--refused", type=int, default=0)
    asyncio.run(Churn(parser.parse_args()).run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
