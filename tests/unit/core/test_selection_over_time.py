"""Selection over time: demand that enters, flows that end, reports that come late (M26).

Three edges in a line with two servers each.  Counts are random as those of many independent flows (a normal
approximation of Poisson's and the binomial distribution), from a seed.
"""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from dataclasses import dataclass, field

import pytest

from anycast_sdn.core.selection import Candidate, Measured, Memory, Rule, select

INTERVAL_S = 5.0
EDGES, PER_EDGE = 3, 2
WAYS = {(f"e{a}", f"e{b}"): 10.0 * abs(a - b) for a in range(EDGES) for b in range(EDGES)}
SERVERS = [(f"s{number}".encode(), f"e{number // PER_EDGE}") for number in range(EDGES * PER_EDGE)]


@dataclass
class Scene:
    lifetime_s: float
    delay_s: float = 5.0
    capacity: float | None = 2000.0  # as it is configured
    true: float = 2000.0
    says: dict[int, float] = field(default_factory=dict)  # server → the load that it always reports
    base: float = 0.4  # demand of each edge, as a share of its servers' true capacity …
    step: float = 1.4  # … and at e0 from ``begins_s`` on
    begins_s: float = 100.0
    length_s: float = 1600.0
    seed: int = 1


class Run:
    def __init__(self, scene: Scene) -> None:
        self.scene, self.random = scene, random.Random(scene.seed)
        at_home = scene.base * scene.true
        self.flows = {(edge, name): at_home * (edge == home) for edge in self.edges for name, home in SERVERS}
        self.memory = Memory()
        self.reports: dict[bytes, Measured] = {}
        self.mail: deque[tuple[float, bytes, Measured]] = deque()
        self.kept: list[tuple[float, float]] = []  # (time, share of e0's new flows that its own servers get)
        self.held: list[tuple[float, dict[bytes, float]]] = []

    @property
    def edges(self) -> list[str]:
        return [f"e{number}" for number in range(EDGES)]

    def around(self, mean: float) -> float:
        return max(0.0, self.random.gauss(mean, math.sqrt(mean))) if mean > 0 else 0.0

    def sessions(self) -> dict[bytes, float]:
        held = Counter[bytes]()
        for (_, name), count in self.flows.items():
            held[name] += count
        return {name: held[name] for name, _ in SERVERS}

    def report(self, now: float) -> None:
        for at, (name, held) in enumerate(self.sessions().items()):
            load = self.scene.says.get(at, min(1.0, held / self.scene.true))
            self.mail.append((now + self.scene.delay_s, name, Measured(load, held, int(now))))

    def pass_time(self, now: float, tables: dict[str, Counter[bytes]]) -> None:
        """An interval: of the old flows, and of those that begin in it, some have ended at its end."""
        stay = math.exp(-INTERVAL_S / self.scene.lifetime_s)
        for edge in self.edges:
            demand = self.scene.step if edge == "e0" and now >= self.scene.begins_s else self.scene.base
            begun = demand * self.scene.true * PER_EDGE * (1 - stay)
            for name, _ in SERVERS:
                ended = self.around(self.flows[edge, name] * (1 - stay))
                new = self.around(begun * tables[edge][name] / 64)
                self.flows[edge, name] = max(0.0, self.flows[edge, name] - ended) + new

    def run(self) -> Run:
        now = 0.0
        while now < self.scene.length_s:
            if now % 10 == 0:
                self.report(now)
            while self.mail and self.mail[0][0] <= now:
                _, name, measured = self.mail.popleft()
                self.reports[name] = measured
            held = self.sessions()
            servers = [Candidate(name, edge, capacity=self.scene.capacity, sessions=held[name],
                                 measured=self.reports.get(name)) for name, edge in SERVERS]  # fmt: skip
            demand = {edge: sum(self.flows[edge, name] for name, _ in SERVERS) for edge in self.edges}
            got = select(Rule(), servers, demand, WAYS, self.memory)
            self.memory = got.memory
            tables = {edge: Counter(slots) for edge, slots in got.memory.slots.items()}
            self.kept.append((now, sum(tables["e0"][name] for name, edge in SERVERS if edge == "e0") / 64))
            self.held.append((now, held))
            self.pass_time(now, tables)
            now += INTERVAL_S
        return self

    def swing(self) -> float:
        """Range of 95 % of the shares that e0 keeps, in points, in the second half of the step."""
        from_s = self.scene.begins_s + (self.scene.length_s - self.scene.begins_s) / 2
        late = sorted(share for at, share in self.kept if at >= from_s)
        return 100 * (late[round(0.975 * (len(late) - 1))] - late[round(0.025 * (len(late) - 1))])


@pytest.mark.parametrize("lifetime_s", [1, 30, 600])
@pytest.mark.parametrize("delay_s", [5, 15, 30])
@pytest.mark.parametrize("capacity", [2000, 5000, None])
def test_shares_do_not_swing_after_a_step_of_demand_however_late_reports_are(lifetime_s, delay_s, capacity):
    length_s = 1600 if lifetime_s < 600 else 6000
    assert Run(Scene(lifetime_s, delay_s, capacity, length_s=length_s)).run().swing() < 15


@pytest.mark.parametrize("lifetime_s", [1, 30])
def test_after_a_step_of_demand_no_server_stays_past_its_capacity(lifetime_s):
    run = Run(Scene(lifetime_s)).run()
    assert max(max(held.values()) for at, held in run.held if at > 400) < 0.9 * 2000


def test_a_server_that_always_says_1_is_relieved_but_not_emptied_and_overloads_nobody():
    run = Run(Scene(30, says={0: 1.0}, base=0.55, step=0.55)).run()
    _, held = run.held[-1]
    assert 0.05 * 2000 < held[b"s0"] < 0.2 * 2000
    assert max(held.values()) < 0.85 * 2000


def test_a_server_that_always_says_0_gets_no_more_than_its_capacity_allows():
    run = Run(Scene(30, says={0: 0.0})).run()
    assert max(held[b"s0"] for at, held in run.held if at > 400) < 0.9 * 2000
