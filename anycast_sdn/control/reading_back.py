"""Reading back: what a switch holds when it connects becomes bindings, hosts and routes, a slice at a time (M20).

At the controller's start, the switch's rules are the controller's memory: bindings are rebuilt from them.  When a
switch only reconnects, the controller still has the bindings: rules that differ from them are replaced, and rules of
no binding are deleted.

Meanwhile the switch forwards packets and sends reports.  What has happened to a flow since the switch was asked is
newer than what was found: rules that were reported as removed are left out, and bindings that were used since are left
as they are.  An audit finds later what may be wrong with those.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, Neighbour, Prefix
from anycast_sdn.engines.engine import Engine
from anycast_sdn.openflow import readback
from anycast_sdn.openflow.pipeline import number_of
from anycast_sdn.openflow.reaction import Reaction
from anycast_sdn.openflow.rules import AddFlow, DeleteFlow, FlowRule, Message, RuleKey
from anycast_sdn.openflow.tables import Tables

READ_AT_ONCE = 500  # rules in one slice: some milliseconds
COMPARED_AT_ONCE = 200  # flows in one slice, likewise


class ReadingBack:
    """Call ``step`` until it returns None; then ``routes`` and ``others`` are what the switch holds besides flows.

    ``route``: the rule for a prefix and a port, as it should be.  ``begins``: the controller was started, and this
    switch connects for the first time.
    """

    def __init__(self, found: Tables, engine: Engine, route: Callable[[Prefix, int], FlowRule], begins: bool) -> None:
        self.resized: list[Message] = []  # for routes to the right port with another limit of the packets' size
        self._route = route
        self.routes: dict[Prefix, int] = {}
        self.others: dict[RuleKey, FlowRule] = {}
        self.hosts: dict[Address, Neighbour] = {}  # as the rules in ``others`` say
        self.egress: dict[Prefix, Neighbour] = {}  # likewise; only at the controller's start
        self.begins = begins
        self._engine = engine
        self._wiped = not begins and not found.flows
        self._rules = list(found.flows.values())
        self._found: dict[int, list[FlowRule]] = {}  # flow's number → the rules with its cookies
        self._removed: set[int] = set()  # cookies of rules that were removed since the switch was asked
        self._to_adopt: list[int] | None = None
        self._to_settle: list[Binding] | None = None

    def rule_removed(self, cookie: int) -> None:
        """The switch has reported that a rule was removed, after it has reported what it holds."""
        self._removed.add(cookie)

    def step(self, groups: Groups, now: float) -> Reaction | None:
        """One slice of the work; None when all is done."""
        if self._rules:
            self._classify()
            return Reaction()
        if self._to_adopt is None:
            self._to_adopt = list(self._found) if self.begins else []
        if self._to_adopt:
            some, self._to_adopt = self._to_adopt[:COMPARED_AT_ONCE], self._to_adopt[COMPARED_AT_ONCE:]
            found = {number: self._still_there(number) for number in some}
            return Reaction(events=self._engine.adopt(found, groups, now, self.hosts))
        if self._to_settle is None:
            self._to_settle = list(self._engine.flows)
            self._to_settle.reverse()
        if self._to_settle:
            return self._settle(now)
        self._engine.end_reading()
        return self._strays()

    def _classify(self) -> None:
        some, self._rules[-READ_AT_ONCE:] = self._rules[-READ_AT_ONCE:], []
        for rule in some:
            if readback.half_of(rule):
                self._found.setdefault(number_of(rule.cookie), []).append(rule)
            elif route := readback.route(rule):
                self.routes[route[0]] = route[1]
                if rule != (ours := self._route(*route)):
                    self.resized.append(AddFlow(ours))
            else:
                self.others[rule.key] = rule
                if host := readback.host(rule):
                    address, mac, port = host
                    self.hosts[address] = Neighbour(mac, port)
                elif self.begins and (egress := readback.egress_route(rule)):
                    prefix, mac, port = egress
                    self.egress[prefix] = Neighbour(mac, port)

    def _still_there(self, number: int) -> list[FlowRule]:
        return [rule for rule in self._found.get(number, ()) if rule.cookie not in self._removed]

    def _settle(self, now: float) -> Reaction:
        assert self._to_settle
        some, self._to_settle[-COMPARED_AT_ONCE:] = self._to_settle[-COMPARED_AT_ONCE:], []
        reaction = Reaction()
        for flow in some:
            rules = self._still_there(flow.number)
            self._found.pop(flow.number, None)
            settled = self._engine.settle(flow, rules, self._wiped, now)
            reaction.messages += settled.messages
            reaction.events += settled.events
        return reaction

    def _strays(self) -> Reaction | None:
        """Delete rules of flows that have no binding."""
        some = list(islice(self._found, COMPARED_AT_ONCE))
        if not some:
            return None
        rules = [rule for number in some for rule in self._found.pop(number)]
        flows = self._engine.flows
        return Reaction([DeleteFlow(rule) for rule in rules if flows.by_number(number_of(rule.cookie)) is None])
