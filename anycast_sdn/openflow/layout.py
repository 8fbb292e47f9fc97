"""Layouts: which table of a switch carries which logical table of the pipeline.

Rules, the pipeline and the engines name logical tables only (``row.Table``).  A layout is applied where bytes
are written and read (``codec``, ``decoding``), and the simulated switch executes what it makes of a rule.  A rule has
exactly one place on the switch and is found there again, so that what is installed can be compared, rule by rule, with
what is wanted.

``FIVE_TABLES``: each logical table is a table of its own, with the same number: five, a sixth (egress) for links with
an ``mtu``, and those of the connection tracker.  ``THREE_TABLES``: pairs share one, for switches that have no more:

    0 ingress → 1 client edge, out and in → 2 server edge, routes        3 egress

How two logical tables share a table of the switch:

- All rules of the first have higher priorities than all rules of the second.  So a packet that matches no rule of the
  first is looked up in the second, by priority alone.
- The first one's rule for anything else is therefore not needed, and its goto would lead backwards.  It is installed
  nevertheless, so that installed and wanted rules can be compared one by one: below the second one's rule for anything
  else, where no packet matches it, and without its goto.

These pairs need no metadata that says which of the two tables a packet is to be looked up in, because the destinations
that the tables match never overlap: those in an ANY/m, those in a PRh/k, and those of hosts (``description.checks``).

- A packet to an ANY/m matches in "client edge, out" or in "server edge".  After "client edge, out" its destination is
  an ANY or an ASg, and neither matches in "client edge, in".
- A packet to a PRh/k matches neither in "client edge, out" nor in "server edge", so it may be looked up in "client
  edge, in" at once.  After that its destination is a host, which does not match in "server edge", so that one may share
  its table with the routes.
- One rule of "client edge, out" matches no destination: ``STILL_TAGGED``, which drops.

``egress`` has a table of its own.  Its rules match nothing but in_port, which there stands for the port by which a
packet is about to leave; in a shared table they would match every packet that came in by that port.  So has each table
of the connection tracker.  That costs no switch a table: only Open vSwitch has the actions that lead there, and it has
254 tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, Protocol

from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import Action, FlowRule, GroupRule, Resubmit, Track, Unread, one_object


class Layout(Protocol):
    def __hash__(self) -> int: ...

    def table(self, logical: int) -> int:
        """The switch's table that carries a logical one."""

    def on_switch(self, rule: FlowRule) -> FlowRule:
        """A rule of the pipeline as the switch is to hold it."""

    def group_on_switch(self, group: GroupRule) -> GroupRule:
        """As ``on_switch``."""

    def actions_on_switch(self, actions: tuple[Action, ...]) -> tuple[Action, ...]:
        """As ``on_switch``."""

    def logical_group(self, group: GroupRule) -> GroupRule:
        """As ``logical``."""

    def logical(self, rule: FlowRule) -> FlowRule:
        """A rule as a switch holds it → the pipeline's; one that ``on_switch`` never returns equals none of ours."""


class Separate:
    """Each logical table is a table of the switch, with the same number."""

    def table(self, logical: int) -> int:
        return logical

    def on_switch(self, rule: FlowRule) -> FlowRule:
        return rule

    def logical(self, rule: FlowRule) -> FlowRule:
        return rule

    def group_on_switch(self, group: GroupRule) -> GroupRule:
        return group

    def actions_on_switch(self, actions: tuple[Action, ...]) -> tuple[Action, ...]:
        return actions

    def logical_group(self, group: GroupRule) -> GroupRule:
        return group


_FIRST = 4096  # added to the first table's priorities, which like all of the pipeline's are lower than this
_SECOND = 1  # added to the second table's priorities: below them there is room for the first one's "anything else"
_ANYTHING_ELSE = 0  # the priority of each table's rule for anything else
_TRACKED_OUTWARD = (Table.TRACK_OUT, Table.TRACKED_OUT)
_ELSEWHERE = 256  # + the number of a table that carries no logical one: where a rule of ours may be found nevertheless


class _Place(NamedTuple):
    table: int  # the switch's
    raised: int = 0  # what is added to priorities
    shadowed: bool = False  # no packet matches its rule for anything else, which lies below the second table's


