"""Drains, leases and operations when another controller begins to decide."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import replace

import pytest

from anycast_sdn.control import noted
from anycast_sdn.control.controller import Controller
from anycast_sdn.control.life import Life, Moment
from anycast_sdn.control.operations import State
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, AnycastGroup, Drain, Lease, Prefix, Server, ServerState, packed
from anycast_sdn.description import reading
from tests.unit.process.test_cluster import ROOT

NETWORK = reading.load(ROOT / "topologies/figure1.yaml")
AS2 = packed("10.2.0.10")
WEB = ("web", AS2)
EPOCH = 1.7e9


class Member:
    """``clock_s``: how far its clock of the wall is ahead; the other clock runs from its start."""

    def __init__(self, clock_s: float = 0.0) -> None:
        self.clock_s = clock_s
        controller = Controller(NETWORK, Groups(), random.Random(1))
        for switch in controller.switches.values():
            switch.ever_synchronised = True
        self.life = Life(NETWORK, controller.switches_by_name(), random.Random(7), lambda edge: True)
        self.groups = Groups()
        self.edges: dict[str, Drain] = {}

    def at(self, now: float) -> Moment:
        return Moment(now, EPOCH + now + self.clock_s)

    def stored(self, now: float, server: Server | None, leads: bool = True, edges: Mapping[str, Drain] = {}) -> None:
        """etcd has this server in the group now."""
        servers: dict[Address, Server] = {server.address: server} if server else {}
        self.groups = Groups({"web": AnycastGroup("web", (Prefix.parse("198.18.0.1/32"),), servers)})
        self.life.enrolled(self.groups, edges, self.at(now), by_another=not leads)

    def take_over(
        self, now: float, predecessor: Member | None = None, expired: Collection[tuple[str, Address]] = ()
    ) -> None:
        ended = predecessor.life.operations.ended(100) if predecessor else ()
        notes = {each.id: noted.operation_note(each) for each in ended}
        self.life.take_over(noted.operations(notes), expired, self.at(now))

    def state(self, id: str) -> State:
        return self.life.operations.get(id).state


def test_a_lease_begins_anew_with_a_new_leader() -> None:
    member = Member()
    member.stored(0.0, Server(AS2, lease=Lease(10, 5)), leads=False)
    member.take_over(60.0)
    todo = member.life.tick(member.at(60.1))
    assert todo.leases == {WEB: True}
    assert not todo.changes
    assert member.life.leases.left_s(WEB, 60.1) == pytest.approx(9.9)


def test_a_lease_that_had_expired_stays_expired_and_its_removal_begins_anew() -> None:
    member = Member()
    member.stored(0.0, Server(AS2, lease=Lease(10, 5)), leads=False)
    member.take_over(60.0, expired=[WEB])
    todo = member.life.tick(member.at(60.1))
    assert todo.leases == {WEB: False}
    assert not todo.changes
    assert WEB in member.life.tick(member.at(65.1)).changes


@pytest.fixture
def draining() -> Server:
    drain = Drain("d1", EPOCH + 10, deadline_s=30)
    return Server(AS2, state=ServerState.DRAINING, drain=drain)


def test_a_drain_goes_on_under_its_id(draining: Server) -> None:
    first, second = Member(), Member()
    for member in (first, second):
        member.stored(0.0, Server(AS2), leads=member is first)
        member.stored(10.0, draining, leads=member is first)
    assert second.state("d1") is State.RUNNING
    second.take_over(11.0, first)
    assert second.state("d1") is State.RUNNING
    todo = second.life.tick(second.at(30.0))
    drained = todo.changes[WEB](draining)
    assert drained is not None
    second.stored(30.1, drained)
    assert second.state("d1") is State.SUCCEEDED


def test_a_new_leader_waits_for_packets_that_are_on_their_way(draining: Server) -> None:
    member = Member()
    member.life._is_settled = lambda edge: False
    member.stored(0.0, Server(AS2), leads=False)
    member.stored(10.0, replace(draining, drain=Drain("d1", EPOCH + 10)), leads=False)
    member.take_over(60.0)
    assert not member.life.tick(member.at(61.0)).changes
    assert WEB in member.life.tick(member.at(71.0)).changes


@pytest.mark.parametrize("clock_s", [-3600.0, 3600.0])
def test_a_deadline_is_the_same_where_the_clock_is_another(draining: Server, clock_s: float) -> None:
    member = Member(clock_s)
    member.stored(0.0, Server(AS2), leads=False)
    member.stored(10.0, draining, leads=False)
    (only,) = member.life._drains.values()
    assert only.until == pytest.approx(40.0)


def test_what_another_leader_has_ended_well_has_succeeded(draining: Server) -> None:
    member = Member()
    member.stored(10.0, draining, leads=False)
    member.stored(20.0, replace(draining, state=ServerState.DRAINED, drain=None), leads=False)
    assert member.state("d1") is State.SUCCEEDED


def test_operations_that_have_ended_are_known_to_the_next_leader(draining: Server) -> None:
    first, second = Member(), Member()
    first.stored(0.0, draining)
    first.stored(1.0, Server(AS2))
    operation = first.life.operations.get("d1")
    assert operation.state is State.FAILED
    second.take_over(2.0, first)
    assert second.life.operations.get("d1") == operation


def test_the_drain_of_an_edge_that_is_over_does_not_begin_again() -> None:
    first, second = Member(), Member()
    edges = {"ars2": Drain("e1", EPOCH)}
    first.stored(0.0, Server(AS2), edges=edges)
    second.stored(0.0, Server(AS2), leads=False, edges=edges)
    first.life.tick(first.at(20.0))
    assert first.state("e1") is State.SUCCEEDED
    second.take_over(21.0, first)
    assert second.state("e1") is State.SUCCEEDED
    assert not second.life.tick(second.at(60.0)).events
