"""TranslationPool: what it never does, whatever happens to it (M13, M19)."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from anycast_sdn.core.model import Prefix, packed
from anycast_sdn.core.pool import PoolEmpty, TranslationPool

V4 = Prefix.parse("203.0.113.0/29")  # six usable addresses
V6 = Prefix.parse("2001:db8:1:f::/64")


def pool(*prefixes: Prefix, quarantine_s: float = 10, seed: int = 1) -> TranslationPool:
    return TranslationPool(prefixes or (V4,), quarantine_s, random.Random(seed))


def lease_all(addresses: TranslationPool, now: float = 0.0) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(addresses.lease(now))
        except PoolEmpty:
            return found


def test_every_usable_address_leaves_once_and_never_the_first_or_the_last():
    leased = lease_all(pool())
    assert sorted(leased) == [packed(f"203.0.113.{last}") for last in range(1, 7)]


def test_several_prefixes_are_one_pool():
    leased = lease_all(pool(V4, Prefix.parse("198.51.100.0/30")))
    assert len(set(leased)) == 8
    assert packed("198.51.100.1") in leased


def test_an_empty_pool_stays_as_it_is():
    addresses = pool()
    lease_all(addresses)
    before = addresses.use(0)
    with pytest.raises(PoolEmpty):
        addresses.lease(0)
    assert addresses.use(0) == before


def test_a_released_address_rests_and_is_free_again_afterwards():
    addresses = pool()
    leased = lease_all(addresses)
    addresses.release(leased[0], now=100)
    with pytest.raises(PoolEmpty):
        addresses.lease(109.9)
    assert addresses.lease(110) == leased[0]


def test_the_order_depends_on_the_seed_and_is_not_that_of_the_addresses():
    first, second = (lease_all(pool(Prefix.parse("203.0.113.0/24"), seed=seed)) for seed in (1, 2))
    assert first != second
    assert sorted(first) == sorted(second)
    steps = [int.from_bytes(b, "big") - int.from_bytes(a, "big") for a, b in pairwise(first)]
    assert steps.count(1) < 10


def test_a_pool_of_2_to_the_64_addresses_costs_no_more_than_its_leases():
    addresses = pool(V6)
    leased = {addresses.lease(0) for _ in range(1000)}
    assert len(leased) == 1000
    assert all(address in V6 for address in leased)
    assert addresses.use(0) == (2**64 - 2, 1000, 0)


def test_a_prefix_without_usable_addresses_is_refused():
    with pytest.raises(ValueError, match="too small"):
        pool(Prefix.parse("203.0.113.0/31"))


@pytest.mark.parametrize("address", ["203.0.113.0", "203.0.113.7", "203.0.113.8", "198.51.100.1"])
def test_an_address_that_is_not_in_the_pool_cannot_be_claimed(address):
    addresses = pool()
    with pytest.raises(ValueError, match="not in the pool"):
        addresses.claim(packed(address))
    assert addresses.use(0).leased == 0


def test_an_address_cannot_be_claimed_twice():
    addresses = pool()
    addresses.claim(packed("203.0.113.3"))
    with pytest.raises(ValueError, match="leased already"):
        addresses.claim(packed("203.0.113.3"))


class PoolLife(RuleBasedStateMachine):
    """Leases, claims and releases in any order, compared with three plain sets."""

    QUARANTINE = 5

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        prefixes = V4, Prefix.parse("198.51.100.0/30")
        self.pool = TranslationPool(prefixes, self.QUARANTINE, random.Random(7))
        self.all = {address for prefix in prefixes for address in _usable(prefix)}
        self.leased: set[bytes] = set()
        self.resting: dict[bytes, float] = {}  # until when

    @property
    def free(self) -> set[bytes]:
        return self.all - self.leased - {address for address, until in self.resting.items() if until > self.now}

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.0, 5.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def lease(self) -> None:
        if not self.free:
            with pytest.raises(PoolEmpty):
                self.pool.lease(self.now)
            return
        address = self.pool.lease(self.now)
        assert address in self.free
        self.leased.add(address)

    @rule(data=st.data())
    @precondition(lambda self: self.leased)
    def release(self, data: st.DataObject) -> None:
        address = data.draw(st.sampled_from(sorted(self.leased)))
        self.pool.release(address, self.now)
        self.leased.remove(address)
        self.resting[address] = self.now + self.QUARANTINE

    @rule(data=st.data())
    @precondition(lambda self: self.free - self.resting.keys())
    def claim(self, data: st.DataObject) -> None:
        """As after a restart: an address that has not been out before."""
        address = data.draw(st.sampled_from(sorted(self.free - self.resting.keys())))
        self.pool.claim(address)
        self.leased.add(address)

    @invariant()
    def every_address_is_in_one_place(self) -> None:
        use = self.pool.use(self.now)
        assert (use.leased, use.free, use.size) == (len(self.leased), len(self.free), len(self.all))


def _usable(prefix: Prefix) -> set[bytes]:
    first = int.from_bytes(prefix.network, "big")
    return {(first + offset).to_bytes(4, "big") for offset in range(1, (1 << (32 - prefix.length)) - 1)}


TestPoolLife = PoolLife.TestCase
TestPoolLife.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
