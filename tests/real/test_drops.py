"""What may not pass, and where a user sees that it did not (M15, M16, M22; a source that is not the port's).

That nothing arrived is shown by a packet behind it that did.
"""

from __future__ import annotations

import pytest
from support import ARH1_MAC, ARS2_MAC, PORT, V4, V6, WEB, Family, Running, in_both_families

from anycast_sdn.core.model import UDP, FlowKey, packed
from anycast_sdn.openflow import builders


@pytest.fixture(scope="module")
def network(figure1: Running) -> Running:
    figure1.enrol("web", WEB, [V4.as2, V6.as2])
    figure1.serve_udp("as2", "as3", "h2")
    return figure1


def forge(network: Running, host: str, source: str, destination: str, count: int) -> None:
    """``host`` sends datagrams with any source address to its gateway, as no socket would."""
    frame = builders.ip_packet(
        FlowKey(packed(source), packed(destination), UDP, 20200, PORT),
        eth_src=network.mac(host),
        eth_dst={"h1": ARH1_MAC, "as2": ARS2_MAC}[host],
        payload=b"quiet forged",
    )
    network.send_frames(host, [frame] * count)


@pytest.mark.row("M22", "a host's packets with an anycast source are dropped at its port, counted")
@pytest.mark.parametrize(("host", "edge"), [("h1", "arh1"), ("as2", "ars2")], ids=["client", "server"])
@in_both_families
def test_anycast_sources_do_not_enter(network: Running, family: Family, host: str, edge: str) -> None:
    uplink = network.testbed.capture(edge, 10, f"{family.ip} and udp")
    with uplink, network.counts(edge, "anycast_source", 3):
        forge(network, host, family.web, family.as3, 3)
        assert network.ask(host, family.as3) == ["as3 hello"]
    assert family.web not in {packet.source for packet in uplink.packets()}
    assert len(uplink.packets()) == 2


@pytest.mark.row("M1", "a source that does not belong to its port's subnet is dropped, counted")
@in_both_families
def test_wrong_sources_do_not_enter(network: Running, family: Family) -> None:
    uplink = network.testbed.capture("arh1", 10, f"{family.ip} and udp")
    with uplink, network.counts("arh1", "wrong_source", 3):
        forge(network, "h1", family.as2, family.as3, 3)
        assert network.ask("h1", family.as3) == ["as3 hello"]
    assert {packet.source for packet in uplink.packets()} == {family.h1, family.as3}


@pytest.mark.row("M16", "packets to an unknown PR1X are dropped at arh1, counted; the controller is not asked")
@pytest.mark.row("M15", "arh1 captures what is for PRh/k")
@in_both_families
def test_unknown_translation_addresses_are_a_dead_end(network: Running, family: Family) -> None:
    """From as3, which no group has: strangers never reach the controller."""
    unknown = f"{family.translation}77" if family.ip == "ip" else "2001:db8:1:f:1234::77"
    counters = {name for name in network.edge("arh1")["drops"] if name != "unknown_translated"}
    before = {name: network.drops("arh1", name) for name in counters}
    at_h2 = network.testbed.capture("h2", 0, f"{family.ip} and udp")
    with at_h2, network.counts("arh1", "unknown_translated", 3):
        network.ask("as3", unknown, "--source-port", 20201, "--count", 3, "--answers", 0)
        assert network.ask("as3", family.h2) == ["h2 hello"]
    assert {packet.source for packet in at_h2.packets()} == {family.as3, family.h2}
    assert {name: network.drops("arh1", name) for name in counters} == before


@pytest.mark.row("M16", "an enrolled server's packet to an unknown PR1X is dropped, counted by the controller")
@in_both_families
def test_a_server_cannot_make_a_binding(network: Running, family: Family) -> None:
    unknown = f"{family.translation}78" if family.ip == "ip" else "2001:db8:1:f:1234::78"
    flows = len(network.flows())
    with network.counts("arh1", "no_binding", 3):
        network.ask("as2", unknown, "--source-port", 20202, "--count", 3, "--answers", 0)
        assert network.ask("as2", family.h2) == ["h2 hello"]
    assert len(network.flows()) == flows


@pytest.mark.row("M1", "hosts reach each other by unicast as before, translated nowhere")
@in_both_families
def test_unicast_passes_untouched(network: Running, family: Family) -> None:
    with network.testbed.capture("as3", 0, f"{family.ip} and udp") as at_as3:
        assert network.ask("h1", family.as3) == ["as3 hello"]
    assert [packet.source for packet in at_as3.packets()] == [family.h1, family.as3]
