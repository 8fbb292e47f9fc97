"""TranslationPool: the addresses of PRh/k, each of them free, leased or resting.

    free ──lease──▶ leased ──release──▶ resting (quarantine) ──after quarantine_s──▶ free

Rules kept here:
- An address is leased to one pair of client and service at a time (``core.holders``), and not again before it has
  rested (M13, M19): a late packet must not reach the next client.  ``core.resting`` says which addresses are leased
  earlier.
- An address that no packet has carried yet need not rest.
- Addresses may be set aside: drawn before they are leased, so that somebody else knows which ones may be leased next.
  Another controller that goes on keeps them back: flows may have them that it does not know.  They are leased again
  after some time, or when no other address is left.
- The order of leases is hard to guess.  A small pool is an array of its free addresses, which is shuffled while it is
  used up (Fisher–Yates), so that a lease takes the same time when the pool is nearly empty.  A large pool draws
  addresses until one is free, and stores none of those that are: a /64 needs the memory of what is leased and resting,
  however many flows there have been.
- IPv4: never a network's first or last address.  IPv6: never the first, which is the subnet-router
  anycast address (RFC 4291 §2.6.1), nor the last, for symmetry.

The source of randomness and the time are arguments; nothing here reads a clock.
"""

from __future__ import annotations

import enum
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from anycast_sdn.core.holders import Pair
from anycast_sdn.core.model import Address, AnycastError, Prefix
from anycast_sdn.core.resting import Resting
from anycast_sdn.core.roles import AddressRange

LEAST_S = 5.0
FEW = 1 << 16  # addresses; a pool with more than these is a large one
_DRAWS = 64  # tries in a large pool; then the next free address is taken


