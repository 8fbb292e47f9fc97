"""Networks for the tests, and what must hold at the end of each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scenes import network

from anycast_sdn.simulation.network import SimulatedNetwork


@pytest.fixture
def build() -> Iterator[Callable[..., SimulatedNetwork]]:
    """Makes networks as ``scenes.network`` does; at the test's end a recompute changes nothing on any."""
    made: list[SimulatedNetwork] = []

    def make(*arguments: Any, **options: Any) -> SimulatedNetwork:
        made.append(network(*arguments, **options))
        return made[-1]

    yield make
    for net in made:
        net.check_recompute_changes_nothing()


@pytest.fixture(params=[False, True], ids=["ipv4", "ipv6"])
def v6(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)
