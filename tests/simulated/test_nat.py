"""What the RFCs about address translators ask, where no other test shows it: docs/nat.md has them one by one."""

from __future__ import annotations

import pytest
from scenes import SERVICE, ask, bindings, both_engines, drops, payloads, the_binding

from anycast_sdn.core.model import TCP, UDP, FlowKey, Prefix, packed
from anycast_sdn.core.roles import Pooling
from anycast_sdn.openflow.builders import Unreachable as Reason
from anycast_sdn.openflow.builders import unreachable
from anycast_sdn.openflow.frames import checksum, parse_icmp_error, parse_ip
from anycast_sdn.simulation.host import TCP_ACK, TCP_SYN

pytestmark = both_engines

HTTP = {"protocol": TCP, "service_port": 80}
ERRORS = [each for each in Reason if each is not Reason.TOO_LARGE]


def flags_of(frame):
    return frame[parse_ip(frame).l4 + 13]


def errors_to(host):
    packets = [(frame, parse_ip(frame)) for frame in host.received]
    return [parse_icmp_error(frame) for frame, packet in packets if packet.icmp_type in (1, 2, 3, 11)]


@pytest.mark.parametrize("protocol", [UDP, TCP])
def test_no_icmp_error_ends_a_binding_or_keeps_it_alive(build, v6, protocol):
    """RFC 4787 REQ-12, RFC 5382 REQ-10, RFC 5508 REQ-6: of any kind, from the server and from a router on the path."""
    net = build("figure1", "as2", validity={"udp_s": 10, "tcp_s": 10, "tcp_closing_s": 10})
    ask(net, service=SERVICE[v6], protocol=protocol)
    before, as2, as3, h1 = the_binding(net), net.host("as2"), net.host("as3"), net.host("h1")
    seen = as2.received[0]
    for kind in ERRORS:
        net.send("as2", as2.gateway_mac + unreachable(seen, as2.mac, as2.address(v6), kind)[6:])
        net.send("as3", as3.gateway_mac + unreachable(seen, as3.mac, as3.address(v6), kind)[6:])
        net.advance(1)
        assert bindings(net) == [before]
    assert len(errors_to(h1)) == 2 * len(ERRORS)
    net.advance(6)
    assert bindings(net) == []  # 10 s after its own last packet


def test_both_sides_may_open_a_connection_at_once(build, v6):
    """RFC 5382 REQ-2: the SYNs cross, and each is answered."""
    net = build("figure1", "as2")
    h1, as2 = net.host("h1"), net.host("as2")
    as2.on_packet = lambda frame, packet: [as2.reply(frame, packet, tcp_flags=TCP_SYN)]
    ask(net, service=SERVICE[v6], **HTTP)
    assert the_binding(net).server == as2.address(v6)
    as2.on_packet = lambda frame, packet: [as2.reply(frame, packet, tcp_flags=TCP_SYN | TCP_ACK)]
    ask(net, service=SERVICE[v6], **HTTP, tcp_flags=TCP_SYN | TCP_ACK)
    assert [flags_of(frame) for frame in h1.received] == [TCP_SYN, TCP_SYN | TCP_ACK]
    assert [flags_of(frame) for frame in as2.received] == [TCP_SYN, TCP_SYN | TCP_ACK]
    assert {key.source for key in h1.flows()} == {SERVICE[v6]}


def test_nobody_answers_a_syn_to_an_address_without_a_flow(build, v6):
    """RFC 5382 REQ-4: not within 6 s, here never; from an enrolled server and from any other host."""
    net = build("figure1", "as2")
    unused = packed("2001:db8:1:f::77" if v6 else "203.0.113.77")
    for name in ("as2", "as3"):
        net.send(name, net.host(name).packet(unused, TCP, 80, 40000))
    net.advance(10)
    assert net.host("as2").received == net.host("as3").received == []
    assert sum(drops(net, "arh1").values()) == 2


def test_an_error_crosses_a_switch_that_is_both_edges(build, v6):
    """RFC 5508 REQ-7: client, translation and server at one switch."""
    net = build("one-switch")
    for name in ("s1", "s2"):
        host = net.host(name)
        host.on_packet = lambda frame, packet, host=host: [
            unreachable(frame, host.mac, packet.key.destination, Reason.PORT)
        ]
    ask(net, "c1", SERVICE[v6])
    (error,) = errors_to(net.host("c1"))
    assert error.source == SERVICE[v6]
    assert error.quoted == FlowKey(net.host("c1").address(v6), SERVICE[v6], UDP, 40000, 53)


def test_the_ports_and_the_identification_stay_as_the_client_has_set_them(build):
    """RFC 4787 REQ-3 and REQ-4, RFC 7857 §11 (RFC 6864 §5.3.1): PR1X is one client's, so its numbers stay unique."""
    net = build("figure1", "as2")
    h1, as2 = net.host("h1"), net.host("as2")
    for port, number in ((40000, 7), (40001, 7), (1023, 65535)):
        frame = h1.packet(SERVICE[False], UDP, port, 53, payload=b"x")
        header = frame[14:18] + number.to_bytes(2, "big") + b"\0\0" + frame[22:24] + b"\0\0" + frame[26:34]
        header = header[:10] + checksum(header).to_bytes(2, "big") + header[12:]
        net.send("h1", frame[:14] + header + frame[34:])
        net.settle()
    seen = [(key.source_port, frame[18:20]) for key, frame in zip(as2.flows(), as2.received, strict=True)]
    assert seen == [(40000, b"\0\7"), (40001, b"\0\7"), (1023, b"\xff\xff")]


def test_addresses_in_packets_are_not_translated(build, v6):
    """RFC 4787 REQ-10, RFC 5382 REQ-6: there is no ALG."""
    net = build("figure1", "as2")
    text = b"c=IN IP4 10.1.0.10, PORT 10,1,0,10,156,64"
    ask(net, service=SERVICE[v6], port=5060, service_port=5060, payload=text)
    assert payloads(net.host("as2").received) == [text]
    assert payloads(net.host("h1").received) == [text]


def test_existing_flows_are_not_ended_for_new_ones(build, v6):
    """RFC 6888 REQ-11: a flow that finds no address takes none from another."""
    tiny = (Prefix.parse("203.0.113.0/30"), Prefix.parse("2001:db8:1:f::/126"))
    most = {"bindings_per_client": 9, "bindings_per_port": 9}
    net = build("figure1", "as2", translation_prefixes=tiny, pooling=Pooling.FLOW, **most)
    for client in ("h1", "h2"):
        ask(net, client, SERVICE[v6])
    before = bindings(net)
    assert len(before) == 2
    ask(net, "h1", SERVICE[v6], port=40001)
    assert drops(net, "arh1") == {"pool_empty": 1}
    assert bindings(net) == before
