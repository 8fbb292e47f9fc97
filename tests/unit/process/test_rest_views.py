"""What REST shows of a running controller."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from anycast_sdn.process.app import AnycastApp
from anycast_sdn.process.rest_views import ControllerViews
from tests.unit.control.test_reading_back import controller


def test_the_topology_and_its_bgp_sessions_are_those_of_one_moment() -> None:
    """They do not change while the topology is computed."""
    sessions = [{"uplink": "as1", "state": "established"}]
    made, _ = controller()
    app = SimpleNamespace(controller=made, bgp=SimpleNamespace(views=lambda: list(sessions)))
    shown = ControllerViews(cast(AnycastApp, app)).topology([], [], turn=sessions.clear)
    assert shown["bgp"] == [{"uplink": "as1", "state": "established"}]
    assert not sessions, "other green threads have run"
