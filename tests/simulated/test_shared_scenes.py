"""Scenes of other files, once more with shared switches: one controller leads, and another one is their master (M37).

What holds for clients and servers does not depend on it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from scenes import topology, web
from shared import SharedNetwork

SCENES = (
    "exhaustion", "icmp_errors", "nat", "pinning", "protocols", "refusals", "server_edge", "sweep",
)  # fmt: skip


@pytest.fixture
def build() -> Iterator[Callable[..., SharedNetwork]]:
    """As in other files, with client edges that have rules of flows."""
    made: list[SharedNetwork] = []

    def make(name: str, *hosts: str, switch: dict[str, Any] | None = None, **changes: Any) -> SharedNetwork:
        description = topology(name, **changes)
        made.append(SharedNetwork(description, web(description, *hosts) if hosts else None, **(switch or {})))
        return made[-1]

    yield make
    for net in made:
        net.check_recompute_changes_nothing()


def scenes_of(scenes: str) -> dict[str, Any]:
    """Those of a file that make networks by ``build``."""
    spec = spec_from_file_location(f"shared_{scenes}", Path(__file__).with_name(f"test_{scenes}.py"))
    assert spec
    assert spec.loader
    module = module_from_spec(spec)  # by its path: tests of other folders have the same names
    spec.loader.exec_module(module)
    return {
        name: test for name, test in vars(module).items()
        if name.startswith("test_") and "build" in inspect.signature(test).parameters
    }  # fmt: skip


for each in SCENES:
    globals().update({f"test_{each}_{name.removeprefix('test_')}": test for name, test in scenes_of(each).items()})
