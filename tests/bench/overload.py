"""Table 2: real packets of new flows through real Open vSwitch, offered at rising rates.

The share of a rate is of the flows sent, those whose packet reached the server within a second.  Each
measurement starts the controller afresh on empty switches; the contenders take turns: the product with each engine,
the textbook application, and plain forwarding, for which packets go to the server's own address: what the machine
and the generators can do.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from contenders import Product, Textbook
from flows import SERVICE
from packets import IN_TIME_S, PORT
from realnet import SERVER, controlled, testbed, textbook
from tables import Options, Spread, progress, show
from testbed import Testbed

RATES = (1000, 2000, 5000, 10000, 20000, 40000, 80000)  # flows per second
USUAL_RATE = 2000  # at which times are compared
NO_LOSS = 0.999
HOPELESS = 0.5  # who lets no more through is not offered more than twice as many
REFINEMENTS = 2  # rates tried between the last without loss and the first with
PLAIN = "plain forwarding"
_PACKETS = str(Path(__file__).parent / "packets.py")


class Passage(NamedTuple):
    """``offered``: what the generator really reached, flows per second."""

    offered: float
    share: float
    p50_ms: float
    p99_ms: float
    worst_ms: float


class Case(NamedTuple):
    """Who is at work, and where the packets go."""

    name: str
    program: Product | Textbook
    address: str


Measured = dict[str, dict[int, list[Passage]]]  # name → rate → its rounds


def run(options: Options) -> dict[str, Any]:
    seconds, rounds = (1.0, 1) if options.quick else (4.0, options.rounds)
    rates = RATES[1::2] if options.quick else RATES
    with testbed(options.directory, options.engines) as (bed, products):
        cases = [Case(product.name, product, SERVICE[4]) for product in products]
        cases.append(Case(Textbook.name, textbook(bed, products[0], options.directory), SERVICE[4]))
        cases.append(Case(PLAIN, products[0], SERVER[4]))
        measured: Measured = {case.name: {} for case in cases}

        def measure(case: Case, rate: int) -> None:
            progress(f"real packets: {case.name}, {rate:,} new flows/s")
            with controlled(bed, case.program):
                measured[case.name].setdefault(rate, []).append(_pass(bed, case.address, rate, seconds))

        def share(case: Case, rate: int) -> float:
            passages = measured[case.name].setdefault(rate, [])
            while len(passages) < rounds:
                measure(case, rate)
            return _share(passages)

        for _ in range(rounds):
            for rate in rates:
                for case in cases:
                    if not _is_hopeless(measured[case.name], rate):
                        measure(case, rate)
        highest = {
            case.name: _refine(
                {rate: _share(passages) for rate, passages in measured[case.name].items()},
                partial(share, case),
                0 if options.quick else REFINEMENTS,
            )
            for case in cases
        }
        for case in cases:
            if case.program in products and case.name != PLAIN and highest[case.name]:
                share(case, 2 * highest[case.name])
    return _report(measured, highest, options.engines)


def _is_hopeless(passages: dict[int, list[Passage]], rate: int) -> bool:
    return any(2 * lower < rate and _share(some) < HOPELESS for lower, some in passages.items())


def _share(passages: list[Passage]) -> float:
    return Spread.of(passage.share for passage in passages).median


def _refine(shares: dict[int, float], measure: Callable[[int], float], steps: int) -> int:
    """The highest rate without loss, nearer than the rates measured so far; 0 when there is none."""
    good = 0
    for rate in sorted(shares):
        if shares[rate] < NO_LOSS:
            break
        good = rate
    bad = min((rate for rate in shares if rate > good), default=0)
    for _ in range(steps if bad else 0):
        middle = (good + bad) // 200 * 100
        if measure(middle) >= NO_LOSS:
            good = middle
        else:
            bad = middle
    return good


def _pass(bed: Testbed, address: str, rate: int, seconds: float) -> Passage:
    receiver = bed.spawn("as2", [sys.executable, _PACKETS, "receive", SERVER[4]])
    bed.wait_listening("as2", PORT, "udp")
    sent = bed.run("h1", [sys.executable, _PACKETS, "send", "h1-eth0", address, str(rate), str(seconds)])
    time.sleep(IN_TIME_S)
    receiver.stop()
    sender, arrived = answer_of(sent.stdout, sent.stderr), answer_of(receiver.output(), "")
    times = (arrived[name] for name in ("p50_ms", "p99_ms", "worst_ms"))
    return Passage(sender["sent"] / sender["seconds"], arrived["in_time"] / sender["sent"], *times)


def answer_of(output: str, errors: str) -> dict[str, Any]:
    """Of ``packets.py``."""
    try:
        answer: dict[str, Any] = json.loads(output)
    except ValueError:
        raise RuntimeError(f"packets.py: {output}{errors}") from None
    return answer


def _report(measured: Measured, highest: dict[str, int], engines: tuple[str, ...]) -> dict[str, Any]:
    rows = []
    for rate in sorted({rate for by_rate in measured.values() for rate in by_rate}):
        for name, by_rate in measured.items():
            if passages := by_rate.get(rate):
                share = Spread.of(100 * passage.share for passage in passages)
                rows.append({
                    "offered /s": f"{rate:,}",
                    "": name,
                    "really sent /s": Spread.of(passage.offered for passage in passages),
                    "got through %": f"{share.median:.1f} ({share.least:.1f}–{share.most:.1f})",
                    "p50, p99, longest ms": ", ".join(f"{each:.3g}" for each in _times(passages)),
                })  # fmt: skip
    show("New flows offered on real Open vSwitch: share that got through within a second", rows)
    show(f"The highest rate without loss, and times at {USUAL_RATE:,}/s", _summary(measured, highest, engines[0]))
    return {
        "highest": highest,
        "passages": {
            name: {rate: [passage._asdict() for passage in passages] for rate, passages in by_rate.items()}
            for name, by_rate in measured.items()
        },
    }


def _times(passages: list[Passage]) -> list[float]:
    """p50, p99 and the longest: the medians of all rounds."""
    return [Spread.of(passage[at] for passage in passages).median for at in (2, 3, 4)]


def _summary(measured: Measured, highest: dict[str, int], first: str) -> list[dict[str, Any]]:
    rows = []
    at_first = _times(measured[first][USUAL_RATE])[0] if USUAL_RATE in measured[first] else 0.0
    for name, rate in highest.items():
        row: dict[str, Any] = {"": name, "without loss /s": f"{rate:,}"}
        for other in (Textbook.name, first):
            row[f"of {other}"] = f"{rate / highest[other]:.1f}" if highest[other] else "none"
        if passages := measured[name].get(USUAL_RATE):
            p50, p99, longest = _times(passages)
            row |= {"p50, p99, longest ms": f"{p50:.3g}, {p99:.3g}, {longest:.3g}",
                    f"p50 of {first}": f"{p50 / at_first:.2f}" if at_first else ""}  # fmt: skip
        if rate and (passages := measured[name].get(2 * rate)):
            row["of it at twice the rate"] = f"{2 * _share(passages):.0%}"
        rows.append(row)
    return rows
