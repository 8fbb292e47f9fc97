"""What a rule on a switch was made for: a switch's dump is enough to rebuild every binding (M14, M18)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.core.bindings import Binding, Half
from anycast_sdn.core.model import TCP, FlowKey, Neighbour, Prefix, packed
from anycast_sdn.openflow import entries, readback
from anycast_sdn.openflow.rules import Bucket, FlowRule, GroupRule, Output, PutBinding
from tests.unit.openflow.test_entries import H, puts


@given(puts())
def test_a_bindings_rule_can_be_read_back(put: PutBinding) -> None:
    binding = put.binding
    found = readback.binding(entries.binding(put))
    assert found == readback.FoundHalf(binding.number, put.half, binding.key, binding.translated, binding.server)


def test_the_rule_of_a_closed_direction_says_so() -> None:
    key = FlowKey(packed("10.1.0.1"), packed("198.18.0.1"), TCP, 1, 80)
    binding = Binding(1, key, packed("203.0.113.1"), "web", 0.0, packed("10.2.0.1"), Half.BOTH)
    made = entries.binding(PutBinding(binding, Half.OUT, 100, 99))

    def is_closed(rule: FlowRule) -> bool:
        found = readback.binding(rule)
        assert found
        return found.closed

    assert not is_closed(made)
    assert is_closed(replace(made, idle_timeout=99))  # as a switch shows it after FIN or RST
    assert is_closed(entries.binding(PutBinding(binding, Half.IN, 100, 100)))
    assert not is_closed(entries.binding(PutBinding(binding, Half.OUT, 0, 0)))


@given(
    st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)),
    st.binary(min_size=6, max_size=6),
    st.integers(1, 65279),
)
def test_a_hosts_rule_can_be_read_back(address: bytes, mac: bytes, port: int) -> None:
    assert readback.host(entries.host(address, b"\2" * 6, mac, port)) == (address, mac, port)


def test_rules_of_other_kinds_are_read_as_nothing() -> None:
    for rule in (*entries.constant(), entries.route(Prefix.parse("10.0.0.0/8"), 1), entries.gateway(H)):
        assert readback.binding(rule) is None
        assert readback.host(rule) is None


@pytest.mark.parametrize("prefix", ["10.1.0.0/24", "0.0.0.0/0", "::/0", "2001:db8::/32"])
def test_routes_to_edges_and_to_routers_are_read_back_from_their_rules(prefix: str) -> None:
    there, mac = Prefix.parse(prefix), bytes(range(6))
    assert readback.route(entries.route(there, 7)) == (there, 7)
    assert readback.egress_route(entries.egress_route(there, bytes(6), mac, 8)) == (there, mac, 8)
    assert readback.route(entries.egress_route(there, bytes(6), mac, 8)) is None
    assert readback.egress_route(entries.route(there, 7)) is None


def test_rules_with_our_cookie_that_differ_from_ours_are_not_read_as_routes() -> None:
    """They may be of another version, or edited."""
    rule = entries.route(Prefix.parse("10.1.0.0/24"), 7)
    for strange in (
        *(replace(rule, priority=priority) for priority in (0, 100, 199, 200, 233, 65535)),
        replace(rule, match=()),
        replace(rule, actions=()),
        replace(rule, idle_timeout=5),
    ):
        assert readback.route(strange) is None


# ------------------------------------------------------------------------------ slots

SERVERS = [packed(f"10.2.0.{number}") for number in (1, 2, 3)]
BUCKETS = {server: entries.bucket(server, bytes(6), None if server == SERVERS[2] else Neighbour(bytes(6), 1))
           for server in SERVERS}  # fmt: skip


@given(st.lists(st.sampled_from(SERVERS), min_size=64, max_size=64))
def test_slots_can_be_read_back(slots: list[bytes]) -> None:
    assert readback.slots(entries.server_group(7, slots, BUCKETS)) == tuple(slots)


@given(st.lists(st.sampled_from(SERVERS), min_size=64, max_size=64))
def test_of_weighted_buckets_the_number_of_each_servers_slots_can_be_read_back(slots: list[bytes]) -> None:
    group = entries.server_group(7, slots, BUCKETS, equal=False)
    assert len(group.buckets) == len(set(slots))
    assert sorted(readback.slots(group)) == sorted(slots)


def test_a_group_that_is_none_of_ours_has_no_slots() -> None:
    assert readback.slots(GroupRule(7, (Bucket(1, (Output(3),)),))) == ()
    assert readback.slots(GroupRule(7, (Bucket(60_000, BUCKETS[SERVERS[0]].actions),))) == ()


@pytest.mark.parametrize("prefix", ["198.18.0.1/32", "198.18.4.0/22", "2001:db8:a::1/128", "2001:db8:a::/64"])
def test_which_group_captures_a_service_can_be_read_back(prefix: str) -> None:
    rule = entries.service(Prefix.parse(prefix), 7)
    assert readback.service(rule) == (Prefix.parse(prefix), 7)
    assert readback.service(replace(rule, priority=499)) is None
    assert readback.service(entries.route(Prefix.parse(prefix), 7)) is None
