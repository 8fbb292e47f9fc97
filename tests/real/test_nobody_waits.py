"""A packet that goes nowhere is answered at once: programs need not wait (RFC 1812 §5.2.7.1, RFC 4443 §3.1)."""

from __future__ import annotations

import subprocess
import time

import pytest
from support import V4, V6, WEB, Family, Running, in_both_families, until

NOWHERE = {V4: "192.0.2.77", V6: "2001:db8:77::1"}
COULD_NOT_CONNECT = 7  # curl's status; 28 is a timeout
RST_ACK = 0x14


@pytest.fixture(scope="module")
def network(figure1: Running) -> Running:
    figure1.enrol("web", WEB, [V4.as2, V6.as2])
    return figure1


def curl(network: Running, host: str, address: str) -> tuple[subprocess.CompletedProcess[str], float]:
    url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
    began = time.monotonic()
    done = network.testbed.run(host, ["curl", "-gsS", "-m", "5", url])
    return done, time.monotonic() - began


def refused_at_once(network: Running, host: str, address: str) -> None:
    done, took = curl(network, host, address)
    assert done.returncode == COULD_NOT_CONNECT, done
    assert took < 2  # it takes milliseconds, on a machine that is not busy


@pytest.mark.row("M23", "an address that no route leads to: curl ends at once, for a client and for a server")
@in_both_families
def test_a_host_is_told_that_no_route_leads_there(network: Running, family: Family) -> None:
    for host, edge in (("h1", "arh1"), ("as3", "ars3")):
        before = network.drops(edge, "no_route")
        refused_at_once(network, host, NOWHERE[family])
        until(lambda: network.drops(edge, "no_route") > before, f"{edge} counts it")  # noqa: B023


@pytest.mark.row("M6", "a server whose edge is no client edge asks a service: prohibited, curl ends at once")
@in_both_families
def test_a_server_is_told_that_it_may_not_use_a_service(network: Running, family: Family) -> None:
    before = network.drops("ars3", "unauthorised")
    with network.testbed.capture("as4", 0, "icmp or icmp6") as at_as4:
        refused_at_once(network, "as4", family.web)
        prohibited = b"\x03\x0d" if family is V4 else b"\x01\x01"
        at_as4.first(lambda packet: packet.payload[:2] == prohibited)
    until(lambda: network.drops("ars3", "unauthorised") > before, "ars3 counts it")


@pytest.mark.row("M8", "a group whose servers are all out of reach: curl ends at once, with 'connection refused'")
def test_a_client_is_told_that_no_server_can_be_reached(network: Running) -> None:
    """as4 loses its cable; its addresses of both families go with that, so this is the last test here."""
    network.enrol("far", ("198.18.7.7/32", "2001:db8:a::7/128"), [V4.as4, V6.as4])
    network.run("as4", "ip", "link", "set", network.testbed.interface("as4"), "down")
    until(lambda: not any(server["reachable"] for server in network.servers("far")), "as4 is missed")
    network.controller.await_routes()
    with network.counts("arh1", "no_able_edge", 2):
        for address in ("198.18.7.7", "2001:db8:a::7"):
            with network.testbed.capture("h1", 0, "tcp or icmp or icmp6") as at_h1:
                refused_at_once(network, "h1", address)
                answer = at_h1.first(lambda packet, address=address: packet.source == address)
            assert answer.payload[13] == RST_ACK
