"""Packets in fragments at a client edge inside the connection tracker, and at the server edges behind it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from parts import data, parts_of
from scenes import SERVICE, ask, drops, managed, web

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import ICMP, ICMPV6, TCP, UDP, Affinity
from anycast_sdn.core.roles import FRAGMENT_ZONES, Allocation, Conntrack, EngineName
from anycast_sdn.openflow.frames import destination_of, source_of
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.simulation.tracker import Timeouts

GRE = 47
PAYLOAD = bytes(range(64))


@pytest.fixture(params=[False, True], ids=["kernel", "userspace"])
def spoils(request: pytest.FixtureRequest) -> bool:
    """Would the switch spoil fragments of UDP over IPv4?"""
    return bool(request.param)


@pytest.fixture
def tracked(build: Any, spoils: bool) -> Any:
    def make(*hosts: str, **settings: Any) -> SimulatedNetwork:
        changes = {"conntrack": Conntrack(**settings)} if settings else {}
        return build("figure1", *hosts, engines=(EngineName.CONNTRACK,), switch={"fragments": not spoils}, **changes)

    return make


def silence(net: SimulatedNetwork, *hosts: str) -> None:
    for host in hosts:
        net.host(host).on_packet = lambda frame, packet: ()


def send(net: SimulatedNetwork, v6: bool, protocol: int = UDP, port: int = 40000) -> bytes:
    """A client's packet in three parts → what IP carries in it."""
    ports = (port, 53) if protocol == UDP else (0, 0)
    parts = parts_of(net.host("h1").packet(SERVICE[v6], protocol, *ports, payload=PAYLOAD), v6)
    net.send("h1", *parts)
    net.settle()
    return data(parts, v6)


def arrived(net: SimulatedNetwork, *hosts: str) -> dict[str, list[bytes]]:
    """What each host has got since the last time, without those that got nothing."""
    got = {host: list(net.host(host).received) for host in hosts if net.host(host).received}
    for host in hosts:
        net.host(host).received.clear()
    return got


def the_flow(net: SimulatedNetwork) -> Binding:
    (flow,) = managed(net, "arh1").engine.flows
    return flow


def connections(net: SimulatedNetwork) -> int:
    role = next(switch.client_edge for switch in net.network.switches if switch.name == "arh1")
    assert role
    tracker = net.switches["arh1"].tracker
    return sum(len(tracker.connections(zone, net.now)) for zone in (*role.conntrack.zones, *FRAGMENT_ZONES))


@pytest.mark.parametrize("allocation", Allocation)
@pytest.mark.parametrize("protocol", [UDP, ICMP, GRE])
def test_a_first_packet_in_fragments_arrives_at_one_server(
    tracked: Any, v6: bool, protocol: int, allocation: Allocation
) -> None:
    net = tracked("as2", "as3", "as4", allocation=allocation)
    silence(net, "as2", "as3", "as4")
    protocol = ICMPV6 if v6 and protocol == ICMP else protocol
    for _ in range(2):  # the second one meets the connections
        sent = send(net, v6, protocol)
        ((_, frames),) = arrived(net, "as2", "as3", "as4").items()
        (flow,) = managed(net, "arh1").engine.flows
        assert data(frames, v6)[8:] == sent[8:]  # in front of that are ports and checksum
        assert {source_of(frame) for frame in frames} == {flow.translated}
    assert drops(net, "arh1") == {}


def test_a_reply_in_fragments_pins_its_flow_and_later_fragments_go_to_that_server(tracked: Any, v6: bool) -> None:
    net = tracked("as2", "as3", "as4")
    silence(net, "as2", "as3", "as4")
    ask(net, service=SERVICE[v6])
    ((first, _),) = arrived(net, "as2", "as3", "as4").items()
    other = next(host for host in ("as2", "as3", "as4") if host != first)
    (flow,) = managed(net, "arh1").engine.flows
    server = net.host(other)
    for _ in range(2):
        net.host("h1").received.clear()
        net.send(other, *parts_of(server.packet(flow.translated, UDP, 53, 40000, payload=PAYLOAD), v6))
        net.settle()
        frames = net.host("h1").received
        assert data(frames, v6)[8:] == PAYLOAD
        assert {source_of(frame) for frame in frames} == {SERVICE[v6]}
    (flow,) = managed(net, "arh1").engine.flows
    assert flow.server is not None
    send(net, v6)
    ask(net, service=SERVICE[v6])
    ((got_it, frames),) = arrived(net, "as2", "as3", "as4").items()
    assert got_it == other
    assert [destination_of(frame) for frame in frames] == 4 * [flow.server]


def test_a_whole_reply_pins_a_flow_that_began_in_fragments(tracked: Any, v6: bool) -> None:
    net = tracked("as3", "as4")
    silence(net, "as3", "as4")
    send(net, v6)
    ((first, _),) = arrived(net, "as3", "as4").items()
    other = "as4" if first == "as3" else "as3"
    (flow,) = managed(net, "arh1").engine.flows
    net.send(other, net.host(other).packet(flow.translated, UDP, 53, 40000))
    net.settle()
    assert net.host("h1").received
    send(net, v6)
    assert list(arrived(net, "as3", "as4")) == [other]


