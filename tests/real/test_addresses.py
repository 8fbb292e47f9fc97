"""A /24 serves a site: programs that open many flows are served, and nobody else is refused because of them (M30).

Figure 1 as it is, with all defaults.  The tests use up one half of the pool one after the other, so that those that
come later share addresses.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support import PORT, V4, V6, WEB, Family, Running, in_both_families, program, until

DNS = ("198.18.53.53/32", "2001:db8:a::53/128")
HTTP, CLOSED = 80, 81
PER_SECOND = 20  # connections of another client
CLIENTS, FLOWS_EACH = 60, 10  # at each of two ports


@pytest.fixture(scope="module")
def network(figure1: Running) -> Running:
    servers = (V4.as2, V6.as2)
    figure1.enrol("web", WEB, servers)
    figure1.enrol("dns", DNS, servers)
    figure1.testbed.spawn("as2", program("http_server.py", "as2", HTTP))
    dnsmasq = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root"]
    figure1.testbed.spawn("as2", [*dnsmasq, "--no-resolv", "--no-hosts", "--host-record=service.example,192.0.2.7"])
    figure1.serve_tcp("as2")
    figure1.serve_udp("as2")
    for port in (HTTP, 53):
        figure1.testbed.wait_listening("as2", port)
    return figure1


@contextmanager
def another_client_is_served(network: Running, family: Family, seconds: int) -> Iterator[None]:
    """h2 connects again and again, for so long at least; neither a refusal nor a loss."""
    words = program("latency.py", "tcp", family.web, PORT, seconds * PER_SECOND, PER_SECOND, 0)
    other = network.testbed.spawn("h2", words)
    yield
    until(lambda: other.process.poll() is not None, "the other client ends", 60)
    said = json.loads(other.output())
    assert (said["refused"], said["lost"], said["answered"]) == (0, 0, seconds * PER_SECOND), said


def url(family: Family) -> str:
    return f"http://[{family.web}]/" if family is V6 else f"http://{family.web}/"


@pytest.mark.row("M30", "ab: 1,500 connections, 50 at a time: none fails, and none of another client's")
@in_both_families
def test_ab_opens_more_connections_than_a_24_has_addresses(network: Running, family: Family) -> None:
    with another_client_is_served(network, family, 4):
        said = network.run("h1", "ab", "-q", "-n", "1500", "-c", "50", url(family))
    assert re.search(r"Complete requests: +1500\n", said), said
    assert re.search(r"Failed requests: +0\n", said), said


@pytest.mark.row("M30", "wrk: 200 connections at once, none fails, and none of another client's")
@in_both_families
def test_wrk_keeps_200_connections(network: Running, family: Family) -> None:
    with another_client_is_served(network, family, 2):
        said = network.run("h1", "wrk", "-c", "200", "-t", "2", "-d", "2", url(family))
    assert "Requests/sec" in said
    assert "Socket errors" not in said


@pytest.mark.row("M30", "dig: 400 queries in a row, each a flow of its own, are all answered")
def test_dig_asks_more_often_than_a_24_has_addresses(network: Running) -> None:
    queries = ["service.example", "A"] * 200
    for _ in range(2):
        said = network.run("h1", "dig", "+tries=1", "+time=5", "+short", "@198.18.53.53", *queries)
        assert said.splitlines() == ["192.0.2.7"] * 200


@pytest.mark.row(
    "M30", "a port that is closed, tried 400 times: refused each time, and nobody else is kept from the service"
)
@in_both_families
def test_a_closed_port_that_is_tried_again_and_again_costs_nobody_else(network: Running, family: Family) -> None:
    with another_client_is_served(network, family, 4):
        tried = json.loads(network.run("h1", *program("latency.py", "tcp", family.web, CLOSED, 400, 100, 0)))
    assert tried["refused"] == 400
    assert network.drops("arh1", "pool_empty") == 0


@pytest.mark.row("M30", "nmap -sS: 500 ports are scanned, and none of another client's connections fails")
def test_a_port_scan_costs_nobody_else(network: Running) -> None:
    with another_client_is_served(network, V4, 4):
        said = network.run("h1", "nmap", "-sS", "-Pn", "-n", "-T5", "-p1-500", V4.web)
    assert re.search(r"80/tcp +open", said), said
    assert "closed tcp ports (reset)" in said


def udp_flows(network: Running, service: str) -> dict[int, tuple[str, ...]]:
    """Every UDP flow to port PORT of a service: its number, and what must not change."""
    path, found = "/v1/flows?limit=1000&group=web", {}
    while path:
        page = network.call("GET", path)
        for flow in page["flows"]:
            if (flow["service"], flow["service_port"], flow["protocol"]) == (service, PORT, "udp"):
                fixed = (str(flow[name]) for name in ("client", "client_port", "translated", "server"))
                found[flow["number"]] = tuple(fixed)
        path = page["next"]
    return found


@pytest.mark.row("M30", "120 clients with ten flows each on a /24, several flows of a client with one address")
@pytest.mark.row("M20", "the controller is killed: each of 1,200 flows that share addresses is as it was, and goes on")
def test_many_clients_share_a_24_and_a_restart_changes_none_of_their_flows(network: Running) -> None:
    crowds = {}
    for host, first in (("h1", 100), ("h2", 180)):
        addresses = [f"10.1.0.{first + number}" for number in range(CLIENTS)]
        add = f"ip address add $each/24 dev {network.testbed.interface(host)} && ping -c 1 -W 5 -I $each {V4.gateway} &"
        network.run(
            host, "sh", "-c", f"for each in {' '.join(addresses)}; do {add} done; wait"
        )  # their edge knows them
        crowds[host] = program("udp_crowd.py", V4.web, PORT, FLOWS_EACH, *addresses)

    def everybody_is_served() -> None:
        running = [network.testbed.spawn(host, words) for host, words in crowds.items()]
        until(lambda: all(crowd.process.poll() is not None for crowd in running), "all have asked", 60)
        said = [json.loads(crowd.output()) for crowd in running]
        assert said == [{"answered": CLIENTS * FLOWS_EACH, "errors": {}}] * 2

    everybody_is_served()
    before = udp_flows(network, V4.web)
    assert len(before) == 2 * CLIENTS * FLOWS_EACH
    clients = defaultdict(set)
    for client, _, translated, _ in before.values():
        clients[translated].add(client)
    assert {len(each) for each in clients.values()} == {1}
    assert len(clients) < 254

    network.controller.kill()
    network.controller.start()
    network.wait_for_servers("web", "dns")
    assert udp_flows(network, V4.web) == before
    everybody_is_served()
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
        assert at_server.wait_for(1)
    until(lambda: served.process.poll() is not None, "the second answer has come")
    assert served.output().splitlines() == ["as2 repeat 2 2"] * 2
    addresses = {network.flow(family.h1, port)["translated"] for port in (20501, 20502)}
    assert len(addresses) == (1 if family is V4 else 2)
