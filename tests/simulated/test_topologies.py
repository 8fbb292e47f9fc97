"""The topologies as they stand in their files: one switch in all roles, two sites and a ring (M5, M25)."""

from __future__ import annotations

from itertools import permutations

import pytest
from scenes import SERVICE, ask, bindings, both_engines, errors, the_binding

from anycast_sdn.core.model import ICMP, ICMPV6, UDP, FlowKey, packed
from anycast_sdn.description.model import Port
from anycast_sdn.openflow.frames import parse_ip

pytestmark = both_engines

FILES = {False: packed("198.19.0.1"), True: packed("2001:db8:b::1")}


@pytest.mark.parametrize("name", ["figure1", "one-switch", "ring", "two-sites"])
def test_every_host_reaches_every_other_by_its_unicast_address(build, v6, name):
    net = build(name)
    hosts = [host.name for host in net.network.hosts]
    for here, there in permutations(hosts, 2):
        host = net.host(here)
        net.send(here, host.packet(net.host(there).address(v6), ICMPV6 if v6 else ICMP))
    net.settle()
    for name in hosts:
        answered = {
            packet.key.source
            for packet in map(parse_ip, net.host(name).received)
            if packet.icmp_type == (129 if v6 else 0)
        }
        assert answered == {net.host(other).address(v6) for other in hosts if other != name}


def test_one_switch_is_client_edge_and_server_edge_at_once(build, v6):
    net = build("one-switch")
    for port in range(40000, 40030):
        ask(net, "c1", SERVICE[v6], port)
    servers = {net.host(name).address(v6) for name in ("s1", "s2")}
    assert {binding.server for binding in bindings(net, "edge")} == servers
    assert len(net.host("c1").received) == 30
    translated = {binding.translated for binding in bindings(net, "edge")}
    assert {key.source for name in ("s1", "s2") for key in net.host(name).flows()} == translated


def test_a_server_inside_a_client_site_serves_that_site_and_others(build, v6):
    net = build("two-sites")
    as4 = net.host("as4").address(v6)
    ask(net, "h1", FILES[v6])
    assert the_binding(net, "arh1").server == as4
    assert net.host("h1").flows() == [FlowKey(FILES[v6], net.host("h1").address(v6), UDP, 53, 40000)]
    assert net.seen("arh1", "c1") == []  # it did not leave the site


def test_each_site_pins_its_own_flows(build, v6):
    net = build("two-sites")
    for client in ("h1", "h2", "h3", "h4"):
        ask(net, client, SERVICE[v6])
    assert [len(bindings(net, edge)) for edge in ("arh1", "arh2")] == [2, 2]
    assert {binding.server for binding in bindings(net, "arh1")} == {net.host("as1").address(v6)}
    assert {binding.server for binding in bindings(net, "arh2")} == {net.host("as3").address(v6)}
    assert all(len(net.host(client).received) == 1 for client in ("h1", "h2", "h3", "h4"))


def test_a_ring_carries_on_when_any_of_its_links_fails(build):
    for port in (Port("c1", 1), Port("c2", 1), Port("c3", 1), Port("c4", 1)):
        net = build("two-sites")
        ask(net, "h1")
        ask(net, "h3")
        net.set_port(port, up=False)
        net.settle()
        ask(net, "h1")
        ask(net, "h3")
        ask(net, "h1", port=40001)
        assert len(net.host("h1").received) == 3
        assert len(net.host("h3").received) == 2


def test_when_no_server_is_reachable_packets_end_at_the_edge(build):
    net = build("two-sites")
    net.set_port(Port("arh2", 10), up=False)
    net.settle()
    ask(net, "h3")
    assert errors(net.host("h3")) == [(3, 0)]  # net unreachable
    net.host("h3").received.clear()
    net.set_port(Port("arh2", 10), up=True)
    net.advance(1)  # there is no other path, so a link that is held back is used
    ask(net, "h3")
    assert len(net.host("h3").received) == 1
