"""What /healthz says: ok, starting or degraded, and the reasons with their times (M34)."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from scenes import SERVICE, ask, catchment, group, managed, network, topology, web

from anycast_sdn.core.events import Event, Severity, Subject
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Affinity, Prefix
from anycast_sdn.core.network_events import PoolExhausted, PoolLow
from anycast_sdn.core.roles import Allocation, Conntrack, EngineName, Pooling
from anycast_sdn.description.model import Port
from anycast_sdn.openflow.pending import CONFIRMATION
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.views.counters import Counters
from anycast_sdn.views.health import LONGEST_REPORT_S, ConnectionReports, Health
from anycast_sdn.views.reasons import MAX_REASONS, Reason, Session
from anycast_sdn.views.switches import edge_views
from anycast_sdn.views.trends import Trends

EPOCH = 1_800_000_000.0


@cache
def health_of(net: SimulatedNetwork) -> Health:
    return Health(net.counters)


def look(net: SimulatedNetwork, *sessions: Session) -> dict[str, Any]:
    """As it is now; what the network's earlier looks have seen is remembered."""
    health_of(net).update(net.controller, sessions, net.now)
    return health_of(net).view(net.controller, net.now, EPOCH)


def reasons(net: SimulatedNetwork, *sessions: Session) -> list[str]:
    """The sentences, the latest first."""
    look(net, *sessions)
    health = health_of(net)
    return [each.sentence for each in sorted(health._reasons, key=lambda reason: -health._since[reason.key])]


def started_without(switch: str) -> SimulatedNetwork:
    """A controller that has just started, and all switches but one have connected."""
    net = network("figure1")
    net.replace_controller()
    for name in net.switches.keys() - {switch}:
        net.connect(name)
    net.settle()
    return net


def test_all_is_well_when_everything_works() -> None:
    net = network("figure1", "as2")
    view = look(net)
    assert (view["status"], view["reasons"]) == ("ok", [])
    assert view["switches"]["core"] == {"connected": True}


def test_a_switch_that_is_lost_after_having_been_well_is_degraded() -> None:
    net = network("figure1")
    assert look(net)["status"] == "ok"
    net.disconnect("core")
    view = look(net)
    assert view["status"] == "degraded"
    assert view["switches"]["core"] == {"connected": False}
    assert reasons(net) == ["switch core has lost the controller"]
    net.connect("core")
    net.settle()
    assert look(net)["status"] == "ok"


def test_switches_that_were_never_here_are_starting_for_ten_seconds_and_degraded_afterwards() -> None:
    net = started_without("ars3")
    assert look(net)["status"] == "starting"
    assert reasons(net) == ["switch ars3 (datapath id 0x3) has not connected"]
    net.advance(9)
    assert look(net)["status"] == "starting"
    assert [reason["severity"] for reason in look(net)["reasons"]] == ["warning"]
    net.advance(2)
    assert look(net)["status"] == "degraded"
    assert [reason["severity"] for reason in look(net)["reasons"]] == ["critical"]


def test_a_switch_lost_at_the_start_is_no_start() -> None:
    net = started_without("ars3")
    net.disconnect("core")
    assert look(net)["status"] == "degraded"


def test_a_reason_keeps_the_time_when_it_began() -> None:
    net = network("figure1")
    net.disconnect("core")
    first = look(net)["reasons"]
    net.advance(100)
    health_of(net).update(net.controller, (), net.now)
    assert health_of(net).view(net.controller, net.now, EPOCH + 100)["reasons"] == first
    assert first[0]["since"] == "2027-01-15T08:00:00Z"


def test_what_a_switch_leaves_unanswered_is_named() -> None:
    net = network("figure1")
    managed(net, "core").note_unanswered(frozenset(("meters", "ports")))
    assert reasons(net) == [f"switch core does not answer when asked for its {what}" for what in ("meters", "ports")]


def test_a_switch_that_answers_no_barriers_is_named_by_that() -> None:
    net = network("figure1")
    managed(net, "core").note_unanswered(frozenset((CONFIRMATION,)))
    assert reasons(net) == ["switch core does not answer barriers"]


def test_a_switch_that_refuses_rules_is_named_for_a_minute() -> None:
    net = network("figure1", "as2")
    net.react(net.controller.rule_refused(4, 0, net.now))
    assert reasons(net) == ["switch core refuses rules: 1 until now"]
    net.advance(59)
    assert look(net)["status"] == "degraded"
    net.advance(2)
    assert look(net)["status"] == "ok"


