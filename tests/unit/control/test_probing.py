"""control.probing: when checks are made, and what the controller's own delays excuse (M33)."""

from __future__ import annotations

from collections import Counter
from random import Random
from types import SimpleNamespace
from typing import Any

from anycast_sdn.control.probing import FIRST_WITHIN_S, MOST, Probing, Result
from anycast_sdn.core.checks import IcmpCheck, TcpCheck
from anycast_sdn.core.model import Address, Neighbour, packed
from anycast_sdn.openflow.rules import Message

STEP_S = 0.05
GATEWAY, SERVER = packed("10.2.0.1"), packed("10.2.0.10")
CHECK = TcpCheck(port=80, interval_s=5.0, timeout_s=2.0)


class Edge(SimpleNamespace):
    """A server edge that knows all servers.  ``hears``: is it connected?  ``silent``: is nothing heard of it?"""

    def __init__(self) -> None:
        super().__init__(dpid=2, mac=bytes.fromhex("02ac00000002"), hears=True, missing=False, silent=False)
        self.neighbours = SimpleNamespace(get=lambda _: None if self.missing else Neighbour(b"\6\0\0\0\0\1", 1),
                                          is_missing=lambda _: self.missing, excuses=lambda _: self.silent)  # fmt: skip

    def hears_answers_of(self, _: Address) -> bool:
        return bool(self.hears)


class Run:
    def __init__(self, *servers: Address, check: Any = CHECK) -> None:
        self.edge: Any = Edge()
        self.probing = Probing(Random(1))
        self.now = 0.0
        self.sent: list[tuple[float, Message]] = []
        self.results: list[tuple[float, Result]] = []
        self.most = 0
        for server in servers:
            self.probing.add(server, check, GATEWAY, self.edge, self.now)

    def steps(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            self.step(STEP_S)

    def step(self, seconds: float) -> None:
        """The next step comes so much later."""
        self.now += seconds
        messages, results = self.probing.step(self.now)
        self.most = max(self.most, len(messages) + len(results))
        self.sent += [(self.now, message) for _, message in messages]
        for result in results:
            self.results.append((self.now, result))
            self.probing.repeat(result.server, result.check, result.check.interval_s)


def test_first_attempts_are_spread_and_the_next_ones_keep_their_phase() -> None:
    servers = [(10 << 24 | 2 << 16 | number).to_bytes(4, "big") for number in range(1, 501)]
    run = Run(*servers, check=IcmpCheck(interval_s=5.0, timeout_s=1.0))
    run.steps(FIRST_WITHIN_S + STEP_S)
    assert len(run.sent) == 500
    in_step = Counter(when for when, _ in run.sent)
    assert max(in_step.values()) < 60
    run.steps(8.5)
    assert len(run.sent) == 1000
    assert max(Counter(when for when, _ in run.sent).values()) < 60


def test_a_step_does_so_much_and_leaves_the_rest_to_the_next() -> None:
    run = Run(*[(10 << 24 | number).to_bytes(4, "big") for number in range(1, 5001)])
    run.step(FIRST_WITHIN_S)
    assert len(run.sent) == MOST
    run.steps(5.0)
    assert run.most <= MOST
    assert len(run.sent) > 3000


def test_an_attempt_fails_in_the_second_step_after_its_time() -> None:
    run = Run(SERVER)
    run.steps(4.0)
    ((began, _),) = run.sent
    ((failed, result),) = run.results
    assert result.result == (False, "no answer within 2 s")
    assert CHECK.timeout_s <= failed - began <= CHECK.timeout_s + 3 * STEP_S


def test_a_delay_of_the_controller_fails_nobody() -> None:
    for pause in (0.8, 3.0, 60.0):
        run = Run(SERVER)
        run.steps(1.0)
        assert len(run.sent) == 1
        run.step(pause)
        run.steps(0.9)
        assert not run.results, pause
        run.steps(6.0)
        assert run.results, "later silence counts again"


def test_while_nothing_is_heard_of_the_edge_no_attempt_has_a_result() -> None:
    run = Run(SERVER)
    run.steps(1.0)
    run.edge.silent = True
    run.steps(10.0)
    assert not run.results
    run.edge.silent = False
    run.steps(6.0)
    assert run.results, "later silence counts again"


def test_a_short_delay_gives_time_to_read_what_has_come_in() -> None:
    run = Run(SERVER)
    run.steps(1.0)
    ((began, _),) = run.sent
    while run.now < began + 1.9:
        run.step(STEP_S)
    run.step(0.6)
    assert not run.results
    run.step(STEP_S)
    assert len(run.results) == 1


def test_nothing_is_sent_while_the_edge_is_away_and_nothing_fails() -> None:
    run = Run(SERVER)
    run.edge.hears = False
    run.steps(30.0)
    assert not run.sent
    run.edge.hears = True
    run.steps(1.0)
    assert len(run.sent) == 1
    run.edge.hears = False
    run.probing.edge_is_away(run.edge, run.now)
    run.steps(30.0)
    assert not run.results
    assert len(run.sent) == 1


def test_a_server_without_a_known_mac_fails_without_a_packet() -> None:
    run = Run(SERVER)
    run.edge.missing = True
    run.steps(2.0)
    assert not run.sent
    assert [result.result.output for _, result in run.results] == ["does not answer ARP or ND"]


def test_a_check_that_is_removed_is_made_no_more() -> None:
    run = Run(SERVER)
    run.steps(1.0)
    run.probing.remove(SERVER, CHECK)
    run.steps(20.0)
    assert len(run.sent) == 1
    assert not run.results
