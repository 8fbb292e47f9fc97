"""Three controllers share the switches of figure 1 under load: what becomes of flows when masters and leaders change.

As in ``test_partitions``: no known flow is lost or goes to another server, no PR1X is in two flows, and no switch takes
a rule of one controller after it has called another one its master.  Besides, no link is taken to be down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from broken import NOTICED_S, Scene, Seen, broken
from programs import TestbedError
from support import until

LOG_CHARACTERS = 4000  # of each member's, shown with a failed test
Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with broken(tmp_path_factory.mktemp("shared")) as scene:
        steer(scene, "share")
        until(lambda: len(set(masters(scene).values())) > 1, "switches have several masters", NOTICED_S)
        yield scene


def steer(scene: Scene, what: str) -> None:
    answer = scene.controllers.await_leader().rest("POST", f"/v1/cluster/{what}")
    assert answer.status in (200, 204), answer


def masters(scene: Scene) -> dict[str, str]:
    """Switch → the member that it obeys."""
    shown = scene.controllers.await_leader().rest("GET", "/v1/cluster").body["switches"]
    return {each["switch"]: each["master"] for each in shown}


@contextmanager
def outcome(scene: Scene, record: Record) -> Iterator[Seen]:
    try:
        with scene.load() as seen:
            yield seen
    except (TestbedError, AssertionError):
        for member in scene.members:
            print(f"{member.name}: {member.log()[-LOG_CHARACTERS:]}")
        raise
    record("measured", str(seen.outcome))
    assert not seen.outcome.faults, "\n".join(seen.outcome.faults[:20])
    for member in scene.members:
        assert "link.down" not in member.log()


def shows(sentence: str) -> Any:
    return pytest.mark.row("M37", sentence)


@shows("shared switches: each one moves to each member, no known flow is lost")
def test_switches_move_from_member_to_member(scene: Scene, record_property: Record) -> None:
    with outcome(scene, record_property) as seen:
        for to in ("m1", "m2", "m0"):
            for switch in masters(scene):
                steer(scene, f"members/{to}/switches/{switch}")
            until(lambda: set(masters(scene).values()) == {to}, f"{to} has all switches", NOTICED_S)  # noqa: B023
            seen.await_new_flows()
        steer(scene, "gather")
        steer(scene, "share")


@shows("shared switches: all members are drained and restarted, one after the other: no known flow is lost")
def test_all_members_are_restarted(scene: Scene, record_property: Record) -> None:
    until(lambda: len(set(masters(scene).values())) > 1, "switches have several masters", NOTICED_S)
    before = masters(scene)
    with outcome(scene, record_property) as seen:
        for member in scene.members:
            steer(scene, f"members/{member.name}/drain")
            until(lambda: member.name not in masters(scene).values(), "it has no switch", NOTICED_S)  # noqa: B023
            seen.await_new_flows()
            member.stop()
            seen.await_new_flows()
            member.start()
            scene.controllers.await_all()
        until(lambda: masters(scene) == before, "each member has its switches again", NOTICED_S)
