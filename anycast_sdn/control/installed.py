"""Installed: what one switch is believed to hold, without the flows' rules, which the engine knows, and the routes.

After the switch has connected that is what was found on it.  What of that has not been compared yet with what is wanted
is ``unchecked``; when all that is wanted has been compared, the unchecked rest are strays, which nobody wants.
"""

from __future__ import annotations

from itertools import islice

from anycast_sdn.openflow.rules import FlowRule, GroupRule, MeterRule, RuleKey
from anycast_sdn.openflow.tables import Tables


class Installed:
    def __init__(self) -> None:
        self._holds = Tables()
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

    def holds(self, rule: FlowRule) -> bool:
        return self.flows.get(rule.key) == rule

    def found(self, tables: Tables) -> None:
        """The switch has connected with these."""
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
        """→ What stood in the place of this rule; the rule itself, where nothing is known to have stood there."""
        self._unchecked.flows.pop(rule.key, None)
        self.changes += 1
        return self.flows.pop(rule.key, rule)

    def replace(self, held: Tables, wanted: Tables) -> None:
        """The switch will hold ``wanted`` instead of ``held``, and both have been compared."""
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

    def is_unchecked(self, meter: int) -> bool:
        return meter in self._unchecked.meters

    def overridden(self, routes: dict[RuleKey, FlowRule]) -> None:
        """These routes take the place of whatever was found there."""
        for key in routes if self._unchecked.flows else ():
            if self._unchecked.flows.pop(key, None):
                del self.flows[key]

    def take_strays(self, most: int) -> Tables:
        """Forgets up to ``most`` of what is unchecked → what is to be deleted; rules before what they refer to."""
        strays = Tables()
        for sort in ("flows", "groups", "meters"):
            mine, unchecked = getattr(self._holds, sort), getattr(self._unchecked, sort)
            for key in list(islice(unchecked, most)):
                del unchecked[key]
                getattr(strays, sort)[key] = mine.pop(key)
                most -= 1
        return strays
