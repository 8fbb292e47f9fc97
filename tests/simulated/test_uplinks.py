"""An edge that faces an ordinary router: static and learned routes, what is announced, what may come in (M8, M24)."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest
import scenes
from scenes import SERVICE, both_engines, drops, managed, the_binding, topology, web

from anycast_sdn.control.announcements import RETIRE_S
from anycast_sdn.control.discovery import START_S
from anycast_sdn.control.losses import LOST_AFTER_S
from anycast_sdn.core.bindings import State
from anycast_sdn.core.model import UDP, FlowKey, Prefix, packed
from anycast_sdn.description.model import Host, Network, Port, Uplink
from anycast_sdn.fabric.egress import Route
from anycast_sdn.openflow import builders, entries
from anycast_sdn.openflow.frames import parse_ip
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import OFPP_CONTROLLER
from anycast_sdn.simulation.network import SimulatedNetwork

pytestmark = both_engines

FAR = {False: packed("10.77.0.9"), True: packed("2001:db8:77::9")}
PREFIXES = [Prefix.parse("10.77.0.0/16"), Prefix.parse("2001:db8:77::/48")]
ROUTE = Route(1, 0, 0, packed("198.51.100.2"))
UP1 = topology("legacy-core").uplinks[0]


@pytest.fixture(autouse=True)
def engine_of_topologies(engine, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "topology", lambda name: scenes.topology(name, engines=(engine,)))


def legacy(routes: tuple[Prefix, ...] = ()) -> SimulatedNetwork:
    """arh1 of legacy-core.yaml with its router at up1, which takes everything; as2 and as3 are enrolled."""
    network = topology("legacy-core")
    uplinks = (replace(network.uplinks[0], routes=routes), *network.uplinks[1:])
    return build(replace(network, uplinks=uplinks), UP1)


def build(network: Network, uplink: Uplink) -> SimulatedNetwork:
    router = Host("r1", uplink.name, uplink.port, uplink.routers)
    net = SimulatedNetwork(replace(network, hosts=(*network.hosts, router)), web(network, "as2", "as3"))
    net.host("r1").on_packet = lambda frame, packet: ()
    return net


def datagrams(net: SimulatedNetwork, name: str) -> list[FlowKey]:
    """What a host has got, without the ICMP errors about what it has sent."""
    return [flow for flow in net.host(name).flows() if flow.protocol == UDP]


def send(net: SimulatedNetwork, destination: bytes, host: str = "h1", **options: Any) -> list[bytes]:
    """One UDP packet of a host → the UDP packets that the router gets of it."""
    before = len(net.host("r1").received)
    net.send(host, net.host(host).packet(destination, UDP, 4000, 53, **options))
    net.settle()
    return [frame for frame in net.host("r1").received[before:] if parse_ip(frame).key.protocol == UDP]


def teach(net: SimulatedNetwork, routes: dict[Prefix, Route]) -> None:
    net.set_learned("up1", routes)
    net.settle()


def serves(net: SimulatedNetwork, name: str) -> set[Prefix]:
    """The ANY/n that the switch has a rule for as a server edge."""
    services = {Prefix.host(address) for address in SERVICE.values()}
    rules = {rule.key for rule in net.switches[name].flows.values() if kind_of(rule.cookie) is Kind.SERVICE}
    return {service for service in services if entries.service(service, 0).key in rules}


def advertised(net: SimulatedNetwork, uplink: Uplink = UP1) -> set[str] | None:
    prefixes = net.controller.advertised(uplink, net.now)
    return None if prefixes is None else set(map(str, prefixes))


@pytest.mark.parametrize("way", ["static", "learned"])
def test_packets_leave_for_the_router_from_the_edges_mac_with_a_lower_ttl(v6, way):
    net = legacy(tuple(PREFIXES) if way == "static" else ())
    if way == "learned":
        assert send(net, FAR[v6]) == []
        teach(net, dict.fromkeys(PREFIXES, ROUTE))
    (frame,) = send(net, FAR[v6])
    assert (frame[:6], frame[6:12]) == (net.host("r1").mac, managed(net, "arh1").mac)
    assert parse_ip(frame).ttl == 63
    net.check_recompute_changes_nothing()


def test_the_longest_prefix_decides(v6):
    net = legacy((Prefix.parse("0.0.0.0/0"), Prefix.parse("::/0")))
    assert len(send(net, FAR[v6])) == 1
    dead = packed("2001:db8:9:1::7" if v6 else "10.9.1.3")  # on the link, but no host has it
    teach(net, {PREFIXES[v6]: ROUTE._replace(next_hop=dead)})
    assert len(send(net, FAR[v6])) == 1, "a route by a router that does not answer is none"
    teach(net, {PREFIXES[v6]: ROUTE})
    rules = net.switches["arh1"].flows.values()
    by_length = {rule.priority for rule in rules if kind_of(rule.cookie) is Kind.EGRESS_ROUTE}
    assert by_length == {200, 200 + PREFIXES[v6].length}


def test_a_withdrawn_route_is_removed(v6):
    net = legacy()
    teach(net, dict.fromkeys(PREFIXES, ROUTE))
    assert len(send(net, FAR[v6])) == 1
    teach(net, {})
    assert send(net, FAR[v6]) == []
    assert drops(net, "arh1")["no_route"] == 1


def test_routes_of_routers_do_not_attract_traffic_between_our_own_prefixes(v6):
    net = legacy()
    ours = ["10.1.0.0/24", "10.1.0.0/28", "203.0.113.0/24", "2001:db8:1::/64", "2001:db8:1::/80", "2001:db8:1:f::/64"]
    teach(net, {Prefix.parse(prefix): ROUTE for prefix in ours})
    assert managed(net, "arh1").egress.selected == {}
    assert send(net, net.host("h2").address(v6)) == []


def test_first_packets_to_any_leave_as_pr1x_by_the_learned_route(v6):
    net = legacy()
    teach(net, {Prefix.host(service): ROUTE for service in SERVICE.values()})
    (frame,) = send(net, SERVICE[v6])
    key = parse_ip(frame).key
    assert key.destination == SERVICE[v6]
    assert any(key.source in prefix for prefix in net.network.switch("arh1").client_edge.translation_prefixes)


def test_an_edge_announces_its_prefixes_and_any_only_while_it_can_serve():
    assert advertised(legacy()) == {"10.1.0.0/24", "203.0.113.0/24", "2001:db8:1::/64", "2001:db8:1:f::/64"}
    network = topology("legacy-core")
    up2 = network.uplinks[1]
    net = build(network, up2)
    assert advertised(net, up2) == {"10.2.0.0/24", "2001:db8:2::/64", "198.18.0.1/32", "2001:db8:a::1/128"}
    net.set_groups(web(net.network, "as3"))
    assert advertised(net, up2) == {"10.2.0.0/24", "2001:db8:2::/64"}


def test_an_edge_that_drains_serves_until_routers_have_switched_over(v6):
    """Its router knows another route, but others may still send here."""
    network = topology("legacy-core")
    net = build(network, network.uplinks[1])
    service = Prefix.host(SERVICE[v6])
    net.set_learned("up2", {service: ROUTE})
    net.settle()
    net.set_groups(web(network, "as2", "as3", draining=["as2"]))
    net.settle()
    assert service not in net.controller.advertised(network.uplinks[1], net.now)
    assert service in serves(net, "ars2")
    assert managed(net, "ars2").egress.selected == {}
    net.check_recompute_changes_nothing()
    net.advance(RETIRE_S)
    assert service not in serves(net, "ars2")
    assert list(managed(net, "ars2").egress.selected) == [service]
    net.check_recompute_changes_nothing()


def test_an_edge_that_drains_serves_on_behind_the_edge_that_faces_the_router(v6):
    """figure 1 with an uplink at arh1: packets that come in there go on to ars2 for a while."""
    figure1 = topology("figure1")
    net = build(replace(figure1, uplinks=(UP1,)), UP1)
    net.set_groups(web(figure1, "as2"))
    net.settle()
    assert Prefix.host(SERVICE[v6]) in net.controller.advertised(UP1, net.now)
    net.set_groups(web(figure1, "as2", draining=["as2"]))
    net.settle()
    assert Prefix.host(SERVICE[v6]) not in net.controller.advertised(UP1, net.now)
    for expected in (1, 0):
        net.host("as2").received.clear()
        key = FlowKey(FAR[v6], SERVICE[v6], UDP, 1, 2)
        net.send("r1", builders.ip_packet(key, eth_src=net.host("r1").mac, eth_dst=managed(net, "arh1").mac))
        net.settle()
        assert len(datagrams(net, "as2")) == expected
        net.advance(RETIRE_S)


@pytest.mark.parametrize("then", ["the other drains, too", "it is removed", "its port dies"])
def test_no_switch_sends_to_an_edge_that_serves_no_longer(v6, then):
    """It was to serve on for a while; the router knows another route, which counts as soon as it cannot."""
    figure1 = topology("figure1")
    net = build(replace(figure1, uplinks=(UP1,)), UP1)
    both = then == "the other drains, too"
    net.set_learned("up1", {Prefix.host(SERVICE[v6]): ROUTE})
    net.set_groups(web(figure1, "as2", "as3") if both else web(figure1, "as2"))
    net.advance(2)
    net.set_groups(web(figure1, *["as2", "as3"][: 1 + both], draining=["as2"]))
    net.advance(0.5)
    if both:
        net.set_groups(web(figure1, "as2", "as3", draining=["as2", "as3"]))
    elif then == "it is removed":
        net.set_groups(web(figure1))
    else:
        net.set_port(net.host("as2").port, False)
    net.settle()
    key = FlowKey(FAR[v6], SERVICE[v6], UDP, 1, 2)
    frame = builders.ip_packet(key, eth_src=b"\2" + bytes(5), eth_dst=b"\2" + bytes(5))
    before = len(datagrams(net, "r1")), len(datagrams(net, "as3"))
    for name in net.switches:
        net.carry_out(name, net.switches[name].receive(frame, OFPP_CONTROLLER, net.now))
    net.settle()
    after = len(datagrams(net, "r1")), len(datagrams(net, "as3"))
    assert sum(after) - sum(before) == len(net.switches)
    net.check_recompute_changes_nothing()


def test_an_edge_advertises_nothing_of_a_family_whose_router_does_not_answer():
    """The session runs over another path, and stays up."""
    net = legacy()
    net.set_port(Port("arh1", UP1.port), False)
    net.settle()
    assert advertised(net) is None, "it has only just begun: the router may be about to answer"
    net.advance(START_S)
    assert advertised(net) == set()
    net.set_port(Port("arh1", UP1.port), True)
    net.advance(5)
    assert {"10.1.0.0/24", "2001:db8:1::/64"} <= advertised(net)


def test_after_a_restart_nothing_is_advertised_until_all_of_the_fabric_is_back():
    """Routers would take back, with the end of what is advertised, what servers elsewhere in the fabric still serve."""
    figure1 = topology("figure1")
    net = build(replace(figure1, uplinks=(UP1,)), UP1)
    net.settle()
    before = advertised(net)
    assert "198.18.0.1/32" in before
    net.replace_controller()
    for name in ("arh1", "core", "ars2"):
        net.connect(name)
        net.settle()
        assert advertised(net) is None
    net.connect("ars3")
    net.advance(0.5)
    assert advertised(net) == before


def test_an_edge_whose_switch_is_gone_announces_nothing_after_a_while():
    net = legacy()
    dpid = net.network.switch("arh1").dpid
    net.controller.disconnected(dpid, net.now)
    assert advertised(net)
    net.advance(11)
    assert advertised(net) == set()


def test_a_new_controller_keeps_egress_routes_until_routers_have_had_time_to_advertise_theirs(v6):
    net = legacy()
    default = Prefix.parse("::/0" if v6 else "0.0.0.0/0")
    teach(net, dict.fromkeys([*PREFIXES, default], ROUTE))
    assert net.restart_controller() == []
    assert len(send(net, FAR[v6])) == 1
    teach(net, {default: ROUTE})
    net.advance(16)
    assert set(managed(net, "arh1").egress.selected) == {default}


def test_packets_with_forged_sources_do_not_enter_by_an_uplink(v6):
    net = legacy()
    client = net.host("h1").address(v6)
    translated = packed("2001:db8:1:f::9" if v6 else "203.0.113.9")
    for source, counter in ((client, "own_source"), (translated, "own_source"), (SERVICE[v6], "anycast_source")):
        before = drops(net, "arh1").get(counter, 0)
        key = FlowKey(source, net.host("h2").address(v6), UDP, 1, 2)
        net.send("r1", builders.ip_packet(key, eth_src=net.host("r1").mac, eth_dst=managed(net, "arh1").mac))
        net.settle()
        assert drops(net, "arh1")[counter] == before + 1
    assert net.host("h2").received == []


def test_other_switches_send_to_the_nearest_edge_with_an_uplink_to_the_prefix(v6):
    """figure 1 with an uplink at arh1: as2, two links away, reaches hosts behind the router."""
    figure1 = topology("figure1")
    uplink = replace(UP1, routes=(Prefix.parse("0.0.0.0/0"), Prefix.parse("::/0")))
    net = build(replace(figure1, uplinks=(uplink,)), uplink)
    assert len(send(net, FAR[v6], host="as2")) == 1
    assert "198.18.0.1/32" in (advertised(net) or ()), "the whole fabric is announced at its uplink"
    net.check_recompute_changes_nothing()


def test_when_the_fabric_has_it_again_an_egress_route_stays_until_the_others_have_switched_over(v6):
    """ANY leaves by an uplink at c1 of the ring; then as2 serves it, and returns to draining."""
    uplink = replace(UP1, edge="c1", port=77)
    ring = topology("ring")
    described = replace(ring, uplinks=(uplink,), hosts=(*ring.hosts, Host("r1", "up1", 77, uplink.routers)))
    net = SimulatedNetwork(described, web(ring), slowest_s=0.03)
    net.host("r1").on_packet = net.host("as2").on_packet = lambda frame, packet: ()
    net.set_learned("up1", {Prefix.host(SERVICE[v6]): ROUTE})
    net.advance(3)
    starts = ["c1", "c2", "c3", "c4", "c5", "c6"]
    key = FlowKey(FAR[v6], SERVICE[v6], UDP, 1, 2)
    frame = builders.ip_packet(key, eth_src=b"\2" + bytes(5), eth_dst=b"\2" + bytes(5))
    sent = 0
    for groups in (web(ring, "as2"), web(ring, "as2", draining=["as2"]), web(ring, "as2")):
        net.set_groups(groups)
        for _ in range(60):
            for start in starts:
                net.carry_out(start, net.switches[start].receive(frame, OFPP_CONTROLLER, net.now))
                sent += 1
            net.advance(0.002)
    net.settle()
    arrived = [net.host(name).received for name in ("r1", "as2")]
    assert all(len(received) > 100 for received in arrived)
    assert sum(parse_ip(one).key.protocol == UDP for received in arrived for one in received) == sent
    assert managed(net, "c1").egress.selected == {}


# ------------------------------------------------------------------------------ servers beyond the routers

EXACT = [Prefix.parse("10.2.0.0/24"), Prefix.parse("2001:db8:2::/64")]  # the subnet of as2
DEFAULT = [Prefix.parse("0.0.0.0/0"), Prefix.parse("::/0")]
SERVICES = [Prefix.parse("198.18.0.0/16"), Prefix.parse("2001:db8:a::/48")]


def as2_answers(net: SimulatedNetwork, v6: bool) -> State:
    """The state of h1's flow after a packet of h1 and a reply of as2."""
    send(net, SERVICE[v6])
    r1, reply = net.host("r1"), FlowKey(net.host("as2").address(v6), the_binding(net).translated, UDP, 53, 4000)
    net.send("r1", builders.ip_packet(reply, eth_src=r1.mac, eth_dst=managed(net, "arh1").mac))
    net.settle()
    return the_binding(net).state


@pytest.mark.parametrize("way", ["static", "learned"])
@pytest.mark.parametrize("prefixes", [DEFAULT, [*SERVICES, *EXACT]], ids=["default", "exact"])
def test_servers_beyond_routers_serve_whatever_prefix_the_route_to_them_has(v6, way, prefixes):
    net = legacy(tuple(prefixes) if way == "static" else ())
    net.advance(2 * LOST_AFTER_S)
    teach(net, dict.fromkeys(prefixes, ROUTE) if way == "learned" else {})
    net.advance(2 * LOST_AFTER_S)
    assert as2_answers(net, v6) is State.PINNED


def test_servers_beyond_routers_are_lost_with_the_last_route_that_covers_them(v6):
    net = legacy()
    for prefixes in ([*EXACT, *SERVICES], DEFAULT, [*EXACT, *SERVICES]):
        teach(net, dict.fromkeys(prefixes, ROUTE))
        net.advance(2 * LOST_AFTER_S)
        assert as2_answers(net, v6) is State.PINNED
    teach(net, dict.fromkeys(SERVICES, ROUTE))
    net.advance(2 * LOST_AFTER_S)
    assert the_binding(net).state is State.UNANSWERED
