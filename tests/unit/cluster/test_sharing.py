"""Switches that are shared among the members of a cluster: who is the master of which."""

from __future__ import annotations

import pytest

from anycast_sdn.cluster.election import SETTLED_S, UNHEARD_S
from anycast_sdn.cluster.lease import LEASE_S
from anycast_sdn.cluster.steering import CannotSteer
from tests.unit.cluster.world import Process, World

SWITCHES = 8
SOON_S = 0.4  # of a change that no lease has to end for


@pytest.fixture
def world() -> World:
    world = World(SWITCHES, ["m0", "m1", "m2"])
    world.share()
    world.until(world.is_shared)
    world.run(1)
    return world


def masters(world: World) -> dict[int, Process]:
    return {dpid: world.masters(dpid)[0] for dpid in world.switches}


def begun(world: World) -> dict[str, int]:
    """How often members have begun to be masters."""
    return {process.id: process.begun.total() for process in world.members}


def of(world: World, process: Process) -> list[int]:
    return [dpid for dpid, master in masters(world).items() if master is process]


def test_each_member_is_the_master_of_some_switches(world: World) -> None:
    assert all(of(world, process) for process in world.members)
    assert world.leaders() == world.members[:1]
    assert world.requests_in(10) == 0


def test_a_dead_master_is_followed_at_its_switches_alone(world: World) -> None:
    before, begun_before, (first, second, third) = masters(world), begun(world), world.members
    lost = of(world, third)
    world.kill(third)
    world.etcd.revoke(third.lease.number)  # a peer has seen its end
    assert world.until(world.is_shared) <= SOON_S
    assert {dpid: master for dpid, master in masters(world).items() if dpid not in lost} == {
        dpid: master for dpid, master in before.items() if dpid not in lost
    }
    now = begun(world)
    assert sum(now[each.id] - begun_before[each.id] for each in (first, second)) == len(lost)


def test_the_death_of_the_leader_moves_its_own_switches_and_each_of_them_once(world: World) -> None:
    begun_before, (first, second, third) = begun(world), world.members
    lost = of(world, first)
    world.kill(first)
    world.etcd.revoke(first.lease.number)
    assert world.until(world.is_shared) <= SOON_S
    now = begun(world)
    assert sum(now[each.id] - begun_before[each.id] for each in (second, third)) == len(lost)
    world.run(1)
    assert world.requests_in(10) == 0


def test_a_frozen_master_is_followed_when_its_lease_ends(world: World) -> None:
    world.members[1].is_frozen = True
    assert world.until(world.is_shared) <= LEASE_S + 1


def test_a_member_that_has_restarted_gets_its_own_switches_back(world: World) -> None:
    own = of(world, world.members[1])
    world.kill(world.members[1])
    world.until(world.is_shared)
    again = world.start("m1")
    world.until(world.is_shared)
    assert of(world, again) == own


def test_a_leader_that_hands_over_keeps_its_switches(world: World) -> None:
    before, begun_before = masters(world), begun(world)
    world.members[0].cluster.lead("m1")
    world.until(lambda: world.is_shared() and world.leaders() == [world.members[1]])
    assert (masters(world), begun(world)) == (before, begun_before)


@pytest.mark.parametrize("drained", [0, 1])
def test_a_member_that_drains_loses_its_switches_once(world: World, drained: int) -> None:
    begun_before, process = begun(world), world.members[drained]
    lost = of(world, process)
    world.members[2].cluster.drain(process.id)
    assert world.until(world.is_shared) <= SOON_S
    assert of(world, process) == []
    assert sum(begun(world).values()) - sum(begun_before.values()) == len(lost)
    world.members[2].cluster.resume(process.id)
    world.until(world.is_shared)
    assert of(world, process) == lost


