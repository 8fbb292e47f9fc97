"""Who had an address, at any member of a cluster: by the logs of all of them."""

from __future__ import annotations

from typing import Any

import pytest

from anycast_sdn.api import held_anywhere
from anycast_sdn.api.held_anywhere import together
from anycast_sdn.api.member_client import MemberClient
from anycast_sdn.api.shown_flows import HeldBindings
from anycast_sdn.store.bindings.records import ANOTHER_LED
from tests.unit.api.test_any_member import Member, members

PATH = "/v1/bindings/history?translated=203.0.113.7&at=2025-06-15T15:07:00Z"

__all__ = ["members"]  # a fixture


def flow(edge: str, begins: str, ends: str | None = None, ended_by: str | None = None) -> dict[str, Any]:
    return {
        "translated": "203.0.113.7", "from": f"2025-06-15T{begins}:00.000Z",
        "to": ends and f"2025-06-15T{ends}:00.000Z", "edge": edge, "number": 3, "group": "web", "client": "10.1.0.10",
        "client_port": 40000, "service": "198.18.0.1", "service_port": 443, "protocol": "tcp", "server": None,
        "ended_by": ended_by,
    }  # fmt: skip


def log(*flows: dict[str, Any], gaps: tuple[str, ...] = (), begins: str = "10:00", others: tuple[str, ...] = ()) -> Any:
    moment = "2025-06-15T15:00:00.000Z"
    return {
        "at": "2025-06-15T15:07:00.000Z", "bindings": [*flows], "begins": f"2025-06-15T{begins}:00.000Z",
        "gaps": [{"from": moment, "to": moment, "reason": each, "missing": None} for each in gaps],
        "retention_days": 90, "incomplete": [*others],
    }  # fmt: skip


def test_a_flow_that_several_members_have_served_is_shown_once() -> None:
    before = flow("arh1", "15:00", "15:08", "handed_over")
    logs = {"m0": log(before), "m1": log(flow("arh1", "15:06", "15:20", "idle"), flow("arh2", "15:01"), begins="09:00")}
    shown = together(logs, "m0", [])
    HeldBindings.model_validate(shown)
    assert [(each["edge"], each["from"][11:16], each["ended_by"], each["member"]) for each in shown["bindings"]] == [
        ("arh2", "15:01", None, "m1"), ("arh1", "15:00", "idle", "m1"),
    ]  # fmt: skip
    assert shown["begins"] == "2025-06-15T09:00:00.000Z"
    assert together({"m0": log(before)}, "m0", [])["bindings"][0]["ended_by"] == "handed_over"


def test_who_may_know_more_is_named_until_it_has_answered() -> None:
    gaps = ("the disk was full", ANOTHER_LED)
    logs = {"m0": log(gaps=gaps, others=("m1",))}
    shown = together(logs, "m0", ["m0", "m2"])
    assert shown["incomplete"] == ["m1", "m2"]
    assert [gap["reason"] for gap in shown["gaps"]] == [*gaps]
    shown = together({**logs, "m1": log(others=("m0",))}, "m0", ["m0", "m1"])
    assert shown["incomplete"] == []
    assert [(gap["reason"], gap["member"]) for gap in shown["gaps"]] == [("the disk was full", "m0")]


def answers(member: Member, found: Any) -> None:
    member.client.facts.held = lambda *asked: found  # type: ignore[method-assign]


def test_whichever_member_is_asked_the_logs_of_all_are_read(members: tuple[Member, Member]) -> None:
    leader, follower = members
    answers(leader, log(flow("arh1", "15:00")))
    answers(follower, log(flow("arh2", "15:01")))
    answer = follower.ask("GET", PATH)
    assert answer.status_code == 200
    assert [(each["edge"], each["member"]) for each in answer.json["bindings"]] == [("arh2", "m1"), ("arh1", "m0")]
    assert (len(leader.asked), len(follower.asked)) == (1, 1)
    assert follower.ask("GET", f"{PATH}&port=x").status_code == 400
    assert len(leader.asked) == 1


def test_a_member_without_a_log_shows_those_of_others(members: tuple[Member, Member]) -> None:
    leader, follower = members
    answers(leader, log(flow("arh1", "15:00")))
    follower.client.facts.no_log = True
    follower.known.all_serving = {"m0", "m1"}
    answer = follower.ask("GET", PATH)
    assert ([each["member"] for each in answer.json["bindings"]], answer.json["incomplete"]) == (["m0"], ["m1"])
    leader.client.facts.no_log = True
    del leader.client.facts.held
    assert follower.ask("GET", PATH).status_code == 404


def test_a_member_that_does_not_answer_is_named(
    members: tuple[Member, Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_anywhere, "ANSWER_S", 0.2)
    leader, follower = members
    answers(follower, log(flow("arh2", "15:01"), others=("m0",)))
    leader.server.close()
    assert follower.ask("GET", PATH).json["incomplete"] == ["m0"]


def test_a_member_whose_others_are_gone_names_them(members: tuple[Member, Member]) -> None:
    leader, _ = members
    answers(leader, log(flow("arh1", "15:00")))
    leader.known.all_serving = {"m0", "m1"}
    answer = leader.ask("GET", PATH)
    assert ([each["member"] for each in answer.json["bindings"]], answer.json["incomplete"]) == (["m0"], ["m1"])
    assert leader.ask("HEAD", PATH).status_code == 200


def test_who_does_not_know_the_secret_of_members_is_told_nothing(members: tuple[Member, Member]) -> None:
    leader, follower = members
    answers(leader, log(flow("arh1", "15:00")))
    answers(follower, log())
    there = follower.known.all_others[0]
    wrong = MemberClient(there.client.url, leader.known.own, "a secret of somebody else")
    follower.known.all_others = [there._replace(client=wrong)]
    assert follower.ask("GET", PATH).json["bindings"] == []
    assert not leader.asked
