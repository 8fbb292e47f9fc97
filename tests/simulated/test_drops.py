"""Packets that the network drops, and their counters (M6, M16, M22)."""

from __future__ import annotations

import pytest
from scenes import SERVICE, ask, bindings, both_engines, drops, errors

from anycast_sdn.core.model import ICMP, SCTP, TCP, UDP, FlowKey, Prefix, packed
from anycast_sdn.openflow import readback
from anycast_sdn.openflow.builders import ip_packet
from anycast_sdn.openflow.frames import parse_icmp_error, parse_ip
from anycast_sdn.openflow.rules import DeleteFlow

pytestmark = both_engines

ELSEWHERE = {False: packed("192.0.2.77"), True: packed("2001:db8:77::1")}
LINK_LOCAL = packed("fe80::1")
CORE = {False: packed("10.255.0.4"), True: packed("2001:db8:ff::4")}


def spoof(net, name, source, destination):
    """The host sends with a source of its choice."""
    host = net.host(name)
    frame = ip_packet(
        FlowKey(source, destination, UDP, 40000, 53), eth_src=host.mac, eth_dst=host.gateway_mac, payload=b"?"
    )
    net.send(name, frame)
    net.settle()


def test_an_anycast_source_does_not_enter_the_network(build, v6):  # M22
    net = build("figure1", "as2")
    spoof(net, "as2", SERVICE[v6], net.host("h1").address(v6))
    spoof(net, "h2", SERVICE[v6], net.host("as3").address(v6))
    assert drops(net, "ars2") == {"anycast_source": 1}
    assert drops(net, "arh1") == {"anycast_source": 1}
    assert net.seen("ars2", "core") == net.seen("arh1", "core") == []


def test_a_source_of_another_subnet_does_not_enter_the_network(build, v6):
    net = build("figure1", "as2")
    spoof(net, "h1", net.host("as3").address(v6), SERVICE[v6])
    spoof(net, "h1", ELSEWHERE[v6], SERVICE[v6])
    assert drops(net, "arh1") == {"wrong_source": 2}
    assert bindings(net) == []


def test_a_link_local_source_is_dropped_under_a_name_of_its_own(build):
    net = build("figure1", "as2")
    spoof(net, "h1", LINK_LOCAL, packed("ff02::16"))
    assert drops(net, "arh1") == {"link_local": 1}


def test_a_packet_to_a_translation_address_without_a_flow_is_dropped(build, v6):  # M16
    net = build("figure1", "as2")
    unknown = packed("2001:db8:1:f::77" if v6 else "203.0.113.77")
    for sender in ("as3", "h2"):  # from afar and from the site itself
        net.send(sender, net.host(sender).packet(unknown, UDP, 53, 40000))
    net.settle()
    assert drops(net, "arh1") == {"unknown_translated": 2}


def test_a_servers_packet_to_a_translation_address_without_a_flow_is_dropped(build, v6):  # M16, by the controller
    net = build("figure1", "as2")
    unknown = packed("2001:db8:1:f::77" if v6 else "203.0.113.77")
    net.send("as2", net.host("as2").packet(unknown, UDP, 53, 40000))
    net.settle()
    assert drops(net, "arh1") == {"no_binding": 1}


def test_a_site_uses_its_own_services_only(build, v6):  # M6
    net = build("two-sites")
    files = packed("2001:db8:b::1" if v6 else "198.19.0.1")
    ask(net, "h3", files)
    assert drops(net, "arh2") == {"unauthorised": 1}
    assert bindings(net, "arh2") == []
    ask(net, "h1", files)
    assert len(bindings(net, "arh1")) == 1
    assert len(net.host("h1").received) == 1


def test_a_host_of_a_server_subnet_is_no_client(build):  # M6
    net = build("figure1", "as2", "as3")
    ask(net, "as3")
    assert drops(net, "ars3") == {"unauthorised": 1}
    assert net.host("as2").received == []
    assert errors(net.host("as3")) == [PROHIBITED[False]]


def test_an_anycast_address_without_servers_is_unreachable(build, v6):
    net = build("figure1", "as2")
    ask(net, service=packed("2001:db8:a::99" if v6 else "198.18.0.99"))
    assert drops(net, "arh1") == {"no_service": 1}
    assert bindings(net) == []
    assert len(net.host("h1").received) == 1  # an ICMP error


def test_a_packet_to_an_address_that_no_edge_announces_is_dropped(build, v6):
    net = build("figure1", "as2")
    net.send("h1", net.host("h1").packet(ELSEWHERE[v6], UDP, 40000, 53))
    net.settle()
    assert drops(net, "arh1") == {"no_route": 1}


def test_what_is_neither_ip_nor_arp_is_dropped(build):
    net = build("figure1", "as2")
    net.send("h1", b"\xff" * 6 + net.host("h1").mac + b"\x88\xb5" + bytes(46))
    net.settle()
    assert drops(net, "arh1") == {"not_ip": 1}


def test_no_client_can_overload_the_controller(build):
    net = build("figure1", "as2", translation_prefixes=(Prefix.parse("203.0.0.0/16"),))
    h1 = net.host("h1")
    net.send("h1", *(h1.packet(SERVICE[False], UDP, port, 53) for port in range(20000, 24000)))
    net.settle()
    burst = net.network.limits.first_packets // 10
    assert burst <= len(bindings(net)) <= burst + 10  # the rest ended in the switch's meter


# ------------------------------------------------------------------------------ ICMP errors

NET, HOST = {False: (3, 0), True: (1, 0)}, {False: (3, 1), True: (1, 0)}
PROHIBITED = {False: (3, 13), True: (1, 1)}


