"""FlowFeed: what becomes of flows, handed to those who listen."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.flow_events import FlowRecord
from anycast_sdn.core.model import FlowKey
from anycast_sdn.core.transitions import Do, FlowEvent
from anycast_sdn.process.flow_feed import FlowFeed, FlowListener

FLOW = Binding(1, FlowKey(b"\n\1\0\n", b"\xc6\x12\0\1", 17, 40000, 53), b"\xcb\0\x71\1", "web", 0.0)


class Listener(FlowListener):
    def __init__(self, faulty: bool = False) -> None:
        self.told: list[tuple[str, int]] = []
        self._faulty = faulty

    def flows(self, edge, changes):
        if self._faulty:
            raise RuntimeError("a fault of our own")
        self.told.append((edge, len(changes)))


@pytest.fixture
def record() -> FlowRecord:
    return FlowRecord()


@pytest.fixture
def feed(record) -> FlowFeed:
    switch = SimpleNamespace(name="arh1", engine=SimpleNamespace(flow_record=record))
    return FlowFeed(SimpleNamespace(switches={1: switch}))


def open_one(record: FlowRecord) -> None:
    if record.is_watched:
        record.note(Do.LEASE, FlowEvent.CLIENT_PACKET, None, FLOW, 0.0)


def test_flows_are_watched_as_long_as_somebody_listens(feed, record):
    listener = Listener()
    end = feed.listen(listener)
    open_one(record)
    feed.collect()
    end()
    open_one(record)
    feed.collect()
    assert (listener.told, record.is_watched) == ([("arh1", 1)], False)


def test_a_fault_in_one_listener_does_not_concern_another(feed, record):
    good = Listener()
    feed.listen(Listener(faulty=True))
    feed.listen(good)
    open_one(record)
    feed.collect()
    assert good.told == [("arh1", 1)]
