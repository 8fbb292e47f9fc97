"""Whether what a switch should hold fits: counted by what it says, and decided by what it refuses (M38)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from scenes import SERVICE, ask, managed, served_by, topology, web

from anycast_sdn.api.shown_switches import SwitchReport
from anycast_sdn.cli.switch_words import written
from anycast_sdn.core.switch_events import SwitchDegraded
from anycast_sdn.description.profile import Elements, Profile
from anycast_sdn.openflow.judgement import Role
from anycast_sdn.openflow.layout import FIVE_TABLES
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.views.reasons import reasons
from anycast_sdn.views.switch_reports import switch_report

NEEDED = 37  # rules in the table of ars2 that needs most, of ingress


def figure1(profile: Profile, name: str = "ars2") -> SimulatedNetwork:
    """The nearer server edge is of this profile."""
    network = topology("figure1")
    return SimulatedNetwork(network, web(network, "as2", "as3"), profiles={name: profile})


def report(net: SimulatedNetwork, name: str = "ars2") -> Any:
    channel: Any = SimpleNamespace(peer="192.0.2.1:40000", layout=FIVE_TABLES)
    shown = switch_report(net.controller, {net.controller.by_name[name].dpid: channel}, name, net.now)
    SwitchReport.model_validate(shown)
    return shown


def said(net: SimulatedNetwork, role: Role, name: str = "ars2") -> str:
    return next(each.sentence for each in managed(net, name).abilities.judgements if each.role is role)


def health(net: SimulatedNetwork) -> list[str]:
    found = reasons(net.controller, net.counters, (), "", net.now)
    return [each.sentence for each in found if each.code == "switch.degraded"]


def serving(net: SimulatedNetwork, v6: bool) -> set[str]:
    for port in range(40000, 40006):
        ask(net, service=SERVICE[v6], port=port)
    return set().union(*served_by(net, "as2", "as3").values())


def test_the_report_says_how_many_rules_each_table_needs_and_has_room_for():
    net = figure1(Profile(rules=5000, groups=16))
    room = report(net)["room"]
    assert [each["table"] for each in room["tables"]] == [0, 1, 2, 3, 4]
    assert room["tables"][0] == {"table": 0, "needs": NEEDED, "says": 5000}
    assert sum(each["needs"] for each in room["tables"]) == len(managed(net, "ars2").installed)
    assert room["groups"] == {"needs": 2, "says": 16}
    words = " ".join(written(report(net)).split())
    assert "It says that it has room for 5,000 rules in table 0," in words
    assert f"It needs, besides the rules of flows: {NEEDED} in table 0," in words


def test_a_switch_that_does_not_say_what_it_has_room_for_is_shown_so():
    net = figure1(Profile(refuse=(Elements(multipart=("table_features", "group_features")),), rules=5000, groups=16))
    room = report(net)["room"]
    assert {each["says"] for each in room["tables"]} == {None}
    assert room["groups"]["says"] is None
    assert "has room for" not in written(report(net))
    assert not health(net)


def test_a_server_edge_whose_rules_do_not_fit_announces_nothing_and_says_what_it_needs(v6):
    net = figure1(Profile(rules=NEEDED - 2))
    assert serving(net, v6) == {"as3"}
    assert said(net, Role.SERVER_EDGE) == (
        f"cannot be a server edge: it cannot hold all rules that it needs (table 0: needs {NEEDED}, has {NEEDED - 2}); "
        "service addresses are not announced here"
    )
    assert any(f"needs {NEEDED}, has {NEEDED - 2}" in sentence for sentence in health(net))
    told = [event.lacks for event in net.channels.reported if isinstance(event, SwitchDegraded)]
    assert sorted(told) == ["core", "server edge"], "each is told once"


def test_what_is_refused_counts_also_where_the_switch_does_not_say_what_it_has(v6):
    net = figure1(Profile(refuse=(Elements(multipart=("table_features",)),), rules=NEEDED - 2))
    assert serving(net, v6) == {"as3"}
    assert f"(table 0: needs {NEEDED}, and has not room for all)" in said(net, Role.SERVER_EDGE)


def test_a_core_without_room_for_its_routes_is_gone_round():
    net = figure1(Profile(rules=25), "core")
    assert said(net, Role.CORE, "core").startswith(
        "cannot be a core: it cannot hold all rules that it needs (table 0: needs 32, has 25); "
    )


def test_a_switch_that_says_too_little_is_used_and_after_its_rules_were_found_nothing_is_said(v6):
    net = figure1(Profile(wrong=("sizes",)))
    assert managed(net, "ars2").room.shortages()
    assert f"switch ars2 needs {NEEDED} rules in table 0, and says that it has room for 10" in health(net)
    assert serving(net, v6) == {"as2"}
    assert managed(net, "ars2").abilities.can(Role.SERVER_EDGE, v6)
    net.advance(15)
    assert not health(net), "all its rules were found"
    assert report(net)["room"]["tables"][0]["says"] == 10


def test_a_server_edge_without_room_for_its_groups_announces_nothing(v6):
    net = figure1(Profile(groups=1))
    assert serving(net, v6) == {"as3"}
    assert said(net, Role.SERVER_EDGE) == (
        "cannot be a server edge: it cannot hold all groups that it needs (needs 2, has 1); "
        "service addresses are not announced here"
    )
    assert said(net, Role.CORE) == "can be a core"
