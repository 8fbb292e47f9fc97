"""Networks for the tests, and what must hold at the end of each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scenes import network

from anycast_sdn.core.roles import EngineName, Expiry
from anycast_sdn.simulation.network import SimulatedNetwork


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("engines")
    if marker and len(marker.args) > 1 and "engine" in metafunc.fixturenames:
        metafunc.parametrize("engine", marker.args, ids=lambda engine: engine.value)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in list(items):
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        expiry = parameters.get("expiry", Expiry.AUTO)
        if parameters.get("engine") is EngineName.CONNTRACK and expiry is not Expiry.AUTO:
            items.remove(item)  # only rules of flows have several ways to expire
        for marker in item.iter_markers("fails_with_conntrack"):
            if parameters.items() >= {"engine": EngineName.CONNTRACK, **marker.kwargs}.items():
                item.add_marker(pytest.mark.xfail(strict=True, reason=marker.args[0]))


@pytest.fixture
def engine() -> EngineName:
    """The engine of client edges; see ``scenes.both_engines``."""
    return EngineName.RULES


@pytest.fixture
def build(engine: EngineName) -> Iterator[Callable[..., SimulatedNetwork]]:
    """Makes networks as ``scenes.network`` does; at the test's end a recompute changes nothing on any."""
    made: list[SimulatedNetwork] = []

    def make(*arguments: Any, **options: Any) -> SimulatedNetwork:
        made.append(network(*arguments, **{"engines": (engine,), **options}))
        return made[-1]

    yield make
    for net in made:
        net.check_recompute_changes_nothing()


@pytest.fixture(params=[False, True], ids=["ipv4", "ipv6"])
def v6(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)
