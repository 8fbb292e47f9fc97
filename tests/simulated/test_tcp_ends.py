"""TCP connections that close, are reset, and begin again with the same five fields (M19, M20)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scenes import (
    SERVICE,
    ask,
    bindings,
    both_engines,
    client_edge,
    drops,
    payloads,
    rules_alone,
    the_binding,
    topology,
    web,
)

from anycast_sdn.core.model import TCP, Prefix
from anycast_sdn.core.roles import Expiry
from anycast_sdn.description.model import Limits, Port
from anycast_sdn.openflow.pipeline import cookie, kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import DeleteCookie, PutBinding
from anycast_sdn.simulation.host import TCP_ACK
from anycast_sdn.simulation.network import SimulatedNetwork

pytestmark = both_engines

FIN, SYN, RST = 0x01, 0x02, 0x04
ways_to_expire = pytest.mark.parametrize("expiry", list(Expiry), ids=lambda expiry: expiry.value)


def packet(net, flags=TCP_ACK, v6=False, payload=b""):
    ask(net, service=SERVICE[v6], protocol=TCP, service_port=80, tcp_flags=flags, payload=payload)


def answer(net, flags=TCP_ACK, binding=None, payload=b""):
    """The server's packet to the client of the only binding, or of one that has ended."""
    binding = binding or the_binding(net)
    as2 = net.host("as2")
    net.send("as2", as2.packet(binding.translated, TCP, 80, 40000, tcp_flags=flags, payload=payload))
    net.settle()


def opened(build, v6=False, **options):
    """figure 1 with one open connection; hosts send nothing by themselves any more."""
    net = build("figure1", "as2", **options)
    packet(net, SYN, v6)
    net.host("as2").on_packet = net.host("h1").on_packet = lambda frame, packet: ()
    return net


def closed(net):
    packet(net, FIN | TCP_ACK)
    answer(net, FIN | TCP_ACK)
    packet(net)


def rules_of_bindings(net):
    kinds = (Kind.BINDING_OUT_UNANSWERED, Kind.BINDING_OUT, Kind.BINDING_IN)
    return [rule for rule in net.switches["arh1"].flows.values() if kind_of(rule.cookie) in kinds]


def pool(net):
    return client_edge(net).addresses.use(net.now)["ipv4"]


@ways_to_expire
@pytest.mark.parametrize("by_server", [True, False], ids=["by the server", "by the client"])
def test_a_reset_connection_gives_its_address_back_at_once(build, expiry, by_server):
    net = opened(build, expiry=expiry, idle_timeouts=0)
    if by_server:
        answer(net, RST)
    else:
        packet(net, RST)
    assert bindings(net)
    net.advance(1.1)
    assert bindings(net) == []
    net.settle()
    assert rules_of_bindings(net) == []


def test_a_client_that_tries_a_closed_port_for_ever_leaves_addresses_for_others(build):
    """Four times a second, each time refused, from a pool of 62, which would be used up after 16 s."""
    net = build("figure1", "as2", translation_prefixes=(Prefix.parse("203.0.113.0/26"),), quarantine_s=120)
    as2 = net.host("as2")
    as2.on_packet = lambda frame, packet: [as2.reply(frame, packet, tcp_flags=RST | TCP_ACK)]
    for number in range(240):
        ask(net, port=41000 + number, protocol=TCP, service_port=81, tcp_flags=SYN)
        net.advance(0.2)
    assert len(bindings(net)) < 10
    as2.on_packet = lambda frame, packet: [as2.reply(frame, packet, payload=b"fine")]
    ask(net, "h2", port=50000)
    assert payloads(net.host("h2").received) == [b"fine"]
    assert "pool_empty" not in drops(net, "arh1")


