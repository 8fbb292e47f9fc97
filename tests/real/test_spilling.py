"""What an edge's own servers cannot hold goes to the next edge, on Open vSwitch (M26)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sessions import Scene, network_file, play, served
from support import Running, running


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("spilling")
    with running(network_file(directory), directory) as network:
        yield network


@pytest.mark.row("M26", "a step of demand at an edge: as3, farther away, serves what as2 cannot")
def test_a_step_of_demand_is_served_by_the_next_edge(network: Running, tmp_path: Path) -> None:
    """70 sessions for a server that holds 40: by distance alone four of ten are refused."""
    scene = Scene("step", {0: 20, 5: 70}, 40, capacity=40, lifetime_s=5)
    got = play(network, scene, tmp_path)
    with_selection, nearest = (served(got[group], 25, 40) for group in ("web", "near"))
    assert nearest < 0.75
    assert with_selection > nearest + 0.15
    late = {request.server for request in got["web"] if request.at_s >= 25}
    assert late >= {"as2", "as3"}
