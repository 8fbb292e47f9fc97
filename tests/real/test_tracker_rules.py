"""Rules of the connection tracker on real Open vSwitch: they mean what they say, and are listed as they were sent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bridge import Bridge, bridge

from anycast_sdn.core.model import packed
from anycast_sdn.openflow.pipeline import Kind, Table, cookie
from anycast_sdn.openflow.rules import (
    CT_NEW,
    CT_SNAT,
    CT_TRACKED,
    Action,
    AddFlow,
    Field,
    FlowRule,
    Load,
    Move,
    Nat,
    Resubmit,
    SetField,
    Track,
    match,
)

ZONE = 60123  # no other bridge of the machine's Open vSwitch uses it; zones are shared
IPV4, IPV6 = Field("eth_type", 0x0800), Field("eth_type", 0x86DD)
FOUND = Field("ct_state", CT_TRACKED | CT_SNAT, CT_TRACKED | CT_SNAT)
NOT_TRANSLATED = Field("ct_state", CT_TRACKED | CT_NEW, CT_TRACKED | CT_NEW | CT_SNAT)
FIRST, LAST, SERVER = map(packed, ("203.0.113.1", "203.0.113.254", "10.2.0.10"))
FIRST_6, LAST_6, SERVER_6 = map(packed, ("2001:db8:1:f::1", "2001:db8:1:f::ffff", "2001:db8:2::10"))
SUBNET, UPPER = b"\0\1\0\0", b"\xff\xff\0\0"
SUBNET_6, UPPER_6 = b"\0\1" + bytes(14), b"\xff" * 8 + bytes(8)

# (conditions, actions, how ovs-ofctl shows both)
RULES: list[tuple[tuple[Field, ...], tuple[Action, ...], str]] = [
    ((IPV4,), (Load("reg4", 0xC6120001), Load("ipv4_src", SUBNET, UPPER), Move("ipv4_dst", "ipv4_src", 8, 0, 8),
               Load("ipv4_dst", packed("0.0.0.1")), Track(ZONE, Table.TRACKED_OUT, translate=True)),
     "ip actions=set_field:0xc6120001->reg4,set_field:0.1.0.0/16->ip_src,"
     "move:NXM_OF_IP_DST[0..7]->NXM_OF_IP_SRC[8..15],set_field:0.0.0.1->ip_dst,ct(table=7,zone=60123,nat)"),
    ((IPV6,), (Move("ipv6_dst", "xxreg1", 128), Load("ipv6_src", SUBNET_6, UPPER_6),
               Move("ipv6_dst", "ipv6_src", 48, 0, 64), SetField("ipv6_dst", packed("::1")),
               Track(ZONE, Table.TRACKED_OUT, commit=True, nat=Nat(True, FIRST_6, LAST_6))),
     "ipv6 actions=move:NXM_NX_IPV6_DST[]->NXM_NX_XXREG1[],set_field:1::/64->ipv6_src,"
     "move:NXM_NX_IPV6_DST[0..47]->NXM_NX_IPV6_SRC[64..111],set_field:::1->ipv6_dst,"
     "ct(commit,table=7,zone=60123,nat(src=2001:db8:1:f::1-2001:db8:1:f::ffff))"),
    ((IPV4,), (Track(ZONE, Table.TRACKED_OUT, commit=True, nat=Nat(True, FIRST, LAST)),),
     "ip actions=ct(commit,table=7,zone=60123,nat(src=203.0.113.1-203.0.113.254))"),
    ((IPV4,), (Track(ZONE, Table.TRACKED_OUT, commit=True, nat=Nat(True, FIRST, FIRST), label=bytes(12) + SERVER),),
     "ip actions=ct(commit,table=7,zone=60123,nat(src=203.0.113.1),exec(set_field:0xa02000a->ct_label))"),
    ((IPV6,), (Track(ZONE, Table.TRACKED_OUT, commit=True, nat=Nat(True, FIRST_6, FIRST_6), label=SERVER_6),),
     "ipv6 actions=ct(commit,table=7,zone=60123,nat(src=2001:db8:1:f::1),"
     "exec(set_field:0x20010db8000200000000000000000010->ct_label))"),
    ((IPV4,), (Track(ZONE, commit=True, nat=Nat(False, SERVER, SERVER)),),
     "ip actions=ct(commit,zone=60123,nat(dst=10.2.0.10))"),
    ((IPV4, FOUND, Field("ct_label", bytes(16))), (Move("reg4", "ipv4_dst", 32), Resubmit(Table.SERVICE)),
     "ct_state=+trk+snat,ct_label=0,ip actions=move:NXM_NX_REG4[]->NXM_OF_IP_DST[],resubmit(,2)"),
    ((IPV4, FOUND), (Move("ct_label", "ipv4_dst", 32), Resubmit(Table.SERVICE)),
     "ct_state=+trk+snat,ip actions=move:NXM_NX_CT_LABEL[0..31]->NXM_OF_IP_DST[],resubmit(,2)"),
    ((IPV6, FOUND, Field("ct_zone", ZONE)), (Move("ct_label", "ipv6_dst", 128), Resubmit(Table.SERVICE)),
     "ct_state=+trk+snat,ct_zone=60123,ipv6 actions=move:NXM_NX_CT_LABEL[]->NXM_NX_IPV6_DST[],resubmit(,2)"),
    ((IPV6, NOT_TRANSLATED, Field("ct_label", packed("2001:db8:2::"), UPPER_6)), (),
     "ct_state=+new+trk-snat,ct_label=0x20010db8000200000000000000000000/0xffffffffffffffff0000000000000000,ipv6 "
     "actions=drop"),
    ((IPV4, FOUND, Field("ct_nw_src", SUBNET, UPPER)), (), "ct_state=+trk+snat,ct_nw_src=0.1.0.0/16,ip actions=drop"),
    ((IPV6, FOUND, Field("ct_ipv6_src", FIRST_6)), (),
     "ct_state=+trk+snat,ct_ipv6_src=2001:db8:1:f::1,ipv6 actions=drop"),
    ((IPV4, Field("xxreg2", SERVER_6), Field("reg4", 7), Field("reg15", 1, 3)),
     (SetField("xxreg3", SERVER_6), SetField("reg5", 7), Load("xxreg2", SERVER_6, UPPER_6)),
     "ip,reg4=0x7,reg8=0x20010db8,reg9=0x20000,reg10=0,reg11=0x10,reg15=0x1/0x3 actions="
     "set_field:0x20010db8000200000000000000000010->xxreg3,set_field:0x7->reg5,"
     "set_field:0x20010db8000200000000000000000000/0xffffffffffffffff0000000000000000->xxreg2"),
]  # fmt: skip


@pytest.fixture(scope="module")
def switch() -> Iterator[Bridge]:
    with bridge() as made:
        yield made


def test_rules_of_the_tracker_are_listed_as_they_were_sent_and_mean_what_they_say(switch: Bridge) -> None:
    rules = {
        FlowRule(Table.TRACK_OUT, 100 + number, match(*conditions), cookie(Kind.ROUTE), actions): shown
        for number, (conditions, actions, shown) in enumerate(RULES)
    }
    switch.send(*map(AddFlow, rules))
    assert sorted(switch.rules(), key=lambda rule: rule.priority) == list(rules)
    listed = switch.ofctl("dump-flows", "--no-stats")
    for rule, shown in rules.items():
        assert f"priority={rule.priority},{shown}" in listed
