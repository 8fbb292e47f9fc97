"""Resting: the addresses of ended flows, each with the flow that had it.

An address rests before another flow gets it, so that a late packet does not reach the wrong flow (M19).
While it rests, its flow is remembered: a late packet of that flow restores its binding as it was (M20).

Rules kept here:
- Addresses are free again in the order of their release.
- After client and server have closed or reset a connection, late packets are rare.  When nothing else is free, such
  an address is leased early: the one that has rested longest first, and none before ``EARLY_S``.
- At most ``MOST_REMEMBERED`` flows are remembered.  The oldest is forgotten first; its address still rests.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from typing import NamedTuple

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.model import Address, FlowKey

EARLY_S = 4.0
MOST_REMEMBERED = 1 << 16  # flows per pool, some 40 MB


class _Rest(NamedTuple):
    since: float
    until: float
    flow: Binding | None


class Resting:
    """Addresses at rest, by address and by the five fields of the flow that had it.

    An address stays here until ``remove``, also after its time is over.
    """

    def __init__(self) -> None:
        self._rests: OrderedDict[Address, _Rest] = OrderedDict()
        self._early: OrderedDict[Address, None] = OrderedDict()
        self._by_key: OrderedDict[FlowKey, Address] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rests)

    def __contains__(self, address: Address) -> bool:
        return address in self._rests

    def add(self, address: Address, since: float, until: float, flow: Binding | None, early: bool) -> None:
        self._rests[address] = _Rest(since, until, flow)
        if early:
            self._early[address] = None
        if flow:
            self._by_key[flow.key] = address
            self._by_key.move_to_end(flow.key)
            if len(self._by_key) > MOST_REMEMBERED:
                _, forgotten = self._by_key.popitem(last=False)
                self._rests[forgotten] = self._rests[forgotten]._replace(flow=None)

    def remove(self, address: Address) -> None:
        rest = self._rests.pop(address)
        self._early.pop(address, None)
        if rest.flow and self._by_key.get(rest.flow.key) == address:
            del self._by_key[rest.flow.key]

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
        address = next(iter(self._early), None)
        return address if address and self._rests[address].since + EARLY_S <= now else None

    def flow_of(self, address: Address, now: float) -> Binding | None:
        """The flow that had this address, if that still rests and the flow is remembered."""
        rest = self._rests.get(address)
        return rest.flow if rest and rest.until > now else None

    def by_key(self, key: FlowKey, now: float) -> Binding | None:
        """The flow of these five fields, if its address still rests and the flow is remembered."""
        address = self._by_key.get(key)
        return self.flow_of(address, now) if address else None
