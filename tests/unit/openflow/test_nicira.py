"""openflow.nicira: the bytes of Open vSwitch's own actions, and what is read as one of ours."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.openflow import decoding, nicira, oxm
from anycast_sdn.openflow.pipeline import cookie
from anycast_sdn.openflow.row import Kind, Table
from anycast_sdn.openflow.rules import (
    CT_SNAT,
    CT_TRACKED,
    Action,
    AddFlow,
    Field,
    FlowRule,
    Load,
    Move,
    Nat,
    SetField,
    Track,
    match,
)
from tests.unit.openflow.test_codec import DATAPATH, as_flow_stats, decode_flow_stats, encode

H, K, PR1X, LAST = (bytes((10, 1, 0, number)) for number in (10, 1, 2, 9))
V6 = bytes.fromhex("20010db8000100000000000000000005")
FULL_32, LABEL = b"\xff" * 4, bytes(12) + H
FIELDS = [
    *("eth_src", "eth_dst", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst", "tcp_src", "tcp_dst", "udp_src", "udp_dst"),
    *("arp_op", "arp_sha", "arp_spa", "arp_tha", "arp_tpa", "nd_options_type", "nd_reserved"),
    *(f"reg{number}" for number in range(16)), "xxreg0", "xxreg1", "xxreg2", "xxreg3", "ct_label",
]  # fmt: skip


def values(name: str) -> st.SearchStrategy[Any]:
    width = oxm.NUMBERS[name].width
    return st.binary(min_size=width, max_size=width).map(lambda data: oxm.value_of(name, data))


@st.composite
def loads(draw: st.DrawFn) -> Load:
    name = draw(st.sampled_from(FIELDS))
    return Load(name, draw(values(name)), draw(st.none() | values(name)))


@st.composite
def tracks(draw: st.DrawFn) -> Track:
    size = draw(st.sampled_from((4, 16)))
    address = st.binary(min_size=size, max_size=size)
    nat = draw(st.none() | st.builds(Nat, st.booleans(), address, address, st.integers(0, 65535)))
    label = draw(st.none() | st.binary(min_size=16, max_size=16))
    table = draw(st.none() | st.integers(0, 254))
    mark = draw(st.none() | st.integers(0, (1 << 32) - 1))
    return Track(draw(st.integers(0, 65535)), table, draw(st.booleans()), draw(st.booleans()), nat, label, mark)


bits = st.integers(0, 65535)
fields = st.sampled_from(FIELDS)
ours = loads() | tracks() | st.builds(Move, fields, fields, bits, bits, bits)


def ruled(*actions: Action) -> FlowRule:
    return FlowRule(Table.TRACK_OUT, 5, (), cookie(Kind.ROUTE), actions)


@given(st.lists(ours, max_size=4))
def test_actions_are_read_back_as_they_were_written(actions: list[Action]) -> None:
    rule = ruled(*actions)
    assert decode_flow_stats(as_flow_stats(rule)) == ([rule], set())


@given(ours, st.data())
def test_an_edited_action_is_another_or_none_of_ours(action: Action, data: st.DataObject) -> None:
    """An action that is read as one of ours is that one in every byte: written again, it is the same."""
    whole = bytearray(as_flow_stats(ruled(action)))
    at = data.draw(st.integers(64, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(decoding.BadMessage):
        ((read,), _) = decode_flow_stats(bytes(whole))
        if any(isinstance(each, Load | Move | Track) for each in read.actions):
            assert as_flow_stats(read) == bytes(whole)


@given(st.binary(max_size=80), st.sampled_from((nicira.REG_LOAD2, nicira.REG_MOVE, nicira.CT)))
def test_no_bytes_of_an_action_raise_anything(body: bytes, subtype: int) -> None:
    nicira.read(nicira.VENDOR.to_bytes(4, "big") + subtype.to_bytes(2, "big") + body)


@pytest.mark.parametrize(
    ("action", "listed"),
    [  # what Open vSwitch 3.1.0 lists of the rules that ``ovs-ofctl add-flow`` makes of these words
        (Load("ipv4_src", b"\0\1\0\0", b"\xff\xff\0\0"),  # load:1->NXM_OF_IP_SRC[16..31]
         "ffff001800002320" "0021" "00000f08" "00010000" "ffff0000" "0000"),
        (Load("reg4", 7),  # load:7->NXM_NX_REG4[]
         "ffff001800002320" "0021" "00010804" "00000007" "000000000000"),
        (Move("ipv4_dst", "ipv4_src", 8, 0, 8),  # move:NXM_OF_IP_DST[0..7]->NXM_OF_IP_SRC[8..15]
         "ffff001800002320" "0006" "0008" "0000" "0008" "00001004" "00000e04"),
        (Move("ct_label", "ipv6_dst", 128),  # move:NXM_NX_CT_LABEL[]->NXM_NX_IPV6_DST[]
         "ffff001800002320" "0006" "0080" "0000" "0000" "0001d810" "00012810"),
        (Move("arp_sha", "arp_tha", 48),  # move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[]
         "ffff001800002320" "0006" "0030" "0000" "0000" "00012206" "00012406"),
        (Move("arp_spa", "arp_tpa", 32),  # move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[]
         "ffff001800002320" "0006" "0020" "0000" "0000" "00002004" "00002204"),
        (Load("nd_options_type", 2),  # ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE
         "ffff001000002320" "0021" "10000401" "02" "00"),
        (Load("nd_reserved", 0xE0000000),  # ERICOXM_OF_ICMPV6_ND_RESERVED
         "ffff001800002320" "0021" "10000204" "e0000000" "000000000000"),
        (SetField("arp_op", 2), "0019001080002a020002000000000000"),  # set_field:2->arp_op
        (Track(4, 7, translate=True),  # ct(zone=4,table=7,nat)
         "ffff002800002320" "0023" "0000" "00000000" "0004" "07" "000000" "0000"
         "ffff001000002320" "0024" "0000" "0000" "0000"),
        (Track(4, 7, commit=True, nat=Nat(True, PR1X, PR1X)),  # ct(commit,zone=4,table=7,nat(src=10.1.0.2))
         "ffff003000002320" "0023" "0001" "00000000" "0004" "07" "000000" "0000"
         "ffff001800002320" "0024" "0000" "0001" "0001" "0a010002" "00000000"),
        (Track(4, 7, commit=True, nat=Nat(True, PR1X, LAST)),  # ct(commit,zone=4,table=7,nat(src=10.1.0.2-10.1.0.9))
         "ffff003000002320" "0023" "0001" "00000000" "0004" "07" "000000" "0000"
         "ffff001800002320" "0024" "0000" "0001" "0003" "0a010002" "0a010009"),
        (Track(4, 7, commit=True, nat=Nat(True, PR1X, PR1X, 80)),  # ct(commit,zone=4,table=7,nat(src=10.1.0.2:80))
         "ffff003000002320" "0023" "0001" "00000000" "0004" "07" "000000" "0000"
         "ffff001800002320" "0024" "0000" "0001" "0011" "0a010002" "0050" "0000"),
        (Track(4, commit=True, label=LABEL),  # ct(commit,zone=4,exec(set_field:0xa01000a->ct_label))
         "ffff003000002320" "0023" "0001" "00000000" "0004" "ff" "000000" "0000"
         "00190018" "0001d810" "0000000000000000000000000a01000a"),
    ],
)  # fmt: skip
def test_actions_have_the_bytes_that_open_vswitch_lists(action: Action, listed: str) -> None:
    assert encode(DATAPATH, [AddFlow(ruled(action))]).hex().endswith(listed)


def test_the_same_action_written_in_two_ways_is_one_value() -> None:
    assert Load("reg4", 0x1234, 0xFF00) == Load("reg4", 0x1200, 0xFF00)
    assert Load("ipv4_src", H, FULL_32) == Load("ipv4_src", H)
    nat = Nat(True, PR1X, PR1X)
    assert Track(4, nat=nat) == Track(4, translate=True, nat=nat)


@pytest.mark.parametrize(
    "conditions",
    [
        (Field("reg4", 7), Field("reg15", 0xFF00, 0xFF00)),
        (Field("ct_state", CT_TRACKED | CT_SNAT, CT_TRACKED | CT_SNAT), Field("ct_zone", 4)),
        (Field("ct_label", bytes(16)),),
        (Field("ct_label", LABEL, bytes(12) + FULL_32),),
        (Field("ct_state", CT_TRACKED, CT_TRACKED), Field("eth_type", 0x0800), Field("ct_nw_src", H)),
        (Field("ct_state", CT_TRACKED, CT_TRACKED), Field("eth_type", 0x86DD), Field("ct_ipv6_src", V6)),
    ],
)
def test_what_the_tracker_has_found_is_matched_on(conditions: tuple[Field, ...]) -> None:
    rule = FlowRule(Table.TRACKED_OUT, 5, match(*conditions), cookie(Kind.ROUTE))
    assert decode_flow_stats(as_flow_stats(rule)) == ([rule], set())


def test_a_wide_register_is_matched_as_its_four_parts() -> None:
    assert match(Field("xxreg1", V6)) == match(
        Field("reg4", 0x20010DB8), Field("reg5", 0x00010000), Field("reg6", 0), Field("reg7", 5)
    )
    mask = bytes(6) + b"\xff" * 2 + bytes(4) + FULL_32
    assert match(Field("xxreg3", V6, mask)) == match(Field("reg13", 0, 0xFFFF), Field("reg15", 5))
