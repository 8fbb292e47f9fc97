"""Which addresses a packet carries on each stretch of its way, as captured there (M9, M11–M14, M18)."""

from __future__ import annotations

import ipaddress
from contextlib import ExitStack

import pytest
from support import PORT, WEB, Family, Running, in_both_families, on_both_engines

pytestmark = on_both_engines

TRANSLATION = {4: ipaddress.ip_network("203.0.113.0/24"), 6: ipaddress.ip_network("2001:db8:1:f::/64")}
UPLINK = 10  # the port of arh1 and of ars2 that leads to core

Ends = tuple[str, str]


@pytest.fixture(scope="module")
def network(figure1: Running) -> Running:
    figure1.enrol("web", WEB, ["10.2.0.10", "2001:db8:2::10"])
    figure1.serve_udp("as2")
    return figure1


def seen(network: Running, family: Family, source_port: int, packets: int) -> dict[str, list[Ends]]:
    """h1 sends so many packets, one after each answer → (source, destination) in order, at each place."""
    places = {"h1": ("h1", 0), "arh1": ("arh1", UPLINK), "ars2": ("ars2", UPLINK), "as2": ("as2", 0)}
    with ExitStack() as stack:
        captures = {
            name: stack.enter_context(network.testbed.capture(*place, f"{family.ip} and udp port {source_port}"))
            for name, place in places.items()
        }
        for _ in range(packets):
            assert network.ask("h1", family.web, "--source-port", source_port) == ["as2 hello"]
    return {name: [(p.source, p.destination) for p in capture.packets()] for name, capture in captures.items()}


@pytest.mark.row("M11", "h1's packet to ANY is captured: H never leaves the site")
@pytest.mark.row("M13", "first packet: H → ANY at h1, PR1X → ANY at arh1's uplink; PR1X is in PRh/k")
@pytest.mark.row("M9", "ars2: PR1X → ANY arrives, PR1X → ASg leaves: the source stays")
@pytest.mark.row("M18", "reply: ASg → PR1X up to arh1, ANY → H at h1")
@pytest.mark.row("M14", "later packets: PR1X → ASg from arh1 on")
@in_both_families
def test_each_stretch_carries_the_addresses_of_the_document(network: Running, family: Family) -> None:
    at = seen(network, family, source_port=20001, packets=2)
    translated = network.flow(family.h1, 20001)["translated"]
    assert ipaddress.ip_address(translated) in TRANSLATION[ipaddress.ip_address(translated).version]
    outside, inside = [(family.h1, family.web), (family.web, family.h1)], (translated, family.as2)
    back = (family.as2, translated)
    first = (translated, family.web)
    assert at["h1"] == outside * 2
    assert at["arh1"] == [first, back, inside, back]
    assert at["ars2"] == [first, back, inside, back]
    assert at["as2"] == [inside, back, inside, back]


@pytest.mark.row("M12", "another source port is another flow, with a PR1X of its own")
@pytest.mark.row("M13", "the binding holds the five fields, PR1X and its validity")
@in_both_families
def test_each_flow_has_a_translation_address_of_its_own(network: Running, family: Family) -> None:
    network.ask("h1", family.web, "--flows", 20)
    network.ask("h2", family.web, "--source-port", 20002)
    flows = network.flows()
    assert len({flow["translated"] for flow in flows}) == len(flows) >= 21
    flow = network.flow(family.h2, 20002)
    assert (flow["client"], flow["client_port"]) == (family.h2, 20002)
    assert (flow["service"], flow["service_port"], flow["protocol"]) == (family.web, PORT, "udp")
    assert (flow["state"], flow["server"], flow["group"]) == ("pinned", family.as2, "web")
    assert (flow["edge"], flow["validity_s"]) == ("arh1", 300)


@pytest.mark.row("M13", "an unanswered flow keeps its PR1X and goes on to ANY")
@in_both_families
def test_a_flow_without_an_answer_stays_with_its_address(network: Running, family: Family) -> None:
    with network.testbed.capture("arh1", UPLINK, f"{family.ip} and udp port 20003") as uplink:
        network.ask("h1", family.web, "--source-port", 20003, "--count", 5, "--text", "quiet", "--wait", 0)
        uplink.wait_for(5)
    flow = network.flow(family.h1, 20003)
    assert (flow["state"], flow["server"]) == ("unanswered", None)
    assert [(p.source, p.destination) for p in uplink.packets()] == [(flow["translated"], family.web)] * 5


@pytest.mark.row("M14", "hop limits fall by one at each switch, and checksums hold", on="Open vSwitch")
@in_both_families
def test_the_network_routes_it_does_not_bridge(network: Running, family: Family) -> None:
    """Host's default 64, three switches on the way; the kernel at as2 checks what it is given."""
    with network.testbed.capture("as2", 0, f"{family.ip} and udp port 20004") as at_server:
        assert network.ask("h1", family.web, "--source-port", 20004) == ["as2 hello"]
    assert [packet.hop_limit for packet in at_server.packets()] == [61, 64]
