"""TranslationPool: which address is free, leased or resting after any sequence of operations (M13, M19)."""

from __future__ import annotations

import random
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from anycast_sdn.core.model import Prefix, packed
from anycast_sdn.core.pool import LEAST_S, PoolEmpty, Rest, TranslationPool, _Many
from anycast_sdn.core.resting import EARLIER_S

V4 = Prefix.parse("203.0.113.0/29")  # six usable addresses
V6 = Prefix.parse("2001:db8:1:f::/64")


EARLY_S = LEAST_S - EARLIER_S


def pool(*prefixes: Prefix, quarantine_s: float = 10, seed: int = 1) -> TranslationPool:
    return TranslationPool(prefixes or (V4,), quarantine_s, random.Random(seed))


def lease_all(addresses: TranslationPool, now: float = 0.0) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(addresses.lease(now))
        except PoolEmpty:
            return found


def test_every_usable_address_is_leased_once_and_never_the_first_or_the_last():
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
    addresses = pool(quarantine_s=LEAST_S)
    leased = lease_all(addresses)
    addresses.release(leased[0], now=100)
    with pytest.raises(PoolEmpty):
        addresses.lease(100 + LEAST_S - 0.1)
    assert addresses.lease(100 + LEAST_S) == leased[0]


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


def test_an_address_of_an_ended_flow_is_leased_early_when_nothing_else_is_free():
    addresses = pool(quarantine_s=100)
    first, second, *_ = lease_all(addresses)
    addresses.release(first, 10, rest=Rest.ENDED)
    addresses.release(second, 11, rest=Rest.ENDED)
    with pytest.raises(PoolEmpty):
        addresses.lease(10 + EARLY_S - 0.1)
    assert addresses.is_empty(10 + EARLY_S - 0.1)
    assert not addresses.is_empty(11 + EARLY_S)
    assert addresses.lease(11 + EARLY_S) == first  # the one that has rested longest
    assert addresses.lease(11 + EARLY_S) == second


def test_when_nothing_else_is_free_any_address_is_leased_early_but_none_before_its_least_time():
    addresses = pool(quarantine_s=100)
    first, second, *_ = lease_all(addresses)
    addresses.release(first, 10)
    addresses.release(second, 11)
    with pytest.raises(PoolEmpty):
        addresses.lease(10 + LEAST_S - 0.1)
    assert addresses.lease(11 + LEAST_S) == first  # the one that has rested longest


def test_an_address_rests_for_its_whole_time_while_another_one_is_free():
    addresses = pool(quarantine_s=100)
    first, second, *_ = lease_all(addresses)
    addresses.release(second, 10, rest=Rest.NONE)
    addresses.release(first, 10)
    assert addresses.lease(109) == second


def test_of_closed_connections_and_idle_flows_those_of_the_former_are_leased_first():
    addresses = pool(quarantine_s=100)
    idle, closed, *_ = lease_all(addresses)
    addresses.release(idle, 10)
    addresses.release(closed, 50, rest=Rest.ENDED)
    assert [addresses.lease(60), addresses.lease(60)] == [closed, idle]


def test_a_longer_least_time_holds_for_closed_connections_too():
    addresses = TranslationPool((V4,), 120, random.Random(1), least_s=120)
    first, *_ = lease_all(addresses)
    addresses.release(first, 0, rest=Rest.ENDED)
    with pytest.raises(PoolEmpty):
        addresses.lease(118)
    assert addresses.lease(119) == first


def test_an_address_that_was_never_used_need_not_rest():
    addresses = pool(quarantine_s=100)
    first, *_ = lease_all(addresses)
    addresses.release(first, 10, rest=Rest.NONE)
    assert addresses.lease(10) == first


def test_an_address_at_rest_names_the_pair_that_had_it_last():
    addresses = pool(quarantine_s=10)
    leased, pair = addresses.lease(0), (packed("10.1.0.1"), packed("198.18.0.1"))
    addresses.release(leased, 5, pair)
    assert addresses.last_pair(leased, 14) == pair
    assert addresses.last_pair(leased, 15) is None
    addresses.claim(leased)
    assert addresses.last_pair(leased, 14) is None


def test_half_of_a_pool_is_free_until_more_than_that_is_leased_or_rests():
    addresses = pool(quarantine_s=10)
    leased = [addresses.lease(0) for _ in range(3)]
    assert addresses.is_half_free
    addresses.release(leased[0], 0)
    assert addresses.is_half_free
    addresses.lease(0)
    assert not addresses.is_half_free


def test_what_is_kept_back_is_free_after_its_time_and_leased_before_only_when_nothing_else_is_left():
    addresses = pool()
    kept = sorted(_usable(V4))[:2]
    for address in kept:
        addresses.keep_back(address, 100.0)
    assert lease_all(addresses)[-2:] == kept
    addresses = pool()
    addresses.keep_back(kept[0], 100.0)
    assert addresses.use(0).resting == 1
    addresses.end_rests(99.0)
    assert addresses.use(99.0).resting == 1
    addresses.end_rests(100.0)
    assert addresses.use(100.0).free == 6
    addresses.claim(kept[0])
    addresses.keep_back(kept[0], 200.0)  # it is in use, so it is not kept back
    assert addresses.use(100.0).leased == 1
    with pytest.raises(ValueError, match="not in the pool"):
        addresses.keep_back(packed("192.0.2.1"), 100.0)


