"""Switches that are shared: masters decide on flows, and the leader shows, drains and ends them (M20, M26, M33)."""

from __future__ import annotations

from pathlib import Path

import pytest
from members import members
from support import PORT, V4, WEB, Running, edited, program, until

LATE = "198.18.0.77"
SIZE = 1_000_000  # bytes


@pytest.mark.row("M33", "the leader drains a server whose flows another member serves, and ends flows there")
def test_the_leader_knows_drains_and_ends_the_flows_that_another_member_serves(tmp_path: Path) -> None:
    file = edited("figure1.yaml", tmp_path, ("tcp_closed_s: 5", "tcp_closed_s: 1"))
    with members(file, tmp_path) as (testbed, _, (leader, _)):
        network = Running(testbed, leader)
        until(lambda: leader.rest("GET", "/healthz").body["status"] == "ok", "the first member leads", 30)
        network.call("POST", "/v1/cluster/share")
        network.call("POST", "/v1/cluster/members/m1/switches/arh1")
        until(lambda: master_of(network, "arh1") == "m1", "the other member is the master of arh1", 30)
        network.serve_udp("as2", "as3")
        network.serve_tcp("as2", "as3")
        network.enrol("web", WEB, [V4.as2])
        network.wait_for_servers("web")
        assert network.ask("h1", V4.web, "--flows", 40) == ["as2 hello"] * 40
        until(lambda: pinned(network, V4.as2) == 40, "the leader knows 40 flows")
        assert {flow["edge"] for flow in network.flows(f"client={V4.h1}")} == {"arh1"}
        transfer = testbed.spawn("h2", program("tcp_client.py", V4.web, PORT, "--bytes", SIZE, "--rate", 400_000))
        until(lambda: "connected to as2" in transfer.output(), "a transfer has begun")

        network.enrol("web", WEB, [V4.as2, V4.as3])
        operation = network.call("POST", f"/v1/groups/web/servers/{V4.as2}/drain", {"then": "remove"})
        until(lambda: operation_of(network, operation)["flows_left"] == 41, "the drain waits for all of its flows")
        ended = network.call("DELETE", f"/v1/flows?server={V4.as2}&client={V4.h1}")
        assert ended == {"ended": 40}
        assert not network.flows(f"server={V4.as2}&client={V4.h1}")
        until(lambda: operation_of(network, operation)["flows_left"] == 1, "one flow is left")
        assert set(network.ask("h1", V4.web, "--flows", 10)) == {"as3 hello"}
        until(lambda: transfer.process.poll() is not None, "the transfer ends", 60)
        assert transfer.output().splitlines()[1] == f"{SIZE} bytes, checksum right"
        until(lambda: operation_of(network, operation)["state"] == "succeeded", "the drain is over", 60)
        assert [server["address"] for server in network.servers("web")] == [V4.as3]

        # An enrolment counts when it is answered; a server that is removed keeps its flows.
        network.call("PUT", "/v1/groups/late", {"prefixes": [f"{LATE}/32"]})
        network.call("POST", "/v1/groups/late/servers", {"address": V4.as3})
        assert network.ask("h1", LATE, "--flows", 10) == ["as3 hello"] * 10
        transfer = testbed.spawn("h2", program("tcp_client.py", LATE, PORT, "--bytes", SIZE, "--rate", 400_000))
        until(lambda: "connected to as3" in transfer.output(), "a transfer has begun")
        until(lambda: pinned(network, V4.as3) >= 21, "the leader knows it")
        network.call("DELETE", "/v1/groups/late")
        network.call("DELETE", "/v1/groups/web")
        until(lambda: transfer.process.poll() is not None, "the transfer ends", 60)
        assert transfer.output().splitlines()[1] == f"{SIZE} bytes, checksum right"


def master_of(network: Running, switch: str) -> str:
    """It is that, and the leader knows its flows."""
    shown = network.call("GET", "/v1/cluster")
    (found,) = [each for each in shown["switches"] if each["switch"] == switch]
    return str(found["master"])


def pinned(network: Running, server: str) -> int:
    return len(network.flows(f"server={server}"))


def operation_of(network: Running, operation: dict[str, object]) -> dict[str, object]:
    return dict(network.call("GET", f"/v1/operations/{operation['id']}"))
