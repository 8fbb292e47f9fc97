"""What is shown of servers and switches: shares, effective weights, reported load, and how fast pools become empty."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scenes import SERVICE, ask, group, network, web

from anycast_sdn.core.groups import Groups
from anycast_sdn.core.load import LoadReport
from anycast_sdn.core.model import Prefix, Server, ServerState, packed
from anycast_sdn.core.roles import Pooling
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.views.servers import ServerViews
from anycast_sdn.views.switches import edge_view
from anycast_sdn.views.trends import Trends

EPOCH = 1_800_000_000.0


def server(net: SimulatedNetwork, address: str, name: str = "web") -> dict[str, Any]:
    return ServerViews(net.controller).view(name, packed(address), net.now, EPOCH)


def edge(net: SimulatedNetwork, name: str, trends: Trends | None = None) -> dict[str, Any]:
    return edge_view(net.controller, net.counters, trends or Trends(net.counters), name, net.now)


def test_servers_have_their_weights_as_long_as_nothing_reduces_their_shares() -> None:
    net = network("figure1", "as2", "as3")
    shown = server(net, "10.2.0.10")
    assert (shown["effective_weight"], shown["excluded"], shown["load"]) == (1.0, None, None)
    assert edge(net, "ars2")["buckets"]["198.18.0.1/32"] == [{"server": "10.2.0.10", "edge": "ars2", "share": 1.0}]
    assert edge(net, "core")["buckets"] == {}


def test_who_takes_no_new_flows_says_why() -> None:
    net = network("figure1", "as2", "as3")
    net.set_groups(web(net.network, "as2", "as3", draining=("as2",)))
    shown = server(net, "10.2.0.10")
    assert (shown["effective_weight"], shown["excluded"]) == (0.0, "draining")
    net.set_port(net.host("as3").port, False)
    net.advance(1)
    assert server(net, "10.3.0.10")["excluded"] == "unreachable"


def test_a_load_that_is_reported_is_shown_in_its_parts_until_it_is_stale() -> None:
    net = network("figure1", "as2", "as3")
    report = LoadReport(sessions=5, cpu=0.25, memory=0.5, ttl_s=30)
    net.controller.selecting.reported(packed("10.2.0.10"), report, net.now)
    net.advance(10)
    assert server(net, "10.2.0.10")["load"] == {
        "overall": 0.25, "sessions": 5, "cpu": 0.25, "memory": 0.5, "disk": None, "network": None,
        "age_s": pytest.approx(10, abs=0.1),
    }  # fmt: skip
    net.advance(25)
    assert server(net, "10.2.0.10")["load"] is None


def test_an_edge_that_passes_flows_on_reduces_the_weights_of_its_servers() -> None:
    """ars2 has a server of 10 sessions and ars3 one of 1,000: most flows of a crowd at arh1 are passed on to ars3."""
    net = network("figure1", "as2", "as3")
    plain = group(net.network, "web", SERVICE, "as2", "as3")
    sizes = {packed("10.2.0.10"): 10, packed("10.3.0.10"): 1000}
    sized = {address: replace(each, weight=10, capacity=sizes.get(address)) for address, each in plain.servers.items()}
    net.set_groups(Groups({"web": replace(plain, servers=sized)}))
    for port in range(40000, 40100):
        ask(net, port=port)
    net.advance(60)
    own, other = server(net, "10.2.0.10"), server(net, "10.3.0.10")
    assert 0 < own["effective_weight"] < 5
    assert other["effective_weight"] == 10
    assert own["effective_weight"] == pytest.approx(10 * own["shares"]["ars2"], abs=0.1)
    shown = {each["server"]: each["share"] for each in edge(net, "ars2")["buckets"]["198.18.0.1/32"]}
    assert shown == {"10.3.0.10": other["shares"]["ars2"], "10.2.0.10": own["shares"]["ars2"]}
    assert [*shown] == ["10.3.0.10", "10.2.0.10"]


def test_a_trend_says_when_a_pool_becomes_exhausted_and_counters_how_fast_they_grow() -> None:
    small = (Prefix.parse("203.0.113.0/27"), Prefix.parse("2001:db8:1:f::/124"))
    role = {"bindings_per_client": 30, "bindings_per_port": 30, "pooling": Pooling.FLOW}
    net = network("figure1", "as2", translation_prefixes=small, **role)
    trends = Trends(net.counters)
    for port in range(40000, 40012):
        trends.sample(net.controller, net.now)
        ask(net, port=port)
        net.send("as2", net.host("as2").packet(packed("203.0.113.1"), 17, 9, 9))
        net.advance(10)
    shown = edge(net, "arh1", trends)
    pool = shown["pools"]["ipv4"]
    assert (pool["leased"], pool["free"]) == (12, 18)
    assert pool["trend_per_min"] == pytest.approx(6, abs=0.5)
    assert pool["exhausted_in_s"] == pytest.approx(180, abs=20)
    assert shown["drops_per_s"].keys() == shown["drops"].keys()
    assert (shown["pooling"], shown["engine"]) == ("flow", "rules")
    assert edge(net, "ars2")["engine"] is None
    growing = {name: rate for name, rate in shown["drops_per_s"].items() if rate}
    assert growing, shown["drops"]
    assert all(0 < rate < 1 for rate in growing.values())


def test_a_server_that_is_disabled_has_no_weight() -> None:
    net = network("figure1", "as2", "as3")
    plain = group(net.network, "web", SERVICE, "as2", "as3")
    disabled = Server(packed("10.2.0.10"), state=ServerState.DISABLED)
    net.set_groups(Groups({"web": replace(plain, servers={**plain.servers, disabled.address: disabled})}))
    assert server(net, "10.2.0.10")["excluded"] == "disabled"
