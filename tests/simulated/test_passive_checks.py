"""Passive checks: what clients' own packets say of servers (M33)."""

from __future__ import annotations

import pytest
from checks import AS2, AS3, CRITICAL, PASSING, UNKNOWN, be_silent, change, checked, reason, recover, refuse, status
from scenes import SECOND_SERVICE, SERVICE, ask, bindings

from anycast_sdn.control.passive import LEAST_FLOWS, PROBATION_S
from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.checks import PassiveCheck
from anycast_sdn.core.first_replies import MOST_ASKED, WAIT_S, FirstReplies
from anycast_sdn.core.model import TCP, UDP, FlowKey
from anycast_sdn.simulation.network import SimulatedNetwork

PASSIVE = PassiveCheck(interval_s=1.0, fall=1)
AS3S, AS4S = (b"\n\3\0\n", b"\n\3\0\x0b")  # behind one edge
IN_BOTH = pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])


def ask_often(
    net: SimulatedNetwork, v6: bool = False, times: int = 40, protocol: int = UDP, first: int = 20000
) -> None:
    """New flows of h1, and then the time until it is told what has become of them."""
    for port in range(first, first + times):
        ask(net, service=SERVICE[v6], port=port, protocol=protocol, service_port=80)
    net.advance(WAIT_S + 2.5)


@IN_BOTH
def test_without_clients_nothing_is_known(v6: bool) -> None:
    net = checked(PASSIVE)
    net.advance(10)
    assert status(net, AS2[v6]) is UNKNOWN


@IN_BOTH
def test_a_server_that_answers_clients_passes(v6: bool) -> None:
    net = checked(PASSIVE)
    ask_often(net, v6)
    assert status(net, AS2[v6]) is PASSING
    assert status(net, AS3[v6]) is UNKNOWN, "no client reaches its edge"


@IN_BOTH
def test_the_only_server_of_an_edge_that_is_silent_is_replaced(v6: bool) -> None:
    net = checked(PASSIVE)
    be_silent(net.host("as2"))
    ask_often(net, v6)
    assert status(net, AS2[v6]) is CRITICAL
    assert reason(net, AS2[v6]).startswith("passive: 0 of about ")
    ask(net, service=SERVICE[v6], port=50000)
    assert [flow.server for flow in bindings(net) if flow.key.source_port == 50000] == [AS3[v6]]


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_refusals_are_of_the_server_that_refuses(protocol: int) -> None:
    net = checked(PASSIVE, hosts=("as3", "as4"))
    refuse(net.host("as3"), 80)
    ask_often(net, protocol=protocol)
    assert status(net, AS3S) is CRITICAL
    assert reason(net, AS3S).startswith("passive: 0 of about ")
    assert status(net, AS4S) is PASSING


def test_of_two_servers_behind_one_edge_the_silent_one_is_found() -> None:
    net = checked(PASSIVE, hosts=("as3", "as4"))
    be_silent(net.host("as3"))
    ask_often(net)
    assert status(net, AS3S) is CRITICAL
    assert status(net, AS4S) is PASSING


def test_few_flows_prove_nothing() -> None:
    net = checked(PASSIVE)
    be_silent(net.host("as2"))
    ask_often(net, times=LEAST_FLOWS - 1)
    assert status(net, AS2[False]) is UNKNOWN


def test_a_server_that_is_enrolled_anew_is_judged_anew() -> None:
    net = checked(PASSIVE)
    be_silent(net.host("as2"))
    ask_often(net, times=LEAST_FLOWS - 1)
    group = net.controller.groups.get("web")
    assert group
    change(net, servers={address: server for address, server in group.servers.items() if address != AS2[False]})
    net.advance(2)
    recover(net.host("as2"))
    change(net, servers=group.servers)
    net.advance(2)
    ask_often(net, times=2, first=30000)
    assert status(net, AS2[False]) is UNKNOWN, reason(net, AS2[False])


def test_a_slow_server_fails_where_that_is_asked_for() -> None:
    net = checked(PassiveCheck(interval_s=1.0, fall=1, max_first_reply_s=0.002))
    ask_often(net)
    assert status(net, AS2[False]) is CRITICAL
    change(net, checks=(PassiveCheck(interval_s=1.0, rise=1, max_first_reply_s=0.5),))
    net.advance(PROBATION_S + 1)
    ask_often(net, first=30000)
    assert status(net, AS2[False]) is PASSING
    outputs = {name.type: state.output for name, state in net.controller.health.checks("web", AS2[False])}
    assert " new flows answered, the first reply after 3 ms" in outputs["passive"]


def test_a_server_without_flows_is_tried_again_after_a_while() -> None:
    net = checked(PASSIVE)
    be_silent(net.host("as2"))
    ask_often(net)
    assert status(net, AS2[False]) is CRITICAL
    recover(net.host("as2"))
    net.advance(PROBATION_S - 10)
    assert status(net, AS2[False]) is CRITICAL
    net.advance(11)
    assert status(net, AS2[False]) is UNKNOWN
    ask_often(net, first=30000)
    assert status(net, AS2[False]) is PASSING


def test_flows_of_other_groups_are_not_counted() -> None:
    net = checked(PASSIVE, second=())
    be_silent(net.host("as2"))
    for port in range(20000, 20040):
        ask(net, service=SECOND_SERVICE[False], port=port)
    net.advance(WAIT_S + 3)
    assert status(net, AS2[False]) is UNKNOWN


def test_what_is_remembered_of_first_packets_is_bounded_and_short() -> None:
    replies = FirstReplies()
    flows = [Binding(number, FlowKey(b"\n\1\0\1", b"\n\2\0\1", UDP, 1, 2), bytes(4), "web", 1.0)
             for number in range(1, MOST_ASKED + 10)]  # fmt: skip
    for flow in flows:
        replies.asked(flow)
    replies.replied(flows[5], b"\n\2\0\1", False, 1.5)
    replies.replied(flows[5], b"\n\2\0\1", True, 1.7)
    replies.replied(flows[6], b"\n\2\0\1", True, 1.5)
    replies.replied(flows[-1], b"\n\2\0\1", True, 1.5)
    assert replies.pop(0.9 + WAIT_S) == ({}, {}, set()), "of none of them it is told yet"
    observed = replies.pop(1.0 + WAIT_S)
    assert observed.unanswered == {("web", False, 0): MOST_ASKED - 2}
    (found,) = observed.replies.values()
    assert (found.answered, found.refused, found.times) == (1, 1, [0.5])
    assert replies.pop(100.0) == ({}, {}, set())


def test_new_flows_are_told_of_in_groups_that_are_watched() -> None:
    replies = FirstReplies()
    flow = Binding(1, FlowKey(b"\n\1\0\1", b"\n\2\0\1", UDP, 1, 2), bytes(4), "web", 1.0)
    replies.asked(flow)
    assert not replies.pop(1.0).asked
    replies.watch(["web"])
    replies.asked(flow._replace(number=2))
    assert replies.pop(1.0).asked == {("web", False, 0)}
    replies.asked(flow._replace(number=3))
    replies.watch([])
    assert not replies.pop(1.0).asked, "nobody watches any more"
