"""Flows in the connection tracker, and several controllers: the leader is killed, and nothing is lost (M20)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bridge import run
from controllers import Member
from members import members
from restarted_switch import RATE, of_udp
from support import CONNTRACK, PORT, V4, V6, WEB, Running, edited, program, until, with_conntrack

from anycast_sdn.store import flow_file

pytestmark = with_conntrack

SIZE = 3_000_000  # bytes: 6 s
MANY = 120  # flows of UDP
NEW = ("--flows", 20, "--apart", 0.01)


def holders(network: Running) -> dict[str, set[str]]:
    """PR1X → the clients, as the tracker has them, of its connections: all of UDP over IPv4."""
    lines = run("ovs-appctl", "dpctl/dump-conntrack", f"zone={network.testbed.zones[1]}").splitlines()
    found: dict[str, set[str]] = {}
    for line in lines:
        if match := re.search(r"orig=\(src=([^,]*),.*reply=\(src=[^,]*,dst=([^,]*)", line):
            found.setdefault(match.group(2), set()).add(match.group(1))
    return found


def ask_all(network: Running) -> list[str]:
    """Always the same flows; whatever the machine does besides, answers have time."""
    options = ("--first-port", 24000, "--flows", MANY, "--apart", 0.005, "--answers", MANY, "--wait", 20)
    return network.run("h2", *program("udp_client.py", V4.web, PORT, *options)).splitlines()


def _kept(file: Path) -> set[int]:
    """The numbers of the flows in it."""
    return set(flow_file.read(file).by_edge.get("arh1", ()))


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
        answers = ask_all(first)
        assert answers == ["as2 hello"] * MANY
        until(lambda: all(flow[-1] for flow in of_udp(first)), "the leader has heard of all first replies")
        before = of_udp(first)
        numbers = {flow[0] for flow in before}
        file = other.database.with_suffix(".connections")
        until(lambda: numbers <= _kept(file), "the other member has them all")

        # Some flows have just begun when it is killed: the other member has not heard of all of them.
        words = ["--first-port", 26000, "--flows", 200, "--apart", 0.004, "--wait", 0]
        late = testbed.spawn("h2", program("udp_client.py", V4.web, PORT, *words))
        until(lambda: len(late.output().splitlines()) > 20, "new flows begin")
        leader.kill()
        until(lambda: set(before) <= set(of_udp(second)), "the other member leads, and knows the flows", 30)

        assert ask_all(second) == answers
        second.wait_for_servers("web")
        assert second.ask("h1", V4.web, *NEW) == ["as2 hello"] * 20
        assert all(len(clients) == 1 for clients in holders(second).values())
        until(lambda: None not in [each.process.poll() for each in transfers], "the transfers end", 60)
        assert [each.output().splitlines()[1] for each in transfers] == [f"{SIZE} bytes, checksum right"] * 2
        assert set(before) <= set(of_udp(second))

        # It comes back, and the other one leaves in an orderly way: it hands its switches over, and not to themselves.
        leader.start()
        file = leader.database.with_suffix(".connections")
        until(lambda: {flow[0] for flow in of_udp(second)} <= _kept(file), "the first member has them all", 30)
        other.stop()
        until(lambda: set(before) <= set(of_udp(first)), "the first member leads again, and knows the flows", 30)
        assert ask_all(first) == answers
        known = len(first.flows(f"client={V4.h1}"))
        assert second.ask("h1", V4.web, *NEW) == ["as2 hello"] * 20
        assert len(first.flows(f"client={V4.h1}")) == known + 20
        assert all(len(clients) == 1 for clients in holders(first).values())


def _master(member: Member) -> str:
    """The name of the member that is the master of arh1, as this one shows it; the leader knows its flows, too."""
    shown = member.rest("GET", "/v1/cluster").body["switches"]
    return next(str(switch["master"]) for switch in shown if switch["switch"] == "arh1")


@pytest.mark.row("M20", "shared switches: a master that does not lead is killed, then the leader: flows go on")
def test_with_shared_switches_whoever_dies_the_next_master_knows_the_flows_in_the_tracker(tmp_path: Path) -> None:
    with members(edited("figure1.yaml", tmp_path, CONNTRACK), tmp_path, 3) as (testbed, _, (leader, other, third)):
        network, last = Running(testbed, leader), Running(testbed, third)
        until(lambda: leader.rest("GET", "/healthz").body["status"] == "ok", "the first member serves", 30)
        network.call("POST", "/v1/cluster/share")
        network.call("POST", "/v1/cluster/members/m1/switches/arh1")
        until(lambda: _master(leader) == "m1", "another member than the leader has arh1", 30)
        network.enrol("web", WEB, [V4.as2, V6.as2])
        network.serve_udp("as2")
        network.wait_for_servers("web")
        answers = ask_all(network)
        assert answers == ["as2 hello"] * MANY
        until(lambda: len(before := of_udp(network)) >= MANY and all(flow[-1] for flow in before), "all are known")
        before = set(of_udp(network))
        numbers = {flow[0] for flow in before}
        for member in (leader, third):
            file = member.database.with_suffix(".connections")
            until(lambda file=file: numbers <= _kept(file), "the other members have them all")

        other.kill()
        until(lambda: _master(leader) != "m1" and before <= set(of_udp(network)), "another one has arh1, and knows", 30)
        assert ask_all(network) == answers
        assert network.ask("h1", V4.web, *NEW) == ["as2 hello"] * 20
        assert all(len(clients) == 1 for clients in holders(network).values())

        network.call("POST", "/v1/cluster/members/m2/switches/arh1")
        until(lambda: _master(leader) == "m2" and before <= set(of_udp(network)), "the third member has arh1", 30)
        assert ask_all(network) == answers
        leader.kill()
        until(lambda: third.rest("GET", "/healthz").body["role"] == "leader", "it leads", 30)
        until(lambda: before <= set(of_udp(last)), "it knows the flows", 30)
        assert ask_all(last) == answers
        last.wait_for_servers("web")
        assert last.ask("h1", V4.web, *NEW) == ["as2 hello"] * 20
        assert all(len(clients) == 1 for clients in holders(last).values())
        assert before <= set(of_udp(last))
