"""Client and server on one switch, which is ARh and ARs at once; groups from the network file (M25)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from support import TOPOLOGIES, Running, on_both_engines, program, running

pytestmark = on_both_engines

TCP_PORT = 7100
SERVICES = pytest.mark.parametrize(
    ("service", "client", "translation"),
    [("198.18.0.1", "10.1.0.10", "203.0.113."), ("2001:db8:a::1", "2001:db8:1::10", "2001:db8:1:f:")],
    ids=["IPv4", "IPv6"],
)


@pytest.fixture(scope="module")
def network(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(TOPOLOGIES / "one-switch.yaml", tmp_path_factory.mktemp("one-switch"), engine=engine) as network:
        network.serve_udp("s1", "s2")
        network.serve_tcp("s1", "s2", port=TCP_PORT)
        network.wait_for_servers("web", "dns")
        yield network


@pytest.mark.row("M25", "both roles on one switch: requests reach s1 or s2 as PR1X → ASg, replies reach c1 from ANY")
@SERVICES
def test_client_and_server_share_a_switch(network: Running, service: str, client: str, translation: str) -> None:
    at_c1 = network.testbed.capture("c1", 0, "udp port 20801")
    at_s1, at_s2 = (network.testbed.capture(host, 0, "udp port 20801") for host in ("s1", "s2"))
    with at_c1, at_s1, at_s2:
        answers = network.ask("c1", service, "--source-port", 20801, "--count", 4, "--text", "request #")
    flow = network.flow(client, 20801)
    server, silent = (at_s1, at_s2) if answers[0].startswith("s1") else (at_s2, at_s1)
    assert len(answers) == 4
    assert {(p.source, p.destination) for p in at_c1.packets()} == {(client, service), (service, client)}
    there = {(flow["translated"], flow["server"]), (flow["server"], flow["translated"])}
    assert {(p.source, p.destination) for p in server.packets()} == there
    assert (len(server.packets()), silent.packets()) == (8, [])
    assert flow["translated"].startswith(translation)


@pytest.mark.row("M25", "TCP on one switch")
@SERVICES
def test_tcp_works_on_one_switch(network: Running, service: str, client: str, translation: str) -> None:
    said = network.run("c1", *program("tcp_client.py", service, TCP_PORT, "--bytes", 2_000_000))
    assert said.splitlines()[1] == "2000000 bytes, checksum right"


@pytest.mark.row("M6", "servers use the service that they serve, themselves among its servers: UDP and TCP")
@SERVICES
def test_a_server_uses_its_own_service(network: Running, service: str, client: str, translation: str) -> None:
    """Packets go back by the port where they came in."""
    names = {name: 0 for name in ("s1", "s2")}
    for port in range(20810, 20834):
        answers = network.ask("s1", service, "--source-port", port, "--count", 3)
        assert len(answers) == 3
        names[answers[0].split()[0]] += 1
    assert all(names.values())
    for _ in range(6):
        said = network.run("s1", *program("tcp_client.py", service, TCP_PORT, "--bytes", 20_000))
        assert said.splitlines()[1] == "20000 bytes, checksum right"


@pytest.mark.row("M10", "one switch: the weights of the network file, 1 and 2, share 200 flows accordingly")
def test_the_files_weights_count(network: Running) -> None:
    """133 expected for s2, 6 standard deviations are 40."""
    answers = Counter(answer.split()[0] for answer in network.ask("c1", "2001:db8:a::1", "--flows", 200))
    assert answers.total() == 200
    assert 93 <= answers["s2"] <= 173


@pytest.mark.row("M2", "one switch: any address of the service prefix 198.18.53.0/24")
def test_a_service_prefix_on_one_switch(network: Running) -> None:
    for address in ("198.18.53.0", "198.18.53.255"):
        assert network.ask("c1", address) == ["s1 hello"]
