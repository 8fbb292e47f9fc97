"""A client edge inside the connection tracker: controller or switch restart, or the engine is another one (M20)."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import pytest
from scenes import SECOND_SERVICE, SERVICE, ask, group, managed, network, payloads
from tracked_flows import as_known, codes, flows, serve_all

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.kept_flows import KeptFlow
from anycast_sdn.core.model import ICMP, TCP, UDP, Affinity, FlowKey
from anycast_sdn.core.roles import EngineName
from anycast_sdn.description.model import Network
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.frames import parse_ip
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import TCP_ACK, TCP_FIN, TCP_RST, EndConnection
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.simulation.tracker import Timeouts

BOTH = (EngineName.CONNTRACK, EngineName.RULES)


def busy(*engines: EngineName) -> SimulatedNetwork:
    """Flows of TCP and UDP in both families, that as2 has answered."""
    net = network("figure1", "as2", engines=engines or (EngineName.CONNTRACK,))
    for v6 in (False, True):
        ask(net, service=SERVICE[v6])
        ask(net, "h2", SERVICE[v6], protocol=TCP, service_port=80)
    assert all(flow.server for flow in flows(net))
    return net


def with_engines(described: Network, *engines: EngineName) -> Network:
    switches = [
        replace(switch, client_edge=switch.client_edge and replace(switch.client_edge, engines=engines))
        for switch in described.switches
    ]
    return replace(described, switches=tuple(switches))


def test_connections_are_put_back_when_a_switch_has_lost_them() -> None:
    net = busy()
    known = flows(net)
    net.kill("arh1")
    net.connect("arh1")
    net.settle()
    serve_all(net, known)
    net.check_recompute_changes_nothing()


def test_nothing_is_sent_about_connections_when_a_switch_only_connects_again() -> None:
    net = busy()
    net.disconnect("arh1")
    assert net.connect("arh1") == []


@pytest.mark.parametrize("first", [True, False], ids=["from rules", "to rules"])
def test_flows_move_when_another_engine_takes_them_over(first: bool) -> None:
    net = network("figure1", "as2", engines=BOTH)
    for has_tracker in (not first, first):
        known = flows(net)
        net.disconnect("arh1")
        net.channels.features = replace(net.channels.features, connections=has_tracker)
        net.connect("arh1")
        net.settle()
        serve_all(net, known)
        for v6 in (False, True):
            ask(net, service=SERVICE[v6])
            ask(net, "h2", SERVICE[v6], protocol=TCP, service_port=80)
    net.check_recompute_changes_nothing()


def test_a_controller_that_uses_the_tracker_takes_over_flows_that_rules_have() -> None:
    net = busy(EngineName.RULES)
    known = flows(net)
    net.network = with_engines(net.network, *BOTH)
    net.restart_controller()
    net.settle()
    serve_all(net, [flow._replace(since=again.since) for flow, again in zip(known, flows(net), strict=True)])
    net.check_recompute_changes_nothing()


def test_services_keep_their_codes_when_the_controller_restarts() -> None:
    net = network("figure1", "as2", engines=(EngineName.CONNTRACK,))
    both = {"web": net.controller.groups.get("web"), "other": group(net.network, "other", SECOND_SERVICE, "as3")}
    net.set_groups(Groups(both))
    net.settle()
    before = codes(net)
    assert len(set(before.values())) == 4 // 2
    net.restart_controller()
    net.settle()
    assert codes(net) == before
    net.check_recompute_changes_nothing()


def test_a_restarted_controller_knows_the_flows_that_the_tracker_has() -> None:
    net = busy()
    known = flows(net)
    used = managed(net, "arh1").engine.flows.of_port(1, False)
    net.restart_controller()
    net.settle()
    assert list(map(as_known, flows(net))) == list(map(as_known, known))
    assert managed(net, "arh1").engine.flows.of_port(1, False) == used
    net.advance(5)
    assert list(map(as_known, flows(net))) == list(map(as_known, known))
    serve_all(net, flows(net))
    net.check_recompute_changes_nothing()


def test_flows_that_ended_while_no_controller_was_there_are_found_to_be_gone() -> None:
    net = busy()
    (lost, *others) = flows(net)
    net.replace_controller()
    tracker, role = net.switches["arh1"].tracker, managed(net, "arh1").described.client_edge
    for zone in role.conntrack.zones if role else ():
        for connection in tracker.connections(zone, net.now):
            if connection.reply.destination == lost.translated:
                tracker.end(zone, connection.key, net.now)
    for name in net.switches:
        net.connect(name)
    net.advance(3)
    assert list(map(as_known, flows(net))) == list(map(as_known, others))


@pytest.mark.parametrize("sides", [("h2", "as2"), ("h2",), ("as2",)], ids=["both", "the client", "the server"])
def test_a_connection_that_closed_while_no_controller_was_there_ends_soon(sides: tuple[str, ...]) -> None:
    """The tracker has it still when the controller is back, and does not tell it from one that is open.

    ``sides``: which close it meanwhile; the other one does so when the controller is back.
    """
    net = busy()
    for zone in managed(net, "arh1").engine.zone_timeouts:
        net.switches["arh1"].tracker.timeouts[zone] = Timeouts(tcp_fin_wait=240, tcp_time_wait=5, tcp_close=5)
    ended = [flow for flow in flows(net) if flow.key.protocol == TCP]
    others = [flow for flow in flows(net) if flow not in ended]
    net.replace_controller()
    for flow in ended:
        close(net, flow, *sides)
    for name in net.switches:
        net.connect(name)
    net.settle()
    assert len(flows(net)) == len(ended) + len(others)
    for flow in ended:
        close(net, flow, *({"h2", "as2"} - set(sides)))
    net.advance(10 if len(sides) == 2 else 40)
    assert list(map(as_known, flows(net))) == list(map(as_known, others))


def close(net: SimulatedNetwork, flow: Binding, *sides: str) -> None:
    """FIN from each of these hosts."""
    _, _, protocol, here, there = flow.key
    for side in sides:
        to, ports = (flow.key.destination, (here, there)) if side == "h2" else (flow.translated, (there, here))
        net.send(side, net.host(side).packet(to, protocol, *ports, tcp_flags=TCP_ACK | TCP_FIN))
        net.settle()


def test_a_connection_that_is_open_is_asked_for_less_and_less_often_after_a_restart() -> None:
    net = network("figure1", "as2", engines=(EngineName.CONNTRACK,))
    ask(net, "h2", protocol=TCP, service_port=80)
    known = flows(net)
    serve_all(net, known)  # now it is open for the tracker, too
    net.restart_controller()
    asked = []
    for seconds in (29, 100, 390, 600):
        before = net.switches["arh1"].packets()[Kind.CONNECTION_FOUND]
        net.advance(seconds)
        asked.append(net.switches["arh1"].packets()[Kind.CONNECTION_FOUND] - before)
    assert asked == [2, 2, 1, 0]
    assert list(map(as_known, flows(net))) == list(map(as_known, known))


def test_new_flows_get_no_address_of_flows_from_before() -> None:
    net = busy()
    before = {flow.translated for flow in flows(net)}
    net.restart_controller()
    for port in range(41000, 41040):
        ask(net, port=port)
    new = [flow.translated for flow in flows(net)][len(before) :]
    assert len(new) == 40
    assert not before & set(new)


def test_connections_are_put_back_when_controller_and_switch_have_lost_them_at_once() -> None:
    net = busy()
    known = flows(net)
    net.kill("arh1")
    net.restart_controller()
    net.settle()
    serve_all(net, [flow._replace(since=again.since) for flow, again in zip(known, flows(net), strict=True)])


def test_flows_go_on_by_rules_when_the_controller_is_started_with_these() -> None:
    net = busy()
    known = flows(net)
    net.network = with_engines(net.network, EngineName.RULES)
    net.restart_controller()
    net.settle()
    assert flows(net) == []  # rules say so; but they are remembered, and their next packets have the same PR1X
    for flow in known:
        client = "h1" if flow.key.protocol == UDP else "h2"
        ask(net, client, flow.key.destination, flow.key.source_port, flow.key.protocol, flow.key.destination_port,
            tcp_flags=TCP_ACK)  # fmt: skip
        again = flows(net)[-1]
        assert (again.key, again.translated, again.server) == (flow.key, flow.translated, flow.server)
    net.check_recompute_changes_nothing()


def several(net: SimulatedNetwork) -> list[Binding]:
    """An echo of h1, and all that h2 sends, as one flow: with several connections."""
    ask(net, protocol=ICMP, port=0, service_port=0)
    web = net.controller.groups.get("web")
    assert web
    net.set_groups(Groups({"web": replace(web, affinity=Affinity.CLIENT)}))
    net.settle()
    for port in (41000, 41001):
        ask(net, "h2", port=port)
    ask(net, "h2", protocol=TCP, service_port=80)
    assert all(flow.server for flow in flows(net))
    return flows(net)


def news(net: SimulatedNetwork, whole: Binding) -> list[int]:
    """The server sends something to all ports of h2 → at which of them that has arrived."""
    before = len(net.host("h2").received)
    for protocol, ports in ((UDP, (53, 41000)), (UDP, (53, 41001)), (TCP, (80, 40000))):
        net.send("as2", net.host("as2").packet(whole.translated, protocol, *ports, tcp_flags=TCP_ACK))
        net.settle()
    return [parse_ip(frame).key.destination_port for frame in net.host("h2").received[before:]]


@pytest.mark.parametrize("restart", ["controller", "switch", "both"])
def test_flows_with_several_connections_go_on_after_a_restart(restart: str) -> None:
    net = network("figure1", "as2", engines=(EngineName.CONNTRACK,), validity={"icmp_s": 4})
    echo, whole = several(net)
    if restart != "controller":
        net.kill("arh1")
    if restart == "switch":
        net.connect("arh1")
    else:
        net.restart_controller()
    net.settle()
    assert list(map(as_known, flows(net))) == [as_known(echo), as_known(whole)]
    assert news(net, whole) == [41000, 41001, 40000]
    net.advance(40)  # the tracker has forgotten the echo, and is asked for it
    assert echo.number not in [flow.number for flow in flows(net)]


def test_a_flow_without_connections_ends_when_the_controller_is_back() -> None:
    net = network("figure1", "as2", engines=(EngineName.CONNTRACK,), validity={"icmp_s": 4})
    several(net)
    kept = [KeptFlow.of(flow, 0.0) for flow in flows(net)]
    net.channels.replace_controller(type(net.controller)(net.network, net.controller.groups, random.Random(1)))
    net.controller.remember("arh1", kept, 0.0, net.now)
    for name in net.switches:
        net.connect(name)
    net.settle()
    assert flows(net) == []


@pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])
def test_a_flow_whose_address_and_ports_another_client_has_since_is_not_taken_for_that(v6: bool) -> None:
    net = network("figure1", "as2", engines=(EngineName.CONNTRACK,))
    ask(net, service=SERVICE[v6])
    (now,) = flows(net)
    former = now._replace(key=now.key._replace(source=net.host("h2").address(v6)))
    net.channels.replace_controller(type(net.controller)(net.network, net.controller.groups, random.Random(1)))
    net.controller.remember("arh1", [KeptFlow.of(former, 0.0)], 0.0, net.now)
    for name in net.switches:
        net.connect(name)
    net.advance(3)
    assert flows(net) == []
    before = len(net.host("h1").received)
    net.send("as2", net.host("as2").packet(now.translated, UDP, 53, now.key.source_port, payload=b"news"))
    net.settle()
    assert payloads(net.host("h1").received[before:], 8) == [b"news"]  # the other client's goes on


def test_tcp_is_put_back_once_more_with_the_numbers_of_its_clients_next_segment() -> None:
    net = busy()
    net.kill("arh1")
    net.connect("arh1")
    net.settle()
    flow = next(flow for flow in flows(net) if flow.key.protocol == TCP and len(flow.translated) == 4)
    assert flow.server
    key = FlowKey(flow.translated, flow.server, *flow.key[2:])
    segment = builders.ip_packet(
        key, eth_src=bytes(6), eth_dst=bytes(6), tcp_flags=TCP_ACK, payload=b"four", sequence=0xFFFFFFFE,
        acknowledged=7,
    )  # fmt: skip
    reset = builders.ip_packet(key, eth_src=bytes(6), eth_dst=bytes(6), tcp_flags=TCP_RST, sequence=9)
    sent = []
    for frame in (reset, segment, segment):
        handle = managed(net, "arh1").engine.packet_handlers[Kind.OTHER_NUMBERS]
        sent.append(handle(1, frame, net.controller.groups, net.now).messages)
    first, (end, *put_back), again = sent
    assert (first, again) == ([], [])
    assert isinstance(end, EndConnection)
    numbers = [struct.unpack_from("!II", each.frame, parse_ip(each.frame).l4 + 4) for each in put_back]
    assert numbers == [(2, 7), (7, 2), (2, 7)]
