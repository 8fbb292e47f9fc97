"""The table that finds the rule for a packet: a tuple space.

Rules that match on the same bits share a dictionary, so a look-up takes one step for each combination of fields, not
for each rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

from anycast_sdn.openflow.rules import FlowRule, Match, Value


class HoldsRule(Protocol):
    @property
    def rule(self) -> FlowRule: ...


Held = TypeVar("Held", bound=HoldsRule)


class _Space(Generic[Held]):
    """The rules of one table that match on the same bits, in one dictionary."""

    def __init__(self, fields: Match) -> None:
        self._bits = [(field.name, field.mask) for field in fields]
        self._entries: dict[tuple[Value | None, ...], dict[int, Held]] = {}
        self.highest = -1  # no rule here has a higher priority; removals do not lower it

    def put(self, entry: Held) -> None:
        values = tuple(field.value for field in entry.rule.match)
        self._entries.setdefault(values, {})[entry.rule.priority] = entry
        self.highest = max(self.highest, entry.rule.priority)

    def remove(self, rule: FlowRule) -> None:
        values = tuple(field.value for field in rule.match)
        del self._entries[values][rule.priority]
        if not self._entries[values]:
            del self._entries[values]

    def find(self, fields: Mapping[str, Value]) -> Held | None:
        entries = self._entries.get(tuple(masked(fields.get(name), mask) for name, mask in self._bits))
        return entries[max(entries)] if entries else None


def masked(value: Value | None, mask: Value | None) -> Value | None:
    if mask is None or value is None:
        return value
    if isinstance(value, bytes) and isinstance(mask, bytes):
        return (int.from_bytes(value, "big") & int.from_bytes(mask, "big")).to_bytes(len(mask), "big")
    assert isinstance(value, int)
    assert isinstance(mask, int)
    return value & mask


class FlowTable(Generic[Held]):
    """One flow table: finds the rule of the highest priority that matches a packet."""

    def __init__(self) -> None:
        self._spaces: dict[tuple[tuple[str, Value | None], ...], _Space[Held]] = {}
        self._order: list[_Space[Held]] = []
        self.size = 0

    def _space(self, rule: FlowRule) -> _Space[Held]:
        return self._spaces.setdefault(tuple((field.name, field.mask) for field in rule.match), _Space(rule.match))

    def put(self, entry: Held) -> None:
        self._space(entry.rule).put(entry)
        self._order = sorted(self._spaces.values(), key=lambda space: -space.highest)

    def remove(self, rule: FlowRule) -> None:
        self._space(rule).remove(rule)

    def find(self, fields: Mapping[str, Value]) -> Held | None:
        best: Held | None = None
        for space in self._order:
            if best and best.rule.priority >= space.highest:
                break
            entry = space.find(fields)
            if entry and (best is None or entry.rule.priority > best.rule.priority):
                best = entry
        return best
