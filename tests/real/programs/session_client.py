#!/usr/bin/env python3
"""TCP sessions that begin at random times: session_client.py ADDRESS PORT LIFETIME SEED AT:RATE [AT:RATE ...] END

From each time AT (s) on, so many sessions begin a second, until END.  Each lasts an exponential time of that mean after
the server has greeted it.  For each request one line is printed: when it began, and the server's name, or "-" if it was
refused, reset or not answered within 3 s.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time

address, port, lifetime_s, seed = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
steps = [tuple(map(float, each.split(":"))) for each in sys.argv[5:-1]]
end_s, draw = float(sys.argv[-1]), random.Random(seed)


async def session(began_s: float, lasts_s: float) -> None:
    name, writer = "-", None
    try:
        async with asyncio.timeout(3):
            reader, writer = await asyncio.open_connection(address, port)
            name = (await reader.readline()).decode().strip() or "-"
    except (OSError, TimeoutError):
        pass
    print(f"{began_s:.2f} {name}", flush=True)
    if writer:
        if name != "-":
            await asyncio.sleep(lasts_s)
        writer.close()


async def main() -> None:
    start, at, running = time.monotonic(), 0.0, set()
    while at < end_s:
        rate = [rate for since, rate in steps if since <= at][-1]
        at += draw.expovariate(rate)
        await asyncio.sleep(max(0.0, start + at - time.monotonic()))
        task = asyncio.create_task(session(time.monotonic() - start, draw.expovariate(1 / lifetime_s)))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.sleep(3)  # for the last answers


asyncio.run(main())
