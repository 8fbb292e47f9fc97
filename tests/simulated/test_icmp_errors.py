"""ICMP errors cross the translation in both directions, with the packet that they quote (RFC 5508 REQ-4, REQ-5)."""

from __future__ import annotations

from scenes import SERVICE, ask, both_engines, drops, the_binding

from anycast_sdn.core.model import UDP, FlowKey, packed
from anycast_sdn.openflow.builders import Unreachable, ip_packet, unreachable
from anycast_sdn.openflow.frames import IcmpError, parse_icmp_error, parse_ip
from anycast_sdn.simulation.host import SimulatedHost

pytestmark = both_engines

PROHIBITED = Unreachable.ADMINISTRATIVELY_PROHIBITED


def keep_silent(frame, packet):
    return ()


def error_about(host: SimulatedHost, frame: bytes) -> bytes:
    """The host replies with an ICMP error to a packet that it has received."""
    error = unreachable(frame, host.mac, parse_ip(frame).key.destination, PROHIBITED)
    assert error is not None
    return error


def errors(host: SimulatedHost) -> list[IcmpError]:
    return [parse_icmp_error(frame) for frame in host.received if parse_ip(frame).icmp_type in (1, 3)]


def test_a_servers_error_about_an_unanswered_request_reaches_the_client(build, v6):
    net = build("figure1", "as2")
    as2 = net.host("as2")
    as2.on_packet = lambda frame, packet: [error_about(as2, frame)]
    ask(net, service=SERVICE[v6])
    (error,) = errors(net.host("h1"))
    assert error.source == SERVICE[v6]
    assert error.quoted == FlowKey(net.host("h1").address(v6), SERVICE[v6], UDP, 40000, 53)


def test_a_servers_error_about_a_pinned_flow_reaches_the_client(build, v6):
    net = build("figure1", "as2")
    ask(net, service=SERVICE[v6])
    as2 = net.host("as2")
    as2.on_packet = lambda frame, packet: [error_about(as2, frame)]
    ask(net, service=SERVICE[v6])
    (error,) = errors(net.host("h1"))
    assert error.source == SERVICE[v6]
    assert error.quoted == FlowKey(net.host("h1").address(v6), SERVICE[v6], UDP, 40000, 53)


def test_a_clients_error_about_a_reply_reaches_the_server(build, v6):
    net = build("figure1", "as2")
    h1 = net.host("h1")
    h1.on_packet = lambda frame, packet: [error_about(h1, frame)]
    ask(net, service=SERVICE[v6])
    as2, pr1x = net.host("as2").address(v6), the_binding(net).translated
    (error,) = errors(net.host("as2"))
    assert error.source == pr1x
    assert error.quoted == FlowKey(as2, pr1x, UDP, 53, 40000)


def test_an_error_from_a_router_on_the_path_keeps_its_source(build, v6):
    net = build("figure1", "as2")
    net.host("as2").on_packet = keep_silent
    ask(net, service=SERVICE[v6])
    seen = net.host("as2").received[0]  # as a router on the path would have received it
    as3 = net.host("as3")
    error = unreachable(seen, as3.mac, as3.address(v6), PROHIBITED)
    net.send("as3", as3.gateway_mac + error[6:])
    net.settle()
    (translated,) = errors(net.host("h1"))
    assert translated.source == as3.address(v6)
    assert translated.quoted == FlowKey(net.host("h1").address(v6), SERVICE[v6], UDP, 40000, 53)


def test_an_error_about_a_flow_that_does_not_exist_is_dropped(build, v6):
    net = build("figure1", "as2")
    as3 = net.host("as3")
    pr1x = packed("2001:db8:1:f::77" if v6 else "203.0.113.77")
    made_up = as3.packet(pr1x, UDP, 53, 40000)
    quoted = FlowKey(pr1x, net.host("as2").address(v6), UDP, 40000, 53)
    net.send("as3", forged_error(as3, made_up, quoted))
    net.settle()
    assert drops(net, "arh1") == {"no_binding": 1}
    assert net.host("h1").received == []


def test_an_error_that_quotes_another_flow_is_dropped(build, v6):
    net = build("figure1", "as2")
    net.host("as2").on_packet = keep_silent
    ask(net, service=SERVICE[v6])
    as3, pr1x = net.host("as3"), the_binding(net).translated
    for quoted in (
        FlowKey(pr1x, net.host("as2").address(v6), UDP, 40001, 53),  # another port
        FlowKey(pr1x, net.host("as4").address(v6), UDP, 40000, 53),  # sent to a host that is no server
    ):
        net.send("as3", forged_error(as3, as3.packet(pr1x, UDP, 1, 2), quoted))
    net.settle()
    assert net.host("h1").received == []
    assert drops(net, "arh1") == {"stranger_reply": 2}


def forged_error(host: SimulatedHost, carrier: bytes, quoted: FlowKey) -> bytes:
    """A forged error from ``host`` to the quoted flow's source."""
    frame = ip_packet(quoted, eth_src=host.gateway_mac, eth_dst=host.mac)
    error = unreachable(frame, host.mac, parse_ip(carrier).key.source, PROHIBITED)
    assert error is not None
    return error


def test_an_error_makes_no_binding_and_pins_none(build, v6):
    net = build("figure1", "as2")
    as2 = net.host("as2")
    as2.on_packet = lambda frame, packet: [error_about(as2, frame)]
    ask(net, service=SERVICE[v6])
    assert the_binding(net).server is None


def test_a_flood_of_errors_does_not_keep_another_senders_from_the_client(build, v6):
    """Each sender has its share of the errors that are handled."""
    net = build("figure1", "as2")
    net.host("as2").on_packet = keep_silent
    ask(net, service=SERVICE[v6])
    as2, as4, pr1x = net.host("as2"), net.host("as4"), the_binding(net).translated
    flood = forged_error(as4, as4.packet(pr1x, UDP, 1, 2), FlowKey(pr1x, as4.address(v6), UDP, 40000, 53))
    for _ in range(20):
        net.send("as4", *[flood] * 200)
        net.advance(0.02)
    net.send("as2", error_about(as2, as2.received[0]))
    net.settle()
    assert len(errors(net.host("h1"))) == 1
    assert drops(net, "arh1")["stranger_reply"] < 500
