"""Edges that face ordinary routers: topologies/legacy-core.yaml, its core three FRR routers (M8, M23, M24)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from support import (
    ARH1_MAC,
    PORT,
    ROOT,
    SLACK_S,
    V4,
    V6,
    WEB,
    Family,
    Running,
    edited,
    in_both_families,
    program,
    running,
    until,
)

from anycast_sdn.core.model import UDP, FlowKey, Prefix, packed
from anycast_sdn.description.model import BgpSession
from anycast_sdn.openflow import builders

if TYPE_CHECKING:  # needs what is not there where these tests are skipped
    from capture import Capture

ARH1, ARS2, ARS3 = ("10.9.1.1", "2001:db8:9:1::1"), ("10.9.2.1", "2001:db8:9:2::1"), ("10.9.3.1", "2001:db8:9:3::1")
R1_UPLINK = {V4: "10.9.1.2", V6: "2001:db8:9:1::2"}
SERVERS = (V4.as2, V6.as2, V4.as3, V6.as3)
SESSIONS = "198.51.100.0/24", "2001:db8:5::/64"
PASSWORD, ARS2_MED, ARS3_AS = "open-sesame", 30, 4200000003
HEALING_S = 60.0  # for routers that have started again: OSPF's and BGP's own timers add up


@pytest.fixture(scope="module")
def outside() -> Iterator[list[Capture]]:
    """What leaves this machine, or comes to it, that looks like ours: from before all tests to after the others."""
    from capture import Capture

    devices = {route["dev"] for route in machine_routes("default") if "dev" in route}
    with ExitStack() as stack:
        ours = "tcp port 179 or ip proto 89 or " + " or ".join(f"net {prefix}" for prefix in SESSIONS)
        yield [stack.enter_context(Capture(device, ours)) for device in devices]


def machine_routes(*selection: str) -> list[dict[str, Any]]:
    words = ["ip", "-json", "route", "show", *selection]
    return list(json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout or "[]"))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, outside: list[Capture]) -> Iterator[Running]:
    """as2 and as3 serve; the routers know it.

    arh1's session has a password, that of ars2 a MED; that of ars3 is by IPv6, of an AS with a long number.
    """
    directory = tmp_path_factory.mktemp("bgp")
    file = edited(
        "legacy-core.yaml",
        directory,
        ("ttl: 1 ", f"password: {PASSWORD}\n      ttl: 1 "),
        ("local_as: 65002", f"med: {ARS2_MED}, local_as: 65002"),
        ("local_as: 65003, local_address: 198.51.100.9, neighbour: 198.51.100.10",
         f"local_as: {ARS3_AS}, local_address: '2001:db8:5::9', neighbour: '2001:db8:5::a'"),
    )  # fmt: skip
    with running(file, directory) as network:
        network.serve_udp("as2", "as3")
        network.serve_tcp("as2", "as3")
        for name in ("as2", "as3"):
            network.testbed.spawn(name, [sys.executable, str(ROOT / "mininet" / "hosts" / "web_server.py"), name])
            network.testbed.wait_listening(name, 80)
        all_serve(network)
        yield network


def all_serve(network: Running) -> None:
    """Everybody is enrolled, all of the network has heard of it, and as2 is the nearest."""
    network.enrol("web", WEB, SERVERS)
    for family in (V4, V6):
        until(lambda family=family: next_hops(network, "r1", service(family)) == {at(ARS2, family), at(ARS3, family)},
              "r1 knows both server edges", HEALING_S)  # fmt: skip
        until(lambda family=family: service(family) in exits(network, "arh1"), "arh1 has the route to ANY", HEALING_S)
        until(lambda family=family: network.ask("h1", family.web, "--wait", 1)[:1] == ["as2 hello"],
              "as2 answers", HEALING_S)  # fmt: skip


def at(edge: tuple[str, str], family: Family) -> str:
    return edge[family is V6]


def service(family: Family) -> str:
    return WEB[family is V6]


def paths(network: Running, router: str, prefix: str) -> list[dict[str, Any]]:
    """FRR's paths to a prefix; none when it is not in its table."""
    version = "ipv6" if ":" in prefix else "ipv4"
    return list(network.testbed.routers[router].show(f"bgp {version} unicast {prefix}").get("paths", []))