def test_a_link_that_is_down_is_named_with_the_reason() -> None:
    net = network("figure1")
    net.set_port(Port("core", 12), False)
    net.settle()
    assert reasons(net) == ["link core:12–ars3:10 is down: both ports are down"]
    assert look(net)["status"] == "degraded"


def test_a_pool_without_a_free_address_is_named() -> None:
    small = (Prefix.parse("203.0.113.0/30"), Prefix.parse("2001:db8:1:f::/64"))
    most = {"bindings_per_client": 2, "bindings_per_port": 2}
    net = network("figure1", "as2", translation_prefixes=small, pooling=Pooling.FLOW, **most)
    for port in (40001, 40002):
        ask(net, port=port)
    assert reasons(net) == ["the IPv4 pool of arh1 is exhausted: 2 of 2 addresses in use, 0 resting"]


def test_the_pool_of_clients_that_are_bound_as_a_whole_is_not_that_of_all_flows() -> None:
    """Where the switch chooses addresses, the controller has a few: without one, most new flows go on."""
    small = (Prefix.parse("203.0.113.0/28"), Prefix.parse("2001:db8:1:f::/64"))
    settings: dict[str, Any] = {"engines": (EngineName.CONNTRACK,), "conntrack": Conntrack(Allocation.SWITCH)}
    description = topology("figure1", translation_prefixes=small, **settings)
    bound = replace(group(description, "web", SERVICE, "as2"), affinity=Affinity.CLIENT)
    net = SimulatedNetwork(description, Groups({"web": bound}))
    ask(net)
    (reason,) = look(net)["reasons"]
    assert reason["detail"] == "The IPv4 pool of arh1 is exhausted: 1 of 1 addresses in use, 0 resting."
    assert reason["effect"].endswith("a group with affinity: client are refused, others served.")
    assert reason["severity"] == "warning"


class Recording(Counters):
    """Remembers the events of pools."""

    def __init__(self) -> None:
        super().__init__()
        self.pools: list[PoolLow | PoolExhausted] = []

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        if isinstance(event, PoolLow | PoolExhausted):
            self.pools.append(event)


def test_a_pool_is_told_to_be_low_before_it_is_exhausted_and_each_once(v6) -> None:
    """A small pool of 14 addresses, one flow a second: less than half is left, and lasts for less than a minute."""
    small = (Prefix.parse("203.0.113.0/28"), Prefix.parse("2001:db8:1:f::/124"))
    role = {"bindings_per_client": 30, "bindings_per_port": 30, "pooling": Pooling.FLOW, "validity": {"udp_s": 60}}
    net = network("figure1", "as2", translation_prefixes=small, **role)
    net.channels.counters = seen = Recording()
    family, name = ("ipv6", "IPv6") if v6 else ("ipv4", "IPv4")
    for port in range(40000, 40008):
        ask(net, service=SERVICE[v6], port=port)
        net.advance(1)
    assert reasons(net) == [f"the {name} pool of arh1 is low: 6 of 14 addresses left, used up in about 7 s"]
    (low,) = seen.pools
    assert (low.switch, low.family, low.left, low.size) == ("arh1", family, 6, 14)
    assert low.used_up_in_s == pytest.approx(6.5, abs=1)
    views = edge_views(net.controller, net.counters, Trends(net.counters), net.now)
    (view,) = [view for view in views if view["name"] == "arh1"]
    assert view["pools"][family] | {"used_up_in_s": 6, "trend_per_min": 0, "exhausted_in_s": None} == {
        "size": 14, "leased": 8, "resting": 0, "free": 6, "level": "low", "used_up_in_s": 6,
        "trend_per_min": 0, "exhausted_in_s": None,
    }  # fmt: skip
    for port in range(40008, 40016):
        ask(net, service=SERVICE[v6], port=port)
        net.advance(1)
    assert seen.pools[1:] == [PoolExhausted("arh1", family, 14, 14, 0)]
    assert reasons(net) == [f"the {name} pool of arh1 is exhausted: 14 of 14 addresses in use, 0 resting"]
    net.advance(90)  # all flows have ended, and can be leased early
    assert reasons(net) == []
    assert len(seen.pools) == 2


