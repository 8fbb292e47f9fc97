"""Table 3: what bindings that are in place cost: set-up rate, controller memory, the sweep.

With the engine ``rules`` and one emulated switch, which stores its rules and reports them when the product sweeps.  The
rate is taken between two sweeps; set-ups one at a time during a sweep show what the sweep costs them.  With each engine
and real Open vSwitch: ``connections``; without any switch: ``memory``.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import connections
import memory
from contenders import Product, network
from flows import edges
from loadgen import EdgeLoad, LoadGenerator, Result
from programs import wait_until
from setups import loaded
from tables import Options, Spread, progress, show

SIZES = (0, 10_000, 100_000, 500_000)
WINDOW = 32
FAMILY = 4
BATCH = 20_000  # flows made in advance while filling
UNANSWERED_S = 10  # the shortest validity: the product sweeps every 5 s
SILENCE_S = 1.0  # without a statistics request: the sweep has ended


class Cost(NamedTuple):
    """``memory``: of the controller process in bytes, with so many bindings.  Without any there is no sweep."""

    rate: float
    bindings: int
    memory: int
    sweep_s: float | None = None
    p50_ms: float | None = None  # of set-ups during a sweep
    p99_ms: float | None = None
    worst_ms: float | None = None


def run(options: Options) -> dict[str, Any]:
    sizes = SIZES[:3] if options.quick else SIZES
    some = edges(1)
    costs: dict[int, list[Cost]] = {size: [] for size in sizes}
    for number in range(max(1, options.rounds - 1)):  # a round has each rate three times
        product = Product.emulated(network(some, validity={"unanswered_s": UNANSWERED_S}), options.directory)
        with loaded(product, some, [FAMILY], remember=True) as (generator, loads):
            bench = _Filled(product, generator, loads[FAMILY])
            for size in sizes:
                progress(f"cost against size, round {number + 1}: {size:,} bindings")
                bench.fill(size)
                costs[size].append(bench.cost(3000 if options.quick else 10000))
    _show(costs)
    by_size = {str(size): [cost._asdict() for cost in measured] for size, measured in costs.items()}
    return {"emulated": by_size, "alone": memory.run(options), "real": connections.run(options)}


class _Filled:
    """A product at work, and how many bindings it has."""

    def __init__(self, product: Product, generator: LoadGenerator, loads: list[EdgeLoad]) -> None:
        self._product = product
        self._generator = generator
        self._loads = loads
        self._rules = generator.switches[0].rules
        self._bindings = 0

    def fill(self, size: int) -> None:
        while self._bindings < size:
            self._run(256, min(BATCH, size - self._bindings), 60.0)

    def cost(self, most: int) -> Cost:
        bindings, held = self._bindings, connections.resident(self._product.pid)
        if not bindings:
            return Cost(self._rate(most), 0, held)
        self._await_sweep()  # for the first of this size the emulated switch has to sort its rules
        sweep_s = self._await_sweep()
        rate = self._rate(most)
        asked = self._rules.asked
        with self._generator.serving():
            wait_until(lambda: self._rules.asked > asked, "the next sweep begins")
        during = self._run(1, most, min(1.0, sweep_s))
        return Cost(rate, bindings, held, sweep_s, during.p50_ms, during.p99_ms, during.worst_ms)

    def _rate(self, most: int) -> float:
        return Spread.of(self._run(WINDOW, most, 1.0).rate for _ in range(3)).median

    def _run(self, window: int, most: int, seconds: float) -> Result:
        result = self._generator.run(self._loads, window, most, seconds)
        self._bindings += result.setups
        self._rules.settle()
        return result

    def _await_sweep(self) -> float:
        """Waits for the end of a sweep → how long it took, in seconds, as the product shows."""
        rules, asked = self._rules, self._rules.asked
        with self._generator.serving():
            wait_until(lambda: rules.asked > asked, "a sweep begins", 60.0)
            # Asking the product whether it is done would slow it down.
            wait_until(lambda: time.monotonic() - rules.asked_at > SILENCE_S, "the sweep ends", 60.0)
            edges = self._product.rest("GET", "/v1/edges").body["edges"]
        return float(next(edge for edge in edges if edge["name"] == "c0")["last_sweep_s"])


def _show(costs: dict[int, list[Cost]]) -> None:
    empty = costs[0]
    rows = []
    for size, measured in costs.items():
        ratio = Spread.of(cost.rate / at_0.rate for cost, at_0 in zip(measured, empty, strict=True))
        row: dict[str, Any] = {
            "bindings": f"{size:,}",
            "set-ups/s": Spread.of(cost.rate for cost in measured),
            "of the rate at 0": f"{ratio.median:.0%} ({ratio.least:.0%}–{ratio.most:.0%})",
        }
        if size:
            row["bytes of memory per binding"] = Spread.of(
                (cost.memory - at_0.memory) / cost.bindings for cost, at_0 in zip(measured, empty, strict=True)
            )
            row["one sweep, s"] = Spread.of(cost.sweep_s or 0.0 for cost in measured)
            row["set-up during a sweep: p50 ms"] = Spread.of(cost.p50_ms or 0.0 for cost in measured)
            row["p99 ms"] = Spread.of(cost.p99_ms or 0.0 for cost in measured)
            row["longest ms"] = Spread.of(cost.worst_ms or 0.0 for cost in measured)
        rows.append(row)
    show(f"Cost against size; one emulated switch, window {WINDOW}, IPv{FAMILY}", rows)