def test_memory_grows_with_leased_and_resting_addresses_not_with_ended_flows():
    """A /64 at 1,000 flows/s."""
    addresses = pool(V6, quarantine_s=1)
    tracemalloc.start()
    sizes = []
    for cycle in range(60_000):
        now = cycle / 1000
        leased = addresses.lease(now)
        addresses.release(leased, now, (cycle.to_bytes(16, "big"), leased))
        if cycle % 10_000 == 9_999:
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[-1] < 1.2 * sizes[0]


class PoolLife(RuleBasedStateMachine):
    """Leases, claims and releases in any order, compared with three plain sets."""

    QUARANTINE, LEAST = 9, 5

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        prefixes = V4, Prefix.parse("198.51.100.0/30")
        self.pool = TranslationPool(prefixes, self.QUARANTINE, random.Random(7), self.LEAST)
        self.all = {address for prefix in prefixes for address in _usable(prefix)}
        self.leased: set[bytes] = set()
        self.resting: dict[bytes, float] = {}  # until when
        self.ended: dict[bytes, float] = {}  # those of ended flows: since when
        self.kept_back: list[bytes] = []  # in order

    @property
    def free(self) -> set[bytes]:
        resting = {address for address, until in self.resting.items() if until > self.now}
        return self.all - self.leased - resting - set(self.kept_back)

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.0, 5.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def lease(self) -> None:
        early = [
            address
            for address, until in self.resting.items()
            if until - self.QUARANTINE + (EARLY_S if address in self.ended else self.LEAST) <= self.now
        ]
        if not self.free and not early and not self.kept_back:
            with pytest.raises(PoolEmpty):
                self.pool.lease(self.now)
            return
        aside = self.pool.aside
        address = self.pool.lease(self.now)
        assert address in (aside[:1] or self.free or early or self.kept_back[:1])
        self.leased.add(address)
        self.kept_back = [each for each in self.kept_back if each != address]
        self.resting.pop(address, None)
        self.ended.pop(address, None)

    @rule(data=st.data())
    @precondition(lambda self: self.leased)
    def release(self, data: st.DataObject) -> None:
        address = data.draw(st.sampled_from(sorted(self.leased)))
        self.pool.release(address, self.now)
        self.leased.remove(address)
        self.resting[address] = self.now + self.QUARANTINE
        self.ended.pop(address, None)

    @rule(data=st.data(), rest=st.sampled_from([Rest.ENDED, Rest.NONE]))
    @precondition(lambda self: self.leased)
    def release_otherwise(self, data: st.DataObject, rest: Rest) -> None:
        address = data.draw(st.sampled_from(sorted(self.leased)))
        self.pool.release(address, self.now, rest=rest)
        self.leased.remove(address)
        self.resting.pop(address, None)
        if rest is Rest.ENDED:
            self.resting[address] = self.now + self.QUARANTINE
            self.ended[address] = self.now

    @rule(count=st.integers(1, 3))
    def set_aside(self, count: int) -> None:
        before = self.pool.aside
        new = self.pool.set_aside(count)
        assert self.pool.aside == before + new
        assert set(new) <= self.free - set(before)
        assert len(self.pool.aside) <= max(count, len(before))

    @rule(data=st.data())
    @precondition(lambda self: self.free - self.resting.keys())
    def keep_back(self, data: st.DataObject) -> None:
        """Also one that was set aside, or is kept back already."""
        address = data.draw(st.sampled_from(sorted((self.free | {*self.kept_back}) - self.resting.keys())))
        self.pool.keep_back(address, 1e9)
        self.kept_back = [*(each for each in self.kept_back if each != address), address]

    @rule(data=st.data())
    @precondition(lambda self: self.free - self.resting.keys())
    def claim(self, data: st.DataObject) -> None:
        """As after a restart: an address that this pool has not leased before."""
        address = data.draw(st.sampled_from(sorted(self.free - self.resting.keys())))
        self.pool.claim(address)
        self.leased.add(address)

    @invariant()
    def what_is_left_is_what_could_be_leased(self) -> None:
        rested = {address for address, since in self.ended.items() if since + EARLY_S <= self.now}
        latest = self.now + self.QUARANTINE - self.LEAST
        rested |= {address for address, until in self.resting.items() if until <= latest}
        left = self.all - self.leased - (self.resting.keys() - rested)
        self.pool.mature(self.now)
        assert self.pool.left == len(left)
        assert self.pool.is_empty(self.now) == (not left)

    @invariant()
    def every_address_is_in_one_place(self) -> None:
        use = self.pool.use(self.now)
        assert (use.leased, use.free, use.size) == (len(self.leased), len(self.free), len(self.all))


def _usable(prefix: Prefix) -> set[bytes]:
    first = int.from_bytes(prefix.network, "big")
    return {(first + offset).to_bytes(4, "big") for offset in range(1, (1 << (32 - prefix.length)) - 1)}


class LifeOfMany(PoolLife):
    """The same in a large pool."""

    def __init__(self) -> None:
        super().__init__()
        self.pool._places = _Many(self.pool.size, random.Random(7), self.pool._is_taken)


TestLifeOfMany = LifeOfMany.TestCase
TestLifeOfMany.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestPoolLife = PoolLife.TestCase
TestPoolLife.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
