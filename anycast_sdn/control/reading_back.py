"""Reading back: what a switch holds when it connects becomes flows, hosts and routes, a slice at a time (M20).

Meanwhile the switch forwards packets and sends reports.  What has happened to a flow since the switch was asked is
newer than what was found.  What becomes of flows' rules is decided by the engine (``engines.engine.Reading``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, Neighbour, Prefix
from anycast_sdn.core.slots import MANY, SLOTS, Slots, Spread
from anycast_sdn.engines.engine import Reading
from anycast_sdn.openflow import readback
from anycast_sdn.openflow.reaction import Reaction
from anycast_sdn.openflow.rules import AddFlow, FlowRule, Message, RuleKey
from anycast_sdn.openflow.tables import Tables

READ_AT_ONCE = 500  # rules in one slice: some milliseconds


class KnownFlows(Reading):
    """Nothing has to be read of flows: this controller decides on them, and has done so all the time."""

    def take(self, rule: FlowRule) -> bool:
        return bool(readback.half_of(rule))

    def rule_removed(self, cookie: int) -> None:
        pass

    def step(self, groups: Groups, now: float, hosts: Mapping[Address, Neighbour]) -> Reaction | None:
        return None

    @property
    def knows_flows(self) -> bool:
        return True


class NoFlows(Reading):
    """The rules of flows are their master's: they are left as they are.  ``read``: what would have been read."""

    def __init__(self, read: Reading) -> None:
        self._read = read

    def take(self, rule: FlowRule) -> bool:
        return self._read.take(rule)

    def rule_removed(self, cookie: int) -> None:
        pass

    def step(self, groups: Groups, now: float, hosts: Mapping[Address, Neighbour]) -> Reaction | None:
        return None


class ReadingBack:
    """Call ``step`` until it returns None; then ``routes`` and ``others`` are what the switch holds besides flows.

    ``route``: the rule for a prefix and a port, as it should be.  ``begins``: the controller was started, and this
    switch connects for the first time.  ``recall``: lets some flows be known again that
    somebody has kept → were there any?
    """

    def __init__(
        self,
        found: Tables,
        flows: Reading,
        route: Callable[[Prefix, int], FlowRule],
        begins: bool,
        recall: Callable[[Groups, float], bool] = lambda groups, now: False,
    ) -> None:
        self.resized: list[Message] = []  # for routes to the right port with another limit of the packets' size
        self._route = route
        self.routes: dict[Prefix, int] = {}
        self.others: dict[RuleKey, FlowRule] = {}
        self.hosts: dict[Address, Neighbour] = {}  # as the rules in ``others`` say
        self.egress: dict[Prefix, Neighbour] = {}  # likewise; only at the controller's start
        self.slots: dict[Spread, Slots] = {}  # by which new flows are spread; only at the controller's start
        self.has_weights = False  # have the groups a weighted bucket for each server?
        self.begins = begins
        self._flows = flows
        self._recall = recall
        self._rules = list(found.flows.values())
        self._groups = found.groups

    def rule_removed(self, cookie: int) -> None:
        """The switch has reported that a rule was removed, after it has reported what it holds."""
        self._flows.rule_removed(cookie)

    def step(self, groups: Groups, now: float) -> Reaction | None:
        """One slice of the work; None when all is done."""
        if self._rules:
            self._classify(groups)
            return Reaction()
        if self._recall(groups, now):
            return Reaction()
        return self._flows.step(groups, now, self.hosts)

    @property
    def knows_flows(self) -> bool:
        """Are all flows of the switch known?"""
        return not self._rules and self._flows.knows_flows

    def _classify(self, groups: Groups) -> None:
        some, self._rules[-READ_AT_ONCE:] = self._rules[-READ_AT_ONCE:], []
        for rule in some:
            if self._flows.take(rule):
                continue
            if route := readback.route(rule):
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
                elif self.begins and (service := readback.service(rule)):
                    self._read_slots(*service, groups)

    def _read_slots(self, service: Prefix, number: int, groups: Groups) -> None:
        """All ANY/n of a spread have the same group, so the first one that is found is enough."""
        group = groups.owner(service)
        spread = Spread(group.name, service.is_v6) if group else None
        if spread and spread not in self.slots and number in self._groups:
            buckets = self._groups[number].buckets
            slots = self.slots[spread] = readback.slots(self._groups[number])
            self.has_weights |= 1 < len(buckets) < len(slots) in (SLOTS, MANY)
