"""Choices: the decisions by which flows have got their servers, kept for as long as there is room (M29).

A flow has the number of its choice, which all flows share that met the same decision at the same server edge.  So a new
flow costs no more than looking that number up, and what is kept is bounded: the oldest choices are forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import islice
from typing import TypeAlias

from anycast_sdn.core.selection import Choice

CHOICES_KEPT = 100_000  # candidates in all choices that are kept; some 250 bytes each

Whose: TypeAlias = tuple[str, bool]  # (group, IPv6?)


class Choices:
    """``now``: the choice of a client edge's new flows to a group, in a family; None: they get nowhere."""

    def __init__(self, now: Callable[[str, str, bool], Choice | None]) -> None:
        self._choice_now = now
        self._numbers: dict[tuple[str, bool], dict[str, int]] = {}  # (group, IPv6?) → client edge → its number now
        self._kept: OrderedDict[int, Choice] = OrderedDict()  # by number
        self._last = 0
        self._candidates = 0  # in all that are kept
        self._for_others: Mapping[Whose, Mapping[str, int]] = {}  # see ``for_others``
        self._others: Collection[str] = ()  # their client edges
        self._untold: dict[Whose, None] = {}  # of these the numbers are others by now

    def number(self, client: str, group: str, is_v6: bool) -> int:
        """Of the choice by which new flows of this client edge get their servers now; 0: there is none."""
        numbers = self._numbers.get((group, is_v6))
        if numbers is not None and client in numbers:
            return numbers[client]
        return self._note(client, group, is_v6)

    def get(self, number: int) -> Choice | None:
        """None: it is too long ago."""
        return self._kept.get(number)

    def decided(self, group: str, is_v6: bool) -> None:
        """There is another decision: new flows have others from now on."""
        self._numbers.pop((group, is_v6), None)
        self._untold[group, is_v6] = None

    def forget_all(self) -> None:
        """As ``decided``, of all groups."""
        self._untold |= dict.fromkeys(self._for_others)
        self._numbers.clear()

    def for_others(
        self, clients: Collection[str], all: Callable[[], Iterable[Whose]], most: int
    ) -> Mapping[Whose, Mapping[str, int]]:
        """(group, IPv6?) → client edge → its number, where other controllers decide on the flows of these edges.

        It is the same object until there are other numbers.  In one call up to ``most`` of them are found, so it takes
        some calls until all are as they are now.  ``all``: the groups and families that there are.
        """
        if clients != self._others:
            self._others, self._for_others, self._untold = clients, {}, dict.fromkeys(all())
        if not clients:
            self._untold.clear()
        if self._untold:
            found = dict(self._for_others)
            for whose in list(islice(self._untold, max(1, most // (1 + len(clients))))):
                del self._untold[whose]
                numbers = {client: number for client in clients if (number := self.number(client, *whose))}
                found.pop(whose, None)
                if numbers:
                    found[whose] = numbers
            self._for_others = found
        return self._for_others

    def told(self, numbers: Mapping[tuple[str, bool], Mapping[str, int]]) -> None:
        """Another controller decides: its choices have these numbers."""
        self._numbers = {of: dict(each) for of, each in numbers.items()}

    def _note(self, client: str, group: str, is_v6: bool) -> int:
        choice = self._choice_now(client, group, is_v6)
        if choice is None:
            return 0
        numbers = self._numbers.setdefault((group, is_v6), {})
        same = next((each for each in numbers.values() if self._kept.get(each) == choice), None)
        numbers[client] = self._keep(choice) if same is None else same
        return numbers[client]

    def _keep(self, choice: Choice) -> int:
        self._last += 1
        self._kept[self._last] = choice
        self._candidates += len(choice.candidates)
        while self._candidates > CHOICES_KEPT and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._candidates -= len(oldest.candidates)
        return self._last
