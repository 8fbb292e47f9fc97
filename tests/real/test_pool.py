"""Translation prefixes: several, and what happens when all their addresses are taken (M3, M13)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest
from support import (
    PORT,
    V4,
    V6,
    WEB,
    Family,
    Running,
    edited,
    in_both_families,
    on_both_engines,
    rules_alone,
    running,
    until,
)

pytestmark = on_both_engines

PREFIXES = {
    "IPv4": ("203.0.113.8/29", "203.0.113.32/29"),
    "IPv6": ("2001:db8:1:f::8/125", "2001:db8:1:f::20/125"),
}
SIZE = 12  # two prefixes of 8 addresses, without the first and the last of each
SHARE = 9  # of them, for each client
PROHIBITED = {"IPv4": "error EHOSTUNREACH", "IPv6": "error EACCES"}  # what Linux makes of (3, 13) and (1, 1)


@pytest.fixture(scope="module")
def network(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("pool")
    changes = [
        ("pooling: auto", "pooling: flow\n      conntrack: {reserve: none}"),
        ("quarantine_s: 120", f"bindings_per_client: {SHARE}\n      bindings_per_port: {SIZE}"),
        ("- 203.0.113.0/24", "\n        - ".join(["- " + PREFIXES["IPv4"][0], *PREFIXES["IPv4"][1:]])),
        ("- 2001:db8:1:f::/64", "\n        - ".join(["- " + PREFIXES["IPv6"][0], *PREFIXES["IPv6"][1:]])),
    ]
    with running(edited("figure1.yaml", directory, *changes), directory, engine=engine) as network:
        network.enrol("web", WEB, [V4.as2, V6.as2])
        network.serve_udp("as2")
        yield network


@pytest.mark.row("M13", "one client cannot use up the pool: beyond its share it hears 'administratively prohibited'")
@in_both_families
def test_a_client_has_its_share(network: Running, family: Family) -> None:
    assert network.ask("h1", family.web, "--flows", SHARE) == ["as2 hello"] * SHARE
    with network.counts("arh1", "client_full"):
        assert network.ask("h1", family.web) == [PROHIBITED[family.name]]


@pytest.mark.row("M3", "two translation prefixes per family: all addresses of both are used, but first and last")
@pytest.mark.row("M13", "no address is free: the client hears 'administratively prohibited', present flows go on")
@in_both_families
def test_every_address_is_used_and_then_the_client_is_told(network: Running, family: Family) -> None:
    """After the test above, h2 takes what is left."""
    assert network.ask("h2", family.web, "--source-port", 20601) == ["as2 hello"]
    before = network.flow(family.h2, 20601)
    assert network.ask("h2", family.web, "--flows", SIZE - SHARE - 1) == ["as2 hello"] * (SIZE - SHARE - 1)
    exhausted = network.call("GET", "/v1/flows")["summary"]["pool_exhausted"]

    with network.testbed.capture("h2", 0, "icmp or icmp6") as at_h2, network.counts("arh1", "pool_empty"):
        assert network.ask("h2", family.web, "--source-port", 20602) == [PROHIBITED[family.name]]
    kinds = [(p.source, p.payload[0], p.payload[1]) for p in at_h2.packets() if p.payload[0] in (1, 3)]
    assert kinds == [(family.gateway, 3, 13) if family is V4 else (family.gateway, 1, 1)]
    assert network.call("GET", "/v1/flows")["summary"]["pool_exhausted"] == exhausted + 1

    prefixes = [ip_network(prefix) for prefix in PREFIXES[family.name]]
    used = {ip_address(flow["translated"]) for flow in network.flows() if flow["service"] == family.web}
    assert used == {address for prefix in prefixes for address in list(prefix)[1:-1]}
    assert network.ask("h2", family.web, "--source-port", 20601) == ["as2 hello"]
    assert network.flow(family.h2, 20601) == before


@pytest.mark.row("M30", "no address is free: a TCP connection is reset at once, curl hears 'connection refused'")
@in_both_families
def test_a_connection_is_refused_at_once_when_no_address_is_free(network: Running, family: Family) -> None:
    url = f"http://{family.web}:{PORT}/" if family is V4 else f"http://[{family.web}]:{PORT}/"
    with network.testbed.capture("h2", 0, "tcp or icmp or icmp6") as at_h2, network.counts("arh1", "pool_empty"):
        began = time.monotonic()
        done = network.testbed.run("h2", ["curl", "-gvsS", "-m", "5", url])
        assert time.monotonic() - began < 2  # it takes milliseconds, on a machine that is not busy
        answer = at_h2.first(lambda packet: packet.source == family.web)
    assert (done.returncode, "Connection refused" in done.stderr) == (7, True)
    assert answer.payload[13] == 0x14  # RST and ACK


@pytest.mark.row("M30", "an exhausted pool is named by /healthz, the listing of edges and one line of the log")
@in_both_families
def test_an_exhausted_pool_is_named(network: Running, family: Family) -> None:
    """Runs on the pool that the tests above have emptied."""
    sentence = f"the {family.name} pool of arh1 is exhausted: {SIZE} of {SIZE} addresses in use"
    reasons = network.controller.rest("GET", "/healthz").body["reasons"]
    assert any(sentence[1:] in reason["detail"] for reason in reasons), reasons
    assert f"{family.name}: {SIZE} leased, 0 resting of {SIZE}, exhausted" in network.command("edges").stdout
    until(lambda: sentence in network.controller.log(), "the log says so")
    lines = [line for line in network.controller.log().splitlines() if sentence in line and "health:" not in line]
    assert len(lines) == 1


@rules_alone("whoever refuses flows, errors have the same limits")
@pytest.mark.row("M13", "the errors are rate limited: 100 at once and 100 a second, whatever is sent")
@in_both_families
def test_the_errors_are_rate_limited(network: Running, family: Family) -> None:
    """Runs on the pool that the tests above have emptied."""
    before = network.drops("arh1", "pool_empty")

    def a_thousand_refused() -> bool:
        # In many bursts: Open vSwitch passes on only a part of a large one.
        network.ask("h2", family.web, "--flows", 200, "--answers", 0, "--wait", 0)
        return network.drops("arh1", "pool_empty") >= before + 1000

    with network.testbed.capture("h2", 0, "icmp or icmp6") as at_h2:
        began = time.monotonic()
        until(a_thousand_refused, "a thousand new flows are refused")
        network.run("h2", "ping", "-c", "1", "-W", "2", family.gateway)  # behind all errors
        seconds = time.monotonic() - began
    errors = [packet for packet in at_h2.packets() if packet.source == family.gateway and packet.payload[0] in (1, 3)]
    assert 1 <= len(errors) <= 100 + 100 * seconds < 1000
