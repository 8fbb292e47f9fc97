"""Open vSwitch survives the load that ended it, and addresses last under it (M19, M20, M30).

Short TCP connections as fast as they go, in every mode of expiry, with the controller started anew among
them: one and the same ovs-vswitchd at the end.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import PORT, V4, V6, WEB, Running, edited, program, running, until

pytestmark = pytest.mark.alone("it loads Open vSwitch, which all testbeds share, as much as it can")

SECONDS = 3  # of load; ANYCAST_LOAD_S in the environment says how many instead
CLOSED_PORT = PORT + 1
DAEMON = Path("/run/openvswitch/ovs-vswitchd.pid")


def load_s() -> float:
    return float(os.environ.get("ANYCAST_LOAD_S", SECONDS))


@pytest.fixture(scope="module", params=["auto", "sweep", "idle_timeout"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("survival")
    changes = [
        ("203.0.113.0/24", "100.64.0.0/16"),
        ("expiry: auto", f"expiry: {request.param}"),
        ("idle_timeouts: 4000", "idle_timeouts: 50\n      bindings_per_client: 60000\n      bindings_per_port: 60000"),
    ]
    with running(edited("figure1.yaml", directory, *changes), directory) as network:
        network.enrol("web", WEB, [V4.as2, V6.as2])
        network.serve_tcp("as2")
        yield network


def churn(network: Running, seconds: float, restart: bool) -> list[list[int]]:
    """Loads from both clients, one in each family → (served, failed, refused, 99th percentile in ms) of each."""
    options = ("--seconds", seconds, "--at-once", 10, "--reset", 0.2, "--refused", CLOSED_PORT)
    loads = [
        network.testbed.spawn(host, program("tcp_churn.py", family.web, PORT, *options))
        for host, family in (("h1", V4), ("h2", V6))
    ]
    if restart:
        time.sleep(seconds / 2)
        network.controller.kill()
        network.controller.start()
    until(lambda: None not in [load.process.poll() for load in loads], "the loads end", seconds + 30)
    return [list(map(int, re.findall(r"\d+", load.output()))) for load in loads]


@pytest.mark.row("M20", "hundreds of TCP connections a second, closed, reset, refused, the controller killed: no crash")
@pytest.mark.row("M19", "closed, reset and refused connections give their addresses back within seconds")
def test_open_vswitch_survives(network: Running) -> None:
    daemon = DAEMON.read_text()
    for served, failed, refused, _ in churn(network, load_s(), restart=True):
        assert served > 50
        assert refused > 2
        assert failed <= 15  # those that were on their way when the controller ended
    before = len(network.flows())  # with those that ended while nobody listened
    results = churn(network, load_s() / 2, restart=False)
    print(results)
    assert [failed for _, failed, _, _ in results] == [0, 0]
    until(lambda: len(network.flows()) <= before, "all of these connections are gone", 10)
    assert DAEMON.read_text() == daemon
    assert Path(f"/proc/{daemon.strip()}").exists()
