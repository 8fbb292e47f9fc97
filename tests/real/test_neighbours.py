"""Hosts and their edge: ARP, neighbour discovery, and hosts that move, change, vanish or lie (M1)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from support import (
    ARH1_MAC,
    V4,
    V6,
    WEB,
    Family,
    Running,
    edited,
    in_both_families,
    program,
    running,
    until,
)

from anycast_sdn.control.claims import MAX_SOURCES
from anycast_sdn.core.model import UDP, FlowKey, packed
from anycast_sdn.openflow import builders

ALL_NODES, ALL_NODES_MAC = packed("ff02::1"), bytes.fromhex("333300000001")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Figure 1 with a free port on arh1, number 3, that h2 can move to."""
    directory = tmp_path_factory.mktemp("neighbours")
    clients = "2001:db8:1::1/64], ports: [1, 2"
    with running(edited("figure1.yaml", directory, (clients, f"{clients}, 3")), directory) as network:
        network.enrol("web", WEB, [V4.as2, V6.as2, V4.as3, V6.as3])
        network.serve_udp("as2", "as3")
        yield network


def ping(network: Running, host: str, address: str, count: int = 1) -> None:
    said = network.run(host, "ping", "-c", str(count), "-i", "0.1", "-W", "3", address)
    assert f"{count} packets transmitted, {count} received, 0% packet loss" in said


def neighbour(network: Running, host: str, address: str) -> str:
    """The MAC at which a host sees a neighbour."""
    (entry,) = json.loads(network.run(host, "ip", "-json", "neighbour", "show", address))
    return str(entry["lladdr"])


def known_as(network: Running, address: str) -> tuple[bytes, int] | None:
    """The MAC and port at which arh1 knows a host."""
    for host in network.edge("arh1")["hosts"]:
        if host["address"] == address:
            return bytes.fromhex(host["mac"].replace(":", "")), host["port"]
    return None


@pytest.mark.row("M1", "a host finds its gateway by ARP and ND, and the gateway answers ping")
@in_both_families
def test_the_gateway_answers(network: Running, family: Family) -> None:
    network.run("h1", "ip", "neighbour", "flush", "all")
    ping(network, "h1", family.gateway)
    assert neighbour(network, "h1", family.gateway) == ARH1_MAC.hex(":")


@pytest.mark.row("M1", "a first packet to a host that nobody has heard of waits for the answer, and arrives")
@in_both_families
def test_the_edge_resolves_its_neighbours(network: Running, family: Family) -> None:
    ping(network, "h1", family.as4)


@pytest.mark.row("M1", "hosts of one subnet reach each other through their edge; a host that is absent is unreachable")
@in_both_families
def test_hosts_of_a_subnet_talk_through_the_edge(network: Running, family: Family) -> None:
    ping(network, "h1", family.h2, count=3)
    assert neighbour(network, "h1", family.h2) == ARH1_MAC.hex(":")
    nobody = family.h2.replace("11", "99")
    outside = network.testbed.run("as2", ["ping", "-c", "1", "-W", "5", nobody]).stdout
    assert "Destination Host Unreachable" in outside or "Address unreachable" in outside


@pytest.mark.row("M1", "nothing is flooded: no frame of h1 reaches h2, whatever h1 asks or broadcasts")
def test_nothing_is_flooded(network: Running) -> None:
    h1 = network.mac("h1")
    with network.testbed.capture("h2", 0, f"ether src {h1.hex(':')} or icmp or icmp6") as at_h2:
        network.run("h1", "ip", "neighbour", "flush", "all")
        network.send_frames(
            "h1",
            [
                builders.arp_request(h1, packed(V4.h1), packed("10.1.0.77")),
                builders.arp_request(h1, packed(V4.h1), packed("10.9.9.9")),
                builders.arp_reply(h1, packed(V4.h1), b"\xff" * 6, packed(V4.h1)),
                builders.neighbour_solicitation(h1, packed(V6.h1), packed("2001:db8:1::77")),
                builders.neighbour_advertisement(
                    h1, packed(V6.h1), packed(V6.h1), ALL_NODES_MAC, ALL_NODES, solicited=False
                ),
            ],
        )
        for address in ("255.255.255.255", "10.1.0.255", f"ff02::1%{network.testbed.interface('h1')}"):
            network.testbed.run("h1", ["ping", "-b", "-c", "1", "-W", "1", "-w", "1", address])
        ping(network, "h1", V4.h2)
        ping(network, "h1", V6.h2)
    assert h1 not in {frame[6:12] for frame in at_h2.frames()}
    assert {packet.source for packet in at_h2.packets()} >= {V4.h1, V6.h1}