def test_a_group_that_no_edge_can_serve_is_named_but_not_one_that_drains_or_is_empty() -> None:
    net = network("figure1", "as2")
    net.set_port(Port("ars2", 1), False)
    net.advance(12)
    unserved = [sentence for sentence in reasons(net) if sentence.startswith("no server edge")]
    assert unserved == [
        "no server edge is able to serve 198.18.0.1/32 of group web",
        "no server edge is able to serve 2001:db8:a::1/128 of group web",
    ]
    net.set_groups(web(net.network, "as2", draining=("as2",)))
    assert reasons(net) == []
    empty = group(net.network, "web", {False: b"\xc6\x12\0\1"})
    net.set_groups(Groups({"web": empty}))
    assert reasons(net) == []


def test_a_critical_server_is_one_reason_with_who_serves_in_its_place() -> None:
    net = network("figure1", "as2", "as3")
    net.set_port(net.host("as2").port, False)
    net.advance(1)
    v4, v6 = look(net)["reasons"]
    assert v4 == {
        "code": "server.critical",
        "severity": "critical",
        "subject": {"kind": "server", "name": "10.2.0.10", "group": "web"},
        "since": "2027-01-15T08:00:00Z",
        "detail": "Server 10.2.0.10 of web is critical: arp: does not answer.",
        "effect": "ars2 has withdrawn web, and new flows of web go to 1 other server.",
    }
    assert v6["subject"]["name"] == "2001:db8:2::10"
    net.set_port(net.host("as3").port, False)
    net.advance(1)
    effects = {reason["effect"] for reason in look(net)["reasons"] if reason["code"] == "server.critical"}
    assert effects == {"No other server serves web: new flows to it are refused."}
    net.set_groups(web(net.network, "as2", "as3", draining=("as2", "as3")))
    assert reasons(net) == []


def test_reasons_are_shown_with_their_effects_the_worst_first() -> None:
    net = network("ring")
    managed(net, "c1").note_unanswered(frozenset(("meters",)))
    look(net)
    net.set_port(Port("c2", 1), False)
    net.settle()
    net.disconnect("arh1")
    view = look(net)
    found = {reason["code"]: reason for reason in view["reasons"]}
    assert [*found] == ["switch.lost", "link.down", "switch.degraded"]
    assert view["network"] == "ring"
    assert found["switch.lost"]["effect"].startswith("Its 0 flows go on; new flows of its clients get nowhere")
    assert found["link.down"] | {"since": ""} == {
        "code": "link.down",
        "severity": "critical",
        "subject": {"kind": "link", "name": "c2:1-c3:2"},
        "since": "",
        "detail": "Link c2:1–c3:2 is down: both ports are down.",
        "effect": "c2 and c3 reach each other by other links, at cost 5 instead of 1. "
        "The loss of one more link would separate them.",
    }
    net.set_port(Port("c4", 1), False)
    net.settle()
    effects = [reason["effect"] for reason in look(net)["reasons"] if reason["code"] == "link.down"]
    assert any(effect.startswith("The network is split: c4 and c5 do not reach each other.") for effect in effects)


def test_a_link_that_is_down_says_which_sites_go_to_another_edge() -> None:
    net = network("ring")
    net.advance(1)
    net.set_port(Port("c1", 1), False)
    net.settle()
    assert catchment(net) == {"arh1": "ars3", "arh2": "ars3"}
    (down,) = look(net)["reasons"]
    assert down["effect"].endswith("would separate them. web from arh1 goes to ars3 instead of ars1.")


def test_an_edge_that_passes_flows_on_says_how_many_and_where_to() -> None:
    net = network("figure1", "as2", "as3")
    plain = group(net.network, "web", SERVICE, "as2", "as3")
    sizes = {net.host("as2").address(False): 10, net.host("as3").address(False): 1000}
    servers = {address: replace(each, capacity=sizes.get(address)) for address, each in plain.servers.items()}
    net.set_groups(Groups({"web": replace(plain, servers=servers)}))
    for port in range(40000, 40100):
        ask(net, port=port)
    net.advance(60)
    (reason,) = look(net)["reasons"]
    assert (reason["code"], reason["severity"]) == ("edge.spilling", "warning")
    assert reason["subject"] == {"kind": "switch", "name": "ars2"}
    assert re.fullmatch(r"\d\d% of new flows of web go on to ars3. Flows in progress stay.", reason["effect"])


