"""Switches with few tables: Open vSwitch behind a relay that says so, and refuses what further tables would need."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from few_tables import FewTables
from support import TOPOLOGIES, Running, program, until

from anycast_sdn.description import reading

TCP_PORT = 7100
SERVICES = pytest.mark.parametrize(
    ("service", "client"), [("198.18.0.1", "10.1.0.10"), ("2001:db8:a::1", "2001:db8:1::10")], ids=["IPv4", "IPv6"]
)


class _Behind(NamedTuple):
    relay: FewTables
    network: Running
    tables: int

    def groups(self) -> list[str]:
        return sorted(self.network.testbed.ofctl("dump-groups", "edge").splitlines()[1:])  # below a transaction id


@pytest.fixture(scope="module", params=[3, 2], ids="{} tables".format)
def behind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Behind]:
    """One switch with both roles, and the relay between it and its controller."""
    from network_copy import with_engine
    from relay import Relays
    from testbed import ControllerProcess, Testbed

    directory = tmp_path_factory.mktemp("few-tables")
    copy = directory / "one-switch.yaml"
    copy.write_text(with_engine((TOPOLOGIES / "one-switch.yaml").read_text(), ""))
    controller = ControllerProcess(copy, directory)
    with Relays() as relays:
        relay = FewTables(relays, controller.openflow_port, request.param)
        with Testbed(reading.load(copy), relay.port, as_in_the_file=False) as testbed, controller:
            network = Running(testbed, controller)
            network.serve_udp("s1", "s2")
            network.serve_tcp("s1", "s2", port=TCP_PORT)
            network.wait_for_servers("web", "dns")
            yield _Behind(relay, network, request.param)
            assert "Traceback" not in controller.log(), controller.log()


@pytest.mark.row("M38", "a switch of few tables: UDP and TCP of both families, rules in its own tables alone")
@SERVICES
def test_clients_are_served_through_few_tables(behind: _Behind, service: str, client: str) -> None:
    answers = behind.network.ask("c1", service, "--source-port", 20801, "--count", 4, "--text", "request #")
    assert len(answers) == 4
    assert behind.network.flow(client, 20801)["server"] is not None
    said = behind.network.run("c1", *program("tcp_client.py", service, TCP_PORT, "--bytes", 200_000))
    assert said.splitlines()[1] == "200000 bytes, checksum right"


def test_a_controller_that_starts_anew_leaves_flows_on_few_tables_as_they_are(behind: _Behind) -> None:
    network = behind.network
    answers = network.ask("c1", "198.18.0.1", "--source-port", 20802)
    flow = network.flow("10.1.0.10", 20802)
    rules, groups = network.rules_of(flow), behind.groups()
    assert rules
    network.controller.stop()
    network.controller.start()
    assert network.ask("c1", "198.18.0.1", "--source-port", 20802) == answers
    assert network.flow("10.1.0.10", 20802)["translated"] == flow["translated"]
    assert network.rules_of(flow) == rules
    assert behind.groups() == groups


def test_a_group_that_another_program_has_changed_or_deleted_is_put_right(behind: _Behind) -> None:
    network = behind.network
    if behind.tables != 2:
        pytest.skip("with three tables no group names a next hop")
    network.ask("c1", "198.18.0.1", "--source-port", 20803)
    before = behind.groups()
    number = next(line.split("group_id=")[1].split(",")[0] for line in before if "type=indirect" in line)
    network.testbed.ofctl("mod-group", "edge", f"group_id={number},type=indirect,bucket=actions=drop")
    assert behind.groups() != before
    until(lambda: behind.groups() == before, "the group is as before", 30)
    assert len(network.ask("c1", "198.18.0.1", "--source-port", 20803)) == 1


def test_flows_without_a_next_hop_on_two_tables_are_told_until_they_have_one_again(behind: _Behind) -> None:
    network = behind.network
    if behind.tables != 2:
        pytest.skip("with three tables such packets reach the controller")

    def told() -> list[str]:
        reasons = network.controller.rest("GET", "/healthz").body["reasons"]
        return [reason["detail"] for reason in reasons if "no next hop" in reason["detail"]]

    network.ask("c1", "198.18.0.1", "--source-port", 20804)
    assert not told()
    port = network.testbed.interface("edge", 1)
    subprocess.run(["ip", "link", "set", port, "down"], check=True)
    (sentence,) = until(told, "it is told", 30)
    assert "has no next hop to 10.1.0.10" in sentence
    subprocess.run(["ip", "link", "set", port, "up"], check=True)
    until(lambda: network.ask("c1", "198.18.0.1", "--source-port", 20804), "c1 is back")
    until(lambda: not any("10.1.0.10" in each for each in told()), "it is not cut off any more", 30)


def test_nothing_that_such_a_switch_is_sent_is_refused(behind: _Behind) -> None:
    assert behind.relay.tables_used[0] > 0
    assert behind.relay.tables_used[behind.tables - 1] > 0
    assert behind.relay.refusals == []
    assert "refused" not in behind.network.controller.log()
