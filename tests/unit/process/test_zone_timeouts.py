"""What is said and done when the timeouts of a connection tracker cannot be set, or no database is configured."""

from __future__ import annotations

import random
from pathlib import Path

from anycast_sdn.cluster.alone import Alone
from anycast_sdn.control.controller import Controller
from anycast_sdn.control.share import Share
from anycast_sdn.core.events import Event
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.switch_events import SwitchConnected, SwitchDegraded, SwitchMastered, TimeoutsFailed
from anycast_sdn.description import reading
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.tables import Tables
from anycast_sdn.process.zone_timeouts import ZoneTimeouts
from anycast_sdn.views.counters import Counters
from anycast_sdn.views.health import Health
from tests.unit.network_files import EDGE, edited

WEST = 1  # its datapath id
CONNECTED = SwitchConnected("west", "", 0, 0)
LONG_AFTER = 1e9


class Cluster(Alone):
    masters = True

    def is_master(self, dpid: int) -> bool:
        return self.masters


class Scene:
    """West is connected; what is to be done in green threads is done at once."""

    def __init__(
        self, place: str | None, *, engine: object = "conntrack", tracks: bool = True, share: Share = Share.ALL
    ) -> None:
        changes = {f"{EDGE}.engine": engine} | ({"switches[0].ovsdb": place} if place else {})
        self.controller = Controller(reading.parse(edited(changes), "net.yaml"), Groups(), random.Random(1))
        self.controller.begin_reading(WEST, Tables(), Features(connections=tracks), share=share)
        while self.controller.read_on(WEST, 0.0) is not None:
            pass
        self.controller.end_reading(WEST, {}, 0.0)
        self.cluster = Cluster()
        self.events: list[Event] = []
        self.looks = 0
        self.service = ZoneTimeouts(self.controller, self.cluster, self.events.append, self._carry_out)

    def _carry_out(self, act: object) -> None:
        self.looks += 1
        assert callable(act)
        act()

    def look(self, now: float = LONG_AFTER) -> None:
        self.service.look(now)

    def reasons(self) -> list[str]:
        health = Health(Counters())
        health.update(self.controller, (), LONG_AFTER)
        return [each["code"] for each in health.view(self.controller, LONG_AFTER, 0.0)["reasons"]]


def test_a_database_that_is_not_there_is_told_of_once_and_tried_again(tmp_path: Path) -> None:
    scene = Scene(f"unix:{tmp_path}/none")
    scene.service.note(CONNECTED)
    for _ in range(2):
        scene.look()
    assert scene.looks == 3
    (event,) = scene.events
    assert isinstance(event, TimeoutsFailed)
    assert event.sentence().endswith("/none: No such file or directory")
    assert "timeouts.failed" in scene.reasons()


def test_a_database_is_not_looked_at_before_it_is_due(tmp_path: Path) -> None:
    scene = Scene(f"unix:{tmp_path}/none")
    scene.look()
    assert scene.looks == 0  # it has not connected
    scene.service.note(CONNECTED)
    assert scene.looks == 1
    scene.look(0.0)
    assert scene.looks == 1


def test_without_a_database_it_is_said_once_that_validity_does_not_count() -> None:
    scene = Scene(None)
    for _ in range(2):
        scene.service.note(CONNECTED)
        scene.look()
    (event,) = scene.events
    assert isinstance(event, SwitchDegraded)
    assert "and not as validity says" in event.sentence()
    assert scene.looks == 0


def test_a_switch_that_is_served_by_rules_needs_no_timeouts(tmp_path: Path) -> None:
    for scene in (
        Scene(f"unix:{tmp_path}/none", engine="rules"),
        Scene(f"unix:{tmp_path}/none", engine=["conntrack", "rules"], tracks=False),
        Scene(None, engine="rules"),
    ):
        scene.service.note(CONNECTED)
        scene.look()
        assert (scene.looks, scene.events) == (0, [])


def test_of_a_shared_switch_its_master_sets_the_timeouts_and_the_leader_does_not(tmp_path: Path) -> None:
    place = f"unix:{tmp_path}/none"
    master, leader = Scene(place, share=Share.FLOWS), Scene(place, share=Share.REST)
    leader.cluster.masters = False
    for scene in (master, leader):
        scene.service.note(SwitchMastered("west"))
        scene.service.note(CONNECTED)
        scene.look()
    assert [type(event) for event in master.events] == [TimeoutsFailed]
    assert (leader.looks, leader.events) == (0, [])


def test_who_is_its_master_no_more_does_not_know_what_is_wrong_with_its_timeouts(tmp_path: Path) -> None:
    scene = Scene(f"unix:{tmp_path}/none")
    scene.service.note(CONNECTED)
    assert "timeouts.failed" in scene.reasons()
    scene.cluster.masters = False
    scene.look()
    assert "timeouts.failed" not in scene.reasons()
