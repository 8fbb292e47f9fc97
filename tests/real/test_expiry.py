"""State lives exactly as long as its flow (M19): validities of a few seconds, in an edited figure 1.

A rule's idle timeout is whole seconds, and Open vSwitch looks for expired rules about once a second, so
"gone" comes up to two seconds after the validity: tests wait for it.  Both families at once, to save time.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support import PORT, V4, V6, WEB, Family, Running, edited, on_both_engines, program, rules_alone, running, until

pytestmark = on_both_engines

VALIDITY_S = 3  # of UDP, ICMP and other flows
TCP_S = 10
UNANSWERED_S = 2
BOTH = (V4, V6)


@pytest.fixture(scope="module")
def network(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("expiry")
    changes = [
        ("tcp_s: 7440", f"tcp_s: {TCP_S}"),
        ("tcp_closing_s: 240", "tcp_closing_s: 1"),
        ("tcp_closed_s: 5", "tcp_closed_s: 1"),
        ("udp_s: 300", f"udp_s: {VALIDITY_S}"),
        ("icmp_s: 60", f"icmp_s: {VALIDITY_S}"),
        ("other_s: 300", f"other_s: {VALIDITY_S}"),
        ("unanswered_s: 30", f"unanswered_s: {UNANSWERED_S}"),
        ("quarantine_s: 120", "quarantine_s: 3\n      bindings_per_client: 254\n      bindings_per_port: 254"),
    ]
    with running(edited("figure1.yaml", directory, *changes), directory, engine=engine) as network:
        network.enrol("web", WEB, [V4.as2, V6.as2])
        network.serve_udp("as2")
        network.serve_tcp("as2")
        peer = network.testbed.spawn("as2", program("raw_peer.py", "serve", 253))
        until(peer.output, "the peer for protocol 253 is ready")
        yield network


def flows_of(network: Running, source_port: int) -> list[dict[str, Any]]:
    """h1's flows from this port, one in each family."""
    flows = [network.flow(family.h1, source_port) for family in BOTH]
    return [{name: value for name, value in flow.items() if name != "idle"} for flow in flows]


def pool(network: Running, family: Family) -> tuple[int, int]:
    """How many translation addresses are leased, and how many rest."""
    use = network.edge("arh1")["pools"][family.name.lower()]
    return use["leased"], use["resting"]


@pytest.mark.row("M19", "both directions idle: rules gone from the switch, binding gone, PR1X rests, then is free")
def test_an_idle_flow_leaves_nothing_behind(network: Running, engine: str) -> None:
    for family in BOTH:
        assert network.ask("h1", family.web, "--source-port", 20500) == ["as2 hello"]
    flows = flows_of(network, 20500)
    assert [len(network.rules_of(flow)) for flow in flows] == ([2, 2] if engine == "rules" else [0, 0])
    assert [pool(network, family) for family in BOTH] == [(1, 0), (1, 0)]
    until(lambda: network.are_gone(flows), "bindings and rules are gone")
    assert [pool(network, family) for family in BOTH] == [(0, 1), (0, 1)]
    until(lambda: [pool(network, family) for family in BOTH] == [(0, 0), (0, 0)], "PR1X has rested")


@rules_alone("zones of the tracker have the validity of the edge")
@pytest.mark.row("M19", "a group's own validity is in the rules of its new flows")
def test_a_groups_own_validity_overrides_that_of_the_edge(network: Running) -> None:
    def timeouts(source_port: int) -> set[str]:
        rules = [rule for flow in flows_of(network, source_port) for rule in network.rules_of(flow)]
        return {found for rule in rules for found in re.findall(r"idle_timeout=(\d+)", rule)}

    network.call("PATCH", "/v1/groups/web", {"validity": {"udp_s": 2}})
    try:
        for family in BOTH:
            assert network.ask("h1", family.web, "--source-port", 20510) == ["as2 hello"]
        assert timeouts(20510) == {"2"}
        flows = flows_of(network, 20510)
        until(lambda: network.are_gone(flows), "bindings and rules are gone")
    finally:
        network.call("PATCH", "/v1/groups/web", {"validity": {}})
    for family in BOTH:
        assert network.ask("h1", family.web, "--source-port", 20511) == ["as2 hello"]
    assert timeouts(20511) == {str(VALIDITY_S)}