class Rest(enum.Enum):
    """How long a released address rests."""

    __hash__ = object.__hash__

    QUARANTINE = "for the quarantine, or ``least_s`` when nothing else is free"
    ENDED = "likewise, but it is the first to be leased early: client and server have closed or reset the connection"
    NONE = "not at all: no packet has carried it"


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

    ``prefixes``: one or more PRh/k of the same family, not overlapping; ``without``: addresses that it does not have.
    ``quarantine_s``: how long a released address rests, in seconds, 0 or more; ``least_s``: how long when nothing else
    is free.
    """

    def __init__(
        self,
        prefixes: Sequence[Prefix],
        quarantine_s: float,
        random: RandomSource,
        least_s: float = LEAST_S,
        without: AddressRange | None = None,
    ) -> None:
        self._quarantine_s = quarantine_s
        self._runs = [run for prefix in prefixes for run in _runs(prefix, without)]
        self.size = sum(run.size for run in self._runs)
        few = self.size <= FEW
        self._places: _Few | _Many = _Few(self.size, random) if few else _Many(self.size, random, self._is_taken)
        self._leased: set[Address] = set()
        self.denied = 0  # how many leases have found no address
        self._resting = Resting(min(least_s, quarantine_s))
        self._aside: OrderedDict[Address, None] = OrderedDict()
        self._kept_back: OrderedDict[Address, float] = OrderedDict()  # → until when

    def __contains__(self, address: Address) -> bool:
        return any(address in run.prefix for run in self._runs)

    def lease(self, now: float) -> Address:
        """An address that is not in use.  Raises PoolEmpty and changes nothing when there is none."""
        if self._resting.rested(now):
            self.end_rests(now)
        if self._aside:
            address, _ = self._aside.popitem(last=False)
        elif self._taken < self.size:
            address = self._address(self._places.draw())
        elif early := self._resting.early(now):
            self._resting.remove(early)
            address = early
        elif self._kept_back:
            address, _ = self._kept_back.popitem(last=False)
        else:
            self.denied += 1
            raise PoolEmpty
        self._leased.add(address)
        return address

    def claim(self, address: Address) -> None:
        """Lease this address, because of a binding that was found on a switch, or is restored after it had ended.

        Raises ValueError and changes nothing when it is leased already, or not in the pool.
        """
        if address in self._leased:
            raise ValueError("address is leased already")
        if address in self._resting:
            self._resting.remove(address)
        elif not self._forget(address):
            self._places.claim(self._index(address))
        self._leased.add(address)

    def _forget(self, address: Address) -> bool:
        """Was it set aside, or kept back?"""
        if address in self._aside:
            del self._aside[address]
            return True
        return self._kept_back.pop(address, None) is not None

    @property
    def _taken(self) -> int:
        return len(self._leased) + len(self._resting) + len(self._kept_back)

    def set_aside(self, count: int) -> list[Address]:
        """Draw addresses until so many are set aside → the new ones."""
        new: list[Address] = []
        while len(self._aside) < min(count, self.size - self._taken):
            new.append(self._address(self._places.draw()))
            self._aside[new[-1]] = None
        return new

    @property
    def aside(self) -> list[Address]:
        return list(self._aside)

    def keep_back(self, address: Address, until: float) -> None:
        """Not later than this, if it is not in use.  Raises ValueError when it is not in the pool."""
        if address in self._leased or address in self._resting:
            return
        if not self._forget(address):
            self._places.claim(self._index(address))
        self._kept_back[address] = until

    def release(self, address: Address, now: float, pair: Pair | None = None, rest: Rest = Rest.QUARANTINE) -> None:
        """End the lease; ``pair``: that had it."""
        self._leased.remove(address)
        if rest is Rest.NONE:
            self._places.put_back(self._index(address))
        else:
            self._resting.add(address, now, now + self._quarantine_s, pair, rest is Rest.ENDED)

    def resting(self) -> list[tuple[Address, float]]:
        """Each with the time since which it rests."""
        return self._resting.all()

    def rest(self, address: Address, since: float) -> None:
        """Another controller has released this address.  Nothing happens if it is not free, or in no prefix here.

        Addresses come in the order of their release, before any is released here.
        """
        if address in self and address not in self._leased and address not in self._resting:
            with suppress(ValueError):  # it is the first or the last one of its prefix
                if not self._forget(address):
                    self._places.claim(self._index(address))
                self._resting.add(address, since, since + self._quarantine_s, None, early=False)

    def last_pair(self, address: Address, now: float) -> Pair | None:
        """The pair that had this address, if that still rests."""
        return self._resting.pair_of(address, now)

    @property
    def is_half_free(self) -> bool:
        """Is at least half of the pool free, neither leased nor resting?"""
        return 2 * self._taken <= self.size

    def is_empty(self, now: float) -> bool:
        """Would ``lease`` find no address, not even one that may be leased early?"""
        if self._taken < self.size or self._kept_back:
            return False
        return self._resting.rested(now) is None and self._resting.early(now) is None

    def mature(self, now: float) -> None:
        """Called regularly: see ``left``."""
        self._resting.mature(now)

    @property
    def left(self) -> int:
        """How many addresses could have been leased at the last ``mature``, early ones included."""
        return self.size - len(self._leased) - self._resting.fresh

    def use(self, now: float) -> PoolUse:
        return PoolUse(self.size, len(self._leased), self._resting.count(now) + len(self._kept_back))

    def end_rests(self, now: float, most: int | None = None) -> None:
        """Make addresses free that have rested, ``most`` at a time; called regularly, and before a lease."""
        for address in self._resting.all_rested(now, most):
            self._resting.remove(address)
            self._places.put_back(self._index(address))
        while self._kept_back and next(iter(self._kept_back.values())) <= now:
            address, _ = self._kept_back.popitem(last=False)
            self._places.put_back(self._index(address))

    def _is_taken(self, index: int) -> bool:
        """Is the address leased, or does it rest, or is it kept for later?"""
        address = self._address(index)
        used = address in self._leased or address in self._resting
        return used or address in self._aside or address in self._kept_back

    def _address(self, index: int) -> Address:
        for run in self._runs:
            if index < run.size:
                return (run.first + index).to_bytes(run.width, "big")
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


class _Few:
    """A small pool: an array of the free places.  A draw moves the last one into the gap."""

    def __init__(self, size: int, random: RandomSource) -> None:
        self._random = random
        self._free = array("I", range(size))
        self._claimed: set[int] = set()  # claimed places: not free, although still in the array

    def draw(self) -> int:
        """A free place; there must be one."""
        while True:
            at = self._random.randrange(len(self._free))
            place = self._free[at]
            last = self._free.pop()
            if at < len(self._free):
                self._free[at] = last
            if place not in self._claimed:
                return place
            self._claimed.remove(place)

    def claim(self, place: int) -> None:
        self._claimed.add(place)

    def put_back(self, place: int) -> None:
        if place in self._claimed:
            self._claimed.remove(place)
        else:
            self._free.append(place)


class _Many:
    """A large pool, of which most is free.  Nothing is stored: ``is_taken`` tells."""

    def __init__(self, size: int, random: RandomSource, is_taken: Callable[[int], bool]) -> None:
        self._size = size
        self._random = random
        self._is_taken = is_taken

    def draw(self) -> int:
        """A free place; there must be one."""
        place, draws = self._random.randrange(self._size), 1
        while self._is_taken(place):
            place = self._random.randrange(self._size) if draws < _DRAWS else (place + 1) % self._size
            draws += 1
        return place

    def claim(self, place: int) -> None:
        pass

    def put_back(self, place: int) -> None:
        pass


class _Run(NamedTuple):
    """Usable addresses of one prefix: ``size`` of them, from ``first`` on, each of ``width`` bytes."""

    prefix: Prefix
    first: int
    size: int
    width: int


def _runs(prefix: Prefix, without: AddressRange | None) -> Iterator[_Run]:
    first, width = int.from_bytes(prefix.network, "big") + 1, len(prefix.network)
    end = first + (1 << (prefix.bits - prefix.length)) - 2
    if first >= end:
        raise ValueError(f"{prefix} is too small for a translation prefix")
    if without is None or without.first not in prefix:
        yield _Run(prefix, first, end - first, width)
        return
    left, right = (int.from_bytes(address, "big") for address in without)
    if first < left:
        yield _Run(prefix, first, left - first, width)
    if right + 1 < end:
        yield _Run(prefix, right + 1, end - right - 1, width)
