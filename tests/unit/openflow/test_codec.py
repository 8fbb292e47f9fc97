"""Bytes of OpenFlow: the templates equal OS-Ken's serialiser, and what we write we read back."""

from __future__ import annotations

import contextlib
import struct
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from os_ken.ofproto import ofproto_v1_3 as ofp
from os_ken.ofproto.ofproto_protocol import ProtocolDesc

from anycast_sdn.core.bindings import Binding, Half
from anycast_sdn.core.model import WHOLE, FlowKey, Gateway, Prefix
from anycast_sdn.core.roles import ClientEdgeRole, Side, Subnet
from anycast_sdn.description.model import Limits
from anycast_sdn.openflow import codec, decoding, entries, meters
from anycast_sdn.openflow.layout import FIVE_TABLES
from anycast_sdn.openflow.meters import PARTS, REPLY_METERS
from anycast_sdn.openflow.pipeline import cookie, kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import (
    OFPP_CONTROLLER,
    OFPP_TABLE,
    Action,
    AddFlow,
    Copy,
    DecTtl,
    DeleteCookie,
    DeleteFlow,
    Field,
    FinTimeout,
    FlowRule,
    ForgetInPort,
    Output,
    PacketOut,
    PutBinding,
    RemoveBinding,
    Resubmit,
    SetField,
    match,
)
from anycast_sdn.openflow.tracked_frame import TrackedFrame

DATAPATH = ProtocolDesc(version=ofp.OFP_VERSION)
DATAPATH.set_xid = lambda message: message.set_xid(0)
encode = codec.encoder(FIVE_TABLES).encode
decode_flow_stats = partial(decoding.decode_flow_stats, layout=FIVE_TABLES)
decode_groups = partial(decoding.decode_groups, layout=FIVE_TABLES)


@st.composite
def puts(draw: st.DrawFn) -> PutBinding:
    size = draw(st.sampled_from((4, 16)))
    address = st.binary(min_size=size, max_size=size)
    protocol = draw(st.sampled_from((1, 6, 17, 47, 58, 132, 253, WHOLE)) | st.integers(0, 255))
    port = st.integers(0, 65535) if protocol in (6, 17, 132) else st.just(0)
    key = FlowKey(draw(address), draw(address), protocol, draw(port), draw(port))
    half = draw(st.sampled_from((Half.OUT, Half.IN)))
    server = draw(address if half is Half.IN else st.none() | address)
    number = draw(st.integers(1, (1 << 40) - 1))
    binding = Binding(number, key, draw(address), "web", 0.0, server)
    fin_timeout = 0 if key.is_whole else draw(st.integers(0, 65535))
    return PutBinding(binding, half, draw(st.integers(0, 65535)), fin_timeout, key.is_whole and draw(st.booleans()))


@given(puts())
def test_a_template_gives_the_bytes_of_the_serialiser(put: PutBinding) -> None:
    assert encode(DATAPATH, [put]) == encode(DATAPATH, [AddFlow(entries.binding(put))])


@given(puts())
def test_a_template_deletes_the_entry_that_it_added(put: PutBinding) -> None:
    ours = encode(DATAPATH, [RemoveBinding(put)])
    theirs = encode(DATAPATH, [DeleteFlow(entries.binding(put))])
    assert ours == theirs


@given(st.binary(max_size=2000), st.sampled_from((1, 7, OFPP_CONTROLLER)), st.sampled_from((3, OFPP_TABLE)))
def test_a_packet_out_has_the_bytes_of_the_serialiser(frame: bytes, in_port: int, port: int) -> None:
    message = PacketOut(frame, in_port, (Output(port),))
    built = codec._build(DATAPATH, message)
    built.xid = 0
    assert encode(DATAPATH, [message]) == codec.serialised(DATAPATH, built)


