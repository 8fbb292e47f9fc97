"""Many TCP transfers at once for a test host: blocks go to an echo server, come back, and are compared.

    python3 tcp_crowd.py ADDRESS PORT --transfers N --seconds S

SIGUSR1 ends the transfers before their time, in order.
It prints "connected" when all are, and at the end one line of JSON: how many transfers came to their end
with the right checksum, how many did not, the servers' names with their number of transfers, and the longest
time in seconds that any block took to come back.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import hashlib
import json
import random
import signal
import sys
import time

BLOCK, PAUSE_S = 4096, 0.25


class Crowd:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.servers: collections.Counter[str] = collections.Counter()
        self.finished = self.failed = 0
        self.longest = 0.0
        self.is_told_to_end = False
        self.all_connected = asyncio.Event()

    async def transfer(self, number: int) -> None:
        try:
            reader, writer = await asyncio.open_connection(self.arguments.address, self.arguments.port)
            self.servers[(await reader.readline()).decode().strip()] += 1
            if self.servers.total() == self.arguments.transfers:
                print("connected", flush=True)
                self.all_connected.set()
            await self.all_connected.wait()
            right = await self.exchange(reader, writer, random.Random(number))
            writer.close()
            await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError) as error:
            print(f"transfer {number}: {error!r}", flush=True)
            right = False
        self.finished += right
        self.failed += not right

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, noise: random.Random) -> bool:
        sent, received = hashlib.sha256(), hashlib.sha256()
        await asyncio.sleep(noise.random() * PAUSE_S)
        end = time.monotonic() + self.arguments.seconds
        while (start := time.monotonic()) < end and not self.is_told_to_end:
            block = noise.randbytes(BLOCK)
            sent.update(block)
            writer.write(block)
            received.update(await reader.readexactly(BLOCK))
            self.longest = max(self.longest, time.monotonic() - start)
            await asyncio.sleep(PAUSE_S)
        return sent.digest() == received.digest()

    def end(self) -> None:
        self.is_told_to_end = True

    async def run(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.end)
        await asyncio.gather(*map(self.transfer, range(self.arguments.transfers)))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--transfers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10)

    async def run() -> Crowd:
        crowd = Crowd(parser.parse_args())
        await crowd.run()
        return crowd

    crowd = asyncio.run(run())
    print(json.dumps({"finished": crowd.finished, "failed": crowd.failed, "servers": crowd.servers,
                      "longest": round(crowd.longest, 2)}), flush=True)  # fmt: skip
    return 0 if not crowd.failed else 1


if __name__ == "__main__":
    sys.exit(main())
