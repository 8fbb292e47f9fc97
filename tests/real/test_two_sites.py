"""Two client sites, a ring between, and a server inside a client site (M3, M5, M6, M23, M25)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest
from support import TOPOLOGIES, Running, on_both_engines, running

pytestmark = on_both_engines

WEB = {4: "198.18.0.1", 6: "2001:db8:a::1"}
FILES = {4: "198.19.0.1", 6: "2001:db8:b::1"}
AS4 = {4: "10.1.9.10", 6: "2001:db8:1:9::10"}
in_both_families = pytest.mark.parametrize("v", [4, 6], ids=["IPv4", "IPv6"])


@pytest.fixture(scope="module")
def network(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(TOPOLOGIES / "two-sites.yaml", tmp_path_factory.mktemp("two-sites"), engine=engine) as network:
        network.serve_udp("as1", "as2", "as3", "as4")
        network.wait_for_servers("web", "files")
        yield network


@pytest.mark.row("M23", "each site's flows go to the edge that is nearest to it: site 1 to as1, site 2 to as3")
@in_both_families
def test_each_site_has_its_own_nearest_server(network: Running, v: int) -> None:
    assert network.ask("h1", WEB[v]) == ["as1 hello"]
    assert network.ask("h3", WEB[v]) == ["as3 hello"]


@pytest.mark.row("M23", "link costs are added up around the ring, and changes of cost move new flows")
@in_both_families
def test_costs_add_up_around_the_ring(network: Running, v: int) -> None:
    """From c1, as2 is 1 + 1 + 1 away by c2 and c3; as1 must cost more than that to lose."""
    network.call("PATCH", "/v1/topology/links/ars1:10", {"cost": 4})
    assert network.ask("h1", WEB[v]) == ["as2 hello"]
    network.call("PATCH", "/v1/topology/links/ars1:10", {"cost": 1})
    assert network.ask("h1", WEB[v]) == ["as1 hello"]


@pytest.mark.row("M5", "a server inside a client site serves that site; its switch is ARh and ARs at once")
@pytest.mark.row("M25", "a switch in both roles beside others")
@in_both_families
def test_a_server_inside_the_site_serves_it(network: Running, v: int) -> None:
    uplink = network.testbed.capture("arh1", 10, "udp port 20901")
    with uplink:
        assert network.ask("h2", FILES[v], "--source-port", 20901) == ["as4 hello"]
    flow = next(flow for flow in network.flows("group=files") if flow["service"] == FILES[v])
    assert (flow["server"], flow["edge"]) == (AS4[v], "arh1")
    assert uplink.packets() == []


@pytest.mark.row("M5", "an enrolment with an address of the site's client subnet is refused with the reason")
@in_both_families
def test_a_client_address_cannot_be_enrolled(network: Running, v: int) -> None:
    client = {4: "10.1.0.10", 6: "2001:db8:1::10"}[v]
    answer = network.controller.rest("POST", "/v1/groups/files/servers", {"address": client})
    assert (answer.status, answer.body["type"].rpartition(":")[2]) == (422, "server-in-client-subnet")
    assert client in answer.body["detail"]
    assert "give the server an address in a server subnet (M5)" in answer.body["detail"]


@pytest.mark.row("M6", "site 2 may not use the second anycast prefix: refused at arh2, counted; site 1 may")
@in_both_families
def test_unauthorised_prefixes_are_dropped_at_the_edge(network: Running, v: int) -> None:
    uplink = network.testbed.capture("arh2", 10, "udp")
    with uplink, network.counts("arh2", "unauthorised", 3):
        said = network.ask("h3", FILES[v], "--count", 3, "--answers", 1)
        assert set(said) == {"error EHOSTUNREACH" if v == 4 else "error EACCES"}  # prohibited
        assert network.ask("h3", WEB[v]) == ["as3 hello"]
    assert FILES[v] not in {packet.destination for packet in uplink.packets()}
    assert len(uplink.packets()) == 2


@pytest.mark.row("M6", "a server inside a client site uses the services of that site, as its clients do")
@in_both_families
def test_a_server_behind_a_client_edge_uses_services(network: Running, v: int) -> None:
    assert network.ask("as4", WEB[v], "--count", 3) == 3 * ["as1 hello"]


@pytest.mark.row("M3", "arh2 takes addresses out of both of its IPv4 translation prefixes")
def test_both_translation_prefixes_are_used(network: Running) -> None:
    """48 random picks out of two halves: the odds for one half alone are 2**-47."""
    network.ask("h4", WEB[4], "--flows", 48)
    prefixes = [ip_network("203.0.113.128/26"), ip_network("203.0.113.192/26")]
    translated = [ip_address(flow["translated"]) for flow in network.flows("client=10.4.0.11")]
    used = Counter(prefix for address in translated for prefix in prefixes if address in prefix)
    assert used.total() == len(translated) == 48
    assert set(used) == set(prefixes)


@pytest.mark.row("M3", "both sites' replies find their way: each PRh/k is routed to its own site")
@in_both_families
def test_the_sites_do_not_mix(network: Running, v: int) -> None:
    """Both sites' flows to one server: as3, by a cost that makes it the nearest to both."""
    network.call("PATCH", "/v1/topology/links/ars1:10", {"cost": 30})
    network.call("PATCH", "/v1/topology/links/ars2:10", {"cost": 30})
    for host in ("h1", "h2", "h3", "h4"):
        answers = network.ask(host, WEB[v], "--flows", 4, "--count", 2, "--text", f"{host} #")
        assert sorted(answers) == sorted([f"as3 {host} 0", f"as3 {host} 1"] * 4)
    for port in ("ars1:10", "ars2:10"):
        network.call("PATCH", f"/v1/topology/links/{port}", {"cost": 1})
