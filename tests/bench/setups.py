"""Table 1: flow set-up on emulated switches, the product and the textbook application in turns.

A set-up is a whole binding: first packet and first reply (see ``loadgen``).  With one switch the first
half alone is measured too.  Each turn starts the controller afresh, so that all begin with no bindings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from contenders import Contender, Product, Responder, Textbook, emulated_switches, network
from flows import MAX_EDGES, Edge, Packets, edges
from loadgen import EdgeLoad, LoadGenerator, Result
from tables import Options, Spread, progress, show

WINDOWS = (1, 32, 256)
FAMILIES = (4, 6)


class Case(NamedTuple):
    """One line of the table."""

    switches: int
    family: int
    window: int
    whole: bool


def cases(switches: int, family: int) -> list[Case]:
    """Whole set-ups first, while there are few bindings."""
    halves = (True, False) if switches == 1 else (True,)
    return [Case(switches, family, window, whole) for whole in halves for window in WINDOWS]


@contextmanager
def loaded(
    contender: Contender, some: Sequence[Edge], families: Sequence[int], remember: bool = False
) -> Iterator[tuple[LoadGenerator, dict[int, list[EdgeLoad]]]]:
    """A running contender, its emulated switches connected → the generator, and the loads by family."""
    switches = emulated_switches(some, remember)
    if isinstance(contender, Responder):
        del switches[1:]
    generator = LoadGenerator(switches)
    try:
        with contender:
            with generator.serving(contender.openflow_port):
                contender.await_ready(switches)
            yield generator, {
                family: [
                    EdgeLoad(switch, Packets(edge, family, *contender.punting(switch)))
                    for switch, edge in zip(switches, some, strict=False)
                ]
                for family in families
            }
    except Exception:
        progress(f"the last lines of {contender.name}:\n{contender.log()[-2000:]}")
        raise
    finally:
        generator.close()


def run(options: Options) -> dict[str, Any]:
    most, seconds = (5000, 0.3) if options.quick else (20000, 0.7)
    results: dict[tuple[str, Case], list[Result]] = {}
    for number in range(options.rounds):
        for switches in (1, MAX_EDGES):
            some = edges(switches)
            for family in FAMILIES:
                for contender in _contenders(some, options.directory, switches == 1):
                    progress(f"set-ups, round {number + 1}: {contender.name}, {switches} switches, IPv{family}")
                    with loaded(contender, some, [family]) as (generator, loads):
                        for case in cases(switches, family):
                            result = generator.run(loads[family], case.window, most, seconds, case.whole)
                            results.setdefault((contender.name, case), []).append(result)
    every = [case for switches in (1, MAX_EDGES) for family in FAMILIES for case in cases(switches, family)]
    _show(every, results)
    return {"cases": [_as_json(case, results) for case in every]}


def _contenders(some: Sequence[Edge], directory: Path, responder: bool) -> list[Contender]:
    contenders: list[Contender] = [Product.emulated(_network(some), directory), Textbook.emulated(some, directory)]
    return [*contenders, Responder()] if responder else contenders


def _network(some: Sequence[Edge]) -> object:
    """Rules with idle timeouts, however many: the same work as the textbook application's."""
    return network(some, expiry="idle_timeout")


def _rates(results: Sequence[Result]) -> Spread:
    return Spread.of(result.rate for result in results)


def _show(every: Sequence[Case], results: dict[tuple[str, Case], list[Result]]) -> None:
    rows = []
    for case in every:
        ours, theirs = results[Product.name, case], results[Textbook.name, case]
        rate = _rates(ours)
        rows.append({
            "switches": case.switches,
            "IPv": case.family,
            "window": case.window,
            "measured": "set-up" if case.whole else "first half",
            "anycast-sdn /s": rate,
            "textbook /s": _rates(theirs),
            "ratio": f"{rate.median / _rates(theirs).median:.1f}",
            "p50, p99, longest ms": _latency(ours),
            "textbook p50, p99, longest ms": _latency(theirs),
            "lost": f"{sum(r.lost for r in ours)}, {sum(r.lost for r in theirs)}",
            "generator busy": f"{max(result.busy for result in ours):.0%}",
        })  # fmt: skip
    show("Flow set-up on emulated switches; window: set-ups outstanding at each switch", rows)
    rows = []
    for (name, case), measured in results.items():
        if name == Responder.name and case.window > 1:
            rate = _rates(measured)
            busy = Spread.of(result.busy for result in measured)
            rows.append({
                "IPv": case.family,
                "window": case.window,
                "measured": "set-up" if case.whole else "first half",
                "reached /s": rate,
                "generator busy": f"{busy.median:.0%}",
                "generator alone /s": f"{rate.median / busy.median:,.0f}",
            })  # fmt: skip
    show("The generator's own ceiling: against ready-made answers, and by its own processor time", rows)


def _latency(results: Sequence[Result]) -> str:
    times = zip(*((result.p50_ms, result.p99_ms, result.worst_ms) for result in results), strict=True)
    return ", ".join(f"{Spread.of(values).median:.3g}" for values in times)


def _as_json(case: Case, results: dict[tuple[str, Case], list[Result]]) -> dict[str, Any]:
    measured = {
        name: [result._asdict() | {"rate": result.rate} for result in runs]
        for (name, its), runs in results.items()
        if its == case
    }
    return case._asdict() | {"results": measured}


def profile(options: Options) -> None:
    """Where the product's time goes: window 32, one switch, both families, as samples of its stack."""
    some = edges(1)
    for family in FAMILIES:
        file = options.directory / "profile.json"
        product = Product.emulated(_network(some), options.directory, file)
        with loaded(product, some, [family]) as (generator, loads):
            product.start_profile()
            result = generator.run(loads[family], 32, 100_000, 4.0)
        profiled = json.loads(file.read_text())
        rows = [
            {"itself": f"{entry['self'] / profiled['samples']:.1%}",
             "with what it calls": f"{entry['total'] / profiled['samples']:.1%}", "function": entry["function"]}
            for entry in sorted(profiled["functions"], key=lambda entry: -entry["self"])[:30]
        ]  # fmt: skip
        show(f"Profile of the product, IPv{family}, window 32, {result.rate:,.0f} set-ups/s while sampled", rows)
