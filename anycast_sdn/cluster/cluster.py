"""Cluster: which of several controllers decides what.  A protocol: no caller depends on the implementation.

A switch takes writes from one controller, its master.  What concerns the whole network (links, routes, the order of
their changes, announcements, BGP) is decided by one controller, the leader.

The switch itself is the fence: it is asked for a role with a generation, and refuses writes of whoever has another role
(OpenFlow 1.3.5 §6.3.6).  Nothing is written to a switch before it has answered that this controller is its master.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import Enum, auto
from typing import NamedTuple, Protocol


class Claim(NamedTuple):
    """What a switch is to be asked for.  ``generation``: greater than of all earlier masters; 64 bits."""

    master: bool  # or slave
    generation: int


class RoleAnswer(Enum):
    GRANTED = auto()
    STALE = auto()  # the switch has seen a later generation
    UNSUPPORTED = auto()  # it has no roles: it takes writes from everybody
    SILENT = auto()


class Turn(Enum):
    """What a switch's answer changes here."""

    NONE = auto()
    BEGUN = auto()  # this controller is its master now: it may hold anything
    KEPT = auto()  # this controller is still its master, and nobody else was meanwhile
    ENDED = auto()  # this controller is its master no more


class Cluster(Protocol):
    """Called before each write: an implementation answers from memory, without waiting."""

    def leads(self) -> bool:
        """Is this controller the leader?"""

    def term(self) -> int:
        """Whenever another controller becomes the leader, this is greater than before."""

    def is_master(self, dpid: int) -> bool:
        """May this controller write to the switch?"""

    def watch(self, changed: Callable[[Collection[int]], None]) -> None:
        """``changed`` is called after leadership or masters have changed, with the switches (datapath ids) whose role
        is to be asked for anew, also where this controller was their master before and has been replaced meanwhile.
        """

    def connected(self, dpid: int) -> None:
        """The switch has connected to this controller."""

    def disconnected(self, dpid: int) -> None:
        """It is not connected any more."""

    def claim(self, dpid: int) -> Claim | None:
        """What to ask the switch for; None: nothing, there is no other controller."""

    def answered(self, dpid: int, claim: Claim, answer: RoleAnswer, generation: int = 0) -> Turn:
        """What the switch has answered to this claim; ``generation``: its own, where it says STALE.

        Whether and when it is asked again is told by ``watch``.
        """

    def refused(self, dpid: int) -> bool:
        """The switch has refused a write, because another controller is its master → was it this one until now?"""
