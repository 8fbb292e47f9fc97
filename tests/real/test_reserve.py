"""Real Open vSwitch serves new flows while no controller is there, out of the reserve of its client edge."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from support import PORT, V4, V6, Running, program, until, with_conntrack
from tracked import is_served, tracked, translated

from anycast_sdn.openflow.presence import LIVES_S

pytestmark = with_conntrack

RESERVE = IPv4Network("203.0.113.224/27")
NOTICED_S = LIVES_S + 8.0  # from the controller's death until the switch has noticed it, on a machine that is busy


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with tracked(tmp_path_factory.mktemp("reserve")) as network:
        yield network


@pytest.mark.row("M36", "no controller: new flows are served out of a reserve by the switch, and known when it is back")
@pytest.mark.row("M20", "kill -9 of the controller: known flows go on, flows out of the reserve go on when it is back")
def test_new_flows_are_served_without_a_controller_and_known_when_it_is_back(network: Running) -> None:
    assert is_served(network, V4.web, "--source-port", 21000)
    before = translated(network, V4, 21000)
    network.controller.kill()
    until(lambda: is_served(network, V4.web, within_s=1), "the switch serves new flows by itself", NOTICED_S)
    for address, port in ((V4.web, 21000), (V4.web, 21001), (V6.web, 21002)):
        assert is_served(network, address, "--source-port", port)
    assert "connected to as2" in network.run("h1", *program("tcp_client.py", V4.web, PORT))
    addresses = [translated(network, V4, 21000), translated(network, V4, 21001)]
    assert addresses[0] == before
    assert IPv4Address(addresses[1]) in RESERVE
    assert IPv4Address(before) not in RESERVE
    network.controller.start()
    network.wait_for_servers("web")

    def known() -> list[Any]:
        assert is_served(network, V4.web, "--source-port", 21001)
        return [flow for flow in network.flows(f"client={V4.h1}") if flow["client_port"] == 21001]

    (flow,) = until(known, "the flow out of the reserve is known")
    assert (flow["translated"], flow["server"], flow["state"]) == (addresses[1], V4.as2, "pinned")


@pytest.mark.row("M36", "no controller: hosts find their gateway by ARP and ND, flows go on and begin")
def test_hosts_find_their_gateway_without_a_controller(network: Running) -> None:
    """All answers are of the host's own kernel, which checks them."""
    for family, port in ((V4, 23000), (V6, 23001)):
        assert is_served(network, family.web, "--source-port", port)
    before = [translated(network, V4, 23000), translated(network, V6, 23001)]
    network.controller.kill()
    for host in ("h1", "as2"):
        for family in ("-4", "-6"):
            network.run(host, "ip", family, "neigh", "flush", "dev", network.testbed.interface(host))
    for address, port in ((V4.web, 23000), (V6.web, 23001)):
        for each, what in ((port, "the flow goes on"), (port + 10, "a new one begins")):
            until(partial(is_served, network, address, "--source-port", each, within_s=1), what, NOTICED_S)
    assert [translated(network, V4, 23000), translated(network, V6, 23001)] == before
    network.controller.start()
    network.wait_for_servers("web")


@pytest.mark.row("M13", "a controller that is asked to end: no new flow is lost meanwhile")
def test_no_new_flow_is_lost_when_the_controller_is_asked_to_end(network: Running) -> None:
    load = network.testbed.spawn("h1", program("udp_client.py", V4.web, PORT, "--flows", 300, "--first-port", 22000,
                                               "--apart", 0.01, "--answers", 300, "--wait", 15))  # fmt: skip
    until(lambda: len(load.output().splitlines()) > 50, "the load is there")
    network.controller.process.send_signal(signal.SIGTERM)
    assert network.controller.process.wait(10) == 0
    until(lambda: load.process.poll() is not None, "all flows were tried", 30)
    network.controller.start()
    assert load.output().splitlines() == ["as2 hello"] * 300
