"""A member follows the flows of switches whose master is another one, and serves them when that is killed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from members import members
from support import PORT, V4, WEB, Running, edited, program, until

FLOWS = 300
READY = re.compile(r"switch arh1 at .* is ready: (\d+) rules found, (\d+) wanted, (\d+) flows")


def addresses(network: Running) -> set[tuple[str, int, str]]:
    """Of all flows of UDP over IPv4: client, port, PR1X."""
    return {(flow["client"], flow["client_port"], flow["translated"]) for flow in network.flows("edge=arh1")}


@pytest.mark.row("M20", "the master of a switch is killed: the next one has followed its flows, and reads none of them")
def test_the_next_master_has_followed_the_flows(tmp_path: Path) -> None:
    file = edited("figure1.yaml", tmp_path, ("203.0.113.0/24", "203.0.112.0/20"))
    with members(file, tmp_path) as (testbed, _, (leader, other)):
        first, second = Running(testbed, leader), Running(testbed, other)
        first.enrol("web", WEB, [V4.as2])
        first.serve_udp("as2")
        first.wait_for_servers("web")
        first.ask("h1", V4.web, "--flows", FLOWS, "--apart", 0.004)
        words = ["--count", 60, "--seconds", 0.25, "--text", "#"]
        known = testbed.spawn("h1", program("udp_client.py", V4.web, PORT, *words))
        until(lambda: "as2 1\n" in known.output(), "a known flow goes on")
        before = addresses(first)
        assert len(before) > FLOWS / 2
        leader.kill()
        ready = until(lambda: READY.search(other.log()), "the other member serves arh1", 30)
        found, wanted, flows = map(int, ready.groups())
        assert flows >= len(before)
        assert found < wanted + len(before)  # the rules of flows were not read
        until(lambda: second.ask("h2", V4.web, "--flows", 20, "--wait", 1), "new flows are served")
        after = addresses(second)
        assert before <= after
        taken = {translated for *_, translated in before}
        assert not taken & {translated for *_, translated in after - before}  # those of another client
        count = len(known.output().splitlines())
        until(lambda: len(known.output().splitlines()) > count, "the known flow goes on")
        assert "error" not in known.output()
        known.stop()