def next_hops(network: Running, router: str, prefix: str, best: bool = False) -> set[str]:
    ways = network.testbed.routers[router].paths(prefix)
    return {next_hop for next_hop, is_best in ways.items() if is_best or not best}


def exits(network: Running, edge: str) -> set[str]:
    """The prefixes beyond the uplink in this edge's route table."""
    rules = network.testbed.ofctl("dump-flows", edge, "table=4,cookie=0xa17c450000000000/-1").splitlines()[1:]
    found = set()
    for rule in rules:
        prefix = rule.split("dst=")[1].split()[0]
        found.add(prefix if "/" in prefix else f"{prefix}/{128 if ':' in prefix else 32}")
    return found


def sessions(network: Running) -> dict[str, str]:
    return {session["edge"]: session["state"] for session in network.call("GET", "/v1/topology")["bgp"]}


@pytest.mark.row("M8", "FRR's tables: each server edge announces ANY/n, its own uplink address is the next hop")
@pytest.mark.row("M23", "an ordinary network's own routing (OSPF) picks the nearest server edge")
@in_both_families
def test_the_routers_know_who_serves(network: Running, family: Family) -> None:
    assert next_hops(network, "r1", service(family)) == {at(ARS2, family), at(ARS3, family)}
    assert next_hops(network, "r1", service(family), best=True) == {at(ARS2, family)}
    assert next_hops(network, "r3", service(family), best=True) == {at(ARS3, family)}


@pytest.mark.row("M3", "PRh/k and subnets are announced by BGP, communities as configured")
@in_both_families
def test_prefixes_are_announced_from_their_edges(network: Running, family: Family) -> None:
    prefixes = ("203.0.113.0/24", "10.1.0.0/24") if family is V4 else ("2001:db8:1:f::/64", "2001:db8:1::/64")
    for prefix in prefixes:
        (path,) = paths(network, "r2", prefix)
        assert path["aspath"]["string"] == "65001"
        assert path["community"]["string"] == "65001:1"
        assert next_hops(network, "r2", prefix) == {at(ARH1, family)}


@pytest.mark.row("M8", "MED as configured; a session by IPv6, of an AS with four octets, announces both families")
@in_both_families
def test_sessions_of_each_kind_announce_both_families(network: Running, family: Family) -> None:
    (nearer,) = paths(network, "r2", "10.2.0.0/24" if family is V4 else "2001:db8:2::/64")
    assert nearer["metric"] == ARS2_MED
    (farther,) = paths(network, "r3", "10.3.0.0/24" if family is V4 else "2001:db8:3::/64")
    assert farther["aspath"]["string"] == str(ARS3_AS)
    assert farther["peer"]["peerId"] == "2001:db8:5::9"


@pytest.mark.row("M8", "a router that asks for all routes again (ROUTE-REFRESH) is told them; no session is lost")
def test_a_route_refresh_is_answered(network: Running) -> None:
    def statistics() -> dict[str, Any]:
        return dict(network.testbed.routers["r1"].show("bgp neighbors 198.51.100.1")["198.51.100.1"])

    before = statistics()
    for version in ("ipv4", "ipv6"):
        network.testbed.routers["r1"].vtysh(f"clear bgp {version} unicast 198.51.100.1 soft in")
    told = before["messageStats"]["updatesRecv"]
    until(lambda: statistics()["messageStats"]["updatesRecv"] >= told + 4, "r1 is told PRh/k and subnets again")
    assert statistics()["connectionsDropped"] == before["connectionsDropped"]
    assert sessions(network)["arh1"] == "established"


