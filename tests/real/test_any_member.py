"""REST on any member of a cluster, and how members notice each other's end; controllers without switches."""

from __future__ import annotations

import json
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from members import Etcd
from support import TOPOLOGIES, until

GROUP = {"prefixes": ["198.18.0.1/32"]}
_OF_CLUSTER = ("member", "leader")  # each member sees these by itself


class Answer(NamedTuple):
    status: int
    body: Any
    fields: Any


def ask(member: Any, method: str, path: str, body: Any = None, **fields: str) -> Answer:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{member.rest_port}{path}", data, method=method)
    request.add_header("Content-Type", "application/json")
    for name, value in fields.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return Answer(response.status, json.loads(response.read() or "null"), response.headers)
    except urllib.error.HTTPError as refusal:
        return Answer(refusal.code, json.loads(refusal.read() or "null"), refusal.headers)


def answered(member: Any, path: str) -> Any:
    """None: it did not."""
    answer = ask(member, "GET", path)
    return answer.body if answer.status == 200 else None


def leader(member: Any) -> Any:
    """As this member has it."""
    return ask(member, "GET", "/v1/cluster").body["leader"]


@contextmanager
def two_members(directory: Path) -> Iterator[tuple[Etcd, Any, Any]]:
    """m0 leads."""
    from testbed import ControllerProcess

    class Member(ControllerProcess):
        def _is_ready(self) -> bool:
            with suppress(OSError):
                return ask(self, "GET", "/v1/groups").status == 200
            return False

    with ExitStack() as undo:
        etcd = undo.enter_context(Etcd(directory))
        members = []
        for name in ("m0", "m1"):
            (own := directory / name).mkdir(exist_ok=True)
            members.append(Member(TOPOLOGIES / "figure1.yaml", own, ("--etcd", etcd.url, "--member", name)))
            undo.enter_context(members[-1])
        for member in members:
            until(lambda: hear_each_other(member), "members hear each other")  # noqa: B023
        yield etcd, *members
        for member in members:
            assert "Traceback" not in member.log(), member.log()


def hear_each_other(member: Any) -> bool:
    cluster = ask(member, "GET", "/v1/cluster").body
    return len(cluster["members"]) == 2 and not cluster["incomplete"]


def missed(member: Any) -> list[str]:
    """The members that are a reason of its health."""
    reasons = ask(member, "GET", "/v1/health").body["reasons"]
    return [each["subject"]["name"] for each in reasons if each["code"] == "member.lost"]


def told(member: Any) -> set[tuple[str, int]]:
    """The events that this member shows, but what each sees by itself: whose they are, and their numbers there."""
    shown = ask(member, "GET", "/v1/events?limit=1000").body["events"]
    return {(each["member"], each["number"]) for each in shown if each["type"].partition(".")[0] not in _OF_CLUSTER}


def losses(member: Any) -> list[tuple[str, str]]:
    """The members that were lost, as this one shows it: (who has said so, who was)."""
    shown = ask(member, "GET", "/v1/events?limit=1000").body["events"]
    return [(each["member"], each["subject"]["name"]) for each in shown if each["type"] == "member.lost"]


def events(member: Any, into: list[dict[str, Any]]) -> None:
    """Follows the event stream until it ends."""
    request = urllib.request.Request(f"http://127.0.0.1:{member.rest_port}/v1/events")
    request.add_header("Accept", "text/event-stream")
    with suppress(OSError), urllib.request.urlopen(request, timeout=30) as stream:
        for line in stream:
            if line.startswith(b"data: "):
                into.append(json.loads(line[6:]))