def as_flow_stats(rule: FlowRule) -> bytes:
    """The flow-mod of a rule, rearranged into the entry that a switch would dump."""
    mod = encode(DATAPATH, [AddFlow(rule)])
    rest = mod[48:]  # match and instructions
    flags = ofp.OFPFF_SEND_FLOW_REM if rule.notify else 0
    return (
        struct.pack("!HBxIIHHHH4xQQQ", 48 + len(rest), rule.table, 1, 0, rule.priority, rule.idle_timeout, 0, flags,
                    rule.cookie, 5, 500) + rest
    )  # fmt: skip


@given(st.lists(puts(), max_size=5))
def test_rules_are_read_back_as_they_were_written(written: list[PutBinding]) -> None:
    rules = [entries.binding(put) for put in written]
    body = b"".join(map(as_flow_stats, rules))
    assert decode_flow_stats(body) == (rules, set())


def test_all_other_rules_are_read_back_too() -> None:
    rules = [
        *entries.constant(),
        *entries.ingress([], [10], [Prefix.parse("198.18.0.0/16")], hairpin=True),
        entries.host(b"\x0a\x01\x00\x0a", b"\x02\xac\0\0\0\1", b"\2\0\0\0\0\1", 3),
        entries.host(b"\x0a\x01\x00\x0b", b"\x02\xac\0\0\0\1", b"\2\0\0\0\0\1", 3, hairpin=True),
        entries.route(Prefix.parse("10.2.0.0/24"), 65000, 1400),
        entries.egress_route(Prefix.parse("::/0"), b"\x02\xac\0\0\0\1", b"\2\0\0\0\0\1", 3, 65520),
        *entries.egress({3: 65520, 65000: 576}),
        entries.connected(Prefix.parse("2001:db8:1::/64")),
        entries.route(Prefix.parse("203.0.113.0/24"), 10),
        entries.service(Prefix.parse("198.18.0.0/28"), 77),
    ]
    assert decode_flow_stats(b"".join(map(as_flow_stats, rules))) == (rules, set())


ENDS_AND_SYNS = [
    rule
    for rule in entries.client_edge(
        ClientEdgeRole((Prefix.parse("203.0.113.0/24"), Prefix.parse("2001:db8:1:f::/64")), (Prefix.parse("::/0"),)),
        [Subnet("n1", "e", Side.CLIENT, (Gateway.parse("10.1.0.1/24"), Gateway.parse("2001:db8:1::1/64")), (1, 2))],
        [Prefix.parse("198.18.0.0/16")],
        tcp_flags=True,
    )
    if kind_of(rule.cookie) in (Kind.TCP_END, Kind.SYN)
]


@pytest.mark.parametrize("metered", [True, False], ids=["with meters", "without"])
def test_rows_on_tcp_flags_are_read_back_too(metered: bool) -> None:
    rules = [
        rule
        if metered
        else replace(rule, actions=tuple(Copy(None) if isinstance(act, Copy) else act for act in rule.actions))
        for rule in ENDS_AND_SYNS
    ]
    assert {kind_of(rule.cookie) for rule in rules} == {Kind.TCP_END, Kind.SYN}
    assert decode_flow_stats(b"".join(map(as_flow_stats, rules))) == (rules, set())


def test_a_row_on_tcp_flags_is_read_as_open_vswitch_writes_it() -> None:
    """A dump of Open vSwitch 3.1.0; ovs-ofctl shows the rule as
    priority=950,tcp,reg0=0,nw_src=203.0.113.0/24,tcp_flags=+fin actions=controller(meter_id=5),load:0x1->NXM_NX_REG0[],
    resubmit(,4), of which the load is an action that we never write.
    """
    matched = "0001002f80000a02080080001708cb007100ffffff008000140106ffff55084f4e460000010001000100040000000000"
    done = "ffff00180000232000250000000000000005000800000005" "ffff001000002320000efff804000000"
    rest = bytes.fromhex(matched + "0004003000000000" + done)
    head = struct.pack("!HBxIIHHHH4xQQQ", 48 + len(rest), 4, 0, 0, 950, 0, 0, 0, cookie(Kind.TCP_END), 0, 0)
    (rule,), _ = decode_flow_stats(head + rest)
    assert rule.match == match(
        Field("eth_type", 0x0800), Field("ip_proto", 6), Field("ipv4_src", b"\xcb\0\x71\0", b"\xff\xff\xff\0"),
        Field("tcp_flags", 1, 1), Field("reg0", 0),
    )  # fmt: skip
    assert rule.actions == (Copy(5), Resubmit(4))


