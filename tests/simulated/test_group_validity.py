"""A group's own validity: it overrides that of the client edge, member by member, for new flows (M19)."""

from __future__ import annotations

from dataclasses import replace

from scenes import SECOND_SERVICE, SERVICE, ask, bindings, client_edge, group, rules_alone, the_binding

from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import ICMP, TCP, UDP, GroupValidity
from anycast_sdn.core.roles import Expiry
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.simulation.host import TCP_ACK
from anycast_sdn.simulation.observations import Sent

# The tracker's timeouts are those of its zone: a group's shorter validity has no effect there (docs/engines.md).
pytestmark = rules_alone

FIN = 0x01
EDGE = {"udp_s": 40, "icmp_s": 20, "unanswered_s": 15}


def serve(net, **validity):
    """web, with this validity, and dns, with none."""
    web, dns = group(net.network, "web", SERVICE, "as2"), group(net.network, "dns", SECOND_SERVICE, "as2")
    net.set_groups(Groups({"web": replace(web, validity=GroupValidity(**validity)), "dns": dns}))
    net.settle()


def timeouts(net):
    kinds = (Kind.BINDING_OUT_UNANSWERED, Kind.BINDING_OUT, Kind.BINDING_IN)
    rules = [rule for rule in net.switches["arh1"].flows.values() if kind_of(rule.cookie) in kinds]
    return sorted(rule.idle_timeout for rule in rules)


def life_s(net):
    """Seconds from now until no binding is left."""
    start = net.now
    while bindings(net):
        net.advance(0.25)
    return net.now - start


def test_what_a_group_sets_holds_for_its_flows_and_nothing_else_changes(build, v6):
    net = build("figure1", "as2", validity=EDGE)
    serve(net, udp_s=4)
    ask(net, service=SERVICE[v6])
    assert timeouts(net) == [4, 4]
    ask(net, service=SECOND_SERVICE[v6])
    assert timeouts(net) == [4, 4, 40, 40]
    if not v6:
        ask(net, protocol=ICMP, port=0, service_port=0)
        assert timeouts(net) == [4, 4, 20, 20, 40, 40]


def test_an_unanswered_flow_has_the_groups_time(build):
    net = build("figure1", "as2", validity=EDGE)
    serve(net, unanswered_s=3)
    net.host("as2").on_packet = lambda frame, packet: ()
    ask(net)
    assert 3 <= life_s(net) <= 4


def test_a_closed_connection_has_the_groups_time(build):
    net = build("figure1", "as2")
    serve(net, tcp_closing_s=9, tcp_closed_s=2)
    ask(net, protocol=TCP, service_port=80)
    assert timeouts(net) == [7440, 7440]
    ask(net, protocol=TCP, service_port=80, tcp_flags=FIN | TCP_ACK)
    net.advance(2.9)
    assert 7440 in timeouts(net)  # the other side usually closes soon, too
    net.advance(0.3)
    assert timeouts(net) == [9, 9]  # 2 s and a second later
    as2 = net.host("as2")
    net.send("as2", as2.packet(the_binding(net).translated, TCP, 80, 40000, tcp_flags=FIN | TCP_ACK))
    net.settle()
    assert timeouts(net) == [2, 2]
    assert life_s(net) <= 3


def test_flows_keep_the_validity_with_which_they_began_and_new_ones_get_the_present_one(build):
    net = build("figure1", "as2", validity=EDGE)
    serve(net, udp_s=9)
    ask(net)
    before = the_binding(net)
    serve(net, udp_s=5)
    ask(net)  # the switch has its rules: nothing is decided anew
    assert timeouts(net) == [9, 9]
    ask(net, port=40001)
    assert timeouts(net) == [5, 5, 9, 9]
    serve(net)
    ask(net, port=40002)
    assert timeouts(net) == [5, 5, 9, 9, 40, 40]
    assert before in bindings(net)


def test_a_change_of_settings_sends_nothing_to_any_switch(build):
    net = build("figure1", "as2", validity=EDGE)
    serve(net, udp_s=9)
    ask(net)
    net.observations.journal = []
    serve(net, udp_s=5, tcp_s=60)
    assert [record for record in net.observations.journal if isinstance(record, Sent)] == []


def test_all_flows_of_a_group_share_one_value(build):
    net = build("figure1", "as2", validity=EDGE)
    serve(net, udp_s=9)
    for port in range(40000, 40005):
        ask(net, port=port)
    assert {id(binding.validity) for binding in bindings(net)} == {id(net.controller.groups.get("web").validity)}


def test_after_a_restart_flows_have_the_present_validity_and_their_rules_follow(build):
    net = build("figure1", "as2", validity=EDGE)
    serve(net, udp_s=9)
    ask(net)
    server = the_binding(net).server
    net.controller.groups = net.controller.groups.replaced(
        replace(net.controller.groups.get("web"), validity=GroupValidity(udp_s=6))
    )  # what the new controller will find in its store
    net.restart_controller()
    net.settle()
    assert timeouts(net) == [6, 6]
    assert the_binding(net).server == server
    assert the_binding(net).validity.udp_s == 6


def test_a_returning_flow_has_the_validity_with_which_it_ended(build):
    net = build("figure1", "as2", validity=EDGE)
    serve(net, udp_s=4)
    ask(net)
    assert 4 <= life_s(net) <= 5
    serve(net)
    ask(net)
    assert timeouts(net) == [4, 4]


def test_the_sweep_comes_as_often_as_the_groups_validity_needs(build):
    net = build("figure1", "as2", validity={"udp_s": 300, "icmp_s": 60, "other_s": 60}, expiry=Expiry.SWEEP)
    serve(net, udp_s=4)
    ask(net)
    assert timeouts(net) == [0, 0]
    assert 4 <= life_s(net) <= 4 + 1 + 2 * 2  # counters may be late, and a sweep comes every 2 s
    net.advance(1)
    ask(net)
    assert 4 <= life_s(net) <= 4 + 1 + 2 * 2
    assert client_edge(net).shortest_validity_s == 30  # that of unanswered flows


def test_other_protocols_of_the_group_are_as_the_edge_has_them(build):
    net = build("figure1", "as2", validity=EDGE)
    serve(net, tcp_s=100)
    ask(net, protocol=UDP)
    assert timeouts(net) == [40, 40]
    ask(net, protocol=TCP, service_port=80)
    assert timeouts(net) == [40, 40, 100, 100]
