"""Addresses: the translation addresses of one client edge, of both families.

Those from which the switch chooses by itself are not among them (``core.shared_addresses``).

They say which address a new flow gets: one of its own, or one that its pair of client and service has already
(``Pooling``), and how many a client and a port may have.  ``pool`` keeps which addresses are free, leased and resting;
``holders`` which pair each leased one stands for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from anycast_sdn.core.events import Drop
from anycast_sdn.core.holders import Holders, Pair
from anycast_sdn.core.model import Address, Prefix
from anycast_sdn.core.pool import PoolEmpty, PoolUse, RandomSource, Rest, TranslationPool
from anycast_sdn.core.pool_watch import Level, Outlook, PoolWatch
from anycast_sdn.core.roles import ClientEdgeRole, Pooling

SHARE = 4  # a client has at most one of so many addresses; as many of its port's share are left to pairs
MOST_ASIDE = 1024  # of a family; of a small pool an eighth
_FAMILIES = {False: "ipv4", True: "ipv6"}


def _pool(role: ClientEdgeRole, v6: bool, prefixes: Sequence[Prefix], random: RandomSource) -> TranslationPool:
    return TranslationPool(prefixes, role.quarantine_s, random, role.quarantine_min_s, role.switch_range(v6))


class Addresses:
    """``holders``: of the edge's bindings; ``ports``: how many lead to clients."""

    def __init__(self, role: ClientEdgeRole, holders: Holders, random: RandomSource, ports: int) -> None:
        self._pooling = role.pooling
        self._holders = holders
        self._pools = {
            v6: pool
            for v6 in _FAMILIES
            if (prefixes := [prefix for prefix in role.translation_prefixes if prefix.is_v6 is v6])
            and (pool := _pool(role, v6, prefixes, random)).size
        }
        soon_share = 1 / 2 if role.pooling is Pooling.FLOW else 1 / 4
        self._watches = {v6: PoolWatch(pool.size, soon_share) for v6, pool in self._pools.items()}
        # Of one family, for one client and for all clients at one port.  At an only port there is no limit.
        self._most = {
            v6: (
                role.bindings_per_client or -(-pool.size // SHARE),
                role.bindings_per_port or (-(-pool.size // 2) if ports > 1 else pool.size + 1),
            )
            for v6, pool in self._pools.items()
        }

    # ---------------------------------------------------------------- what is shown

    def use(self, now: float) -> dict[str, PoolUse]:
        """Of each family's pool."""
        return {_FAMILIES[v6]: pool.use(now) for v6, pool in self._pools.items()}

    def watch(self, now: float) -> dict[str, Level]:
        """With every tick → the pools that have become low or exhausted, or have plenty again, by family."""
        found = {}
        for v6, pool in self._pools.items():
            pool.mature(now)
            if (level := self._watches[v6].look(pool.left, pool.denied, now)) is not None:
                found[_FAMILIES[v6]] = level
        return found

    def outlooks(self, now: float) -> dict[str, Outlook]:
        """Of each family's pool: as of the last tick, but exhausted as soon as no address is left."""
        return {
            _FAMILIES[v6]: Outlook(Level.EXHAUSTED, 0) if pool.is_empty(now) else self._watches[v6].outlook
            for v6, pool in self._pools.items()
        }

    def pair_of(self, translated: Address, now: float) -> Pair | None:
        """The pair that has this address, or had it and lets it rest."""
        if holder := self._holders.of(translated):
            return holder.pair
        pool = self._pools.get(len(translated) == 16)
        return pool.last_pair(translated, now) if pool else None

    # ---------------------------------------------------------------- leases

    def lease(self, pair: Pair, port: int, now: float) -> Address | Drop:
        """PR1X for a new flow of this pair, its own or shared; or why there is none.  ``port``: the client's."""
        v6 = len(pair[0]) == 16
        pool, holders = self._pools.get(v6), self._holders
        if pool is None:
            return Drop.POOL_EMPTY
        shared = None if self._pooling is Pooling.FLOW else holders.address_of(pair)
        of_client, of_port = self._most[v6]
        left = of_port - holders.of_port(port, v6)
        if shared and (self._pooling is Pooling.PAIRED or not pool.is_half_free or SHARE * left <= pool.size):
            return shared
        if holders.of_client(pair[0]) >= of_client:
            return shared or Drop.CLIENT_FULL
        if port and left <= 0:
            return shared or Drop.PORT_FULL
        try:
            return pool.lease(now)
        except PoolEmpty:
            return shared or Drop.POOL_EMPTY

    def claim(self, translated: Address, pair: Pair) -> None:
        """For a binding that is found on a switch, or restored.

        Raises ValueError and changes nothing when the address is in no pool, or another pair's.
        """
        holder = self._holders.of(translated)
        if holder is None:
            self._pool_of(translated).claim(translated)
        elif holder.pair != pair:
            raise ValueError("address is another pair's")

    def release(self, translated: Address, pair: Pair, now: float, rest: Rest) -> None:
        """No binding has it any more."""
        self._pool_of(translated).release(translated, now, pair, rest)

    def set_aside(self) -> list[Address]:
        """Choose which addresses are leased next → those that were not set aside before."""
        return [new for pool in self._pools.values() for new in pool.set_aside(min(MOST_ASIDE, pool.size // 8))]

    @property
    def aside(self) -> list[Address]:
        return [address for pool in self._pools.values() for address in pool.aside]

    def keep_back(self, addresses: Iterable[Address], until: float) -> None:
        """Another controller has set these aside, and flows that nobody knows of may have them."""
        for address in addresses:
            with suppress(ValueError):  # PRh/k has changed
                self._pool_of(address).keep_back(address, until)

    def resting(self) -> list[tuple[Address, float]]:
        """Those that rest, each with the time since which it does."""
        return [each for pool in self._pools.values() for each in pool.resting()]

    def rest(self, released: Iterable[tuple[Address, float]], now: float) -> None:
        """Let these rest, which another controller has released at these times."""
        for address, since in sorted(released, key=lambda each: each[1]):
            if pool := self._pools.get(len(address) == 16):
                pool.rest(address, since)
        self.end_rests(now)

    def end_rests(self, now: float, most: int | None = None) -> None:
        """Addresses that have rested are free again, up to ``most`` of each family; to be called regularly."""
        for pool in self._pools.values():
            pool.end_rests(now, most)

    def _pool_of(self, translated: Address) -> TranslationPool:
        pool = self._pools.get(len(translated) == 16)
        if pool is None:
            raise ValueError("no translation prefix of this family")
        return pool
