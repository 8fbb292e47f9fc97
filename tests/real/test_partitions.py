"""What becomes of flows when a controller, etcd, or a connection between them breaks: the table of docs/cluster.md.

Three controllers and an etcd of three members serve figure 1 under load.  Whatever breaks, no known flow is lost or
goes to another server, no PR1X is in two flows, and no switch takes a rule of one controller after it has called
another one its master (``witness``).  New flows may wait; at the end they are served.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from broken import NOTICED_S, Scene, Seen, broken
from programs import TestbedError
from support import until

LOG_CHARACTERS = 4000  # of each member's, shown with a failed test
Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with broken(tmp_path_factory.mktemp("partitions")) as scene:
        yield scene


@contextmanager
def outcome(scene: Scene, record: Record) -> Iterator[Seen]:
    """The block breaks something under load, and nothing comes of it that must not be."""
    try:
        with scene.load() as seen:
            yield seen
    except TestbedError:
        for member in scene.members:
            print(f"{member.name}: {member.log()[-LOG_CHARACTERS:]}")
        raise
    record("measured", str(seen.outcome))
    assert not seen.outcome.faults, "\n".join(seen.outcome.faults[:20])


def obeyed(member: Any) -> dict[str, str | None]:
    """Whom each switch obeys, as this member shows it."""
    return {each["switch"]: each["obeys"] for each in member.rest("GET", "/v1/cluster").body["switches"]}


def is_agreed(scene: Scene, without: str = "") -> bool:
    """Do all members show the same, of all switches, and none that obeys this member?"""
    first, *others = map(obeyed, scene.members)
    return all(each == first for each in others) and not {None, without}.intersection(first.values())


def asked(member: Any) -> tuple[int, str]:
    """The status with which it answers what the leader has to answer, and why."""
    answer = member.rest("GET", "/v1/groups")
    return answer.status, str((answer.body or {}).get("detail", ""))


def unreached(member: Any) -> set[str]:
    """The members of which it says that it does not reach them."""
    reasons = member.rest("GET", "/healthz").body["reasons"]
    return {reason["subject"]["name"] for reason in reasons if reason["code"] == "member.unreached"}


def shows(sentence: str) -> Any:
    return pytest.mark.row("M37", sentence)


@shows("kill -9 of the leader: another one takes over, no known flow is lost")
def test_the_leader_is_killed(scene: Scene, record_property: Record) -> None:
    with outcome(scene, record_property) as seen:
        seen.leader.kill()
        seen.await_another_leader()
        seen.await_new_flows()


@shows("the leader is frozen: another one takes over; when it is back, switches take nothing from it")
def test_the_leader_is_frozen_and_comes_back(scene: Scene, record_property: Record) -> None:
    with outcome(scene, record_property) as seen:
        seen.leader.freeze()
        other = seen.await_another_leader()
        seen.await_new_flows()
        seen.leader.thaw()
        until(lambda: seen.leader.rest("GET", "/livez").status == 200, "it works again")
        seen.await_new_flows()
        assert scene.controllers.await_masters() is other


@shows("the leader is cut from etcd: it serves until another one claims, then switches refuse it")
def test_the_leader_is_cut_from_etcd(scene: Scene, record_property: Record) -> None:
    with outcome(scene, record_property) as seen:
        seen.leader.part_from_etcd()
        seen.await_another_leader()
        seen.await_new_flows()
        until(lambda: is_agreed(scene, without=seen.leader.name), "all members know that switches obey others")


@shows("all are cut from etcd: known and new flows are served, changes are refused with 503")
def test_all_are_cut_from_etcd(scene: Scene, record_property: Record) -> None:
    with outcome(scene, record_property) as seen:
        until(lambda: is_agreed(scene), "all members know whom switches obey")
        before = obeyed(seen.leader)
        for member in scene.members:
            member.part_from_etcd()
        time.sleep(4)  # twice the time of a lease
        seen.await_new_flows()
        assert [obeyed(member) for member in scene.members] == [before] * len(scene.members)
        answer = seen.leader.rest("PUT", "/v1/groups/other", {"prefixes": ["198.18.9.9/32"]})
        assert answer.status == 503, answer


@shows("the leader is cut from all switches: another one takes over")
def test_the_leader_is_cut_from_the_switches(scene: Scene, record_property: Record) -> None:
    with outcome(scene, record_property) as seen:
        seen.leader.switches.swallow()
        seen.await_new_flows()


@shows("one switch is cut from its master alone: its links stay as they are, another member becomes its master")
def test_one_switch_is_cut_from_the_leader(scene: Scene, record_property: Record) -> None:
    edge = scene.testbed.network.switch("arh1").dpid
    with outcome(scene, record_property) as seen:
        before = len(seen.leader.log())
        seen.leader.switches.swallow_switch(edge)
        until(lambda: scene.controllers.masters()[edge] is not seen.leader, "arh1 has another master", NOTICED_S)
        assert "do not hear each other" not in seen.leader.log()[before:], "LLDP that arh1 cannot report says nothing"
        seen.await_new_flows()


@shows("members do not reach each other, but etcd and the switches: nobody takes over, followers say who is missing")
def test_members_do_not_reach_each_other(scene: Scene, record_property: Record) -> None:
    with outcome(scene, record_property) as seen:
        leader, *followers = sorted(scene.members, key=lambda member: member is not seen.leader)
        until(lambda: is_agreed(scene), "all members know whom switches obey")
        until(lambda: all(asked(member)[0] == 200 for member in followers), "REST works on any member")
        before = obeyed(leader), len(leader.switches.replies)
        for member in scene.members:
            member.peers.swallow()
        until(lambda: {503} == {asked(member)[0] for member in followers}, "followers cannot ask the leader", NOTICED_S)
        for member in followers:
            status, detail = asked(member)
            assert (status, leader.name in detail) == (503, True), detail
            answer = member.rest("PUT", "/v1/groups/other", {"prefixes": ["198.18.9.9/32"]})
            assert (answer.status, "nothing was done" in answer.body["detail"]) == (503, True), answer
        until(lambda: all(map(unreached, scene.members)), "all members say that they do not reach others", NOTICED_S)
        seen.await_new_flows()
        assert leader.rest("GET", "/v1/groups").status == 200
        time.sleep(max(0.0, seen.since_s + 6 - time.monotonic()))  # three times the time of a lease
        assert scene.controllers.leader() is leader
        assert (obeyed(leader), len(leader.switches.replies)) == before, "nobody has asked for a switch"
        for member in scene.members:
            member.peers.restore()
        until(lambda: all(asked(member)[0] == 200 for member in followers), "REST works on any member again", NOTICED_S)
        until(lambda: not any(map(unreached, scene.members)), "all members reach each other", NOTICED_S)
        assert scene.controllers.leader() is leader


@shows("members that share the switches do not reach each other: the leader is the master of all until they do")
def test_members_that_share_switches_do_not_reach_each_other(scene: Scene, record_property: Record) -> None:
    with outcome(scene, record_property) as seen:
        leader = seen.leader

        def masters() -> set[str]:
            return {member.name for member in scene.controllers.masters().values()}

        assert leader.rest("POST", "/v1/cluster/share").status == 204
        until(lambda: len(masters()) > 1 and is_agreed(scene), "the switches are shared", NOTICED_S)
        seen.await_new_flows()
        before = len(leader.log())
        for member in scene.members:
            member.peers.swallow()
        until(lambda: masters() == {leader.name}, "the leader is the master of all switches", NOTICED_S)
        seen.await_new_flows()

        def asked_for() -> list[int]:
            return [len(member.switches.replies) for member in scene.members]

        def is_quiet() -> bool:
            before = asked_for()
            time.sleep(2.5)  # more than a lease has
            return asked_for() == before

        until(is_quiet, "nobody asks for a switch any more", NOTICED_S)
        assert scene.controllers.leader() is leader
        assert "link.down" not in leader.log()[before:], "silence of members says nothing about links"
        for member in scene.members:
            member.peers.restore()
        until(lambda: len(masters()) > 1 and is_agreed(scene), "the switches are shared again", NOTICED_S)
        assert leader.rest("POST", "/v1/cluster/gather").status == 204
        until(lambda: masters() == {leader.name}, "the leader is the master of all switches again", NOTICED_S)


@shows("an etcd member is killed every few seconds")
def test_members_of_etcd_are_killed_one_after_the_other(scene: Scene, record_property: Record) -> None:
    etcd = scene.controllers.etcd
    with outcome(scene, record_property) as seen:
        for member in etcd.members:
            member.kill()
            time.sleep(1.5)
            seen.await_new_flows()
            etcd.restart(member)


@shows("etcd loses its quorum and gets it back")
def test_etcd_loses_its_quorum(scene: Scene, record_property: Record) -> None:
    etcd = scene.controllers.etcd
    with outcome(scene, record_property) as seen:
        for member in etcd.members[:2]:
            member.kill()
        time.sleep(3)  # more than a lease has
        seen.await_new_flows()
        for member in etcd.members[:2]:
            member.start(etcd.members)
        until(lambda: all(member.answers() for member in etcd.members), "etcd answers", NOTICED_S)


@shows("all members are drained and restarted, one after the other: enrolments and flows are all there")
def test_all_members_are_restarted(scene: Scene, record_property: Record) -> None:
    def enrolled() -> Any:
        servers = scene.controllers.await_masters().rest("GET", "/v1/groups/web/servers").body["servers"]
        return sorted(server["address"] for server in servers)

    before = enrolled()
    with outcome(scene, record_property) as seen:
        for member in scene.members:
            answer = member.rest("POST", f"/v1/cluster/members/{member.name}/drain")
            assert answer.status in (200, 204), answer
            until(lambda: member not in scene.controllers.masters().values(), "it has no switch", NOTICED_S)  # noqa: B023
            member.stop()
            seen.await_new_flows()
            member.start()
            scene.controllers.await_all()
    assert enrolled() == before