def test_a_move_holds_while_its_member_is_there_and_again_when_it_is_back(world: World) -> None:
    first, second, _ = world.members
    (dpid, *_) = of(world, first)
    first.cluster.move(f"s{dpid}", "m1")
    assert world.until(lambda: world.masters(dpid) == [second]) <= SOON_S
    world.kill(second)
    assert world.until(lambda: len(world.masters(dpid)) == 1) <= LEASE_S + 1
    again = world.start("m1")
    world.until(lambda: world.masters(dpid) == [again])
    world.run(5)
    assert world.requests_in(10) == 0


def test_moves_end_when_the_switches_are_gathered(world: World) -> None:
    first, before = world.members[0], masters(world)
    (dpid, *_) = of(world, first)
    first.cluster.move(f"s{dpid}", "m1")
    first.cluster.share(False)
    world.until(world.is_whole)
    with pytest.raises(CannotSteer, match="share them first"):
        first.cluster.move(f"s{dpid}", "m1")
    first.cluster.share(True)
    world.until(world.is_shared)
    assert masters(world) == before


def test_a_member_that_joins_gets_its_part_and_takes_nothing_else(world: World) -> None:
    before = masters(world)
    joined = world.start("m3")
    world.until(world.is_shared)
    assert {dpid: master for dpid, master in masters(world).items() if master is not joined}.items() <= before.items()


def test_a_member_whose_switches_have_not_connected_yet_is_the_master_of_none(world: World) -> None:
    joined = world.start("m3", connect=False)
    world.run(5)
    assert of(world, joined) == []
    for dpid in world.switches:
        joined.connect(dpid)
    world.until(world.is_shared)


def test_a_master_of_which_the_leader_hears_nothing_loses_its_switches_until_it_is_heard_again(world: World) -> None:
    second = world.members[1]
    lost = of(world, second)
    second.is_unheard = True
    world.run(UNHEARD_S - 1)
    assert of(world, second) == lost
    world.run(2)
    assert of(world, second) == []
    assert world.requests_in(10) == 0
    second.is_unheard = False
    world.until(world.is_shared)


def test_a_link_between_members_that_comes_and_goes_moves_no_switch(world: World) -> None:
    before = begun(world)
    for _ in range(10):
        for unheard in (True, False):
            world.members[1].is_unheard = unheard
            world.run(1)
    assert begun(world) == before


def test_a_cluster_of_very_many_switches_is_followed_in_few_transactions() -> None:
    world = World(200, ["m0", "m1", "m2"])
    world.share()
    world.until(world.is_shared)
    world.kill(world.members[0])
    revision = world.etcd.revision
    world.until(world.is_shared)
    assert world.etcd.revision - revision < 40


def test_a_member_that_has_just_connected_reads_ahead_before_it_gets_what_others_serve(world: World) -> None:
    own = of(world, world.members[1])
    world.kill(world.members[1])
    world.until(world.is_shared)
    again = world.start("m1")
    world.run(SETTLED_S - 1.5)
    assert of(world, again) == []
    assert world.until(world.is_shared) <= 2
    assert of(world, again) == own


def test_who_leads_just_after_its_start_gives_no_switch_to_itself_that_others_know(world: World) -> None:
    first, second, third = world.members
    world.kill(first)
    world.until(world.is_shared)
    again = world.start("m0")
    world.until(lambda: again.cluster._election.is_member)
    world.run(1)
    lost = of(world, second)
    world.kill(second)
    world.etcd.revoke(second.lease.number)  # a peer has seen its end
    world.until(lambda: all(len(world.masters(dpid)) == 1 for dpid in world.switches))
    assert world.leaders() == [again]
    assert lost
    assert set(of(world, third)) >= set(lost)
    world.until(world.is_shared)
    assert of(world, again)


def test_a_switch_that_nobody_serves_goes_to_one_that_has_just_connected(world: World) -> None:
    first, second, third = world.members
    (dpid, *_) = of(world, first)
    for process in world.members:
        process.disconnect(dpid)
    world.run(5)
    second.connect(dpid)
    first.connect(dpid)
    assert world.until(lambda: len(world.masters(dpid)) == 1) <= 1
    third.connect(dpid)
    world.until(world.is_shared)
