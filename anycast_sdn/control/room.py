"""Room: does what a switch should hold fit into it?

Counted is what it should hold besides the rules of flows, table by table, and compared with what it says that it has
room for (``openflow.sizes``).

- What it says is a hint: where it says that it has less room than is needed, that is told before anything is refused,
  and it gets its rules nevertheless.  When all of them have been found there, the hint was wrong, and counts no more.
- What it refuses decides.  A rule that it refuses because its table is full takes from it the roles that need this
  table, so that no packet is sent where the rest of the rules is missing.  Without them less is needed there, so that
  what it holds says nothing of its room: it gets them back for a try after ``AGAIN_S``, then after twice as long.
- Where flows may be what has filled the table, nothing is concluded: there will be room again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from anycast_sdn.control.installed import Installed
from anycast_sdn.fabric.graph import LOCAL
from anycast_sdn.openflow.abilities import Ability, Lack
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.layouts import carried_in, places, suited
from anycast_sdn.openflow.pipeline import ROW
from anycast_sdn.openflow.row import Kind, Table

AGAIN_S, LONGEST_S = 60.0, 3600.0  # until a table that was full is tried again; doubles


class Shortage(NamedTuple):
    """A switch says that it has less room than it needs."""

    table: int | None  # the switch's; None: it is about groups
    needs: int
    says: int

    @property
    def sentence(self) -> str:
        """Its subject is the switch."""
        what = "groups" if self.table is None else f"rules in table {self.table}"
        return f"needs {self.needs:,} {what}, and says that it has room for {self.says:,}"

    @property
    def effect(self) -> str:
        return "it is used as long as it takes them; what it refuses takes from it the roles that need that"


class Room:
    """Of one switch.  ``flow_rules``: how many rules of flows it holds."""

    def __init__(self, installed: Installed, features: Callable[[], Features], flow_rules: Callable[[], int]) -> None:
        self._installed = installed
        self._features = features
        self._flow_rules = flow_rules
        self._counted: tuple[int, int, Mapping[int, int]] = (-1, 0, {})  # change, tables: ``needs``
        self.connected()

    def connected(self) -> None:
        """Perhaps it has other room now."""
        self._taken: Counter[int | None] = Counter()  # so many were there
        self._full: dict[int | None, int] = {}  # tables that were full → so many were needed, at most
        self._pause = AGAIN_S
        self._again_at = 0.0

    # ---------------------------------------------------------------- what is needed, and what is said

    def needs(self) -> Mapping[int, int]:
        """By table of the switch: the rules that it should hold, without those of flows."""
        changes, tables = self._installed.changes, self._features().tables
        if self._counted[:2] != (changes, tables):
            logical = Counter(rule.table for rule in self._installed.flows.values())
            logical[Table.ROUTES] += sum(port != LOCAL for port in self._installed.routes.values())
            where = places(tables)
            used = (int(place) for table, place in where.items() if table < Table.EGRESS)
            needed: Counter[int] = Counter(dict.fromkeys(used, 0))
            for table, rules in logical.items():
                needed[int(where[Table(table)])] += rules
            self._counted = changes, tables, needed
        return self._counted[2]

    def says(self, table: int | None) -> int:
        """For how many rules, or groups, it says that it has room; 0: it does not say."""
        sizes = self._features().sizes
        return sizes.groups if table is None else sizes.of_table(table)

    def shortages(self) -> list[Shortage]:
        """By what it says."""
        sizes = self._features().sizes
        if not (sizes.rules or sizes.groups):
            return []
        return [
            Shortage(table, needs, says)
            for table, needs in self._all_needs()
            if table not in self._full and self._taken[table] < needs > (says := self.says(table)) > 0
        ]

    def _all_needs(self) -> Iterator[tuple[int | None, int]]:
        yield from self.needs().items()
        yield None, len(self._installed.groups)

    def all_found(self) -> None:
        """All that it should hold has been found there."""
        self._taken = Counter(dict(self._all_needs()))

    # ---------------------------------------------------------------- what it has refused

    def refused(self, kind: Kind | None, now: float) -> None:
        """It has refused a rule of this kind, None: a group, because there is no room for it."""
        table = None if kind is None else places(self._features().tables)[ROW[kind].table]
        needs = dict(self._all_needs()).get(table, 0)
        by_flows = self._is_for_flows(table) and self._flow_rules() > 0 and not 0 < self.says(table) < needs
        if table not in self._full and not by_flows:
            if not self._full:
                self._again_at = now + self._pause
                self._pause = min(2 * self._pause, LONGEST_S)
            self._full[table] = needs

    def _is_for_flows(self, table: int | None) -> bool:
        """Do flows need room there?"""
        tables = self._features().tables
        if table is None:
            return suited(tables).names_next_hops
        return not {Table.CLIENT_OUT, Table.CLIENT_IN}.isdisjoint(carried_in(tables, table))

    def tick(self, now: float) -> None:
        """There may be room again."""
        if self._full and now >= self._again_at:
            self._full.clear()
        elif self._full:
            needs = dict(self._all_needs())
            self._full = {table: max(before, needs.get(table, 0)) for table, before in self._full.items()}

    def among(self, lacks: Iterable[Lack]) -> tuple[Lack, ...]:
        """What it lacks besides room, and the room that it lacks."""
        others = (lack for lack in lacks if lack.ability not in (Ability.ROOM, Ability.ROOM_FOR_GROUPS))
        return (*others, *(lack for table in self._full for lack in self._lacks_of(table)))

    def _lacks_of(self, table: int | None) -> Iterator[Lack]:
        needs, says = self._full[table], self.says(table)
        why = f"needs {needs:,}, has {says:,}" if 0 < says < needs else f"needs {needs:,}, and has not room for all"
        if table is None:
            yield Lack(Ability.ROOM_FOR_GROUPS, None, why)
        else:
            for logical in carried_in(self._features().tables, table):
                yield Lack(Ability.ROOM, table, why, logical)
