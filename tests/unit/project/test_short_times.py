"""The demo's copy of a network file, in which flows and addresses expire soon."""

from __future__ import annotations

import pytest
from short_times import with_short_times

from anycast_sdn.description import reading
from tests.unit.network_files import EDGE, edited


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