def test_what_cannot_be_stored_comes_before_many_critical_servers() -> None:
    health = Health(Counters())
    servers = [Reason("server.critical", Subject("server", str(number)), "bad") for number in range(200)]
    health.set_reasons([*servers, Reason("pool.low", Subject("pool", "a"), "low", severity=Severity.WARNING)], False, 0)
    health.set_reasons([Reason("store.failed", Subject("controller", ""), "bad"), *servers], False, 1)
    net = network("figure1")
    view = health.view(net.controller, 1, EPOCH)
    assert view["reasons"][0]["code"] == "store.failed"
    assert (len(view["reasons"]), view["more_reasons"]) == (MAX_REASONS, 101)


@pytest.mark.parametrize("problem", ["", "connection refused"])
def test_a_session_that_is_not_established_is_named(problem: str) -> None:
    net = network("figure1")
    net.advance(12)
    assert reasons(net, Session("up1", "198.51.100.2", "established", "")) == []
    lines = reasons(net, Session("up1", "198.51.100.2", "idle", problem))
    assert lines == ["the BGP session of uplink up1 with 198.51.100.2 is idle" + (f": {problem}" if problem else "")]


def test_a_router_that_does_not_answer_is_named() -> None:
    net = SimulatedNetwork(topology("legacy-core"))
    net.advance(12)
    assert "router 10.9.1.2 at uplink up1 does not answer" in reasons(net)


def bad(name: str) -> Reason:
    return Reason("switch.lost", Subject("switch", name), "bad")


def test_a_status_is_logged_once_when_it_has_lasted() -> None:
    health, wrong = Health(Counters()), [bad("x")]
    lines = []
    for second, found in enumerate([[], [], [], [], wrong, [], wrong, [], [], wrong, wrong, wrong, wrong]):
        health.set_reasons(found, False, second)
        if health.pop_change(second):
            lines.append((second, health.status))
    assert lines == [(2, "ok"), (11, "degraded")]


def test_of_many_reasons_the_first_hundred_are_shown_and_the_others_counted(build: Any) -> None:
    net = build("figure1")
    health = Health(Counters())
    health.set_reasons([bad(str(number)) for number in range(1000)], False, 0.0)
    shown = health.view(net.controller, 0.0, EPOCH)
    assert len(shown["reasons"]) == MAX_REASONS
    assert shown["more_reasons"] == 900


# ------------------------------------------------------------------------------ reports of missing switches


def logged(reports: ConnectionReports, missing: dict[int, list[str]], seconds: int) -> dict[int, str]:
    """Second → the line that is logged.  ``missing``: from which second on which switches are missing."""
    lines = {}
    now: list[str] = []
    for second in range(seconds):
        now = missing.get(second, now)
        if event := reports.pop_due(now, second):
            lines[second] = event.sentence()
    return lines


def test_missing_switches_are_logged_after_ten_seconds_and_then_at_doubling_intervals() -> None:
    lines = logged(ConnectionReports(3, 0), {0: ["b", "c"], 35: ["c"], 80: []}, 200)
    assert lines == {
        10: "still waiting for 2 switches: b, c",
        30: "still waiting for 2 switches: b, c",
        70: "still waiting for 1 switch: c",
        80: "all 3 switches are connected",
    }


def test_a_switch_that_disconnects_again_is_reported_as_in_the_beginning() -> None:
    lines = logged(ConnectionReports(1, 0), {0: ["a"], 2: [], 50: ["a"], 55: [], 60: ["a"]}, 75)
    assert lines == {
        2: "the switch is connected",
        55: "the switch is connected",
        70: "still waiting for 1 switch: a",
    }


def test_the_interval_between_reports_has_a_limit() -> None:
    times = list(logged(ConnectionReports(2, 0), {0: ["a"]}, 5000))
    assert times[-1] - times[-2] == LONGEST_REPORT_S


def test_a_binding_log_that_is_not_written_is_a_reason() -> None:
    net, log = network("figure1", "as2"), "the binding log is not written: No space left on device"
    health_of(net).update(net.controller, [], net.now, binding_log=log)
    view = health_of(net).view(net.controller, net.now, EPOCH)
    (reason,) = view["reasons"]
    assert (view["status"], reason["code"], reason["severity"]) == ("degraded", "binding_log.failed", "critical")
    assert reason["effect"] == "Who has which translation address is not recorded; flows go on."