@ways_to_expire
def test_a_forged_reset_ends_no_connection_that_goes_on(build, expiry):
    net = opened(build, expiry=expiry, idle_timeouts=0)
    before = the_binding(net)
    packet(net, RST)
    net.host("as2").received.clear()
    for number in range(10):
        net.advance(0.5)
        packet(net, payload=bytes([number]))
        answer(net, binding=before)
    assert the_binding(net) == before._replace(number=the_binding(net).number, reset=False)
    assert payloads(net.host("as2").received, 20) == [bytes([number]) for number in range(10)]
    assert client_edge(net).validity_s(the_binding(net)) == 7440


@pytest.mark.parametrize("by_server", [True, False], ids=["the server", "the client"])
def test_a_packet_that_comes_late_revives_the_connection_as_it_was(build, by_server):
    net = opened(build)
    before = the_binding(net)
    packet(net, RST)
    net.advance(60)
    assert bindings(net) == []
    if by_server:
        answer(net, binding=before, payload=b"late")
        assert payloads(net.host("h1").received, 20)[-1] == b"late"
    else:
        packet(net, payload=b"late")
        assert payloads(net.host("as2").received, 20)[-1] == b"late"
    assert the_binding(net) == before._replace(number=before.number + 1)


@rules_alone
def test_reports_about_the_former_rules_of_a_restored_connection_are_no_repairs(build):
    """The switch reports their deletion while the rules of the restored connection are on their way to it."""
    net = opened(build)
    before = the_binding(net)
    packet(net, RST)
    net.advance(60)
    packet(net, payload=b"late")
    dpid = net.network.switch("arh1").dpid
    for kind in (Kind.BINDING_OUT, Kind.BINDING_IN):
        net.react(net.controller.rule_removed(dpid, cookie(kind, before.number), True, False, net.now))
    net.advance(1)
    assert not net.counters.repairs["arh1"]


def test_a_syn_while_the_former_address_rests_gets_another(build):
    net = opened(build)
    before = the_binding(net)
    packet(net, RST)
    net.advance(2)
    packet(net, SYN)
    assert the_binding(net).translated != before.translated
    net.host("h1").received.clear()
    answer(net, binding=before, payload=b"of the former one")
    assert net.host("h1").received == []


@ways_to_expire
@pytest.mark.parametrize("end", [FIN, RST], ids=["close", "reset"])
@pytest.mark.parametrize("pause", [0, 0.5, 4])
def test_five_fields_that_are_used_again_have_the_full_validity(build, expiry, end, pause):
    net = opened(build, expiry=expiry, idle_timeouts=0, validity={"tcp_s": 400})
    if end == FIN:
        closed(net)
    else:
        packet(net, RST)
    net.advance(pause)
    packet(net, SYN)
    answer(net, SYN | TCP_ACK)
    packet(net)
    net.advance(390)  # of silence: more than a connection that closes may have
    assert not the_binding(net).closing
    answer(net, payload=b"still here")
    assert payloads(net.host("h1").received, 20)[-1] == b"still here"


def test_a_connection_that_is_used_again_is_open_for_a_new_controller_too(build):
    net = opened(build)
    closed(net)
    net.advance(1)
    packet(net, SYN)
    answer(net, SYN | TCP_ACK)
    packet(net)
    net.advance(3)
    net.restart_controller()
    net.advance(300)
    assert not the_binding(net).closing


@rules_alone
def test_a_connection_that_closed_while_the_controller_was_away_is_over_when_it_is_back(build):
    net = opened(build)
    net.replace_controller()
    h1, as2 = net.host("h1"), net.host("as2")
    (rule,) = [rule for rule in rules_of_bindings(net) if kind_of(rule.cookie) is Kind.BINDING_IN]
    translated = next(field.value for field in rule.match if field.name == "ipv4_dst")
    net.send("h1", h1.packet(SERVICE[False], TCP, 40000, 80, tcp_flags=FIN | TCP_ACK))
    net.send("as2", as2.packet(translated, TCP, 80, 40000, tcp_flags=FIN | TCP_ACK))
    net.settle()
    for name in net.switches:
        net.connect(name)
    net.advance(6)
    assert bindings(net) == []
    assert rules_of_bindings(net) == []


