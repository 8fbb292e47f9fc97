"""What may not pass, and where a user sees that it did not (M15, M16, M22; a source that is not the port's).

That nothing arrived is shown by a packet behind it that did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import ARH1_MAC, ARS2_MAC, PORT, V4, V6, WEB, Family, Running, in_both_families, on_both_engines, until

from anycast_sdn.core.model import ICMP, ICMPV6, UDP, FlowKey, packed
from anycast_sdn.openflow import builders

if TYPE_CHECKING:
    from capture import Capture

pytestmark = on_both_engines


@pytest.fixture(scope="module")
def network(figure1: Running) -> Running:
    figure1.enrol("web", WEB, [V4.as2, V6.as2])
    figure1.serve_udp("as2", "as3", "h2")
    return figure1


def forge(network: Running, host: str, source: str, destination: str, count: int) -> None:
    """``host`` sends datagrams with any source address to its gateway, as no socket would."""
    frame = builders.ip_packet(
        FlowKey(packed(source), packed(destination), UDP, 20200, PORT),
        eth_src=network.mac(host),
        eth_dst={"h1": ARH1_MAC, "as2": ARS2_MAC}[host],
        payload=b"quiet forged",
    )
    network.send_frames(host, [frame] * count)


@pytest.mark.row("M22", "a host's packets with an anycast source are dropped at its port, counted")
@pytest.mark.parametrize(("host", "edge"), [("h1", "arh1"), ("as2", "ars2")], ids=["client", "server"])
@in_both_families
def test_anycast_sources_do_not_enter(network: Running, family: Family, host: str, edge: str) -> None:
    uplink = network.testbed.capture(edge, 10, f"{family.ip} and udp")
    with uplink, network.counts(edge, "anycast_source", 3):
        forge(network, host, family.web, family.as3, 3)
        assert network.ask(host, family.as3) == ["as3 hello"]
    assert family.web not in {packet.source for packet in uplink.packets()}
    assert len(uplink.packets()) == 2


@pytest.mark.row("M1", "a source that does not belong to its port's subnet is dropped, counted")
@in_both_families
def test_wrong_sources_do_not_enter(network: Running, family: Family) -> None:
    uplink = network.testbed.capture("arh1", 10, f"{family.ip} and udp")
    with uplink, network.counts("arh1", "wrong_source", 3):
        forge(network, "h1", family.as2, family.as3, 3)
        assert network.ask("h1", family.as3) == ["as3 hello"]
    assert {packet.source for packet in uplink.packets()} == {family.h1, family.as3}


@pytest.mark.row("M16", "packets to an unknown PR1X are dropped at arh1, counted; the controller is not asked")
@pytest.mark.row("M15", "arh1 captures what is for PRh/k")
@in_both_families
def test_unknown_translation_addresses_are_a_dead_end(network: Running, family: Family) -> None:
    """From as3, which no group has: strangers never reach the controller."""
    unknown = f"{family.translation}77" if family.ip == "ip" else "2001:db8:1:f:1234::77"
    counters = {name for name in network.edge("arh1")["drops"] if name != "unknown_translated"}
    before = {name: network.drops("arh1", name) for name in counters}
    at_h2 = network.testbed.capture("h2", 0, f"{family.ip} and udp")
    with at_h2, network.counts("arh1", "unknown_translated", 3):
        network.ask("as3", unknown, "--source-port", 20201, "--count", 3, "--answers", 0)
        assert network.ask("as3", family.h2) == ["h2 hello"]
    assert {packet.source for packet in at_h2.packets()} == {family.as3, family.h2}
    assert {name: network.drops("arh1", name) for name in counters} == before


@pytest.mark.row("M16", "an enrolled server's packet to an unknown PR1X is dropped, counted by the controller")
@in_both_families
def test_a_server_cannot_make_a_binding(network: Running, family: Family) -> None:
    unknown = f"{family.translation}78" if family.ip == "ip" else "2001:db8:1:f:1234::78"
    flows = len(network.flows())
    with network.counts("arh1", "no_binding", 3):
        network.ask("as2", unknown, "--source-port", 20202, "--count", 3, "--answers", 0)
        assert network.ask("as2", family.h2) == ["h2 hello"]
    assert len(network.flows()) == flows


@pytest.mark.row("M1", "hosts reach each other by unicast as before, translated nowhere")
@in_both_families
def test_unicast_passes_untouched(network: Running, family: Family) -> None:
    with network.testbed.capture("as3", 0, f"{family.ip} and udp") as at_as3:
        assert network.ask("h1", family.as3) == ["as3 hello"]
    assert [packet.source for packet in at_as3.packets()] == [family.h1, family.as3]


def tagged(frame: bytes, *tags: int, ethertype: int = 0x8100) -> bytes:
    """The frame behind 802.1Q tags, the outermost first."""
    return frame[:12] + b"".join(ethertype.to_bytes(2, "big") + tag.to_bytes(2, "big") for tag in tags) + frame[12:]


def datagram(network: Running, family: Family, destination: str, source_port: int, text: bytes) -> bytes:
    """From h1, as no socket of its would send it: to be put behind a tag."""
    key = FlowKey(packed(family.h1), packed(destination), UDP, source_port, PORT)
    return builders.ip_packet(key, eth_src=network.mac("h1"), eth_dst=ARH1_MAC, payload=text)


@pytest.mark.row("M1", "a frame of a VLAN is dropped and counted, of known flows and of new ones; ARP and ND too")
@in_both_families
def test_frames_of_a_vlan_do_not_enter(network: Running, family: Family) -> None:
    assert network.ask("h1", family.web, "--source-port", 20204) == ["as2 hello"]
    mac, gateway = network.mac("h1"), packed(family.gateway)
    own = packed(family.h1)
    question = (builders.neighbour_solicitation if ":" in family.h1 else builders.arp_request)(mac, own, gateway)
    frames = [
        datagram(network, family, family.as3, 20205, b"unicast"),
        datagram(network, family, family.web, 20204, b"bound"),
        datagram(network, family, family.web, 20206, b"new"),
        question,
    ]
    forbidden = [
        tagged(frame, *tags, ethertype=ethertype)
        for frame in frames
        for tags, ethertype in (((0x0064,), 0x8100), ((0x0064,), 0x88A8), ((0xAFFF,), 0x8100), ((0, 0x64), 0x8100))
    ]
    uplink = network.testbed.capture("arh1", 10, "udp or vlan")
    with uplink, network.counts("arh1", "tagged", len(forbidden)):
        network.send_frames("h1", forbidden)
        assert network.ask("h1", family.as3) == ["as3 hello"]
    assert len(uplink.frames()) == 2
    assert {packet.source for packet in uplink.packets()} == {family.h1, family.as3}


@pytest.mark.row("M1", "a priority tag (VID 0) is taken off: unicast, known and new flows, ARP, ND and ping go on")
@in_both_families
def test_priority_tags_are_taken_off(network: Running, family: Family) -> None:
    v6 = ":" in family.h1
    assert network.ask("h1", family.web, "--source-port", 20207) == ["as2 hello"]
    mac, own, gateway = network.mac("h1"), packed(family.h1), packed(family.gateway)
    ping = builders.ip_packet(
        FlowKey(own, gateway, ICMPV6 if v6 else ICMP, 0, 0), eth_src=mac, eth_dst=ARH1_MAC, payload=b"there?"
    )
    with network.testbed.capture("h1", 0, f"ether src {ARH1_MAC.hex(':')}") as at_h1:
        network.send_frames(
            "h1",
            [
                tagged((builders.neighbour_solicitation if v6 else builders.arp_request)(mac, own, gateway), 0xA000),
                tagged(ping, 0xA000),
            ],
        )
        until(lambda: len(at_h1.frames()) >= 2, "the gateway answers both")
    at_as2, at_as3 = (network.testbed.capture(server, 0, "udp or vlan") for server in ("as2", "as3"))
    with at_as2, at_as3:
        for number, pcp in enumerate((0, 0xA000)):
            network.send_frames(
                "h1",
                [
                    tagged(datagram(network, family, family.as3, 20205, b"unicast"), pcp),
                    tagged(datagram(network, family, family.web, 20207, b"bound"), pcp),
                    tagged(datagram(network, family, family.web, 20208 + number, b"new"), pcp),
                ],
            )
        until(lambda: len([p for p in at_as3.packets() if p.source == family.h1]) == 2, "unicast arrives")
        until(lambda: len(_from_clients(at_as2, family)) == 4, "both flows arrive")
    assert not [frame for frame in (*at_as2.frames(), *at_as3.frames()) if frame[12:14] == b"\x81\0"]


def _from_clients(capture: Capture, family: Family) -> list[str]:
    return [packet.source for packet in capture.packets() if packet.source.startswith(family.translation)]