@pytest.mark.row("M22", "a host that claims the gateway, a service or a translation address is not believed; counted")
def test_nobody_can_claim_what_is_not_a_hosts(network: Running) -> None:
    h2 = network.mac("h2")
    addresses = [V4.gateway, "198.18.0.1", "203.0.113.5", V6.gateway, "2001:db8:a::1", "2001:db8:1:f::5"]
    claims = [_claim(h2, packed(address)) for address in addresses]
    ping(network, "h1", V4.gateway)
    with network.testbed.capture("h1", 0, f"ether src {h2.hex(':')} or arp") as at_h1:
        with network.counts("arh1", "false_claims", len(claims)):
            network.send_frames("h2", claims)
        assert network.ask("h1", V4.web) == network.ask("h1", V6.web) == ["as2 hello"]
    assert {frame[6:12] for frame in at_h1.frames()} <= {ARH1_MAC, network.mac("h1")}
    for family in (V4, V6):
        assert neighbour(network, "h1", family.gateway) == ARH1_MAC.hex(":")
        assert known_as(network, family.gateway) is None


def _claim(mac: bytes, address: bytes) -> bytes:
    if len(address) == 4:
        return builders.arp_reply(mac, address, b"\xff" * 6, address)
    return builders.neighbour_advertisement(mac, address, address, ALL_NODES_MAC, ALL_NODES, solicited=False)


@pytest.mark.row("M1", "IPv4 duplicate-address detection: a probe for another host's address is answered, else not")
def test_arp_probes_find_duplicates(network: Running) -> None:
    ping(network, "h1", V4.gateway)
    probe = program("arp_probe.py", network.testbed.interface("h2"))
    assert network.run("h2", *probe, V4.h1) == f"taken by {ARH1_MAC.hex(':')}\n"
    assert network.run("h2", *probe, V4.gateway) == f"taken by {ARH1_MAC.hex(':')}\n"
    assert network.run("h2", *probe, V4.h2) == "free\n"  # its own
    assert network.run("h2", *probe, "10.1.0.78") == "free\n"


@pytest.mark.row("M1", "IPv6 duplicate-address detection: the kernel keeps a free address, and refuses a taken one")
def test_duplicate_address_detection_works(network: Running) -> None:
    interface = network.testbed.interface("h2")
    network.run("h2", "sh", "-c", f"echo 1 > /proc/sys/net/ipv6/conf/{interface}/accept_dad")
    ping(network, "h1", V6.gateway)
    for address in ("2001:db8:1::78", V6.h1):
        network.run("h2", "ip", "address", "add", f"{address}/64", "dev", interface)
    until(lambda: _dad(network, V6.h1).get("dadfailed"), "the taken address is refused")
    until(lambda: not _dad(network, "2001:db8:1::78").get("tentative"), "the free address is kept")
    assert not _dad(network, "2001:db8:1::78").get("dadfailed")
    ping(network, "as2", "2001:db8:1::78")
    ping(network, "as2", V6.h1)
    for address in ("2001:db8:1::78", V6.h1):
        network.run("h2", "ip", "address", "del", f"{address}/64", "dev", interface)


def _dad(network: Running, address: str) -> dict[str, Any]:
    (link,) = json.loads(network.run("h2", "ip", "-json", "address", "show", "dev", network.testbed.interface("h2")))
    return next(entry for entry in link["addr_info"] if entry["local"] == address)


@pytest.mark.row("M1", "a host that changes its MAC and says so is reached at the new one; its flows go on")
@in_both_families
def test_a_changed_mac_is_noticed(network: Running, family: Family) -> None:
    interface, new = network.testbed.interface("h2"), bytes([2, 0, 0, 0, 0, len(family.name + family.ip)])
    assert network.ask("h2", family.web, "--source-port", 20701) == ["as2 hello"]
    before = network.flow(family.h2, 20701)
    for sysctl in ("ipv4/conf/{}/arp_notify", "ipv6/conf/{}/ndisc_notify"):
        network.run("h2", "sh", "-c", f"echo 1 > /proc/sys/net/{sysctl.format(interface)}")
    network.run("h2", "ip", "link", "set", interface, "address", new.hex(":"))
    until(lambda: known_as(network, family.h2) == (new, 2), "arh1 knows the new MAC")
    assert network.ask("h2", family.web, "--source-port", 20701) == ["as2 hello"]
    assert network.flow(family.h2, 20701) == before


