"""Real Open vSwitch chooses the translation addresses of all flows by itself (``allocation: switch``)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bridge import run
from support import PORT, V4, V6, Running, program, until, with_conntrack
from tracked import is_served, tracked, translated

pytestmark = with_conntrack


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with tracked(tmp_path_factory.mktemp("switch"), "allocation: switch") as network:
        yield network


def is_pinned(network: Running, client: str) -> bool:
    flows = network.flows(f"client={client}")
    return any(flow["client_port"] == 23000 and flow["server"] for flow in flows)


@pytest.mark.row("M36", "allocation: switch: the controller is not asked, and knows the flows by copies")
def test_the_switch_chooses_addresses_network_and_the_controller_learns_of_flows(network: Running) -> None:
    for family in (V4, V6):
        assert is_served(network, family.web, "--source-port", 23000)
        until(lambda address=family.h1: is_pinned(network, address), "the flow is known")
        flow = network.flow(family.h1, 23000)
        assert (flow["translated"], flow["server"]) == (translated(network, family, 23000), family.as2)
    assert "connected to as2" in network.run("h1", *program("tcp_client.py", V6.web, PORT))
    assert "1 packets transmitted, 1 received" in network.run("h1", "ping", "-c", "1", "-W", "5", V4.web)


@pytest.mark.row("M13", "allocation: switch: what gets no address is dropped, and its client gets an error")
def test_a_flow_without_an_address_gets_an_error(network: Running) -> None:
    for zone in network.testbed.zones:
        run("ovs-appctl", "dpctl/ct-set-limits", f"zone={zone},limit=1")
    try:
        network.ask("h1", V4.web, "--answers", 1, "--wait", 5)
        network.run("h1", *program("tcp_client.py", V4.web, PORT))
        with network.counts("arh1", "pool_empty", 2):
            (said,) = network.ask("h1", V4.web, "--answers", 1, "--wait", 5)
            assert said.startswith("error ")
            said = network.run("h1", "sh", "-c", f"curl -s -S -m 20 http://{V4.web}:{PORT} 2>&1 || true")
            assert said.startswith("curl: (7)")  # at once, and not after a timeout
    finally:
        zones = ",".join(map(str, network.testbed.zones))
        run("ovs-appctl", "dpctl/ct-del-limits", f"zone={zones}")
