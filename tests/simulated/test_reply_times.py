"""Time to the first reply, and loss, of each group, site and server; from what clients send anyway (M29)."""

from __future__ import annotations

import pytest
from checks import AS2, be_silent, change, checked, refuse
from scenes import SERVICE, ask

from anycast_sdn.core.first_replies import WAIT_S, Totals
from anycast_sdn.core.model import TCP, UDP
from anycast_sdn.simulation.network import SimulatedNetwork

AS3S, AS4S = (b"\n\3\0\n", b"\n\3\0\x0b")  # behind one edge
IN_BOTH = pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])


def ask_often(net: SimulatedNetwork, v6: bool = False, times: int = 40, protocol: int = UDP) -> None:
    for port in range(20000, 20000 + times):
        ask(net, service=SERVICE[v6], port=port, protocol=protocol, service_port=80)
    net.advance(WAIT_S + 2.5)


def totals(net: SimulatedNetwork, site: str = "arh1") -> Totals:
    switch = net.controller.switch(site)
    assert switch
    return switch.engine.first_replies.of_groups.get("web", Totals())


@IN_BOTH
def test_a_servers_answers_are_counted_with_their_times(v6: bool) -> None:
    net = checked()
    ask_often(net, v6)
    of_site, of_server = totals(net), net.controller.reply_times.of_servers["web"][AS2[v6]]
    assert (of_site.seconds.total, of_site.refused, of_site.unanswered) == (40, 0, 0)
    assert (of_server.answered, of_server.refused, of_server.unanswered) == (40, 0, 0)
    assert 0 < of_server.seconds / 40 < 0.1
    assert of_server.seconds == pytest.approx(of_site.seconds.sum)


@IN_BOTH
def test_what_a_silent_server_alone_at_its_edge_loses_is_its_own(v6: bool) -> None:
    net = checked()
    be_silent(net.host("as2"))
    ask_often(net, v6)
    assert totals(net).unanswered == 40
    assert net.controller.reply_times.of_servers["web"][AS2[v6]].unanswered == pytest.approx(40)


def test_unanswered_flows_are_spread_over_the_servers_that_may_have_got_them() -> None:
    net = checked(hosts=("as3", "as4"))
    be_silent(net.host("as3"))
    ask_often(net)
    of_servers = net.controller.reply_times.of_servers["web"]
    lost = totals(net).unanswered
    assert 0 < lost < 40
    assert [of_servers[each].unanswered for each in (AS3S, AS4S)] == pytest.approx([lost / 2, lost / 2])
    assert (of_servers[AS3S].answered, of_servers[AS4S].answered) == (0, 40 - lost)


def test_a_refusal_is_no_answer() -> None:
    net = checked(hosts=("as3", "as4"))
    refuse(net.host("as3"), 80)
    ask_often(net, protocol=TCP)
    of_site, of_servers = totals(net), net.controller.reply_times.of_servers["web"]
    assert of_site.refused == of_servers[AS3S].refused > 0
    assert of_site.seconds.total == of_servers[AS4S].answered == 40 - of_site.refused


def test_servers_and_groups_that_are_removed_are_forgotten() -> None:
    net = checked()
    ask_often(net)
    change(net, servers={})
    assert net.controller.reply_times.of_servers == {"web": {}}