@pytest.mark.row("M33", "a server that is out of reach takes no new flows, and does again when it is back")
@pytest.mark.row("M8", "a server whose cable is pulled is out of service at once, and back when it is plugged in")
def test_a_server_without_carrier_is_not_served(network: Running) -> None:
    """At the switch's side, so that as2 keeps its routes."""
    cable = f"ip link set {network.testbed.interface('ars2', 1)}"
    assert network.ask("h1", V4.web) == ["as2 hello"]
    subprocess.run([*cable.split(), "down"], check=True)
    until(lambda: not set(network.edge("ars2")["announces"]) & set(WEB), "ars2 announces no longer")
    assert network.ask("h1", V4.web) == network.ask("h1", V6.web) == ["as3 hello"]
    subprocess.run([*cable.split(), "up"], check=True)
    until(lambda: set(network.edge("ars2")["announces"]) >= set(WEB), "ars2 announces again")
    network.controller.await_routes()
    assert network.ask("h1", V4.web) == network.ask("h1", V6.web) == ["as2 hello"]


@pytest.mark.row("M1", "a host that is plugged into another port is found there; its flows go on")
def test_a_moved_host_is_found(network: Running) -> None:
    plug = network.testbed.interface("arh1", 2)
    for family in (V4, V6):
        assert network.ask("h2", family.web, "--source-port", 20702) == ["as2 hello"]
    before = [network.flow(family.h2, 20702) for family in (V4, V6)]
    bridge = network.testbed.bridge("arh1")
    subprocess.run(["ovs-vsctl", "del-port", bridge, plug], check=True)
    wanted = ["--", "set", "Interface", plug, "ofport_request=3"]
    subprocess.run(["ovs-vsctl", "add-port", bridge, plug, *wanted], check=True)
    for family in (V4, V6):
        ping(network, "as2", family.h2)
        assert known_as(network, family.h2) == (network.mac("h2"), 3)
        assert network.ask("h2", family.web, "--source-port", 20702) == ["as2 hello"]
    assert [network.flow(family.h2, 20702) for family in (V4, V6)] == before


@pytest.mark.row("M30", "nobody takes the address of a host that answers: a claim is checked at the old place, counted")
@in_both_families
def test_a_claim_of_anothers_address_is_not_believed(network: Running, family: Family) -> None:
    h1, h2 = network.mac("h1"), network.mac("h2")
    ping(network, "h2", family.gateway)
    until(lambda: known_as(network, family.h2) is not None, "h2 is known")
    before = known_as(network, family.h2)
    assert before is not None
    assert before[0] == h2
    with network.testbed.capture("h1", 0, "udp or icmp or icmp6") as at_h1:
        with network.counts("arh1", "false_move"):
            network.send_frames("h1", [_claim(h1, packed(family.h2))] * 3)
        assert network.ask("h2", family.web) == ["as2 hello"]
        ping(network, "as2", family.h2)
    assert known_as(network, family.h2) == before
    assert not [packet for packet in at_h1.packets() if packet.destination == family.h2]


@pytest.mark.row("M30", "first packets from invented sources bind nothing: a question each, few at a time, counted")
@in_both_families
def test_invented_sources_bind_nothing(network: Running, family: Family) -> None:
    mac, flows = network.mac("h1"), len(network.flows())
    sources = [packed(f"2001:db8:1::{n:x}" if ":" in family.h1 else f"10.1.0.{n}") for n in range(0x20, 0xF0)]
    forged = [
        builders.ip_packet(
            FlowKey(source, packed(family.web), UDP, 20703, 7000), eth_src=mac, eth_dst=ARH1_MAC, payload=b"quiet"
        )
        for source in (*sources, packed(family.h2))
    ]
    questions = network.testbed.capture("h1", 0, f"ether src {ARH1_MAC.hex(':')}")
    with questions, network.counts("arh1", "unknown_source", len(forged)):
        network.send_frames("h1", forged)
        assert network.ask("h1", family.web) == ["as2 hello"]
        assert network.ask("h2", family.web) == ["as2 hello"]
    assert len(network.flows()) <= flows + 2
    assert not [flow for flow in network.flows() if flow["client_port"] == 20703]
    assert len(questions.frames()) < 3 * MAX_SOURCES + 10


@pytest.mark.row("M30", "an address that a host gives itself is asked for, and its first packet goes on")
@in_both_families
def test_a_new_address_of_a_host_works_from_its_first_packet(network: Running, family: Family) -> None:
    """As a privacy extension's (RFC 8981): the gateway is known already, so nothing announces the new one."""
    new, length = ("2001:db8:1::abcd", 64) if ":" in family.h1 else ("10.1.0.200", 24)
    interface = network.testbed.interface("h1")
    ping(network, "h1", family.gateway)
    network.run("h1", "ip", "address", "add", f"{new}/{length}", "dev", interface, *["nodad"] * (":" in new))
    assert known_as(network, new) is None
    assert network.ask("h1", family.web, "--source", new) == ["as2 hello"]
    assert known_as(network, new) == (network.mac("h1"), 1)
    network.run("h1", "ip", "address", "del", f"{new}/{length}", "dev", interface)
