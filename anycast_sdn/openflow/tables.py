"""Tables: all rules, groups and meters that a switch holds, or should hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from anycast_sdn.openflow.rules import (
    FlowRule,
    GroupRule,
    Match,
    MeterRule,
)


@dataclass(slots=True)
class Tables:
    """Everything that a switch holds, or should hold."""

    flows: dict[tuple[int, int, Match], FlowRule] = field(default_factory=dict)
    groups: dict[int, GroupRule] = field(default_factory=dict)
    meters: dict[int, MeterRule] = field(default_factory=dict)
    had_others: bool = False  # it held rules of other programs, which are removed
    unlisted: bool = False  # it does not list its rules, so all are deleted

    @classmethod
    def of(
        cls, flows: Iterable[FlowRule], groups: Iterable[GroupRule] = (), meters: Iterable[MeterRule] = ()
    ) -> Tables:
        return cls(
            {rule.key: rule for rule in flows},
            {group.number: group for group in groups},
            {meter.number: meter for meter in meters},
        )
