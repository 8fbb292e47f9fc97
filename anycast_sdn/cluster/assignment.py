"""Which member should lead, and which one should be the master of which switch: functions of who is there.

All switches that the leader reaches belong to it, or are shared among it and other members by rendezvous hashing: who
comes or goes changes the master of its own part of the switches alone.  The member that reaches most of them should
lead; of equal ones, the one that leads already.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Protocol

_NOBODY: Mapping[str, str] = MappingProxyType({})
_NOT_MOVED: Mapping[int, str] = MappingProxyType({})


class Connected(Protocol):
    @property
    def switches(self) -> Collection[int]: ...


def reach(member: Connected, dpids: Collection[int]) -> int:
    """How many of these switches it reaches."""
    return len(set(member.switches).intersection(dpids))


def successors(members: Mapping[str, Connected], dpids: Collection[int]) -> list[str]:
    """Who should lead if nobody does: the best one first."""
    return sorted(members, key=lambda member: (-reach(members[member], dpids), member))


def is_behind(members: Mapping[str, Connected], leader: str, dpids: Collection[int]) -> bool:
    """Does another one of these members reach more than the leader?"""
    own = reach(members[leader], dpids) if leader in members else -1
    return any(reach(member, dpids) > own for member in members.values())


def wanted_masters(
    members: Mapping[str, Connected], leader: str, dpids: Collection[int], sharing: Mapping[str, str] = _NOBODY,
    moved: Mapping[int, str] = _NOT_MOVED, is_ready: Callable[[str, int], bool] = lambda member, dpid: True,
) -> dict[int, str]:
    """Switch (datapath id) → the member that should be its master; none for one that the leader does not reach.

    ``sharing``: the names of the members that share the switches with the leader, and its own, by id; ``moved``: the
    names of those to which an operator has given single switches; ``is_ready``: others do not get this switch, unless
    no one is that could have it.
    """
    if leader not in members:
        return {}
    there = set(members[leader].switches)
    reach = {member: set(members[member].switches) for member in sharing}
    wanted: dict[int, str] = {}
    for dpid in (each for each in dpids if each in there):
        able = {name: member for member, name in sharing.items() if dpid in reach[member]}
        able = {name: member for name, member in able.items() if is_ready(member, dpid)} or able
        name = moved.get(dpid, "")
        wanted[dpid] = (able.get(name) or able[rendezvous(able, dpid)]) if able else leader
    return wanted


def rendezvous(names: Collection[str], dpid: int) -> str:
    """One of these: the same whoever asks, and another one only if it is not there any more.

    Highest random weight (Thaler and Ravishankar, 1998).
    """
    return max(names, key=lambda name: sha256(f"{name} {dpid:016x}".encode()).digest())


def out_of_reach(members: Mapping[str, Connected], leader: str, dpids: Collection[int]) -> dict[int, list[str]]:
    """Switches that the leader does not reach, but others do → these."""
    there = set(members[leader].switches) if leader in members else set()
    found = {dpid: [name for name, each in members.items() if dpid in each.switches] for dpid in dpids}
    return {dpid: names for dpid, names in found.items() if names and dpid not in there}
