"""What has become of a cluster from one look at it to the next."""

from __future__ import annotations

from collections.abc import Collection

from anycast_sdn.cluster.keys import LEADER, MEMBERS, TERM, MemberKey
from anycast_sdn.cluster.overview import Overview, overview
from anycast_sdn.cluster.watching import AWAY_S, Watching
from anycast_sdn.core.cluster_events import EtcdBack, EtcdLost, LeaderChanged, MemberJoined, MemberLeft, MemberLost
from anycast_sdn.core.events import Event
from anycast_sdn.etcd.client import Value
from tests.unit.cluster.world import World


def seen(*ids: str, leader: str = "", term: int = 7) -> Overview:
    values = {
        f"{MEMBERS}{id}": Value(MemberKey(id.partition("-")[0], f"http://{id}", [], release="1.0").text(), 3, 3, 9)
        for id in ids
    }
    if leader:
        values |= {LEADER: Value(leader, term, term), TERM: Value(str(term), 1, term)}
    return overview(values)


class Looks:
    def __init__(self) -> None:
        self.watching = Watching("m0-1")
        self.now = 100.0

    def __call__(self, seen: Overview, problem: str = "", left: str = "", ended: str = "") -> list[Event]:
        self.now += 1
        return self.watching.look(seen, problem, [left], [ended], self.now)


def test_what_is_there_at_first_is_no_news() -> None:
    look = Looks()
    assert look(seen("m0-1", "m1-2", leader="m1-2")) == []
    assert look(seen("m0-1", "m1-2", leader="m1-2")) == []


def test_members_come_and_go() -> None:
    look = Looks()
    look(seen("m0-1", leader="m0-1"))
    assert look(seen("m0-1", "m1-2", leader="m0-1")) == [MemberJoined("m1", "m1-2", "http://m1-2", "1.0")]
    assert look(seen("m0-1", leader="m0-1"), left="m1-2") == [MemberLeft("m1", "m1-2")]
    assert not look.watching.missing
    look(seen("m0-1", "m1-3", leader="m0-1"))
    assert look(seen("m0-1", leader="m0-1"), ended="m1-3") == [MemberLost("m1", "m1-3", True)]
    assert [*look.watching.missing] == ["m1"]
    look(seen("m0-1", "m1-4", leader="m0-1"))
    assert not look.watching.missing


def test_a_member_that_has_said_in_etcd_that_it_leaves_is_not_missed_whoever_has_heard_of_it() -> None:
    world = World(members=["m0", "m1"])
    m0, m1 = world.members
    watching = Watching(m0.id)

    def look(keys: Collection[str] = ()) -> None:
        told.extend(watching.look(overview(m0.mirror.values), "", [], [], world.etcd.now))

    told: list[Event] = []
    look()
    m0.mirror.listen(look)
    m1.cluster.tell_leaving()
    world.etcd.revoke(m1.lease.number)
    world.members.remove(m1)
    world.run(1)
    assert told == [MemberLeft("m1", m1.id)]
    assert not watching.missing


def test_a_member_that_an_operator_has_had_forgotten_is_missed_when_it_is_lost_again() -> None:
    look = Looks()
    look(seen("m0-1", "m1-2", leader="m0-1"))
    look(seen("m0-1", leader="m0-1"))
    look.watching.forget("m1")
    look.watching.forget("m9")
    assert look(seen("m0-1", leader="m0-1")) == []
    assert not look.watching.missing
    look(seen("m0-1", "m1-3", leader="m0-1"))
    look(seen("m0-1", leader="m0-1"))
    assert [*look.watching.missing] == ["m1"]


def test_this_member_is_not_told_of_itself_when_its_lease_is_lost() -> None:
    look = Looks()
    look(seen("m0-1", leader="m0-1"))
    assert look(seen()) == []
    assert look(seen("m0-1")) == []


def test_another_leader_is_told_once_and_counted_where_it_is_this_member() -> None:
    look = Looks()
    look(seen("m0-1", "m1-2", leader="m1-2"))
    assert look.watching.takeovers == 0
    assert look(seen("m0-1")) == [MemberLost("m1", "m1-2", False)]
    assert look.watching.leaderless_since == look.now
    assert look(seen("m0-1", leader="m0-1", term=9)) == [LeaderChanged("m0", 9)]
    assert look(seen("m0-1", leader="m0-1", term=9)) == []
    assert look.watching.takeovers == 1
    look(seen("m0-1"))
    assert look.watching.leaderless_since == look.now


def test_who_leads_first_has_taken_over_from_nobody() -> None:
    look = Looks()
    look(seen("m0-1"))
    assert look(seen("m0-1", leader="m0-1")) == [LeaderChanged("m0", 7)]
    assert look.watching.takeovers == 0


def test_etcd_is_away_when_it_has_not_answered_for_longer_than_an_election_takes() -> None:
    look = Looks()
    there = seen("m0-1", leader="m0-1")
    look(there)
    assert look(there, "timed out") == look(there, "timed out") == []
    since, look.now = look.now - 1, look.now + AWAY_S
    assert look(there, "timed out") == [EtcdLost("timed out")]
    assert look(there, "timed out") == []
    assert look.watching.etcd_away_since == since
    assert look(there) == [EtcdBack(round(look.now - since, 1))]
    assert look(there, "timed out") == look(there) == []
