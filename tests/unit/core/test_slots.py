"""Tables of slots: how many each server has, and what becomes of those of servers that cannot be reached."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.core.model import AnycastGroup, Prefix, Server
from anycast_sdn.core.slots import FEW_SERVERS, MANY, SLOTS, Spread, apportioned, filled, most_slots, table_size

A, B, C = (bytes([10, 0, 0, number]) for number in (1, 2, 3))
TABLES = st.lists(st.sampled_from([A, B, C]), min_size=SLOTS, max_size=SLOTS).map(tuple)


@pytest.mark.parametrize(("weights", "shares"), [((1, 1), (32, 32)), ((1, 2), (21, 43)), ((1, 1000), (0, 64))])
def test_servers_share_the_slots_by_weight(weights: tuple[int, ...], shares: tuple[int, ...]) -> None:
    servers = [Server(address, weight) for address, weight in zip((A, B), weights, strict=True)]
    counts = Counter(apportioned(servers, SLOTS))
    assert (counts[A], counts[B]) == shares


def test_without_a_weight_nobody_has_slots() -> None:
    assert apportioned([Server(A, 0)], SLOTS) == apportioned([], SLOTS) == ()


@pytest.mark.parametrize(("servers", "size"), [(1, SLOTS), (FEW_SERVERS, SLOTS), (FEW_SERVERS + 1, MANY)])
def test_many_enrolled_servers_of_one_family_have_more_slots(servers: int, size: int) -> None:
    addresses = [bytes([10, 0, 1, number]) for number in range(servers)]
    group = AnycastGroup("web", (Prefix(A, 32),), {address: Server(address) for address in addresses})
    assert (table_size(group, False), table_size(group, True)) == (size, SLOTS)


@given(TABLES, st.sets(st.sampled_from([A, B, C])))
def test_slots_of_usable_servers_never_change_and_others_go_to_them_in_proportion(
    slots: tuple[bytes, ...], usable: set[bytes]
) -> None:
    table = filled(slots, usable)
    if not usable & set(slots):
        assert table == ()
        return
    assert all(now == before for before, now in zip(slots, table, strict=True) if before in usable)
    before, after = Counter(server for server in slots if server in usable), Counter(table)
    for server, count in before.items():
        assert abs(after[server] - count * SLOTS / before.total()) < 1 + 1e-9


def test_of_several_with_the_most_slots_the_one_with_the_least_address_is_meant() -> None:
    assert most_slots((B, A, C, A, B)) == A
    assert most_slots(()) is None


def test_a_spread_is_named_by_its_group_and_family() -> None:
    assert [str(Spread("web", v6)) for v6 in (False, True)] == ["web IPv4", "web IPv6"]
