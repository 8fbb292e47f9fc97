"""Which member should lead, and which one should be the master of which switch: functions of who is there.

All switches belong to the leader, where it reaches them.  So the member that reaches most of them should lead; of
equal ones, the one that leads already.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol


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


def wanted_masters(members: Mapping[str, Connected], leader: str, dpids: Collection[int]) -> dict[int, str]:
    """Switch (datapath id) → the member that should be its master; none for one that the leader does not reach."""
    if leader not in members:
        return {}
    there = set(members[leader].switches)
    return {dpid: leader for dpid in dpids if dpid in there}


def out_of_reach(members: Mapping[str, Connected], leader: str, dpids: Collection[int]) -> dict[int, list[str]]:
    """Switches that the leader does not reach, but others do → these."""
    there = set(members[leader].switches) if leader in members else set()
    found = {dpid: [name for name, each in members.items() if dpid in each.switches] for dpid in dpids}
    return {dpid: names for dpid, names in found.items() if names and dpid not in there}
