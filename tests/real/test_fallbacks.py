"""What a switch lacks that the controller has a fall-back for, on Open vSwitch behind the proxy that plays it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import TOPOLOGIES, Running, program, until

from anycast_sdn.description import reading

TCP_PORT = 7100
SETTINGS = """\
    profile:
      refuse: [{ports: [table], timeouts: [idle], actions: [dec_nw_ttl]}]
    ttl: keep
    client_edge:
      validity: {udp_s: 5}
"""
FAMILIES = pytest.mark.parametrize(
    ("service", "client"), [("198.18.0.1", "10.1.0.10"), ("2001:db8:a::1", "2001:db8:1::10")], ids=["IPv4", "IPv6"]
)


@pytest.fixture(scope="module")
def unable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One switch with both roles, which refuses packets to its tables, idle timeouts, and to decrement the TTL."""
    from network_copy import with_engine
    from testbed import ControllerProcess, Testbed

    directory = tmp_path_factory.mktemp("fallbacks")
    copy = directory / "one-switch.yaml"
    text = with_engine((TOPOLOGIES / "one-switch.yaml").read_text(), "")
    copy.write_text(text.replace("    client_edge:\n", SETTINGS))
    controller = ControllerProcess(copy, directory)
    with Testbed(reading.load(copy), controller.openflow_port, as_in_the_file=False) as testbed, controller:
        network = Running(testbed, controller)
        network.serve_udp("s1", "s2")
        network.serve_tcp("s1", "s2", port=TCP_PORT)
        network.wait_for_servers("web", "dns")
        yield network
        assert "Traceback" not in controller.log(), controller.log()


@pytest.mark.row("M38", "a switch that refuses packets to tables, idle timeouts, dec_ttl: UDP and TCP of both families")
@FAMILIES
def test_clients_are_served_where_packets_to_tables_and_idle_timeouts_are_refused(
    unable: Running, service: str, client: str
) -> None:
    answers = unable.ask("c1", service, "--source-port", 20801, "--count", 4, "--text", "request #")
    assert len(answers) == 4
    flow = unable.flow(client, 20801)
    assert flow["server"] is not None
    rules = unable.rules_of(flow)
    assert len(rules) == 2
    assert not any("idle_timeout" in rule for rule in rules)
    said = unable.run("c1", *program("tcp_client.py", service, TCP_PORT, "--bytes", 200_000))
    assert said.splitlines()[1] == "200000 bytes, checksum right"


@FAMILIES
def test_idle_flows_are_ended_by_the_sweep(unable: Running, service: str, client: str) -> None:
    unable.ask("c1", service, "--source-port", 20802, "--count", 2, "--text", "request #")
    flow = unable.flow(client, 20802)
    until(lambda: unable.are_gone([flow]), "the idle flow has ended, and its rules are gone", 30)


def test_it_is_said_what_is_done_instead_and_nothing_is_refused_in_operation(unable: Running) -> None:
    shown = str(unable.call("GET", "/v1/switches/edge"))
    assert "it keeps no idle timeouts: the controller ends idle flows by a sweep" in shown
    assert "it refuses packets to its tables: the controller sends each by the actions of the rules" in shown
    assert "it keeps the TTL of packets (ttl: keep): traceroute does not show it" in shown
    assert "refused" not in unable.controller.log()
