"""A client edge's connection tracker ends connections as validity says, by timeouts that are set over OVSDB (M19)."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator

import pytest
from support import FIRST_PORT, PORT, V4, WEB, Running, edited, is_userspace, running, until, with_conntrack

from anycast_sdn.ovsdb.zone_policies import Unsuitable
from anycast_sdn.process import zone_timeouts

pytestmark = with_conntrack

UDP_S = 4
ARH1 = 1  # its datapath id
DATABASE = "unix:/var/run/openvswitch/db.sock"


def datapath() -> str:
    """The type of the switches' datapath."""
    return "netdev" if is_userspace() else "system"


def vsctl(*words: str) -> str:
    return subprocess.run(["ovs-vsctl", *words], capture_output=True, text=True, timeout=30, check=True).stdout


def policies(network: Running) -> dict[int, dict[str, int]]:
    """The timeouts of our zones, as Open vSwitch's own program lists them."""
    shown = subprocess.run(["ovs-vsctl", "list-zone-tp", datapath()], capture_output=True, text=True, timeout=30).stdout
    found = {}
    for zone, timeouts in re.findall(r"Zone:(\d+), Timeout Policies: (.*)", shown):
        found[int(zone)] = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", timeouts)}
    return {zone: timeouts for zone, timeouts in found.items() if zone in network.testbed.zones}


def timeout_of(network: Running, port: int) -> int | None:
    """In how many seconds the UDP connection from this port ends; None: there is none."""
    shown = subprocess.run(["ovs-appctl", "dpctl/dump-conntrack", "-s"], capture_output=True, text=True, timeout=30)
    ours = (f"sport={port},dport={PORT}", f"zone={network.testbed.zones[1]}")
    (found,) = [line for line in shown.stdout.splitlines() if all(part in line for part in ours)] or [""]
    timeout = re.search(r"timeout=(\d+)", found)
    return int(timeout[1]) if timeout else None


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("zones")
    file = edited("figure1.yaml", directory, ("udp_s: 300", f"udp_s: {UDP_S}"))
    with running(file, directory, engine="conntrack") as network:
        yield network


def test_the_zones_of_a_client_edge_have_the_timeouts_of_its_validity(network: Running) -> None:
    until(lambda: len(policies(network)) == 4, "the zones have policies")
    found = policies(network)
    assert {zone - network.testbed.zones[0]: timeouts["udp_multiple"] for zone, timeouts in found.items()} == {
        0: 300, 1: UDP_S, 2: 300, 3: UDP_S
    }  # fmt: skip
    assert {timeouts["tcp_established"] for timeouts in found.values()} == {7440}
    assert "have the timeouts of its validity" in network.controller.log()


@pytest.mark.row("M19", "in the connection tracker, a UDP flow ends when it has been idle for its validity")
def test_a_udp_connection_ends_when_it_has_been_idle_for_its_validity(network: Running) -> None:
    until(lambda: len(policies(network)) == 4, "the zones have policies")
    network.serve_udp("as2")
    network.enrol("web", WEB, [V4.as2])
    assert network.ask("h1", V4.web, "--source-port", FIRST_PORT) == ["as2 hello"]
    began = time.monotonic()
    assert (timeout_of(network, FIRST_PORT) or 0) <= UDP_S
    until(lambda: timeout_of(network, FIRST_PORT) is None, "the connection has ended", UDP_S + 15)
    assert time.monotonic() - began >= UDP_S - 0.5  # the tracker is swept every few seconds


def test_policies_of_the_database_are_found_again_after_they_were_taken_away(network: Running) -> None:
    until(lambda: len(policies(network)) == 4, "the zones have policies")
    zone = network.testbed.zones[0]
    vsctl("del-zone-tp", datapath(), f"zone={zone}")
    other = {"udp_first": 9, "icmp_first": 9, "icmp_reply": 9}
    assert zone_timeouts.set_timeouts(DATABASE, ARH1, policies(network) | {zone: other})
    assert policies(network)[zone] == other
    assert not zone_timeouts.set_timeouts(DATABASE, ARH1, policies(network))
    with pytest.raises(Unsuitable):
        zone_timeouts.set_timeouts(DATABASE, 0xDEAD, policies(network))