def test_fragments_of_another_server_are_dropped(tracked: Any, v6: bool) -> None:
    net = tracked("as3", "as4")
    ask(net, service=SERVICE[v6])
    (flow,) = managed(net, "arh1").engine.flows
    other = next(host for host in ("as3", "as4") if flow.server not in net.host(host).addresses)
    net.host("h1").received.clear()
    net.send(other, *parts_of(net.host(other).packet(flow.translated, UDP, 53, 40000, payload=PAYLOAD), v6))
    net.settle()
    assert net.host("h1").received == []


def test_nothing_is_left_of_a_flow_that_has_ended(tracked: Any, v6: bool) -> None:
    net = tracked("as2")
    send(net, v6)
    as2 = net.host("as2")
    (flow,) = managed(net, "arh1").engine.flows
    net.send("as2", *parts_of(as2.packet(flow.translated, UDP, 53, 40000, payload=PAYLOAD), v6))
    net.settle()
    assert connections(net)
    net.react(net.controller.end_flow("arh1", flow.number, net.now))
    net.settle()
    assert connections(net) == 0


def test_connections_for_fragments_last_as_long_as_their_flow(tracked: Any, v6: bool) -> None:
    """Their own end would keep others from beginning, for some seconds."""
    net = tracked("as2")
    role = next(switch.client_edge for switch in net.network.switches if switch.name == "arh1")
    assert role
    for zone in role.conntrack.zones:
        net.switches["arh1"].tracker.timeouts[zone] = Timeouts(udp_multiple=role.validity.udp_s)
    as2, size = net.host("as2"), len(PAYLOAD)
    as2.on_packet = lambda frame, packet: parts_of(as2.packet(source_of(frame), UDP, 53, 40000, payload=PAYLOAD), v6)
    for _ in range(12):  # every minute, but fragments only at the beginning and at the end
        ask(net, service=SERVICE[v6])
        as2.on_packet = lambda frame, packet: [as2.packet(source_of(frame), UDP, 53, 40000)]
        net.advance(60)
    net.host("h1").received.clear()
    asked = connections(net)
    net.send("as2", *parts_of(as2.packet(the_flow(net).translated, UDP, 53, 40000, payload=PAYLOAD), v6))
    net.settle()
    assert len(data(net.host("h1").received, v6)) == 8 + size
    assert connections(net) == asked


def test_a_packet_of_which_a_part_is_missing_goes_nowhere(tracked: Any, v6: bool) -> None:
    net = tracked("as2")
    parts = parts_of(net.host("h1").packet(SERVICE[v6], UDP, 40000, 53, payload=PAYLOAD), v6)
    net.send("h1", parts[0], parts[2])
    net.settle()
    assert net.host("as2").received == []
    assert not list(managed(net, "arh1").engine.flows)


@pytest.mark.parametrize("protocol", [UDP, ICMP])
def test_fragments_of_a_wrong_packet_are_dropped_and_counted_and_bind_nothing(
    tracked: Any, v6: bool, protocol: int
) -> None:
    net = tracked("as2")
    protocol = ICMPV6 if v6 and protocol == ICMP else protocol
    ports = (40000, 53) if protocol == UDP else (0, 0)
    *parts, last = parts_of(net.host("h1").packet(SERVICE[v6], protocol, *ports, payload=PAYLOAD), v6)
    net.send("h1", *parts, last[:-2] + b"??")
    net.settle()
    assert drops(net, "arh1") == {"bad_fragment_out": 3}
    assert not list(managed(net, "arh1").engine.flows)


def test_fragments_of_tcp_are_dropped_and_counted_where_they_would_be_spoiled(tracked: Any, spoils: bool) -> None:
    net = tracked("as2")
    net.send("h1", *parts_of(net.host("h1").packet(SERVICE[False], TCP, 40000, 80, payload=PAYLOAD), False))
    net.settle()
    assert drops(net, "arh1") == ({"spoiled_fragment": 2} if spoils else {})


def test_fragments_of_a_client_that_is_bound_as_a_whole(tracked: Any, v6: bool) -> None:
    net = tracked("as3", "as4")
    (group,) = web(net.network, "as3", "as4")
    net.set_groups(Groups({"web": replace(group, affinity=Affinity.CLIENT)}))
    net.advance(2)
    silence(net, "as3", "as4")
    ask(net, service=SERVICE[v6])
    ((host, _),) = arrived(net, "as3", "as4").items()
    (flow,) = managed(net, "arh1").engine.flows
    net.send(host, net.host(host).packet(flow.translated, UDP, 53, 40000))
    net.settle()
    for port in (40001, 40002):
        send(net, v6, port=port)
        assert [len(frames) for frames in arrived(net, host).values()] == [3]
    (flow,) = managed(net, "arh1").engine.flows
    assert flow.key.is_whole
    net.react(net.controller.end_flow("arh1", flow.number, net.now))
    net.settle()
    assert connections(net) == 0
