"""Between members: the leader is sent the flows of switches whose masters are others."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from anycast_sdn.control.outcome import Outcome
from anycast_sdn.control.share import Share
from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.first_replies import Asked
from anycast_sdn.core.model import packed
from anycast_sdn.process import mirroring
from anycast_sdn.process.mirroring import ENDED, MIRROR, MIRRORED, REPLIES, Mirroring
from anycast_sdn.process.sharing import By
from tests.unit.engines import samples
from tests.unit.engines.samples import CLIENT_EDGE, KEY, SERVER

GENERATION, TERM = 7, 3


class Lines:
    """Of one member: what it publishes is kept until ``deliver``."""

    def __init__(self, member: str, others: list[Lines]) -> None:
        self.member, self.others = member, others
        self.listeners: dict[str, Callable[[str, str], None]] = {}
        self.said: list[tuple[str, str]] = []
        others.append(self)

    def publish(self, topic: str, text: str) -> None:
        assert "\n" not in text
        self.said.append((topic, text))

    def listen(self, topic: str, listener: Callable[[str, str], None]) -> None:
        self.listeners[topic] = listener

    def begun(self, member: str) -> int:
        return 1

    def deliver(self) -> None:
        said, self.said = self.said, []
        for topic, text in said:
            for other in self.others:
                if other is not self:
                    other.listeners[topic](self.member, text)


class Member:
    """A ``Masters``, and a ``Sharing``."""

    def __init__(self, member: str, others: list[Lines], share: Share) -> None:
        self.member, self._share = member, share
        self.managed: dict[int, By] = {}
        self.controller = samples.controller()
        self.begins()
        self.lines = Lines(member, others)
        self.outcomes: list[Outcome] = []
        self.mirroring = Mirroring(
            self.controller, self, self, lambda dpid: GENERATION, self.lines, self.outcomes.append
        )

    def begins(self) -> None:
        for switch in self.controller.switches.values():
            switch.share, switch._has_flows = self._share, self._share is Share.FLOWS

    def leads(self) -> bool:
        return self._share is Share.REST

    def term(self) -> int:
        return TERM

    def is_master(self, dpid: int) -> bool:
        return self._share is Share.FLOWS

    def is_latest(self, member: str, term: int) -> bool:
        return not self.leads() and term == TERM

    @property
    def switch(self):
        return self.controller.switches[CLIENT_EDGE]

    @property
    def flows(self):
        return self.switch.engine.flows


class Two:
    def __init__(self) -> None:
        others: list[Lines] = []
        self.leader, self.master = Member("a", others, Share.REST), Member("b", others, Share.FLOWS)
        self.other = Member("c", others, Share.FLOWS)
        self.leader.managed[CLIENT_EDGE] = By("b", GENERATION, (1, 1))

    def beat(self) -> None:
        for each in (self.leader, self.master, self.other):
            each.mirroring.beat()
            each.lines.deliver()
        waiting = self.leader.mirroring._waiting
        while waiting:
            self.leader.mirroring.take(*waiting.popleft())

    def begin(self, flows: int) -> None:
        for number in range(1, flows + 1):
            self.master.flows.put(flow(number))
        self.beat()

    @property
    def is_equal(self) -> bool:
        return [each[:3] for each in self.leader.flows] == [each[:3] for each in self.master.flows]


def flow(number: int, **changes) -> Binding:
    key = KEY._replace(source_port=number)
    return Binding(number, key, bytes((203, 0, 113 + number // 256, number % 256)), "dns", 5.0, SERVER)._replace(
        **changes
    )


@pytest.fixture
def two() -> Two:
    return Two()


def test_the_leader_knows_all_flows_and_then_what_changes(two: Two):
    assert not two.leader.switch.knows_flows
    two.begin(1000)
    assert two.leader.switch.knows_flows
    assert two.is_equal
    assert two.leader.flows.pinned_to(SERVER) == 1000
    two.master.flows.put(flow(2000))
    two.master.flows.remove(flow(5))
    two.beat()
    assert two.is_equal
    assert two.leader.switch.statistics(0.0).rules == two.master.switch.statistics(0.0).rules


def test_nothing_is_sent_when_nothing_changes(two: Two):
    two.begin(10)
    two.master.mirroring.beat()
    assert not two.master.lines.said
    assert not two.other.lines.said


def test_after_a_line_that_was_lost_all_flows_are_sent_anew(two: Two):
    two.begin(1000)
    two.master.flows.remove(flow(5))
    two.master.mirroring.beat()
    two.master.lines.said.clear()
    two.master.flows.put(flow(2000))
    two.beat()
    assert not two.is_equal
    assert len(two.leader.flows) == 1000  # none of those that were known is forgotten meanwhile
    two.beat()
    assert two.is_equal


def test_a_master_that_begins_anew_sends_what_it_has_then(two: Two):
    two.begin(10)
    two.master.controller.begin_anew()
    two.master.begins()
    two.master.mirroring.begin_anew()
    two.master.flows.put(flow(77))
    two.beat()
    two.beat()
    assert two.is_equal
    assert two.leader.switch.knows_flows


def test_a_leader_that_begins_anew_is_sent_all(two: Two):
    two.begin(10)
    two.leader.controller.begin_anew()
    two.leader.begins()
    two.leader.mirroring.begin_anew()
    assert not two.leader.switch.knows_flows
    two.beat()
    assert two.is_equal
    assert two.leader.switch.knows_flows


def test_a_switch_that_the_leader_manages_again_by_the_same_master_is_sent_anew(two: Two):
    two.begin(10)
    two.leader.switch.disconnected()
    assert not two.leader.switch.knows_flows
    assert len(two.leader.flows) == 10
    two.beat()
    assert two.leader.switch.knows_flows
    assert two.is_equal


def test_a_master_that_is_wanted_no_more_notes_nothing(two: Two, monkeypatch):
    two.begin(10)
    two.leader.managed.clear()
    two.beat()
    two.beat()
    two.master.flows.put(flow(99))
    two.beat()
    assert not two.master.flows.pop_touched()
    assert len(two.leader.flows) == 10
    two.leader.managed[CLIENT_EDGE] = By("b", GENERATION, (1, 1))
    two.beat()
    assert two.is_equal
    monkeypatch.setattr(mirroring, "SILENT_S", -1.0)  # the leader is heard no more
    two.master.mirroring.send()
    two.master.flows.put(flow(100))
    assert not two.master.flows.pop_touched()


@pytest.mark.parametrize("what", ["end", "close"])
def test_flows_that_an_operator_ends_at_the_leader_are_ended_by_their_master(two: Two, what: str):
    for number in (1, 2, 3):
        two.master.switch.engine.edge.adopt(flow(number), 1.0)
    two.beat()
    controller = two.leader.controller
    out = controller.end_flow("west", 2, 9.0) if what == "end" else controller.close_flows("west", [2], 9.0)
    assert not out.outbox
    assert controller.has_flow("west", 2)
    two.beat()
    two.beat()
    assert not controller.has_flow("west", 2)
    assert [each.number for each in two.master.flows] == [1, 3]
    assert two.is_equal
    messages = [message for out in two.master.outcomes for message in out.outbox.get(CLIENT_EDGE, ())]
    assert len(messages) == 2  # its rules are removed
    assert sum(two.leader.switch.statistics(9.0).closed.values()) <= 1


def test_the_leader_counts_what_has_become_of_first_packets(two: Two):
    there, here = (each.switch.engine.first_replies for each in (two.master, two.leader))
    long_ago = time.monotonic() - 10
    for number in range(1, 301):
        there.asked(flow(number, since=long_ago, server=None, choice=5))
        if number % 3:
            there.replied(flow(number, since=long_ago), SERVER, number % 3 == 2, long_ago + (number + 0.3) / 1000)
    two.beat()
    two.beat()
    observed = here.pop(time.monotonic())
    replies = observed.replies["dns", SERVER]
    assert (replies.answered, replies.refused, len(replies.times)) == (100, 100, 100)
    assert replies.seconds == pytest.approx(sum((number + 0.3) / 1000 for number in range(1, 301, 3)))
    assert observed.unanswered == {Asked("dns", False, 5): 100}
    assert here.all.figures() == there.all.figures()
    assert here.of_groups["dns"].figures() == there.of_groups["dns"].figures()
    assert not any(here.pop(time.monotonic()))


def test_what_becomes_of_first_packets_does_not_pile_up_at_a_master_that_nobody_asks(two: Two):
    replies = two.other.switch.engine.first_replies
    for number in range(1, 301):
        replies.asked(flow(number, since=time.monotonic() - 10))
    two.other.mirroring.beat()
    assert not len(replies)


def test_nobody_but_the_leader_of_now_ends_flows(two: Two):
    two.master.switch.engine.edge.adopt(flow(1), 1.0)
    for term, generation in ((TERM - 1, GENERATION), (TERM, GENERATION - 1)):
        two.master.lines.listeners[ENDED]("a", json.dumps([term, "1", generation, "end", [1]]))
    assert two.master.controller.has_flow("west", 1)


@pytest.mark.parametrize("said", [
    ["1", GENERATION + 1, [TERM, 1], 1, True, None, [[], "", "", ""]],
    ["1", GENERATION, [TERM - 1, 1], 1, True, None, [[], "", "", ""]],
    ["9", GENERATION, [TERM, 1], 1, True, None, [[], "", "", ""]],
    ["1", GENERATION, [TERM, 1], 1, True, None, [["x"], "?", "", ""]],
    [],
    {"1": 2},
    7,
])  # fmt: skip
def test_lines_that_nobody_has_asked_for_or_can_read_change_nothing(two: Two, said, caplog):
    two.begin(10)
    for topic in (MIRRORED, MIRROR, REPLIES, ENDED):
        for each in (two.leader, two.master):
            each.lines.listeners[topic]("b" if each is two.leader else "a", json.dumps(said))
            each.lines.listeners[topic]("b" if each is two.leader else "a", "[" * 100_000)
    two.beat()
    two.beat()
    assert two.is_equal
    assert two.leader.switch.knows_flows
    assert "Traceback" not in caplog.text


def test_a_master_does_not_go_far_ahead_of_the_leader(two: Two, monkeypatch):
    monkeypatch.setattr(mirroring, "AT_ONCE", 10)
    for number in range(1, 1001):
        two.master.flows.put(flow(number))
    two.beat()
    assert len(two.leader.flows) == 10 * mirroring.AHEAD
    for number in range(1, 1001):
        two.master.flows.put(flow(number, server=None))
    for _ in range(9):
        two.beat()
    assert two.is_equal
    assert two.leader.switch.knows_flows
    assert two.leader.flows.pinned() == 0


def test_flows_that_are_not_there_any_more_are_forgotten_in_slices(two: Two, monkeypatch):
    two.begin(1000)
    two.leader.switch.disconnected()
    for number in range(1, 1001):
        two.master.flows.remove(flow(number))
    two.beat()
    assert two.leader.switch.knows_flows
    assert not len(two.leader.flows)


def test_a_server_that_was_removed_is_in_use_while_another_member_serves_its_flows(two: Two):
    """It is watched, and has its rules at its edge and at the client edge (M20)."""
    removed = packed("10.2.0.99")
    two.begin(10)
    east = two.leader.controller.by_name["east"]
    assert not east.is_in_use(removed)
    two.master.flows.put(flow(50, server=removed))
    two.beat()
    assert east.is_in_use(removed)
    two.master.flows.put(flow(51, server=removed))
    two.master.flows.remove(flow(50))
    two.beat()
    assert east.is_in_use(removed)
    two.leader.switch.disconnected()
    two.beat()
    two.beat()
    assert east.is_in_use(removed)
    two.master.flows.remove(flow(51))
    two.beat()
    assert not east.is_in_use(removed)


def test_a_server_that_was_removed_before_the_leader_knew_its_flows_is_in_use(two: Two):
    removed = packed("10.2.0.99")
    two.master.flows.put(flow(50, server=removed))
    two.begin(3)
    assert two.leader.controller.by_name["east"].is_in_use(removed)
