"""How many service addresses have room beside a client edge's clients in one address."""

from __future__ import annotations

from anycast_sdn.core.model import Gateway, Prefix
from anycast_sdn.core.roles import ClientEdgeRole, Side, Subnet
from anycast_sdn.core.tracked_bits import bits_of, client_prefixes

SERVICES = (Prefix.parse("198.18.0.0/16"), Prefix.parse("2001:db8:a::/48"))
ROLE = ClientEdgeRole((), SERVICES)


def prefixes(*written: str) -> list[Prefix]:
    return list(map(Prefix.parse, written))


def subnet(gateway: str, side: Side = Side.CLIENT, services: tuple[Prefix, ...] | None = None) -> Subnet:
    return Subnet("n", "arh", side, (Gateway.parse(gateway),), (1,), services)


def test_one_subnet_needs_no_number() -> None:
    assert bits_of(prefixes("10.1.0.0/24")) == (24, 0, 8)
    assert bits_of(prefixes("2001:db8:1::/64")) == (64, 0, 64)


def test_several_subnets_need_as_many_bits_as_their_numbers_have() -> None:
    assert bits_of(prefixes("10.1.0.0/24", "10.2.0.0/20")) == (19, 1, 12)
    assert bits_of(prefixes("10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24")) == (22, 2, 8)
    assert bits_of(prefixes(*(f"10.{number}.0.0/24" for number in range(5)))) == (21, 3, 8)


def test_all_codes_but_one_are_for_services() -> None:
    assert bits_of(prefixes("10.1.0.0/24")).services == (1 << 24) - 1
    assert bits_of(prefixes("0.0.0.0/0")).services == 0
    assert bits_of(prefixes("0.0.0.0/0", "0.0.0.0/1")).services == 0


def test_hosts_count_that_may_use_a_service_of_their_family() -> None:
    subnets = [
        subnet("10.1.0.1/24"),
        subnet("10.2.0.1/24", services=()),
        subnet("10.3.0.1/24", services=SERVICES[1:]),
        subnet("10.4.0.1/24", Side.SERVER),
        subnet("10.5.0.1/30", Side.UPLINK),
        subnet("2001:db8:1::1/64"),
    ]
    assert client_prefixes(ROLE, subnets, False) == prefixes("10.1.0.0/24", "10.4.0.0/24")
    assert client_prefixes(ROLE, subnets, True) == prefixes("2001:db8:1::/64")
