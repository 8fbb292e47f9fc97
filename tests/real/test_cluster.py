"""Several controllers of one network: what becomes of flows when one of them ends."""

from __future__ import annotations

import json
import threading
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from members import members
from support import TOPOLOGIES, program, until


def misses(member: Any) -> list[str]:
    """What keeps it from being whole."""
    return [reason["subject"]["name"] for reason in member.rest("GET", "/healthz").body["reasons"]]


def watch_flows(member: Any, into: list[dict[str, Any]]) -> None:
    """Follows the events of flows that this member shows, until it ends."""
    request = urllib.request.Request(f"http://127.0.0.1:{member.rest_port}/v1/events?type=flow")
    request.add_header("Accept", "text/event-stream")
    with suppress(OSError), urllib.request.urlopen(request, timeout=30) as stream:
        for line in stream:
            if line.startswith(b'data: {"member"'):  # no message about the stream itself
                into.append(json.loads(line[6:]))


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
        heard: list[dict[str, Any]] = []
        threading.Thread(target=watch_flows, args=(second, heard), daemon=True).start()

        def is_heard() -> bool:
            assert testbed.run("h1", client).returncode == 0
            return any(event["type"] == "flow.opened" and event["member"] == "m0" for event in heard)

        until(is_heard, "the other member tells of flows of the master")
        first.kill()
        until(lambda: misses(second) == ["m0"], "the second member serves")
        assert testbed.run("h1", client).returncode == 0
        first.start()  # under the name that it had
        until(lambda: not misses(second) and reached(first) == [4, 4], "the first member is back")
        second.stop()
        assert testbed.run("h1", client).returncode == 0
        assert first.rest("GET", "/v1/cluster").body["term"] == 3
