"""Cluster: which of several controllers decides what.  A protocol: no caller depends on the implementation.

A switch takes writes from one controller, its master.  What concerns the whole network (links, routes, the order of
their changes, announcements, BGP) is decided by one controller, the leader.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol


class Cluster(Protocol):
    """Called before each write: an implementation answers from memory, without waiting."""

    def leads(self) -> bool:
        """Is this controller the leader?"""

    def is_master(self, dpid: int) -> bool:
        """May this controller write to the switch?"""

    def watch(self, changed: Callable[[Collection[int]], None]) -> None:
        """``changed`` is called after leadership or masters have changed, with the switches (datapath ids) of which
        this controller has become the master, also where it was their master before and has been replaced meanwhile.
        """
