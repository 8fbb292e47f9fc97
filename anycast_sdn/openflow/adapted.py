"""Adapted layouts: rules as a switch takes them that refuses something of them which the method can do without.

As every layout it is applied where bytes are written and read: what is wanted and what is found stay the rules of the
pipeline, and can be compared one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.layout import Layout
from anycast_sdn.openflow.pipeline import BINDING_KINDS, kind_of
from anycast_sdn.openflow.rules import Action, FlowRule, GroupRule, Message

_REPORTED = frozenset(BINDING_KINDS.values())  # the kinds of rules whose removal is reported


@dataclass(frozen=True)
class Adapted:
    """``layout``, and on the switch no rule asks for a report of its removal."""

    layout: Layout

    def table(self, logical: int) -> int:
        return self.layout.table(logical)

    def on_switch(self, rule: FlowRule) -> FlowRule:
        rule = self.layout.on_switch(rule)
        return replace(rule, notify=False) if rule.notify else rule

    def logical(self, rule: FlowRule) -> FlowRule:
        rule = self.layout.logical(rule)
        return replace(rule, notify=True) if kind_of(rule.cookie) in _REPORTED else rule

    def group_on_switch(self, group: GroupRule) -> GroupRule:
        return self.layout.group_on_switch(group)

    def actions_on_switch(self, actions: tuple[Action, ...]) -> tuple[Action, ...]:
        return self.layout.actions_on_switch(actions)

    def logical_group(self, group: GroupRule) -> GroupRule | None:
        return self.layout.logical_group(group)

    def of_switch(self) -> Layout:
        return Adapted(self.layout.of_switch())

    @property
    def names_next_hops(self) -> bool:
        return self.layout.names_next_hops

    @property
    def groups(self) -> Mapping[int, GroupRule]:
        return self.layout.groups

    def with_groups(self, messages: Iterable[Message]) -> Iterable[Message]:
        return self.layout.with_groups(messages)

    def forget(self) -> None:
        self.layout.forget()


def adapted(layout: Layout, features: Features) -> Layout:
    """``layout`` as a switch with these features needs it."""
    plain = layout.layout if isinstance(layout, Adapted) else layout
    return plain if features.report_flag else Adapted(plain)
