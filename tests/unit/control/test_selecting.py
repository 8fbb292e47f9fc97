"""Selecting: when groups are decided, in which slices, and at which edge demand counts (M26)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.edge_distances import BEYOND_ROUTERS, EdgeDistances
from anycast_sdn.control.selecting import INTERVAL_S
from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.load import LoadReport
from anycast_sdn.core.model import AnycastGroup, FlowKey, Prefix, Server, packed
from anycast_sdn.core.slots import Spread
from anycast_sdn.description import reading
from anycast_sdn.description.model import Network
from anycast_sdn.fabric.graph import Graph
from anycast_sdn.openflow.features import Features

TOPOLOGIES = Path(__file__).parents[3] / "topologies"
FIGURE1 = reading.load(TOPOLOGIES / "figure1.yaml")
AS2, AS3 = packed("10.2.0.10"), packed("10.3.0.10")


def groups(count: int, capacity: int | None = None) -> Groups:
    servers = {address: Server(address, capacity=capacity) for address in (AS2, AS3)}
    prefixes = [Prefix.host(packed(f"198.18.{number // 250}.{1 + number % 250}")) for number in range(count)]
    return Groups({f"g{at}": AnycastGroup(f"g{at}", (prefix,), servers) for at, prefix in enumerate(prefixes)})


def controller(count: int, capacity: int | None = None) -> Controller:
    """Its switches have not connected yet: their hosts are taken to be there."""
    return Controller(FIGURE1, groups(count, capacity), Random(1))


def pin(made: Controller, group: str, server: bytes, first: int, count: int) -> None:
    switch = made.switch("arh1")
    assert switch
    for number in range(first, first + count):
        key = FlowKey(packed("10.1.0.10"), packed("198.18.0.1"), 17, number, 53)
        switch.engine.flows.put(Binding(number, key, (0x14000000 + number).to_bytes(4, "big"), group, 0.0, server))


def seen(made: Controller) -> None:
    """The switches have connected, with their hosts where they were."""
    for switch in made.switches.values():
        switch.may_be_there = lambda address: True  # type: ignore[method-assign]
        switch.unseen = False


def pass_time(made: Controller, from_s: float, to_s: float) -> Iterable[tuple[float, tuple[str, Spread]]]:
    """→ (time, what has changed then)."""
    now = from_s
    while now < to_s:
        made.selecting.tick(now)
        while made.selecting.is_busy():
            yield from ((now, change) for change in made.selecting.work(made.groups, 100, now))
        now += 0.25


def test_a_group_without_capacities_and_reports_rests():
    made = controller(3)
    seen(made)
    assert list(pass_time(made, 1, 30)) == []
    made.selecting.tick(31)
    assert not made.selecting.is_busy()


def test_servers_are_awaited_from_the_first_tick_on_whatever_the_clock_says():
    made = controller(1)
    made.selecting.tick(50_000.0)
    made.selecting.tick(50_059.0)
    assert {server for _, server in made.selecting._awaited} == {AS2, AS3}
    made.selecting.tick(50_061.0)
    assert not made.selecting._awaited


def test_work_goes_in_slices():
    made = controller(200, capacity=100)
    seen(made)
    for name in made.groups.names():
        made.selecting.recheck(name)
    slices = 0
    while made.selecting.is_busy():
        made.selecting.work(made.groups, 50, 1.0)
        slices += 1
    assert slices > 10


def test_edges_are_judged_only_by_what_is_decided_and_never_decide_for_many_groups_in_one_slice():
    made = controller(200, capacity=100)
    seen(made)
    for name in made.groups.names():
        made.selecting.recheck(name)
    made.announcements.recheck(made.switches[2].dpid, [prefix for group in made.groups for prefix in group.prefixes])
    before = {name: made.selecting.selection(Spread(name, False)) for name in made.groups.names()}
    most = 0
    while made.is_busy():
        made.work(1.0)
        after = {name: made.selecting.selection(Spread(name, False)) for name in made.groups.names()}
        most = max(most, sum(after[name] is not before[name] for name in before))
        before = after
    assert 0 < most < 40


def test_intervals_of_groups_begin_at_different_times():
    made = controller(100, capacity=100)
    seen(made)
    busy = []
    for step in range(40):
        now = 100 + step * 0.25
        made.selecting.tick(now)
        busy.append(len(made.selecting._due))
        made.selecting.work(made.groups, 10**6, now)
    assert max(busy[4:]) < 60


def test_slots_of_living_servers_move_once_in_an_interval_however_often_it_is_rechecked():
    made = controller(1, capacity=100)
    seen(made)
    list(pass_time(made, 1, 20))
    pin(made, "g0", AS2, 1, 200)
    moves = []
    for step in range(80):
        now = 20 + step * 0.25
        made.selecting.recheck("g0", False)
        moves += [at for at, (edge, _) in pass_time(made, now, now + 0.25) if edge == "ars2"]
    assert 2 <= len(moves) <= 5
    assert all(after - before >= INTERVAL_S - 0.25 for before, after in pairwise(moves))


def test_reports_of_a_server_that_is_in_no_group_are_ignored():
    made = controller(1)
    made.selecting.reported(packed("10.9.9.9"), LoadReport(cpu=1.0), 1.0)
    assert not made.selecting.is_busy()


def test_a_deleted_group_is_forgotten():
    made = controller(1, capacity=100)
    made.set_groups(Groups({}), 1.0)
    while made.is_busy():
        made.work(1.0)
    assert made.selecting.selection(Spread("g0", False)) is None


# ---------------------------------------------------------------- distances


class Routed:
    """Two parts of a fabric that only routers join: client edges c1, c2 | server edges s1, s2."""

    def __init__(self, network: Network) -> None:
        made = Controller(network, Groups(), Random(1))
        switches = {switch.name: switch for switch in made.switches.values()}
        self.has_routes = True
        graph = Graph(switches, network.links)
        self.distances = EdgeDistances(switches, lambda is_v6: graph, lambda switch, prefix: self.has_routes)


@pytest.fixture
def legacy() -> Routed:
    return Routed(reading.load(TOPOLOGIES / "legacy-core.yaml"))


def test_demand_of_a_client_edge_beyond_routers_counts_alike_where_its_packets_may_come(legacy):
    assert legacy.distances.entries("arh1", frozenset({"ars2", "ars3"}), False) == ("ars2", "ars3")
    assert legacy.distances.entries("arh1", frozenset({"ars3"}), False) == ("ars3",)


def test_edges_beyond_routers_are_farther_than_all_others_and_only_where_there_is_a_route(legacy):
    edges = frozenset({"ars2", "ars3"})
    ways = legacy.distances.ways(edges, False)
    assert ways["ars2", "ars2"] == 0
    assert ways["ars2", "ars3"] == BEYOND_ROUTERS
    legacy.has_routes = False
    assert ("ars2", "ars3") not in legacy.distances.ways(edges, False)


def test_in_the_fabric_costs_add_up_and_the_nearest_edge_gets_the_demand():
    made = controller(1)
    switches = {each.name: each for each in made.switches.values()}
    distances = EdgeDistances(switches, made.routes.graph_of, lambda *_: False)
    edges = frozenset({"ars2", "ars3"})
    assert distances.entries("arh1", edges, False) == ("ars2",)
    assert distances.entries("arh1", frozenset({"ars3"}), False) == ("ars3",)
    assert distances.entries("arh1", frozenset(), False) == ()
    assert distances.ways(edges, True)["ars2", "ars3"] == 3


def test_a_switch_that_cannot_send_back_by_the_same_port_has_no_way_to_other_edges():
    made = controller(1)
    ars2 = made.switch("ars2")
    assert ars2
    ars2.features = replace(Features(), hairpin=False)
    switches = {each.name: each for each in made.switches.values()}
    distances = EdgeDistances(switches, made.routes.graph_of, lambda *_: False)
    ways = distances.ways(frozenset({"ars2", "ars3"}), False)
    assert ("ars2", "ars3") not in ways
    assert ("ars3", "ars2") in ways

