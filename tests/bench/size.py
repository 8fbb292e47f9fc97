"""Table 3: what bindings that are in place cost: set-up rate, controller memory, the sweep.

One emulated switch, which remembers its rules and shows them when the product sweeps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from contenders import Product
from flows import edges
from tables import Options, Spread, say, show
from setups import loaded

SIZES = (0, 10_000, 100_000, 500_000)
WINDOW = 32
FAMILY = 4
BATCH = 20_000  # flows made in advance while filling


class Cost(NamedTuple):
    """``memory``: of the controller process in bytes; ``sweep_s``: None while it has not swept."""

    rate: float
    memory: int
    sweep_s: float | None


def run(options: Options) -> dict[str, Any]:
    sizes = SIZES[:3] if options.quick else SIZES
    most, seconds = (5000, 0.3) if options.quick else (20000, 1.0)
    costs: dict[int, list[Cost]] = {size: [] for size in sizes}
    some = edges(1)
    for number in range(options.rounds):
        product = Product.emulated(some, options.directory)
        with loaded(product, some, [FAMILY], remember=True) as (generator, loads):
            there = 0
            for size in sizes:
                say(f"cost against size, round {number + 1}: {size:,} bindings")
                while there < size:
                    there += generator.run(loads[FAMILY], 256, min(BATCH, size - there), 60.0).setups
                memory = _resident(product.pid)
                result = generator.run(loads[FAMILY], WINDOW, most, seconds)
                there += result.setups
                with generator.serving():
                    costs[size].append(Cost(result.rate, memory, _sweep_s(product)))
    _show(costs)
    return {str(size): [cost._asdict() for cost in measured] for size, measured in costs.items()}


def _resident(pid: int) -> int:
    """Bytes of memory that the process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


def _sweep_s(product: Product) -> float | None:
    """How long the last sweep of the client edge took, as the product itself tells."""
    edge = next(edge for edge in product.rest("GET", "/v1/edges").body["edges"] if edge["name"] == "c0")
    seconds: float | None = edge.get("sweep_s")
    return seconds


def _show(costs: dict[int, list[Cost]]) -> None:
    empty = costs[0]
    rows = []
    for size, measured in costs.items():
        ratio = Spread.of(cost.rate / at_0.rate for cost, at_0 in zip(measured, empty, strict=True))
        sweeps = [cost.sweep_s for cost in measured if cost.sweep_s is not None]
        bytes_each = [(cost.memory - at_0.memory) / size for cost, at_0 in zip(measured, empty, strict=True) if size]
        rows.append({
            "bindings": f"{size:,}",
            "set-ups/s": Spread.of(cost.rate for cost in measured),
            "of the rate at 0": f"{ratio.median:.0%} ({ratio.least:.0%}–{ratio.most:.0%})",
            "bytes of memory per binding": Spread.of(bytes_each) if size else "–",
            "one sweep, s": Spread.of(sweeps) if sweeps else "–",
        })  # fmt: skip
    show(f"Cost against size; one emulated switch, window {WINDOW}, IPv{FAMILY}", rows)