TRACKED = (  # a packet-in of Open vSwitch 3.1.0, from behind its connection tracker, up to the frame
    "ffffffff00360107a17c43000000000300010061" "80000004fffffffd" "80000a020800" "00010804c6120001"
    "0001d30800000061000000ff" "0001d402eadb" "0001d8100000000000000000000000000a02000a" "0001f0040001000a"
    "0001f20400000001" "0001ee0106" "0001f80203e9" "0001fa020050" "00000000000000" "0000"
)  # fmt: skip


def test_a_packet_is_read_behind_its_registers_and_what_the_tracker_has_found() -> None:
    body = bytes.fromhex(TRACKED) + b"a frame"
    assert decoding.decode_packet_in(body) == (cookie(Kind.ROUTE, 3), OFPP_CONTROLLER, b"a frame")
    later = TRACKED.replace("80000004fffffffd" "80000a020800", "80000a020800" "80000004fffffffd")
    assert decoding.decode_packet_in(bytes.fromhex(later) + b"a frame") == decoding.decode_packet_in(body)


def test_a_frame_that_reports_a_flow_has_what_the_tracker_says_of_its_connection() -> None:
    body = bytes.fromhex(TRACKED.replace(f"{cookie(Kind.ROUTE, 3):016x}", f"{cookie(Kind.REPORT):016x}")) + b"a frame"
    frame = decoding.decode_packet_in(body).frame
    assert isinstance(frame, TrackedFrame)
    assert (frame, frame.source, frame.source_port) == (b"a frame", bytes((0, 1, 0, 10)), 1001)
    assert frame.label == bytes(12) + bytes((10, 2, 0, 10))


@pytest.mark.parametrize("asks", [True, False])
def test_the_answer_to_an_inquiry_says_whose_the_connection_is_only_if_that_is_asked(asks: bool) -> None:
    frame = bytes((asks, *range(20)))
    found = TRACKED.replace(f"{cookie(Kind.ROUTE, 3):016x}", f"{cookie(Kind.CONNECTION_FOUND):016x}")
    answer = decoding.decode_packet_in(bytes.fromhex(found) + frame).frame
    assert answer == frame
    assert isinstance(answer, TrackedFrame) is asks


