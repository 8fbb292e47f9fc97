"""What would be different without parts of the network, and that it comes true (M29)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from checks import AS2, AS3, CRITICAL, change, checked, refuse, status
from scenes import SECOND_SERVICE, SERVICE, ask, bindings, catchment, client_edge, group, topology, web

from anycast_sdn.core.checks import TcpCheck
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import TCP, NotFound, OnServerLoss, Prefix, packed, text
from anycast_sdn.core.roles import Pooling
from anycast_sdn.simulation.host import TCP_ACK
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.views.topology import topology_view

SERVERS = ("as1", "as2", "as3")
LINKS = [f"{link.a}-{link.b}" for link in topology("ring").links]
FIN = 1  # flag of TCP
V4, V6 = "198.18.0.1/32", "2001:db8:a::1/128"


def ring(**changes: Any) -> SimulatedNetwork:
    described = topology("ring", **changes)
    net = SimulatedNetwork(described, web(described, *SERVERS))
    net.advance(1)
    return net


def shown(net: SimulatedNetwork, *without: str) -> Any:
    return topology_view(net.controller, without, net.now)


def moves(net: SimulatedNetwork, *without: str) -> list[tuple[Any, ...]]:
    names = ("prefix", "site", "from", "to", "flows_losing_server", "note")
    return [tuple(row[name] for name in names) for row in shown(net, *without)["difference"]]


def ask_from_both_sites(net: SimulatedNetwork) -> None:
    for port in (41000, 41001):
        ask(net, "h1", port=port)
        ask(net, "h4", port=port)


def unpinned(net: SimulatedNetwork) -> int:
    return sum(binding.server is None for name in ("arh1", "arh2") for binding in bindings(net, name))


def test_nothing_is_different_as_long_as_nothing_is_left_out() -> None:
    net = ring()
    assert shown(net)["difference"] == shown(net, "c3-c4")["difference"] == []
    assert shown(net, "c3-c4")["difference_totals"] == {"moves": 0, "flows_losing_server": 0, "rows_left_out": 0}


def test_a_service_moves_without_a_link_and_its_flows_stay() -> None:
    net = ring()
    ask_from_both_sites(net)
    assert moves(net, "c1-c2") == [(V4, "arh1", "ars1", "ars3", 0, ""), (V6, "arh1", "ars1", "ars3", 0, "")]


def test_flows_lose_a_server_that_is_left_out_that_is_behind_such_an_edge_or_to_which_no_path_is_left() -> None:
    net = ring()
    ask_from_both_sites(net)
    (address,) = {text(binding.server or b"") for binding in bindings(net, "arh1")}
    assert moves(net, address) == [(V4, "arh1", "ars1", "ars2", 2, f"{address} is left out")]
    assert moves(net, "ars1")[0] == (V4, "arh1", "ars1", "ars2", 2, "ars1 is left out")
    assert moves(net, "c2")[0] == (V4, "arh1", "ars1", "ars3", 2, "no path to ars1")
    assert moves(net, "arh1")[0] == (V4, "arh1", "ars1", None, 2, "arh1 is left out")
    assert moves(net, "ars1", "ars2", "ars3")[2] == (V4, "arh2", "ars3", None, 2, "ars3 is left out")


@pytest.mark.parametrize("link", LINKS)
def test_what_is_said_about_a_link_comes_true(link: str) -> None:
    net = ring()
    ask_from_both_sites(net)
    said = shown(net, link)
    end = net.network.links[LINKS.index(link)].a
    net.set_port(end, False)
    net.advance(6)
    assert shown(net)["catchment"] == said["catchment"]
    assert shown(net)["paths"] == said["paths"]
    assert unpinned(net) == said["difference_totals"]["flows_losing_server"]


@pytest.mark.parametrize("server", SERVERS)
def test_what_is_said_about_a_server_comes_true(server: str) -> None:
    net = ring()
    ask_from_both_sites(net)
    host = net.host(server)
    said = shown(net, *map(text, host.addresses))
    net.set_port(host.port, False)
    net.advance(6)
    assert shown(net)["catchment"] == said["catchment"]
    assert unpinned(net) == said["difference_totals"]["flows_losing_server"]


@pytest.mark.parametrize("name", ["c1", "c2", "c3", "c4", "c5", "c6", "ars1", "ars3"])
def test_what_is_said_about_a_switch_comes_true(name: str) -> None:
    net = ring()
    ask_from_both_sites(net)
    said = shown(net, name)
    net.disconnect(name)
    for link in net.network.links:
        for end, other in ((link.a, link.b), (link.b, link.a)):
            if end.switch == name:
                net.set_port(other, False)
    net.advance(6)
    assert shown(net)["catchment"] == said["catchment"]
    assert shown(net)["paths"] == said["paths"]
    assert unpinned(net) == said["difference_totals"]["flows_losing_server"]


@pytest.mark.parametrize(("min_healthy", "goal"), [(0, None), (1, "ars3")])
def test_a_server_that_is_critical_serves_when_too_few_are_healthy_without_the_others(
    min_healthy: int, goal: str | None
) -> None:
    net = checked(TcpCheck(port=80), min_healthy=min_healthy)
    refuse(net.host("as3"), 80)
    net.advance(30)
    assert status(net, AS3[False]) is CRITICAL
    assert catchment(net, text(AS2[False])) == {"arh1": goal}
    net.set_port(net.host("as2").port, False)
    net.advance(6)
    assert catchment(net) == {"arh1": goal}


def test_paths_are_those_that_packets_take() -> None:
    net = ring()
    assert shown(net)["paths"] == {
        "arh1": {"ars1": ["arh1", "c1", "c2", "ars1"]},
        "arh2": {"ars3": ["arh2", "c5", "c4", "ars3"]},
    }
    assert shown(net, "c1-c2")["paths"]["arh1"] == {"ars3": ["arh1", "c1", "c6", "c5", "c4", "ars3"]}


def test_flows_are_measured_where_they_are_pinned_whatever_routes_say_now() -> None:
    net = ring()
    ask(net, "h1", port=41000)
    ask(net, "h1", port=41001, service=SERVICE[True])
    net.set_port(net.network.links[LINKS.index("c1:1-c2:2")].a, False)
    net.advance(1)
    ask(net, "h1", port=41002)
    row = {"group": "web", "site": "arh1"}
    assert shown(net)["measured"] == shown(net, "arh1")["measured"] == [
        {**row, "family": "ipv4", "edges": {"ars1": 1, "ars3": 1}},
        {**row, "family": "ipv6", "edges": {"ars1": 1}},
    ]


def test_servers_that_are_left_have_the_sessions_of_all() -> None:
    net = ring()
    (former,) = web(net.network, *SERVERS)
    servers = {address: replace(server, capacity=10) for address, server in former.servers.items()}
    net.set_groups(Groups({"web": replace(former, servers=servers)}))
    net.advance(1)
    for port in range(41000, 41008):
        ask(net, "h1", port=port)
    wanted = {"group": "web", "family": "ipv4", "sessions": 8, "capacity": 20, "load": 0.4, "limit": 0.8}
    assert shown(net, "10.21.0.10")["loads"] == [wanted]
    assert shown(net, "10.21.0.10", "10.22.0.10")["loads"] == [wanted | {"capacity": 10, "load": 0.8}]
    assert shown(net, "c1-c2")["loads"] == []


def lost_connections(net: SimulatedNetwork) -> Any:
    for port in (41000, 41001, 41002):
        ask(net, "h1", port=port, protocol=TCP, service_port=80)
    ask(net, "h1", port=41004, protocol=TCP, service_port=80)
    ask(net, "h1", port=41004, protocol=TCP, service_port=80, tcp_flags=FIN | TCP_ACK)
    ask(net, "h1", port=41003)
    assert len([each for each in bindings(net, "arh1") if each.server]) == 5
    return shown(net, "10.21.0.10")["pools"]


def test_connections_that_are_opened_anew_need_addresses() -> None:
    """A UDP flow keeps its own, and a connection that is being closed needs none."""
    net = ring()
    pool = client_edge(net).addresses.use(net.now)["ipv4"]
    wanted = {"edge": "arh1", "family": "ipv4", "free": pool.free - 5, "new_connections": 3, "fills": False}
    assert lost_connections(net) == [wanted]


def test_they_need_none_where_a_clients_flows_share_one_or_where_their_group_keeps_them() -> None:
    assert lost_connections(ring(pooling=Pooling.PAIRED)) == []
    net = ring()
    change(net, on_server_loss=OnServerLoss.KEEP)
    assert lost_connections(net) == []
    assert "on_server_loss is keep" in moves(net, "10.21.0.10")[0][-1]


def test_flows_of_a_group_that_is_deleted_are_counted_too() -> None:
    net = ring()
    ask(net, "h1")
    net.set_groups(Groups())
    net.advance(1)
    assert moves(net, "ars1") == [(None, "arh1", None, None, 1, "ars1 is left out")]


def test_the_services_of_some_groups_can_be_shown_alone_but_the_difference_is_about_all() -> None:
    net = ring()
    second = group(net.network, "second", SECOND_SERVICE, "as1")
    net.set_groups(net.controller.groups.replaced(second))
    net.settle()
    ask(net, "h1")
    ask(net, "h1", service=SECOND_SERVICE[False])
    shown = topology_view(net.controller, ["c1-c2"], net.now, groups=["second"])
    services = {"198.18.0.2/32", "2001:db8:a::2/128"}
    assert shown["catchment"].keys() == services  # type: ignore[attr-defined]
    announced = {prefix for edge in shown["edges"] for prefix in edge["announces"]}  # type: ignore[attr-defined]
    assert services < announced
    assert V4 not in announced
    assert [row["group"] for row in shown["measured"]] == ["second"]  # type: ignore[attr-defined]
    assert {row["group"] for row in shown["difference"]} == {"web"}  # type: ignore[attr-defined]
    with pytest.raises(NotFound, match="no group 'none'"):
        topology_view(net.controller, [], net.now, groups=["none"])


def test_prefixes_that_move_alike_are_one_row() -> None:
    net = ring()
    (former,) = web(net.network, *SERVERS)
    more = tuple(Prefix.host(packed(f"198.18.7.{number}")) for number in range(200))
    net.set_groups(Groups({"web": replace(former, prefixes=(*former.prefixes, *more))}))
    net.advance(2)
    rows = shown(net, "c1-c2")["difference"]
    assert [(row["prefix"], row["prefixes"]) for row in rows] == [(V4, 201), (V6, 1)]
    assert shown(net, "c1-c2")["difference_totals"]["moves"] == 2
