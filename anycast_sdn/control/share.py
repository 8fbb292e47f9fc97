"""Share: which part of a switch this controller decides on.

In a cluster a switch may have its flows decided on by its master, and all else by the leader, which has to know the
whole network.  The master is told what it needs of that (``Told``), and passes on what is not about flows.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from enum import Enum, auto
from typing import NamedTuple

from anycast_sdn.core.model import Address, Neighbour, Prefix


class Share(Enum):
    ALL = auto()
    FLOWS = auto()  # of its clients; the leader decides on the rest
    REST = auto()  # all but its flows, on which its master decides


class Told(NamedTuple):
    """What the leader has decided for the network, as a client edge's flows depend on it."""

    announced: Set[Prefix] = frozenset()  # by any switch
    lost: Set[Address] = frozenset()  # servers, for all client edges
    failed: Set[tuple[str, Address]] = frozenset()  # (group, server)
    cut: Mapping[str, Set[Prefix]] = {}  # client edge → subnets of servers that are lost for it
    choices: Mapping[tuple[str, bool], Mapping[str, int]] = {}  # (group, IPv6?) → client edge → see ``Choices``


class Noticed(NamedTuple):
    """What a master has noticed of a switch that concerns the leader."""

    refused: Mapping[int, int]  # port → how many of its first packets were refused
    are_rules_deleted: bool  # another program has deleted rules of flows, and perhaps others


Hosts = Mapping[Address, Neighbour | None]  # those that have come, moved, or (None) gone
