"""An operator has a switch tried again."""

from __future__ import annotations

import pytest

from anycast_sdn.cluster.cluster import Claim
from anycast_sdn.cluster.steering import CannotSteer
from anycast_sdn.core.model import NotFound
from anycast_sdn.core.network_events import LinkDown
from anycast_sdn.process import examining
from tests.unit.process.test_roles import ARH1, Controller, Switch


def test_a_switch_that_is_tried_again_has_its_links_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Controller()
    one.cluster.leader = True
    one.cluster.claims[ARH1] = Claim(True, 5)
    end = one.connect(Switch())
    one.cluster.ask_again(ARH1)
    one.work(end)
    controller = one.app.controller
    switch = controller.switches[ARH1]
    seen: list[tuple[bool, bool]] = []  # meanwhile: is it one of those whose links are judged, and synchronised?

    def sleep(seconds: float) -> None:
        seen.append((switch.name in controller.discovery._present, switch.synchronised))
        one.work(end)

    monkeypatch.setattr(examining.hub, "sleep", sleep)
    asked = len(end.asked)
    examining.examine(controller, one.app.connections, switch.name)
    assert seen
    assert set(seen) == {(True, False)}
    assert switch.synchronised
    assert len(end.asked) > asked
    assert not one.events(LinkDown)


def test_what_cannot_be_tried_is_said() -> None:
    one = Controller()
    with pytest.raises(NotFound):
        examining.examine(one.app.controller, one.app.connections, "nobody")
    with pytest.raises(CannotSteer, match="is not connected"):
        examining.examine(one.app.controller, one.app.connections, "arh1")
