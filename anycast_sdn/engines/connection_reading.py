"""ConnectionReading: a switch has connected whose connection tracker has the flows; what becomes of them (M20).

The tracker is never asked for all that it has: that stops forwarding.  What the controller knows of flows is known
from itself, or from what an earlier run of it has noted (``Engine.remember``).  So there are three cases:

- The switch holds rules of ours: its tracker has its connections, and nothing is put back.  A controller that has just
  been started asks for those that it knows of; flows of which the tracker has none end.
- It has lost all rules, so ovs-vswitchd was started anew, and its tracker is empty: every connection is put back, each
  with its PR1X and its server.  Clients' packets are admitted by the last rules that are sent, so later.
- It holds rules of flows: it was served by these before.  Their flows become connections, and the rules go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from anycast_sdn.core.bindings import Binding, BindingTable
from anycast_sdn.core.events import Event
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, Neighbour
from anycast_sdn.engines.flow_reading import COMPARED_AT_ONCE, Found, Strays
from anycast_sdn.openflow.reaction import Reaction
from anycast_sdn.openflow.rules import FlowRule, Message

PUT_BACK_AT_ONCE = 20  # flows in one slice: some milliseconds
DOUBTED_AT_ONCE = 200  # likewise, where nothing is put back


class Owner(Protocol):
    """The engine that has the flows."""

    @property
    def flows(self) -> BindingTable: ...

    def adopt_code(self, rule: FlowRule) -> None: ...

    def adopt(self, found: Found, groups: Groups, now: float, hosts: Mapping[Address, Neighbour]) -> list[Event]: ...

    def doubt(self, flow: Binding, now: float) -> Reaction: ...

    def put_back(self, flow: Binding, groups: Groups) -> Sequence[Message]: ...

    def end_reading(self) -> None: ...


class ConnectionReading(Strays):
    """``begins``, ``wiped``: see ``Engine.begin_reading``."""

    def __init__(self, owner: Owner, begins: bool, wiped: bool) -> None:
        super().__init__(BindingTable())  # all rules of flows are strays
        self._owner = owner
        self._begins = begins
        self._wiped = wiped
        self._to_adopt: list[int] | None = None
        self._walked_to = 0  # the number of a flow
        self._is_walked = not (begins or wiped)

    def take(self, rule: FlowRule) -> bool:
        if self._begins:
            self._owner.adopt_code(rule)
        return super().take(rule)

    @property
    def knows_flows(self) -> bool:
        return self._to_adopt == [] and not self._wiped

    def step(self, groups: Groups, now: float, hosts: Mapping[Address, Neighbour]) -> Reaction | None:
        if self._to_adopt is None:
            self._to_adopt = list(self._found) if self._begins else []
        if self._to_adopt:
            some, self._to_adopt = self._to_adopt[:COMPARED_AT_ONCE], self._to_adopt[COMPARED_AT_ONCE:]
            return Reaction(events=self._owner.adopt({each: self._found[each] for each in some}, groups, now, hosts))
        if not self._is_walked:
            return self._walk(groups, now)
        if (reaction := super().step(groups, now, hosts)) is None:
            self._owner.end_reading()
        return reaction

    def _walk(self, groups: Groups, now: float) -> Reaction:
        """The next flows, in the order of their numbers."""
        flows = self._owner.flows
        most = PUT_BACK_AT_ONCE if self._wiped or self._found else DOUBTED_AT_ONCE
        numbers = flows.numbers_after(self._walked_to, most)
        self._is_walked = not numbers
        reaction = Reaction()
        for flow in filter(None, map(flows.by_number, numbers)):
            self._walked_to = flow.number
            if self._wiped or flow.number in self._found:
                reaction.messages += self._owner.put_back(flow, groups)
            elif self._begins:
                doubted = self._owner.doubt(flow, now)
                reaction.messages += doubted.messages
                reaction.changed |= doubted.changed
        return reaction
