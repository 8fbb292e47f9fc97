"""The other way for state to end (M19): rules without timeouts, whose counters the controller reads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import PORT, V4, V6, WEB, Running, edited, program, running, until

BOTH = (V4, V6)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("sweep")
    changes = [
        ("expiry: auto", "expiry: sweep"),
        ("udp_s: 300", "udp_s: 3"),
        ("tcp_closing_s: 240", "tcp_closing_s: 2"),
        ("tcp_closed_s: 5", "tcp_closed_s: 1"),
        ("unanswered_s: 30", "unanswered_s: 2"),
    ]
    with running(edited("figure1.yaml", directory, *changes), directory) as network:
        network.enrol("web", WEB, [V4.as2, V6.as2])
        network.serve_udp("as2")
        network.serve_tcp("as2")
        yield network


@pytest.mark.row("M19", "by sweep: idle flows go with their rules, pinned or not; a TCP connection that is closed, too")
def test_the_sweep_ends_idle_flows(network: Running) -> None:
    for family in BOTH:
        assert network.ask("h1", family.web) == ["as2 hello"]
        network.ask("h1", family.web, "--text", "quiet", "--answers", 0)
        network.run("h1", *program("tcp_client.py", family.web, PORT))
    flows = network.flows()
    assert len(flows) == 6
    assert not [rule for flow in flows if flow["protocol"] == "udp"
                for rule in network.rules_of(flow) if "idle_timeout" in rule]  # fmt: skip
    until(lambda: network.are_gone(flows), "all flows are gone")


@pytest.mark.row("M19", "by sweep: a one-way stream, longer than the validity, keeps both directions and PR1X alive")
@pytest.mark.parametrize(
    ("source_port", "stream"),
    [
        (21301, ("--text", "quiet", "--count", 18, "--seconds", 0.5, "--answers", 0)),
        (21302, ("--text", "repeat 18 0.5", "--answers", 18, "--wait", 20)),
    ],
    ids=["to the server", "to the client"],
)
def test_the_sweep_sees_both_directions(network: Running, source_port: int, stream: tuple[object, ...]) -> None:
    for family in BOTH:
        assert network.ask("h1", family.web, "--source-port", source_port) == ["as2 hello"]
    before = [network.flow(family.h1, source_port) for family in BOTH]
    clients = [
        network.testbed.spawn("h1", program("udp_client.py", family.web, PORT, "--source-port", source_port, *stream))
        for family in BOTH
    ]
    until(lambda: None not in [client.process.poll() for client in clients], "the streams end")
    for family in BOTH:
        assert network.ask("h1", family.web, "--source-port", source_port) == ["as2 hello"]
    assert [network.flow(family.h1, source_port) for family in BOTH] == before
