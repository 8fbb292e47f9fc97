"""Two bridges of one Open vSwitch, joined by patch ports: it handles a packet's way through both at once (M20)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from ring import all_links_up
from support import PORT, Running, program, running, until

NETWORK = """
name: patched
anycast_prefixes: [198.18.0.0/16]
switches:
  - name: arh1
    dpid: 1
    client_edge: {translation_prefixes: [203.0.113.0/24]}
  - {name: ars2, dpid: 2, server_edge: true}
  - {name: ars3, dpid: 3, server_edge: true}
links:
  - {ends: [arh1:10, ars2:10]}
  - {ends: [arh1:11, ars3:10], cost: 9}
subnets:
  - {name: desks, edge: arh1, side: client, gateways: [10.1.0.1/24], ports: [1]}
  - {name: racks, edge: ars2, side: server, gateways: [10.2.0.1/24], ports: [1]}
  - {name: farther, edge: ars3, side: server, gateways: [10.3.0.1/24], ports: [1]}
hosts:
  - {name: h1, subnet: desks, port: 1, addresses: [10.1.0.10]}
  - {name: as2, subnet: racks, port: 1, addresses: [10.2.0.10]}
  - {name: as3, subnet: farther, port: 1, addresses: [10.3.0.10]}
groups:
  - {name: web, prefixes: [198.18.0.1/32], servers: [{address: 10.2.0.10}]}
  - name: both
    prefixes: [198.18.0.2/32]
    servers: [{address: 10.2.0.10}, {address: 10.3.0.10}]
    selection: {distance: any}
"""
WEB, BOTH = "198.18.0.1", "198.18.0.2"
JOINED = (("arh1", 10, "ars2"), ("arh1", 11, "ars3"))  # by port 10 of the server edge


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("patched")
    file = directory / "patched.yaml"
    file.write_text(NETWORK)
    with running(file, directory) as network:
        join_by_patch_ports(network)
        network.serve_udp("as2", "as3")
        network.serve_tcp("as2", port=PORT + 1)
        all_links_up(network)
        network.wait_for_servers("web", "both")
        until(lambda: network.ask("h1", WEB) == ["as2 hello"], "the new links are used")
        yield network


def join_by_patch_ports(network: Running) -> None:
    """In place of the testbed's veth pairs."""
    testbed = network.testbed
    command = ["ovs-vsctl", "--timeout=10"]
    for near, port, far in JOINED:
        there, back = testbed.own(f"to-{far}"), testbed.own(f"from-{far}")
        for switch, number, own, peer in ((near, port, there, back), (far, 10, back, there)):
            bridge = testbed.bridge(switch)
            command += ["--", "del-port", bridge, testbed.interface(switch, number), "--", "add-port", bridge, own]
            command += ["--", "set", "Interface", own, "type=patch", f"options:peer={peer}", f"ofport_request={number}"]
    subprocess.run(command, check=True)
    until(lambda: all(has_patch(network, far, 10) and has_patch(network, near, port) for near, port, far in JOINED),
          "the patch ports are there")  # fmt: skip


def has_patch(network: Running, switch: str, port: int) -> bool:
    return f" {port}(" in network.testbed.ofctl("show", switch)


@pytest.mark.row("M13", "bridges joined by patch ports: the first packet of a flow arrives, too")
def test_no_first_packet_is_lost_between_bridges_that_patch_ports_join(network: Running) -> None:
    for _ in range(10):  # each is one datagram of a new flow, and waits for the answer to it
        assert network.ask("h1", WEB) == ["as2 hello"]
    began = len(network.flows())
    for _ in range(3):  # a lost SYN is sent again after a second
        network.run("h1", "timeout", "0.9", *program("tcp_client.py", WEB, PORT + 1, "--bytes", 1000))
    assert len(network.flows()) == began + 3


@pytest.mark.row("M26", "packets go back by the patch port where they came in, to a server behind another bridge")
def test_servers_behind_other_bridges_are_reached_back_by_the_same_patch_port(network: Running) -> None:
    until(lambda: "10.3.0.10" in network.testbed.ofctl("dump-groups", "ars2"), "ars2 has slots of as3", timeout_s=60)
    answers = [network.ask("h1", BOTH)[0] for _ in range(24)]  # each waits for its answer
    assert set(answers) == {"as2 hello", "as3 hello"}
