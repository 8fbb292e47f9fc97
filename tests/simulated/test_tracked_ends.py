"""How flows end at a client edge inside the connection tracker (M19, M30, M32)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from scenes import SERVICE, ask, drops, managed, payloads, web

from anycast_sdn.control.outcome import Outcome
from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import ICMP, ICMPV6, TCP, UDP, Affinity
from anycast_sdn.core.roles import EngineName
from anycast_sdn.description.model import Port
from anycast_sdn.engines.edge_engine import tcp_flags
from anycast_sdn.openflow.frames import parse_ip
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import TCP_RST
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.simulation.tracker import Connection, Timeouts

GRE = 47
SHORT = {"udp_s": 4, "icmp_s": 2, "other_s": 3, "unanswered_s": 2}
LATE_S = 3.0  # from the end of a connection until its binding has ended: a second until it is asked for, and some more


@pytest.fixture
def tracked(build: Any) -> Any:
    def make(*hosts: str, **options: Any) -> SimulatedNetwork:
        validity = SHORT | options.pop("validity", {})
        net: SimulatedNetwork = build("figure1", *hosts, engines=(EngineName.CONNTRACK,), validity=validity, **options)
        conntrack = net.network.switches[0].client_edge.conntrack
        for zone in conntrack.zones:
            other = zone in (conntrack.zone_of(False, True), conntrack.zone_of(True, True))
            idle = SHORT["udp_s" if other else "other_s"]
            net.switches["arh1"].tracker.timeouts[zone] = Timeouts(
                udp_first=2, udp_single=2, udp_multiple=idle, icmp_first=2, icmp_reply=2, tcp_syn_sent=2
            )
        return net

    return make


def flows(net: SimulatedNetwork) -> list[Binding]:
    return list(managed(net, "arh1").engine.flows)


def connections(net: SimulatedNetwork) -> list[Connection]:
    role = next(switch.client_edge for switch in net.network.switches if switch.name == "arh1")
    assert role
    tracker = net.switches["arh1"].tracker
    return [each for zone in role.conntrack.zones for each in tracker.connections(zone, net.now)]


def resting(net: SimulatedNetwork) -> int:
    return sum(pool.resting for pool in managed(net, "arh1").engine.statistics(net.now).pools.values())


def stay_silent(frame: bytes, packet: object) -> tuple[()]:
    return ()


def send(net: SimulatedNetwork, protocol: int, v6: bool) -> None:
    ports = (40000, 53) if protocol in (TCP, UDP) else (0, 0)
    ask(net, service=SERVICE[v6], protocol=ICMPV6 if v6 and protocol == ICMP else protocol, port=ports[0],
        service_port=ports[1])  # fmt: skip


@pytest.mark.parametrize("protocol", [UDP, ICMP, GRE])
def test_an_idle_flow_ends_and_its_address_rests(tracked: Any, v6: bool, protocol: int) -> None:
    net = tracked("as2")
    send(net, protocol, v6)
    (flow,) = flows(net)
    assert flow.server is not None
    assert managed(net, "arh1").engine.statistics(net.now).rules == 0  # it is a connection
    net.advance(managed(net, "arh1").engine.validity_s(flow) + LATE_S)
    assert flows(net) == []
    assert resting(net) == 1


@pytest.mark.parametrize("protocol", [UDP, ICMP, GRE, TCP])
def test_an_unanswered_flow_ends_soon(tracked: Any, v6: bool, protocol: int) -> None:
    net = tracked("as2")
    net.host("as2").on_packet = stay_silent
    send(net, protocol, v6)
    assert len(flows(net)) == 1
    net.advance(SHORT["unanswered_s"] + LATE_S)
    assert flows(net) == []


@pytest.mark.parametrize("protocol", [UDP, ICMP, GRE])
def test_a_flow_in_use_stays_and_keeps_its_server(tracked: Any, v6: bool, protocol: int) -> None:
    net = tracked("as2")
    send(net, protocol, v6)
    before = flows(net)
    for _ in range(12):
        net.advance(1.0)
        send(net, protocol, v6)
    assert flows(net) == before
    assert len(connections(net)) == 1


def test_a_connection_that_was_asked_for_does_not_live_longer(tracked: Any, v6: bool) -> None:
    net = tracked("as2", validity=SHORT | {"udp_s": 2})
    send(net, UDP, v6)
    (before,) = connections(net)
    ends_at = before.ends_at
    net.advance(3.0)
    assert connections(net)[0].ends_at == ends_at
    assert len(flows(net)) == 1


def test_a_closed_connection_ends_within_seconds_although_the_tracker_waits_longer(tracked: Any, v6: bool) -> None:
    net = tracked("as2")
    send(net, TCP, v6)
    net.host("as2").on_packet = stay_silent
    (flow,) = flows(net)
    ask(net, service=SERVICE[v6], protocol=TCP, service_port=53, tcp_flags=0x11)
    host = net.host("as2")
    net.send("as2", host.packet(flow.translated, TCP, 53, 40000, tcp_flags=0x11))
    net.settle()
    net.advance(8)
    assert flows(net) == []
    assert connections(net) == []


def test_a_connection_that_was_reset_is_ended_in_the_tracker_too(tracked: Any, v6: bool) -> None:
    net = tracked("as2")
    send(net, TCP, v6)
    ask(net, service=SERVICE[v6], protocol=TCP, service_port=53, tcp_flags=0x04)
    net.advance(2)
    assert flows(net) == []
    assert connections(net) == []


def reply(net: SimulatedNetwork, flow: Binding, payload: bytes = b"late", port: int = 53, to: int = 40000) -> None:
    """A server sends a datagram to the client of a flow by itself."""
    net.send("as2", net.host("as2").packet(flow.translated, UDP, port, to, payload=payload))
    net.settle()


def forget_connections(net: SimulatedNetwork) -> None:
    """Its tracker ends all of them at once, as by a flush."""
    role = next(switch.client_edge for switch in net.network.switches if switch.name == "arh1")
    assert role
    tracker = net.switches["arh1"].tracker
    for zone in role.conntrack.zones:
        for each in tracker.connections(zone, net.now):
            tracker.end(zone, each.key, net.now)


def test_a_servers_packet_after_the_end_of_the_connection_still_arrives(tracked: Any, v6: bool) -> None:
    net = tracked("as2")
    send(net, UDP, v6)
    net.host("as2").on_packet = stay_silent
    (flow,) = flows(net)
    forget_connections(net)
    reply(net, flow)
    assert payloads(net.host("h1").received)[-1] == b"late"
    assert flows(net) == [flow]
    ask(net, service=SERVICE[v6], payload=b"thanks")
    assert payloads(net.host("as2").received)[-1] == b"thanks"
    assert len(connections(net)) == 1


def test_a_flow_whose_address_the_switch_cannot_use_yet_goes_on_with_another(
    tracked: Any, v6: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = tracked("as2", validity={"udp_s": 60, "other_s": 60})
    send(net, UDP, v6)
    (before,) = flows(net)
    monkeypatch.setattr(net.switches["arh1"].tracker, "expire", lambda now: None)
    net.advance(5)  # its connection has ended, and holds its ends until the tracker is swept
    send(net, UDP, v6)
    (after,) = flows(net)
    assert after.translated != before.translated
    assert after.server == before.server
    assert len(net.host("h1").received) == 2


def test_an_unknown_servers_packet_is_counted_as_with_rules(tracked: Any, v6: bool) -> None:
    net = tracked("as2")
    send(net, UDP, v6)
    (flow,) = flows(net)
    reply(net, flow, port=54)
    assert drops(net, "arh1") == {"stranger_reply": 1}


def of_the_service(net: SimulatedNetwork) -> int:
    """How many rules of single services and servers the client edge has."""
    kinds = (Kind.TRACK_OUT, Kind.TRACK_OUT_UDP, Kind.TRACKED_IN, Kind.TRACK_IN, Kind.MEMBER_REPLY)
    return sum(kind_of(rule.cookie) in kinds for rule in net.switches["arh1"].flows.values())


def test_flows_of_a_group_that_is_removed_go_on_until_they_end(tracked: Any, v6: bool) -> None:
    net = tracked("as2", "as3")
    send(net, UDP, v6)
    before = flows(net)
    net.set_groups(Groups())
    net.settle()
    for _ in range(3):
        net.advance(2)
        ask(net, service=SERVICE[v6], payload=b"again")
    assert flows(net) == before
    assert payloads(net.host("h1").received)[-1] == b"again"
    net.advance(SHORT["udp_s"] + LATE_S)
    assert flows(net) == []
    assert of_the_service(net) == 0


# ------------------------------------------------------------------------------ ends that are not idleness


def test_an_operators_end_leaves_no_connection(tracked: Any, v6: bool) -> None:
    net = tracked("as2")
    for protocol in (UDP, TCP, GRE):
        send(net, protocol, v6)
    for flow in flows(net):
        net.react(net.controller.end_flow("arh1", flow.number, net.now))
    net.settle()
    assert (flows(net), connections(net)) == ([], [])


def test_a_flow_that_loses_its_server_keeps_its_connection_and_goes_to_another(tracked: Any, v6: bool) -> None:
    net = tracked("as2", "as3", validity={"udp_s": 40, "icmp_s": 40})
    for zone in managed(net, "arh1").engine.zone_timeouts:
        net.switches["arh1"].tracker.timeouts[zone] = Timeouts(udp_multiple=40, icmp_reply=40)
    for protocol in (UDP, ICMP):
        send(net, protocol, v6)
    before = {flow.number: flow.translated for flow in flows(net)}
    net.set_port(Port("ars2", 1), False)
    net.advance(5)
    assert {flow.server for flow in flows(net)} == {None}
    asked = net.switches["arh1"].packets()[Kind.FIRST_PACKET]
    for protocol in (UDP, ICMP):
        send(net, protocol, v6)
    assert net.switches["arh1"].packets()[Kind.FIRST_PACKET] == asked  # the controller need not be asked
    assert {flow.number: flow.translated for flow in flows(net)} == before
    assert {flow.server for flow in flows(net)} == {net.host("as3").address(v6)}


def test_a_connection_that_loses_its_server_is_reset_at_its_next_packet(tracked: Any, v6: bool) -> None:
    net = tracked("as2", "as3")
    send(net, TCP, v6)
    net.set_port(Port("ars2", 1), False)
    net.advance(5)
    assert (flows(net), connections(net)) == ([], [])
    ask(net, service=SERVICE[v6], protocol=TCP, service_port=53, tcp_flags=0x10)
    last = net.host("h1").received[-1]
    assert tcp_flags(parse_ip(last), last) & TCP_RST


def test_a_client_that_is_bound_as_a_whole_lives_as_long_as_its_last_connection(tracked: Any, v6: bool) -> None:
    net = tracked("as2", validity={"other_s": 4})
    (group,) = web(net.network, "as2")
    net.set_groups(Groups({"web": replace(group, affinity=Affinity.CLIENT)}))
    net.settle()
    for port in range(500, 505):
        ask(net, service=SERVICE[v6], port=port)
    (flow,) = flows(net)
    assert flow.key.is_whole
    assert len(connections(net)) == 5
    net.advance(SHORT["udp_s"] - 1)
    reply(net, flow, payload=b"from another port", port=69)
    assert payloads(net.host("h1").received)[-1] == b"from another port"
    net.advance(2)
    assert flows(net) == [flow]
    net.advance(SHORT["udp_s"] + LATE_S)
    assert (flows(net), connections(net)) == ([], [])


def test_an_operators_end_of_a_whole_client_ends_all_its_connections(tracked: Any, v6: bool) -> None:
    net = tracked("as2", validity={"other_s": 4})
    (group,) = web(net.network, "as2")
    net.set_groups(Groups({"web": replace(group, affinity=Affinity.CLIENT)}))
    net.settle()
    for protocol in (UDP, TCP, GRE):
        send(net, protocol, v6)
    (flow,) = flows(net)
    reply(net, flow, port=69, to=7000)
    assert len(connections(net)) == 4
    net.react(net.controller.end_flow("arh1", flow.number, net.now))
    net.settle()
    assert (flows(net), connections(net)) == ([], [])


def test_a_group_that_comes_later_or_changes_its_affinity_has_its_rules_at_once(tracked: Any) -> None:
    net = tracked("as2")
    (group,) = web(net.network, "as2")
    for groups in (Groups(), Groups({"web": group}), Groups({"web": replace(group, affinity=Affinity.CLIENT)})):
        net.set_groups(groups)
        net.settle()
        net.check_recompute_changes_nothing()


@pytest.mark.parametrize("protocol", [UDP, ICMP])
def test_flows_that_a_new_controller_knows_end_too(tracked: Any, v6: bool, protocol: int) -> None:
    net = tracked("as2", validity={"icmp_s": 4})
    send(net, protocol, v6)
    net.restart_controller()
    net.advance(2)
    assert len(flows(net)) == 1
    net.advance(SHORT["udp_s"] + LATE_S)
    assert flows(net) == []


def test_echoes_of_several_programs_are_one_flow_with_a_connection_each(tracked: Any, v6: bool) -> None:
    net = tracked("as2", validity={"icmp_s": 4})
    protocol = ICMPV6 if v6 else ICMP
    for identifier in (7, 8):
        ask(net, service=SERVICE[v6], protocol=protocol, port=0, service_port=0, identifier=identifier)
    (flow,) = flows(net)
    assert len(connections(net)) == 2
    for _ in range(4):  # one of them goes on
        net.advance(1.5)
        ask(net, service=SERVICE[v6], protocol=protocol, port=0, service_port=0, identifier=8)
    assert (flows(net), len(connections(net))) == ([flow], 1)
    net.advance(4 + LATE_S)
    assert flows(net) == []


def test_an_answer_says_which_server_has_pinned_a_flow_if_the_copy_of_its_reply_was_lost(
    tracked: Any, v6: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = tracked("as2", "as3")
    monkeypatch.setattr(net.controller, "packet_in", _without(Kind.MEMBER_REPLY_UDP, net.controller.packet_in))
    send(net, UDP, v6)
    (flow,) = flows(net)
    assert flow.server is None
    net.advance(SHORT["unanswered_s"] + 1)
    (flow,) = flows(net)
    assert flow.server == net.host("as2").address(v6)


def _without(lost: Kind, packet_in: Callable[..., Outcome]) -> Callable[..., Outcome]:
    def some(dpid: int, cookie: int, *rest: Any) -> Outcome:
        return Outcome() if kind_of(cookie) is lost else packet_in(dpid, cookie, *rest)

    return some


def test_a_first_packet_whose_connection_cannot_begin_comes_back_and_its_flow_begins_anew(
    tracked: Any, v6: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ends of its connection are taken, by one that the controller does not know."""
    net = tracked("as2")
    ask(net, service=SERVICE[v6], port=39000)  # all that is watched is known now
    tracker, refused = net.switches["arh1"].tracker, list[object]()
    is_free = tracker._is_free

    def taken_once(*arguments: Any) -> Any:
        if not refused:
            refused.append(arguments)
            return False
        return is_free(*arguments)

    monkeypatch.setattr(tracker, "_is_free", taken_once)
    ask(net, service=SERVICE[v6])
    assert drops(net, "arh1") == {"looped": 1}
    assert len(connections(net)) == len(flows(net)) == 2
    assert len(net.host("h1").received) == 2
