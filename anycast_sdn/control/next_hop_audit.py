"""NextHopAudit: does a switch with two tables hold the groups of next hops that its layout has made?

See ``openflow.next_hops``.  They are also made between the request of a look and its reply, so a difference counts when
the next look finds the same.
A group that drops, because its destination has no next hop at the moment, drops in silence: no table of such a switch
sends these packets to the controller.  So whose flows these are is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from anycast_sdn.core.bindings import BindingTable
from anycast_sdn.core.model import Address
from anycast_sdn.openflow.rules import GroupRule, SetGroup


class CutOff(NamedTuple):
    """Of flows whose packets are dropped."""

    destinations: tuple[Address, ...] = ()  # clients, and servers, in order
    flows: int = 0


class NextHopAudit:
    """Of one switch."""

    def __init__(self) -> None:
        self._differences: dict[int, tuple[GroupRule, GroupRule | None]] = {}  # of the last look: wanted, found
        self.is_doubtful = False  # is there something that the next look has to confirm?

    def repairs(self, wanted: Mapping[Address, GroupRule], found: Mapping[int, GroupRule]) -> list[SetGroup]:
        """``wanted``: by destination; ``found``: by number → what corrects what two looks have found wrong."""
        before = self._differences
        self._differences = {
            group.number: (group, found.get(group.number))
            for group in wanted.values()
            if found.get(group.number) != group
        }
        confirmed = [number for number, both in self._differences.items() if before.get(number) == both]
        self.is_doubtful = len(confirmed) < len(self._differences)
        return [SetGroup(self._differences[number][0], exists=number in found) for number in confirmed]


def cut_off(wanted: Mapping[Address, GroupRule], flows: BindingTable) -> CutOff:
    """Whose groups drop, of those that have flows."""
    found = {each: flows.of_client(each) + flows.pinned_to(each) for each in _dropping(wanted)}
    return CutOff(tuple(sorted(each for each, number in found.items() if number)), sum(found.values()))


def _dropping(wanted: Mapping[Address, GroupRule]) -> Iterator[Address]:
    for destination, group in wanted.items():
        if not any(bucket.actions for bucket in group.buckets):
            yield destination
