"""Two bridges of one Open vSwitch, joined by patch ports: it handles a packet's way through both at once (M20)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from support import PORT, Running, program, running, until

NETWORK = """
name: patched
anycast_prefixes: [198.18.0.0/16]
switches:
  - name: arh1
    dpid: 1
    client_edge: {translation_prefixes: [203.0.113.0/24]}
  - {name: ars2, dpid: 2, server_edge: true}
links:
  - {ends: [arh1:10, ars2:10]}
subnets:
  - {name: desks, edge: arh1, side: client, gateways: [10.1.0.1/24], ports: [1]}
  - {name: racks, edge: ars2, side: server, gateways: [10.2.0.1/24], ports: [1]}
hosts:
  - {name: h1, subnet: desks, port: 1, addresses: [10.1.0.10]}
  - {name: as2, subnet: racks, port: 1, addresses: [10.2.0.10]}
groups:
  - {name: web, prefixes: [198.18.0.1/32], servers: [{address: 10.2.0.10}]}
"""
WEB = "198.18.0.1"
PATCHES = ("arh1-patch", "ars2-patch")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("patched")
    file = directory / "patched.yaml"
    file.write_text(NETWORK)
    with running(file, directory) as network:
        join_by_patch_ports(network)
        network.serve_udp("as2")
        network.serve_tcp("as2", port=PORT + 1)
        network.wait_for_servers("web")
        yield network


def join_by_patch_ports(network: Running) -> None:
    """In place of the testbed's veth pair."""
    testbed = network.testbed
    command = ["ovs-vsctl", "--timeout=10"]
    for switch, own, peer in (("arh1", *PATCHES), ("ars2", *reversed(PATCHES))):
        bridge = testbed.bridge(switch)
        command += ["--", "del-port", bridge, testbed.interface(switch, 10), "--", "add-port", bridge, own]
        command += ["--", "set", "Interface", own, "type=patch", f"options:peer={peer}", "ofport_request=10"]
    subprocess.run(command, check=True)
    until(lambda: all(has_patch(network, switch) for switch in ("arh1", "ars2")), "the patch ports are there")


def has_patch(network: Running, switch: str) -> bool:
    return " 10(" in network.testbed.ofctl("show", switch)


@pytest.mark.row("M13", "bridges joined by patch ports: the first packet of a flow arrives, too")
def test_no_first_packet_is_lost_between_bridges_that_patch_ports_join(network: Running) -> None:
    for _ in range(10):  # each is one datagram of a new flow, and waits for the answer to it
        assert network.ask("h1", WEB) == ["as2 hello"]
    began = len(network.flows())
    for _ in range(3):  # a lost SYN is sent again after a second
        network.run("h1", "timeout", "0.9", *program("tcp_client.py", WEB, PORT + 1, "--bytes", 1000))
    assert len(network.flows()) == began + 3
