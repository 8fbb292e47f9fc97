"""What operators ask of a cluster: drains, another leader, names."""

from __future__ import annotations

import pytest

from anycast_sdn.cluster.keys import Held, MemberKey
from anycast_sdn.cluster.overview import overview
from anycast_sdn.cluster.steering import CannotSteer, ClusterUnreachable
from anycast_sdn.core.model import ConfigurationError, NotFound
from anycast_sdn.etcd.client import Put
from tests.unit.cluster.world import World
from tests.unit.etcd.fake import Fault, catch_up


@pytest.fixture
def world() -> World:
    return World(members=["m0", "m1", "m2"])


def test_a_leader_that_drains_hands_over_in_one_transaction(world: World) -> None:
    first, second, _ = world.members
    revision = world.etcd.revision
    second.cluster.drain("m0")
    assert world.etcd.revision == revision + 1
    assert world.until(lambda: world.is_whole() and world.leaders() != [first]) <= 0.3
    assert world.leaders()[0].cluster.term() == 2
    world.run(10)
    assert first.begun.total() == len(world.switches)
    assert world.requests_in(10) == 0


def test_who_drains_does_not_lead_until_it_is_resumed(world: World) -> None:
    first, second, third = world.members
    second.cluster.drain("m0")
    third.cluster.drain("m1")
    world.run(1)
    assert world.leaders() == [third]
    catch_up(second.mirror)
    shown = overview(second.mirror.values)
    assert [member.name for member in shown.members.values() if member.draining] == ["m0", "m1"]
    world.kill(third)
    world.run(10)
    assert all(process.cluster.leads() is False for process in (first, second))
    first.cluster.resume("m1")
    assert world.heal() <= 0.3
    assert world.leaders() == [second]


def test_the_last_member_cannot_be_drained(world: World) -> None:
    first, second, third = world.members
    first.cluster.drain("m1")
    world.run(0.2)
    first.cluster.drain("m2")
    world.run(0.2)
    with pytest.raises(CannotSteer, match="m0 is the last member that may lead"):
        second.cluster.drain("m0")
    assert world.leaders() == [first]
    assert third.cluster.leads() is False


def test_two_drains_at_the_same_time_leave_one_member(world: World) -> None:
    first, second, third = world.members
    world.kill(third)
    world.run(5)
    second.cluster.drain("m0")  # nothing is heard of this where the next one is asked
    with pytest.raises(CannotSteer):
        first.cluster.drain("m1")
    world.run(1)
    assert world.leaders() == [second]


def test_the_drain_of_a_member_that_has_ended_is_forgotten(world: World) -> None:
    first, second, _ = world.members
    first.cluster.drain("m1")
    world.kill(second)
    world.run(70)
    assert not any("drains" in key for key in world.etcd.values)
    again = world.start("m1")
    world.run(1)
    first.cluster.lead("m1")
    world.run(1)
    assert world.leaders() == [again]


def test_leadership_moves_to_whom_an_operator_names(world: World) -> None:
    first, second, third = world.members
    revision = world.etcd.revision
    first.cluster.lead("m2")
    assert world.etcd.revision == revision + 1
    assert world.until(lambda: world.is_whole() and world.leaders() == [third]) <= 0.3
    world.run(10)
    assert world.leaders() == [third]
    assert second.begun.total() == 0


def test_a_hand_over_that_would_not_last_is_refused(world: World) -> None:
    first, second, third = world.members
    second.disconnect(1)
    world.run(0.5)
    with pytest.raises(CannotSteer, match="m1 reaches 1 of the 2 switches of m0"):
        third.cluster.lead("m1")
    first.cluster.drain("m2")
    world.run(0.2)
    with pytest.raises(CannotSteer, match="m2 drains"):
        first.cluster.lead("m2")


