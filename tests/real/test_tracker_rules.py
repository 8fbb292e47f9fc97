"""Rules and connections of the tracker on real Open vSwitch: they mean what they say, and are found as sent."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator

import pytest
from bridge import Bridge, bridge, run
from support import V4, V6, Family, in_both_families

from anycast_sdn.core.model import ICMP, ICMPV6, SCTP, TCP, UDP, FlowKey, packed, text
from anycast_sdn.core.roles import ClientEdgeRole
from anycast_sdn.core.tracked_address import PEER, TrackedLayout
from anycast_sdn.openflow import builders, frames, tracked_entries
from anycast_sdn.openflow.connection_queries import ASKED, Answer, Ends, answer, ask, ends_of, unpin
from anycast_sdn.openflow.decoding import PacketInMessage
from anycast_sdn.openflow.entry import rule_of
from anycast_sdn.openflow.pipeline import cookie, kind_of
from anycast_sdn.openflow.row import Kind, Table
from anycast_sdn.openflow.rules import (
    CT_NEW,
    CT_SNAT,
    CT_TRACKED,
    OFPP_CONTROLLER,
    Action,
    AddFlow,
    BeginConnection,
    DeleteFlow,
    EndConnection,
    Field,
    FlowRule,
    Load,
    Move,
    Nat,
    Output,
    Resubmit,
    SetField,
    Track,
    match,
)
from anycast_sdn.openflow.trials import TRIALS

ZONE = 40000 + os.getpid() % 20000  # zones are shared by all bridges of the machine's Open vSwitch
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
     f"move:NXM_OF_IP_DST[0..7]->NXM_OF_IP_SRC[8..15],set_field:0.0.0.1->ip_dst,ct(table=7,zone={ZONE},nat)"),
    ((IPV6,), (Move("ipv6_dst", "xxreg1", 128), Load("ipv6_src", SUBNET_6, UPPER_6),
               Move("ipv6_dst", "ipv6_src", 48, 0, 64), SetField("ipv6_dst", packed("::1")),
               Track(ZONE, Table.TRACKED_OUT, commit=True, nat=Nat(True, FIRST_6, LAST_6))),
     "ipv6 actions=move:NXM_NX_IPV6_DST[]->NXM_NX_XXREG1[],set_field:1::/64->ipv6_src,"
     "move:NXM_NX_IPV6_DST[0..47]->NXM_NX_IPV6_SRC[64..111],set_field:::1->ipv6_dst,"
     f"ct(commit,table=7,zone={ZONE},nat(src=2001:db8:1:f::1-2001:db8:1:f::ffff))"),
    ((IPV4,), (Track(ZONE, Table.TRACKED_OUT, commit=True, nat=Nat(True, FIRST, LAST)),),
     f"ip actions=ct(commit,table=7,zone={ZONE},nat(src=203.0.113.1-203.0.113.254))"),
    ((IPV4,), (Track(ZONE, Table.TRACKED_OUT, commit=True, nat=Nat(True, FIRST, FIRST), label=bytes(12) + SERVER),),
     f"ip actions=ct(commit,table=7,zone={ZONE},nat(src=203.0.113.1),exec(set_field:0xa02000a->ct_label))"),
    ((IPV6,), (Track(ZONE, Table.TRACKED_OUT, commit=True, nat=Nat(True, FIRST_6, FIRST_6), label=SERVER_6),),
     f"ipv6 actions=ct(commit,table=7,zone={ZONE},nat(src=2001:db8:1:f::1),"
     "exec(set_field:0x20010db8000200000000000000000010->ct_label))"),
    ((IPV4,), (Track(ZONE, commit=True, nat=Nat(False, SERVER, SERVER)),),
     f"ip actions=ct(commit,zone={ZONE},nat(dst=10.2.0.10))"),
    ((IPV4, FOUND, Field("ct_label", bytes(16))), (Move("reg4", "ipv4_dst", 32), Resubmit(Table.SERVICE)),
     "ct_state=+trk+snat,ct_label=0,ip actions=move:NXM_NX_REG4[]->NXM_OF_IP_DST[],resubmit(,2)"),
    ((IPV4, FOUND), (Move("ct_label", "ipv4_dst", 32), Resubmit(Table.SERVICE)),
     "ct_state=+trk+snat,ip actions=move:NXM_NX_CT_LABEL[0..31]->NXM_OF_IP_DST[],resubmit(,2)"),
    ((IPV6, FOUND, Field("ct_zone", ZONE)), (Move("ct_label", "ipv6_dst", 128), Resubmit(Table.SERVICE)),
     f"ct_state=+trk+snat,ct_zone={ZONE},ipv6 actions=move:NXM_NX_CT_LABEL[]->NXM_NX_IPV6_DST[],resubmit(,2)"),
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
        run("ovs-appctl", "dpctl/flush-conntrack", f"zone={ZONE}")


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


def test_what_the_tracker_must_be_able_to_do_is_tried_and_taken(switch: Bridge) -> None:
    switch.send(*TRIALS["connections"].messages)


INSIDE = {V4: packed("1.0.0.10"), V6: packed("0:0:0:1::10")}  # H'
PR1X = {V4: "203.0.113.", V6: "2001:db8:1:f::"}
MAC = bytes.fromhex("060000000001")
OFPP_LOCAL = 0xFFFFFFFE  # the one port that the bridge has
GRE, ECHO = 47, 8 << 8  # type and code of an echo request


def first_packet(family: Family, protocol: int, source_port: int, destination_port: int) -> bytes:
    """From h1 to group web; with ICMP, an echo request whose identifier is the source port."""
    if protocol in (ICMP, ICMPV6):
        key = FlowKey(packed(family.h1), packed(family.web), protocol, 0, 0)
        return builders.ip_packet(key, eth_src=MAC, eth_dst=MAC, identifier=source_port)
    key = FlowKey(packed(family.h1), packed(family.web), protocol, source_port, destination_port)
    return builders.ip_packet(key, eth_src=MAC, eth_dst=MAC)


def onward(family: Family) -> list[FlowRule]:
    """Table TRACKED_OUT: what is translated goes to the controller, to ANY or to the server of its label."""
    v6 = family is V6
    conditions, destination, any_register = (IPV6, "ipv6_dst", "xxreg1") if v6 else (IPV4, "ipv4_dst", "reg4")
    bits, there, unanswered = 128 if v6 else 32, Output(OFPP_CONTROLLER), Field("ct_label", bytes(16))
    return [
        FlowRule(Table.TRACKED_OUT, 20, match(FOUND, conditions, unanswered), cookie(Kind.ROUTE),
                 (Move(any_register, destination, bits), there)),
        FlowRule(Table.TRACKED_OUT, 10, match(FOUND, conditions), cookie(Kind.ROUTE),
                 (Move("ct_label", destination, bits), there)),
    ]  # fmt: skip


@in_both_families
def test_a_packet_out_commits_a_connection_with_its_address_and_the_packet_goes_on(
    switch: Bridge, family: Family
) -> None:
    inside, anycast = INSIDE[family], packed(family.web)
    translated, server = packed(f"{PR1X[family]}7"), packed(family.as2)
    switch.send(*map(AddFlow, onward(family)))
    for protocol, port, pinned in [(UDP, 1000, None), (TCP, 1001, None), (TCP, 1002, server), (GRE, 0, None)]:
        frame = first_packet(family, protocol, port, 80 if port else 0)
        switch.send(BeginConnection(frame, inside, anycast, translated, pinned, ZONE))
        went_on = frames.parse_ip(switch.packet_in().frame).key
        assert went_on == FlowKey(translated, pinned or anycast, protocol, port, 80 if port else 0)
        original = f"orig=(src={text(inside)},dst={text(PEER[family is V6])},sport={port},"
        (known,) = [line for line in switch.connections(ZONE) if original in line]
        assert f"dst={text(translated)}," in known
        assert ("labels=" in known) is (pinned is not None)


@in_both_families
def test_what_the_controller_sends_in_by_a_clients_port_is_known_behind_the_tracker(
    switch: Bridge, family: Family
) -> None:
    v6 = family is V6
    rules = tracked_entries.edge(ClientEdgeRole((), ()), (), ())
    marked = [rule for rule in rules if kind_of(rule.cookie) is Kind.BEGUN]
    fields = match(Field("reg9", 1), IPV6 if v6 else IPV4)
    there = FlowRule(Table.TRACKED_OUT, 30, fields, cookie(Kind.NOT_BEGUN), (Output(OFPP_CONTROLLER),))
    switch.send(*map(AddFlow, (*marked, there)))
    frame, anycast, translated = first_packet(family, UDP, 1500, 80), packed(family.web), packed(f"{PR1X[family]}9")
    other = INSIDE[family][:-1] + b"\x0b"  # PR1X and the port are taken when it comes
    for inside, source in (INSIDE[family], translated), (other, other):
        switch.send(BeginConnection(frame, inside, anycast, translated, None, ZONE, 1500, OFPP_LOCAL))
        came = switch.packet_in()
        assert (kind_of(came.cookie), came.in_port) == (Kind.NOT_BEGUN, OFPP_LOCAL)
        assert frames.parse_ip(came.frame).key.source == source
    switch.send(*map(DeleteFlow, (*marked, there)))


@in_both_families
def test_just_the_connection_that_is_named_ends(switch: Bridge, family: Family) -> None:
    inside, peer = INSIDE[family], PEER[family is V6]
    flows = [(TCP, 2000, 80), (TCP, 2001, 80), (TCP, 2000, 81), (UDP, 2000, 80), (GRE, 0, 0)]
    if family is V4:  # those of ICMPv6 would make Open vSwitch abort
        flows += [(ICMP, 2000, ECHO), (ICMP, 2001, ECHO)]
    run("ovs-appctl", "dpctl/flush-conntrack", f"zone={ZONE}")
    for number, (protocol, source_port, destination_port) in enumerate(flows):
        translated = packed(f"{PR1X[family]}{number + 1}")
        frame = first_packet(family, protocol, source_port, destination_port)
        switch.send(BeginConnection(frame, inside, packed(family.web), translated, None, ZONE))
    for left in range(len(flows), 0, -1):
        number = left - 1
        known = switch.connections(ZONE)
        assert len(known) == left
        switch.send(EndConnection(ZONE, inside, peer, *flows[number]))
        (ended,) = set(known) - set(switch.connections(ZONE))
        assert f"dst={PR1X[family]}{number + 1}," in ended
        switch.send(EndConnection(ZONE, inside, peer, *flows[number]))  # a second time: nothing happens


ANSWERS = (Kind.CONNECTION_FOUND, Kind.CONNECTION_MISSING)
DATA = b"a packet of no other test"


def next_of(switch: Bridge, wanted: Callable[[PacketInMessage], bool]) -> PacketInMessage:
    """The next packet of these that it has sent up: those of other tests may still arrive."""
    while not wanted(message := switch.packet_in()):
        pass
    return message


def known_ends(line: str) -> tuple[str, int]:
    """Of a line of the tracker: PR1X, and the seconds that are left."""
    translated = re.search(r"reply=\(src=[^,]+,dst=([^,]+),", line)
    left = re.search(r"timeout=(\d+)", line)
    assert translated
    assert left
    return translated[1], int(left[1])


@in_both_families
def test_the_controller_asks_for_connections_which_does_not_keep_them_alive_and_can_unpin_them(
    switch: Bridge, family: Family
) -> None:
    v6 = family is V6
    layout = TrackedLayout((), 128 if v6 else 32)
    rules = [*tracked_entries.family(layout), rule_of(Kind.CONNECTION_MISSING, ASKED)]
    switch.send(*(AddFlow(rule) for rule in rules if rule.table == Table.TRACKED_IN))
    run("ovs-appctl", "dpctl/flush-conntrack", f"zone={ZONE}")
    server = packed(family.as2)
    flows = [(TCP, 3000, 80), (UDP, 3000, 80), (ICMPV6 if v6 else ICMP, 3000, 0), (GRE, 0, 0), (SCTP, 3000, 80)]
    asked: dict[str, Ends] = {}
    for number, flow in enumerate(flows):
        translated, frame = f"{PR1X[family]}{number + 1}", first_packet(family, *flow)
        asked[translated] = ends_of(frame)
        switch.send(BeginConnection(frame, INSIDE[family], packed(family.web), packed(translated), server, ZONE))

    def answers() -> Iterator[tuple[Kind | None, Answer]]:
        for number, (translated, ends) in enumerate(asked.items()):
            switch.send(ask(number, number + 7, packed(translated), ends, ZONE))
            message = next_of(switch, lambda message: kind_of(message.cookie) in ANSWERS)
            kind = kind_of(message.cookie)
            found = answer(message.frame, kind is Kind.CONNECTION_FOUND)
            assert found[:4] == (number, number + 7, packed(translated), ends)
            yield kind, found

    began = dict(map(known_ends, switch.connections(ZONE, "-s")))
    time.sleep(2.5)  # of the lives of these connections
    assert [(kind, found.server) for kind, found in answers()] == [(Kind.CONNECTION_FOUND, server)] * len(flows)
    for translated, left_s in map(known_ends, switch.connections(ZONE, "-s")):
        assert left_s <= began[translated] - 2
    switch.send(*(unpin(packed(translated), ends, ZONE) for translated, ends in asked.items()))
    assert [(kind, found.server) for kind, found in answers()] == [(Kind.CONNECTION_FOUND, None)] * len(flows)
    run("ovs-appctl", "dpctl/flush-conntrack", f"zone={ZONE}")
    assert {kind for kind, _ in answers()} == {Kind.CONNECTION_MISSING}


@in_both_families
def test_a_packet_keeps_its_source_port_or_stays_as_it_is(switch: Bridge, family: Family) -> None:
    """While another connection has the same ends, as for some seconds after its own end."""
    run("ovs-appctl", "dpctl/flush-conntrack", f"zone={ZONE}")
    untranslated = FlowRule(Table.TRACKED_OUT, 5, (), cookie(Kind.HOST), (Output(OFPP_CONTROLLER),))
    switch.send(*map(AddFlow, onward(family)), AddFlow(untranslated))
    translated, web = packed(f"{PR1X[family]}1"), packed(family.web)
    for protocol in (TCP, UDP):
        key = FlowKey(packed(family.h1), web, protocol, 4000, 80)
        frame = builders.ip_packet(key, eth_src=MAC, eth_dst=MAC, payload=DATA)
        for last, kind in ((10, Kind.ROUTE), (11, Kind.HOST)):
            inside = INSIDE[family][:-1] + bytes((last,))
            switch.send(BeginConnection(frame, inside, web, translated, None, ZONE, 4000))
            message = next_of(switch, lambda message: message.frame[-len(DATA) :] == DATA)
            assert kind_of(message.cookie) is kind
            assert frames.parse_ip(message.frame).key.source_port == 4000
