"""A packet's fields, as the simulated switch sees and changes them, and the table that finds the rule for it."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.core.model import TCP, UDP, FlowKey, Prefix, packed
from anycast_sdn.openflow import entries
from anycast_sdn.openflow.builders import ip_packet
from anycast_sdn.openflow.flow_table import FlowTable
from anycast_sdn.openflow.frames import checksum
from anycast_sdn.openflow.rules import TCP_SYN, FlowRule
from anycast_sdn.simulation.matching import Entry, Packet

H, ANY, PR1X = map(packed, ("10.1.0.10", "198.18.0.1", "203.0.113.9"))
KEY = FlowKey(H, ANY, TCP, 40000, 80)
packet_of = partial(ip_packet, eth_src=b"\x06\0\0\0\0\1", eth_dst=b"\x02\xac\0\0\0\1")
FRAME = packet_of(KEY)


def fragment(frame: bytes, field: int) -> bytes:
    header = frame[14:20] + field.to_bytes(2, "big") + frame[22:24] + bytes(2) + frame[26:34]
    return frame[:14] + header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + frame[34:]


@pytest.mark.parametrize("field", [0x2000, 5], ids=["first", "later"])
def test_a_fragment_has_no_ports_and_is_rewritten_without_touching_its_data(field: int) -> None:
    frame = fragment(packet_of(KEY._replace(protocol=UDP), payload=bytes(24)), field)
    packet = Packet(frame, 3)
    assert packet.flow == FlowKey(H, ANY, UDP, 0, 0)
    packet.set_field("ipv4_src", PR1X)
    assert packet.decrement_ttl()
    assert packet.frame[26:30] == PR1X
    assert checksum(packet.frame[14:34]) == 0
    if field == 5:
        assert packet.frame[34:] == frame[34:]


def test_a_later_ipv6_fragment_has_the_protocol_of_its_fragment_header() -> None:
    """As Open vSwitch reports it."""
    source, destination = packed("2001:db8:1::10"), packed("2001:db8:a::1")
    whole = packet_of(FlowKey(source, destination, UDP, 1, 2), payload=bytes(16))
    header = bytes((UDP, 0)) + (8 << 3).to_bytes(2, "big") + bytes(4)
    length = (int.from_bytes(whole[18:20], "big") + 8).to_bytes(2, "big")
    packet = Packet(whole[:18] + length + b"\x2c" + whole[21:54] + header + whole[54:], 3)
    assert packet.flow == FlowKey(source, destination, 44, 0, 0)
    packet.set_field("ipv6_src", destination)
    assert packet.frame[22:38] == destination


@pytest.mark.parametrize("cut", range(14, 34))
def test_a_cut_ip_header_matches_no_address(cut: int) -> None:
    packet = Packet(FRAME[:cut], 3)
    assert packet.flow == FlowKey(bytes(4), bytes(4), 0, 0, 0)


def test_a_frame_that_is_not_ip_has_no_flow() -> None:
    assert Packet(b"\xff" * 12 + b"\x88\xcc" + bytes(46), 3).flow is None


@st.composite
def prefix_rules(draw: st.DrawFn) -> list[FlowRule]:
    """Routes of any length over a small space of addresses, so that many overlap."""
    lengths = draw(st.lists(st.tuples(st.integers(0, 255), st.integers(24, 32)), max_size=12, unique=True))
    prefixes = {Prefix((last >> 32 - length << 32 - length).to_bytes(4, "big"), length) for last, length in lengths}
    return [entries.route(prefix, port) for port, prefix in enumerate(sorted(prefixes), 1)]


@given(prefix_rules(), st.integers(0, 255))
def test_the_table_finds_what_a_search_through_all_rules_finds(rules: list[FlowRule], last: int) -> None:
    table = FlowTable[Entry]()
    for rule in rules:
        table.put(Entry(rule, 0))
    address = last.to_bytes(4, "big")
    found = table.find({"eth_type": 0x0800, "ipv4_dst": address})

    def fits(rule: FlowRule) -> bool:
        (value,) = (field.value for field in rule.match if field.name == "ipv4_dst")
        assert isinstance(value, bytes)
        return address in Prefix(value, rule.priority - 200)

    best = max(filter(fits, rules), key=lambda rule: rule.priority, default=None)
    assert (found and found.rule) == best


def test_a_syn_is_not_a_fin() -> None:
    assert not Packet(packet_of(KEY, tcp_flags=TCP_SYN), 3).closing
    assert Packet(packet_of(KEY, tcp_flags=0x14), 3).closing
