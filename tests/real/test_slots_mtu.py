"""A link between server edges that takes smaller packets than hosts send (M20, M26)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from support import ARH1_MAC, PORT, V4, V6, WEB, Family, Running, edited, in_both_families, running, until

from anycast_sdn.core.model import UDP, FlowKey, packed
from anycast_sdn.openflow import builders

MTU = 1400


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Figure 1 with a link from ars2 to ars3, which is nearer than the way by the core, and takes smaller packets."""
    directory = tmp_path_factory.mktemp("narrow")
    link = "  - {ends: [core:12, ars3:10], cost: 2}"
    more = f"{link}\n  - {{ends: [ars2:77, ars3:77], cost: 1, mtu: {MTU}}}"
    with running(edited("figure1.yaml", directory, (link, more)), directory) as network:
        network.serve_udp("as2", "as3")
        yield network


@pytest.mark.row("M26", "packets too large for the link to a slot's server are refused, with its mtu; others get there")
@in_both_families
def test_the_link_to_another_edge_may_take_smaller_packets(network: Running, family: Family) -> None:
    network.enrol("web", WEB, [each for server in (V4, V6) for each in (server.as2, server.as3)])
    network.call("PATCH", "/v1/groups/web", {"selection": {"distance": "any"}})
    until(lambda: family.as3 in network.testbed.ofctl("dump-groups", "ars2"), "ars2 has slots of as3", timeout_s=60)
    answers = Counter(answer.split()[0] for answer in network.ask("h1", family.web, "--flows", 40))
    assert min(answers["as2"], answers["as3"]) >= 5
    mac = network.mac("h1")
    frames = [
        builders.ip_packet(
            FlowKey(packed(family.h1), packed(family.web), UDP, port, PORT), eth_src=mac, eth_dst=ARH1_MAC,
            payload=b"quiet" + bytes(MTU),
        )
        for port in range(21000, 21040)
    ]  # fmt: skip
    at_h1 = network.testbed.capture("h1", 0, "icmp[0] == 3 or icmp6[0] == 2")
    of_flows = f"{family.ip} and udp dst port {PORT}"
    at_as2, at_as3 = (network.testbed.capture(name, 0, of_flows) for name in ("as2", "as3"))
    before = network.drops("ars2", "too_large")
    with at_h1, at_as2, at_as3:
        network.send_frames("h1", frames)
        until(lambda: len(at_as2.packets()) + network.drops("ars2", "too_large") - before == 40, "all are somewhere")
        until(at_h1.packets, "h1 is told")
    assert all(int.from_bytes(packet.payload[4:8], "big") == MTU for packet in at_h1.packets())
    assert len(at_as2.packets()) >= 5
    assert at_as3.packets() == []
