"""Flows in the connection tracker, and several controllers: the leader is killed, and nothing is lost (M20)."""

from __future__ import annotations

from pathlib import Path

import pytest
from members import members
from restarted_switch import RATE, ask_all, of_udp
from support import CONNTRACK, PORT, V4, V6, WEB, Running, edited, program, until, with_conntrack

from anycast_sdn.store import flow_file

pytestmark = with_conntrack

SIZE = 3_000_000  # bytes: 6 s
MANY = 200  # flows of UDP


@pytest.mark.row("M20", "the leader of a cluster is killed under flows in the tracker: they go on, with the same PR1X")
def test_the_next_leader_knows_the_flows_in_the_tracker(tmp_path: Path) -> None:
    with members(edited("figure1.yaml", tmp_path, CONNTRACK), tmp_path) as (testbed, _, (leader, other)):
        first, second = Running(testbed, leader), Running(testbed, other)
        until(lambda: leader.rest("GET", "/healthz").body["status"] == "ok", "the first member serves", 30)
        first.enrol("web", WEB, [V4.as2, V6.as2])
        first.serve_udp("as2")
        first.serve_tcp("as2")
        words = ["--bytes", SIZE, "--rate", RATE]
        transfers = [testbed.spawn("h1", program("tcp_client.py", each.web, PORT, *words)) for each in (V4, V6)]
        until(lambda: all("connected to as2" in each.output() for each in transfers), "the transfers have begun")
        answers = ask_all(first, MANY)
        assert answers == ["as2 hello"] * MANY
        before = of_udp(first)
        numbers = {flow[0] for flow in before}
        file = other.database.with_suffix(".connections")
        until(lambda: numbers <= set(flow_file.read(file).by_edge.get("arh1", ())), "the other member has them all")

        leader.kill()
        until(lambda: of_udp(second) == before, "the other member leads, and knows all flows", 30)

        assert ask_all(second, MANY) == answers
        second.wait_for_servers("web")
        assert second.ask("h1", V4.web, "--source-port", 25000) == ["as2 hello"]
        assert second.flow(V4.h1, 25000)["translated"] not in {flow[4] for flow in before}
        until(lambda: None not in [each.process.poll() for each in transfers], "the transfers end", 60)
        assert [each.output().splitlines()[1] for each in transfers] == [f"{SIZE} bytes, checksum right"] * 2
        assert set(before) <= set(of_udp(second))
