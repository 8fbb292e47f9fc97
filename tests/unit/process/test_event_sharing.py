"""Each member of a cluster shows what happens at any of them, and none of it twice."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from anycast_sdn.core.cluster_events import EtcdBack, EtcdLost, MemberLeft
from anycast_sdn.core.events import Event
from anycast_sdn.process import event_sharing as module
from anycast_sdn.process.event_log import EventLog
from anycast_sdn.process.event_sharing import SharedEvents
from anycast_sdn.views.journal import Journal

LOST, BACK = EtcdLost("timed out"), EtcdBack(3.0)


class Peers:
    """Of one member; ``heard_by``: those of the other, while that hears it."""

    def __init__(self, name: str) -> None:
        self.id = f"{name}-1"
        self.heard_by: Peers | None = None

    def publish(self, topic: str, text: str) -> None:
        if self.heard_by:
            self.heard_by.hear(self.id, text)

    def greet(self, topic: str, first: Callable[[], Iterable[str]]) -> None:
        self.first = first

    def listen(self, topic: str, listener: Callable[[str, str], None]) -> None:
        self.hear = listener


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

    def hear(self, other: Member) -> None:
        other.peers.heard_by = self.peers
        for text in other.peers.first():
            self.peers.hear(other.peers.id, text)

    def happens(self, *events: Event) -> None:
        for event in events:
            self.journal(event)

    @property
    def shown(self) -> list[str]:
        return [f"{entry.member} {entry.type}" for entry in self.journal.after(0)]


@pytest.fixture
def members(monkeypatch: pytest.MonkeyPatch) -> tuple[Member, Member]:
    monkeypatch.setattr(module.hub, "sleep", lambda seconds: None)
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


def test_what_each_member_sees_by_itself_is_not_told_to_the_others(members: tuple[Member, Member]) -> None:
    one, other = members
    other.hear(one)
    for member in members:
        member.happens(MemberLeft("m2", "m2-1"))
    assert other.shown == ["m1 member.left"]


def test_what_happened_while_a_member_was_not_heard_is_told_when_it_is(members: tuple[Member, Member]) -> None:
    one, other = members
    other.hear(one)
    one.happens(LOST)
    one.peers.heard_by = None
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
    one.peers.heard_by = None
    one.happens(BACK, LOST, BACK, LOST, BACK)
    other.hear(one)
    assert other.shown == ["m0 etcd.lost", "m0 etcd.lost", "m1 member.events_missed", "m0 etcd.back"]
    assert other.logged == ["3 events of member m0 did not come here: that one has them"]
