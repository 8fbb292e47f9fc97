"""What members say of themselves and a switch is what the switch has answered, whatever etcd says."""

from __future__ import annotations

import pytest

from anycast_sdn.cluster.standing import Claimed, Says, Standing, obeyed
from tests.unit.cluster.world import Process, World


def says(process: Process, dpid: int = 1) -> Says | None:
    found = process.cluster.claimed().get(dpid)
    return found.says if found else None


def test_what_is_said_comes_over_as_it_is() -> None:
    said = Standing({1: Claimed(Says.GRANTED, (1 << 64) - 2, 7), 300: Claimed(Says.SILENT, 4, 8)}, ["m2"])
    assert Standing.of(said.text()) == said
    assert "\n" not in said.text()


def test_what_a_later_release_adds_is_left_out_and_what_is_none_of_it_is_refused() -> None:
    assert Standing.of('{"claimed": {"1": ["dreamt", 3, 4], "2": ["granted", 3, 4, 5]}, "missing": [], "more": 1}') == (
        Standing({2: Claimed(Says.GRANTED, 3, 4)}, [])
    )
    for text in ("", "[]", "{}", '{"claimed": [], "missing": []}', '{"claimed": {"1": []}, "missing": []}'):
        with pytest.raises(ValueError, match=r"Expecting value|no standing"):
            Standing.of(text)


def test_of_two_that_were_granted_the_role_the_switch_obeys_the_later_also_when_numbers_wrap() -> None:
    early, late = Claimed(Says.GRANTED, (1 << 64) - 1, 3), Claimed(Says.GRANTED, 2, 4)
    assert obeyed({"m0": early, "m1": late}) == obeyed({"m1": late, "m0": early}) == "m1"
    assert obeyed({"m0": early, "m1": late._replace(says=Says.CLAIMED)}) == "m0"
    assert obeyed({"m1": late._replace(says=Says.REFUSED)}) is None


def test_the_leader_says_that_it_is_the_master_and_the_others_say_nothing() -> None:
    world = World(members=["m0", "m1"])
    world.heal()
    (leader,) = world.leaders()
    (other,) = [each for each in world.members if each is not leader]
    said = leader.cluster.claimed()
    assert {dpid: each.generation for dpid, each in said.items()} == {
        dpid: switch.roles.generation for dpid, switch in world.switches.items()
    }
    assert {(each.says, each.term) for each in said.values()} == {(Says.GRANTED, leader.cluster.term())}
    assert not other.cluster.claimed()


def test_a_master_that_is_cut_from_etcd_says_granted_until_the_switch_refuses_it() -> None:
    world = World(switches=1, members=["m0", "m1"])
    world.heal()
    (old,) = world.leaders()
    (new,) = [each for each in world.members if each is not old]
    world.cut(old)
    world.until(lambda: says(new) is Says.GRANTED)
    before, after = (each.cluster.claimed().get(1) for each in (old, new))
    if before and before.says is Says.GRANTED:  # it has not heard of it yet
        assert after
        assert obeyed({"old": before, "new": after}) == "new"
    world.until(lambda: says(old) is Says.REFUSED)  # etcd, as it knows it, still names it
    assert world.etcd.values["/x/leader"].text == new.id


def test_a_member_that_a_switch_does_not_answer_says_so() -> None:
    world = World(switches=1, members=["m0"])
    world.heal()
    process = world.members[0]
    process.disconnect(1)
    world.switches[1].is_mute = True
    process.connect(1)
    assert says(process) is Says.CLAIMED
    world.run(0.3)
    assert says(process) in (Says.SILENT, Says.CLAIMED)  # it asks again and again
    world.switches[1].is_mute = False
    world.until(lambda: says(process) is Says.GRANTED)
