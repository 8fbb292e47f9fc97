"""The fabric while parts of it fail and come back: what the installed rules connect, on many graphs (M8, M23, M24)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import networkx
import pytest
from graphs import SETTLED_S, Fabric
from scenes import SERVICE, ask, bindings, catchment, drops, managed, topology

from anycast_sdn.core.model import ICMP, ICMPV6, UDP, FlowKey, Prefix, packed
from anycast_sdn.description.model import Link, Port
from anycast_sdn.openflow import entries, lldp
from anycast_sdn.openflow.builders import ip_packet
from anycast_sdn.openflow.frames import parse_icmp_error, parse_ip
from anycast_sdn.openflow.rules import AddFlow
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.views.topology import topology_view

ATLAS = [graph for graph in networkx.graph_atlas_g() if 2 <= len(graph) <= 6]  # all graphs of two to six nodes


@pytest.mark.parametrize("part", range(8))
def test_rules_connect_all_connected_switches_at_the_least_cost_after_any_failures(part):
    for number, graph in list(enumerate(ATLAS))[part::8]:
        made = Fabric(graph, seed=number)
        made.check()
        for _ in range(8):
            made.something_happens()
            made.check()
        for name in sorted(made.dead):
            made.net.connect(name)
        made.net.advance(SETTLED_S)
        made.net.check_recompute_changes_nothing()


@pytest.mark.parametrize("seed", range(4))
def test_the_same_holds_for_larger_random_graphs(seed):
    made = Fabric(networkx.gnm_random_graph(12, 20, seed=seed), seed)
    for _ in range(10):
        made.something_happens()
        made.check()


# ------------------------------------------------------------------------------ the ring


@pytest.fixture
def ring(build) -> SimulatedNetwork:
    net = build("ring")
    net.advance(1)
    return net


def state(net: SimulatedNetwork, *ends: str) -> str:
    """Of the link with these ends."""
    topology = topology_view(net.controller, (), net.now)
    assert isinstance(topology["links"], list)
    (found,) = [link["state"] for link in topology["links"] if sorted(link["ends"]) == sorted(ends)]
    return str(found)


def test_a_part_that_is_cut_off_keeps_working_within_itself(ring, v6):
    ring.set_port(Port("c6", 1), up=False)
    ring.set_port(Port("c3", 1), up=False)
    ring.settle()
    for client, server in (("h1", "as1"), ("h3", "as3")):
        ask(ring, client, SERVICE[v6])
        assert len(ring.host(client).received) == 1
        assert len(ring.host(server).received) == 1
    assert topology_view(ring.controller, (), ring.now)["parts"] == [
        ["arh1", "ars1", "ars2", "c1", "c2", "c3"],
        ["arh2", "ars3", "c4", "c5", "c6"],
    ]


def test_a_pinned_flow_keeps_its_server_and_a_new_one_goes_to_the_nearest(ring, v6):
    ask(ring, "h1", SERVICE[v6])
    ring.set_port(Port("c1", 1), up=False)
    ring.settle()
    ask(ring, "h1", SERVICE[v6])
    ask(ring, "h1", SERVICE[v6], port=40001)
    servers = [binding.server for binding in bindings(ring)]
    assert servers == [ring.host("as1").address(v6), ring.host("as3").address(v6)]
    assert len(ring.host("h1").received) == 3


def test_a_link_that_flaps_carries_nothing_until_it_is_quiet(ring):
    for _ in range(3):
        ring.set_port(Port("c1", 1), up=False)
        ring.advance(1)
        ring.set_port(Port("c1", 1), up=True)
        ring.advance(1)
    assert state(ring, "c1:1", "c2:2") == "held back"
    assert catchment(ring) == {"arh1": "ars3", "arh2": "ars3"}
    ring.advance(4)
    assert state(ring, "c1:1", "c2:2") == "up"
    assert catchment(ring) == {"arh1": "ars1", "arh2": "ars3"}


def test_a_switch_that_returns_gets_exactly_its_rules_again(ring):
    ring.controller.tick(ring.now)
    before = dict(ring.switches["c4"].flows)
    ring.kill("c4")
    ring.advance(5)
    assert ring.switches["c4"].flows == {}
    assert state(ring, "c3:1", "c4:2") == "switch away"
    ring.connect("c4")
    ring.advance(5)
    assert ring.switches["c4"].flows == before


def test_a_switch_without_a_controller_forwards_for_switches_without_another_path(ring):
    ring.disconnect("c1")
    ring.advance(5)
    ask(ring, "h1")
    assert len(ring.host("h1").received) == 1
    ring.connect("c1")


# ------------------------------------------------------------------------------ cabling


def recabled(*cables: tuple[str, str], undeclared_links: bool = False) -> SimulatedNetwork:
    """The ring with these links instead of c1:1–c2:2."""

    def port(name: str) -> Port:
        switch, _, number = name.partition(":")
        return Port(switch, int(number))

    description = replace(topology("ring"), undeclared_links=undeclared_links)
    real = [link for link in description.links if link.a != Port("c1", 1)]
    net = SimulatedNetwork(description, cables=[*real, *(Link(port(a), port(b)) for a, b in cables)])
    for name in ("c1:1", "c1:5", "c3:5"):
        net.report_port(port(name))
    net.advance(4)
    return net


def test_a_link_that_has_failed_silently_carries_nothing_when_another_controller_takes_over(ring):
    before = catchment(ring)["arh1"]
    ring.silent.add(Port("c1", 1))
    ring.advance(5)
    known = list(ring.controller.discovery.known())
    assert [sorted(map(str, link.ends)) for link in known] == [["c1:1", "c2:2"]]
    nearest = catchment(ring)["arh1"]
    assert nearest != before
    ring.replace_controller()
    ring.react(ring.controller.take_over(1, known, {}, ring.now))
    for name in ring.switches:
        ring.connect(name)
    for _ in range(16):
        ring.advance(0.25)
        assert catchment(ring)["arh1"] == nearest
    ring.silent.clear()
    ring.advance(5)
    assert catchment(ring)["arh1"] == before


def test_miswired_links_are_shown_and_not_used():
    net = recabled(("c1:1", "c3:5"))
    assert state(net, "c1:1", "c2:2") == "silent"
    assert state(net, "c1:1", "c3:5") == "not declared"
    links = topology_view(net.controller, (), net.now)["links"]
    assert isinstance(links, list)
    assert links[0]["cabled_instead"] == {"c1:1": "c3:5"}
    assert catchment(net)["arh1"] == "ars3"


def test_an_undeclared_link_carries_traffic_where_that_is_allowed():
    net = recabled(("c1:5", "c3:5"), undeclared_links=True)
    assert state(net, "c1:5", "c3:5") == "up"
    assert catchment(net)["arh1"] == "ars2"
    ask(net, "h1")
    assert len(net.host("as2").received) == len(net.host("h1").received) == 1
    assert len(net.seen("c1", "c3")) == 1
    net.check_recompute_changes_nothing()


def test_a_port_that_was_an_undeclared_link_is_an_unknown_port_again(v6):
    """Packets from other switches are not checked once more: so it matters whose a port is (M22)."""
    net = recabled(("c1:5", "c3:5"), undeclared_links=True)
    as2 = net.host("as2")
    forged = ip_packet(FlowKey(SERVICE[v6], as2.address(v6), UDP, 1, 2), eth_src=bytes(5) + b"\2", eth_dst=bytes(6))

    def enters() -> bool:
        as2.received.clear()
        for effect in net.switches["c1"].receive(forged, 5, net.now):
            net.carry_out("c1", [effect])
        net.settle()
        return bool(as2.received)

    assert enters()
    net.set_port(Port("c1", 5), up=False)
    net.settle()
    assert not enters()
    assert state(net, "c1:5", "c3:5") == "port down"
    net.advance(70)
    assert "c1:5" not in str(topology_view(net.controller, (), net.now)["links"])


def test_a_flood_of_lldp_on_one_port_takes_no_link_away(ring):
    junk = lldp.build(lldp.Probe(0x31, 9, 1 << 40), bytes(6), b"another key")
    for _ in range(4000):
        for effect in ring.switches["c1"].receive(junk, 9, ring.now):
            ring.carry_out("c1", [effect])
        ring.advance(0.001)
    assert {link["state"] for link in topology_view(ring.controller, (), ring.now)["links"]} == {"up"}
    assert drops(ring, "c1")["bad_frame: lldp digest"] > 1000


def test_lldp_from_a_host_is_dropped_and_counted(ring):
    ring.send("h1", *[lldp.build(lldp.Probe(0x31, 1, 1 << 40), ring.host("h1").mac, bytes(16))] * 3)
    ring.settle()
    assert drops(ring, "arh1") == {"lldp_from_host": 3}


def test_a_forged_frame_between_switches_is_counted(ring):
    frame = lldp.build(lldp.Probe(0x31, 1, 1 << 40), bytes(6), b"another key")
    for effect in ring.switches["c2"].receive(frame, 2, ring.now):
        ring.react(ring.controller.packet_in(0x32, effect.cookie, effect.in_port, effect.frame, ring.now))
    assert drops(ring, "c2") == {"bad_frame: lldp digest": 1}


# ------------------------------------------------------------------------------ hops

HOPS = {
    False: ["10.1.0.1", "10.255.0.1", "10.255.0.2", "10.21.0.1"],
    True: ["2001:db8:1::1", "2001:db8:ff::1", "2001:db8:ff::2", "2001:db8:21::1"],
}


def errors(net: SimulatedNetwork, host: str) -> Iterator[tuple[bytes, bytes]]:
    """(sender, destination of the quoted packet) of each Time Exceeded error."""
    for frame in net.host(host).received:
        if parse_ip(frame).icmp_type == (3 if frame[12:14] == b"\x86\xdd" else 11):
            error = parse_icmp_error(frame)
            yield error.source, error.quoted.destination


@pytest.mark.parametrize("pinned", [False, True], ids=["unanswered", "pinned"])
def test_every_switch_on_the_path_to_any_is_a_hop(ring, v6, pinned):
    if pinned:
        ask(ring, "h1", SERVICE[v6])
    for ttl in range(1, 5):
        ask(ring, "h1", SERVICE[v6], ttl=ttl)
    assert list(errors(ring, "h1")) == [(packed(hop), SERVICE[v6]) for hop in HOPS[v6]]
    ask(ring, "h1", SERVICE[v6], ttl=5)
    assert len(ring.host("as1").received) == 1 + pinned


def test_every_switch_on_the_path_to_a_unicast_address_is_a_hop(ring, v6):
    as1 = ring.host("as1").address(v6)
    for ttl in range(1, 6):
        ring.send("h1", ring.host("h1").packet(as1, ICMPV6 if v6 else ICMP, ttl=ttl))
        ring.settle()
    assert list(errors(ring, "h1")) == [(packed(hop), as1) for hop in HOPS[v6]]


def test_a_switch_without_an_address_sends_no_icmp_error(build):
    net = build("two-sites")
    ask(net, ttl=2)  # the first switch of the core
    assert (net.host("h1").received, drops(net, "c1")) == ([], {"ttl_expired": 1})


def test_a_flood_of_packets_without_ttl_is_stopped_at_the_switch(ring):
    h1, as1 = ring.host("h1"), ring.host("as1").address(False)
    for _ in range(3):
        ring.send("h1", *[h1.packet(as1, ICMP, ttl=1)] * 1000)
        ring.advance(0.1)
    assert 100 <= len(h1.received) <= 120
    assert drops(ring, "arh1")["ttl_expired"] <= 1100
    ring.advance(3)
    h1.received.clear()
    ring.send("h1", h1.packet(as1, ICMP, ttl=1))
    ring.settle()
    assert len(h1.received) == 1


def test_switches_answer_ping_and_refuse_datagrams(ring, v6):
    h3 = ring.host("h3")
    for hop in HOPS[v6]:
        ring.send("h3", h3.packet(packed(hop), ICMPV6 if v6 else ICMP), h3.packet(packed(hop), UDP, 40000, 33434))
    ring.settle()
    kinds = sorted(parse_ip(frame).icmp_type for frame in h3.received)
    assert kinds == ([1] * 4 + [129] * 4 if v6 else [0] * 4 + [3] * 4)  # echo replies, and unreachable


def test_an_edge_without_links_is_a_network_of_its_own(build):
    net = build("one-switch")
    net.advance(3)
    assert topology_view(net.controller, (), net.now)["links"] == []
    assert managed(net, "edge").fabric_ports == []


def test_a_looping_packet_ends_with_its_ttl_and_its_sender_gets_an_error(ring, v6):
    """c1 and c2 send to each other, by rules that the controller would never install."""
    as1 = ring.host("as1").address(v6)
    subnet = Prefix.parse("2001:db8:21::/64" if v6 else "10.21.0.0/24")
    ring.switches["c2"].apply(AddFlow(entries.route(subnet, 2)), ring.now)
    ring.send("h1", ring.host("h1").packet(as1, ICMPV6 if v6 else ICMP, ttl=21))
    ring.settle()
    between = [*ring.seen("c1", "c2"), *ring.seen("c2", "c1")]
    assert sum(key.destination == as1 for key in between) == 19
    assert list(errors(ring, "h1")) == [(packed(HOPS[v6][2]), as1)]
    ring.switches["c2"].apply(AddFlow(entries.route(subnet, ring.controller.switches[0x32].routes[subnet])), ring.now)


# ------------------------------------------------------------------------------ a switch that does not answer


def test_what_goes_through_a_switch_whose_connection_is_swallowed_stays_as_it_is(ring):
    """It forwards on, and nothing is left for the next leader to take for a failure."""
    before = catchment(ring)
    ask(ring, "h1")
    ring.channels.swallowed.add("c1")
    for _ in range(24):
        ring.advance(0.25)
        assert catchment(ring) == before
    assert state(ring, "c1:1", "c2:2") == "up"
    assert not list(ring.controller.discovery.known())
    ring.disconnect("c1")  # it has been noticed
    ring.channels.swallowed.clear()
    assert not any(known.down for known in ring.controller.discovery.known())
    ring.connect("c1")
    ring.advance(5)
    assert catchment(ring) == before


def test_a_link_between_switches_that_answer_fails_also_while_another_switch_does_not(ring):
    ring.channels.swallowed.add("c4")
    ring.silent.add(Port("c1", 1))
    ring.advance(3)
    assert state(ring, "c1:1", "c2:2") == "silent"
    assert state(ring, "c3:1", "c4:2") == "up"
    ring.channels.swallowed.clear()
    ring.disconnect("c4")
    ring.connect("c4")  # changes of routes were lost
