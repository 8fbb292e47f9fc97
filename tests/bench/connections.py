"""Table 3, on real Open vSwitch: new flows with 500,000 connections in place against none, by engine.

Flows are set up one after the other, as many at a time as the window has: a client's first packet, and the server's
answer, which pins them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

from contenders import Product
from flows import SERVICE
from overload import answer_of
from packets import PORT
from realnet import SERVER, controlled, testbed
from tables import Options, Spread, progress, show
from testbed import Testbed

SIZE = 500_000
WINDOW = 32
BATCH, FILL_WINDOW = 50_000, 64
_PACKETS = str(Path(__file__).parent / "packets.py")


class Cost(NamedTuple):
    """``memory``: of the controller process in bytes, with so many connections."""

    connections: int
    memory: int
    rate: float
    p50_ms: float
    p99_ms: float
    worst_ms: float
    lost: int


def run(options: Options) -> dict[str, Any]:
    size, seconds = (20_000, 1.0) if options.quick else (SIZE, 3.0)
    costs: dict[str, tuple[Cost, Cost]] = {}
    with testbed(options.directory, options.engines) as (bed, products):
        answerer = bed.spawn("as2", [sys.executable, _PACKETS, "answer", SERVER[4]])
        bed.wait_listening("as2", PORT, "udp")
        for product in products:
            progress(f"connections: {product.name}")
            with controlled(bed, product):
                filled = _Filled(bed, product)
                before = filled.cost(seconds, options.rounds)
                filled.fill(size)
                costs[product.name] = before, filled.cost(seconds, options.rounds)
        answerer.stop()
    _show(costs)
    return {engine: [cost._asdict() for cost in both] for engine, both in costs.items()}


class _Filled:
    """A product at work, and how many flows it has had."""

    def __init__(self, bed: Testbed, product: Product) -> None:
        self._bed = bed
        self._product = product
        self._connections = 0
        self._next = 0  # flow

    def fill(self, size: int) -> None:
        while self._connections < size:
            progress(f"connections: {self._connections:,}")
            self._ask(FILL_WINDOW, min(BATCH, size - self._connections), 60.0)

    def cost(self, seconds: float, rounds: int) -> Cost:
        """Medians of so many rounds."""
        connections, memory = self._connections, resident(self._product.pid)
        asked = [self._ask(WINDOW, BATCH, seconds) for _ in range(rounds)]
        rate = Spread.of(each["done"] / each["seconds"] for each in asked).median
        times = (Spread.of(each[name] for each in asked).median for name in ("p50_ms", "p99_ms", "worst_ms"))
        return Cost(connections, memory, rate, *times, sum(each["lost"] for each in asked))

    def _ask(self, window: int, most: int, seconds: float) -> dict[str, Any]:
        words = [sys.executable, _PACKETS, "ask", "h1-eth0", SERVICE[4], str(window), str(self._next), str(most)]
        done = self._bed.run("h1", [*words, str(seconds)], timeout_s=seconds + 30)
        asked = answer_of(done.stdout, done.stderr)
        self._next += most
        self._connections += asked["done"]
        return asked


def resident(pid: int) -> int:
    """Bytes of memory that the process holds."""
    return 4096 * int(Path(f"/proc/{pid}/statm").read_text().split()[1])


def _show(costs: dict[str, tuple[Cost, Cost]]) -> None:
    rows = []
    for engine, both in costs.items():
        empty = both[0]
        for cost in both:
            row = {
                "engine": engine,
                "connections": f"{cost.connections:,}",
                "set-ups/s": f"{cost.rate:,.0f}",
                "of the rate at 0": f"{cost.rate / empty.rate:.2f}",
                "p50, p99, longest ms": f"{cost.p50_ms:.3g}, {cost.p99_ms:.3g}, {cost.worst_ms:.3g}",
                "p99 of that at 0": f"{cost.p99_ms / empty.p99_ms:.2f}",
                "lost": cost.lost,
            }
            if cost.connections:
                more = (cost.memory - empty.memory) / (cost.connections - empty.connections)
                row["controller's bytes per connection"] = f"{more:,.0f}"
            rows.append(row)
    show(f"New flows with connections in place, on real Open vSwitch; window {WINDOW}", rows)
