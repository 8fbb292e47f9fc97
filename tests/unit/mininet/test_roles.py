"""The demo's roles, where switches play other makes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from roles import choose

from anycast_sdn.description import reading
from anycast_sdn.description.profiles import PROFILES

FIGURE1 = reading.load(Path(__file__).parents[3] / "topologies" / "figure1.yaml")


def test_the_nearest_edge_is_one_that_can_serve() -> None:
    played = (
        replace(switch, profile=PROFILES["nvidia-onyx"]) if switch.name == "ars2" else switch
        for switch in FIGURE1.switches
    )
    assert choose(FIGURE1).distances() == {"ars2": 2, "ars3": 3}
    roles = choose(replace(FIGURE1, switches=tuple(played)))
    assert roles.distances() == {"ars3": 3}
    assert roles.detour() is None
    assert "as2" in roles.servers, "it is enrolled nevertheless: what becomes of it is shown"
