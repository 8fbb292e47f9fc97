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

PUT_BACK_AT_ONCE = 20  # connections in one slice: some milliseconds


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
        self._to_put_back: list[int] | None = None
        self._to_doubt: list[int] | None = None

    def take(self, rule: FlowRule) -> bool:
        if self._begins:
            self._owner.adopt_code(rule)
        return super().take(rule)

    def step(self, groups: Groups, now: float, hosts: Mapping[Address, Neighbour]) -> Reaction | None:
        if self._to_adopt is None:
            self._to_adopt = list(self._found) if self._begins else []
        if self._to_adopt:
            some, self._to_adopt = self._to_adopt[:COMPARED_AT_ONCE], self._to_adopt[COMPARED_AT_ONCE:]
            return Reaction(events=self._owner.adopt({each: self._found[each] for each in some}, groups, now, hosts))
        if self._to_put_back is None:
            lost = (flow.number for flow in self._owner.flows) if self._wiped else self._found
            self._to_put_back = list(lost)
        if self._to_put_back:
            return self._put_back_some(groups)
        if self._to_doubt is None:
            self._to_doubt = [flow.number for flow in self._owner.flows] if self._begins and not self._wiped else []
        if self._to_doubt:
            some, self._to_doubt[-COMPARED_AT_ONCE:] = self._to_doubt[-COMPARED_AT_ONCE:], []
            doubted = [self._owner.doubt(flow, now) for flow in filter(None, map(self._owner.flows.by_number, some))]
            messages = [message for each in doubted for message in each.messages]
            return Reaction(messages, any(each.changed for each in doubted))
        if (reaction := super().step(groups, now, hosts)) is None:
            self._owner.end_reading()
        return reaction

    def _put_back_some(self, groups: Groups) -> Reaction:
        assert self._to_put_back
        some, self._to_put_back[-PUT_BACK_AT_ONCE:] = self._to_put_back[-PUT_BACK_AT_ONCE:], []
        flows = filter(None, map(self._owner.flows.by_number, some))
        return Reaction([message for flow in flows for message in self._owner.put_back(flow, groups)])
