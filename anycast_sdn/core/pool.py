"""TranslationPool: the addresses of PRh/k, each in one of four places.

    free ──lease──▶ leased ──release──▶ resting (quarantine) ──after quarantine_s──▶ free

Rules kept here:
- An address is leased to one flow at a time, and not again before it has rested (M13, M19): a late
  packet of an ended flow must not reach the next one.
- Addresses leave in an order that is hard to guess.  The free addresses are a virtual array that is
  shuffled as it is consumed (Fisher–Yates, storing only the places that differ from the identity),
  so that a /64 costs no more than a /24, and a lease is O(1) also when the pool is nearly empty.
- IPv4: never a network's first or last address.  IPv6: never the first, which is the subnet-router
  anycast address (RFC 4291 §2.6.1), nor the last, for symmetry.

The source of randomness and the time are arguments; nothing here reads a clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from anycast_sdn.core.model import Address, AnycastError, Prefix


class PoolEmpty(AnycastError):
    """No address is free: every one is leased or resting."""


class RandomSource(Protocol):
    """``random.SystemRandom`` in production, ``random.Random(seed)`` in tests."""

    def randrange(self, stop: int, /) -> int: ...


class PoolUse(NamedTuple):
    """Where the addresses of a pool are now."""

    size: int
    leased: int
    resting: int

    @property
    def free(self) -> int:
        return self.size - self.leased - self.resting


class TranslationPool:
    """The translation addresses of one family at one client edge.

    ``prefixes``: one or more PRh/k of the same family, not overlapping.
    ``quarantine_s``: how long a released address rests, in seconds, 0 or more.
    """

    def __init__(self, prefixes: Sequence[Prefix], quarantine_s: float, random: RandomSource) -> None:
        self._quarantine_s = quarantine_s
        self._random = random
        self._runs = [_Run.of(prefix) for prefix in prefixes]
        self.size = sum(run.size for run in self._runs)
        self._free = self.size
        self._moved: dict[int, int] = {}  # place in the virtual array → what stands there, if not itself
        self._claimed: set[int] = set()  # leased out of turn, still standing somewhere in the array
        self._leased: set[Address] = set()
        self._resting: deque[tuple[float, int]] = deque()  # (when it is free again, index), in that order

    def __contains__(self, address: Address) -> bool:
        return any(address in run.prefix for run in self._runs)

    def lease(self, now: float) -> Address:
        """An address that is not in use.  Raises PoolEmpty and changes nothing when there is none."""
        self._wake(now)
        while self._free:
            index = self._draw()
            if index in self._claimed:
                self._claimed.remove(index)
                continue
            address = self._address(index)
            self._leased.add(address)
            return address
        raise PoolEmpty

    def claim(self, address: Address) -> None:
        """Lease this very address: it is in use by a binding that was found on a switch."""
        if address in self._leased:
            raise ValueError("address is leased already")
        self._claimed.add(self._index(address))
        self._leased.add(address)

    def release(self, address: Address, now: float) -> None:
        """The flow has ended; the address rests, then is free again."""
        self._leased.remove(address)
        index = self._index(address)
        if index in self._claimed:
            self._claimed.remove(index)  # it never left the array: it must rest outside of it
            self._take_out(index)
        self._resting.append((now + self._quarantine_s, index))

    def use(self, now: float) -> PoolUse:
        self._wake(now)
        return PoolUse(self.size, len(self._leased), len(self._resting))

    def _wake(self, now: float) -> None:
        while self._resting and self._resting[0][0] <= now:
            self._put_back(self._resting.popleft()[1])

    def _draw(self) -> int:
        return self._remove_place(self._random.randrange(self._free))

    def _remove_place(self, place: int) -> int:
        """Take out what stands at ``place``; the last of the array fills the gap."""
        self._free -= 1
        drawn = self._moved.pop(place, place)
        last = self._moved.pop(self._free, self._free)
        if place != self._free:
            self._moved[place] = last
        return drawn

    def _take_out(self, index: int) -> None:
        # Only for a claimed address, that is, after a restart: a search is cheap enough there.
        place = index
        if self._moved.get(index, index) != index or index >= self._free:
            place = next(place for place, standing in self._moved.items() if standing == index)
        self._remove_place(place)

    def _put_back(self, index: int) -> None:
        if index != self._free:
            self._moved[self._free] = index
        self._free += 1

    def _address(self, index: int) -> Address:
        for run in self._runs:
            if index < run.size:
                return (run.first + index).to_bytes(len(run.prefix.network), "big")
            index -= run.size
        raise AssertionError("index beyond the pool")

    def _index(self, address: Address) -> int:
        before = 0
        for run in self._runs:
            offset = int.from_bytes(address, "big") - run.first
            if address in run.prefix and 0 <= offset < run.size:
                return before + offset
            before += run.size
        raise ValueError("address is not in the pool")


class _Run(NamedTuple):
    """The usable addresses of one prefix: ``size`` of them, from ``first`` on."""

    prefix: Prefix
    first: int
    size: int

    @classmethod
    def of(cls, prefix: Prefix) -> _Run:
        count = (1 << (prefix.bits - prefix.length)) - 2
        if count < 1:
            raise ValueError(f"{prefix} is too small for a translation prefix")
        return cls(prefix, int.from_bytes(prefix.network, "big") + 1, count)
