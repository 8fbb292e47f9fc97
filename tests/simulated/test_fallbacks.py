"""What a switch lacks that the controller has a fall-back for: flows work, and it is said what is done instead."""

from __future__ import annotations

import math

import pytest
from scenes import SERVICE, ask, bindings, managed, payloads, rules_alone, the_binding

from anycast_sdn.core.bindings import Half
from anycast_sdn.core.model import TCP
from anycast_sdn.description.profile import Elements, Profile
from anycast_sdn.openflow.judgement import Role, judge
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.simulation.host import TCP_ACK

pytestmark = rules_alone
FIN, SYN = 0x01, 0x02
SHORT = {"udp_s": 4, "unanswered_s": 2}
SWEEP = "the controller ends idle flows by a sweep"
KINDS = (Kind.BINDING_OUT_UNANSWERED, Kind.BINDING_OUT, Kind.BINDING_IN)


def switch_with(build, profile, *hosts, name="arh1", **options):
    """Figure 1, where one switch has a profile."""
    return build("figure1", *(hosts or ("as2",)), switch={"profiles": {name: profile}}, **options)


def rules_of_flows(net):
    return [rule for rule in net.switches["arh1"].flows.values() if kind_of(rule.cookie) in KINDS]


def sentence(net, role=Role.CLIENT_EDGE, name="arh1"):
    return judge(role, managed(net, name).features).sentence


def nothing_is_refused(net, name="arh1"):
    return managed(net, name).refused_at == -math.inf


def life_s(net) -> float:
    """Seconds from now until no binding is left; at most a minute."""
    start = net.now
    while bindings(net) and net.now < start + 60:
        net.advance(0.25)
    return net.now - start


NO_ENDS = {
    "refuses idle timeouts": (Elements(timeouts=("idle",)), (), "it refuses idle timeouts"),
    "refuses to report": (Elements(flags=("send_flow_rem",)), (), "it does not report removed rules"),
    "does not report": (Elements(), Elements(flags=("send_flow_rem",)), "it does not report removed rules"),
}


@pytest.mark.parametrize(("refuse", "ignore", "said"), NO_ENDS.values(), ids=NO_ENDS)
def test_flows_of_a_switch_that_does_not_end_them_are_ended_by_the_sweep(build, refuse, ignore, said, v6):
    profile = Profile(refuse=(refuse,), ignore=(ignore,) if ignore else ())
    net = switch_with(build, profile, validity=SHORT)
    ask(net, service=SERVICE[v6])
    assert payloads(net.host("h1").received)
    assert the_binding(net).server is not None
    assert [rule.idle_timeout for rule in rules_of_flows(net)] == [0, 0]
    assert sentence(net) == f"can be a client edge; {said}: {SWEEP}"
    assert nothing_is_refused(net)
    assert 4 <= life_s(net) <= 4 + 1 + 2
    net.settle()
    assert rules_of_flows(net) == []


def test_a_closed_connection_ends_within_seconds_also_where_idle_timeouts_are_refused(build):
    net = switch_with(build, Profile(manufacturer="Open vSwitch", refuse=(Elements(timeouts=("idle",)),)))
    assert managed(net, "arh1").features.tcp_flags
    connection = {"protocol": TCP, "service_port": 80}
    ask(net, tcp_flags=SYN, **connection)
    server, translated = net.host("as2"), the_binding(net).translated
    server.on_packet = net.host("h1").on_packet = lambda frame, packet: ()
    ask(net, tcp_flags=FIN | TCP_ACK, **connection)
    net.send("as2", server.packet(translated, TCP, 80, 40000, tcp_flags=FIN | TCP_ACK))
    net.settle()
    assert the_binding(net).closed is Half.BOTH
    assert life_s(net) < 40
    assert nothing_is_refused(net)


def test_a_switch_that_is_able_again_ends_new_flows_by_timeouts(build):
    net = switch_with(build, Profile(refuse=(Elements(timeouts=("idle",)),)), validity=SHORT)
    ask(net)
    net.disconnect("arh1")
    net.switches["arh1"].profile = Profile()
    net.connect("arh1")
    net.settle()
    ask(net, service=SERVICE[False], port=40001)
    assert sorted(rule.idle_timeout for rule in rules_of_flows(net)) == [0, 0, 4, 4]
    assert sentence(net) == "can be a client edge"


def test_a_switch_that_becomes_unable_keeps_its_flows(build):
    net = build("figure1", "as2", validity=SHORT)
    ask(net)
    before = the_binding(net)
    net.disconnect("arh1")
    net.switches["arh1"].profile = Profile(refuse=(Elements(timeouts=("idle",)),))
    net.connect("arh1")
    net.settle()
    assert the_binding(net)._replace(swept=False) == before
    assert [rule.idle_timeout for rule in rules_of_flows(net)] == [0, 0]
    assert 2 <= life_s(net) <= 7


def test_a_switch_without_asynchronous_configuration_is_said_not_to_show_in_traceroute(build):
    net = switch_with(build, Profile(refuse=(Elements(messages=("set_async",)),)))
    ask(net)
    assert the_binding(net).server
    said = "it cannot be asked to report expired TTLs: traceroute does not show it"
    assert sentence(net) == f"can be a client edge; {said}"
    assert sentence(net, Role.CORE) == f"can be a core; {said}"
