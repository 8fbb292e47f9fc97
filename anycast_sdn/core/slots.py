"""Slots: the table by which a server edge spreads the new flows of a group over servers (M10).

- A table has ``SLOTS`` slots, or ``MANY`` where more than ``FEW_SERVERS`` servers are enrolled.  Each slot names one
  server; a flow's hash chooses the slot.  All slots are alike: a server's share is the number of its slots.
- Slot *i* is bucket *i* of the switch's select group.  So a flow moves only if its own slot gets another server.  With
  one weighted bucket per server, Open vSwitch moves half of all flows, or all, when the weights change a little.
- All ANY/n of one group and address family share one table at a switch (``Spread``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from anycast_sdn.core.model import Address, AnycastGroup, Server

SLOTS, MANY = 64, 448  # Open vSwitch hashes without an upcall per flow up to 64 buckets of equal weight
FEW_SERVERS = 32

Slots = tuple[Address, ...]


class Spread(NamedTuple):
    """What one table of slots is for: a group, in one address family."""

    group: str
    is_v6: bool

    def __str__(self) -> str:
        return f"{self.group} {'IPv6' if self.is_v6 else 'IPv4'}"


def table_size(group: AnycastGroup, is_v6: bool) -> int:
    """How many slots the group's tables have in this family."""
    enrolled = sum((len(address) == 16) is is_v6 for address in group.servers)
    return SLOTS if enrolled <= FEW_SERVERS else MANY


def apportioned(servers: Collection[Server], slots: int) -> Slots:
    """So many slots, by weight (largest remainder), in the order of ``servers``; none without a weight."""
    total = sum(server.weight for server in servers)
    if not total:
        return ()
    exact = {server.address: slots * server.weight for server in servers}  # in parts of ``total``
    counts = {address: share // total for address, share in exact.items()}
    by_remainder = sorted(exact, key=lambda address: (-(exact[address] % total), address))
    for address in by_remainder[: slots - sum(counts.values())]:
        counts[address] += 1
    return tuple(address for address, count in counts.items() for _ in range(count))


def filled(slots: Slots, usable: Collection[Address]) -> Slots:
    """The slots of servers that are not ``usable`` go to the others of the table, in proportion; none without any."""
    left = [server for server in slots if server in usable]
    missing = len(slots) - len(left)
    if not missing or not left:
        return tuple(left)
    in_order = sorted(left)  # so that each has its part, whatever the pattern of the table is
    given = iter([in_order[(2 * at + 1) * len(left) // (2 * missing)] for at in range(missing)])
    return tuple(server if server in usable else next(given) for server in slots)


def most_slots(slots: Iterable[Address]) -> Address | None:
    """The server with the most slots; of several the one with the least address."""
    counts: dict[Address, int] = {}
    for server in slots:
        counts[server] = counts.get(server, 0) + 1
    return min(counts, key=lambda server: (-counts[server], server), default=None)
