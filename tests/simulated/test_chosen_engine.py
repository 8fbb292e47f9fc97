"""A switch whose connection tracker does not do what its network file wants: what becomes of its clients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scenes import SERVICE, errors, managed, network

from anycast_sdn.core.model import UDP
from anycast_sdn.core.roles import EngineName
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.views.counters import Counters
from anycast_sdn.views.health import Health

PROHIBITED = {False: (3, 13), True: (1, 1)}


def without_tracker(*engines: EngineName) -> SimulatedNetwork:
    net = network("figure1", "as2", engines=engines)
    net.disconnect("arh1")
    net.channels.features = replace(net.channels.features, connections=False)
    net.connect("arh1")
    net.settle()
    return net


def reasons(net: SimulatedNetwork) -> list[Any]:
    health = Health(Counters())
    health.update(net.controller, (), net.now)
    return list(health.view(net.controller, net.now, 0.0)["reasons"])


def ask(net: SimulatedNetwork, v6: bool) -> None:
    net.send("h1", net.host("h1").packet(SERVICE[v6], UDP, 40000, 53))
    net.settle()


def test_rules_serve_its_clients_if_the_file_allows_it(v6: bool) -> None:
    net = without_tracker(EngineName.CONNTRACK, EngineName.RULES)
    ask(net, v6)
    assert len(managed(net, "arh1").engine.flows) == 1
    assert managed(net, "arh1").engine.shown_as == "rules"
    assert reasons(net) == []
    net.check_recompute_changes_nothing()


def test_its_clients_get_an_error_at_once_if_the_file_names_nothing_else(v6: bool) -> None:
    net = without_tracker(EngineName.CONNTRACK)
    ask(net, v6)
    assert len(managed(net, "arh1").engine.flows) == 0
    assert managed(net, "arh1").engine.shown_as == ""
    assert errors(net.host("h1")) == [PROHIBITED[v6]]
    net.check_recompute_changes_nothing()


def test_health_says_that_its_clients_are_not_served() -> None:
    (reason,) = reasons(without_tracker(EngineName.CONNTRACK))
    assert (reason["code"], reason["severity"], reason["subject"]["name"]) == ("switch.degraded", "critical", "arh1")
    assert reason["detail"].startswith("Switch arh1 cannot translate by its connection tracker")
    assert reason["effect"].endswith("Write engine: [conntrack, rules], or update Open vSwitch.")


@pytest.mark.parametrize("engines", [(EngineName.CONNTRACK,), (EngineName.CONNTRACK, EngineName.RULES)])
def test_a_switch_that_is_updated_is_served_as_the_file_prefers(engines: tuple[EngineName, ...]) -> None:
    net = without_tracker(*engines)
    net.disconnect("arh1")
    net.channels.features = replace(net.channels.features, connections=True)
    net.connect("arh1")
    net.settle()
    assert managed(net, "arh1").engine.shortcoming is None
    assert managed(net, "arh1").engine.shown_as == "conntrack"
    ask(net, False)
    assert len(managed(net, "arh1").engine.flows) == 1
    net.check_recompute_changes_nothing()


def test_connections_in_a_tracker_end_as_validity_says(v6: bool) -> None:  # M19
    net = network("figure1", "as2", engines=(EngineName.CONNTRACK,), validity={"udp_s": 200, "unanswered_s": 7})
    role = managed(net, "arh1").described.client_edge
    assert role
    timeouts = net.switches["arh1"].tracker.timeouts
    assert timeouts.keys() == set(role.conntrack.zones)
    assert timeouts[role.conntrack.zone_of(v6, udp=True)].udp_multiple == 200
    assert {each.udp_first for each in timeouts.values()} == {7}
    assert net.switches["ars2"].tracker.timeouts == {}
