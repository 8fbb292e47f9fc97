"""Several controllers, broken again and again under load: what is lost, row by row of docs/cluster.md.

    sudo .venv/bin/python tests/bench/partitions.py [--rows kill,freeze,etcd,mixed,restarts] [--rounds N] [--minutes M]

``--rounds`` of each row; those of ``mixed`` are one after the other of all kinds.  It ends by itself after
``--minutes`` at the latest, between two rounds.  It exits with 1 when something was seen that must never be.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for folder in ("tests/real", "mininet", ""):
    sys.path.insert(0, str(ROOT / folder))

from broken import Outcome, Scene, Seen, Size, broken  # noqa: E402
from programs import TestbedError  # noqa: E402
from tabulate import tabulate  # noqa: E402

Break = Callable[[Scene, Seen], None]
LONG_S, LOG_CHARACTERS = 12.0, 6000  # after such a gap, members' logs are shown
SHORT = ("udp_s: 300", "udp_s: 30")  # so that flows of earlier rounds do not stay


def nothing(_: Scene, __: Seen) -> None:
    """What the machine itself loses."""
    time.sleep(5)


def kill(_: Scene, seen: Seen) -> None:
    seen.leader.kill()
    seen.await_another_leader()
    time.sleep(2)


def freeze(_: Scene, seen: Seen) -> None:
    seen.leader.freeze()
    seen.await_another_leader()
    seen.leader.thaw()
    time.sleep(2)


def etcd(_: Scene, seen: Seen) -> None:
    seen.leader.part_from_etcd()
    seen.await_another_leader()
    time.sleep(2)


def switches(_: Scene, seen: Seen) -> None:
    seen.leader.switches.swallow()
    seen.await_another_leader()
    seen.leader.switches.restore()
    time.sleep(2)


def restarts(scene: Scene, _: Seen) -> None:
    """All members, one after the other, as an operator would who does not drain."""
    for member in scene.members:
        member.stop()
        time.sleep(0.5)
        member.start()
        scene.controllers.await_masters()


ROWS: dict[str, tuple[Iterable[Break], bool]] = {  # what breaks; with a look at every role reply
    "nothing": ([nothing], False),
    "kill": ([kill], False),
    "freeze": ([freeze], False),
    "etcd": ([etcd], False),
    "mixed": ([etcd, freeze, kill, etcd, freeze, switches], True),
    "restarts": ([restarts], False),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--known", type=int, default=125, help="TCP flows, and as many of UDP, in each family")
    parser.add_argument("--new", type=float, default=50.0, help="new flows a second in each family")
    arguments = parser.parse_args()
    until_s = time.monotonic() + 60 * arguments.minutes
    size = Size(arguments.known, arguments.new)
    lines, faults = [], []
    with tempfile.TemporaryDirectory(prefix="anycast-sdn-") as directory, broken(Path(directory), SHORT) as scene:
        for row in arguments.rows.split(","):
            outcomes, failed = play(scene, row, arguments.rounds, size, until_s)
            faults += [f"{row}: {fault}" for fault in failed]
            lines.append(summary(row, outcomes, failed))
            print(tabulate([lines[-1]], HEADERS), flush=True)
    print(tabulate(lines, HEADERS))
    print(*faults, sep="\n")
    return 1 if faults else 0


def play(scene: Scene, row: str, rounds: int, size: Size, until_s: float) -> tuple[list[Outcome], list[str]]:
    breaks, fenced = ROWS[row]
    outcomes, faults = [], []
    for number, what in zip(range(rounds), itertools.cycle(breaks), strict=False):
        if time.monotonic() > until_s:
            break
        try:
            with scene.load(size, fenced) as seen:
                what(scene, seen)
        except TestbedError as error:
            faults.append(f"round {number}, {what.__name__}: {error}")
            continue
        outcomes.append(seen.outcome)
        if seen.outcome.gap_s > LONG_S:
            print(*(f"{member.name}: {member.log()[-LOG_CHARACTERS:]}" for member in scene.members), sep="\n")
        faults += [f"round {number}, {what.__name__}: {fault}" for fault in seen.outcome.faults]
        print(f"{row} {number} {what.__name__}: {seen.outcome}", *seen.outcome.faults[:5], sep="\n  ", flush=True)
    return outcomes, faults


HEADERS = ("row", "rounds", "known flows", "lost", "of UDP requests", "lost", "TCP waited", "new flows", "unserved",
           "last after", "at most", "role replies", "faults")  # fmt: skip


def summary(row: str, outcomes: list[Outcome], faults: list[str]) -> list[object]:
    gaps = sorted(each.gap_s for each in outcomes) or [0.0]
    names = ("known", "lost", "asked", "unanswered", "new", "unserved", "replies")
    sums = {name: sum(getattr(each, name) for each in outcomes) for name in names}
    longest = max((each.longest_s for each in outcomes), default=0.0)
    return [row, len(outcomes), sums["known"], sums["lost"], sums["asked"], sums["unanswered"], f"{longest:.2f} s",
            sums["new"], sums["unserved"], f"{gaps[len(gaps) // 2]:.2f} s", f"{gaps[-1]:.2f} s", sums["replies"],
            len(faults)]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
