"""A tracked address stands for one client and one service address, and there is room for so many of these."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.core.model import Gateway, Prefix, packed
from anycast_sdn.core.roles import ClientEdgeRole, Side, Subnet
from anycast_sdn.core.tracked_address import AnycastCodes, TrackedLayout, layout_of

SERVICES = (Prefix.parse("198.18.0.0/16"), Prefix.parse("2001:db8:a::/48"))
ROLE = ClientEdgeRole((), SERVICES)


def layout(*written: str) -> TrackedLayout:
    prefixes = tuple(map(Prefix.parse, written))
    return TrackedLayout(prefixes, prefixes[0].bits)


def bits(*written: str) -> tuple[int, int, int]:
    """Of the code, the subnet's number, the host."""
    found = layout(*written)
    return found.code_bits, found.subnet_bits, found.host_bits


def subnet(gateway: str, side: Side = Side.CLIENT, services: tuple[Prefix, ...] | None = None) -> Subnet:
    return Subnet("n", "arh", side, (Gateway.parse(gateway),), (1,), services)


def test_one_subnet_needs_no_number() -> None:
    assert bits("10.1.0.0/24") == (24, 0, 8)
    assert bits("2001:db8:1::/64") == (64, 0, 64)


def test_several_subnets_need_as_many_bits_as_their_numbers_have() -> None:
    assert bits("10.1.0.0/24", "10.2.0.0/20") == (19, 1, 12)
    assert bits("10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24") == (22, 2, 8)
    assert bits(*(f"10.{number}.0.0/24" for number in range(5))) == (21, 3, 8)


def test_all_codes_but_one_are_for_services() -> None:
    assert layout("10.1.0.0/24").services == (1 << 24) - 1
    assert layout("0.0.0.0/0").services == 0
    assert layout("0.0.0.0/0", "0.0.0.0/1").services == 0


def test_hosts_count_that_may_use_a_service_of_their_family() -> None:
    subnets = [
        subnet("10.1.0.1/24"),
        subnet("10.2.0.1/24", services=()),
        subnet("10.3.0.1/24", services=SERVICES[1:]),
        subnet("10.4.0.1/24", Side.SERVER),
        subnet("10.5.0.1/30", Side.UPLINK),
        subnet("2001:db8:1::1/64"),
    ]
    assert layout_of(ROLE, subnets, False) == layout("10.1.0.0/24", "10.4.0.0/24")
    assert layout_of(ROLE, subnets, True) == layout("2001:db8:1::/64")


@given(st.integers(1, (1 << 19) - 1), st.integers(0, 1), st.integers(0, (1 << 12) - 1))
def test_a_tracked_address_leads_back_to_the_client_and_the_code(code: int, place: int, host: int) -> None:
    both = layout("10.1.0.0/24", "10.2.0.0/20")
    prefix = both.subnets[place]
    host %= 1 << prefix.bits - prefix.length
    client = (int.from_bytes(prefix.network, "big") + host).to_bytes(4, "big")
    tracked = both.encode(code, client)
    assert both.decode(tracked) == (code, client)
    assert tracked in both.block(code, 32)


def test_as_many_services_have_a_code_as_there_is_room_for() -> None:
    room = layout("10.0.0.0/8", "11.0.0.0/8", "12.0.0.0/8", "13.0.0.0/8", "14.0.0.0/8")  # 5 bits
    codes = AnycastCodes(room.code_bits)
    services = [Prefix.host(packed(f"198.18.0.{number}")) for number in range(room.services + 1)]
    given = [codes.give(service) for service in services]
    assert sorted(code for code in given if code is not None) == list(range(1, room.services + 1))
    assert given[-1] is None


def test_the_code_of_an_address_is_that_of_its_service_as_long_as_that_has_codes() -> None:
    codes, address = AnycastCodes(24), packed("198.18.1.7")
    one, wide = Prefix.host(address), Prefix.parse("198.18.1.0/24")
    assert codes.code_of(address) is None
    codes.give(Prefix.parse("198.18.2.0/24"))
    first = codes.give(wide)
    assert first is not None
    assert codes.code_of(address) == first + 7
    own = codes.give(one)
    assert (codes.service(address), codes.code_of(address)) == (one, own)
    codes.discard(one)
    assert (codes.service(address), codes.code_of(address)) == (wide, first + 7)
    codes.discard(wide)
    assert (codes.service(address), codes.code_of(address)) == (None, None)


def test_a_service_that_was_discarded_has_a_code_again_unless_another_one_has_its_addresses() -> None:
    codes = AnycastCodes(8)
    wide, one = Prefix.parse("198.18.0.0/28"), Prefix.parse("198.18.0.3")
    codes.give(wide)
    codes.discard(wide)
    assert codes.code_of(packed("198.18.0.5")) is None
    assert codes.give_again(packed("198.18.0.77")) is None
    assert codes.give_again(packed("198.18.0.5")) == wide
    assert codes.code_of(packed("198.18.0.5")) is not None
    codes.discard(wide)
    codes.give(one)
    assert codes.give_again(packed("198.18.0.5")) is None
    assert list(codes) == [one]
