"""The testbed's copies of network files: flows that expire soon, engines, zones of connection trackers."""

from __future__ import annotations

from pathlib import Path

import pytest
from network_copy import with_engine, with_short_times, with_zones

from anycast_sdn.core.roles import EngineName
from anycast_sdn.description import reading
from tests.unit.network_files import EDGE, edited

TOPOLOGIES = Path(__file__).parents[3] / "topologies"


@pytest.mark.parametrize(
    ("given", "quarantine"),
    [
        ({}, (4, 4)),
        ({"quarantine_min_s": 60}, (4, 4)),
        ({"quarantine_min_s": 1}, (4, 1)),
        ({"quarantine_s": 2}, (2, 2)),
        ({"quarantine_s": 3, "quarantine_min_s": 3}, (3, 3)),
    ],
)
def test_times_become_short_and_fit_together(given: dict[str, int], quarantine: tuple[int, int]) -> None:
    content = edited({f"{EDGE}.{name}": value for name, value in given.items()})
    role = reading.parse(with_short_times(content), "net.yaml").switch("west").client_edge
    assert role
    assert (role.quarantine_s, role.quarantine_min_s) == quarantine
    assert role.validity.udp_s == 3


@pytest.mark.parametrize("before", [None, "rules", ["conntrack", "rules"]])
def test_client_edges_get_an_engine_and_zones(before: object) -> None:
    content = (TOPOLOGIES / "two-sites.yaml").read_text()
    if before:
        content = content.replace("    client_edge:\n", f"    client_edge:\n      engine: {before}\n")
    copy, zones = with_zones(with_engine(content, "conntrack"), 40000)
    switches = reading.parse(copy, "net.yaml").switches
    edges = [switch.client_edge for switch in switches if switch.client_edge]
    assert len(edges) > 1
    assert zones == range(40000, 40000 + 4 * len(edges))
    assert [edge.conntrack.zone for edge in edges] == list(zones[::4])
    assert {edge.engines for edge in edges} == {(EngineName.CONNTRACK,)}
    assert {switch.ovsdb for switch in switches if switch.client_edge} == {"unix:/var/run/openvswitch/db.sock"}


def test_zones_that_the_file_names_stay() -> None:
    content = edited({f"{EDGE}.engine": "conntrack", f"{EDGE}.conntrack": {"zone": 7}})
    copy, zones = with_zones(content, 40000)
    role = reading.parse(copy, "net.yaml").switch("west").client_edge
    assert role
    assert (role.conntrack.zone, zones) == (7, range(0))


def test_a_file_without_trackers_stays_as_it_is() -> None:
    content = (TOPOLOGIES / "figure1.yaml").read_text()
    assert with_zones(with_engine(content), 40000) == (content, range(0))
