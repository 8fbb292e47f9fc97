"""Alone: the cluster of one controller."""

from __future__ import annotations

from collections.abc import Callable, Collection


class Alone:
    """A ``Cluster`` in which this controller is the leader, and the master of all switches."""

    def leads(self) -> bool:
        return True

    def is_master(self, dpid: int) -> bool:
        return True

    def watch(self, changed: Callable[[Collection[int]], None]) -> None:
        pass  # nothing ever changes
