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

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple, Protocol

from anycast_sdn.core.model import Address
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import Action, FlowRule, GroupRule, Message, Resubmit, Track, Unread, one_object


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

    def logical_group(self, group: GroupRule) -> GroupRule | None:
        """As ``logical``; None: one that only the layout needs."""

    def logical(self, rule: FlowRule) -> FlowRule:
        """A rule as a switch holds it → the pipeline's; one that ``on_switch`` never returns equals none of ours."""

    def of_switch(self) -> Layout:
        """The layout of one connection: an object of its own where it has to know what the switch holds."""

    @property
    def names_next_hops(self) -> bool:
        """Do rules of bindings name a group of their destination's next hop, instead of leading to the routes?"""

    def with_groups(self, messages: Iterable[Message]) -> Iterable[Message]:
        """These messages, and those for the groups that the rules on the switch need besides the pipeline's."""

    @property
    def groups(self) -> Mapping[int, GroupRule]:
        """Those that the switch holds besides the pipeline's."""

    @property
    def next_hops(self) -> Mapping[Address, GroupRule]:
        """Those of them that rules of bindings name, by destination, as the switch should hold them."""

    def forget(self) -> None:
        """What the switch holds is no longer known: it is read anew."""


class _Stateless:
    """What there is to know of a rule is in the rule."""

    names_next_hops = False
    groups: Mapping[int, GroupRule] = MappingProxyType({})
    next_hops: Mapping[Address, GroupRule] = MappingProxyType({})

    def with_groups(self, messages: Iterable[Message]) -> Iterable[Message]:
        return messages

    def forget(self) -> None:
        pass


class Separate(_Stateless):
    """Each logical table is a table of the switch, with the same number."""

    def of_switch(self) -> Layout:
        return self

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


_STEP = 4096
HIGHEST = _STEP - 1  # of the pipeline's priorities
ANYTHING_ELSE = 0  # the priority of each table's rule for anything else
_TRACKED_OUTWARD = (Table.TRACK_OUT, Table.TRACKED_OUT)
_ELSEWHERE = 256  # + the number of a table that carries no logical one: where a rule of ours may be found nevertheless


class _Place(NamedTuple):
    table: int  # the switch's
    raised: int = 0  # what is added to priorities
    shadow: int | None = None  # the priority of its rule for anything else, which no packet matches; None: one like all


class Shared(_Stateless):
    """``carried``: for each table of the switch, in order, the logical tables that it carries."""

    def __init__(self, *carried: tuple[Table, ...]) -> None:
        self._carried = carried
        self._places: dict[int, _Place] = {}
        for number, tables in enumerate(carried):
            last = len(tables) - 1
            for index, table in enumerate(tables[:-1]):
                self._places[table] = _Place(number, (last - index) * _STEP, shadow=index)
            self._places[tables[-1]] = _Place(number, last)  # below, there is room for the shadows

    def of_switch(self) -> Layout:
        return self

    def table(self, logical: int) -> int:
        return self._places[logical].table if logical in self._places else logical - _ELSEWHERE

    def on_switch(self, rule: FlowRule) -> FlowRule:
        place = self._places.get(rule.table)
        if place is None:
            return replace(rule, table=rule.table - _ELSEWHERE)
        table, raised, shadow = place
        if shadow is not None and rule.priority == ANYTHING_ELSE:
            return replace(rule, table=table, priority=shadow, goto=None)
        return replace(
            rule,
            table=table,
            priority=rule.priority + raised,
            actions=self.actions_on_switch(rule.actions),
            goto=self._goto(table, rule.goto),
        )

    def _goto(self, table: int, logical: int | None) -> int | None:
        """None also where the next table is the same one (``next_hops``)."""
        to = None if logical is None else self.table(logical)
        return None if to == table else to

    def group_on_switch(self, group: GroupRule) -> GroupRule:
        return _with_actions(group, self.actions_on_switch)

    def logical_group(self, group: GroupRule) -> GroupRule | None:
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
        tables = self._carried[rule.table]
        last = len(tables) - 1
        if rule.priority < last:
            found = replace(rule, table=tables[rule.priority], priority=ANYTHING_ELSE)
            found = replace(found, goto=Table(found.table + 1))
            return found if rule.goto is None else replace(found, actions=(Unread(),))
        above = min((rule.priority - 1) // _STEP, last) if last else 0
        return self._onward(rule, tables[last - above], rule.priority - (above * _STEP or last))

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
