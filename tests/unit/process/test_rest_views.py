"""What REST shows of a running controller."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from anycast_sdn.process.app import AnycastApp
from anycast_sdn.process.rest_views import ControllerViews
from tests.unit.control.test_reading_back import controller


def test_the_picture_of_the_network_is_one_of_one_moment_with_its_bgp_sessions() -> None:
    """Whatever happens while it is worked out."""
    sessions = [{"uplink": "as1", "state": "established"}]
    made, _ = controller()
    app = SimpleNamespace(controller=made, bgp=SimpleNamespace(views=lambda: list(sessions)))
    shown = ControllerViews(cast(AnycastApp, app)).topology([], turn=sessions.clear)
    assert shown["bgp"] == [{"uplink": "as1", "state": "established"}]
    assert not sessions, "others have had a turn"
