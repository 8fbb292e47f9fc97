"""Several controllers of one network: what becomes of flows when one of them ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from members import members
from support import TOPOLOGIES, program, until


def misses(member: Any) -> list[str]:
    """What keeps it from being whole."""
    return [reason["subject"]["name"] for reason in member.rest("GET", "/healthz").body["reasons"]]


def reached(member: Any) -> list[int]:
    """How many switches are connected to each."""
    return [len(each["switches"]) for each in member.rest("GET", "/v1/cluster").body["members"]]


def test_another_member_takes_over_when_the_leader_is_killed(tmp_path: Path) -> None:
    with members(TOPOLOGIES / "figure1.yaml", tmp_path) as (testbed, _, (first, second)):
        until(lambda: first.rest("GET", "/healthz").body["status"] == "ok", "the first member serves")
        first.enrol("web", ["198.18.0.1/32"], ["10.2.0.10"])
        testbed.spawn("as2", [*program("tcp_server.py"), "as2", "80"])
        testbed.wait_listening("as2", 80)
        client = [*program("tcp_client.py"), "198.18.0.1", "80", "--bytes", "100000"]
        assert testbed.run("h1", client).returncode == 0
        first.kill()
        until(lambda: misses(second) == ["m0"], "the second member serves")
        assert testbed.run("h1", client).returncode == 0
        first.start()  # under the name that it had
        until(lambda: not misses(second) and reached(first) == [4, 4], "the first member is back")
        second.stop()
        assert testbed.run("h1", client).returncode == 0
        assert first.rest("GET", "/v1/cluster").body["term"] == 3
