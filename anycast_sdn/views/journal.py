"""Journal: the last events that operators are told of, numbered and with their times; a subscriber.

The rules this file keeps:

- Numbers grow, also beyond a restart of the controller: who knows a number asks for what came after it.  After a crash
  they go on behind the next multiple of ``KEPT``: events that were told and not kept have numbers of their own.
- At most ``KEPT`` events are kept.  Whoever asks for older ones is told so: the answer begins later than asked.
- An event is written as JSON once, when it happens; later nothing of it changes.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple

from anycast_sdn.core.controller_events import ControllerStarted, ControllerStopping
from anycast_sdn.core.events import Event, Reported
from anycast_sdn.core.model import text
from anycast_sdn.core.times import rfc3339

KEPT = 10_000

_ID = attrgetter("id")


class Entry(NamedTuple):
    """One event."""

    id: int
    type: str
    at_switch: str
    of_groups: tuple[str, ...]
    json: str  # with its number and time

    @classmethod
    def of(cls, shown: dict[str, Any]) -> Entry:
        """As an earlier run has kept it."""
        return cls(shown["id"], shown["type"], shown.get("edge", ""), tuple(shown.get("groups", ())), _json(shown))


class Journal:
    """``clock``: the wall clock, in seconds since 1970.  ``before``: what an earlier run has kept, in order."""

    def __init__(self, clock: Callable[[], float] = time.time, before: Iterable[Entry] = ()) -> None:
        self._clock = clock
        self._entries: deque[Entry] = deque(before, KEPT)
        self.last_id = _begin(self._entries)
        self._listeners: list[Callable[[Entry], None]] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, Reported) and (message := event.sentence()):
            self.last_id += 1
            entry = entry_of(event, message, self._clock(), self.last_id)
            self._entries.append(entry)
            for listener in self._listeners:
                listener(entry)

    def listen(self, listener: Callable[[Entry], None]) -> Callable[[], None]:
        """``listener`` gets each new entry, and must not wait → what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def after(self, id: int) -> Iterator[Entry]:
        """The entries that are kept with greater numbers, in order."""
        return islice(self._entries, bisect_right(self._entries, id, key=_ID), None)

    @property
    def first_id(self) -> int:
        """The number of the oldest one that is kept, or that the next one will have."""
        return self._entries[0].id if self._entries else self.last_id + 1

    def has_all_after(self, id: int) -> bool:
        """Is nothing missing between the event with this number, or the first one of all, and those that are kept?"""
        if id in (self.last_id, self.first_id - 1):
            return True
        place = bisect_right(self._entries, id, key=_ID)
        return place > 0 and self._entries[place - 1].id == id


def _begin(before: Sequence[Entry]) -> int:
    """The last number of earlier runs, or, where the last one has crashed, one behind all that it may have used."""
    for entry in reversed(before):
        if entry.type == ControllerStopping.type:
            return before[-1].id
        if entry.type == ControllerStarted.type:
            break
    return (before[-1].id // KEPT + 1) * KEPT if before else 0


def entry_of(event: Reported, message: str, at: float, id: int = 0) -> Entry:
    """``at``: seconds since 1970; ``id``: 0: it has no number."""
    groups = tuple(event.of_groups)
    shown: dict[str, Any] = {
        **({"id": id} if id else {}),
        "at": rfc3339(at),
        "type": event.type,
        "severity": event.severity.value,
        "subject": event.subject._asdict(),
        "message": message,
    }
    if event.at_switch:
        shown["edge"] = event.at_switch
    if groups:
        shown["group"] = groups[0]
        shown["groups"] = list(groups)
    shown["data"] = {field.name: _plain(getattr(event, field.name)) for field in dataclasses.fields(event)}  # type: ignore[arg-type]
    return Entry(id, event.type, event.at_switch, groups, _json(shown))


def _json(shown: dict[str, Any]) -> str:
    return json.dumps(shown, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """A field of an event, as JSON has it."""
    if isinstance(value, bytes):
        return text(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple | list | frozenset):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)