def test_any_member_answers_and_the_end_of_one_is_noticed(tmp_path: Path) -> None:
    with two_members(tmp_path) as (_, m0, m1):
        assert leader(m0) == leader(m1) == "m0"
        heard: list[dict[str, Any]] = []
        threading.Thread(target=events, args=(m1, heard), daemon=True).start()

        made = ask(m1, "PUT", "/v1/groups/web", GROUP)
        assert made.status == 201
        read = ask(m1, "GET", "/v1/groups/web")
        assert read.fields["ETag"] == made.fields["ETag"] == ask(m0, "GET", "/v1/groups/web").fields["ETag"]
        assert ask(m1, "PUT", "/v1/groups/web", GROUP, If_Match='"other"').status == 412
        slow, tag = {**GROUP, "slow_start_s": 5}, read.fields["ETag"]
        assert ask(m1, "PUT", "/v1/groups/web", slow, If_Match=tag).status == 200
        until(lambda: any(event["type"].startswith("group.") for event in heard), "events of the leader come")

        began = time.monotonic()
        m0.process.kill()
        # At once, mostly; and whoever takes over has read what was changed through it.
        first = until(lambda: answered(m1, "/v1/groups/web"), "the other member answers")
        assert first["slow_start_s"] == 5
        until(lambda: leader(m1) == "m1", "the other member leads")
        print(f"kill -9 → another member leads: {time.monotonic() - began:.3f} s")
        assert ask(m1, "PUT", "/v1/groups/web", GROUP).status == 200
        lost = [each for each in ask(m1, "GET", "/v1/events").body["events"] if each["type"] == "member.lost"]
        assert [(each["subject"]["name"], each["data"]["ended"]) for each in lost] == [("m0", True)]

        assert missed(m1) == ["m0"]
        assert ask(m1, "GET", "/v1/events").body["incomplete"] == ["m0"]
        assert ask(m1, "POST", "/v1/cluster/members/m1/forget").status == 409
        assert ask(m1, "POST", "/v1/cluster/members/m0/forget").status == 204
        until(lambda: missed(m1) == [], "nobody misses it any more")
        assert ask(m1, "POST", "/v1/cluster/members/m0/forget").status == 404
        assert ask(m1, "GET", "/v1/cluster").body["incomplete"] == []


def test_members_are_steered_through_any_of_them(tmp_path: Path) -> None:
    def steer(member: Any, path: str) -> int:
        return ask(member, "POST", f"/v1/cluster/members/{path}").status

    def shown(member: Any) -> tuple[str, list[bool]]:
        cluster = ask(member, "GET", "/v1/cluster").body
        return cluster["leader"], [each["draining"] for each in cluster["members"]]

    with two_members(tmp_path) as (_, m0, m1):
        assert steer(m1, "m0/drain") == 204
        until(lambda: shown(m0) == shown(m1) == ("m1", [True, False]), "the drained leader has handed over")
        assert ask(m0, "PUT", "/v1/groups/web", GROUP).status == 201
        assert steer(m0, "m0/lead") == 409
        assert steer(m0, "m7/lead") == 404
        assert steer(m0, "m0/resume") == 204
        assert steer(m0, "m0/lead") == 204
        until(lambda: shown(m0) == shown(m1) == ("m0", [False, False]), "it leads again")
        events = ask(m1, "GET", "/v1/events").body["events"]
        assert [each["subject"]["name"] for each in events if each["type"] == "leader.changed"][-2:] == ["m1", "m0"]
        until(lambda: told(m0) == told(m1) and len({name for name, _ in told(m0)}) == 2, "both show all events")


def test_a_leader_that_is_frozen_is_left_to_its_lease(tmp_path: Path) -> None:
    with two_members(tmp_path) as (_, m0, m1):
        m0.process.send_signal(signal.SIGSTOP)
        try:
            answer = ask(m1, "PUT", "/v1/groups/web", GROUP)  # it is sent to m0, which is frozen
            assert (answer.status, answer.fields["Retry-After"]) == (503, "1")
            assert "m0, which leads, does not answer" in answer.body["detail"]
            until(lambda: leader(m1) == "m1", "the other member leads")
            assert ask(m1, "PUT", "/v1/groups/web", GROUP).status == 201
        finally:
            m0.process.send_signal(signal.SIGCONT)
        until(lambda: leader(m0) == "m1" and ask(m0, "GET", "/v1/groups/web").status == 200, "it passes requests on")
        until(lambda: ("m1", "m0") in losses(m0), "it shows its own loss, by the word of the other one")


def test_without_etcd_and_leader_the_missing_are_named(tmp_path: Path) -> None:
    with two_members(tmp_path) as (etcd, m0, m1):
        etcd.program.stop()
        m0.kill()
        answer = ask(m1, "GET", "/v1/groups")
        assert answer.status == 503
        assert "m0, which leads, does not answer" in answer.body["detail"] or "etcd" in answer.body["detail"]
        until(lambda: not ask(m1, "GET", "/v1/cluster").body["etcd"]["up"], "that etcd is away is shown")
        assert ask(m1, "GET", "/v1/cluster").body["incomplete"] == ["m0"]
        assert ask(m1, "GET", "/livez").status == 200
