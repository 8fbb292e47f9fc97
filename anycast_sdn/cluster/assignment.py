"""Which member should be the master of which switch: a function of who is there.

All switches belong to the leader, where they are connected to it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol


class Connected(Protocol):
    @property
    def switches(self) -> Collection[int]: ...


def wanted_masters(members: Mapping[str, Connected], leader: str, dpids: Collection[int]) -> dict[int, str]:
    """Switch (datapath id) → the member that should be its master; none for one that the leader does not reach."""
    if leader not in members:
        return {}
    there = set(members[leader].switches)
    return {dpid: leader for dpid in dpids if dpid in there}
