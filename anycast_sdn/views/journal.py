"""Journal: the last events that operators are told of, numbered and with their times; a subscriber.

In a cluster each member has a journal of the events of all: its own, and what the others tell of theirs.

The rules this file keeps:

- Numbers grow, also beyond a restart of the controller: who knows a number asks for what came after it.  After a crash
  they go on behind the next multiple of ``KEPT``: events that were told and not kept have numbers of their own.
- At most ``KEPT`` events are kept.  Whoever asks for older ones is told so: the answer begins later than asked.
- An event is written as JSON once, when it happens; later nothing of it changes.
- An event of another member comes when it is heard, which may be long after it has happened.  It gets a number of this
  journal.  ``member`` and ``number``, which grows by one from event to event of a member, name it in all journals: so
  none is taken twice, and it is known how many were not heard.
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
    at: str = ""
    member: str = ""  # that tells it; "": this controller is alone
    number: int = 0  # among those of this member
    is_own: bool = True  # of this member

    @classmethod
    def of(cls, shown: dict[str, Any]) -> Entry:
        """As an earlier run has kept it, or another member has told it."""
        return cls(
            shown["id"], shown["type"], shown.get("edge", ""), tuple(shown.get("groups", ())), _json(shown),
            shown.get("at", ""), shown.get("member", ""), shown.get("number", 0),
        )  # fmt: skip


class Heard(NamedTuple):
    """``entry``: None: it is known; ``missed``: so many of its member's before it were not heard."""

    entry: Entry | None
    missed: int


class Journal:
    """``clock``: the wall clock, in seconds since 1970.  ``before``: what an earlier run has kept, in order.

    ``member``: the name of this controller in a cluster.
    """

    def __init__(
        self, clock: Callable[[], float] = time.time, before: Iterable[Entry] = (), member: str = ""
    ) -> None:
        self._clock = clock
        self.member = member
        kept = (entry._replace(is_own=entry.member in ("", member)) for entry in before)
        self._entries: deque[Entry] = deque(kept, KEPT)
        self.last_id = _begin(self._entries)
        self._listeners: list[Callable[[Entry], None]] = []
        self._last = {entry.member: (entry.number, entry.at) for entry in self._entries if entry.number}

    def __call__(self, event: Event) -> None:
        if isinstance(event, Reported) and (message := event.sentence()):
            told, _ = self._last.get(self.member, (0, ""))
            number = told + 1 if self.member else 0
            entry = entry_of(event, message, self._clock(), self.last_id + 1, self.member, number)
            self._last[self.member] = number, entry.at
            self._add(entry)

    def hear(self, told: str) -> Heard:
        """Another member tells of an event, with its ``json``; nothing comes of what is known.  Raises ValueError."""
        try:
            entry = Entry.of(json.loads(told) | {"id": 0})._replace(is_own=False)
            last, last_at = self._last.get(entry.member, (entry.number - 1, ""))
            # Its numbers begin anew where it has lost its journal.
            if entry.member in ("", self.member) or (entry.number <= last and entry.at <= last_at):
                return Heard(None, 0)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no event: {told[:100]}") from error
        self._last[entry.member] = entry.number, entry.at
        return Heard(entry, max(0, entry.number - last - 1))

    def put(self, entry: Entry) -> None:
        """One that was heard."""
        shown = json.loads(entry.json) | {"id": self.last_id + 1}
        self._add(entry._replace(id=self.last_id + 1, json=_json(shown)))

    def _add(self, entry: Entry) -> None:
        self.last_id = entry.id
        self._entries.append(entry)
        for listener in self._listeners:
            listener(entry)

    def own(self, most: int) -> list[Entry]:
        """The last events of this member, in order."""
        return [*islice((entry for entry in reversed(self._entries) if entry.is_own and entry.number), most)][::-1]

    def has(self, type: str, name: str, value: object) -> bool:
        """Is there an event of this type that has this value in its ``data``?"""
        written = _json({name: value})[1:-1]
        same = (entry.json for entry in reversed(self._entries) if entry.type == type)
        return any(f"{written}," in each or f"{written}}}" in each for each in same)

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
        if entry.is_own and entry.type == ControllerStopping.type:
            return before[-1].id
        if entry.is_own and entry.type == ControllerStarted.type:
            break
    return (before[-1].id // KEPT + 1) * KEPT if before else 0


def entry_of(event: Reported, message: str, at: float, id: int = 0, member: str = "", number: int = 0) -> Entry:
    """``at``: seconds since 1970; ``id``: 0: it has no number."""
    groups = tuple(event.of_groups)
    shown: dict[str, Any] = {
        **({"id": id} if id else {}),
        **({"member": member} if member else {}),
        **({"number": number} if number else {}),
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
    return Entry(id, event.type, event.at_switch, groups, _json(shown), shown["at"], member, number)


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

