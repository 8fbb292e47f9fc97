"""What operators are told of a cluster whose etcd is there, and of no use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from anycast_sdn.cluster.overview import SchemaState, overview
from anycast_sdn.core.events import Event
from anycast_sdn.core.model import NotFound
from anycast_sdn.process import cluster_watch as module
from anycast_sdn.process.cluster_watch import ClusterWatch
from tests.unit.cluster.world import World


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Peers:
    def __init__(self, own: str) -> None:
        self.own = own
        self.overview = overview({})
        self.left: set[str] = set()
        self.ended: set[str] = set()
        self.reached: set[str] = set()
        self.said: list[str] = []
        self.first: Callable[[], list[str]] = list

    def publish(self, topic: str, text: str) -> None:
        self.said.append(text)

    def greet(self, topic: str, first: Callable[[], list[str]]) -> None:
        self.first = first

    def listen(self, topic: str, listener: Callable[[str, str], None]) -> None:
        self.hear = listener


class Agreement:
    differs = ""


class Raising:
    def state(self) -> SchemaState:
        return SchemaState(2, 0, [])


def test_members_tell_each_other_what_switches_have_answered_them(monkeypatch: pytest.MonkeyPatch) -> None:
    world, looks = World(switches=1, members=["m0", "m1"]), list[Any]()
    monkeypatch.setattr(module.hub, "spawn", lambda every, seconds, look: looks.append(look))
    world.heal()
    (leader,) = world.leaders()
    (other,) = [each for each in world.members if each is not leader]
    watches = {}
    for process in (leader, other):
        peers: Any = Peers(process.id)
        watches[process] = peers, ClusterWatch(peers, process.mirror, Agreement(), process.cluster, Raising())  # type: ignore[arg-type]
        watches[process][1].start(list[Event]().append)
    said, watch = watches[leader][0], watches[other][1]
    assert said.said == said.first()
    looks[0]()
    assert len(said.said) == 1  # nothing has changed
    hear = watches[other][0].hear
    hear(leader.id, said.said[0])
    assert not watch.state().standings.get(leader.id)  # its stream has ended
    watches[other][0].reached.add(leader.id)
    hear(leader.id, said.said[0])
    assert watch.state().standings[leader.id].claimed == leader.cluster.claimed()
    assert not watch.state().standings[other.id].claimed
    leader.disconnect(1)
    looks[0]()
    hear(leader.id, said.said[1])
    assert not watch.state().standings[leader.id].claimed


def test_a_member_is_forgotten_where_it_is_missed_also_by_the_word_of_one_that_was_started_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, looks = World(switches=1, members=["m0", "m1"]), list[Any]()
    monkeypatch.setattr(module.hub, "spawn", lambda every, seconds, look: looks.append(look))
    first, second = world.members
    watches = []
    for process in (first, second):
        peers: Any = Peers(process.id)
        parts: Any = peers, process.mirror, Agreement(), process.cluster, Raising()
        watches.append((peers, ClusterWatch(*parts)))
        watches[-1][1].start(list[Event]().append)
    (peers, old), (others, _) = watches
    old._watching.missing["m2"] = 0.0
    looks[0]()
    with pytest.raises(NotFound):
        second.cluster.forget("m2")
    others.reached.add(first.id)
    others.hear(first.id, peers.said[-1])
    second.cluster.forget("m2")
    world.run(0.2)
    assert not old.state().missing
    looks[0]()
    others.hear(first.id, peers.said[-1])
    with pytest.raises(NotFound):
        second.cluster.forget("m2")


def test_an_etcd_that_is_read_and_takes_nothing_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its disk or quota is full."""
    world, clock, told = World(members=["m0", "m1"]), Clock(), list[Event]()
    looks: list[Any] = []
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module.hub, "spawn", lambda every, seconds, look: looks.append(look))
    first = world.members[0]
    parts: Any = Peers(first.id), first.mirror, Agreement(), first.cluster, Raising()
    watch = ClusterWatch(*parts)
    watch.start(told.append)
    world.etcd.is_full = True
    for _ in range(6):
        world.run(1)
        clock.now += 1
        looks[0]()
    assert [event.type for event in told] == ["etcd.lost"]
    assert "space exceeded" in watch.state().problem
    world.etcd.is_full = False
    world.run(1)
    looks[0]()
    assert [event.type for event in told] == ["etcd.lost", "etcd.back"]
    assert watch.state().problem == ""
