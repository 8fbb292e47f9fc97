"""Time to the first reply, and loss, of each group, site and server; from what clients send anyway (M29)."""

from __future__ import annotations

from typing import Any

import pytest
from checks import AS2, be_silent, change, checked, refuse
from scenes import SERVICE, ask, both_engines

from anycast_sdn.core.first_replies import WAIT_S, Totals
from anycast_sdn.core.model import TCP, UDP
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.views.replies import reply_views

pytestmark = both_engines

AS3S, AS4S = (b"\n\3\0\n", b"\n\3\0\x0b")  # behind one edge
IN_BOTH = pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])


def ask_often(
    net: SimulatedNetwork, v6: bool = False, times: int = 40, protocol: int = UDP, first: int = 20000
) -> None:
    for port in range(first, first + times):
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


def shown(net: SimulatedNetwork, group: str | None = None) -> list[dict[str, Any]]:
    return list(reply_views(net.controller, group, net.now, lambda: None))


def test_what_is_shown_is_of_the_last_one_to_two_minutes() -> None:
    net = checked()
    ask_often(net, times=20)
    ((site,), (server,)) = shown(net)[0]["sites"], shown(net, "web")[0]["servers"]
    assert (site["edge"], site["answered"], site["unanswered_share"]) == ("arh1", 20, 0.0)
    assert 0 < site["first_reply_p50_ms"] <= site["first_reply_p95_ms"] < 100
    assert (server["server"], server["edge"], server["answered"]) == ("10.2.0.10", "ars2", 20)
    assert server["first_reply_mean_ms"] == pytest.approx(site["first_reply_p50_ms"], rel=1)

    net.advance(60)
    be_silent(net.host("as2"))
    ask_often(net, times=20, first=30000)
    (site,) = shown(net)[0]["sites"]
    assert site["answered"] in (0, 20), "of the minute before, if it is still that"
    assert site["unanswered"] == 20

    net.advance(120)
    assert shown(net) == [{"group": "web", "sites": [], "servers": []}]
    assert shown(net, "nothing") == []
