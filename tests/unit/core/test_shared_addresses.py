"""core.shared_addresses: flows whose PR1X a switch has chosen; and which addresses these are."""

from __future__ import annotations

import random
from typing import Any

import pytest

from anycast_sdn.core.addresses import Addresses
from anycast_sdn.core.bindings import Binding, State
from anycast_sdn.core.client_edge import ClientEdge
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.holders import Holders
from anycast_sdn.core.model import UDP, AnycastGroup, FlowKey, Prefix, Server, packed
from anycast_sdn.core.roles import AddressRange, Allocation, ClientEdgeRole, Conntrack, EngineName
from anycast_sdn.core.shared_addresses import SharedAddresses
from anycast_sdn.core.transitions import FlowEvent

H, OTHER, ANY, SERVER = map(packed, ("10.1.0.10", "10.1.0.11", "198.18.0.1", "10.2.0.10"))
PR1X = packed("203.0.113.230")  # of the reserve
SERVICE = Prefix.host(ANY)
GROUPS = Groups({"web": AnycastGroup("web", (SERVICE,), {SERVER: Server(SERVER)})})
KEY = FlowKey(H, ANY, UDP, 123, 123)


def role(*prefixes: str, **settings: Any) -> ClientEdgeRole:
    translation = tuple(map(Prefix.parse, prefixes or ("203.0.113.0/24",)))
    return ClientEdgeRole(
        translation, (SERVICE,), engines=(EngineName.CONNTRACK,), conntrack=Conntrack(**settings)
    )


def edge(**settings: Any) -> ClientEdge:
    return ClientEdge(role(**settings), random.Random(1))


def range_of(first: str, last: str) -> AddressRange:
    return AddressRange(packed(first), packed(last))


@pytest.mark.parametrize(
    ("prefixes", "settings", "wanted"),
    [
        (["203.0.113.0/24"], {}, range_of("203.0.113.224", "203.0.113.254")),
        (["203.0.113.0/24"], {"reserve": 2}, range_of("203.0.113.128", "203.0.113.254")),
        (["203.0.113.0/24"], {"reserve": 0}, None),
        (["203.0.113.0/24", "100.64.0.0/16"], {}, range_of("100.64.224.0", "100.64.255.254")),
        (["203.0.113.0/24"], {"allocation": Allocation.SWITCH}, range_of("203.0.113.1", "203.0.113.223")),
        (["203.0.113.0/24"], {"allocation": Allocation.SWITCH, "reserve": 0}, range_of("203.0.113.1", "203.0.113.254")),
        (["203.0.113.0/30"], {"allocation": Allocation.SWITCH}, range_of("203.0.113.1", "203.0.113.2")),
        (["2001:db8::/64"], {}, None),
    ],
)
def test_the_switch_has_the_reserve_or_all_but_that(
    prefixes: list[str], settings: dict[str, Any], wanted: AddressRange | None
) -> None:
    assert role(*prefixes, **settings).switch_range(False) == wanted


def test_with_rules_the_switch_chooses_no_address() -> None:
    assert ClientEdgeRole((Prefix.parse("203.0.113.0/24"),), ()).switch_ranges == ()


@pytest.mark.parametrize(
    ("settings", "size"),
    [({}, 223), ({"reserve": 0}, 254), ({"allocation": Allocation.SWITCH}, 31)],
)
def test_the_pool_has_all_other_addresses(settings: dict[str, Any], size: int) -> None:
    made = role(**settings)
    addresses = Addresses(made, Holders(), random.Random(1), 2)
    given = set()
    for number in range(size):
        leased = addresses.lease((bytes((10, 1, 0, number)), ANY), 0, 0.0)
        assert isinstance(leased, bytes)
        given.add(leased)
    assert len(given) == size
    assert not any(address in SharedAddresses(made.switch_ranges) for address in given)


def test_a_family_that_is_the_switchs_alone_has_no_pool() -> None:
    made = role(allocation=Allocation.SWITCH, reserve=0)
    assert Addresses(made, Holders(), random.Random(1), 2).use(0.0) == {}


# ------------------------------------------------------------------------------ flows


def begin(one: ClientEdge, key: FlowKey = KEY, there: int = 123, server: bytes | None = None) -> Binding | None:
    decisions = one.chosen_by_switch(key, (PR1X, there), server, GROUPS, 1.0, 1)
    return decisions[-1].binding if decisions else None


def reply(there: int, service_port: int = 123) -> FlowKey:
    return FlowKey(SERVER, PR1X, UDP, service_port, there)


def test_clients_with_one_address_are_told_apart_by_the_port_that_the_switch_gave_them() -> None:
    one = edge()
    first, second = begin(one), begin(one, KEY._replace(source=OTHER), there=700)
    assert first
    assert second
    assert (first.translated_port, second.translated_port) == (0, 700)
    assert [one.bindings.by_reply(reply(port)) for port in (123, 700, 701)] == [first, second, None]
    assert one.reply(reply(700), GROUPS, 2.0).binding == second._replace(
        server=SERVER, installed=second.installed | 3, reply_s=1.0
    )


def test_a_flow_that_is_reported_again_stays_as_it_is() -> None:
    one = edge()
    begin(one)
    assert one.chosen_by_switch(KEY, (PR1X, 123), None, GROUPS, 2.0, 1) == []
    assert len(one.bindings) == 1


@pytest.mark.parametrize("key", [KEY, KEY._replace(source=OTHER)])
def test_a_flow_ends_when_another_has_its_five_fields_or_its_address_and_ports(key: FlowKey) -> None:
    one = edge()
    before = begin(one)
    assert before
    there = 700 if key == KEY else 123
    after = begin(one, key, there)
    assert list(one.bindings) == [after]
    assert len(one.bindings.shared) == 1


def test_a_flow_that_has_answered_is_pinned_at_once() -> None:
    found = begin(edge(), server=SERVER)
    assert found
    assert (found.state, found.server, found.reply_s) == (State.PINNED, SERVER, -1.0)


def test_what_is_of_no_group_or_has_an_address_of_the_pool_is_not_believed() -> None:
    one = edge()
    assert begin(one, KEY._replace(destination=packed("198.18.9.9"))) is None
    assert one.chosen_by_switch(KEY, (packed("203.0.113.5"), 123), None, GROUPS, 1.0, 1) == []


def test_its_address_does_not_rest_when_it_ends() -> None:
    one = edge()
    flow = begin(one)
    assert flow
    one.apply(flow, FlowEvent.ENDED, 2.0)
    use = one.addresses.use(2.0)["ipv4"]
    assert (len(one.bindings), len(one.bindings.shared), use.leased, use.resting) == (0, 0, 0, 0)
