"""A controller writes only to switches of which it is the master; only the leader decides for the network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from anycast_sdn.cluster.alone import Alone
from anycast_sdn.cluster.cluster import Cluster
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.core.groups import Groups
from anycast_sdn.description import reading
from anycast_sdn.openflow.rules import Barrier, Message
from anycast_sdn.process.app import AnycastApp

ROOT = Path(__file__).parents[3]
ARH1, ARS2 = 1, 2


class Member:
    """A ``Cluster`` of which this controller is no leader, and the master of some switches."""

    def __init__(self, *masters: int) -> None:
        self.masters = set(masters)

    def leads(self) -> bool:
        return False

    def is_master(self, dpid: int) -> bool:
        return dpid in self.masters


class Recorder:
    """Instead of a channel: records the messages to a switch."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def send(self, messages: Iterable[Message]) -> None:
        self.sent += messages


def app_in(cluster: Cluster) -> AnycastApp:
    app = AnycastApp(reading.load(ROOT / "topologies/figure1.yaml"), Groups(), cluster=cluster)
    app.connections.channels = {dpid: Recorder() for dpid in app.controller.switches}  # type: ignore[misc]
    return app


@pytest.mark.parametrize("cluster", [Alone(), Member(ARH1, ARS2), Member(ARS2), Member()])
def test_only_the_master_of_a_switch_writes_to_it(cluster):
    app = app_in(cluster)
    app._react(Outcome({ARH1: [Barrier(1)], ARS2: [Barrier(2)]}))
    written = {dpid for dpid, channel in app.connections.channels.items() if channel.sent}
    assert written == {dpid for dpid in (ARH1, ARS2) if cluster.is_master(dpid)}


@pytest.mark.parametrize("cluster", [Alone(), Member(ARH1, ARS2)])
def test_only_the_leader_discovers_links(cluster):
    app = app_in(cluster)
    ticks: list[float] = []

    def tick(now: float) -> Outcome:
        ticks.append(now)
        return Outcome()

    app.controller.tick = tick
    app._tick()
    assert bool(ticks) is cluster.leads()