@pytest.mark.row("M19", "a one-way stream, longer than the validity, keeps the other direction and PR1X alive")
@pytest.mark.parametrize(
    ("source_port", "idle", "stream"),
    [
        (20501, "in", ("--text", "quiet", "--count", 15, "--seconds", 0.5, "--answers", 0)),
        (20502, "out", ("--text", "repeat 15 0.5", "--answers", 16, "--wait", 20)),
    ],
    ids=["to the server", "to the client"],
)
def test_a_one_way_stream_keeps_both_directions(
    network: Running, engine: str, source_port: int, idle: str, stream: tuple[object, ...]
) -> None:
    for family in BOTH:
        assert network.ask("h1", family.web, "--source-port", source_port) == ["as2 hello"]
    before = flows_of(network, source_port)
    clients = [
        network.testbed.spawn("h1", program("udp_client.py", family.web, PORT, "--source-port", source_port, *stream))
        for family in BOTH
    ]
    if engine == "rules":
        until(
            lambda: [network.flow(family.h1, source_port)["idle"] for family in BOTH] == [idle, idle],
            f"the rules of direction {idle} have expired",
        )
    else:
        time.sleep(VALIDITY_S + 2)  # of 7.5 s; a connection would be gone by now
    assert [client.process.poll() for client in clients] == [None, None]
    for client in clients:  # by the streams' own sockets: two of one port would take each other's answers
        client.process.send_signal(signal.SIGUSR1)
    until(lambda: all("as2 hello" in client.output().splitlines() for client in clients), "the other direction lives")
    until(lambda: None not in [client.process.poll() for client in clients], "the streams end")
    assert flows_of(network, source_port) == before


@pytest.mark.row("M20", "a removed server keeps its flow, also when half of the flow's rules have expired")
def test_a_removed_server_keeps_a_half_idle_flow(network: Running) -> None:
    stream = ("--source-port", 20503, "--text", "repeat 12 0.5", "--answers", 12, "--wait", 20)
    clients = [network.testbed.spawn("h1", program("udp_client.py", family.web, PORT, *stream)) for family in BOTH]
    until(lambda: all(client.output() for client in clients), "the streams have begun")
    before = flows_of(network, 20503)
    for family in BOTH:
        network.call("DELETE", f"/v1/groups/web/servers/{family.as2}")
    until(lambda: None not in [client.process.poll() for client in clients], "the streams end")
    assert [len(client.output().splitlines()) for client in clients] == [12, 12]
    for family in BOTH:
        assert network.ask("h1", family.web, "--source-port", 20503) == ["as2 hello"]
    assert flows_of(network, 20503) == before
    network.enrol("web", WEB, [V4.as2, V6.as2])


@pytest.mark.row("M19", "a flow that nobody answers has a shorter validity of its own")
@pytest.mark.row("M19", "ICMP echo and, by rules, a protocol without ports expire by their own validities")
def test_each_kind_of_flow_has_its_validity(network: Running, engine: str) -> None:
    for family in BOTH:
        network.ask("h2", family.web, "--text", "quiet", "--answers", 0)
        network.run("h2", "ping", "-c", "1", "-W", "2", family.web)
        if engine == "rules":  # Open vSwitch's tracker takes timeouts of TCP, UDP and ICMP alone
            network.run("h2", *program("raw_peer.py", "ask", 253, family.web))
    flows = [flow for family in BOTH for flow in network.flows(f"client={family.h2}")]
    validities = [UNANSWERED_S, VALIDITY_S, VALIDITY_S] if engine == "rules" else [UNANSWERED_S, VALIDITY_S]
    assert [flow["validity_s"] for flow in flows] == validities * 2
    until(lambda: network.are_gone(flows), "all are gone")


@pytest.mark.row("M19", "TCP: after FIN, or RST, the flow goes in seconds, long before its validity")
@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_closed_connection_goes_soon(network: Running, end: str) -> None:
    started = time.monotonic()
    for family in BOTH:
        assert "checksum right" in network.run("h1", *program("tcp_client.py", family.web, PORT, "--end", end))
    until(lambda: not [flow for flow in network.flows() if flow["protocol"] == "tcp"], "the bindings are gone")
    assert time.monotonic() - started < TCP_S


@pytest.mark.row("M19", "TCP: a connection that is open but idle has the long validity")
def test_an_open_connection_has_its_own_validity(network: Running) -> None:
    client = network.testbed.spawn("h1", program("tcp_client.py", V4.web, PORT, "--bytes", 20_000, "--rate", 10))
    until(lambda: "connected" in client.output(), "the connection is open")
    connected = time.monotonic()
    (flow,) = [flow for flow in network.flows() if flow["protocol"] == "tcp"]
    assert flow["validity_s"] == TCP_S
    until(lambda: network.are_gone([flow]), "the connection's state is gone")
    assert time.monotonic() - connected > TCP_S - 1
    client.stop()


@pytest.mark.row("M19", "an address that was freed rests before another flow gets it")
def test_addresses_rest(network: Running) -> None:
    network.ask("h2", V4.web, "--flows", 5)
    flows = network.flows(f"client={V4.h2}")
    until(lambda: network.are_gone(flows), "the flows are gone")
    assert pool(network, V4)[1] >= 5
    network.ask("h2", V4.web, "--flows", 200)  # of 254 addresses
    freed = {flow["translated"] for flow in flows}
    assert not freed & {flow["translated"] for flow in network.flows(f"client={V4.h2}")}