def test_a_closed_connection_stays_closed_when_its_switch_restarts(build):
    net = opened(build)
    closed(net)
    net.kill("arh1")
    net.connect("arh1")
    net.advance(6)
    assert bindings(net) == []
    net.settle()
    assert rules_of_bindings(net) == []


def test_other_hosts_cannot_end_a_connection(build):
    """RSTs with the right addresses and wrong ports, and from other servers."""
    net = opened(build)
    before = the_binding(net)
    h2, as3 = net.host("h2"), net.host("as3")
    net.send("h2", h2.packet(SERVICE[False], TCP, 40000, 80, tcp_flags=RST))
    net.send("as3", as3.packet(before.translated, TCP, 80, 40000, tcp_flags=RST))
    net.send("as2", net.host("as2").packet(before.translated, TCP, 80, 40001, tcp_flags=RST))
    net.advance(10)
    assert before in bindings(net)


def test_a_flood_of_fins_from_one_port_hides_no_other_hosts(build):
    network = topology("figure1")
    net = SimulatedNetwork(replace(network, limits=Limits(first_packets=500)), web(network, "as2"))
    for client in ("h1", "h2"):
        ask(net, client, protocol=TCP, service_port=80, tcp_flags=SYN)
    frame = net.host("h1").packet(SERVICE[False], TCP, 40000, 80, tcp_flags=FIN | TCP_ACK)
    h2 = net.host("h2")
    assert net.host("h1").port != h2.port
    net.send("h1", *[frame] * 1000)
    net.send("h2", h2.packet(SERVICE[False], TCP, 40000, 80, tcp_flags=RST))
    net.settle()
    net.advance(1.1)
    assert [binding.key.source for binding in bindings(net)] == [net.host("h1").address(False)]


@rules_alone
def test_a_rule_that_the_switch_has_is_not_installed_again(build):
    net = opened(build)
    journal = []
    net.observations.journal = journal
    packet(net, SYN)
    packet(net, SYN)
    assert [record for record in journal if isinstance(getattr(record, "message", None), PutBinding)] == []
    assert len(net.host("as2").received) == 3


@rules_alone
def test_a_packet_whose_rule_is_missing_is_counted_and_the_rule_is_installed_again(build):
    """The rule of a known flow is gone without a report: the packet comes back from the switch's tables."""
    net = build("figure1", "as2")
    ask(net)
    (binding,) = bindings(net)
    switch = net.switches["arh1"]
    for kind in (Kind.BINDING_OUT, Kind.BINDING_IN):
        switch.apply(DeleteCookie(cookie(kind, binding.number)), net.now)
    ask(net)
    assert drops(net, "arh1") == {"looped": 1}
    assert len(rules_of_bindings(net)) == 2
    assert len(net.host("h1").received) == 2


@rules_alone
def test_without_tcp_flags_a_switch_gets_none_of_these_rows(build):
    net = opened(build, switch={"tcp_flags": False})
    kinds = {kind_of(rule.cookie) for rule in net.switches["arh1"].flows.values()}
    assert not kinds & {Kind.SYN, Kind.TCP_END}
    packet(net, RST)
    net.advance(240)
    assert bindings(net)


def test_a_copy_that_is_no_fin_or_rst_of_a_flow_changes_nothing(build):
    net = opened(build)
    before = bindings(net)
    h1, dpid = net.host("h1"), 1
    for frame in (b"", bytes(60), h1.packet(SERVICE[False], 17, 1, 2), h1.packet(SERVICE[False], TCP, 7, 80)):
        net.controller.packet_in(dpid, cookie(Kind.TCP_END), 1, frame, net.now)
    net.advance(10)
    assert bindings(net) == before
    assert Port("arh1", 1) == h1.port