@pytest.mark.row("M8", "the nearest server edge drains: none of 100 new flows goes unanswered while routers turn away")
@pytest.mark.row("M20", "the nearest server edge drains under new flows")
def test_draining_an_edge_behind_routers_costs_no_new_flow_its_answer(network: Running) -> None:
    """By IPv6, whose pool is large."""
    words = program("udp_client.py", V6.web, PORT, "--flows", 100, "--apart", 0.01, "--wait", 2)
    flows = network.testbed.spawn("h1", words)
    until(lambda: flows.output().count("as2") > 10, "new flows go to as2")
    network.call("PATCH", f"/v1/groups/web/servers/{V6.as2}", {"state": "draining"})
    assert flows.process.poll() is None, "the change comes while flows begin"
    until(lambda: flows.process.poll() is not None, "all flows are answered, or given up")
    answers = Counter(flows.output().splitlines())
    assert answers.total() == 100, answers
    assert answers["as3 hello"] > 50
    all_serve(network)


@pytest.mark.row("M26", "slots of ars2 lead to as3 beyond FRR routers, back by the uplink where packets came in")
def test_an_edge_spreads_over_servers_beyond_routers(network: Running) -> None:
    """By IPv6, whose pool is large."""
    network.call("PATCH", "/v1/groups/web", {"selection": {"distance": "any"}})
    slots = partial(network.testbed.ofctl, "dump-groups", "ars2")
    until(lambda: 24 <= slots().count(V6.as3) <= 40, "as3 has about half of the slots of ars2", timeout_s=90)
    answers = Counter(network.ask("h1", V6.web, "--flows", 60))
    assert answers.total() == 60, answers
    assert min(answers["as2 hello"], answers["as3 hello"]) >= 5, answers
    network.call("PATCH", "/v1/groups/web", {"selection": {"distance": "nearest"}})
    until(lambda: V6.as3 not in slots(), "as3 has none any more", timeout_s=90)
    all_serve(network)


@pytest.mark.row("M1", "curl fetches a page from ANY through ordinary routers")
@in_both_families
def test_curl_works_through_ordinary_routers(network: Running, family: Family) -> None:
    host = f"[{family.web}]" if family is V6 else family.web
    page = network.run("h1", "curl", "-gsS", "-m", "10", f"http://{host}/")
    assert page.startswith(f"as2 answers {family.translation}")


@pytest.mark.row("M25", "packets leave for the router's MAC from the edge's own, TTL less one; the uplink answers ping")
@in_both_families
def test_an_uplink_is_a_link_like_any_other(network: Running, family: Family) -> None:
    router_mac = network.mac("r1")
    with network.testbed.capture("arh1", 20, f"{family.ip} and udp src port 22001 and dst port {PORT}") as uplink:
        assert network.ask("h1", family.web, "--source-port", 22001) == ["as2 hello"]
    (packet,) = uplink.packets()
    assert (packet.frame[:6], packet.frame[6:12]) == (router_mac, ARH1_MAC)
    assert packet.hop_limit == 63
    said = network.run("r1", "ping", "-c", "2", "-i", "0.2", "-W", "2", at(ARH1, family))
    assert "2 received" in said
    said = network.run("h1", "ping", "-c", "2", "-i", "0.2", "-W", "2", R1_UPLINK[family])
    assert "2 received" in said


@pytest.mark.row("M22", "from a router, neither an anycast source nor one of the edge's own prefixes gets in")
@in_both_families
def test_forged_sources_do_not_come_in_by_an_uplink(network: Running, family: Family) -> None:
    mac = network.mac("r1")
    for source, counter in ((family.h1, "own_source"), (family.web, "anycast_source")):
        key = FlowKey(packed(source), packed(family.web), UDP, 4000, PORT)
        forged = builders.ip_packet(key, eth_src=mac, eth_dst=ARH1_MAC)
        with network.counts("arh1", counter):
            network.send_frames("r1", [forged])


@pytest.mark.row("M8", "the last server of an edge is removed: its announcement is gone from FRR within 1 s")
@pytest.mark.row("M20", "meanwhile a transfer keeps its server and arrives whole; new flows go to the other edge")
@in_both_families
def test_an_edge_withdraws_with_its_last_server(network: Running, family: Family) -> None:
    with network.transfer("h2", family.web, "as2"):
        began = time.monotonic()
        network.call("DELETE", f"/v1/groups/web/servers/{family.as2}")
        until(lambda: at(ARS2, family) not in next_hops(network, "r2", service(family)), "r2 has lost the route")
        assert time.monotonic() - began < 1 + SLACK_S
        until(lambda: next_hops(network, "r1", service(family)) == {at(ARS3, family)}, "r1 has heard of it")
        until(lambda: network.ask("h1", family.web)[:1] == ["as3 hello"], "new flows go to as3")
    all_serve(network)