def test_the_sender_of_a_packet_without_a_route_gets_an_error_at_once(build, v6):
    net = build("figure1", "as2")
    for name, at in (("h1", "arh1"), ("as3", "ars3")):
        net.send(name, net.host(name).packet(ELSEWHERE[v6], UDP, 40000, 53))
        net.advance(0.01)
        assert errors(net.host(name)) == [NET[v6]]
        assert drops(net, at) == {"no_route": 1}


def test_the_switch_at_which_a_packet_has_no_route_sends_the_error(build, v6):
    net = build("figure1", "as2")
    h1, as2 = net.host("h1"), net.host("as2")
    ask(net, service=SERVICE[v6])  # pinned
    lose_route(net, "core", as2.address(v6))
    h1.received.clear()
    net.send("h1", h1.packet(as2.address(v6), UDP, 40000, 53))
    ask(net, service=SERVICE[v6])  # travels as PR1X → as2, so that its error is translated back
    quoted = [parse_icmp_error(frame).quoted for frame in h1.received]
    own = h1.address(v6)
    assert quoted == [FlowKey(own, to, UDP, 40000, 53) for to in (as2.address(v6), SERVICE[v6])]
    assert errors(h1) == [NET[v6], NET[v6]]
    assert {parse_ip(frame).key.source for frame in h1.received} == {CORE[v6]}
    assert drops(net, "core") == {"no_route": 2}
    net.connect("core")


def lose_route(net, name, destination):
    """The switch loses its route, and does not report that to the controller."""
    switch = net.switches[name]
    for rule in list(switch.flows.values()):
        if (found := readback.route(rule)) and destination in found[0]:
            switch.apply(DeleteFlow(rule), net.now)


def test_an_error_without_a_route_leads_to_no_other_error(build, v6):
    """The sender is out of reach, too: its packet came before its route went."""
    net = build("figure1", "as2")
    lose_route(net, "core", net.host("h1").address(v6))
    lose_route(net, "core", net.host("as2").address(v6))
    net.send("h1", net.host("h1").packet(net.host("as2").address(v6), UDP, 40000, 53))
    net.settle()
    assert errors(net.host("h1")) == []
    assert drops(net, "core") == {"no_route": 2}  # the packet, and the error about it
    net.connect("core")


def test_packets_that_must_not_lead_to_errors_do_not(build):
    net = build("figure1", "as2")
    h1 = net.host("h1")
    packet = h1.packet(ELSEWHERE[False], UDP, 40000, 53, payload=bytes(64))
    to_all = b"\xff" * 6 + packet[6:]  # a broadcast on the wire
    later = packet[:20] + b"\x00\x10" + packet[22:]  # not the first fragment
    echo = ip_packet(FlowKey(h1.address(False), ELSEWHERE[False], ICMP, 0, 0), eth_src=h1.mac, eth_dst=h1.gateway_mac)
    quench = echo[:34] + b"\x04" + echo[35:]  # source quench, an error of old
    about_error = ip_packet(
        FlowKey(h1.address(False), ELSEWHERE[False], ICMP, 0, 0), eth_src=h1.mac, eth_dst=h1.gateway_mac, icmp_type=3
    )
    net.send("h1", to_all, later, quench, about_error)
    net.settle()
    assert h1.received == []
    assert drops(net, "arh1")["no_route"] == 4


def test_a_service_that_a_site_may_not_use_is_prohibited_at_once(build, v6):  # M6
    net = build("two-sites")
    h3 = net.host("h3")
    ask(net, "h3", packed("2001:db8:b::1" if v6 else "198.19.0.1"))
    assert errors(h3) == [PROHIBITED[v6]]
    (error,) = h3.received
    assert parse_ip(error).key.source in {gateway for gateway in net.gateways(h3)}


def test_a_service_whose_servers_are_all_out_of_reach_is_unreachable(build, v6):
    net = build("figure1", "as2")
    net.set_port(net.host("as2").port, up=False)
    net.settle()
    for _ in range(2):
        ask(net, service=SERVICE[v6])
    assert errors(net.host("h1")) == [HOST[v6]] * 2
    assert drops(net, "arh1") == {"no_able_edge": 2}
    assert bindings(net) == []


def test_a_flood_without_a_route_does_not_suppress_errors_to_others(build):
    net = build("figure1", "as2")
    flood = net.host("h1").packet(ELSEWHERE[False], UDP, 40000, 53)
    for _ in range(20):
        net.send("h1", *[flood] * 200)
        net.advance(0.05)
    net.send("h2", *[net.host("h2").packet(ELSEWHERE[False], UDP, port, 53) for port in range(20)])
    net.settle()
    assert errors(net.host("h2")) == [NET[False]] * 20
    assert len(errors(net.host("h1"))) <= net.network.limits.undeliverable * 3  # a burst, and a second's worth
    assert drops(net, "arh1") == {"no_route": 4020}


@pytest.mark.parametrize("protocol", [TCP, UDP, SCTP, 47])
def test_a_gateway_refuses_what_it_does_not_serve(build, v6, protocol):
    net = build("figure1", "as2")
    h1 = net.host("h1")
    (gateway,) = [own for own in net.gateways(h1) if (len(own) == 16) is v6]
    net.send("h1", h1.packet(gateway, protocol, 40000, 22, payload=bytes(16)))
    net.settle()
    ports, others = ((1, 4), (1, 1)) if v6 else ((3, 3), (3, 2))
    assert errors(h1) == [others if protocol == 47 else ports]
