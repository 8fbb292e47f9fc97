"""Resting: the addresses that are leased no more, each with the pair of client and service that had it.

An address rests before another pair gets it, so that a late packet does not reach the wrong client (M19).

Rules kept here:
- Addresses are free again in the order of their release.
- When nothing else is free an address is leased early, the one that has rested longest first.  After client and server
  have closed or reset their connection late packets are rare: such an address comes first, and ``EARLIER_S`` sooner
  than any other one, which rests for ``least_s``.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from typing import NamedTuple

from anycast_sdn.core.holders import Pair
from anycast_sdn.core.model import Address

EARLIER_S = 1.0


class _Rest(NamedTuple):
    since: float
    until: float
    pair: Pair | None


class Resting:
    """An address stays here until ``remove``, also after its time is over."""

    def __init__(self, least_s: float) -> None:
        self._least_s = least_s
        self._early_s = max(0.0, least_s - EARLIER_S)
        self._rests: OrderedDict[Address, _Rest] = OrderedDict()
        self._early: OrderedDict[Address, None] = OrderedDict()
        # When each may be leased early; those of ``_early`` apart, so that each queue is in the order of that time.
        self._fresh: tuple[OrderedDict[Address, float], ...] = (OrderedDict(), OrderedDict())

    def __len__(self) -> int:
        return len(self._rests)

    def __contains__(self, address: Address) -> bool:
        return address in self._rests

    def all(self) -> list[tuple[Address, float]]:
        """Each with the time since which it rests; in this order."""
        return [(address, rest.since) for address, rest in self._rests.items()]

    def add(self, address: Address, since: float, until: float, pair: Pair | None, early: bool) -> None:
        self._rests[address] = _Rest(since, until, pair)
        self._fresh[early][address] = since + (self._early_s if early else self._least_s)
        if early:
            self._early[address] = None

    def remove(self, address: Address) -> None:
        del self._rests[address]
        self._early.pop(address, None)
        for queue in self._fresh:
            queue.pop(address, None)

    def count(self, now: float) -> int:
        """How many addresses still rest."""
        return len(self) - len(self.all_rested(now))

    def rested(self, now: float) -> Address | None:
        """The first address that has rested for its whole time, if any."""
        address = next(iter(self._rests), None)
        return address if address and self._rests[address].until <= now else None

    def all_rested(self, now: float, most: int | None = None) -> list[Address]:
        """The addresses that have rested for their whole time; the first ``most`` of them."""
        rested = itertools.takewhile(lambda address: self._rests[address].until <= now, self._rests)
        return list(itertools.islice(rested, most))

    def early(self, now: float) -> Address | None:
        """The address to lease early, if any."""
        for queue, least_s in ((self._early, self._early_s), (self._rests, self._least_s)):
            address = next(iter(queue), None)
            if address and self._rests[address].since + least_s <= now:
                return address
        return None

    def mature(self, now: float) -> None:
        """Note which addresses may be leased early from now on; called regularly."""
        for queue in self._fresh:
            while queue and next(iter(queue.values())) <= now:
                queue.popitem(last=False)

    @property
    def fresh(self) -> int:
        """How many addresses may not be leased early, as of the last ``mature``."""
        return sum(map(len, self._fresh))

    def pair_of(self, address: Address, now: float) -> Pair | None:
        """The pair that had this address, if that still rests."""
        rest = self._rests.get(address)
        return rest.pair if rest and rest.until > now else None