@pytest.mark.row("M24", "the nearest server edge's router dies: new flows go to the other; it comes back, so do they")
def test_the_service_survives_a_router(network: Running) -> None:
    router = network.testbed.routers["r2"]
    router.kill()
    try:
        for family in (V4, V6):
            until(lambda family=family: network.ask("h1", family.web, "--wait", 1)[:1] == ["as3 hello"],
                  "new flows go to as3", HEALING_S)  # fmt: skip
    finally:
        router.start()
    all_serve(network)
    until(lambda: set(sessions(network).values()) == {"established"}, "all sessions are up", HEALING_S)


@pytest.mark.row("M24", "a BGP session that is lost takes what it taught out of the edge's route table; it comes back")
def test_a_lost_session_takes_its_routes_along(network: Running) -> None:
    taught = {*WEB, "10.2.0.0/24", "2001:db8:2::/64"}
    until(lambda: taught <= exits(network, "arh1"), "arh1 has learned the routes to as2 and to ANY")
    router = network.testbed.routers["r1"]
    router.kill()
    try:
        until(lambda: not exits(network, "arh1"), "arh1 has no exit")
        assert sessions(network)["arh1"] != "established"
    finally:
        router.start()
    all_serve(network)


@pytest.mark.row("M8", "the controller dies: FRR keeps its routes (graceful restart); it comes back: all is fresh")
@pytest.mark.row("M24", "while the controller dies and comes back, ping to ANY loses no echo")
def test_the_service_outlives_its_controller(network: Running) -> None:
    for family in (V4, V6):
        assert network.ask("h1", family.web, "--source-port", 22002) == ["as2 hello"]
    running_pings = [network.testbed.spawn("h2", ["ping", "-q", "-i", "0.1", "-w", "25", family.web])
                     for family in (V4, V6)]  # fmt: skip
    for family in (V4, V6):
        until(lambda family=family: any(flow["protocol"].startswith("icmp") and flow["state"] == "pinned"
                                        for flow in network.flows(f"client={family.h2}")), "h2 pings")  # fmt: skip
    network.controller.kill()
    until(lambda: any(path.get("stale") for path in paths(network, "r2", WEB[0])), "r2 keeps the route as a stale one")
    for family in (V4, V6):
        assert at(ARS2, family) in next_hops(network, "r2", service(family))
        assert network.ask("h1", family.web, "--source-port", 22002) == ["as2 hello"]
    network.controller.start()
    all_serve(network)
    for prefix in WEB:
        until(lambda prefix=prefix: not any(path.get("stale") for path in paths(network, "r2", prefix)), "all is fresh")
    for pings in running_pings:
        until(lambda pings=pings: pings.process.poll() is not None, "the pings end", 40)
        assert " 0% packet loss" in pings.output()


@pytest.mark.row("M8", "the controller is stopped: FRR keeps its routes; it starts again: all is fresh")
def test_the_service_outlives_a_controller_that_is_stopped(network: Running) -> None:
    network.controller.stop()
    until(lambda: any(path.get("stale") for path in paths(network, "r2", WEB[0])), "r2 keeps the route as a stale one")
    network.controller.start()
    all_serve(network)
    for prefix in WEB:
        until(lambda prefix=prefix: not any(path.get("stale") for path in paths(network, "r2", prefix)), "all is fresh")


