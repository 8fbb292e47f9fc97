"""A cluster heals from each way in which its members, etcd and the switches can lose each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from anycast_sdn.cluster.claims import LONGEST_PAUSE_S, OUTBID_S
from anycast_sdn.cluster.election import MOST_SENT
from anycast_sdn.cluster.keys import LEADER
from anycast_sdn.cluster.lease import DEAF_S, LEASE_S
from anycast_sdn.core.election_events import (
    LeaseLost,
    SwitchContested,
    SwitchOutOfReach,
    SwitchStoodDown,
    SwitchUnfenced,
)
from anycast_sdn.etcd.client import Put
from anycast_sdn.simulation.roles import Role
from tests.unit.cluster.world import PREFIX, STEP_S, Process, World
from tests.unit.etcd.fake import Fault, catch_up

LEASE_ENDS_S = LEASE_S + 0.6  # the last renewal, and what etcd needs


@pytest.fixture
def world() -> World:
    world = World(members=["m0", "m1", "m2"])
    assert world.is_whole()
    assert world.leaders() == [world.members[0]]
    return world


def taken_over(world: World, former: Process) -> Callable[[], bool]:
    return lambda: world.is_whole() and world.leaders() != [former]


def begun(world: World) -> int:
    """How often switches had to be read."""
    return sum(process.begun.total() for process in world.members)


def test_the_first_member_leads_and_is_the_master_of_all_switches(world: World) -> None:
    first = world.members[0]
    assert [world.masters(dpid) for dpid in world.switches] == [[first], [first]]
    assert first.led == [1]
    assert world.requests_in(10) == 0


def test_a_dead_leader_is_followed_when_its_lease_ends(world: World) -> None:
    first = world.members[0]
    world.kill(first)
    assert world.until(taken_over(world, first)) <= LEASE_ENDS_S
    assert world.leaders()[0].cluster.term() == 2


def test_a_dead_leader_is_followed_at_once_when_a_peer_revokes_its_lease(world: World) -> None:
    first, second, _ = world.members
    world.kill(first)
    second.client.revoke(first.lease.number)
    assert world.until(taken_over(world, first)) <= 0.3
    assert begun(world) == len(world.switches)


def test_a_frozen_leader_is_followed_and_is_a_slave_when_it_comes_back(world: World) -> None:
    first = world.members[0]
    first.is_frozen = True
    assert world.until(taken_over(world, first)) <= LEASE_ENDS_S
    first.is_frozen = False
    assert world.heal() <= 0.3
    assert world.leaders() != [first]
    assert any(isinstance(event, LeaseLost) for event in first.events)
    assert world.requests_in(10) <= len(world.switches)


@pytest.mark.parametrize("fault", [Fault.UNREACHABLE, Fault.NOT_APPLIED, Fault.APPLIED, Fault.LATE])
def test_a_leader_that_is_cut_from_etcd_serves_until_another_one_does(world: World, fault: Fault) -> None:
    first = world.members[0]
    world.cut(first, fault)
    served = [True]

    def is_over() -> bool:
        served.append(all(any(process.switches for process in world.masters(dpid)) for dpid in world.switches))
        return taken_over(world, first)()

    assert world.until(is_over) <= LEASE_ENDS_S + (DEAF_S if fault is Fault.APPLIED else 0)
    assert all(served)
    world.mend(first)
    world.etcd.late()
    world.run(5)
    assert world.is_whole()
    assert world.requests_in(10) == 0


def test_members_that_are_all_cut_from_etcd_serve_on(world: World) -> None:
    first = world.members[0]
    for process in world.members:
        world.cut(process)
    world.run(30)
    assert [world.masters(dpid) for dpid in world.switches] == [[first], [first]]
    for process in world.members:
        world.mend(process)
    assert world.until(lambda: world.is_whole() and all(each.lease.number for each in world.members)) <= 3
    world.run(2)
    assert world.leaders() == [first]
    assert begun(world) == len(world.switches)  # nobody else had them, so nothing was read anew
    assert first.cluster.term() == 2


def test_a_former_leader_that_hears_etcd_later_than_others_leads_again(world: World) -> None:
    first, second, third = world.members
    for process in world.members:
        world.cut(process)
    world.run(10)
    world.mend(second)
    world.mend(third)
    world.run(2)
    world.mend(first)
    world.run(3)
    assert world.is_whole()
    assert world.leaders() == [first]
    assert begun(world) == len(world.switches)


def test_switches_that_a_controller_of_another_etcd_claims_are_told(world: World) -> None:
    first = world.members[0]
    elsewhere = World()
    elsewhere.switches, elsewhere._started = world.switches, 100
    stranger = elsewhere.start("m9")
    for _ in range(2000):
        world.run(STEP_S)
        elsewhere.run(STEP_S)
        if first.cluster.contested() == stranger.cluster.contested() == [1, 2]:
            break
    world.run(STEP_S)
    elsewhere.run(STEP_S)
    for process in (first, stranger):
        told = [event.switch for event in process.events if isinstance(event, SwitchContested)]
        assert sorted(told) == ["s1", "s2"]
        assert process.cluster.contested() == [1, 2]
    elsewhere.kill(stranger)
    world.run(OUTBID_S + 2 * LONGEST_PAUSE_S)
    assert world.is_whole()
    assert not first.cluster.contested()


def test_a_loss_of_quorum_that_ends_all_leases_changes_nobodys_switches(world: World) -> None:
    first = world.members[0]
    world.etcd.lose_quorum()
    world.run(10)
    assert [world.masters(dpid) for dpid in world.switches] == [[first], [first]]
    for number in list(world.etcd.leases):
        world.etcd.revoke(number)
    world.etcd.regain_quorum()
    world.etcd.late()
    world.run(3)
    assert world.is_whole()
    assert world.leaders() == [first]
    assert begun(world) == len(world.switches)


def test_a_loss_of_quorum_after_which_leases_go_on_changes_nobodys_switches(world: World) -> None:
    second = world.members[1]
    world.cluster_is_moved_to(second)
    read = begun(world)
    world.etcd.lose_quorum()
    world.run(6)  # longer than a lease is kept without an answer
    world.etcd.regain_quorum()
    world.etcd.late()
    world.run(10)
    assert world.is_whole()
    assert world.leaders() == [second]
    assert begun(world) == read
    assert world.requests_in(10) == 0


def test_a_leader_whose_lease_was_revoked_by_mistake_loses_its_part_and_no_flow(world: World) -> None:
    first, second, _ = world.members
    second.client.revoke(first.lease.number)
    assert world.heal() <= 0.3
    assert first.lease.number
    assert world.requests_in(10) <= 2 * len(world.switches)
    assert len(world.etcd.leases) == 3


def test_a_rebuilt_etcd_is_taken_into_use(world: World) -> None:
    world.etcd.revision += 5000
    world.run(1)
    world.cluster_is_moved_to(world.members[1])
    world.etcd.rebuild()
    world.run(0.1)
    assert world.until(world.is_whole) <= 3
    world.run(3)
    assert world.is_whole()
    assert world.requests_in(10) == 0


def test_new_processes_on_a_rebuilt_etcd_get_switches_that_have_seen_later_generations(world: World) -> None:
    for switch in world.switches.values():
        switch.roles.generation = 1 << 62
    for process in list(world.members):
        world.kill(process)
    world.etcd.rebuild()
    for name in ("m0", "m1"):
        world.start(name)
    assert world.heal() <= 1
    assert world.requests_in(10) == 0


def test_generations_wrap(world: World) -> None:
    for number, generation in enumerate((1 << 62, 2 << 62, 3 << 62, (1 << 64) - 2)):
        for switch in world.switches.values():
            switch.roles.generation = generation
        world.cluster_is_moved_to(world.members[1 - number % 2])
    assert all((switch.roles.generation or 0) < 1 << 32 for switch in world.switches.values())
    world.run(1)
    assert world.requests_in(10) == 0


def test_terms_go_on_where_etcd_was_restored_and_one_leads_who_does_not_know_of_them(world: World) -> None:
    first, second, third = world.members
    for process in (second, third, first, second):
        world.cluster_is_moved_to(process)
    restored, highest = world.start("m3"), second.cluster.term()
    world.run(1)
    world.cluster_is_moved_to(restored)
    restored.cluster._election._highest_term = 0  # as one that has begun after that
    world.etcd.client().transact([], [Put(f"{PREFIX}term", "2")])
    world.run(1)
    assert world.leaders() == [restored]
    assert restored.cluster.term() > highest + 1
    assert {process.cluster.term() for process in world.members} == {restored.cluster.term()}
    assert restored.led[-1] == restored.cluster.term()


def test_an_etcd_that_is_restored_from_an_older_state_uses_no_generation_again(world: World) -> None:
    saved = world.etcd.saved()
    for process in (*world.members[1:], world.members[0]):
        world.cluster_is_moved_to(process)
    world.etcd.restore(saved)
    world.run(5)
    assert world.heal() <= 3
    assert world.requests_in(10) == 0


def test_a_switch_that_only_a_follower_reaches_brings_the_leadership_there(world: World) -> None:
    first, second, third = world.members
    first.disconnect(1)
    assert 2.4 <= world.until(taken_over(world, first)) <= 3
    assert world.leaders()[0] in (second, third)
    first.connect(1)
    world.run(10)
    assert world.leaders() != [first]  # equal: it stays


def test_a_short_loss_of_a_connection_moves_nothing(world: World) -> None:
    first = world.members[0]
    first.disconnect(1)
    world.run(2)
    first.connect(1)
    world.run(5)
    assert world.leaders() == [first]
    assert first.begun[1] == 2
    assert first.led == [1]


def test_a_switch_that_is_lost_by_all_changes_no_leader(world: World) -> None:
    first = world.members[0]
    for process in world.members:
        process.disconnect(1)
    world.run(10)
    assert world.leaders() == [first]
    assert world.masters(2) == [first]
    assert f"/x/masters/{1:016x}" not in world.etcd.values
    for process in world.members[::-1]:
        process.connect(1)
    assert world.heal() <= 0.5


def test_a_switch_that_only_members_reach_that_cannot_lead_is_told(world: World) -> None:
    first, second, third = world.members
    first.disconnect(1)
    for process in (second, third):
        process.disconnect(2)
    world.run(10)
    assert world.leaders() == [first]
    assert world.masters(1) == []
    told = [event for event in first.events if isinstance(event, SwitchOutOfReach)]
    assert [event.reached_by for event in told] == [("m1", "m2")]


def test_a_connection_that_is_accepted_and_mute_is_given_up(world: World) -> None:
    first = world.members[0]
    world.switches[1].is_mute = True
    first.disconnect(1)
    first.connect(1)
    world.run(15)
    assert world.masters(1) == []
    assert world.requests_in(20) <= 3 * 20  # no endless loop
    world.switches[1].is_mute = False
    assert world.heal() <= 40


def test_a_foreign_controller_that_takes_the_switch_again_and_again_is_not_fought_without_end(world: World) -> None:
    roles = world.switches[1].roles
    roles.connected("foreign")
    for _ in range(400):
        roles.ask("foreign", Role.MASTER, (roles.generation or 0) + 1)
        world.run(0.05)
    assert world.requests_in(0.05) <= 2
    asked = sum(process.asked[1] for process in world.members)
    assert asked < 40


# ------------------------------------------------------------------------------ switches without roles


def test_a_switch_without_roles_is_served_by_one_member(unfenced: World) -> None:
    first = unfenced.members[0]
    assert unfenced.masters(1) == [first]
    assert any(isinstance(event, SwitchUnfenced) for event in first.events)
    assert unfenced.requests_in(10) == 0


def test_the_master_of_a_switch_without_roles_stands_down_when_it_is_cut_from_etcd(unfenced: World) -> None:
    first = unfenced.members[0]
    unfenced.cut(first)
    assert unfenced.until(lambda: not first.cluster.is_master(1)) <= 2.1
    assert unfenced.until(lambda: bool(unfenced.masters(1))) <= 4
    assert any(isinstance(event, SwitchStoodDown) and event.switch == "s1" for event in first.events)
    assert unfenced.masters(2) != [first]
    unfenced.mend(first)
    unfenced.run(5)
    assert unfenced.is_whole()


def test_a_watch_that_is_deaf_is_no_reason_for_two_to_serve_a_switch_without_roles(unfenced: World) -> None:
    first, second, _ = unfenced.members
    first.client.is_deaf = True
    unfenced.run(0.5)
    second.cluster.lead("m1")
    unfenced.run(10)  # checks in each step that there are not two
    assert unfenced.masters(1) == [second]


@pytest.fixture
def unfenced() -> World:
    world = World(members=["m0", "m1", "m2"], unfenced=[1])
    world.heal()
    return world


@pytest.mark.parametrize("is_due", [True, False])
def test_another_leads_at_the_next_beat_also_when_a_canary_is_due(is_due: bool) -> None:
    world = World(members=["m0", "m1"])
    first, second = world.members
    world.etcd.revoke(first.lease.number)
    catch_up(second.mirror)
    second.cluster._canary_at = second.cluster._clock() - (10.0 if is_due else 0.0)
    second.cluster.beat()
    assert world.etcd.values[f"{PREFIX}{LEADER}"].text == second.id


def test_a_long_time_without_etcd_leaves_nothing_in_memory() -> None:
    world = World(members=["m0", "m1"])
    member = world.members[1]
    member.client.fault = Fault.UNREACHABLE
    world.run(60)
    assert len(member.cluster._election._sent) <= MOST_SENT
    member.client.reset()
    world.run(5)
    assert not member.cluster._claims.is_unsure(member.cluster._clock())
