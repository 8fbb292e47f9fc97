"""Where switches are shared, any member shows the flows of all, and who had an address; figures are shown once."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path
from typing import Any

from controllers import Member
from members import members
from support import TOPOLOGIES, program, until


def get(member: Member, path: str) -> Any:
    answer = member.rest("GET", path)
    assert answer.status == 200, answer
    return answer.body


def master_of(member: Member, switch: str) -> tuple[str, str]:
    """Whom etcd names, and whom the switch obeys."""
    (found,) = [each for each in get(member, "/v1/cluster")["switches"] if each["switch"] == switch]
    return found["master"], found["obeys"]


def move(member: Member, switch: str, to: str) -> None:
    assert member.rest("POST", f"/v1/cluster/members/{to}/switches/{switch}").status == 204
    until(lambda: master_of(member, switch) == (to, to), f"{switch} obeys {to}")


def pinned(member: Member) -> list[float]:
    """What this member shows of the flows at arh1 in its metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{member.rest_port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return [float(each) for each in re.findall(r'anycast_sdn_bindings{edge="arh1",state="pinned"} (.*)', text)]


def test_any_member_shows_the_flows_of_all_masters_and_who_had_an_address(tmp_path: Path) -> None:
    options = ["--binding-log", "OWN/bindings.jsonl"]
    with members(TOPOLOGIES / "figure1.yaml", tmp_path, 2, options) as (testbed, _, (m0, m1)):
        until(lambda: get(m0, "/healthz")["status"] == "ok", "the first member serves")
        m0.enrol("web", ["198.18.0.1/32"], ["10.2.0.10"])
        testbed.spawn("as2", [*program("udp_server.py"), "as2", "53"])
        testbed.wait_listening("as2", 53, "udp")
        assert m1.rest("POST", "/v1/cluster/share").status == 204
        move(m1, "arh1", "m1")

        def flows(member: Member) -> list[str]:
            answer = get(member, "/v1/flows?edge=arh1&state=pinned")
            return [] if answer["incomplete"] else [each["translated"] for each in answer["flows"]]

        def is_served() -> bool:
            testbed.run("h1", [*program("udp_client.py"), "198.18.0.1", "53", "--source-port", "24001", "--wait", "2"])
            return bool(flows(m0))

        until(is_served, "the leader shows a flow that the other member serves")
        (translated,) = flows(m0)
        until(lambda: flows(m1) == [translated], "and so does any other")
        until(lambda: {get(each, "/healthz")["status"] for each in (m0, m1)} == {"ok"}, "nothing is wrong")
        until(lambda: (pinned(m0), pinned(m1)) == ([], [1.0]), "its master alone counts it")

        def who(member: Member) -> list[tuple[str, str, str | None]]:
            answer = get(member, f"/v1/bindings/history?translated={translated}&at=now")
            found = [(each["client"], each["member"], each["ended_by"]) for each in answer["bindings"]]
            return [] if answer["incomplete"] else found

        until(lambda: who(m0) == who(m1) == [("10.1.0.10", "m1", None)], "the log of its master has it")
        move(m0, "arh1", "m0")
        until(lambda: who(m0) == who(m1) == [("10.1.0.10", "m0", None)], "the log of the next master goes on")
        until(lambda: (pinned(m0), pinned(m1)) == ([1.0], []), "the next master alone counts it")
        until(lambda: flows(m0) == flows(m1) == [translated], "any member shows it")