@given(st.integers(0, len(TRACKED) // 2 - 1), st.integers(0, 255), st.integers(0, 40))
def test_a_damaged_packet_in_is_read_or_refused(at: int, value: int, cut: int) -> None:
    body = bytearray(bytes.fromhex(TRACKED) + b"a frame")
    body[at] = value
    with contextlib.suppress(decoding.BadMessage):
        decoding.decode_packet_in(bytes(body[: len(body) - cut]))


def test_rules_of_others_are_recognised_by_their_cookie() -> None:
    foreign = FlowRule(0, 1, (), 0x1234)
    assert decode_flow_stats(as_flow_stats(foreign)) == ([], {0x1234})


@given(st.binary(max_size=400))
def test_no_bytes_make_a_decoder_hang_or_raise_anything_but_bad_message(body: bytes) -> None:
    for decode in (
        decoding.decode_packet_in, decoding.decode_flow_removed, decode_flow_stats, decode_groups,
        decoding.decode_meters, decoding.decode_meter_features, decoding.decode_rule_count, decoding.decode_port_status,
        decoding.decode_description,
        lambda body: list(decoding.decode_ports(body)), lambda body: list(decoding.split_flow_stats(body)),
    ):  # fmt: skip
        with contextlib.suppress(decoding.BadMessage):
            decode(body)


def test_a_description_is_read_up_to_its_zeros_and_whatever_bytes_it_has() -> None:
    body = struct.pack("!256s256s256s32s256s", b"Nicira, Inc.", b"Open vSwitch", b"3.1.0", b"\xff" * 32, b"x" * 256)
    assert decoding.decode_description(body) == ("Nicira, Inc.", "Open vSwitch", "3.1.0", "\ufffd" * 32, "x" * 256)


@pytest.mark.parametrize("size", [0, 3])
def test_a_switch_may_answer_nothing_when_it_is_asked_for_its_description_and_its_meters(size: int) -> None:
    """Its connection would end whenever it has come up."""
    assert decoding.decode_description(bytes(size)) == ()
    assert decoding.decode_meter_features(bytes(size)) == 0


@pytest.mark.parametrize(
    ("kind", "code", "unsupported"),
    [
        (ofp.OFPET_BAD_ACTION, ofp.OFPBAC_BAD_TYPE, True),
        (ofp.OFPET_BAD_ACTION, ofp.OFPBAC_BAD_SET_ARGUMENT, True),
        (ofp.OFPET_BAD_INSTRUCTION, ofp.OFPBIC_UNSUP_INST, True),
        (ofp.OFPET_BAD_MATCH, ofp.OFPBMC_BAD_FIELD, True),
        (ofp.OFPET_BAD_REQUEST, ofp.OFPBRC_BAD_TYPE, True),
        (ofp.OFPET_FLOW_MOD_FAILED, ofp.OFPFMFC_BAD_TABLE_ID, True),
        (ofp.OFPET_GROUP_MOD_FAILED, ofp.OFPGMFC_BAD_TYPE, True),
        (ofp.OFPET_EXPERIMENTER, 3, True),
        (ofp.OFPET_FLOW_MOD_FAILED, ofp.OFPFMFC_TABLE_FULL, False),
        (ofp.OFPET_FLOW_MOD_FAILED, ofp.OFPFMFC_UNKNOWN, False),
        (ofp.OFPET_GROUP_MOD_FAILED, ofp.OFPGMFC_OUT_OF_BUCKETS, False),
        (ofp.OFPET_METER_MOD_FAILED, ofp.OFPMMFC_OUT_OF_METERS, False),
        (ofp.OFPET_BAD_REQUEST, ofp.OFPBRC_EPERM, False),
        (ofp.OFPET_HELLO_FAILED, 0, False),
        (0x1234, 1, False),
    ],
)
def test_only_certain_errors_mean_that_something_is_not_supported(kind: int, code: int, unsupported: bool) -> None:
    assert decoding.means_unsupported(kind, code) is unsupported


@given(puts(), st.integers(48, 200), st.integers(0, 255))
def test_a_damaged_dump_is_refused_or_read_but_never_hangs(put: PutBinding, at: int, value: int) -> None:
    body = bytearray(as_flow_stats(entries.binding(put)))
    body[at % len(body)] = value
    with contextlib.suppress(decoding.BadMessage):
        decode_flow_stats(bytes(body))


@pytest.mark.parametrize("limits", [Limits(), Limits(1, 2, 3, 4, 5)])
def test_meters_fit_their_limits(limits: Limits) -> None:
    assert [meter.rate for meter in meters.rules(limits, hosts=1, links=1)] == [
        limits.neighbours, limits.neighbours, limits.neighbours, limits.undeliverable, limits.neighbours,
        limits.first_replies, *[limits.icmp_errors] * PARTS, *[limits.first_replies] * REPLY_METERS,
        limits.first_packets, limits.first_packets, limits.neighbours, limits.undeliverable, limits.neighbours,
        limits.neighbours,
    ]  # fmt: skip


def test_rules_of_others_are_deleted_by_their_cookie_in_all_tables() -> None:
    """OF 1.3.5 §7.3.4.1: cookie, its mask, table, command."""
    message = encode(DATAPATH, [DeleteCookie(0x1122334455667788)])
    fixed = struct.unpack_from("!BBHIQQBBHHHIII", message)
    assert fixed[:3] == (4, ofp.OFPT_FLOW_MOD, len(message))
    assert fixed[4:8] == (0x1122334455667788, (1 << 64) - 1, ofp.OFPTT_ALL, ofp.OFPFC_DELETE)
    assert fixed[12:] == (ofp.OFPP_ANY, ofp.OFPG_ANY)
    assert message[48:] == struct.pack("!HH4x", ofp.OFPMT_OXM, 4), "whatever they match"


def test_an_edited_rule_is_read_as_another_whatever_was_edited() -> None:
    client, service, translated, server = (bytes([10, 1, number, 9]) for number in range(4))
    pinned = Binding(5, FlowKey(client, service, 6, 1000, 80), translated, "web", 0.0, server)
    rules = [
        entries.binding(PutBinding(pinned, Half.OUT, 300, 299)),
        entries.route(Prefix.parse("10.2.0.0/24"), 65000, 1400),
        FlowRule(4, 5, (), cookie(Kind.TCP_END), (Copy(7), SetField("reg0", 1), Resubmit(4)), None, 3),
        FlowRule(4, 5, (), cookie(Kind.ARP), (Output(OFPP_CONTROLLER),), 2),
        FlowRule(4, 5, (), cookie(Kind.HOST), (DecTtl(), ForgetInPort(), Output(3))),
    ]
    nothing = {*range(4), *range(4, 12), *range(20, 24), *range(32, 48)}  # length, age, padding, counters
    for rule in rules:
        whole = as_flow_stats(rule)
        for at in set(range(len(whole))) - nothing:
            edited = bytearray(whole)
            edited[at] ^= 1
            try:
                same = decode_flow_stats(bytes(edited)) == ([rule], set())
            except decoding.BadMessage:
                continue
            of_a_port = rule.actions[-1] == Output(3) and whole[at - at % 2 :][:2] == b"\xff\xff"  # max_len
            assert not same or not whole[at] or of_a_port


@pytest.mark.parametrize(
    ("action", "written", "edited"),
    [
        (FinTimeout(299), "00130" "12b0000", "00130" "12b0007"),  # its hard timeout
        (Resubmit(4), "000efff8" "04", "000e0001" "04"),  # in_port
        (Resubmit(4), "000efff8" "04", "000efff8" "03"),
        (Output(OFPP_CONTROLLER), "fffffffd" "ffff", "fffffffd" "0080"),  # max_len
    ],
)  # fmt: skip
def test_values_that_we_never_write_make_a_rule_another(action: Action, written: str, edited: str) -> None:
    rule = FlowRule(4, 5, (), cookie(Kind.ROUTE), (action,), idle_timeout=300)
    whole = as_flow_stats(rule)
    assert whole.count(bytes.fromhex(written)) == 1
    ((read,), _) = decode_flow_stats(whole.replace(bytes.fromhex(written), bytes.fromhex(edited)))
    assert read != rule


@pytest.mark.parametrize("at", [16, 17, 18, 19])
def test_hard_timeouts_and_flags_of_others_make_a_rule_another(at: int) -> None:
    rule = FlowRule(4, 5, (), cookie(Kind.ROUTE), (Output(3),), notify=True)
    edited = bytearray(as_flow_stats(rule))
    edited[at] ^= 4
    ((read,), _) = decode_flow_stats(bytes(edited))
    assert read != rule


def test_a_bucket_that_watches_a_port_is_none_of_ours() -> None:
    def described(port: int) -> bytes:
        return struct.pack("!HBxI", 24, ofp.OFPGT_SELECT, 9) + struct.pack("!HHII4x", 16, 1, port, ofp.OFPG_ANY)

    (ours,), (theirs,) = map(decode_groups, (described(ofp.OFPP_ANY), described(2)))
    assert ours != theirs
