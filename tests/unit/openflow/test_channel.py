"""A connection on its socket: a message that is read later is checked as if it had been read at once."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import MagicMock

import pytest

from anycast_sdn.openflow.channel import Channel
from anycast_sdn.openflow.decoding import BadMessage
from tests.unit.switch_end import DPID, HELLO, Recorder, features


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """Callbacks of ``later`` that have not run yet."""
    waiting: list[Callable[[], None]] = []
    spawn_after = "anycast_sdn.openflow.channel.hub.spawn_after"
    monkeypatch.setattr(spawn_after, lambda _, act, *more: waiting.append(lambda: act(*more)))
    return waiting


@pytest.fixture
def switch() -> Channel:
    switch = Channel(MagicMock(), "192.0.2.1:6653", Recorder())
    switch.receive(HELLO + features(DPID))
    switch.handle(2)
    assert switch.is_admitted
    return switch


def test_a_bad_message_that_is_read_later_ends_the_connection(switch: Channel, later: list[Callable[[], None]]) -> None:
    def read() -> None:
        raise BadMessage("length of tcp_dst")

    switch.later(read)
    assert switch.is_admitted
    later.pop()()
    assert switch.is_closed
    assert switch.reason == "bad message: length of tcp_dst"


def test_nothing_is_done_later_once_the_connection_has_ended(switch: Channel, later: list[Callable[[], None]]) -> None:
    done: list[bool] = []
    switch.later(lambda: done.append(True))
    switch.close("it is gone")
    later.pop()()
    assert not done
