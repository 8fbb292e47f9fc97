"""Built and changed frames: they parse back, their checksums hold, and RFCs' prohibitions are kept.

Checksums are verified by a second, slower implementation (``ones_complement_sum``), and well-formed
frames are compared byte for byte with those of ``os_ken.lib.packet``.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from os_ken.lib.packet import ethernet, icmp, icmpv6, ipv4, ipv6, packet, tcp, udp

from anycast_sdn.core.model import ICMP, ICMPV6, SCTP, TCP, UDP, FlowKey, packed, text
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.builders import Unreachable, ip_packet, translate_icmp_error, unreachable
from anycast_sdn.openflow.frames import IpPacket, parse_icmp_error, parse_ip, transport_checksum
from anycast_sdn.openflow.rules import TCP_SYN
from tests.unit.frame_samples import (
    ALL_NODES,
    BOTH,
    MAC_A,
    MAC_B,
    UDP_BODY,
    V4,
    V6,
    assert_checksums_hold,
    build,
    fragment_of_v6,
    ipv4_frame,
    ipv6_frame,
    keys,
    mac,
    macs,
    portless,
    ports,
    reason,
    v4_hosts,
    v6_hosts,
)


class TestBuiltPackets:
    @given(keys(), macs, macs, st.integers(1, 255), st.binary(max_size=80))
    def test_parse_back_to_their_flow(
        self, key: FlowKey, source: bytes, destination: bytes, ttl: int, payload: bytes
    ) -> None:
        parsed = parse_ip(ip_packet(key, eth_src=source, eth_dst=destination, ttl=ttl, payload=payload))
        assert parsed.key == key
        assert (parsed.eth_src, parsed.eth_dst, parsed.ttl) == (source, destination, ttl)

    @given(keys(), st.binary(max_size=81))
    def test_carry_correct_checksums(self, key: FlowKey, payload: bytes) -> None:
        assert_checksums_hold(build(key, payload))

    @given(keys(), st.binary(max_size=60))
    def test_are_refused_when_cut_anywhere(self, key: FlowKey, payload: bytes) -> None:
        frame = build(key, payload)
        for size in range(len(frame)):
            assert reason(parse_ip, frame[:size]) == "truncated"

    @given(keys(), st.binary(max_size=20), st.binary(max_size=46))
    def test_mean_the_same_with_ethernet_padding(self, key: FlowKey, payload: bytes, padding: bytes) -> None:
        frame = build(key, payload)
        assert parse_ip(frame + padding) == parse_ip(frame)

    @given(keys((TCP, UDP, ICMP, ICMPV6)), st.binary(min_size=1, max_size=40))
    def test_are_those_that_os_ken_builds(self, key: FlowKey, payload: bytes) -> None:
        assert build(key, payload).ljust(60, b"\0") == os_ken_packet(key, payload)

    def test_of_sctp_carry_crc32c(self) -> None:
        zeros = FlowKey(V4.source, V4.destination, SCTP, 0, 0)
        assert build(zeros, bytes(20))[42:46].hex() == "aa36918a"  # RFC 3720 §B.4: 32 bytes of zeros

    @BOTH
    def test_never_say_that_udp_has_no_checksum(self, key: FlowKey) -> None:
        at = parse_ip(build(key)).l4 + 6
        cancels = build(key, b"\0\0")[at : at + 2]  # this payload makes the sum 0
        assert build(key, cancels)[at : at + 2] == b"\xff\xff"

    @BOTH
    def test_of_icmp_are_echo_requests_by_default(self, key: FlowKey) -> None:
        protocol, request, reply = (ICMP, 8, 0) if key is V4 else (ICMPV6, 128, 129)
        key = key._replace(protocol=protocol, source_port=0, destination_port=0)
        assert parse_ip(build(key)).icmp_type == request
        assert parse_ip(build(key, icmp_type=reply)).icmp_type == reply


def os_ken_packet(key: FlowKey, payload: bytes) -> bytes:
    built = packet.Packet()
    source, destination, protocol = text(key.source), text(key.destination), key.protocol
    v6 = len(key.source) == 16
    built.add_protocol(ethernet.ethernet(mac(MAC_B), mac(MAC_A), 0x86DD if v6 else 0x0800))
    if v6:
        built.add_protocol(ipv6.ipv6(nxt=protocol, src=source, dst=destination, hop_limit=64))
    else:
        built.add_protocol(ipv4.ipv4(proto=protocol, src=source, dst=destination, ttl=64, flags=2))
    numbers = key.source_port, key.destination_port
    if protocol == TCP:
        built.add_protocol(tcp.tcp(*numbers, seq=1, bits=TCP_SYN, window_size=0xFFFF))
    elif protocol == UDP:
        built.add_protocol(udp.udp(*numbers))
    elif protocol == ICMP:
        built.add_protocol(icmp.icmp(8, 0, data=icmp.echo(1, 1, payload)))
    else:
        built.add_protocol(icmpv6.icmpv6(128, 0, data=icmpv6.echo(1, 1, payload)))
    if protocol in (TCP, UDP):
        built.add_protocol(payload)
    built.serialize()
    return bytes(built.data)


# ------------------------------------------------------------------------------ ICMP


def echo(key: FlowKey, **more: Any) -> bytes:
    return build(portless(key, ICMP if len(key.source) == 4 else ICMPV6), **more)


class TestEchoReplies:
    @given(keys((ICMP, ICMPV6)), ports, ports, st.binary(max_size=60))
    def test_return_what_was_asked(self, key: FlowKey, identifier: int, sequence: int, payload: bytes) -> None:
        more: dict[str, Any] = {"identifier": identifier, "sequence": sequence, "payload": payload}
        reply = builders.echo_reply(build(key, ttl=3, **more), MAC_B)
        padded = builders.echo_reply(build(key, ttl=3, **more) + bytes(18), MAC_B)
        assert padded == reply
        back = key._replace(source=key.destination, destination=key.source)
        kind = 0 if key.protocol == ICMP else 129
        assert reply == ip_packet(back, eth_src=MAC_B, eth_dst=MAC_A, icmp_type=kind, **more)

    @BOTH
    def test_are_sent_for_complete_requests_only(self, key: FlowKey) -> None:
        def answer(frame: bytes) -> bytes:
            return builders.echo_reply(frame, MAC_B)

        asked = echo(key, payload=b"abc")
        assert reason(answer, asked[:-1] + b"d") == "checksum"
        assert reason(answer, build(key)) == "icmp type"
        assert reason(answer, echo(key, icmp_type=0)) == "icmp type"
        group = packed("224.0.0.1") if key is V4 else ALL_NODES
        assert reason(answer, echo(key._replace(source=group))) == "ip source"


def edge_of(key: FlowKey) -> bytes:
    return packed("10.1.0.1") if len(key.source) == 4 else packed("2001:db8:1::1")


class TestUnreachable:
    @pytest.mark.parametrize(
        ("why", "v4", "v6"),
        [
            (Unreachable.ADMINISTRATIVELY_PROHIBITED, (3, 13), (1, 1)),
            (Unreachable.HOST, (3, 1), (1, 3)),
            (Unreachable.NO_SERVICE, (3, 1), (1, 0)),
        ],
    )
    @given(key=keys(), payload=st.binary(max_size=20))
    def test_tells_the_sender_why_and_about_which_flow(
        self, why: Unreachable, v4: tuple[int, int], v6: tuple[int, int], key: FlowKey, payload: bytes
    ) -> None:
        frame = unreachable(build(key, payload), MAC_B, edge_of(key), why)
        assert frame
        assert_checksums_hold(frame)
        error = parse_icmp_error(frame)
        assert (error.type, error.code) == (v4 if len(key.source) == 4 else v6)
        assert (error.eth_dst, error.source, error.destination) == (MAC_A, edge_of(key), key.source)
        assert error.quoted == key

    @BOTH
    def test_does_not_quote_ethernet_padding(self, key: FlowKey) -> None:
        frame = unreachable(build(key) + bytes(18), MAC_B, edge_of(key), Unreachable.HOST)
        assert frame == unreachable(build(key), MAC_B, edge_of(key), Unreachable.HOST)

    @pytest.mark.parametrize(("key", "most"), [(V4, 576), (V6, 1280)])
    def test_quotes_as_much_as_allowed(self, key: FlowKey, most: int) -> None:
        frame = unreachable(build(key, bytes(1400)), MAC_B, edge_of(key), Unreachable.HOST)
        assert frame
        assert len(frame) == 14 + most
        assert parse_icmp_error(frame).quoted == key

    @BOTH
    def test_is_not_sent_about_packets_that_must_not_be_answered(self, key: FlowKey) -> None:
        group = packed("224.0.0.1") if key is V4 else ALL_NODES
        unspecified = bytes(len(key.source))
        some_error = unreachable(build(key), MAC_A, edge_of(key), Unreachable.HOST)
        assert some_error
        forbidden = [
            some_error,
            build(key._replace(destination=group)),
            build(key._replace(source=group)),
            build(key._replace(source=unspecified)),
            build(key._replace(source=packed("127.0.0.1") if key is V4 else packed("::1"))),
            b"\xff" * 6 + build(key)[6:],
            ipv4_frame(UDP, UDP_BODY, fragment=1) if key is V4 else fragment_of_v6(8),
            echo(key, icmp_type=5 if key is V4 else 137),
            build(key)[:-1],
        ]
        if key is V4:
            forbidden += [
                build(key._replace(destination=b"\xff" * 4)),
                build(key._replace(source=b"\xff" * 4)),
            ]
        assert [unreachable(frame, MAC_B, edge_of(key), Unreachable.HOST) for frame in forbidden] == (
            [None] * len(forbidden)
        )

    @BOTH
    def test_is_sent_about_echo_requests_and_first_fragments(self, key: FlowKey) -> None:
        first = ipv4_frame(UDP, UDP_BODY, fragment=0x2000) if key is V4 else fragment_of_v6(1)
        for frame in echo(key), first:
            assert unreachable(frame, MAC_B, edge_of(key), Unreachable.HOST) is not None


def icmp_error(key: FlowKey, quote: bytes, kind: int | None = None) -> bytes:
    """An error from the edge that quotes these bytes, as ICMP echo builds it: same layout."""
    kind = kind if kind is not None else 3 if len(key.source) == 4 else 1
    back = key._replace(source=edge_of(key), destination=key.source)
    return echo(back, icmp_type=kind, identifier=0, sequence=0, payload=quote)


SYN, ACK, FIN, RST = 0x02, 0x10, 0x01, 0x04


class TestResets:
    @staticmethod
    def of(key: FlowKey, *, cut: int | None = None, **options: Any) -> tuple[IpPacket, int, int, int]:
        """(the packet of the RST to a segment, its sequence and acknowledgment numbers, its flags)"""
        frame = ip_packet(key, eth_src=MAC_A, eth_dst=MAC_B, **options)
        reset = builders.tcp_reset(frame[:cut], MAC_B)
        assert reset is not None
        packet = parse_ip(reset)
        sequence, acknowledged = (int.from_bytes(reset[at : at + 4], "big") for at in (packet.l4 + 4, packet.l4 + 8))
        assert_checksums_hold(reset)
        return packet, sequence, acknowledged, reset[packet.l4 + 13]

    @given(keys((TCP,)), st.integers(0, 2**32 - 1), st.binary(max_size=80))
    def test_to_a_syn_acknowledge_it(self, key: FlowKey, sequence: int, payload: bytes) -> None:
        packet, *numbers, flags = self.of(key, sequence=sequence, tcp_flags=SYN, payload=payload)
        assert packet.key == key.reverse
        assert (packet.eth_src, packet.eth_dst) == (MAC_B, MAC_A)
        assert numbers == [0, (sequence + 1 + len(payload)) % 2**32]
        assert flags == RST | ACK

    @given(keys((TCP,)), st.integers(0, 2**32 - 1), st.sampled_from([ACK, ACK | FIN, ACK | SYN, ACK | 8]))
    def test_to_a_segment_that_acknowledges_have_the_number_that_it_waits_for(
        self, key: FlowKey, acknowledged: int, flags: int
    ) -> None:
        frame = ip_packet(key, eth_src=MAC_A, eth_dst=MAC_B, tcp_flags=flags, payload=b"data")
        at = parse_ip(frame).l4
        frame = with_tcp_checksum(frame[: at + 8] + acknowledged.to_bytes(4, "big") + frame[at + 12 :])
        reset = builders.tcp_reset(frame, MAC_B)
        assert reset is not None
        assert_checksums_hold(reset)
        at = parse_ip(reset).l4
        assert int.from_bytes(reset[at + 4 : at + 8], "big") == acknowledged
        assert reset[at + 13] == RST

    @BOTH
    def test_to_a_fin_without_ack_count_it(self, key: FlowKey) -> None:
        _, *numbers, flags = self.of(key._replace(protocol=TCP), sequence=2**32 - 1, tcp_flags=FIN, payload=b"abc")
        assert (numbers, flags) == ([0, 3], RST | ACK)

    @BOTH
    def test_do_not_count_the_padding_of_the_frame(self, key: FlowKey) -> None:
        frame = ip_packet(key._replace(protocol=TCP), eth_src=MAC_A, eth_dst=MAC_B)
        assert builders.tcp_reset(frame + bytes(6), MAC_B) == builders.tcp_reset(frame, MAC_B)

    @BOTH
    def test_are_not_sent_about_what_is_no_segment_to_reset(self, key: FlowKey) -> None:
        key = key._replace(protocol=TCP)
        syn = ip_packet(key, eth_src=MAC_A, eth_dst=MAC_B)
        assert builders.tcp_reset(ip_packet(key, eth_src=MAC_A, eth_dst=MAC_B, tcp_flags=RST | ACK), MAC_B) is None
        assert builders.tcp_reset(build(key._replace(protocol=UDP)), MAC_B) is None
        assert builders.tcp_reset(b"\xff" * 6 + syn[6:], MAC_B) is None  # a broadcast on the wire
        assert builders.tcp_reset(syn[:-1] + b"\1", MAC_B) is None  # damaged
        everybody = bytes([224, 0, 0, 1]) if len(key.source) == 4 else ALL_NODES
        nobody = ip_packet(key._replace(source=everybody), eth_src=MAC_A, eth_dst=MAC_B)
        assert builders.tcp_reset(nobody, MAC_B) is None

    @given(st.binary(max_size=100))
    def test_of_anything_raise_nothing(self, data: bytes) -> None:
        builders.tcp_reset(data, MAC_B)


def with_tcp_checksum(frame: bytes) -> bytes:
    packet = parse_ip(frame)
    blank = frame[: packet.l4 + 16] + b"\0\0" + frame[packet.l4 + 18 :]
    value = transport_checksum(packet.key.source, packet.key.destination, TCP, blank[packet.l4 : packet.end])
    return blank[: packet.l4 + 16] + value.to_bytes(2, "big") + blank[packet.l4 + 18 :]


class TestIcmpErrors:
    @given(keys(), st.binary(max_size=30), st.data())
    def test_are_translated_there_and_back(self, key: FlowKey, payload: bytes, data: st.DataObject) -> None:
        inside = build(key, payload)
        error = icmp_error(key, inside[14:])
        hosts = v4_hosts if len(key.source) == 4 else v6_hosts
        router, client, quoted_client, server = (data.draw(hosts) for _ in range(4))
        there = translate_icmp_error(
            error, source=router, destination=client, quoted_source=quoted_client, quoted_destination=server
        )
        assert_checksums_hold(there)
        parsed = parse_icmp_error(there)
        assert (parsed.source, parsed.destination) == (router, client)
        quoted = key._replace(source=quoted_client, destination=server)
        assert parsed.quoted == quoted
        assert inside[:14] + there[parsed.quoted_l3 :] == build(quoted, payload)
        back = translate_icmp_error(
            there,
            source=edge_of(key),
            destination=key.source,
            quoted_source=key.source,
            quoted_destination=key.destination,
        )
        assert back == error

    @given(keys((TCP, UDP, SCTP)), st.integers(8, 19))
    def test_are_translated_when_they_quote_an_incomplete_header(self, key: FlowKey, size: int) -> None:
        header = 20 if len(key.source) == 4 else 40
        inside = build(key)[14 : 14 + header + size]
        there = swap_quoted(icmp_error(key, inside))
        assert parse_icmp_error(there).quoted == key._replace(source=key.destination, destination=key.source)
        assert swap_quoted(there) == icmp_error(key, inside)
        assert reason(parse_icmp_error, icmp_error(key, inside[: header + 7])) == "truncated"

    def test_that_quote_less_than_the_ip_headers_are_refused(self) -> None:
        options = ipv4_frame(253, b"", options=b"\x94\x04\0\0" * 3)[14:-4]
        assert reason(parse_icmp_error, icmp_error(V4, options)) == "truncated"
        extension = ipv6_frame(60, bytes([253, 1]) + bytes(14))[14:-4]
        assert reason(parse_icmp_error, icmp_error(V6, extension)) == "truncated"

    def test_leave_a_udp_packet_without_checksum_without(self) -> None:
        without = build(V4)[:40] + b"\0\0"
        assert swap_quoted(icmp_error(V4, without[14:]))[-2:] == b"\0\0"

    @pytest.mark.parametrize(("key", "kinds"), [(V4, {3, 11, 12}), (V6, {1, 2, 3, 4})], ids=["IPv4", "IPv6"])
    def test_are_of_these_types_only(self, key: FlowKey, kinds: set[int]) -> None:
        inside = build(key)[14:]
        for kind in range(256):
            frame = icmp_error(key, inside, kind)
            if kind in kinds:
                assert parse_icmp_error(frame).type == kind
            else:
                assert reason(parse_icmp_error, frame) == "icmp type"
        assert reason(parse_icmp_error, build(key)) == "icmp type"

    @BOTH
    def test_with_damage_are_refused(self, key: FlowKey) -> None:
        frame = icmp_error(key, build(key)[14:])
        assert reason(parse_icmp_error, frame[:-1] + bytes([frame[-1] ^ 1])) == "checksum"

    def test_that_quote_a_damaged_ipv4_header_are_refused(self) -> None:
        inside = build(V4)[14:]
        assert reason(parse_icmp_error, icmp_error(V4, inside[:8] + b"\1" + inside[9:])) == "checksum"

    @BOTH
    def test_that_quote_a_later_fragment_or_the_other_family_are_refused(self, key: FlowKey) -> None:
        later = ipv4_frame(UDP, UDP_BODY, fragment=1) if key is V4 else fragment_of_v6(8)
        assert reason(parse_icmp_error, icmp_error(key, later[14:])) == "fragment"
        other = V6 if key is V4 else V4
        assert reason(parse_icmp_error, icmp_error(key, build(other, bytes(20))[14:])) == "ip version"

    def test_are_not_translated_to_the_other_family(self) -> None:
        frame = icmp_error(V4, build(V4)[14:])
        with pytest.raises(ValueError, match="family"):
            translate_icmp_error(
                frame,
                source=V6.source,
                destination=V4.source,
                quoted_source=V4.source,
                quoted_destination=V4.destination,
            )


def swap_quoted(frame: bytes) -> bytes:
    """The error about the packet the other way round."""
    error = parse_icmp_error(frame)
    return translate_icmp_error(
        frame,
        source=error.source,
        destination=error.destination,
        quoted_source=error.quoted.destination,
        quoted_destination=error.quoted.source,
    )


# ------------------------------------------------------------------------------ changes


class TestChanges:
    @given(keys(), st.binary(max_size=40), st.data())
    def test_of_an_address_give_the_packet_of_the_new_flow(
        self, key: FlowKey, payload: bytes, data: st.DataObject
    ) -> None:
        family, hosts = ("ipv4", v4_hosts) if len(key.source) == 4 else ("ipv6", v6_hosts)
        new = data.draw(hosts)
        frame = build(key, payload)
        assert builders.rewrite(frame, f"{family}_src", new) == build(key._replace(source=new), payload)
        assert builders.rewrite(frame, f"{family}_dst", new) == build(key._replace(destination=new), payload)

    @pytest.mark.parametrize(("key", "protocol"), [(V4, ICMPV6), (V6, ICMP)])
    def test_leave_icmp_of_the_other_family_alone(self, key: FlowKey, protocol: int) -> None:
        frame = build(portless(key, protocol), b"no ICMP")
        assert builders.rewrite(frame, "ipv4_src" if key is V4 else "ipv6_src", key.destination)[-7:] == b"no ICMP"

    @BOTH
    def test_never_take_away_the_checksum_of_udp(self, key: FlowKey) -> None:
        at = parse_ip(build(key)).l4 + 6
        cancels = build(key, b"\0\0")[at : at + 2]  # this payload makes the sum 0
        other = build(key._replace(source=key.destination), cancels)
        changed = builders.rewrite(other, "ipv4_src" if key is V4 else "ipv6_src", key.source)
        assert changed[at : at + 2] == b"\xff\xff"

    @BOTH
    def test_of_a_mac_change_nothing_else(self, key: FlowKey) -> None:
        frame = build(key)
        assert builders.rewrite(frame, "eth_src", MAC_B) == MAC_B + MAC_B + frame[12:]
        assert builders.rewrite(frame, "eth_dst", MAC_A) == MAC_A + MAC_A + frame[12:]

    @pytest.mark.parametrize(
        ("field", "value"), [("eth_src", 5), ("eth_src", V4.source), ("ipv6_src", V6.source), ("udp_src", 5)]
    )
    def test_that_no_switch_could_make_are_refused(self, field: str, value: bytes | int) -> None:
        with pytest.raises(ValueError, match=r"cannot set|family"):
            builders.rewrite(build(V4), field, value)

    @given(keys(), st.integers(2, 255))
    def test_of_the_ttl_give_the_packet_one_hop_on(self, key: FlowKey, ttl: int) -> None:
        assert builders.decrement_ttl(build(key, ttl=ttl)) == build(key, ttl=ttl - 1)

    @BOTH
    @pytest.mark.parametrize("ttl", [0, 1])
    def test_of_a_ttl_that_has_run_out_give_nothing(self, key: FlowKey, ttl: int) -> None:
        assert builders.decrement_ttl(build(key, ttl=ttl)) is None
