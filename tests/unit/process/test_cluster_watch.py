"""What operators are told of a cluster whose etcd is there, and of no use."""

from __future__ import annotations

from typing import Any

import pytest

from anycast_sdn.cluster.overview import overview
from anycast_sdn.core.events import Event
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


class Agreement:
    differs = ""


def test_an_etcd_that_is_read_and_takes_nothing_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its disk or quota is full."""
    world, clock, told = World(members=["m0", "m1"]), Clock(), list[Event]()
    looks: list[Any] = []
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module.hub, "spawn", lambda every, seconds, look: looks.append(look))
    first = world.members[0]
    parts: Any = Peers(first.id), first.mirror, Agreement(), first.cluster
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
