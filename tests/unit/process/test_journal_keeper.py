"""Events outlive the controller's process, however it ends, and their numbers go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anycast_sdn.core.controller_events import JournalFailed, JournalRecovered
from anycast_sdn.core.events import Event
from anycast_sdn.core.network_events import LinkUp
from anycast_sdn.process.journal_keeper import JournalKeeper
from anycast_sdn.store.journal_file import JournalFile
from anycast_sdn.views.journal import KEPT, Journal
from tests.unit.running import Controller


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_file_that_cannot_be_written_is_told_once_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventlet.tpool.execute", lambda write, *arguments: write(*arguments))  # without threads
    path = tmp_path / "x.events"
    path.mkdir()
    journal, told = Journal(), list[Event]()
    keeper = JournalKeeper(JournalFile(path, KEPT), told.append)
    journal.listen(keeper)
    for number in range(3):
        journal(LinkUp(("c1:1", f"c2:{number}")))
        keeper.write()
    assert told == [JournalFailed(f"{path}: Is a directory")]
    path.rmdir()
    keeper.write()
    assert told[1] == JournalRecovered()
    assert [entry["id"] for entry in JournalFile(path, KEPT).read()] == [1, 2, 3]


def test_events_survive_a_killed_controller_and_their_numbers_go_on(tmp_path: Path) -> None:
    def events(controller: Controller) -> list[dict[str, Any]]:
        return controller.ask("GET", "/v1/events?limit=1000").body["events"]  # type: ignore[no-any-return]

    def started(name: str) -> Controller:
        folder = tmp_path / name
        folder.mkdir()
        controller = Controller(folder, str(tmp_path / "x.sqlite"))
        controller.wait_until_ready()
        return controller

    first = started("first")
    try:
        first.ask("PUT", "/v1/groups/web", {"prefixes": ["198.18.0.1/32"]})
        first.ask("PUT", "/v1/groups/web/servers/10.2.0.10", {})
        until(lambda: "server.enrolled" in [event["type"] for event in events(first)])
        known = events(first)
        kept = JournalFile(tmp_path / "x.events", KEPT)
        until(lambda: kept.read()[len(known) - 1 :])
    finally:
        first.process.kill()
        first.process.wait(timeout=30)
    second = started("second")
    try:
        now = events(second)
        assert now[: len(known)] == known
        assert now[len(known)]["type"] == "controller.started"
        numbers = [event["id"] for event in now]
        # What the first one may have told of, and not kept, has numbers that the second one does not use.
        old, new = numbers[: len(known)], numbers[len(known) :]
        assert old == list(range(1, len(old) + 1))
        assert new == list(range(KEPT + 1, KEPT + len(new) + 1))
    finally:
        second.process.terminate()
        second.process.wait(timeout=30)
    assert JournalFile(tmp_path / "x.events", KEPT).read()[-1]["type"] == "controller.stopping"
