"""FirstReplies: what becomes of the first packets of new flows at one client edge: time to the first reply, and loss.

A client edge sees who answers, and who refuses: a TCP RST as the first reply, or an ICMP error about the first packet,
comes from a server that says so itself.  Of a first packet that nobody answers it knows only that: which server has got
it is decided by a hash in a switch.  So these are counted for the group, and not for a server.

What has become of a flow is told ``WAIT_S`` after its first packet, of all flows alike: so answered and unanswered
flows of the same time are compared.  A flow without a reply by then counts as unanswered, though one may still come.

It is on the first-packet path, so a new flow costs no more than a place in a dictionary; the rest is done in ``pop``.
No clock; bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import NamedTuple

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.histogram import Histogram
from anycast_sdn.core.model import Address

WAIT_S = 3.0
MOST_ASKED = 100_000  # flows that wait; further ones are not counted
MINUTE_S = 60.0
MOST_TOLD = 20
MOST_TIMES = 200  # of the times to the first reply of one server


class Asked(NamedTuple):
    """Whom new flows have asked."""

    group: str
    is_v6: bool
    choice: int = 0  # by which they got their servers, see ``Binding.choice``


@dataclass(slots=True)
class Replies:
    """Of one server."""

    answered: int = 0
    refused: int = 0
    seconds: float = 0.0  # to the first reply, of all that were answered
    times: list[float] = field(default_factory=list)  # of some

    def add(self, other: Replies) -> None:
        self.answered += other.answered
        self.refused += other.refused
        self.seconds += other.seconds
        self.times += other.times[: MOST_TIMES - len(self.times)]


class Observed(NamedTuple):
    """Since the last look."""

    replies: Mapping[tuple[str, Address], Replies]  # by group and server: to flows of which it is told now
    unanswered: Mapping[Asked, int]  # of those flows
    asked: Set[Asked]  # of groups that are watched: new flows have begun


@dataclass(slots=True)
class Marked:
    """Counts that only grow, and what they were when this minute and the one before began."""

    _minute: int = -1
    _before: tuple[float, ...] = ()  # when the minute before ``_minute`` began
    _then: tuple[float, ...] = ()  # when ``_minute`` began

    def figures(self) -> tuple[float, ...]:
        raise NotImplementedError

    def mark(self, now: float) -> None:
        """To be called before something is counted."""
        minute = int(now // MINUTE_S)
        if minute != self._minute:
            figures = self.figures()
            self._before = self._then if minute == self._minute + 1 else figures
            self._minute, self._then = minute, figures

    def recent(self, now: float) -> tuple[float, ...]:
        """What was counted in this minute and the one before, as ``figures``."""
        figures, passed = self.figures(), int(now // MINUTE_S) - self._minute
        before = (figures, self._then, self._before)[max(0, 2 - passed)] or (0,) * len(figures)
        return tuple(after - earlier for after, earlier in zip(figures, before, strict=True))


@dataclass(slots=True)
class Totals(Marked):
    """Since the controller's start; of flows of which it was told."""

    seconds: Histogram = field(default_factory=Histogram)  # to the first reply, where that was an answer
    refused: int = 0
    unanswered: int = 0

    def figures(self) -> tuple[float, ...]:
        """(refused, unanswered, and those answered by range of ``seconds``)"""
        return self.refused, self.unanswered, *self.seconds.counts


