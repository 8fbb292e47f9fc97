"""NextHopAudit: does a switch with two tables hold the groups of next hops that its layout has made?

See ``openflow.next_hops``.  They are also made between the request of a look and its reply, so a difference counts when
the next look finds the same.
A group that drops, because its destination has no next hop at the moment, drops in silence: no table of such a switch
sends these packets to the controller.  So whose flows these are is told.
A group whose destination had no flows at two looks is deleted: clients come and go, and switches have few groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from anycast_sdn.core.bindings import BindingTable
from anycast_sdn.core.model import Address, Prefix
from anycast_sdn.openflow.rules import DeleteGroup, GroupRule, SetGroup

MOST_DELETED = 500  # groups by one look


class CutOff(NamedTuple):
    """Of flows whose packets are dropped."""

    destinations: tuple[Address, ...] = ()  # clients, and servers, in order
    flows: int = 0


class NextHopAudit:
    """Of one switch."""

    def __init__(self) -> None:
        self._differences: dict[int, tuple[GroupRule, GroupRule | None]] = {}  # of the last look: wanted, found
        self._unused = frozenset[int]()  # groups whose destinations had no flows at the last look
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

    def deletions(self, wanted: Mapping[Address, GroupRule], flows: BindingTable) -> list[DeleteGroup]:
        """What deletes groups that two looks have found without flows."""
        unused = frozenset(group.number for each, group in wanted.items() if not _is_used(each, flows))
        confirmed, self._unused = sorted(unused & self._unused), unused
        return list(map(DeleteGroup, confirmed[:MOST_DELETED]))


def cut_off(wanted: Mapping[Address, GroupRule], flows: BindingTable) -> CutOff:
    """Whose groups drop, of those that have flows."""
    found = {each: flows.of_client(each) + flows.pinned_to(each) for each in _dropping(wanted)}
    return CutOff(tuple(sorted(each for each, number in found.items() if number)), sum(found.values()))


def _is_used(destination: Address, flows: BindingTable) -> bool:
    is_end = flows.of_client(destination) or flows.pinned_to(destination)
    return bool(is_end) or flows.use_any_of(Prefix.host(destination))


def _dropping(wanted: Mapping[Address, GroupRule]) -> Iterator[Address]:
    for destination, group in wanted.items():
        if not any(bucket.actions for bucket in group.buckets):
            yield destination
