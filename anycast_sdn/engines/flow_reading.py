"""FlowReading: the rules of flows that are found on a switch which has connected, a slice at a time (M20).

At the controller's start, the switch's rules are the controller's memory: bindings are rebuilt from them.  When a
switch only reconnects, the controller still has the bindings: rules that differ from them are replaced, and rules of
no binding are deleted.

What has happened to a flow since the switch was asked is newer than what was found: rules that were reported as removed
are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Protocol, TypeAlias

from anycast_sdn.core.bindings import Binding, BindingTable
from anycast_sdn.core.events import Event
from anycast_sdn.core.flow_events import FlowRecord
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, Neighbour
from anycast_sdn.engines.engine import Reading
from anycast_sdn.openflow import readback
from anycast_sdn.openflow.pipeline import number_of
from anycast_sdn.openflow.reaction import Reaction
from anycast_sdn.openflow.rules import DeleteFlow, FlowRule

COMPARED_AT_ONCE = 200  # flows in one slice: some milliseconds

Found: TypeAlias = Mapping[int, Sequence[FlowRule]]  # binding's number → the rules on the switch with its cookies


class Strays(Reading):
    """Deletes the rules of flows that have no binding."""

    def __init__(self, flows: BindingTable) -> None:
        self._flows = flows
        self._found: dict[int, list[FlowRule]] = {}  # flow's number → the rules with its cookies

    def take(self, rule: FlowRule) -> bool:
        if not readback.half_of(rule):
            return False
        self._found.setdefault(number_of(rule.cookie), []).append(rule)
        return True

    def rule_removed(self, cookie: int) -> None:
        pass

    def step(self, groups: Groups, now: float, hosts: Mapping[Address, Neighbour]) -> Reaction | None:
        some = list(islice(self._found, COMPARED_AT_ONCE))
        if not some:
            return None
        rules = [rule for number in some for rule in self._found.pop(number)]
        return Reaction([DeleteFlow(rule) for rule in rules if self._flows.by_number(number_of(rule.cookie)) is None])


class Owner(Protocol):
    """The engine that has the flows."""

    flow_record: FlowRecord

    @property
    def flows(self) -> BindingTable: ...

    def adopt(self, found: Found, groups: Groups, now: float, hosts: Mapping[Address, Neighbour]) -> list[Event]: ...

    def settle(self, flow: Binding, rules: Sequence[FlowRule], wiped: bool, now: float) -> Reaction: ...

    def end_reading(self) -> None: ...


class FlowReading(Strays):
    """``begins``, ``wiped``: see ``Engine.begin_reading``; ``settles``: are flows' rules read?  Else they are known."""

    def __init__(self, owner: Owner, begins: bool, wiped: bool, settles: bool = True) -> None:
        super().__init__(owner.flows)
        self._owner = owner
        self._begins = begins
        self._wiped = wiped
        self._settles = settles
        self._removed: set[int] = set()  # cookies of rules that were removed since the switch was asked
        self._to_adopt: list[int] | None = None
        self._to_settle: list[Binding] | None = None

    def rule_removed(self, cookie: int) -> None:
        self._removed.add(cookie)

    @property
    def knows_flows(self) -> bool:
        return self._to_adopt == []

    def step(self, groups: Groups, now: float, hosts: Mapping[Address, Neighbour]) -> Reaction | None:
        if self._to_adopt is None:
            self._to_adopt = list(self._found) if self._begins else []
        if self._to_adopt:
            some, self._to_adopt = self._to_adopt[:COMPARED_AT_ONCE], self._to_adopt[COMPARED_AT_ONCE:]
            found = {number: self._still_there(number) for number in some}
            return Reaction(events=self._owner.adopt(found, groups, now, hosts))
        if self._to_settle is None:
            self._to_settle = list(self._flows) if self._settles or self._owner.flow_record.is_watched else []
            self._to_settle.reverse()
        if self._to_settle:
            return self._settle(now)
        self._owner.end_reading()
        return super().step(groups, now, hosts)

    def _still_there(self, number: int) -> list[FlowRule]:
        return [rule for rule in self._found.get(number, ()) if rule.cookie not in self._removed]

    def _settle(self, now: float) -> Reaction:
        assert self._to_settle
        some, self._to_settle[-COMPARED_AT_ONCE:] = self._to_settle[-COMPARED_AT_ONCE:], []
        reaction = Reaction()
        for flow in some:
            if not self._settles:
                self._owner.flow_record.adopted(flow, now)
                continue
            rules = self._still_there(flow.number)
            self._found.pop(flow.number, None)
            settled = self._owner.settle(flow, rules, self._wiped, now)
            reaction.messages += settled.messages
            reaction.events += settled.events
        return reaction
