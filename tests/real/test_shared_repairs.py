"""A switch that is shared: what other programs do to its rules is put right, by its master and by the leader (M20)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from members import members
from support import V4, WEB, Running, edited, until

_CHANGING = re.compile(r"(duration|n_packets|n_bytes|idle_age|hard_age)=[^,]*, ?")


@pytest.mark.row("M20", "rules that ovs-ofctl deletes or changes at a shared switch are put right, and flows go on")
def test_rules_that_another_program_deletes_or_changes_at_a_shared_switch_are_put_right(tmp_path: Path) -> None:
    with members(edited("figure1.yaml", tmp_path), tmp_path) as (testbed, _, (leader, _)):
        network = Running(testbed, leader)
        until(lambda: leader.rest("GET", "/healthz").body["status"] == "ok", "the first member leads", 30)
        network.call("POST", "/v1/cluster/share")
        network.call("POST", "/v1/cluster/members/m1/switches/arh1")
        until(lambda: master_of(network, "arh1") == "m1", "the other member is the master of arh1", 30)
        network.serve_udp("as2")
        network.enrol("web", WEB, [V4.as2])
        network.wait_for_servers("web")
        assert network.ask("h1", V4.web, "--flows", 20) == ["as2 hello"] * 20
        until(lambda: len(network.flows(f"server={V4.as2}")) == 20, "the leader knows 20 flows")

        def held() -> set[str]:
            lines = testbed.ofctl("dump-flows", "arh1").splitlines()
            return {_CHANGING.sub("", line.strip()) for line in lines if "cookie=" in line}

        before = held()
        testbed.ofctl("del-flows", "arh1")
        until(lambda: held() >= before, "all rules are there again", 30)
        testbed.ofctl("mod-flows", "arh1", "actions=drop")
        until(lambda: held() >= before, "all rules are right again", 30)
        assert len(network.flows(f"server={V4.as2}")) == 20
        assert network.ask("h1", V4.web, "--flows", 5) == ["as2 hello"] * 5


def master_of(network: Running, switch: str) -> str:
    shown = network.call("GET", "/v1/cluster")
    (found,) = [each for each in shown["switches"] if each["switch"] == switch]
    return str(found["master"])
