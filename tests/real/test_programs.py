"""Unmodified programs on unmodified hosts, in both families (M1, M7, M21)."""

from __future__ import annotations

import json
import sys

import pytest
from support import ROOT, WEB, Family, Running, in_both_families, on_both_engines

pytestmark = on_both_engines

DNS = ("198.18.53.53/32", "2001:db8:a::53/128")
SERVERS = ("10.2.0.10", "2001:db8:2::10")


@pytest.fixture(scope="module")
def network(figure1: Running) -> Running:
    """as2 is a web server, a DNS server and an iperf3 server."""
    figure1.enrol("web", WEB, SERVERS)
    figure1.enrol("dns", DNS, SERVERS)
    testbed = figure1.testbed
    testbed.spawn("as2", [sys.executable, str(ROOT / "mininet" / "hosts" / "web_server.py"), "as2"])
    dnsmasq = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root"]
    records = ["--host-record=service.example,192.0.2.7", "--txt-record=big.example," + ",".join(["x" * 250] * 12)]
    testbed.spawn("as2", [*dnsmasq, "--no-resolv", "--no-hosts", "--edns-packet-max=1232", *records])
    testbed.spawn("as2", ["iperf3", "--server"])
    for port in (80, 53, 5201):
        testbed.wait_listening("as2", port)
    return figure1


@pytest.mark.row("M1", "curl fetches a page from ANY; the web server sees PR1X as its client")
@pytest.mark.row("M7", "curl over TCP")
@in_both_families
def test_curl_fetches_a_page_from_the_service_address(network: Running, family: Family) -> None:
    host = f"[{family.web}]" if ":" in family.web else family.web
    page = network.run("h1", "curl", "-gsS", "-m", "10", f"http://{host}/")
    assert page.startswith(f"as2 answers {family.translation}")


@pytest.mark.row("M21", "dig, which refuses answers from other addresses, asks dnsmasq at ANY")
@pytest.mark.row("M7", "dig over UDP, and over TCP after a truncated answer")
@pytest.mark.parametrize("service", ["198.18.53.53", "2001:db8:a::53"], ids=["IPv4", "IPv6"])
def test_dig_gets_its_answer_from_the_address_that_it_asked(network: Running, service: str) -> None:
    options = ("+tries=1", "+time=5", f"@{service}")
    answer = network.run("h1", "dig", *options, "service.example")
    assert "192.0.2.7" in answer
    assert f"SERVER: {service}#53" in answer
    assert "unexpected source" not in answer
    big = network.run("h1", "dig", *options, "big.example", "TXT")
    assert big.count("x" * 250) == 12
    assert "(TCP)" in big


@pytest.mark.row("M1", "ping gets its echoes from ANY, the first one included")
@pytest.mark.row("M7", "ping")
@in_both_families
def test_ping_loses_no_echo(network: Running, family: Family) -> None:
    said = network.run("h1", "ping", "-c", "5", "-i", "0.1", "-W", "2", family.web)
    assert "5 packets transmitted, 5 received, 0% packet loss" in said
    assert "DUP" not in said
    assert f"from {family.web}" in said


@pytest.mark.row("M1", "iperf3: a control connection and four streams reach one server, both ways")
@pytest.mark.row("M7", "iperf3")
@in_both_families
@pytest.mark.parametrize("direction", [[], ["--reverse"]], ids=["to the server", "to the client"])
def test_iperf3_measures_through_the_service_address(network: Running, family: Family, direction: list[str]) -> None:
    said = network.run("h2", "iperf3", "-c", family.web, "-t", "1", "-P", "4", "--json", *direction)
    assert json.loads(said)["end"]["sum_received"]["bytes"] > 1_000_000
