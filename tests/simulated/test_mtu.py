"""A link that takes smaller packets than hosts send: senders of larger ones get an error (RFC 1191, RFC 8201)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scenes import SERVICE, ask, drops, errors, managed, the_binding, topology, web

from anycast_sdn.core.model import TCP, UDP, FlowKey, Prefix
from anycast_sdn.description.model import Host, Network, Port
from anycast_sdn.fabric.graph import LOCAL
from anycast_sdn.openflow.answers import ERRORS_PER_S
from anycast_sdn.openflow.frames import parse_icmp_error, parse_ip
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.views.topology import topology_view

MTU = 1400
TOO_BIG = {False: (3, 4), True: (2, 0)}
HEADERS = {False: 28, True: 48}  # of IP and UDP
TO_ARS2 = Port("core", 11)


def narrow(*ends: Port, name: str = "figure1", mtu: int = MTU) -> Network:
    """The links that end here have an mtu, and no other."""
    network = topology(name)
    return replace(
        network, links=tuple(replace(link, mtu=mtu) if {link.a, link.b} & set(ends) else link for link in network.links)
    )


def built(network: Network, **options: Any) -> SimulatedNetwork:
    net = SimulatedNetwork(network, web(network, "as2"), **options)
    for host in network.hosts:  # hosts do not reply
        net.host(host.name).on_packet = lambda frame, packet: ()
    return net


def datagram(net: SimulatedNetwork, name: str, to: bytes, size: int, port: int = 40000) -> bytes:
    """An IP packet of so many bytes."""
    return net.host(name).packet(to, UDP, port, 53, payload=bytes(size - HEADERS[len(to) == 16]))


def mtu_errors(net: SimulatedNetwork, name: str) -> list[tuple[FlowKey, int]]:
    """(the quoted flow, the mtu) of each error that a host has received."""
    found = []
    for frame in net.host(name).received:
        if parse_ip(frame).icmp_type in (3, 2):
            error = parse_icmp_error(frame)
            found.append((error.quoted, int.from_bytes(frame[error.l4 + 4 : error.l4 + 8], "big")))
    return found


def test_a_packet_that_just_fits_passes_and_a_larger_one_is_answered_with_the_mtu(v6):
    net = built(narrow(TO_ARS2))
    h1, as2 = net.host("h1"), net.host("as2").address(v6)
    net.send("h1", datagram(net, "h1", as2, MTU), datagram(net, "h1", as2, MTU + 1))
    net.settle()
    assert len(net.host("as2").received) == 1
    assert errors(h1) == [TOO_BIG[v6]]
    assert mtu_errors(net, "h1") == [(FlowKey(h1.address(v6), as2, UDP, 40000, 53), MTU)]
    assert drops(net, "core") == {"too_large": 1}


@pytest.mark.parametrize("end", [Port("arh1", 10), TO_ARS2], ids=["at the client edge", "in the core"])
def test_the_error_to_a_client_quotes_its_own_packet_to_the_service(v6, end):
    """At its first packet, which travels as PR1X → ANY, and when it is pinned."""
    net = built(narrow(end))
    h1 = net.host("h1")
    quoted = FlowKey(h1.address(v6), SERVICE[v6], UDP, 40000, 53)
    net.send("h1", datagram(net, "h1", SERVICE[v6], 1450))
    net.settle()
    assert mtu_errors(net, "h1") == [(quoted, MTU)]
    net.host("as2").on_packet = net.host("as2").serve
    ask(net, service=SERVICE[v6])
    assert the_binding(net).server
    net.send("h1", datagram(net, "h1", SERVICE[v6], 1450))
    net.settle()
    assert mtu_errors(net, "h1") == [(quoted, MTU)] * 2


def test_the_error_to_a_server_quotes_its_reply(v6):
    net = built(narrow(TO_ARS2))
    ask(net, service=SERVICE[v6])
    pr1x, as2 = the_binding(net).translated, net.host("as2")
    net.host("as2").received.clear()
    net.send("as2", as2.packet(pr1x, UDP, 53, 40000, payload=bytes(1440)))
    net.settle()
    assert mtu_errors(net, "as2") == [(FlowKey(as2.address(v6), pr1x, UDP, 53, 40000), MTU)]
    assert drops(net, "ars2") == {"too_large": 1}


def test_a_flood_of_large_packets_does_not_suppress_errors_to_others():
    net = built(narrow(TO_ARS2))
    as2 = net.host("as2").address(False)
    flood = datagram(net, "h1", as2, 1450)
    for _ in range(10):
        net.send("h1", *[flood] * 200)
        net.advance(0.05)
    net.send("h2", datagram(net, "h2", as2, 1450))
    net.settle()
    assert len(mtu_errors(net, "h2")) == 1
    assert len(mtu_errors(net, "h1")) <= 2 * ERRORS_PER_S
    assert drops(net, "core")["too_large"] < 1000  # the rest ended in the switch's meter


def test_a_switch_without_addresses_sends_errors_from_the_senders_gateway(v6):
    """To a host, and to PR1X, which is translated back."""
    network = narrow(TO_ARS2)
    switches = tuple(replace(switch, addresses=()) for switch in network.switches)
    net = built(replace(network, switches=switches))
    h1, as2 = net.host("h1"), net.host("as2").address(v6)
    net.send("h1", datagram(net, "h1", as2, 1450), datagram(net, "h1", SERVICE[v6], 1450))
    net.settle()
    assert [quoted.destination for quoted, _ in mtu_errors(net, "h1")] == [as2, SERVICE[v6]]
    assert {parse_ip(frame).key.source for frame in h1.received} <= set(net.gateways(h1))


def test_only_routes_by_such_a_link_are_checked():
    net = built(narrow(TO_ARS2))
    by_egress = {
        switch: {rule.key for rule in net.switches[switch].flows.values() if len(rule.actions) > 2 and is_route(rule)}
        for switch in net.switches
    }
    assert by_egress["arh1"] == by_egress["ars3"] == set()
    assert by_egress["core"]
    assert len(by_egress["ars2"]) == len([way for way in managed(net, "ars2").routes.values() if way != LOCAL])
    without = built(topology("figure1"))
    assert not any(rule.table == 5 for switch in without.switches.values() for rule in switch.flows.values())


def is_route(rule):
    return kind_of(rule.cookie) is Kind.ROUTE


def test_an_uplink_may_have_an_mtu_too(v6):
    network = topology("legacy-core")
    first = network.uplinks[0]
    router = Host("r1", first.name, first.port, first.routers)
    far = (b"\x0a\x4d\0\x09", bytes.fromhex("20010db8007700000000000000000009"))[v6]
    uplinks = (replace(first, mtu=MTU, routes=(Prefix(far[:1] + bytes(len(far) - 1), 8),)), *network.uplinks[1:])
    net = SimulatedNetwork(replace(network, uplinks=uplinks, hosts=(*network.hosts, router)))
    net.host("r1").on_packet = lambda frame, packet: ()
    net.send("h1", datagram(net, "h1", far, MTU), datagram(net, "h1", far, MTU + 1))
    net.send("h1", datagram(net, "h1", next(a for a in first.routers if len(a) == len(far)), MTU + 1))
    net.settle()
    assert len(net.host("r1").received) == 1
    assert [mtu for _, mtu in mtu_errors(net, "h1")] == [MTU, MTU]


def test_a_controller_that_starts_with_another_mtu_puts_it_on_the_switches(v6):
    net = built(narrow(TO_ARS2))
    net.network = narrow(TO_ARS2, mtu=1300)
    net.restart_controller()
    net.advance(1)
    as2 = net.host("as2").address(v6)
    net.send("h1", datagram(net, "h1", as2, 1350))
    net.settle()
    assert [mtu for _, mtu in mtu_errors(net, "h1")] == [1300]
    net.check_recompute_changes_nothing()
    net.network = topology("figure1")
    net.restart_controller()
    net.advance(1)
    net.check_recompute_changes_nothing()
    assert not any(rule.table == 5 for rule in net.switches["core"].flows.values())


def test_a_switch_that_cannot_compare_sizes_forwards_packets_that_fit(v6):
    net = built(narrow(TO_ARS2), packet_size=False)
    as2 = net.host("as2").address(v6)
    net.send("h1", datagram(net, "h1", as2, MTU), datagram(net, "h1", as2, MTU + 1))
    net.settle()
    assert len(net.host("as2").received) == 1
    assert mtu_errors(net, "h1") == []
    net.check_recompute_changes_nothing()


def test_links_and_uplinks_show_their_mtu():
    net = built(narrow(TO_ARS2))
    shown = topology_view(net.controller, (), net.now)
    assert {link["ends"][0]: link["mtu"] for link in shown["links"]} == {
        "arh1:10": None, "core:11": MTU, "core:12": None,
    }  # fmt: skip


def test_a_tcp_segment_that_is_too_large_is_answered_too(v6):
    net = built(narrow(Port("arh1", 10)))
    h1 = net.host("h1")
    net.send("h1", h1.packet(SERVICE[v6], TCP, 40000, 80, payload=bytes(1400)))
    net.settle()
    assert mtu_errors(net, "h1") == [(FlowKey(h1.address(v6), SERVICE[v6], TCP, 40000, 80), MTU)]
