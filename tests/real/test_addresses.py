"""A /24 serves a site: programs that open many flows are served, and nobody else is refused because of them (M30).

Figure 1 with all defaults, and one more host at h1's port.  The tests use up one half of the pool one after the other,
so that those that come later share addresses.  ``--full``: the sizes of the requirement.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

import pytest
from crowds import add_clients, ask_by_crowds, udp_flows
from support import PORT, V4, V6, WEB, Family, Running, edited, in_both_families, program, running, until

pytestmark = pytest.mark.alone("it makes the load of whole sites, and counts who is not served")

DNS = {V4: "198.18.53.53", V6: "2001:db8:a::53"}
HTTP, CLOSED = 80, 81
PER_SECOND = 20  # connections of each of the other clients
OTHERS = {"h2": "at another port", "h3": "at the same port"}  # as h1, which makes the load
MOST_MS = 2000  # what the 99th percentile of others' connections may take on a busy machine; usually it is a few ms
LONGEST_S = 300.0
CLIENTS, FLOWS_EACH = 60, 10  # at each of two ports


class Sizes(NamedTuple):
    """How much load h1 makes."""

    requests: int  # of ab
    wrk_s: int
    queries: int
    ports: int  # that are scanned


USUAL, FULL = Sizes(1500, 2, 400, 500), Sizes(20000, 10, 5000, 5000)


@pytest.fixture
def sizes(request: pytest.FixtureRequest) -> Sizes:
    return FULL if request.config.getoption("--full") else USUAL


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    h2 = "  - {name: h2,"
    h3 = "  - {name: h3,  subnet: n1, port: 1, addresses: [10.1.0.12, 2001:db8:1::12]}\n"
    directory = tmp_path_factory.mktemp("addresses")
    with running(edited("figure1.yaml", directory, (h2, h3 + h2)), directory) as made:
        servers = (V4.as2, V6.as2)
        made.enrol("web", WEB, servers)
        made.enrol("dns", [f"{DNS[V4]}/32", f"{DNS[V6]}/128"], servers)
        made.testbed.spawn("as2", program("http_server.py", "as2", HTTP))
        dnsmasq = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root"]
        made.testbed.spawn("as2", [*dnsmasq, "--no-resolv", "--no-hosts", "--host-record=service.example,192.0.2.7"])
        made.serve_tcp("as2")
        made.serve_udp("as2")
        for port in (HTTP, 53):
            made.testbed.wait_listening("as2", port)
        yield made


Served = Callable[[Family], AbstractContextManager[None]]


@pytest.fixture
def others_are_served(network: Running, record_property: Callable[[str, object], None]) -> Served:
    """OTHERS connect again and again, as long as the block lasts and 4 s at least; neither a refusal nor a loss."""

    @contextmanager
    def served(family: Family) -> Iterator[None]:
        words = program("latency.py", "tcp", family.web, PORT, 1_000_000, PER_SECOND, 0)
        began = time.monotonic()
        others = {host: network.testbed.spawn(host, words) for host in OTHERS}
        yield
        until(lambda: time.monotonic() > began + 4, "the others have connected often enough")
        for host, other in others.items():
            other.stop()
            said = json.loads(other.output())
            assert (said["refused"], said["lost"]) == (0, 0), (host, said)
            assert said["answered"] >= PER_SECOND, (host, said)
            record_property("measured", f"{OTHERS[host]}: {said['answered']} served, p99 {said['p99_ms']:.1f} ms")
            assert said["p99_ms"] < MOST_MS, (host, said)

    return served


def url(family: Family) -> str:
    return f"http://[{family.web}]/" if family is V6 else f"http://{family.web}/"


@pytest.mark.row("M30", "ab, 50 at a time: no request fails, and no connection of other clients")
@in_both_families
def test_ab_opens_more_connections_than_a_24_has_addresses(
    network: Running, family: Family, sizes: Sizes, others_are_served: Served
) -> None:
    with others_are_served(family):
        words = ["ab", "-q", "-n", str(sizes.requests), "-c", "50", url(family)]
        said = network.run("h1", *words, timeout_s=LONGEST_S)
    assert re.search(rf"Complete requests: +{sizes.requests}\n", said), said
    assert re.search(r"Failed requests: +0\n", said), said


@pytest.mark.row("M30", "wrk: 200 connections at once, none fails, and none of other clients")
@in_both_families
def test_wrk_keeps_200_connections(network: Running, family: Family, sizes: Sizes, others_are_served: Served) -> None:
    with others_are_served(family):
        said = network.run("h1", "wrk", "-c", "200", "-t", "2", "-d", str(sizes.wrk_s), url(family))
    assert "Requests/sec" in said
    assert "Socket errors" not in said


@pytest.mark.row("M30", "dig: queries in a row, each a flow of its own, are all answered, and all of other clients")
@in_both_families
def test_dig_asks_more_often_than_a_24_has_addresses(
    network: Running, family: Family, sizes: Sizes, others_are_served: Served
) -> None:
    queries = ["service.example", "A"] * 200
    with others_are_served(family):
        for _ in range(sizes.queries // 200):
            said = network.run("h1", "dig", "+tries=1", "+time=5", "+short", f"@{DNS[family]}", *queries)
            assert said.splitlines() == ["192.0.2.7"] * 200


@pytest.mark.row(
    "M30", "a port that is closed, tried 400 times: refused each time, and nobody else is kept from the service"
)
@in_both_families
def test_a_closed_port_that_is_tried_again_and_again_costs_nobody_else(
    network: Running, family: Family, others_are_served: Served
) -> None:
    with others_are_served(family):
        tried = json.loads(network.run("h1", *program("latency.py", "tcp", family.web, CLOSED, 400, 100, 0)))
    assert tried["refused"] == 400
    assert network.drops("arh1", "pool_empty") == 0


@pytest.mark.row("M30", "nmap -sS: ports from 1 on are scanned, and no connection of other clients fails")
@in_both_families
def test_a_port_scan_costs_nobody_else(
    network: Running, family: Family, sizes: Sizes, others_are_served: Served
) -> None:
    options = ["-6"] if family is V6 else []
    words = ["nmap", *options, "-sS", "-Pn", "-n", "-T5", f"-p1-{sizes.ports}", family.web]
    with others_are_served(family):
        said = network.run("h1", *words, timeout_s=LONGEST_S)
    assert re.search(r"80/tcp +open", said), said
    assert "closed tcp ports (reset)" in said


@pytest.mark.row("M30", "120 clients with ten flows each on a /24, several flows of a client with one address")
@pytest.mark.row("M20", "the controller is killed: each of 1,200 flows that share addresses is as it was, and goes on")
def test_many_clients_share_a_24_and_a_restart_changes_none_of_their_flows(network: Running) -> None:
    crowds = {}
    for host, first in (("h1", 100), ("h2", 180)):
        crowds[host] = [f"10.1.0.{first + number}" for number in range(CLIENTS)]
        add_clients(network, host, V4, crowds[host])
    ask_by_crowds(network, V4, crowds, FLOWS_EACH)
    before = udp_flows(network, V4.web)
    assert len(before) == 2 * CLIENTS * FLOWS_EACH
    clients, addresses = defaultdict(set), defaultdict(set)
    for client, _, translated, _ in before.values():
        clients[translated].add(client)
        addresses[client].add(translated)
    assert {len(each) for each in clients.values()} == {1}
    assert max(Counter(translated for _, _, translated, _ in before.values()).values()) > 1
    assert max(map(len, addresses.values())) < FLOWS_EACH

    network.controller.kill()
    network.controller.start()
    network.wait_for_servers("web", "dns")
    assert udp_flows(network, V4.web) == before
    ask_by_crowds(network, V4, crowds, FLOWS_EACH)
    assert udp_flows(network, V4.web) == before


@pytest.mark.row("M18", "ICMP errors about a flow of a shared address reach its socket, and no other of that address")
@in_both_families
def test_an_error_reaches_the_socket_of_its_own_flow(network: Running, family: Family) -> None:
    """In IPv4 the client has had its share of addresses; in IPv6 each flow has its own, which is no different."""
    assert network.ask("h1", family.web, "--flows", 70, "--apart", 0.02) == ["as2 hello"] * 70
    words = ("--source-port", 20501, "--text", "repeat 2 2", "--answers", 2, "--wait", 6)
    served = network.testbed.spawn("h1", program("udp_client.py", family.web, PORT, *words))
    until(served.output, "the first answer has come")
    with network.testbed.capture("as2", 0, "icmp or icmp6") as at_server:
        assert network.ask("h1", family.web, "--source-port", 20502, port=CLOSED) == ["error ECONNREFUSED"]
        at_server.first(lambda packet: tuple(packet.payload[:2]) == ((3, 3) if family is V4 else (1, 4)))
    until(lambda: served.process.poll() is not None, "the second answer has come")
    assert served.output().splitlines() == ["as2 repeat 2 2"] * 2
    addresses = {network.flow(family.h1, port)["translated"] for port in (20501, 20502)}
    assert len(addresses) == (1 if family is V4 else 2)
