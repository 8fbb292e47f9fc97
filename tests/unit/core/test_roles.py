"""What a client edge's settings for the connection tracker mean: its reserve and its zones."""

from __future__ import annotations

import pytest

from anycast_sdn.core.model import Prefix
from anycast_sdn.core.roles import Allocation, ClientEdgeRole, Conntrack


def role(*prefixes: str, **conntrack: object) -> ClientEdgeRole:
    return ClientEdgeRole(tuple(map(Prefix.parse, prefixes)), (), conntrack=Conntrack(**conntrack))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prefix", "parts", "reserve"),
    [
        ("203.0.113.0/24", 8, "203.0.113.224/27"),
        ("203.0.113.0/24", 2, "203.0.113.128/25"),
        ("2001:db8:1:f::/64", 8, "2001:db8:1:f:e000::/67"),
        ("203.0.113.16/28", 8, "203.0.113.30/31"),
        ("203.0.113.16/29", 8, None),  # it would be the broadcast address alone
        ("203.0.113.16/30", 8, None),
        ("203.0.113.16/30", 2, "203.0.113.18/31"),
        ("203.0.113.0/24", 0, None),
    ],
)
def test_the_reserve_is_the_end_of_a_prefix(prefix: str, parts: int, reserve: str | None) -> None:
    found = role(prefix, reserve=parts).reserve(":" in prefix)
    assert found == (Prefix.parse(reserve) if reserve else None)


def test_the_reserve_is_in_the_largest_prefix_of_its_family() -> None:
    edge = role("203.0.113.0/24", "198.51.100.0/23", "2001:db8:1:f::/64")
    assert edge.reserve(False) == Prefix.parse("198.51.101.192/26")
    assert edge.reserve(True) == Prefix.parse("2001:db8:1:f:e000::/67")
    assert role("203.0.113.0/24").reserve(True) is None


def test_a_switch_that_always_chooses_by_itself_needs_no_reserve() -> None:
    assert role("203.0.113.0/24", allocation=Allocation.SWITCH).reserve(False) is None


def test_each_family_has_a_zone_for_udp_and_one_for_everything_else() -> None:
    conntrack = Conntrack(zone=100)
    zones = [conntrack.zone_of(v6, udp) for v6 in (False, True) for udp in (False, True)]
    assert zones == list(conntrack.zones) == [100, 101, 102, 103]
