"""VLAN tags: no port is a member of a VLAN.  A tag that names one ends the frame; a priority tag is taken off."""

from __future__ import annotations

import pytest
from scenes import GATEWAY, SERVICE, ask, drops, managed, payloads, the_binding

from anycast_sdn.core.model import ICMP, ICMPV6, TCP, UDP, FlowKey, packed
from anycast_sdn.description.model import Port
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.frames import parse_ip

PCP_5 = 0xA000


def tagged(frame, tci, ethertype=0x8100):
    return frame[:12] + ethertype.to_bytes(2, "big") + tci.to_bytes(2, "big") + frame[12:]


def to_server(net, v6, **options):
    return net.host("h1").packet(net.host("as2").address(v6), UDP, 23902, 7777, **options)


def untagged_everywhere(net):
    """What left a switch; what hosts sent does not count."""
    hosts = {host.name for host in net.network.hosts}
    return all(frame[12:14] not in (b"\x81\0", b"\x88\xa8") for _, sender, _, frame in net.wires if sender not in hosts)


@pytest.mark.parametrize("tci", [0x0064, 0x0001, 0x0800, 0x0FFF, PCP_5 | 0x64], ids=hex)
@pytest.mark.parametrize("ethertype", [0x8100, 0x88A8], ids=hex)
def test_a_frame_of_a_vlan_is_dropped_and_counted(build, v6, tci, ethertype):
    net = build("figure1", "as2")
    ask(net, service=SERVICE[v6])
    net.wires.clear()
    for frame in (
        to_server(net, v6),  # unicast
        net.host("h1").packet(SERVICE[v6], UDP, 40000, 53),  # of a flow that is bound
        net.host("h1").packet(SERVICE[v6], UDP, 40001, 53),  # of a new one
        net.host("h1").question(GATEWAY[v6]),  # ARP, ND
    ):
        net.send("h1", tagged(frame, tci, ethertype))
    net.settle()
    assert drops(net, "arh1") == {"tagged": 4}
    assert {sender for _, sender, _, _ in net.wires} == {"h1"}


@pytest.mark.parametrize("tci", [0, PCP_5], ids=hex)
def test_a_priority_tag_is_taken_off_and_the_packet_goes_on(build, v6, tci):
    net = build("figure1", "as2")
    net.send("h1", tagged(to_server(net, v6, payload=b"unicast"), tci))
    net.send("h1", tagged(net.host("h1").packet(SERVICE[v6], UDP, 40000, 53, payload=b"first"), tci))
    net.settle()
    net.send("h1", tagged(net.host("h1").packet(SERVICE[v6], UDP, 40000, 53, payload=b"bound"), tci))
    net.settle()
    assert sorted(payloads(net.host("as2").received)) == [b"bound", b"first", b"unicast"]
    assert the_binding(net).server == net.host("as2").address(v6)
    assert drops(net, "arh1") == {}
    assert untagged_everywhere(net)


def test_a_host_that_tags_its_priority_finds_its_gateway(build, v6):
    net = build("figure1", "as2")
    h1 = net.host("h1")
    h1.neighbours.clear()
    net.send("h1", tagged(h1.question(GATEWAY[v6]), PCP_5))
    net.send("h1", tagged(h1.packet(GATEWAY[v6], ICMPV6 if v6 else ICMP, payload=b"there?"), PCP_5))
    net.settle()
    assert h1.neighbours == {GATEWAY[v6]: managed(net, "arh1").mac}
    assert [parse_ip(frame).icmp_type for frame in h1.received] == [129 if v6 else 0]
    assert drops(net, "arh1") == {}
    assert untagged_everywhere(net)


@pytest.mark.parametrize("inner", [0, 0x64], ids=hex)
@pytest.mark.parametrize("outer", [0x8100, 0x88A8], ids=hex)
def test_two_tags_are_dropped_and_counted(build, v6, outer, inner):
    net = build("figure1", "as2")
    net.wires.clear()
    net.send("h1", tagged(tagged(to_server(net, v6), inner), 0, outer))
    net.settle()
    assert drops(net, "arh1") == {"tagged_twice": 1}
    net.send("h1", tagged(tagged(net.host("h1").question(GATEWAY[v6]), inner), 0, outer))
    net.settle()
    assert drops(net, "arh1") == {"tagged_twice": 1, "bad_frame: tagged": 1}
    assert {sender for _, sender, _, _ in net.wires} == {"h1"}


def test_what_may_not_enter_without_a_tag_may_not_with_one(build, v6):
    net = build("figure1", "as2")
    forged = to_server(net, v6)
    for source, counter in ((SERVICE[v6], "anycast_source"), (net.host("as3").address(v6), "wrong_source")):
        at = slice(22, 38) if v6 else slice(26, 30)
        net.send("h1", tagged(forged[: at.start] + source + forged[at.stop :], 0))
        net.settle()
        assert drops(net, "arh1")[counter] == 1
    assert net.host("as2").received == []


def test_a_tag_does_not_pass_between_switches(build, v6):
    net = build("figure1", "as2")
    link = next(end for link in net.network.links for end in (link.a, link.b) if end.switch == "core")
    for tci in (PCP_5, 0x64):
        net.receive(link, tagged(to_server(net, v6, payload=b"from a switch"), tci))
        net.settle()
    assert drops(net, "core") == {"tagged": 1}
    assert payloads(net.host("as2").received) == [b"from a switch"]
    assert untagged_everywhere(net)


def test_a_tag_does_not_come_in_by_an_uplink(build, v6):
    net = build("legacy-core")
    uplink = next(uplink for uplink in net.network.uplinks if uplink.edge == "arh1")
    source = packed("2001:db8:77::1" if v6 else "192.0.2.77")
    h1 = net.host("h1")
    key = FlowKey(source, h1.address(v6), TCP, 80, 4000)
    macs = {"eth_src": b"\x06\0\0\0\x77\x77", "eth_dst": managed(net, "arh1").mac}
    from_outside = builders.ip_packet(key, **macs, payload=b"x")
    for tci in (0, 0x64):
        net.receive(Port("arh1", uplink.port), tagged(from_outside, tci))
        net.settle()
    assert [parse_ip(frame).key for frame in h1.received] == [key]
    assert drops(net, "arh1") == {"tagged": 1}