class FirstReplies:
    def __init__(self) -> None:
        self._watched: frozenset[str] = frozenset()
        self._flows: dict[int, Binding] = {}  # by number, as when they began, in order of time
        self._answers: dict[int, tuple[Address, bool, float]] = {}  # number → server, is it a refusal?, seconds
        self._asked: set[Asked] = set()
        self._told: list[Observed] = []
        self.all = Totals()
        self.of_groups: dict[str, Totals] = {}

    def __len__(self) -> int:
        """How many flows wait."""
        return len(self._flows)

    def watch(self, groups: Collection[str]) -> None:
        """``Observed.asked`` is told of these groups."""
        self._watched = frozenset(groups)
        self._asked = {asked for asked in self._asked if asked.group in self._watched}

    def forget(self, group: str) -> None:
        """There is no such group any more."""
        self.of_groups.pop(group, None)

    def asked(self, flow: Binding) -> None:
        """The first packet of a new flow is sent to a server."""
        if len(self._flows) < MOST_ASKED:
            self._flows[flow.number] = flow
            if self._watched and flow.group in self._watched:
                self._asked.add(Asked(flow.group, len(flow.translated) == 16))

    def replied(self, flow: Binding, server: Address, refused: bool, now: float) -> None:
        """The first reply, or a later one, which does not count; ``refused``: it is a refusal."""
        number = flow.number
        if number in self._flows and number not in self._answers:
            self._answers[number] = server, refused, now - flow.since

    def tell(self, observed: Observed, now: float) -> None:
        """Another controller decides on the flows here, and has popped this: as if they had been here."""
        for (group, _), replies in observed.replies.items():
            of_group = self.of_groups.get(group) or self._new_group(group, now)
            of_group.mark(now)
            for totals in (of_group, self.all):
                totals.refused += replies.refused
                for seconds in _times(replies):
                    totals.seconds.observe(seconds)
        for asked, flows in observed.unanswered.items():
            of_group = self.of_groups.get(asked.group) or self._new_group(asked.group, now)
            of_group.mark(now)
            of_group.unanswered += flows
            self.all.unanswered += flows
        self._told.append(observed)
        if len(self._told) > MOST_TOLD:
            self._told = [_sum(self._told)]

    def pop(self, now: float, most: int = MOST_ASKED) -> Observed:
        """Of up to ``most`` flows."""
        unanswered: Counter[Asked] = Counter()
        replies: dict[tuple[str, Address], Replies] = {}
        asked, self._asked = self._asked, set()
        for totals in self.of_groups.values():
            totals.mark(now)
        # One walk for all: at the front of a dictionary there are the places of those that were deleted before.
        old = islice(takewhile(lambda flow: now - flow.since >= WAIT_S, self._flows.values()), most)
        for flow in list(old):
            number = flow.number
            del self._flows[number]
            of_group = self.of_groups.get(flow.group) or self._new_group(flow.group, now)
            answer = self._answers.pop(number, None)
            if answer is None:
                unanswered[Asked(flow.group, len(flow.translated) == 16, flow.choice)] += 1
                of_group.unanswered += 1
                self.all.unanswered += 1
                continue
            server, refused, seconds = answer
            place = flow.group, server
            of_server = replies.get(place) or replies.setdefault(place, Replies())
            if refused:
                of_server.refused += 1
                of_group.refused += 1
                self.all.refused += 1
                continue
            of_server.answered += 1
            of_server.seconds += seconds
            of_group.seconds.observe(seconds)
            self.all.seconds.observe(seconds)
            if len(of_server.times) < MOST_TIMES:
                of_server.times.append(seconds)
        told, self._told = self._told, []
        return _sum([Observed(replies, unanswered, asked), *told]) if told else Observed(replies, unanswered, asked)

    def _new_group(self, name: str, now: float) -> Totals:
        self.of_groups[name] = Totals()
        self.of_groups[name].mark(now)
        return self.of_groups[name]


def _times(replies: Replies) -> Iterator[float]:
    """To each of the first replies; where there are too many of them, the others are taken to be like these."""
    if replies.times:
        yield from (replies.times[number % len(replies.times)] for number in range(replies.answered))


def _sum(observed: Iterable[Observed]) -> Observed:
    replies: dict[tuple[str, Address], Replies] = {}
    unanswered: Counter[Asked] = Counter()
    asked: set[Asked] = set()
    for each in observed:
        for place, of_server in each.replies.items():
            replies.setdefault(place, Replies()).add(of_server)
        unanswered.update(each.unanswered)
        asked |= each.asked
    return Observed(replies, unanswered, asked)