@pytest.mark.row("M8", "the README's second speaker: a static route of the router's counts when the session is gone")
def test_a_static_route_of_the_routers_stands_in(network: Running) -> None:
    """Hosts behind r2 go on reaching PRh/k of arh1, whose session is shut down."""
    (prefix, uplink), router = ("203.0.113.0/24", ARH1[0]), network.testbed.routers["r1"]
    bgp = ("configure terminal", "router bgp 65000")

    def known_from(as_path: str) -> bool:
        return [path["aspath"]["string"] for path in paths(network, "r2", prefix)] == [as_path]

    router.vtysh("configure terminal", f"ip route {prefix} {uplink} 250")
    router.vtysh("configure terminal", "route-map LAST-RESORT permit 10", "set weight 0", "set local-preference 50")
    router.vtysh(*bgp, "address-family ipv4 unicast", "redistribute static route-map LAST-RESORT")
    until(lambda: known_from("65001"), "r2 has the route by BGP")
    router.vtysh(*bgp, "neighbor 198.51.100.1 shutdown")
    try:
        until(lambda: known_from("Local"), "r2 has the static one", 30)
        assert next_hops(network, "r2", prefix) == {uplink}
    finally:
        router.vtysh(*bgp, "no neighbor 198.51.100.1 shutdown")
    until(lambda: known_from("65001"), "r2 has the route by BGP again", HEALING_S)
    router.vtysh("configure terminal", f"no ip route {prefix} {uplink} 250")
    all_serve(network)


@pytest.mark.row("M8", "a BGP session with a password (TCP MD5): none with a router that has another")
def test_a_session_is_only_had_by_who_knows_its_password(network: Running) -> None:
    router = network.testbed.routers["r1"]

    def let_the_password_be(password: str) -> None:
        router.vtysh("configure terminal", "router bgp 65000", f"neighbor 198.51.100.1 password {password}")

    def refused() -> int:
        """Segments with a wrong signature, by the router's kernel."""
        return int(network.run("r1", "nstat", "-asz", "TcpExtTCPMD5Failure").split()[-2])

    assert sessions(network)["arh1"] == "established"
    before = refused()
    let_the_password_be("close-sesame")
    try:
        until(lambda: refused() > before, "the router refuses what the controller sends", 30)
        until(lambda: sessions(network)["arh1"] != "established", "the session is lost", 30)
    finally:
        let_the_password_be(PASSWORD)
    all_serve(network)


@pytest.mark.row("M27", "/v1/topology shows uplinks, their routers and the BGP sessions")
def test_the_topology_shows_the_sessions(network: Running) -> None:
    topology = network.call("GET", "/v1/topology")
    assert sessions(network) == dict.fromkeys(("arh1", "ars2", "ars3"), "established")
    assert all(router["reachable"] for uplink in topology["uplinks"] for router in uplink["routers"])
    (first, *_) = topology["bgp"]
    assert (first["neighbour"], first["neighbour_as"], first["announced"]) == ("198.51.100.2", 65000, 4)


def test_a_session_to_what_the_machine_reaches_by_itself_is_refused() -> None:
    from routers import join_session
    from testbed import TestbedError

    own = [Prefix.parse(route["dst"]) for route in machine_routes() if "/" in route["dst"]]
    if not own:
        pytest.skip("this machine has no network of its own")
    first, second = (own[0].network[:-1] + bytes((own[0].network[-1] + offset,)) for offset in (1, 2))
    with pytest.raises(TestbedError, match="this machine reaches"):
        join_session(BgpSession(65001, first, first, second, 65000), "unused", "unused", 1)


def test_nothing_leaves_the_machine(network: Running, outside: list[Capture]) -> None:
    """Last, because it takes a session's cable away."""
    assert sessions(network)["arh1"] == "established"
    subprocess.run(["ip", "link", "set", "bgp-r1-0", "down"], check=True)
    asked = subprocess.run(["ip", "route", "get", "198.51.100.2"], capture_output=True, text=True)
    assert "unreachable" in asked.stdout + asked.stderr or "No route to host" in asked.stderr
    routes = machine_routes("root", SESSIONS[0])
    assert {route["dev"] for route in routes if route.get("type") != "unreachable"} == {"bgp-r2-0"}
    until(lambda: sessions(network)["arh1"] != "established", "the session is lost", 30)
    assert outside, "this machine has no default route: nothing could leave it"
    assert [capture.packets() for capture in outside] == [[]] * len(outside)
