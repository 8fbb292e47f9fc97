"""What the network does not carry, and the counter that says so (M6, M16, M22)."""

from __future__ import annotations

from scenes import SERVICE, ask, bindings, drops

from anycast_sdn.core.model import UDP, FlowKey, Prefix, packed
from anycast_sdn.openflow.builders import ip_packet

ELSEWHERE = {False: packed("192.0.2.77"), True: packed("2001:db8:77::1")}
LINK_LOCAL = packed("fe80::1")


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


def test_a_translation_address_without_a_flow_is_a_dead_end(build, v6):  # M16
    net = build("figure1", "as2")
    unknown = packed("2001:db8:1:f::77" if v6 else "203.0.113.77")
    for sender in ("as3", "h2"):  # from afar and from the site itself
        net.send(sender, net.host(sender).packet(unknown, UDP, 53, 40000))
    net.settle()
    assert drops(net, "arh1") == {"unknown_translated": 2}


def test_a_server_meets_a_dead_end_too_where_there_is_no_flow(build, v6):  # M16, by the controller
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


def test_a_server_is_no_client(build):  # M6
    net = build("figure1", "as2", "as3")
    ask(net, "as3")
    assert drops(net, "ars3") == {"unauthorised": 1}
    assert net.host("as2").received == []


def test_an_anycast_address_that_nobody_serves_is_unreachable(build, v6):
    net = build("figure1", "as2")
    ask(net, service=packed("2001:db8:a::99" if v6 else "198.18.0.99"))
    assert drops(net, "arh1") == {"no_service": 1}
    assert bindings(net) == []
    assert len(net.host("h1").received) == 1  # an ICMP error


def test_an_address_that_nobody_announces_is_dropped(build, v6):
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
