"""Table 8: what it costs new flows that somebody looks, and that a binding log is written.

One emulated switch, with many bindings in place.  Flows begin at a fixed rate, whatever becomes of those before.  Turns
with and without onlookers (``onlookers``) alternate at the same controller, each round with another one; their order
changes from round to round.  Onlookers would be on other machines: so the controller has a processor for itself, and
they get what the generator leaves of the others (SCHED_IDLE).  What they take there delays the generator, too; so in
further turns (``ELSEWHERE``) they look at another controller, which has nothing to do: the difference is what looking
costs.  The binding log is compared by two controllers in turns.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from contenders import Product, network
from flows import edges
from loadgen import EdgeLoad, LoadGenerator, Paced
from programs import Program, wait_until
from setups import loaded
from tables import Options, Spread, progress, show

RATES = (5000, 10_000)
LOGGED_RATES = (2000, 5000, 10_000, 20_000)
BINDINGS = 200_000
SECONDS = 6.0  # of a turn: there is a scrape in it
FAMILY = 4
BATCH = 20_000
WINDOW = 256
VIEWS = ("overview", "flows")  # of the page
NOBODY, ELSEWHERE = "nobody", "elsewhere"
_SETTLED_S = 2.0  # after the page is there
_ONLOOKERS = str(Path(__file__).parent / "onlookers.py")
_TICKS = os.sysconf("SC_CLK_TCK")


class Turn(NamedTuple):
    """``busy``: the controller's share of a processor."""

    paced: Paced
    busy: float
    seen: dict[str, Any]


def run(options: Options) -> dict[str, Any]:
    return {"onlookers": _onlookers(options), "binding log": _binding_log(options)}


# ------------------------------------------------------------------------------ onlookers


def _onlookers(options: Options) -> dict[str, Any]:
    bindings, seconds = (20_000, 3.0) if options.quick else (BINDINGS, SECONDS)
    rates = RATES[1:2] if options.quick else RATES
    turns: dict[tuple[int, str], list[Turn]] = {}
    for number in range(options.rounds):
        elsewhere = _other(options.directory)
        with elsewhere, _filled(options.directory, bindings) as (product, generator, load), _apart(product, elsewhere):
            who = [NOBODY, ELSEWHERE, *VIEWS]
            for rate in rates:
                for name in who if number % 2 else reversed(who):
                    progress(f"onlookers, round {number + 1}: {name}, {rate:,} flows/s")
                    looked_at = elsewhere if name == ELSEWHERE else product
                    with _watched(looked_at, generator, VIEWS[0] if name == ELSEWHERE else name) as seen:
                        turn = _turn(product, generator, load, rate, seconds)
                    turns.setdefault((rate, name), []).append(turn._replace(seen=seen))
    _show_onlookers(turns, bindings)
    return {f"{name}, {rate}": [turn._asdict() | {"paced": turn.paced._asdict()} for turn in some]
            for (rate, name), some in turns.items()}  # fmt: skip


@contextmanager
def _filled(
    directory: Path, bindings: int, options: Sequence[str] = ()
) -> Iterator[tuple[Product, LoadGenerator, EdgeLoad]]:
    some = edges(1)
    product = Product.emulated(network(some, expiry="idle_timeout"), directory, options=options)
    with loaded(product, some, [FAMILY]) as (generator, loads):
        load, left = loads[FAMILY], bindings
        while left > 0:
            left -= generator.run(load, WINDOW, min(BATCH, left), 60.0).setups
        yield product, generator, load[0]


def _other(directory: Path) -> Product:
    """A controller without switches."""
    (directory / "elsewhere").mkdir(exist_ok=True)
    return Product.emulated(network(edges(1)), directory / "elsewhere")


@contextmanager
def _apart(product: Product, elsewhere: Product) -> Iterator[None]:
    """``product`` has a processor for itself; all others, and what we start, have the rest."""
    processors = os.sched_getaffinity(0)
    first = {min(processors)}
    os.sched_setaffinity(product.pid, first)
    for pid in (0, elsewhere.pid):
        os.sched_setaffinity(pid, processors - first or first)
    os.sched_setscheduler(elsewhere.pid, os.SCHED_IDLE, os.sched_param(0))
    try:
        yield
    finally:
        os.sched_setaffinity(0, processors)


def _turn(product: Product, generator: LoadGenerator, load: EdgeLoad, rate: float, seconds: float) -> Turn:
    generator.run_at(rate, load, 1.0)
    before = _processor_s(product.pid)
    paced = generator.run_at(rate, load, seconds)
    return Turn(paced, (_processor_s(product.pid) - before) / seconds, {})


