"""Alone: the cluster of one controller."""

from __future__ import annotations

from collections.abc import Callable, Collection

from anycast_sdn.cluster.cluster import Claim, RoleAnswer, Turn


class Alone:
    """A ``Cluster`` in which this controller is the leader, and the master of all switches."""

    def leads(self) -> bool:
        return True

    def term(self) -> int:
        return 0

    def is_master(self, dpid: int) -> bool:
        return True

    def watch(self, changed: Callable[[Collection[int]], None]) -> None:
        pass  # nothing ever changes

    def connected(self, dpid: int) -> None:
        pass

    def disconnected(self, dpid: int) -> None:
        pass

    def claim(self, dpid: int) -> Claim | None:
        return None

    def answered(self, dpid: int, claim: Claim, answer: RoleAnswer, generation: int = 0) -> Turn:
        return Turn.NONE

    def refused(self, dpid: int) -> bool:
        return False
