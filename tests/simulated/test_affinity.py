"""A client that is bound as a whole (``affinity: client``): one binding for all that it sends to a service (M31)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from parts import data, parts_of
from scenes import (
    SERVICE,
    ask,
    bindings,
    both_engines,
    client_edge,
    drops,
    errors,
    managed,
    rules_alone,
    served_by,
    the_binding,
    web,
)

from anycast_sdn.core.bindings import NOT_KNOWN, Half, State
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import ICMP, ICMPV6, SCTP, TCP, UDP, WHOLE, Affinity, FlowKey
from anycast_sdn.core.roles import EngineName
from anycast_sdn.engines.edge_engine import COVER_ADDRESSES
from anycast_sdn.openflow.builders import Unreachable, unreachable
from anycast_sdn.openflow.frames import IcmpError, parse_icmp_error, parse_ip, source_of
from anycast_sdn.openflow.pipeline import BINDING_KINDS, cookie, cookies_of, kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import TCP_ACK, TCP_FIN
from anycast_sdn.simulation.host import SimulatedHost
from anycast_sdn.simulation.network import SimulatedNetwork

pytestmark = both_engines

GRE = 47
OF_WHOLE = {kind for (whole, _, _), kind in BINDING_KINDS.items() if whole}


def affine(net: SimulatedNetwork, *hosts: str, affinity: Affinity = Affinity.CLIENT) -> Groups:
    (group,) = web(net.network, *hosts)
    return Groups({"web": replace(group, affinity=affinity)})


def set_affinity(net: SimulatedNetwork, *hosts: str, affinity: Affinity = Affinity.CLIENT) -> None:
    net.set_groups(affine(net, *hosts, affinity=affinity))
    net.settle()


@pytest.fixture
def whole(build, engine):
    """Makes networks whose group web binds clients as a whole."""

    def make(*hosts, topology="figure1", **options):
        if engine is EngineName.CONNTRACK and "validity" in options:
            options["validity"]["udp_s"] = options["validity"]["other_s"]  # each connection has its protocol's
        net = build(topology, *hosts, **options)
        set_affinity(net, *hosts)
        return net

    return make


def rules(net: SimulatedNetwork, name: str = "arh1") -> list[Kind]:
    """Of bindings, on the switch."""
    kinds = (kind_of(rule.cookie) for rule in net.switches[name].flows.values())
    return sorted(kind for kind in kinds if kind in BINDING_KINDS.values())


def packet_ins(net: SimulatedNetwork) -> int:
    """How many packets of flows the client edge has sent up."""
    punting = (Kind.FIRST_PACKET, Kind.SYN, Kind.FIRST_REPLY, Kind.TCP_END, Kind.CLIENT_ERROR, Kind.ICMP_ERROR)
    return sum(net.switches["arh1"].packets()[kind] for kind in punting)


# ------------------------------------------------------------------------------ one binding


def test_flows_on_two_ports_go_to_one_server_with_one_address(whole, engine, v6):
    """As IKE does it: 500, then 4500."""
    net = whole("as3", "as4")
    for port in (500, 4500, 500, 4500):
        ask(net, service=SERVICE[v6], port=port, service_port=port)
    assert [len(hosts) for hosts in served_by(net, "as3", "as4").values()] == [1, 1]
    assert len(set.union(*served_by(net, "as3", "as4").values())) == 1
    h1 = net.host("h1")
    assert [key.source for key in h1.flows()] == [SERVICE[v6]] * 4
    binding = the_binding(net)
    assert binding.key == FlowKey(h1.address(v6), SERVICE[v6], WHOLE, 0, 0)
    if engine is EngineName.RULES:
        assert rules(net) == [Kind.WHOLE_OUT, Kind.WHOLE_IN]
        assert packet_ins(net) == 2, "the client's first packet, and the first reply"


def test_whatever_protocol_it_speaks_it_has_one_server(whole, engine, v6):
    net = whole("as3", "as4")
    for protocol in (UDP, TCP, SCTP, GRE, ICMPV6 if v6 else ICMP):
        for port in (1000, 1001) if protocol in (TCP, UDP, SCTP) else (0,):
            ask(net, service=SERVICE[v6], protocol=protocol, port=port, service_port=80 if port else 0)
    if engine is EngineName.RULES:
        assert packet_ins(net) == 2
    assert len(net.host("h1").received) == 8
    assert len(set.union(*served_by(net, "as3", "as4").values())) == 1


@rules_alone
def test_ends_of_tcp_connections_are_not_reported(whole, v6):
    net = whole("as2")
    for flags in (2, TCP_ACK, TCP_FIN | TCP_ACK):
        ask(net, service=SERVICE[v6], protocol=TCP, tcp_flags=flags)
    server, client = net.host("as2"), the_binding(net)
    net.send("as2", server.packet(client.translated, TCP, 53, 40000, tcp_flags=TCP_FIN | TCP_ACK))
    ask(net, service=SERVICE[v6], protocol=TCP, port=40001)
    net.advance(10)
    assert packet_ins(net) == 2
    assert the_binding(net) == client


def test_a_reply_from_another_port_reaches_the_client(whole, v6):
    """As TFTP does it."""
    net = whole("as2")
    as2 = net.host("as2")
    as2.on_packet = lambda frame, packet: [as2.packet(packet.key.source, UDP, 3456, packet.key.source_port)]
    for _ in range(2):
        ask(net, service=SERVICE[v6], service_port=69)
    h1 = net.host("h1")
    assert h1.flows() == [FlowKey(SERVICE[v6], h1.address(v6), UDP, 3456, 40000)] * 2


def test_what_the_server_begins_itself_reaches_the_client_as_if_from_the_service(whole, engine, v6):
    net = whole("as2")
    ask(net, service=SERVICE[v6])
    as2, pr1x = net.host("as2"), the_binding(net).translated
    h1 = net.host("h1")
    h1.received.clear()
    net.send("as2", as2.packet(pr1x, ICMPV6 if v6 else ICMP), as2.packet(pr1x, TCP, 20, 5000), as2.packet(pr1x, GRE))
    net.settle()
    assert {key.source for key in h1.flows()} == {SERVICE[v6]}
    assert [key.protocol for key in h1.flows()] == [ICMPV6 if v6 else ICMP, TCP, GRE]
    assert served_by(net, "as2"), "and the client's echo reply has reached the server"
    if engine is EngineName.RULES:
        assert packet_ins(net) == 2


def test_a_server_that_is_not_the_pinned_one_does_not_reach_the_client(whole, v6):
    net = whole("as3", "as4")
    ask(net, service=SERVICE[v6])
    binding = the_binding(net)
    (other,) = {"as3", "as4"} - set.union(*served_by(net, "as3", "as4").values())
    net.host("h1").received.clear()
    net.send(other, net.host(other).packet(binding.translated, UDP, 53, 40000))
    net.settle()
    assert net.host("h1").received == []
    assert drops(net, "arh1") == {"stranger_reply": 1}


def test_each_client_and_each_service_address_has_a_binding_of_its_own(whole, v6):
    net = whole("as2")
    for client in ("h1", "h2"):
        ask(net, client, SERVICE[v6])
        ask(net, client, SERVICE[v6], port=40001)
    assert len(bindings(net)) == 2
    assert len({binding.translated for binding in bindings(net)}) == 2


# ------------------------------------------------------------------------------ life


def test_it_ends_when_nothing_has_come_in_either_direction_for_its_validity(whole, v6):
    net = whole("as2", validity={"other_s": 20})
    ask(net, service=SERVICE[v6])
    for port in range(5):
        net.advance(15)
        ask(net, service=SERVICE[v6], port=port + 1)
    assert len(bindings(net)) == 1
    net.advance(25)
    assert bindings(net) == []
    assert rules(net) == []


def test_it_comes_back_with_its_address_and_server_while_the_address_rests(whole, v6):
    net = whole("as3", "as4", validity={"other_s": 20})
    ask(net, service=SERVICE[v6])
    before = the_binding(net)
    net.advance(30)
    assert bindings(net) == []
    ask(net, service=SERVICE[v6], protocol=GRE, port=0, service_port=0)  # another flow than the first
    after = the_binding(net)
    assert (after.key, after.translated, after.server) == (before.key, before.translated, before.server)


def test_a_reply_of_its_server_brings_it_back_too(whole, v6):
    net = whole("as2", validity={"other_s": 20})
    ask(net, service=SERVICE[v6])
    before = the_binding(net)
    net.advance(30)
    net.send("as2", net.host("as2").packet(before.translated, UDP, 7777, 7778))
    net.settle()
    assert the_binding(net).translated == before.translated
    assert net.host("h1").flows()[-1].source_port == 7777


@rules_alone
def test_a_direction_that_was_idle_is_installed_again_when_it_is_needed(whole, v6):
    net = whole("as2", validity={"other_s": 20})
    ask(net, service=SERVICE[v6])
    net.host("as2").on_packet = lambda frame, packet: ()
    for _ in range(5):
        net.advance(10)
        ask(net, service=SERVICE[v6])
    assert rules(net) == [Kind.WHOLE_OUT]
    net.send("as2", net.host("as2").packet(the_binding(net).translated, UDP, 1, 2))
    net.settle()
    assert rules(net) == [Kind.WHOLE_OUT, Kind.WHOLE_IN]


def test_a_restarted_controller_reads_it_from_the_switch(whole, engine, v6):
    net = whole("as3", "as4")
    ask(net, service=SERVICE[v6])
    before = the_binding(net)
    net.restart_controller()
    net.settle()
    after = the_binding(net)
    shown = before._replace(installed=Half.BOTH, choice=0, reply_s=NOT_KNOWN)
    assert after._replace(since=before.since) == shown
    before_ins = packet_ins(net)
    ask(net, service=SERVICE[v6], port=41000)
    if engine is EngineName.RULES:
        assert packet_ins(net) == before_ins


@rules_alone
def test_its_rules_are_put_right_when_somebody_deletes_or_edits_them(whole, v6):
    net = whole("as2")
    ask(net, service=SERVICE[v6])
    arh1 = net.switches["arh1"]
    ours = {key: rule for key, rule in arh1.flows.items() if kind_of(rule.cookie) in OF_WHOLE}
    assert len(ours) == 2
    net.delete_rules("arh1", ours)
    net.advance(1)
    assert {key: rule for key, rule in arh1.flows.items() if kind_of(rule.cookie) in OF_WHOLE} == ours
    for rule in ours.values():
        arh1.install_foreign(replace(rule, actions=()))
    net.advance(12)
    assert {key: rule for key, rule in arh1.flows.items() if kind_of(rule.cookie) in OF_WHOLE} == ours


@rules_alone
def test_rules_of_whole_clients_are_looked_at_and_swept_with_all_others():
    """Their rules have cookies of their own, which a look at a part of all bindings must include."""
    for half, state in ((Half.OUT, State.UNANSWERED), (Half.OUT, State.PINNED), (Half.IN, State.PINNED)):
        wanted, mask = cookies_of(half, 5, 4)
        for whole_client in (False, True):
            kind = BINDING_KINDS[whole_client, half, state]
            assert cookie(kind, 0x25) & mask == wanted & mask
            assert cookie(kind, 0x26) & mask != wanted & mask
    others = set(Kind) - set(BINDING_KINDS.values())
    for half in (Half.OUT, Half.IN):
        wanted, mask = cookies_of(half, 0, 0)
        assert not any(cookie(kind) & mask == wanted & mask for kind in others)


@rules_alone
def test_the_sweep_ends_it_where_rules_have_no_timeouts(whole, v6):
    net = whole("as2", idle_timeouts=0, validity={"other_s": 20})
    ask(net, service=SERVICE[v6])
    assert the_binding(net).swept
    net.advance(60)
    assert bindings(net) == []


# ------------------------------------------------------------------------------ affinity is changed


def test_a_client_with_flows_of_its_own_becomes_whole_when_they_have_ended(build, v6):
    net = build("figure1", "as2", validity={"udp_s": 20}, quarantine_s=5)
    ask(net, service=SERVICE[v6])
    set_affinity(net, "as2")
    ask(net, service=SERVICE[v6], port=40001)
    assert [binding.key.protocol for binding in bindings(net)] == [UDP, UDP]
    net.advance(40)
    assert bindings(net) == []
    ask(net, service=SERVICE[v6], port=40002)
    assert the_binding(net).key.is_whole


def test_a_whole_client_stays_that_until_its_end(whole, v6):
    net = whole("as2", validity={"other_s": 20}, quarantine_s=5)
    ask(net, service=SERVICE[v6])
    set_affinity(net, "as2", affinity=Affinity.FLOW)
    ask(net, service=SERVICE[v6], port=40001)
    assert the_binding(net).key.is_whole
    net.advance(40)
    ask(net, service=SERVICE[v6], port=40002)
    assert the_binding(net).key.protocol == UDP


def test_an_ended_whole_client_does_not_come_back_over_flows(whole, v6):
    """The rules of both would match the same packets."""
    net = whole("as2", validity={"other_s": 20})
    ask(net, service=SERVICE[v6])
    ended = the_binding(net)
    net.advance(30)
    set_affinity(net, "as2", affinity=Affinity.FLOW)
    ask(net, service=SERVICE[v6], protocol=TCP, port=40001)  # a SYN: nothing is remembered of it
    net.send("as2", net.host("as2").packet(ended.translated, UDP, 53, 40000))
    net.settle()
    assert [binding.key.protocol for binding in bindings(net)] == [TCP]


def test_an_ended_flow_does_not_come_back_under_a_whole_client(build, v6):
    net = build("figure1", "as2", validity={"udp_s": 20})
    ask(net, service=SERVICE[v6])
    ended = the_binding(net)
    net.advance(30)
    set_affinity(net, "as2")
    ask(net, service=SERVICE[v6], protocol=TCP, port=40001)
    assert the_binding(net).key.is_whole
    net.send("as2", net.host("as2").packet(ended.translated, UDP, 53, 40000))
    net.settle()
    assert the_binding(net).key.is_whole


@rules_alone
def test_the_rule_for_fragments_comes_and_goes_with_the_affinity(build, v6):
    net = build("figure1", "as3", "as4")

    def has_rule(switch):
        kinds = [kind_of(rule.cookie) for rule in net.switches[switch].flows.values()]
        return kinds.count(Kind.SERVICE_FRAGMENT)

    assert has_rule("ars3") == 0
    set_affinity(net, "as3", "as4")
    assert (has_rule("ars3"), has_rule("ars2")) == (2, 0)
    set_affinity(net, "as3", "as4", affinity=Affinity.FLOW)
    assert has_rule("ars3") == 0


# ------------------------------------------------------------------------------ fragments


@pytest.mark.parametrize("protocol", [UDP, "icmp", GRE])
def test_a_packet_in_fragments_arrives_at_one_server_also_as_the_very_first(whole, v6, protocol):
    protocol = (ICMPV6 if v6 else ICMP) if protocol == "icmp" else protocol
    net = whole("as3", "as4", "as2")
    for host in ("as2", "as3", "as4"):
        net.host(host).on_packet = lambda frame, packet: ()
    packet = net.host("h1").packet(SERVICE[v6], protocol, 5060, 5060, payload=bytes(range(64)))
    parts = parts_of(packet, v6)
    net.send("h1", *parts)
    net.settle()
    arrived = {host: net.host(host).received for host in ("as2", "as3", "as4") if net.host(host).received}
    ((host, frames),) = arrived.items()
    assert data(frames, v6)[8:] == data(parts, v6)[8:]  # in front of that are ports and checksum
    assert {source_of(frame) for frame in frames} == {the_binding(net).translated}


def test_a_reply_in_fragments_reaches_the_client(whole, v6):
    net = whole("as2")
    as2 = net.host("as2")

    def answer(frame, packet):
        return parts_of(as2.packet(packet.key.source, UDP, 53, 40000, payload=bytes(range(64))), v6)

    as2.on_packet = answer
    for _ in range(2):  # the first one pins
        net.host("h1").received.clear()
        ask(net, service=SERVICE[v6])
        frames = net.host("h1").received
        assert len(frames) == 3
        assert data(frames, v6)[8:] == (bytes(8) + bytes(range(64)))[8:]
        assert {source_of(frame) for frame in frames} == {SERVICE[v6]}


@rules_alone
def test_fragments_that_the_switch_would_spoil_are_dropped_and_counted(whole):
    net = whole("as2", switch={"fragments": False})
    ask(net)
    net.host("as2").on_packet = lambda frame, packet: ()
    net.host("as2").received.clear()
    parts = parts_of(net.host("h1").packet(SERVICE[False], UDP, 1, 2, payload=bytes(64)), False)
    net.send("h1", *parts)
    net.settle()
    assert len(net.host("as2").received) == 1
    assert drops(net, "arh1") == {"spoiled_fragment": 2}
    as2, pr1x = net.host("as2"), the_binding(net).translated
    net.send("as2", *parts_of(as2.packet(pr1x, UDP, 2, 1, payload=bytes(64)), False))
    net.settle()
    assert drops(net, "arh1") == {"spoiled_fragment": 4}


def test_other_fragments_pass_there_all_the_same(whole, v6):
    net = whole("as2", switch={"fragments": False})
    ask(net, service=SERVICE[v6])
    net.host("as2").on_packet = lambda frame, packet: ()
    net.host("as2").received.clear()
    protocols = (UDP, TCP, ICMPV6, GRE) if v6 else (ICMP, GRE)
    for protocol in protocols:
        net.send("h1", *parts_of(net.host("h1").packet(SERVICE[v6], protocol, 1, 2, payload=bytes(64)), v6))
    net.settle()
    assert len(net.host("as2").received) == 3 * len(protocols)
    assert drops(net, "arh1") == {}


@rules_alone
def test_where_the_switch_cannot_tell_fragments_nothing_else_changes(whole, v6):
    net = whole("as2", switch={"fragment_flags": False, "fin_timeout": False, "packet_size": False})
    for port in (500, 4500):
        ask(net, service=SERVICE[v6], port=port)
    assert packet_ins(net) == 2
    assert len(net.host("h1").received) == 2


@rules_alone
def test_the_fragments_of_other_groups_are_still_refused(build, v6):
    net = build("figure1", "as2")
    parts = parts_of(net.host("h1").packet(SERVICE[v6], UDP, 1, 2, payload=bytes(64)), v6)
    net.send("h1", *parts)
    net.settle()
    assert drops(net, "arh1") == {"bad_frame: fragment": 3}
    assert errors(net.host("h1")) == [(1, 1) if v6 else (3, 13)]


# ------------------------------------------------------------------------------ ICMP errors, and what is refused


def test_a_servers_error_is_translated_with_what_it_quotes(whole, v6):
    net = whole("as2")
    as2, h1 = net.host("as2"), net.host("h1")
    ask(net, service=SERVICE[v6])
    as2.on_packet = lambda frame, packet: [error_about(as2, frame)]
    ask(net, service=SERVICE[v6], port=40009)
    (error,) = quoting(h1)
    assert error.source == SERVICE[v6]
    assert error.quoted == FlowKey(h1.address(v6), SERVICE[v6], UDP, 40009, 53)


def test_a_clients_error_is_translated_with_what_it_quotes(whole, v6):
    net = whole("as2")
    as2, h1 = net.host("as2"), net.host("h1")
    ask(net, service=SERVICE[v6])
    h1.on_packet = lambda frame, packet: [error_about(h1, frame)]
    pr1x = the_binding(net).translated
    net.send("as2", as2.packet(pr1x, UDP, 4444, 5555))
    net.settle()
    (error,) = quoting(as2)
    assert (error.source, error.destination) == (pr1x, as2.address(v6))
    assert error.quoted == FlowKey(as2.address(v6), pr1x, UDP, 4444, 5555)


def error_about(host: SimulatedHost, frame: bytes) -> bytes:
    error = unreachable(frame, host.mac, parse_ip(frame).key.destination, Unreachable.PORT)
    assert error is not None
    return error


def quoting(host: SimulatedHost) -> list[IcmpError]:
    return [parse_icmp_error(frame) for frame in host.received if parse_ip(frame).is_icmp_error]


@pytest.mark.parametrize("icmp_type", [13, 15])
def test_icmp_that_is_no_echo_and_no_error_is_carried(whole, icmp_type):
    net = whole("as2")
    ask(net, protocol=ICMP, port=0, service_port=0, icmp_type=icmp_type)
    assert the_binding(net).key.is_whole
    assert len(net.host("as2").received) == 1


@pytest.mark.parametrize("protocol", COVER_ADDRESSES)
def test_a_protocol_whose_checksum_nobody_corrects_binds_nothing(whole, v6, protocol):
    if v6 and protocol == 51:
        pytest.skip("in IPv6 an extension header: what is behind it counts")
    net = whole("as2")
    ask(net, service=SERVICE[v6], protocol=protocol, payload=bytes(20))
    assert bindings(net) == []
    assert drops(net, "arh1") == {"unsupported_protocol": 1}


def test_state_is_that_of_any_binding(whole, engine, v6):
    net = whole("as2")
    net.host("as2").on_packet = lambda frame, packet: ()
    ask(net, service=SERVICE[v6])
    assert the_binding(net).state is State.UNANSWERED
    if engine is EngineName.RULES:
        assert rules(net) == [Kind.WHOLE_OUT_UNANSWERED]
    assert client_edge(net).validity_s(the_binding(net)) == client_edge(net).role.validity.unanswered_s
    assert managed(net, "arh1").engine.flows.of_client(net.host("h1").address(v6)) == 1
