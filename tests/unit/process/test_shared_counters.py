"""What masters of shared switches have counted is shown by the leader, and in metrics of each member once."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.share import Share
from anycast_sdn.core.events import Drop, Fault, PacketsDropped, RulesRepaired
from anycast_sdn.process import shared_counters
from anycast_sdn.process.shared_counters import COUNTED, SharedCounters
from anycast_sdn.views.counters import Counters

MASTER = "m1-2"


class Lines:
    def __init__(self) -> None:
        self.hear: Callable[[str, str], None]
        self.said: list[str] = []

    def publish(self, topic: str, text: str) -> None:
        assert topic == COUNTED
        self.said.append(text)

    def listen(self, topic: str, listener: Callable[[str, str], None]) -> None:
        self.hear = listener


class Member:
    def __init__(self, share: Share) -> None:
        switch = SimpleNamespace(name="arh1", share=share)
        controller = cast(Controller, SimpleNamespace(switches={1: switch}, by_name={"arh1": switch}))
        self.counters, self.lines = Counters(), Lines()
        self.shared = SharedCounters(controller, self.counters, self.lines)

    def drop(self, packets: int) -> None:
        self.counters(PacketsDropped("arh1", Drop.POOL_EMPTY, packets))

    @property
    def drops(self) -> int:
        return self.counters.drops["arh1"]["pool_empty"]


def say(master: Member, *leaders: Member) -> None:
    master.shared.beat()
    for text in master.lines.said:
        for leader in leaders:
            leader.lines.hear(MASTER, text)
    master.lines.said.clear()


def test_the_leader_shows_what_the_master_counts_from_when_it_is_first_heard() -> None:
    master, leader = Member(Share.FLOWS), Member(Share.REST)
    master.drop(5)
    leader.drop(1)
    say(master, leader)
    assert leader.drops == 1
    master.drop(2)
    master.counters(RulesRepaired("arh1", Fault.MISSING, 3))
    say(master, leader)
    assert leader.drops == 3
    assert leader.counters.repairs["arh1"] == {Fault.MISSING: 3}
    assert leader.counters.own("arh1") == ({"pool_empty": 1}, {"missing": 0})
    assert master.counters.own("arh1") == ({"pool_empty": 7}, {"missing": 3})
    leader.shared.beat()
    assert not leader.lines.said


def test_what_was_heard_of_others_is_not_said_again() -> None:
    one, other = Member(Share.FLOWS), Member(Share.FLOWS)
    say(one, other)
    one.drop(2)
    say(one, other)
    other.shared.beat()
    assert json.loads(other.lines.said[-1]) == {"arh1": [{"pool_empty": 0}, {}]}


def test_totals_are_said_when_they_change_and_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    master = Member(Share.FLOWS)
    master.shared.beat()
    master.shared.beat()
    assert len(master.lines.said) == 1
    master.drop(1)
    master.shared.beat()
    assert len(master.lines.said) == 2
    monkeypatch.setattr(shared_counters, "AGAIN_S", 0.0)
    master.shared.beat()
    assert len(master.lines.said) == 3


@pytest.mark.parametrize("text", [
    "", "[]", '{"ars9": [{}, {}]}', '{"arh1": [{"pool_empty": -1}, {}]}', '{"arh1": [{"pool_empty": "x"}, {}]}',
    '{"arh1": [[], {}]}', '{"arh1": 1}', '{"arh1": [{"invented": 7}, {"invented": 7}]}',
])  # fmt: skip
def test_a_line_that_cannot_be_read_is_dropped(text: str, caplog: Any) -> None:
    leader = Member(Share.REST)
    leader.lines.hear(MASTER, '{"arh1": [{}, {}]}')
    for _ in range(3):
        leader.lines.hear(MASTER, text)
    assert not leader.counters.drops["arh1"]
    assert len(caplog.records) <= 1
