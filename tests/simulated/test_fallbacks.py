"""What a switch lacks that the controller has a fall-back for: flows work, and it is said what is done instead."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
from scenes import (
    SERVICE,
    TOPOLOGIES,
    UNUSED,
    ask,
    bindings,
    managed,
    payloads,
    rules_alone,
    the_binding,
    topology,
    web,
)

from anycast_sdn.core.bindings import Half
from anycast_sdn.core.model import TCP
from anycast_sdn.description import reading
from anycast_sdn.description.model import Ttl
from anycast_sdn.description.profile import Elements, Profile
from anycast_sdn.openflow.fallbacks import KEEP_TTL
from anycast_sdn.openflow.frames import parse_ip
from anycast_sdn.openflow.judgement import Role, judge
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import AddFlow, DeleteFlow, SetGroup
from anycast_sdn.simulation.host import TCP_ACK
from anycast_sdn.simulation.network import SimulatedNetwork

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
    return managed(net, name).lacks.refused_at == -math.inf


def life_s(net) -> float:
    """Seconds from now until no binding is left; at most a minute."""
    start = net.now
    while bindings(net) and net.now < start + 60:
        net.advance(0.25)
    return net.now - start


NO_ENDS = {
    "refuses idle timeouts": (Elements(timeouts=("idle",)), (), "it keeps no idle timeouts"),
    "ignores idle timeouts": (Elements(), Elements(timeouts=("idle",)), "it keeps no idle timeouts"),
    "ignores those of answers": (Elements(), Elements(timeouts=("idle",), tables=(3,)), "it keeps no idle timeouts"),
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


# ------------------------------------------------------------------------------ packets to the tables

TO_TABLES = Elements(ports=("table",))
NO_TABLES = {"refused": Profile(refuse=(TO_TABLES,)), "ignored": Profile(ignore=(TO_TABLES,))}
no_tables = pytest.mark.parametrize("profile", NO_TABLES.values(), ids=NO_TABLES)
DIRECTLY = "it refuses packets to its tables: the controller sends each by the actions of the rules that it would meet"


@no_tables
def test_first_packets_and_replies_of_a_switch_that_takes_none_to_its_tables_arrive(build, profile, v6):
    net = switch_with(build, profile)
    ask(net, service=SERVICE[v6])
    assert [parse_ip(frame).key.source for frame in net.host("as2").received] == [the_binding(net).translated]
    assert payloads(net.host("h1").received)
    assert the_binding(net).server == net.host("as2").address(v6)
    assert sentence(net) == f"can be a client edge; {DIRECTLY}"


@no_tables
def test_flows_of_such_a_switch_go_on_as_those_of_any_other(build, profile, v6):
    """As many packets arrive, translated equally, with the same TTL."""
    seen = []
    for each in (Profile(), profile):
        net = switch_with(build, each)
        for port in (40000, 40001):
            for _ in range(3):
                ask(net, service=SERVICE[v6], port=port)
        seen.append((net.host("as2").received, net.host("h1").received))
    assert seen[0] == seen[1]
    assert len(seen[0][0]) == 6


@no_tables
def test_such_a_switch_may_be_both_edges_of_a_flow(build, profile, v6):
    net = build("one-switch", "s1", "s2", switch={"profiles": {"edge": profile}})
    for port in range(40000, 40008):
        ask(net, "c1", service=SERVICE[v6], port=port)
    assert len(payloads(net.host("c1").received)) == 8
    assert {each.server for each in bindings(net, "edge")} == {net.host(host).address(v6) for host in ("s1", "s2")}


@no_tables
def test_a_rule_that_is_lost_is_put_back_when_its_flow_goes_on(build, profile):
    net = switch_with(build, profile)
    ask(net)
    switch = net.switches["arh1"]
    (rule,) = [rule for rule in rules_of_flows(net) if kind_of(rule.cookie) is Kind.BINDING_OUT]
    net.carry_out("arh1", switch.delete([rule.key]))
    ask(net)
    assert len(net.host("as2").received) == 2
    assert len(rules_of_flows(net)) == 2


@no_tables
def test_known_flows_go_on_after_a_restart_of_the_controller(build, profile):
    net = switch_with(build, profile)
    ask(net)
    net.restart_controller()
    net.settle()
    before = len(net.host("as2").received)
    ask(net)
    ask(net, port=40001)
    assert len(net.host("as2").received) == before + 2
    assert len(payloads(net.host("h1").received)) == 3


# ------------------------------------------------------------------------------ groups

WITHOUT_GROUPS = {
    "no select groups": Profile(refuse=(Elements(groups=("select",)),)),
    "no rewriting in buckets": Profile(refuse=(Elements(bucket_actions=("set_field",)),)),
    "no groups at all": Profile(refuse=(Elements(messages=("group_mod",)),)),
}
without_groups = pytest.mark.parametrize("profile", WITHOUT_GROUPS.values(), ids=WITHOUT_GROUPS)
ONE_SERVER = "all new flows of a service go to one server here, which the controller chooses"


def kinds_at(net, name):
    return Counter(kind_of(rule.cookie) for rule in net.switches[name].flows.values())


@without_groups
def test_a_server_edge_without_groups_serves_by_one_server(build, profile, v6):
    net = build("one-switch", "s1", "s2", switch={"profiles": {"edge": profile}})
    for port in range(40000, 40016):
        ask(net, "c1", service=SERVICE[v6], port=port)
    assert len({each.server for each in bindings(net, "edge")}) == 1
    assert len(payloads(net.host("c1").received)) == 16
    assert kinds_at(net, "edge")[Kind.SERVICE_ALONE] == 2, "one rule for each family"
    assert not net.switches["edge"].groups
    said = sentence(net, Role.SERVER_EDGE, "edge")
    assert said.startswith("can be a server edge; it cannot ")
    assert said.endswith(ONE_SERVER)
    assert nothing_is_refused(net, "edge")


@without_groups
def test_another_server_takes_new_flows_when_the_one_is_gone(build, profile, v6):
    net = build("one-switch", "s1", "s2", switch={"profiles": {"edge": profile}})
    ask(net, "c1", service=SERVICE[v6])
    (first,) = bindings(net, "edge")
    name = next(host for host in ("s1", "s2") if first.server in net.host(host).addresses)
    other = {"s1": "s2", "s2": "s1"}[name]
    net.set_port(net.host(name).port, False)
    net.advance(15)
    ask(net, "c1", service=SERVICE[v6], port=40001)
    assert net.host(other).address(v6) in {each.server for each in bindings(net, "edge")}


def test_only_the_family_whose_groups_are_refused_is_served_by_one_server(build):
    profile = Profile(refuse=(Elements(set=("ipv6_dst",), bucket_actions=("set_field",)),))
    net = build("one-switch", "s1", "s2", switch={"profiles": {"edge": profile}})
    judgement = judge(Role.SERVER_EDGE, managed(net, "edge").features)
    assert judgement.able == {4}


@without_groups
def test_a_switch_that_gets_groups_spreads_new_flows_again(build, profile, v6):
    net = build("one-switch", "s1", "s2", switch={"profiles": {"edge": profile}})
    net.disconnect("edge")
    net.switches["edge"].profile = Profile()
    net.connect("edge")
    net.settle()
    for port in range(40000, 40016):
        ask(net, "c1", service=SERVICE[v6], port=port)
    assert len({each.server for each in bindings(net, "edge")}) == 2
    assert not kinds_at(net, "edge")[Kind.SERVICE_ALONE]
    assert nothing_is_refused(net, "edge")


# ------------------------------------------------------------------------------ TTL

NO_TTL = Profile(refuse=(Elements(actions=("dec_nw_ttl",)),))
EVERYWHERE = ("arh1", "core", "ars2")
KEPT = "it keeps the TTL of packets (ttl: keep): traceroute does not show it"


def without_ttl(*names, keep):
    """Figure 1, where these switches cannot decrement the TTL; ``keep``: the network file says so."""
    description = topology("figure1")
    switches = [replace(each, ttl=Ttl.KEEP) if keep and each.name in names else each for each in description.switches]
    description = replace(description, switches=tuple(switches))
    return SimulatedNetwork(description, web(description, "as2", "as3"), profiles=dict.fromkeys(names, NO_TTL))


def ttl(frame):
    return frame[21] if len(frame) > 22 and frame[14] >> 4 == 6 else frame[22]


def test_switches_that_keep_the_ttl_are_used_where_the_network_file_says_so(v6):
    net = without_ttl(*EVERYWHERE, keep=True)
    for port in range(40000, 40004):
        ask(net, service=SERVICE[v6], port=port)
    assert len(payloads(net.host("h1").received)) == 4
    assert {ttl(frame) for frame in net.host("as2").received} == {64}, "no switch on the way has decremented it"
    assert net.switches["ars2"].groups
    for name, role in zip(EVERYWHERE, (Role.CLIENT_EDGE, Role.CORE, Role.SERVER_EDGE), strict=True):
        assert sentence(net, role, name) == f"can be a {role.value}; {KEPT}"
        assert nothing_is_refused(net, name)
    net.check_recompute_changes_nothing()


def test_a_controller_that_starts_anew_finds_their_rules_as_they_should_be(v6):
    net = without_ttl(*EVERYWHERE, keep=True)
    ask(net, service=SERVICE[v6])
    sent = net.restart_controller()
    assert not [each for each in sent if isinstance(each, AddFlow | SetGroup | DeleteFlow)]


def test_without_that_setting_it_is_advised(v6):
    net = without_ttl("ars2", keep=False)
    ask(net, service=SERVICE[v6])
    assert net.host("as3").received, "the other server edge serves"
    said = sentence(net, Role.SERVER_EDGE, "ars2")
    assert said.startswith("cannot be a server edge: it cannot decrement the TTL")
    assert said.endswith(KEEP_TTL)


def test_a_network_file_may_say_that_a_switch_keeps_the_ttl():
    text = (TOPOLOGIES / "one-switch.yaml").read_text().replace("    dpid: 0x1\n", "    dpid: 0x1\n    ttl: keep\n")
    (switch,) = reading.parse(text, "net.yaml").switches
    assert switch.keeps_ttl


# ------------------------------------------------------------------------------ meters


def test_what_a_switch_without_meters_sends_beyond_the_limits_is_dropped_by_the_controller(build):
    net = switch_with(build, Profile(refuse=(Elements(messages=("meter_mod",)),)))
    assert not managed(net, "arh1").features.meters
    net.send("h1", *(net.host("h1").question(UNUSED[False]) for _ in range(400)))
    net.settle()
    assert net.counters.drops["arh1"]["beyond_limit"] > 0
    ask(net)
    assert the_binding(net).server, "first packets have a limit of their own"
    assert nothing_is_refused(net)
