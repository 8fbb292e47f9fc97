"""What is shown of a switch: what it is, what it can be and why not, and what it holds."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from scenes import ask, bindings, network

from anycast_sdn.api.shown_switches import SwitchReport
from anycast_sdn.core.bindings import State
from anycast_sdn.core.model import NotFound
from anycast_sdn.description.profile import Profile
from anycast_sdn.openflow.abilities import Ability, Lack
from anycast_sdn.openflow.layout import THREE_TABLES
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.views.reasons import reasons
from anycast_sdn.views.switch_reports import switch_report, switch_reports

DESCRIPTION = ("Acme", "Acme 9", "1.0", "None", "")


def report(net: SimulatedNetwork, name: str) -> Any:
    dpid = net.controller.by_name[name].dpid
    channel: Any = SimpleNamespace(peer="192.0.2.1:40000", layout=THREE_TABLES)
    shown = switch_report(net.controller, {dpid: channel}, name, net.now)
    SwitchReport.model_validate(shown)  # as REST says that it is
    return shown


def found(net: SimulatedNetwork, name: str, **features: Any) -> None:
    """The switch has been found to have these features."""
    managed = net.controller.by_name[name]
    managed.features = replace(managed.features, **features)


def test_a_switch_is_shown_with_its_description_and_its_tables() -> None:
    net = network("figure1", "as2")
    found(net, "ars2", description=DESCRIPTION, tables=3)
    shown = report(net, "ars2")
    assert shown["description"] == {
        "manufacturer": "Acme", "hardware": "Acme 9", "software": "1.0", "serial": None, "datapath": None
    }  # fmt: skip
    assert shown["tables"] == 3
    assert shown["layout"] == {"ingress": 0, "client_out": 1, "service": 2, "client_in": 1, "routes": 2}
    assert shown["rules"]["other"] == len(net.controller.by_name["ars2"].installed) > 0
    assert shown["rules"]["groups"] == len(net.controller.by_name["ars2"].installed.groups) > 0


def test_each_role_is_judged_also_those_that_the_network_file_does_not_give_it() -> None:
    net = network("figure1", "as2")
    found(net, "ars2", lacks=(Lack(Ability.SET_IPV6, 1, "bad action, bad set type"),))
    roles = {role["role"]: role for role in report(net, "ars2")["roles"]}
    assert roles["server edge"]["wanted"]
    assert roles["server edge"]["families"] == ["ipv4", "ipv6"]
    client_edge = roles["client edge"]
    assert not client_edge["wanted"]
    assert client_edge["families"] == ["ipv4"]
    assert client_edge["lacks"] == [
        {"ability": "set_ipv6", "what": "set IPv6 addresses", "family": "ipv6", "table": 1,
         "why": "bad action, bad set type"}
    ]  # fmt: skip
    assert "cannot set IPv6 addresses (table 1: bad action, bad set type)" in client_edge["sentence"]


def test_what_a_switch_is_used_without_is_shown_with_its_effect() -> None:
    net = network("figure1", "as2")
    assert report(net, "arh1")["without"] == []
    found(net, "arh1", meters=False)
    (without,) = report(net, "arh1")["without"]
    assert without["feature"] == "meters"


def test_of_a_switch_that_has_not_connected_nothing_is_claimed() -> None:
    net = network("figure1", "as2")
    net.channels.controller = net._new_controller(net.controller.groups)
    shown = switch_report(net.controller, {}, "ars2", net.now)
    SwitchReport.model_validate(shown)
    assert (shown["roles"], shown["tables"], shown["layout"], shown["connected"]) == ([], None, None, False)


def test_all_switches_are_shown_and_no_other() -> None:
    net = network("figure1", "as2")
    assert [each["name"] for each in switch_reports(net.controller, {}, net.now)] == [
        switch.name for switch in net.network.switches
    ]
    with pytest.raises(NotFound, match="there is no switch 'arh9'"):
        switch_report(net.controller, {}, "arh9", net.now)


def test_that_a_switch_keeps_lldp_to_itself_is_shown_and_its_servers_are_served() -> None:
    net = network("figure1", "as2", switch={"profiles": {"ars2": Profile(wrong=("lldp",))}})
    net.advance(30)
    without = {name: {each["feature"] for each in report(net, name)["without"]} for name in net.controller.by_name}
    named = [name for name, features in without.items() if "lldp" in features]
    assert named == ["ars2"]
    (reason,) = reasons(net.controller, net.counters, (), "", net.now)
    assert reason.sentence == "switch ars2 does not let LLDP through, although it answers"
    assert reason.effect.startswith("Its links are used as the network file declares them, and go down with")
    ask(net)
    assert [binding.state for binding in bindings(net)] == [State.PINNED]
