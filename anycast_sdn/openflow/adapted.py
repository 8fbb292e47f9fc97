"""Adapted layouts: rules as a switch takes them that refuses something of them which the method can do without.

As every layout it is applied where bytes are written and read: what is wanted and what is found stay the rules of the
pipeline, and can be compared one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile

from anycast_sdn.core.model import Address
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.layout import Layout
from anycast_sdn.openflow.pipeline import BINDING_KINDS, kind_of
from anycast_sdn.openflow.row import Kind, Table
from anycast_sdn.openflow.rules import (
    Action,
    Bucket,
    DecTtl,
    FlowRule,
    GroupRule,
    Message,
    Resubmit,
    SetField,
    one_object,
)

_REPORTED = frozenset(BINDING_KINDS.values())  # the kinds of rules whose removal is reported
_FORWARDS = frozenset((Kind.HOST, Kind.ROUTE, Kind.EGRESS_ROUTE, Kind.SERVICE_ALONE, Kind.SERVICE_FRAGMENT))


@dataclass(frozen=True)
class Adapted:
    """``reports``: rules ask for a report of their removal; ``keeps_ttl``: none decrements the TTL."""

    layout: Layout
    reports: bool
    keeps_ttl: bool

    def table(self, logical: int) -> int:
        return self.layout.table(logical)

    def on_switch(self, rule: FlowRule) -> FlowRule:
        rule = self.layout.on_switch(rule)
        if not self.reports and rule.notify:
            rule = replace(rule, notify=False)
        if self.keeps_ttl and _TTL in rule.actions:
            rule = replace(rule, actions=_without_ttl(rule.actions))
        return rule

    def logical(self, rule: FlowRule) -> FlowRule:
        rule = self.layout.logical(rule)
        kind = kind_of(rule.cookie)
        if not self.reports and kind in _REPORTED:
            rule = replace(rule, notify=True)
        if self.keeps_ttl and kind in _FORWARDS:
            rule = replace(rule, actions=_with_ttl(rule.actions))
        return rule

    def group_on_switch(self, group: GroupRule) -> GroupRule:
        group = self.layout.group_on_switch(group)
        return _with_actions(group, _without_ttl) if self.keeps_ttl else group

    def actions_on_switch(self, actions: tuple[Action, ...]) -> tuple[Action, ...]:
        actions = self.layout.actions_on_switch(actions)
        return _without_ttl(actions) if self.keeps_ttl else actions

    def logical_group(self, group: GroupRule) -> GroupRule | None:
        found = self.layout.logical_group(group)
        return _with_actions(found, _with_ttl) if found and self.keeps_ttl else found

    def of_switch(self) -> Layout:
        return Adapted(self.layout.of_switch(), self.reports, self.keeps_ttl)

    @property
    def names_next_hops(self) -> bool:
        return self.layout.names_next_hops

    @property
    def groups(self) -> Mapping[int, GroupRule]:
        return self.layout.groups

    @property
    def next_hops(self) -> Mapping[Address, GroupRule]:
        found = self.layout.next_hops
        if not self.keeps_ttl:
            return found
        return {destination: _with_actions(group, _without_ttl) for destination, group in found.items()}

    def with_groups(self, messages: Iterable[Message]) -> Iterable[Message]:
        return self.layout.with_groups(messages)

    def forget(self) -> None:
        self.layout.forget()


_TTL = DecTtl()


def _without_ttl(actions: tuple[Action, ...]) -> tuple[Action, ...]:
    return tuple(action for action in actions if action != _TTL)


def _with_ttl(actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """It is decremented when all fields are set, and not before the packet is looked up among the routes."""
    if any(isinstance(action, Resubmit) and action.table == Table.ROUTES for action in actions):
        return actions
    sets = sum(1 for _ in takewhile(lambda action: isinstance(action, SetField), actions))
    return (*actions[:sets], _TTL, *actions[sets:])


def _with_actions(group: GroupRule, change: Callable[[tuple[Action, ...]], tuple[Action, ...]]) -> GroupRule:
    buckets = (one_object(Bucket(each.weight, change(each.actions))) for each in group.buckets)
    return replace(group, buckets=tuple(buckets))


def adapted(layout: Layout, features: Features) -> Layout:
    """``layout`` as a switch with these features needs it."""
    plain = layout.layout if isinstance(layout, Adapted) else layout
    if features.report_flag and not features.keeps_ttl:
        return plain
    return Adapted(plain, features.report_flag, features.keeps_ttl)
