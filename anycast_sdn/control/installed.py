"""Installed: the rules, groups and meters that one switch holds, as far as the controller knows, without flows' rules.

After the switch has connected that is what was found on it.  What of that has not been compared with what is wanted yet
is ``unchecked``; when all that is wanted has been compared, the unchecked rest are *strays*: they are not wanted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from itertools import islice

from anycast_sdn.core.model import Address, Prefix
from anycast_sdn.core.sharded import ShardedDict
from anycast_sdn.fabric.graph import LOCAL
from anycast_sdn.openflow import readback
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import FlowRule, GroupRule, MeterRule, RuleKey
from anycast_sdn.openflow.tables import Tables

_Flows = dict[RuleKey, FlowRule]


class RouteTable(ShardedDict[Prefix, int]):
    """Prefix → port, or LOCAL: the switch delivers packets itself, by other rules."""

    def __init__(self, routes: Mapping[Prefix, int] | None = None) -> None:
        self._lengths: Counter[tuple[int, int]] = Counter()  # (bits, length) of its prefixes
        super().__init__(routes or {})

    def __setitem__(self, prefix: Prefix, port: int) -> None:
        if prefix not in self:
            self._lengths[prefix.bits, prefix.length] += 1
        super().__setitem__(prefix, port)

    def __delitem__(self, prefix: Prefix) -> None:
        super().__delitem__(prefix)
        kind = prefix.bits, prefix.length
        self._lengths[kind] -= 1
        if not self._lengths[kind]:
            del self._lengths[kind]

    def towards(self, address: Address) -> Iterator[tuple[Prefix, int]]:
        """The routes to prefixes that hold ``address``, the longest prefix first."""
        number, width = int.from_bytes(address, "big"), 8 * len(address)
        for bits, length in sorted(self._lengths, reverse=True):
            if bits == width:
                shift = bits - length
                prefix = Prefix((number >> shift << shift).to_bytes(bits // 8, "big"), length)
                port = self.get(prefix)
                if port is not None:
                    yield prefix, port


class Installed:
    """``route``: the rule for a prefix and a port."""

    def __init__(self, route: Callable[[Prefix, int], FlowRule]) -> None:
        self.routes = RouteTable()
        self._route = route
        self._holds = Tables()  # without the routes
        self._unchecked = Tables()
        self.changes = 0  # how often this has been changed

    @property
    def flows(self) -> dict[RuleKey, FlowRule]:
        return self._holds.flows

    @property
    def groups(self) -> dict[int, GroupRule]:
        return self._holds.groups

    @property
    def meters(self) -> dict[int, MeterRule]:
        return self._holds.meters

    def __len__(self) -> int:
        """How many rules."""
        return len(self.flows) + sum(port != LOCAL for port in self.routes.values())

    def __iter__(self) -> Iterator[FlowRule]:
        yield from self.flows.values()
        ports = ((prefix, port) for prefix, port in self.routes.items() if port != LOCAL)
        yield from (self._route(prefix, port) for prefix, port in ports)

    def __contains__(self, rule: FlowRule) -> bool:
        """Is exactly this rule installed?"""
        if kind_of(rule.cookie) is Kind.ROUTE:
            prefix, port = readback.route(rule) or (None, LOCAL)
            return prefix is not None and self.routes.get(prefix) == port and rule == self._route(prefix, port)
        return self.flows.get(rule.key) == rule

    def has_in_place_of(self, rule: FlowRule) -> bool:
        """Is this rule, or another with the same key, installed?"""
        prefix = readback.route_prefix(rule)
        port = self.routes.get(prefix, LOCAL) if prefix else LOCAL
        return rule.key in self.flows or (
            prefix is not None and port != LOCAL and self._route(prefix, port).key == rule.key
        )

    def at(self, places: Iterable[RuleKey], numbers: Iterable[int]) -> Tables:
        """The rules in these places, and the groups with these numbers."""
        return Tables(
            {key: self.flows[key] for key in places if key in self.flows},
            {number: self.groups[number] for number in numbers if number in self.groups},
        )

    def meters_besides_strays(self, wanted: Container[int]) -> dict[int, MeterRule]:
        """Those that are wanted or checked.  Strays are deleted later, after the rules that name them."""
        unchecked = self._unchecked.meters
        return {number: meter for number, meter in self.meters.items() if number in wanted or number not in unchecked}

    def delivers(self, prefix: Prefix) -> bool:
        """Is the switch itself the end of the routes to this prefix?"""
        return self.routes.get(prefix) == LOCAL

    def found(self, tables: Tables, routes: Mapping[Prefix, int]) -> None:
        """The switch has connected and holds these.  It still delivers what it did, unless it has lost all rules."""
        wiped = not tables.flows and not routes
        delivers = [] if wiped else [prefix for prefix, port in self.routes.items() if port == LOCAL]
        self.routes = RouteTable({**dict.fromkeys(delivers, LOCAL), **routes})
        self._holds = tables
        self._unchecked = Tables(tables.flows.copy(), tables.groups.copy(), tables.meters.copy())
        self.changes += 1

    def disconnected(self) -> None:
        self._unchecked = Tables()

    # ---------------------------------------------------------------- changes

    def add(self, rule: FlowRule) -> None:
        self.flows[rule.key] = rule
        self._unchecked.flows.pop(rule.key, None)
        self.changes += 1

    def remove(self, rule: FlowRule) -> FlowRule:
        """Remove the rule with the same key → that rule; ``rule`` itself where none is recorded."""
        self._unchecked.flows.pop(rule.key, None)
        self.changes += 1
        return self.flows.pop(rule.key, rule)

    def remove_group(self, number: int) -> None:
        """It is deleted, if the switch has it."""
        self._unchecked.groups.pop(number, None)
        self.groups.pop(number, None)
        self.changes += 1

    def switch_over(self, routes: Mapping[Prefix, int | None]) -> tuple[_Flows, _Flows]:
        """Record these routes as installed; None: no route → the rules for them, and the rules that they replace."""
        new: _Flows = {}
        old: _Flows = {}
        for prefix, port in routes.items():
            if was := self.routes.pop(prefix, LOCAL):
                rule = self._route(prefix, was)
                old[rule.key] = rule
            if port is not None:
                self.routes[prefix] = port
            if port:
                rule = self._route(prefix, port)
                new[rule.key] = rule
                if self._unchecked.flows.pop(rule.key, None):  # the new rule replaces what was found there
                    del self.flows[rule.key]
        return new, old

    def replace(self, held: Tables, wanted: Tables) -> None:
        """Record ``wanted`` as installed instead of ``held``.  Both have been compared."""
        for mine, unchecked, old, new in (
            (self.flows, self._unchecked.flows, held.flows, wanted.flows),
            (self.groups, self._unchecked.groups, held.groups, wanted.groups),
            (self.meters, self._unchecked.meters, held.meters, wanted.meters),
        ):
            for key in old:
                if key not in new:
                    del mine[key]  # type: ignore[arg-type]
            mine.update(new)  # type: ignore[arg-type]
            if unchecked:
                for key in (*old, *new):
                    unchecked.pop(key, None)

    # ---------------------------------------------------------------- what was found

    @property
    def unchecked(self) -> int:
        """How many rules, groups and meters of what was found have not been compared."""
        return len(self._unchecked.flows) + len(self._unchecked.groups) + len(self._unchecked.meters)

    def pop_strays(self, most: int) -> Tables:
        """Remove up to ``most`` of what is unchecked → what is to be deleted; rules before what they refer to."""
        strays = Tables()
        for sort in ("flows", "groups", "meters"):
            mine, unchecked = getattr(self._holds, sort), getattr(self._unchecked, sort)
            for key in list(islice(unchecked, most)):
                del unchecked[key]
                getattr(strays, sort)[key] = mine.pop(key)
                most -= 1
        return strays
