"""Held: who had an address, put together from the records of one file; and Gap: of what times records are missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from anycast_sdn.store.bindings.records import CLOSED, Record, milliseconds


class Held(NamedTuple):
    """A flow that had an address, as one file has it.  ``ended``: None: it was open at the end of the file."""

    flow: Record
    ended: int | None = None

    @property
    def id(self) -> tuple[str, int, int]:
        """That of the flow, the same in all files."""
        return *self.flow.id, self.flow.since


class Fold:
    """Takes records in their order."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], Record] = {}
        self._ended: list[Held] = []

    def take(self, record: Record) -> None:
        id = record.id
        known = self._open.get(id)
        if known and known.since != record.since:
            self._ended.append(Held(known))  # how is not known
        if record.event == CLOSED:
            self._open.pop(id, None)
            self._ended.append(Held(record, record.when))
        else:
            self._open[id] = record

    def all(self) -> Iterator[Held]:
        yield from self._ended
        yield from map(Held, self._open.values())


def held(found: Iterable[Record]) -> list[Held]:
    fold = Fold()
    for record in found:
        fold.take(record)
    return list(fold.all())


class Gap(NamedTuple):
    """A time of which records are missing."""

    since: int
    until: int
    reason: str
    missing: int | None = None  # how many; None: not known

    def contains(self, at: int) -> bool:
        return self.since <= at <= self.until


def gap_of(found: dict[str, Any]) -> Gap | None:
    """The one that this line tells of."""
    try:
        since, until = milliseconds(found["gapFrom"]), milliseconds(found["time"])
        missing = found.get("missing")
        is_number = type(missing) is int and 0 <= missing < 1 << 63
        return Gap(since, until, str(found["reason"]), missing if is_number else None)
    except (KeyError, ValueError, TypeError):
        return None
