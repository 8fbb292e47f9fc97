"""Each member of a cluster shows what happens at any of them, and none of it twice."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from anycast_sdn.core.cluster_events import EtcdBack, EtcdLost, LeaderChanged, MemberLeft, MemberLost
from anycast_sdn.core.events import Event
from anycast_sdn.process import event_sharing as module
from anycast_sdn.process.event_log import EventLog
from anycast_sdn.process.event_sharing import SharedEvents, SharedFlowEvents
from anycast_sdn.process.streamed_flows import StreamedFlows
from anycast_sdn.views.flow_sample import PER_S
from anycast_sdn.views.journal import Entry, Journal
from tests.unit.views.test_flow_sample import changes

LOST, BACK = EtcdLost("timed out"), EtcdBack(3.0)


class Peers:
    """Of one member; ``heard_by``: those of the other, while that hears it."""

    def __init__(self, name: str) -> None:
        self.own = f"{name}-1"
        self.heard_by: Peers | None = None
        self.reached: set[str] = set()
        self.published: list[str] = []
        self._first: dict[str, Callable[[], Iterable[str]]] = {}
        self._listeners: dict[str, Callable[[str, str], None]] = {}

    def publish(self, topic: str, text: str) -> None:
        self.published.append(topic)
        if self.heard_by:
            self.heard_by.take(self.own, topic, text)

    def take(self, id: str, topic: str, text: str) -> None:
        self._listeners[topic](id, text)

    def hear(self, other: Peers) -> None:
        self.reached.add(other.own)
        other.heard_by = self
        for topic, first in other._first.items():
            for text in first():
                self.take(other.own, topic, text)

    def lose(self, other: Peers) -> None:
        self.reached.discard(other.own)
        other.heard_by = None

    def greet(self, topic: str, first: Callable[[], Iterable[str]]) -> None:
        self._first[topic] = first

    def listen(self, topic: str, listener: Callable[[str, str], None]) -> None:
        self._listeners[topic] = listener


class Feed:
    """Counts who listens."""

    def __init__(self) -> None:
        self.listeners = 0

    def listen(self, listener: object) -> Callable[[], None]:
        self.listeners += 1

        def end() -> None:
            self.listeners -= 1

        return end


class Member:
    def __init__(self, name: str) -> None:
        self.journal, self.peers = Journal(member=name), Peers(name)
        self.logged: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: self.logged.append(record.getMessage())  # type: ignore[method-assign]
        log = logging.Logger(name)
        log.addHandler(handler)
        self.journal.listen(EventLog(log))
        peers: Any = self.peers
        SharedEvents(self.journal, peers, self.journal, lambda id: id.rpartition("-")[0])
        self.feed = Feed()
        feed: Any = self.feed
        self.flows = StreamedFlows(feed, name)
        SharedFlowEvents(self.flows, peers)

    def hear(self, other: Member) -> None:
        self.peers.hear(other.peers)

    def happens(self, *events: Event) -> None:
        for event in events:
            self.journal(event)

    @property
    def shown(self) -> list[str]:
        return [f"{entry.member} {entry.type}" for entry in self.journal.after(0)]


    def wait(self) -> None:
        """Until what may be seen here is seen."""
        for act in begun:
            act()
        begun.clear()


begun: list[Callable[[], None]] = []  # by the hub


@pytest.fixture
def members(monkeypatch: pytest.MonkeyPatch) -> tuple[Member, Member]:
    begun.clear()
    monkeypatch.setattr(module.hub, "sleep", lambda seconds: None)
    monkeypatch.setattr(module.hub, "spawn", begun.append)
    return Member("m0"), Member("m1")


def test_what_happens_at_one_member_is_shown_at_the_other_and_logged_at_its_own(members: tuple[Member, Member]) -> None:
    one, other = members
    one.happens(LOST)
    other.hear(one)
    one.hear(other)
    one.happens(BACK)
    other.happens(LOST)
    assert one.shown == ["m0 etcd.lost", "m0 etcd.back", "m1 etcd.lost"] == other.shown
    assert (len(one.logged), len(other.logged)) == (2, 1)


def test_what_each_member_sees_by_itself_is_shown_once(members: tuple[Member, Member]) -> None:
    one, other = members
    other.hear(one)
    left = MemberLeft("m2", "m2-1")
    one.happens(left)
    other.happens(left, LOST)
    other.wait()
    assert other.shown == ["m1 member.left", "m1 etcd.lost"]
    other.happens(MemberLeft("m2", "m2-7"))
    one.happens(MemberLeft("m2", "m2-7"))
    other.wait()
    assert other.shown[2:] == ["m1 member.left"]


def test_what_a_member_could_not_see_by_itself_it_shows_by_the_word_of_another(members: tuple[Member, Member]) -> None:
    """Its own loss, say."""
    one, other = members
    other.hear(one)
    one.happens(MemberLost("m1", "m1-1", False), LeaderChanged("m0", 7))
    assert not other.shown
    other.wait()
    assert other.shown == ["m0 member.lost", "m0 leader.changed"]
    assert not other.logged


def test_what_happened_while_a_member_was_not_heard_is_told_when_it_is(members: tuple[Member, Member]) -> None:
    one, other = members
    other.hear(one)
    one.happens(LOST)
    other.peers.lose(one.peers)
    one.happens(BACK, LOST)
    other.hear(one)
    assert other.shown == ["m0 etcd.lost", "m0 etcd.back", "m0 etcd.lost"]


def test_events_beyond_what_is_told_to_a_member_that_comes_back_are_counted(
    members: tuple[Member, Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GREETED", 2)
    one, other = members
    other.hear(one)
    one.happens(LOST)
    other.peers.lose(one.peers)
    one.happens(BACK, LOST, BACK, LOST, BACK)
    other.hear(one)
    assert other.shown == ["m0 etcd.lost", "m1 member.events_missed", "m0 etcd.lost", "m0 etcd.back"]
    assert other.logged == ["3 events of member m0 did not come here: that one has them"]


# ------------------------------------------------------------------------------ of flows


def both_heard(members: tuple[Member, Member]) -> tuple[Member, Member]:
    one, other = members
    one.hear(other)
    other.hear(one)
    return members


def test_events_of_flows_come_from_all_members_while_somebody_asks_for_them(members: tuple[Member, Member]) -> None:
    one, other = both_heard(members)
    one.flows.flows("arh1", changes(3))
    assert (one.feed.listeners, other.feed.listeners) == (0, 0)
    heard: list[Entry] = []
    end = one.flows.shown.listen(heard.append)
    assert (one.feed.listeners, other.feed.listeners) == (1, 1)
    one.flows.flows("arh1", changes(1))
    other.flows.flows("arh2", changes(2))
    assert [(entry.at_switch, entry.id) for entry in heard] == [("arh1", 1), ("arh2", 2), ("arh2", 3)]
    assert [json.loads(entry.json)["member"] for entry in heard] == ["m0", "m1", "m1"]
    assert [*one.flows.shown.after(1)] == heard[1:]
    assert other.feed.listeners == 1
    end()
    assert (one.feed.listeners, other.feed.listeners) == (0, 0)


def test_who_asks_for_flows_is_told_how_many_any_member_has_left_out(members: tuple[Member, Member]) -> None:
    one, other = both_heard(members)
    for member in members:
        member.flows.sample.leave_out(7)  # before anybody asked
    one.flows.shown.listen(lambda entry: None)
    for member in members:
        member.flows.flows("arh1", changes(PER_S + 5))
    assert one.flows.shown.last_id == 2 * PER_S
    assert one.flows.shown.left_out in (5, 10)  # of the other one from its first event on
    other.flows.sample.leave_out(3)
    before = one.flows.shown.left_out
    time.sleep(0.05)  # there is room for more
    other.flows.flows("arh1", changes(1))
    assert one.flows.shown.left_out == before + 3


def test_a_member_that_is_not_heard_any_more_is_told_nothing_of_flows(members: tuple[Member, Member]) -> None:
    one, other = both_heard(members)
    one.flows.shown.listen(lambda entry: None)
    other.flows.flows("arh2", changes(1))
    other.peers.lose(one.peers)
    other.flows.flows("arh2", changes(1))
    assert other.feed.listeners == 0
    told = other.peers.published.count("flow-event")
    other.flows.flows("arh2", changes(1))
    assert other.peers.published.count("flow-event") == told
    other.hear(one)  # it still wants them
    assert other.feed.listeners == 1
