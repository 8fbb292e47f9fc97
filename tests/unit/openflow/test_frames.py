"""Reading frames: the fields of a flow, and that malformed frames raise ``BadFrame`` and nothing else."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from os_ken.lib.packet import arp, ethernet, icmpv6, ipv6, packet

from anycast_sdn.core.model import ICMP, ICMPV6, SCTP, TCP, UDP, packed, text
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.frames import (
    REASONS,
    BadFrame,
    checksum,
    parse_arp,
    parse_icmp_error,
    parse_ip,
    parse_nd,
    untagged,
)
from tests.unit.frame_samples import (
    ALL_NODES,
    MAC_A,
    MAC_B,
    TCP_BODY,
    UDP_BODY,
    V4,
    V6,
    build,
    extended,
    fragment_of_v6,
    ipv4_frame,
    ipv6_frame,
    keys,
    mac,
    macs,
    ones_complement_sum,
    portless,
    reason,
    v4_hosts,
    v6_hosts,
)


class TestIpHeaders:
    def test_options_of_ipv4_are_stepped_over(self) -> None:
        parsed = parse_ip(ipv4_frame(UDP, UDP_BODY, options=b"\x94\x04\0\0" * 10))
        assert (parsed.key, parsed.l4) == (V4, 14 + 60)

    @pytest.mark.parametrize("kinds", [[0], [43], [60], [44], [51], [0, 60, 43, 44, 51, 60], [60] * 8])
    def test_extension_headers_are_stepped_over_as_open_vswitch_does(self, kinds: list[int]) -> None:
        parsed = parse_ip(extended(kinds))
        assert parsed.key == V6
        assert parsed.end - parsed.l4 == 8

    def test_a_ninth_extension_header_is_too_many(self) -> None:
        assert reason(parse_ip, extended([60] * 9)) == "extension headers"

    @pytest.mark.parametrize("kind", [0, 43, 44, 51, 60])
    def test_an_extension_header_that_reaches_past_the_packet_is_refused(self, kind: int) -> None:
        assert reason(parse_ip, ipv6_frame(kind, bytes([UDP, 3, 0, 0, 0, 0, 0]))) == "ip length"
        if kind != 44:
            assert reason(parse_ip, ipv6_frame(kind, bytes([UDP, 30]) + bytes(30))) == "ip length"

    def test_an_authenticated_ipv4_packet_has_no_ports(self) -> None:
        assert parse_ip(ipv4_frame(51, bytes([UDP, 4]) + bytes(22) + UDP_BODY)).key == portless(V4, 51)

    @pytest.mark.parametrize("protocol", [33, 59, 135, 136])
    def test_protocols_whose_ports_openflow_cannot_match_have_none(self, protocol: int) -> None:
        assert parse_ip(ipv6_frame(protocol, TCP_BODY)).key == portless(V6, protocol)
        assert parse_ip(ipv4_frame(protocol, TCP_BODY)).key == portless(V4, protocol)

    def test_a_first_fragment_has_ports_and_says_that_more_will_come(self) -> None:
        for frame, key in [(ipv4_frame(UDP, UDP_BODY, fragment=0x2000), V4), (fragment_of_v6(1), V6)]:
            assert parse_ip(frame).key == key
            assert parse_ip(frame).more_fragments
        assert not parse_ip(ipv4_frame(UDP, UDP_BODY, fragment=0x4000)).more_fragments  # "don't fragment"
        assert not parse_ip(fragment_of_v6(0)).more_fragments  # RFC 6946: an atomic fragment

    @pytest.mark.parametrize("offset", [1, 185, 0x1FFF])
    def test_a_later_fragment_is_refused(self, offset: int) -> None:
        assert reason(parse_ip, ipv4_frame(UDP, UDP_BODY, fragment=offset)) == "fragment"
        assert reason(parse_ip, fragment_of_v6(offset << 3)) == "fragment"

    @pytest.mark.parametrize(
        ("expected", "frame"),
        [
            ("ethertype", MAC_B + MAC_A + b"\x81\x00\x00\x05" + build(V4)[12:]),
            ("ethertype", builders.arp_request(MAC_A, V4.source, V4.destination)),
            ("source mac", MAC_B + b"\x01" + MAC_A[1:] + build(V4)[12:]),
            ("ip version", build(V4)[:14] + b"\x65" + build(V4)[15:]),
            ("ip version", build(V6)[:14] + b"\x45" + build(V6)[15:]),
            ("ip length", build(V4)[:14] + b"\x44" + build(V4)[15:]),
            ("ip length", ipv4_frame(UDP, UDP_BODY, options=bytes(8), total=24)),
            ("truncated", ipv4_frame(UDP, UDP_BODY, total=29)),
            ("transport header", ipv4_frame(UDP, UDP_BODY[:7])),
            ("transport header", ipv4_frame(TCP, TCP_BODY[:19])),
            ("transport header", ipv4_frame(TCP, TCP_BODY[:12] + b"\x40" + TCP_BODY[13:])),
            ("transport header", ipv4_frame(TCP, TCP_BODY[:12] + b"\x60" + TCP_BODY[13:])),
            ("transport header", ipv4_frame(SCTP, bytes(11))),
            ("transport header", ipv4_frame(ICMP, b"\x08" + bytes(6))),
            ("transport header", ipv6_frame(ICMPV6, b"\x80" + bytes(6))),
        ],
    )
    def test_each_kind_of_malformed_frame_has_its_reason(self, expected: str, frame: bytes) -> None:
        assert reason(parse_ip, frame) == expected


# ------------------------------------------------------------------------------ hostile input

READERS: list[Callable[[bytes], object]] = [
    parse_ip,
    parse_arp,
    parse_nd,
    parse_icmp_error,
    builders.decrement_ttl,
    lambda frame: builders.echo_reply(frame, MAC_B),
    lambda frame: builders.unreachable(frame, MAC_B, V4.destination, builders.Unreachable.HOST),
    lambda frame: builders.unreachable(frame, MAC_B, V6.destination, builders.Unreachable.HOST),
]


def complaints(frame: bytes) -> set[str]:
    """The reasons for which the readers refuse this frame."""
    reasons = set()
    for read in READERS:
        try:
            read(frame)
        except BadFrame as error:
            reasons.add(str(error))
    return reasons


@st.composite
def sane_frames(draw: st.DrawFn) -> bytes:
    key = draw(keys())
    plain = build(key, draw(st.binary(max_size=40)))
    edge = V6.destination if len(key.source) == 16 else V4.destination
    error = builders.unreachable(plain, MAC_B, edge, builders.Unreachable.HOST)
    assert error
    return draw(
        st.sampled_from(
            [
                plain,
                error,
                builders.arp_reply(MAC_A, V4.source, MAC_B, V4.destination),
                builders.neighbour_solicitation(MAC_A, V6.source, V6.destination),
                builders.neighbour_advertisement(MAC_A, V6.source, V6.source, MAC_B, V6.destination, True),
                extended([0, 60, 43, 44, 51, 60]),
                ipv4_frame(UDP, UDP_BODY, options=b"\x94\x04\0\0" * 3),
            ]
        )
    )


at_once = settings(deadline=timedelta(seconds=1), max_examples=300)


class TestHostileBytes:
    @at_once
    @given(st.sampled_from([b"", b"\x08\x00\x45", b"\x08\x06", b"\x86\xdd\x60"]), st.binary(max_size=200))
    def test_raise_nothing_but_bad_frame(self, start: bytes, rest: bytes) -> None:
        assert complaints(MAC_B + MAC_A + start + rest) <= REASONS
        assert complaints(rest) <= REASONS

    @at_once
    @given(sane_frames(), st.data())
    def test_in_a_sane_frame_raise_nothing_but_bad_frame(self, frame: bytes, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(frame) - 1))
        changed = frame[:at] + data.draw(st.binary(min_size=1, max_size=4)) + frame[at + 1 :]
        assert complaints(changed) <= REASONS
        assert complaints(changed[: data.draw(st.integers(0, len(changed)))]) <= REASONS

    def test_of_the_largest_size_are_read_fast(self) -> None:
        nothing = struct.pack("!BBHI", 135, 0, 0, 0) + V6.destination + b"\x0e\x01" * 0x7FF0
        assert complaints(ipv6_frame(ICMPV6, nothing, hop_limit=255)) <= REASONS
        assert complaints(ipv6_frame(0, bytes(0xFFFF))) <= REASONS


class TestChecksum:
    def test_is_that_of_rfc_1071(self) -> None:
        assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF ^ 0xDDF2

    @given(st.binary(max_size=100))
    def test_is_the_complement_of_the_sum_of_all_words(self, data: bytes) -> None:
        assert checksum(data) == 0xFFFF ^ ones_complement_sum(data)


# ------------------------------------------------------------------------------ neighbours


class TestArp:
    @given(macs, macs, v4_hosts, v4_hosts)
    def test_requests_and_replies_parse_back(self, mine: bytes, other: bytes, sender: bytes, target: bytes) -> None:
        request = parse_arp(builders.arp_request(mine, sender, target))
        assert request == (mine, 1, mine, sender, bytes(6), target)
        assert parse_arp(builders.arp_reply(mine, sender, other, target)) == (
            mine,
            2,
            mine,
            sender,
            other,
            target,
        )

    def test_requests_and_replies_are_those_that_os_ken_builds(self) -> None:
        sides = {"src_mac": mac(MAC_A), "src_ip": "10.1.0.10", "dst_ip": "10.1.0.1"}
        for built, destination, expected in [
            (
                builders.arp_request(MAC_A, V4.source, packed("10.1.0.1")),
                b"\xff" * 6,
                arp.arp(opcode=1, dst_mac="00:00:00:00:00:00", **sides),
            ),
            (
                builders.arp_reply(MAC_A, V4.source, MAC_B, packed("10.1.0.1")),
                MAC_B,
                arp.arp(opcode=2, dst_mac=mac(MAC_B), **sides),
            ),
        ]:
            frame = packet.Packet()
            frame.add_protocol(ethernet.ethernet(mac(destination), mac(MAC_A), 0x0806))
            frame.add_protocol(expected)
            frame.serialize()
            assert built.ljust(60, b"\0") == bytes(frame.data)

    def test_a_probe_is_sent_to_one_host_only(self) -> None:
        assert builders.arp_request(MAC_A, V4.source, V4.destination, MAC_B)[:6] == MAC_B

    @pytest.mark.parametrize(
        ("expected", "at", "value"),
        [
            ("ethertype", 12, b"\x08\x00"),
            ("arp", 14, b"\0\6"),  # not Ethernet
            ("arp", 16, b"\x86\xdd"),
            ("arp", 18, b"\x08"),
            ("arp", 19, b"\x10"),
            ("arp", 20, b"\0\3"),  # RARP
            ("source mac", 6, b"\xff"),
            ("source mac", 22, b"\xff"),
        ],
    )
    def test_anything_else_is_refused(self, expected: str, at: int, value: bytes) -> None:
        frame = builders.arp_request(MAC_A, V4.source, V4.destination)
        assert reason(parse_arp, frame[:at] + value + frame[at + len(value) :]) == expected
        assert reason(parse_arp, frame[:41]) == "truncated"


GROUP = packed("ff02::1:ff00:1")  # solicited-node group of V6.destination
UNSPECIFIED = bytes(16)
FROM_A, TO_A = b"\1\1" + MAC_A, b"\2\1" + MAC_A  # link-layer address options


def nd_frame(kind: int, options: bytes = b"", flags: int = 0, code: int = 0, **header: Any) -> bytes:
    header = {"source": V6.source, "destination": GROUP, "hop_limit": 255, "target": V6.destination, **header}
    message = struct.pack("!BBHI", kind, code, 0, flags << 24) + header.pop("target") + options
    pseudo = header["source"] + header["destination"] + struct.pack("!HH", len(message), ICMPV6)
    sum_ = 0xFFFF ^ ones_complement_sum(pseudo + message)
    return ipv6_frame(ICMPV6, message[:2] + struct.pack("!H", sum_) + message[4:], **header)


class TestNeighbourDiscovery:
    @given(macs, macs, v6_hosts, v6_hosts, st.booleans())
    def test_what_is_built_parses_back(
        self, mine: bytes, other: bytes, source: bytes, target: bytes, solicited: bool
    ) -> None:
        group = GROUP[:13] + target[13:]
        asked = parse_nd(builders.neighbour_solicitation(mine, source, target))
        assert asked == (mine, False, source, group, target, mine, False, False)
        probe = builders.neighbour_solicitation(mine, source, target, other)
        assert probe[:6] == other
        assert parse_nd(probe).destination == target
        answer = builders.neighbour_advertisement(mine, source, target, other, source, solicited)
        assert parse_nd(answer) == (mine, True, source, source, target, mine, solicited, True)

    def test_what_is_built_is_what_os_ken_builds(self) -> None:
        question = icmpv6.nd_neighbor(dst="2001:db8:ff::1", option=icmpv6.nd_option_sla(hw_src=mac(MAC_A)))
        answer = icmpv6.nd_neighbor(res=7, dst="2001:db8:ff::1", option=icmpv6.nd_option_tla(hw_src=mac(MAC_A)))
        asked = builders.neighbour_solicitation(MAC_A, V6.source, V6.destination)
        advertisement = builders.neighbour_advertisement(MAC_A, V6.source, V6.destination, MAC_B, V6.source, True)
        for built, kind, to_mac, to, message in [
            (asked, 135, b"\x33\x33\xff\0\0\1", GROUP, question),
            (advertisement, 136, MAC_B, V6.source, answer),
        ]:
            frame = packet.Packet()
            frame.add_protocol(ethernet.ethernet(mac(to_mac), mac(MAC_A), 0x86DD))
            frame.add_protocol(ipv6.ipv6(nxt=58, src=text(V6.source), dst=text(to), hop_limit=255))
            frame.add_protocol(icmpv6.icmpv6(kind, 0, data=message))
            frame.serialize()
            assert built == bytes(frame.data)

    def test_duplicate_address_detection_is_understood(self) -> None:
        asked = parse_nd(nd_frame(135, source=UNSPECIFIED))
        assert (asked.source, asked.target, asked.link_layer) == (UNSPECIFIED, V6.destination, None)
        built = builders.neighbour_solicitation(MAC_A, UNSPECIFIED, V6.destination)
        assert built[22:] == nd_frame(135, source=UNSPECIFIED)[22:]

    def test_unknown_options_are_stepped_over(self) -> None:
        assert parse_nd(nd_frame(135, b"\x0e\2" + bytes(14) + FROM_A)).link_layer == MAC_A
        assert parse_nd(nd_frame(135, TO_A)).link_layer is None

    def test_the_first_of_several_link_layer_options_counts(self) -> None:
        assert parse_nd(nd_frame(135, FROM_A + b"\1\1" + MAC_B)).link_layer == MAC_A

    def test_an_unsolicited_advertisement_is_understood(self) -> None:
        advertisement = parse_nd(nd_frame(136, TO_A, flags=0x20, destination=ALL_NODES))
        assert (advertisement.advertisement, advertisement.solicited, advertisement.override) == (True, False, True)

    @pytest.mark.parametrize(
        "frame",
        [
            nd_frame(135, FROM_A, hop_limit=254),
            nd_frame(135, FROM_A, code=1),
            nd_frame(135, FROM_A, target=GROUP),
            nd_frame(135, FROM_A, source=ALL_NODES),
            nd_frame(135, b"\1\0" + MAC_A),  # an option without length
            nd_frame(135, FROM_A + b"\x0e"),
            nd_frame(135, FROM_A + b"\x0e\2" + bytes(6)),
            nd_frame(135, b"\1\2" + MAC_A + bytes(8)),  # not an Ethernet address
            nd_frame(135, FROM_A, source=UNSPECIFIED),
            nd_frame(135, source=UNSPECIFIED, destination=V6.destination),
            nd_frame(135, source=UNSPECIFIED, destination=ALL_NODES),
            nd_frame(136, TO_A, flags=0x40, destination=ALL_NODES),
            nd_frame(136, TO_A, target=GROUP),
            nd_frame(135, target=b""),
            extended([60], ICMPV6, nd_frame(135, FROM_A)[54:], hop_limit=255),
        ],
    )
    def test_what_rfc_4861_forbids_is_refused(self, frame: bytes) -> None:
        assert reason(parse_nd, frame) == "neighbour discovery"

    def test_a_group_address_is_refused_as_a_link_layer_address(self) -> None:
        assert reason(parse_nd, nd_frame(135, b"\1\1\x33\x33" + bytes(4))) == "source mac"

    def test_other_messages_are_refused(self) -> None:
        assert reason(parse_nd, nd_frame(134)) == "icmp type"
        assert reason(parse_nd, ipv4_frame(ICMP, b"\x87" + bytes(23))) == "icmp type"

    @given(st.integers(22, 85), st.integers(1, 255))
    def test_any_damaged_byte_of_addresses_or_message_is_noticed(self, at: int, damage: int) -> None:
        frame = nd_frame(135, FROM_A)
        reason(parse_nd, frame[:at] + bytes([frame[at] ^ damage]) + frame[at + 1 :])


class TestTags:
    @given(st.binary(min_size=2, max_size=60), st.integers(0, 15), st.sampled_from((b"\x81\0", b"\x88\xa8")))
    def test_only_a_priority_tag_is_removed(self, behind: bytes, priority: int, ethertype: bytes) -> None:
        macs = MAC_A + MAC_B
        frame = macs + ethertype + bytes((priority << 4, 0)) + behind
        if behind[:2] in (b"\x81\0", b"\x88\xa8"):
            assert reason(untagged, frame) == "tagged"
        else:
            assert untagged(frame) == macs + behind

    @given(st.binary(max_size=60), st.integers(1, 4095), st.integers(0, 15))
    def test_the_tag_of_a_vlan_is_refused(self, behind: bytes, vid: int, priority: int) -> None:
        frame = MAC_A + MAC_B + b"\x81\0" + (priority << 12 | vid).to_bytes(2, "big") + behind
        assert reason(untagged, frame) == ("tagged" if len(behind) >= 2 else "truncated")

    def test_arp_and_nd_are_read_behind_a_priority_tag(self) -> None:
        for read, frame in ((parse_arp, builders.arp_request(MAC_A, V4.source, V4.destination)),
                            (parse_nd, nd_frame(135, FROM_A))):  # fmt: skip
            assert read(frame[:12] + b"\x81\0\xe0\0" + frame[12:]) == read(frame)
            assert reason(read, frame[:12] + b"\x81\0\0\1" + frame[12:]) == "tagged"