def test_a_leader_is_not_drained_before_another_one_reaches_its_switches(world: World) -> None:
    first, second, third = world.members
    world.kill(third)
    second.disconnect(1)
    world.run(3)
    with pytest.raises(CannotSteer, match="new flows of the others would wait"):
        first.cluster.drain("m0")
    second.connect(1)
    world.run(0.5)
    first.cluster.drain("m0")
    assert world.until(lambda: world.is_whole() and world.leaders() == [second]) <= 0.3


def test_an_unknown_member_is_told_with_the_known_ones(world: World) -> None:
    with pytest.raises(NotFound, match="no member m9: there are m0, m1, m2"):
        world.members[0].cluster.drain("m9")


def test_a_second_process_of_the_same_name_is_refused_while_the_first_lives(world: World) -> None:
    with pytest.raises(ConfigurationError, match=r"--member m0: a controller of this name runs \(m0-00000001"):
        world.start("m0")
    assert world.is_whole()
    assert len(world.members) == 3


def test_a_process_that_has_been_killed_starts_again_under_its_name(world: World) -> None:
    world.kill(world.members[0])
    began = world.etcd.now
    world.start("m0")
    assert world.etcd.now - began <= 3
    assert world.heal() <= 0.5


def test_who_comes_back_and_finds_its_name_taken_is_no_member(world: World) -> None:
    first = world.members[0]
    first.is_frozen = True
    world.run(4)
    other = world.start("m0")
    first.is_frozen = False
    world.run(5)
    assert world.is_whole()
    assert first.cluster.leads() is False
    assert [event.type for event in first.events].count("cluster.name_taken") == 1
    world.kill(other)
    world.run(5)
    assert f"/x/members/{first.id}" in world.etcd.values


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "new", "switches": ["1", 2], "more": {"a": 1}}', "5"])
def test_a_member_of_another_release_that_is_not_understood_takes_part_in_nothing(world: World, text: str) -> None:
    lease = world.etcd.grant(1000)
    world.etcd.transact((), [Put("/x/members/new-1", text, lease), Put("/x/masters/zz", "new-1", lease)])
    world.run(1)
    assert world.is_whole()
    world.kill(world.members[0])
    assert world.heal() <= 5
    assert MemberKey.of(text).switches in ([], [2])
    assert Held.of(text).offset == 0


def test_what_cannot_be_asked_of_etcd_is_said(world: World) -> None:
    first, *_ = world.members
    first.client.fault = Fault.UNREACHABLE
    with pytest.raises(ClusterUnreachable, match="etcd: fake: Connection refused"):
        first.cluster.drain("m1")


# ------------------------------------------------------------------------------ members that are gone for good


def test_a_member_that_is_missed_is_forgotten_by_a_word_to_any_other(world: World) -> None:
    first, second, third = world.members
    world.kill(third)
    world.run(5)
    first.cluster.missed = lambda: {"m2"}
    first.cluster.forget("m2")
    world.run(0.2)
    for process in (first, second):
        assert "forgotten/m2" in process.mirror.values
    assert [event.type for event in first.events if event.type == "member.forgotten"] == ["member.forgotten"]
    world.start("m2")
    world.run(0.2)
    assert "forgotten/m2" not in first.mirror.values  # it is missed again when it is lost again


def test_who_is_there_or_is_missed_by_nobody_is_not_forgotten(world: World) -> None:
    first, _, third = world.members
    with pytest.raises(CannotSteer, match="m2 is there: to take it away, drain it, and stop it"):
        first.cluster.forget("m2")
    with pytest.raises(NotFound, match="no member m3 is missing; none is"):
        first.cluster.forget("m3")
    world.kill(third)
    world.run(5)
    first.cluster.missed = lambda: {"m2"}
    with pytest.raises(NotFound, match="no member m3 is missing; those that are: m2"):
        first.cluster.forget("m3")
    catch_up(first.mirror)
    world.start("m2")  # of which the first one has not heard yet
    with pytest.raises(CannotSteer, match="m2 is there"):
        first.cluster.forget("m2")
