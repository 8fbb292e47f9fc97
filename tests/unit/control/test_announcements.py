"""Who announces which prefixes, what retires, and what follows from that beyond uplinks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import pytest

from anycast_sdn.control.announcements import RETIRE_S, Announcements
from anycast_sdn.control.choices import Choices
from anycast_sdn.control.edge_distances import EdgeDistances
from anycast_sdn.control.removed_servers import RemovedServers
from anycast_sdn.control.selecting import Selecting
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.control.uplinks import Uplinks
from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.decided import Decided
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import AnycastGroup, Neighbour, Prefix, Server, ServerState, packed
from anycast_sdn.core.slots import Slots
from anycast_sdn.description import reading
from anycast_sdn.fabric.egress import Route
from anycast_sdn.fabric.graph import Graph

TOPOLOGIES = Path(__file__).parents[3] / "topologies"
UPLINK = replace(reading.load(TOPOLOGIES / "legacy-core.yaml").uplinks[0], edge="arh1", port=77)
NETWORK = replace(reading.load(TOPOLOGIES / "figure1.yaml"), uplinks=(UPLINK,))
ANY, OTHER, BEYOND = map(Prefix.parse, ("198.18.0.1/32", "198.18.0.2/32", "10.77.0.0/16"))
ARS2, ARS3 = 2, 3
ROUTER = UPLINK.routers[0]


def groups(state: ServerState = ServerState.ACTIVE) -> Groups:
    """Two groups, each with the server behind ars2."""
    server = Server(packed("10.2.0.10"), 1, state)
    return Groups({
        name: AnycastGroup(name, (prefix,), {server.address: server}) for name, prefix in (("a", ANY), ("b", OTHER))
    })  # fmt: skip


class Fabric:
    """Announcements and uplinks of figure 1 with a router at arh1.  ``asked``: of which switches and prefixes it
    was asked whether they can deliver."""

    def __init__(self) -> None:
        self.delivers = True
        self.asked: list[tuple[str, Prefix]] = []
        self.announcements = Announcements(NETWORK, self._delivers)
        self.switches = {
            switch.dpid: ManagedSwitch(
                switch, NETWORK, Random(1), RemovedServers(set),
                Decided(
                    lambda server: True, self.announcements.is_announced, lambda server, group: False,
                    partial(self._slots, switch.name),
                ),
            )
            for switch in NETWORK.switches
        }  # fmt: skip
        by_name = {switch.name: switch for switch in self.switches.values()}
        by_name["arh1"].neighbours.adopt(ROUTER, Neighbour(b"\2\0\0\0\0\1", UPLINK.port), 0.0)
        graph = Graph(by_name, NETWORK.links)
        self.uplinks = Uplinks(by_name, graph, self.announcements, self._delivers)
        distances = EdgeDistances(by_name, lambda is_v6: graph, lambda switch, prefix: False)
        self.selecting = Selecting(
            NETWORK, by_name, distances, lambda *asked: HealthStatus.UNKNOWN, lambda server: (),
            Choices(lambda *asked: None),
        )  # fmt: skip

    def _slots(self, name: str, group: AnycastGroup, is_v6: bool) -> Slots:
        return self.selecting.slots(name, group, is_v6)

    def _delivers(self, name: str, prefix: Prefix) -> bool:
        self.asked.append((name, prefix))
        return self.delivers

    def judge(self, enrolled: Groups, *services: Prefix, dpid: int = ARS2, now: float = 0.0) -> None:
        self.announcements.recheck(dpid, services)
        self.announcements.judge(self.switches, enrolled, 100, now)

    def follow(self) -> set[Prefix]:
        """→ The prefixes that may have other destinations."""
        self.uplinks.reconsider(self.announcements.pop_changed())
        self.uplinks.work(100)
        return set(self.uplinks.pop_changed())

    def learn(self, *prefixes: Prefix) -> None:
        self.uplinks.learn(UPLINK.name, dict.fromkeys(prefixes, Route(1, 0, 0, ROUTER)))


@pytest.fixture
def fabric() -> Fabric:
    made = Fabric()
    made.judge(groups(), ANY, OTHER)
    made.follow()
    return made


def test_a_switch_announces_its_subnets_always_and_any_only_while_it_is_able(fabric: Fabric) -> None:
    always, able = fabric.announcements.of("ars2")
    assert Prefix.parse("10.2.0.0/24") in always
    assert set(able) == {ANY, OTHER}
    assert fabric.announcements.is_announced(ANY)
    fabric.judge(groups(ServerState.DRAINING), ANY)
    assert set(fabric.announcements.of("ars2")[1]) == {OTHER}
    assert not fabric.announcements.is_announced(ANY)
    assert fabric.announcements.of("ars2")[0] == always


def test_an_announcement_that_stays_the_same_is_no_change(fabric: Fabric) -> None:
    fabric.judge(groups(), ANY)
    fabric.judge(groups(), ANY, dpid=ARS3)  # the server does not stand there
    assert not list(fabric.announcements.pop_changed())


def test_only_as_many_pairs_are_judged_at_a_time_as_asked_for(fabric: Fabric) -> None:
    fabric.announcements.recheck(ARS2, (ANY, OTHER))
    fabric.announcements.judge(fabric.switches, Groups(), 1, 0.0)
    assert fabric.announcements.is_judging()
    assert fabric.announcements.waiting() == {ARS2}
    assert set(fabric.announcements.of("ars2")[1]) == {OTHER}


def test_a_withdrawn_any_retires_only_where_it_can_still_be_delivered(fabric: Fabric) -> None:
    fabric.judge(groups(ServerState.DRAINING), ANY, now=1.0)
    assert list(fabric.announcements.retiring) == [ANY]
    fabric.delivers = False
    fabric.judge(groups(ServerState.DRAINING), OTHER, now=1.0)
    assert list(fabric.announcements.retiring) == [ANY]


def test_packets_for_a_retiring_any_go_to_the_switch_that_withdrew_it_until_retirement_ends(fabric: Fabric) -> None:
    fabric.judge(groups(ServerState.DRAINING), ANY, now=1.0)
    assert ANY in fabric.follow()
    assert fabric.uplinks.destinations(ANY) == {"ars2"}
    assert not fabric.announcements.tick(0.9 + RETIRE_S)
    assert fabric.announcements.tick(1.0 + RETIRE_S)
    assert ANY in fabric.follow()
    assert fabric.uplinks.destinations(ANY) == frozenset()


def test_a_retiring_any_that_can_no_longer_be_delivered_has_no_destination(fabric: Fabric) -> None:
    fabric.judge(groups(ServerState.DRAINING), ANY)
    fabric.follow()
    fabric.delivers = False
    fabric.judge(Groups(), ANY)
    fabric.follow()
    assert fabric.uplinks.destinations(ANY) == frozenset()


def test_while_one_any_retires_the_announcement_of_another_changes_only_that(fabric: Fabric) -> None:
    fabric.learn(BEYOND)
    fabric.judge(groups(ServerState.DRAINING), ANY)
    fabric.follow()
    fabric.asked.clear()
    fabric.delivers = False  # an answer that would show if it were asked again
    fabric.judge(Groups(), OTHER, dpid=ARS2)
    fabric.asked.clear()
    assert fabric.follow() == {OTHER}
    assert (fabric.asked, fabric.uplinks.destinations(ANY)) == ([], {"ars2"})


def test_a_prefix_from_a_router_is_routed_to_its_switch_unless_the_fabric_announces_it(fabric: Fabric) -> None:
    fabric.learn(BEYOND, ANY)
    fabric.follow()
    assert fabric.uplinks.destinations(BEYOND) == {"arh1"}
    assert fabric.uplinks.destinations(ANY) == {"ars2"}
    fabric.learn()
    assert BEYOND in fabric.follow()
    assert fabric.uplinks.destinations(BEYOND) == frozenset()
