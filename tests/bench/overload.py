"""Table 2: real packets of new flows through real Open vSwitch, offered at rising rates.

The share of a rate is of the flows sent, those whose packet reached the server within a second.  Each
measurement starts the controller afresh on empty switches; the contenders take turns.
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
from packets import IN_TIME_S, PORT
from realnet import SERVER, controlled, testbed, textbook
from tables import Options, Spread, progress, show
from testbed import Testbed

RATES = (1000, 2000, 5000, 10000, 20000, 40000)  # flows per second
NO_LOSS = 0.999
REFINEMENTS = 2  # rates tried between the last without loss and the first with
_PACKETS = str(Path(__file__).parent / "packets.py")


class Passage(NamedTuple):
    """``offered``: what the generator really reached, flows per second."""

    offered: float
    share: float
    p50_ms: float
    p99_ms: float


def run(options: Options) -> dict[str, Any]:
    seconds, rounds = (1.0, 1) if options.quick else (4.0, options.rounds)
    rates = RATES[1::2] if options.quick else RATES
    with testbed(options.directory) as (bed, product):
        contenders = (product, textbook(bed, product, options.directory))
        measured: dict[str, dict[int, list[Passage]]] = {contender.name: {} for contender in contenders}

        def measure(contender: Product | Textbook, rate: int) -> None:
            progress(f"real packets: {contender.name}, {rate:,} new flows/s")
            with controlled(bed, contender):
                measured[contender.name].setdefault(rate, []).append(_pass(bed, rate, seconds))

        def share(contender: Product | Textbook, rate: int) -> float:
            passages = measured[contender.name].setdefault(rate, [])
            while len(passages) < rounds:
                measure(contender, rate)
            return _share(passages)

        for _ in range(rounds):
            for rate in rates:
                for contender in contenders:
                    measure(contender, rate)
        highest = {
            contender.name: _refine(
                {rate: _share(passages) for rate, passages in measured[contender.name].items()},
                partial(share, contender),
                0 if options.quick else REFINEMENTS,
            )
            for contender in contenders
        }
        if ours := highest[product.name]:
            share(product, 2 * ours)
    return _report(measured, highest)


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


def _pass(bed: Testbed, rate: int, seconds: float) -> Passage:
    receiver = bed.spawn("as2", [sys.executable, _PACKETS, "receive", SERVER[4]])
    bed.wait_listening("as2", PORT, "udp")
    sent = bed.run("h1", [sys.executable, _PACKETS, "send", "h1-eth0", str(rate), str(seconds)])
    time.sleep(IN_TIME_S)
    receiver.stop()
    sender, arrived = _json(sent.stdout, sent.stderr), _json(receiver.output(), "")
    in_time = arrived["in_time"] / sender["sent"]
    return Passage(sender["sent"] / sender["seconds"], in_time, arrived["p50_ms"], arrived["p99_ms"])


def _json(output: str, errors: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(output)
    except ValueError:
        raise RuntimeError(f"packets.py: {output}{errors}") from None
    return answer


def _report(measured: dict[str, dict[int, list[Passage]]], highest: dict[str, int]) -> dict[str, Any]:
    rows = []
    for rate in sorted(set().union(*measured.values())):
        row: dict[str, Any] = {"offered /s": f"{rate:,}"}
        for name, by_rate in measured.items():
            if passages := by_rate.get(rate):
                share = Spread.of(100 * passage.share for passage in passages)
                p50, p99 = (Spread.of(passage[at] for passage in passages).median for at in (2, 3))
                row |= {f"{name} %": f"{share.median:.1f} ({share.least:.1f}–{share.most:.1f})",
                        f"{name} p50, p99 ms": f"{p50:.3g}, {p99:.3g}"}  # fmt: skip
                row["really sent /s"] = Spread.of(passage.offered for passage in passages)
        rows.append(row)
    show("New flows offered on real Open vSwitch: share that got through within a second", rows)
    ours, theirs = highest[Product.name], highest[Textbook.name]
    ratio = f"{ours / theirs:.1f}" if theirs else "none"
    summary = f"highest rate without loss: {ours:,}/s, textbook {theirs:,}/s, ratio {ratio}"
    if ours:
        kept = 2 * _share(measured[Product.name][2 * ours])
        summary += f"; at twice our highest rate {kept:.0%} of that rate still get through"
    print(summary)
    return {
        "highest": highest,
        "passages": {
            name: {rate: [passage._asdict() for passage in passages] for rate, passages in by_rate.items()}
            for name, by_rate in measured.items()
        },
    }
