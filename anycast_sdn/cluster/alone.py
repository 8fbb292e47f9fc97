"""Alone: the cluster of one controller."""

from __future__ import annotations


class Alone:
    """A ``Cluster`` in which this controller is the leader, and the master of all switches."""

    def leads(self) -> bool:
        return True

    def is_master(self, dpid: int) -> bool:
        return True
