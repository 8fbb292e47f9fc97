"""Every IP protocol makes bindings, by the fields that it has, in both families (M7, M12)."""

from __future__ import annotations

import pytest
from scenes import SERVICE, ask, bindings, drops, the_binding

from anycast_sdn.core.model import ICMP, ICMPV6, SCTP, TCP, UDP, FlowKey
from anycast_sdn.openflow.builders import ip_packet
from anycast_sdn.openflow.frames import parse_ip

GRE, EXPERIMENTAL = 47, 253


@pytest.mark.parametrize("protocol", [TCP, UDP, SCTP])
def test_protocols_with_ports_make_a_binding_for_each_pair_of_them(build, v6, protocol):
    net = build("figure1", "as2")
    for port, service_port in ((40000, 80), (40001, 80), (40000, 81)):
        ask(net, service=SERVICE[v6], protocol=protocol, port=port, service_port=service_port)
    assert len({binding.translated for binding in bindings(net)}) == 3
    assert {binding.server for binding in bindings(net)} == {net.host("as2").address(v6)}
    h1 = net.host("h1").address(v6)
    assert net.host("h1").flows() == [
        FlowKey(SERVICE[v6], h1, protocol, 80, 40000),
        FlowKey(SERVICE[v6], h1, protocol, 80, 40001),
        FlowKey(SERVICE[v6], h1, protocol, 81, 40000),
    ]


@pytest.mark.parametrize("protocol", [GRE, EXPERIMENTAL])
def test_protocols_without_ports_make_a_binding_for_each_client(build, v6, protocol):
    net = build("figure1", "as2")
    for client in ("h1", "h2", "h1"):
        ask(net, client, SERVICE[v6], port=0, service_port=0, protocol=protocol, payload=b"whatever it says")
    assert [binding.key.source for binding in bindings(net)] == [
        net.host("h1").address(v6),
        net.host("h2").address(v6),
    ]
    assert [key.source for key in net.host("h1").flows()] == [SERVICE[v6]] * 2


def test_pings_are_answered_by_the_service_address(build, v6):
    net = build("figure1", "as2")
    for sequence in range(3):
        ask(
            net,
            service=SERVICE[v6],
            protocol=ICMPV6 if v6 else ICMP,
            port=0,
            service_port=0,
            identifier=7,
            sequence=sequence,
            payload=b"ping",
        )
    assert the_binding(net).server == net.host("as2").address(v6)
    replies = [parse_ip(frame) for frame in net.host("h1").received]
    assert [(packet.key.source, packet.icmp_type) for packet in replies] == [(SERVICE[v6], 129 if v6 else 0)] * 3


def test_icmp_of_the_other_family_is_a_protocol_without_ports(build, v6):
    net = build("figure1", "as2")
    ask(net, service=SERVICE[v6], protocol=ICMP if v6 else ICMPV6, port=0, service_port=0, payload=bytes(8))
    assert the_binding(net).server == net.host("as2").address(v6)
    assert len(net.host("h1").received) == 1


def test_protocols_of_one_client_do_not_share_a_binding(build, v6):
    net = build("figure1", "as2")
    for protocol in (TCP, UDP, SCTP):
        ask(net, service=SERVICE[v6], protocol=protocol, service_port=80)
    assert len({binding.translated for binding in bindings(net)}) == 3


def test_a_fragmented_packet_without_ports_arrives_whole(build):
    """Fragments carry no ports; a protocol that has none is translated all the same."""
    net = build("figure1", "as2")
    h1 = net.host("h1")
    ask(net, protocol=GRE, port=0, service_port=0, payload=bytes(16))
    net.host("as2").on_packet = lambda frame, packet: ()
    net.host("as2").received.clear()
    first = fragment(h1.packet(SERVICE[False], GRE, payload=b"a" * 16), 0x2000)
    net.send("h1", first)
    net.settle()
    (frame,) = net.host("as2").received
    assert parse_ip(frame).more_fragments
    assert parse_ip(frame).key.source == the_binding(net).translated


def test_fragments_of_protocols_with_ports_are_dropped_and_counted(build):
    net = build("figure1", "as2")
    h1 = net.host("h1")
    whole = h1.packet(SERVICE[False], UDP, 40000, 53, payload=bytes(24))
    net.send("h1", fragment(whole, 0x2000), fragment(whole, 3))
    net.settle()
    assert bindings(net) == []
    assert drops(net, "arh1") == {"bad_frame: fragment": 2}


def fragment(frame: bytes, field: int) -> bytes:
    """The packet with these flags and offset; its IPv4 header checksum is corrected."""
    packet = parse_ip(frame)
    header = bytearray(frame[14:34])
    header[6:8] = field.to_bytes(2, "big")
    header[10:12] = bytes(2)
    total = sum(int.from_bytes(header[i : i + 2], "big") for i in range(0, 20, 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    header[10:12] = (total ^ 0xFFFF).to_bytes(2, "big")
    return frame[: packet.l3] + bytes(header) + frame[packet.l4 :]


def test_a_broken_packet_makes_no_binding(build):
    net = build("figure1", "as2")
    h1 = net.host("h1")
    key = FlowKey(h1.address(False), SERVICE[False], TCP, 40000, 80)
    frame = ip_packet(key, eth_src=h1.mac, eth_dst=h1.gateway_mac)
    net.send("h1", frame[:46] + b"\xf0" + frame[47:])  # a TCP header longer than the packet
    net.settle()
    assert bindings(net) == []
    assert drops(net, "arh1") == {"bad_frame: transport header": 1}
