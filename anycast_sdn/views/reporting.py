"""Reporting: of all events, those that operators are told of, one by one as long as they are not too many.

A link that flaps, a peer that connects again and again, or a thousand servers that fail at once must neither fill the
log nor push everything else out of the journal.

The rules this file keeps:

- Of events of one ``kind``, as many a minute are passed on as they say (``often``).  The others are told together, at
  the end of the minute.
- Of events of one type, ``BURST`` are passed on at once, and then ``RATE`` a second.  The others are told together, in
  an event of the same type (``MoreEvents``) that comes a second later, then after twice as long, up to ``LONGEST_S``.
- Events without a sentence are passed on never.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from anycast_sdn.core.events import Event, Reported, Severity, Subject
from anycast_sdn.core.token_bucket import TokenBucket

WINDOW_S = 60.0  # a kind that has not occurred for so long is new again
MAX_KINDS = 1024  # that are counted separately
BURST, RATE = 50, 1.0
LONGEST_S = 60.0
NAMED, SAID = 20, 5  # subjects in one event, and in its sentence
_WORST = list(Severity)


@dataclass(frozen=True, slots=True)
class MoreEvents(Reported):
    """More events of one type than are told one by one.  ``groups`` is empty where they are of too many."""

    type: str  # type: ignore[misc]  # of all of them
    worst: Severity
    switch: str  # where all of them happened, "" for several
    groups: tuple[str, ...]
    more: int
    within_s: int
    subjects: tuple[str, ...]  # the first ones
    last: str
    last_subject: Subject

    @property
    def severity(self) -> Severity:
        return self.worst

    @property
    def subject(self) -> Subject:
        return self.last_subject

    @property
    def at_switch(self) -> str:
        return self.switch

    @property
    def of_groups(self) -> tuple[str, ...]:
        return self.groups

    def sentence(self) -> str:
        if len(self.subjects) < 2:
            return f"{self.last} (… {self.more} more in the last {self.within_s} s)"
        what = f"{self.more} more of {self.type} in the last {self.within_s} s"
        others = " and others" if len(self.subjects) > SAID else ""
        return f"{what}, of {', '.join(self.subjects[:SAID])}{others}; the last one: {self.last}"


@dataclass(slots=True)
class _Left:
    """Events that are still to be told together."""

    since: float
    more: int = 0
    last: Reported | None = None
    severity: Severity = Severity.INFO
    switches: set[str] = field(default_factory=set)
    groups: dict[str, None] = field(default_factory=dict)
    subjects: dict[str, None] = field(default_factory=dict)

    def add(self, event: Reported) -> None:
        self.more += 1
        self.last = event
        self.severity = max(self.severity, event.severity, key=_WORST.index)
        if len(self.switches) < 2:
            self.switches.add(event.at_switch)
        if len(self.groups) <= NAMED:
            self.groups |= dict.fromkeys(event.of_groups[: NAMED + 1])
        if len(self.subjects) < NAMED:
            self.subjects[event.subject.name] = None

    def told(self, now: float) -> MoreEvents:
        assert self.last
        return MoreEvents(
            self.last.type,
            self.severity,
            next(iter(self.switches)) if len(self.switches) == 1 else "",
            tuple(self.groups) if len(self.groups) <= NAMED else (),
            self.more,
            max(1, round(now - self.since)),
            tuple(self.subjects),
            self.last.sentence(),
            self.last.subject,
        )


@dataclass(slots=True)
class _Kind:
    passed: int
    left: _Left


@dataclass(slots=True)
class _Type:
    bucket: TokenBucket
    pause: float = 1.0
    left: _Left | None = None


class Reporting:
    """A subscriber that calls ``tell`` with what is to be told."""

    def __init__(self, tell: Callable[[Event], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._kinds: dict[Hashable, _Kind] = {}
        self._types: dict[str, _Type] = {}

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Reported) or not event.sentence():
            return
        now = self._clock()
        kind = self._kind(event, now)
        if kind.passed >= event.often:
            kind.left.add(event)
            return
        of_type = self._types.get(event.type)
        if of_type is None:
            of_type = self._types[event.type] = _Type(TokenBucket(RATE, BURST, now))
        if not of_type.bucket.take(now):
            of_type.left = of_type.left or _Left(now)
            of_type.left.add(event)
            return
        kind.passed += 1
        self._tell(event)

    def _kind(self, event: Reported, now: float) -> _Kind:
        key: Hashable = event.kind
        if key not in self._kinds and len(self._kinds) >= MAX_KINDS:
            key = event.type  # all further kinds of it
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = _Kind(0, _Left(now))
        return kind

    def tick(self, now: float) -> None:
        """Tell what is due to be told together.  To be called every second or so."""
        for key, kind in list(self._kinds.items()):
            left = kind.left
            if now - left.since < WINDOW_S:
                continue
            if left.more:
                self._tell(left.told(now))
                kind.left = _Left(now)
            else:
                del self._kinds[key]
        for of_type in self._types.values():
            if of_type.left is None or now - of_type.left.since < of_type.pause:
                if of_type.left is None:
                    of_type.pause = 1.0
                continue
            self._tell(of_type.left.told(now))
            of_type.left, of_type.pause = None, min(2 * of_type.pause, LONGEST_S)
