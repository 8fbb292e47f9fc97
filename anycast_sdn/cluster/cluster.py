"""Cluster: which controller decides what, as the process sees it; nobody asks which one it is.

A switch takes writes from one controller, its master.  What concerns the whole network (links, routes, the order of
their changes, announcements, BGP) is decided by one controller, the leader.
"""

from __future__ import annotations

from typing import Protocol


class Cluster(Protocol):
    """Asked before each write, so it answers at once and from memory."""

    def leads(self) -> bool:
        """Is this controller the leader?"""

    def is_master(self, dpid: int) -> bool:
        """May this controller write to the switch?"""