class Shared:
    """``carried``: for each table of the switch, in order, the logical table or the two that it carries."""

    def __init__(self, *carried: tuple[Table, ...]) -> None:
        self._carried = carried
        self._places: dict[int, _Place] = {}
        for number, tables in enumerate(carried):
            if len(tables) == 1:
                self._places[tables[0]] = _Place(number)
            else:
                first, second = tables
                self._places[first] = _Place(number, _FIRST, shadowed=True)
                self._places[second] = _Place(number, _SECOND)

    def table(self, logical: int) -> int:
        return self._places[logical].table if logical in self._places else logical - _ELSEWHERE

    def on_switch(self, rule: FlowRule) -> FlowRule:
        place = self._places.get(rule.table)
        if place is None:
            return replace(rule, table=rule.table - _ELSEWHERE)
        table, raised, shadowed = place
        if shadowed and rule.priority == _ANYTHING_ELSE:
            return replace(rule, table=table, goto=None)
        return replace(
            rule,
            table=table,
            priority=rule.priority + raised,
            actions=self.actions_on_switch(rule.actions),
            goto=None if rule.goto is None else self.table(rule.goto),
        )

    def group_on_switch(self, group: GroupRule) -> GroupRule:
        return _with_actions(group, self.actions_on_switch)

    def logical_group(self, group: GroupRule) -> GroupRule:
        return _with_actions(group, lambda actions: self._read(actions, Table.SERVICE))

    def actions_on_switch(self, actions: tuple[Action, ...]) -> tuple[Action, ...]:
        return tuple(
            replace(action, table=self.table(action.table))
            if isinstance(action, Resubmit | Track) and action.table is not None
            else action
            for action in actions
        )

    def logical(self, rule: FlowRule) -> FlowRule:
        if rule.table >= len(self._carried):
            return replace(rule, table=rule.table + _ELSEWHERE)
        first, *others = self._carried[rule.table]
        if not others:
            return self._onward(rule, first, rule.priority)
        if rule.priority > _FIRST:
            return self._onward(rule, first, rule.priority - _FIRST)
        if rule.priority >= _SECOND:
            return self._onward(rule, others[0], rule.priority - _SECOND)
        found = replace(rule, table=first, goto=Table(first + 1))
        return found if rule.goto is None else replace(found, actions=(Unread(),))

    def _onward(self, rule: FlowRule, table: Table, priority: int) -> FlowRule:
        """The rule in this logical table; its goto leads to the next logical table that is carried there."""
        actions = self._read(rule.actions, table)
        carried = () if rule.goto is None else self._carries(rule.goto)
        goto = next((each for each in carried if each >= table), None)
        if goto is None and rule.goto is not None:
            actions = (*actions, Unread())
        return replace(rule, table=table, priority=priority, actions=actions, goto=goto)

    def _read(self, actions: tuple[Action, ...], table: Table) -> tuple[Action, ...]:
        """Those of a rule in this logical table: they lead to the last one that is carried there, never back.

        Only the connection tracker's tables lead back; those outward to the first one that is carried there.
        """

        def read(action: Action) -> Action:
            if not isinstance(action, Resubmit | Track) or action.table is None:
                return action
            carried = self._carries(action.table)
            to = carried[:1] if table in _TRACKED_OUTWARD else carried[-1:]
            return replace(action, table=to[0]) if to and (to[0] >= table or table > Table.EGRESS) else Unread()

        return tuple(map(read, actions))

    def _carries(self, number: int) -> tuple[Table, ...]:
        return self._carried[number] if number < len(self._carried) else ()


def _with_actions(group: GroupRule, change: Callable[[tuple[Action, ...]], tuple[Action, ...]]) -> GroupRule:
    buckets = (one_object(bucket._replace(actions=change(bucket.actions))) for bucket in group.buckets)
    return replace(group, buckets=tuple(buckets))


FIVE_TABLES: Layout = Separate()
THREE_TABLES: Layout = Shared(
    (Table.INGRESS,), (Table.CLIENT_OUT, Table.CLIENT_IN), (Table.SERVICE, Table.ROUTES),
    *((table,) for table in Table if table >= Table.EGRESS)
)