@contextmanager
def _watched(product: Product, generator: LoadGenerator, view: str) -> Iterator[dict[str, Any]]:
    """→ what they have seen, afterwards."""
    seen: dict[str, Any] = {}
    if view == NOBODY:
        yield seen
        return
    url = f"http://127.0.0.1:{product.rest_port}"
    program = Program(["chrt", "--idle", "0", sys.executable, _ONLOOKERS, url, view])
    try:
        with generator.serving():
            wait_until(lambda: "ready" in program.output(), "the onlookers are there", 60.0)
            time.sleep(_SETTLED_S)
        yield seen
        program.process.send_signal(signal.SIGTERM)
        with generator.serving():
            wait_until(lambda: program.output().endswith("}\n"), "the onlookers have ended")
        seen |= json.loads(program.output().splitlines()[-1])
    except Exception:
        progress(program.output())
        raise
    finally:
        program.stop()


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _show_onlookers(turns: dict[tuple[int, str], list[Turn]], bindings: int) -> None:
    rows = []
    for (rate, name), some in turns.items():
        looks = name in VIEWS
        rows.append({
            "flows/s": f"{rate:,}",
            "who looks": f"page ({name}), scraper, 11 listeners" if looks else name,
            **_times(some),
            "p99 : nobody": "" if name == NOBODY else str(_ratio(some, turns[rate, NOBODY])),
            "p99 : elsewhere": str(_ratio(some, turns[rate, ELSEWHERE])) if looks else "",
            "page's requests": sum(turn.seen.get("requests", 0) for turn in some) or "",
            "longest scrape ms": max((each for turn in some for each in turn.seen.get("scrapes_ms", ())), default=""),
            "failures": sum(len(turn.seen.get("failures", ())) for turn in some) if looks else "",
        })  # fmt: skip
    show(f"First packets while somebody looks: {bindings:,} bindings and more", rows)


def _ratio(some: Sequence[Turn], others: Sequence[Turn]) -> Spread:
    """Of the p99, round by round."""
    return Spread.of(one.paced.p99_ms / other.paced.p99_ms for one, other in zip(some, others, strict=True))


def _times(some: Sequence[Turn]) -> dict[str, Any]:
    paced = [turn.paced for turn in some]
    return {
        "begun /s": Spread.of(each.rate for each in paced),
        "lost": sum(each.lost for each in paced),
        "p50 ms": Spread.of(each.p50_ms for each in paced),
        "p99 ms": Spread.of(each.p99_ms for each in paced),
        "longest ms": Spread.of(each.worst_ms for each in paced),
        "controller busy": f"{Spread.of(turn.busy for turn in some).median:.0%}",
    }


# ------------------------------------------------------------------------------ the binding log


def _binding_log(options: Options) -> dict[str, Any]:
    rates = LOGGED_RATES[1:2] if options.quick else LOGGED_RATES
    seconds = 2.0 if options.quick else 4.0
    turns: dict[tuple[int, str], list[Turn]] = {}
    most: dict[str, list[float]] = {}
    missing = 0
    for number in range(options.rounds):
        order = ("off", "on") if number % 2 else ("on", "off")
        for name in order:
            log = options.directory / f"log-{number}" / "bindings.jsonl"
            log.parent.mkdir(exist_ok=True)
            with _filled(log.parent, BATCH, ["--binding-log", str(log)] if name == "on" else []) as filled:
                for rate in rates:
                    progress(f"binding log, round {number + 1}: {name}, {rate:,} flows/s")
                    turns.setdefault((rate, name), []).append(_turn(*filled, rate, seconds))
                product, generator, load = filled
                most.setdefault(name, []).append(generator.run([load], WINDOW, 2 * BATCH, seconds).rate)
                with generator.serving():
                    missing += _missing(product) if name == "on" else 0
    _show_log(turns, most, missing)
    return {
        "turns": {f"{name}, {rate}": [turn.paced._asdict() | {"controller_busy": turn.busy} for turn in some]
                  for (rate, name), some in turns.items()},
        "most": most, "missing": missing,
    }  # fmt: skip


def _missing(product: Product) -> int:
    """Records."""
    with urllib.request.urlopen(f"http://127.0.0.1:{product.rest_port}/metrics", timeout=10) as answer:
        found = re.search(r"^anycast_sdn_binding_log_missing_records\S* (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found
    return int(float(found[1]))


def _show_log(turns: dict[tuple[int, str], list[Turn]], most: dict[str, list[float]], missing: int) -> None:
    rows = []
    for (rate, name), some in turns.items():
        logged = {"p99 : without": str(_ratio(some, turns[rate, "off"])) if name == "on" else ""}
        rows.append({"flows/s": f"{rate:,}", "binding log": name, **_times(some), **logged})
    show("First packets while a binding log is written", rows)
    without, with_log = Spread.of(most["off"]), Spread.of(most["on"])
    print(f"set-ups/s, window {WINDOW}: {without} without a binding log, {with_log} with one; "
          f"{missing:,} records are missing")  # fmt: skip
