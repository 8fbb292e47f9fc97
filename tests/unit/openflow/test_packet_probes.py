"""What a switch does with packets, compared with the rules that it has accepted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from anycast_sdn.core.model import ICMP, ICMPV6, TCP, UDP
from anycast_sdn.description.profile import Elements, Profile
from anycast_sdn.openflow.abilities import Ability, Lack
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.frames import parse_ip
from anycast_sdn.openflow.judgement import Role, judge, remarks
from anycast_sdn.openflow.layout import FIVE_TABLES, THREE_TABLES, Layout
from anycast_sdn.openflow.packet_probes import (
    NO_ANSWER,
    PacketProbe,
    clean_up,
    faults,
    lacks_shown,
    number_in,
    packet_probes,
)
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import AddFlow, DeleteGroup, SetGroup
from anycast_sdn.simulation.probed import lacks_of
from anycast_sdn.simulation.switch import SimulatedSwitch

NONCE = b"in no other packet"
PROBES = packet_probes(FIVE_TABLES, NONCE)


def shown(profile: Profile, layout: Layout = FIVE_TABLES) -> tuple[Lack, ...]:
    return lacks_of(SimulatedSwitch(layout=layout, profile=profile, only_declared=False), layout)


def abilities(profile: Profile) -> set[Ability]:
    return {lack.ability for lack in shown(profile)}


# ------------------------------------------------------------------------------ simulated switches


@pytest.mark.parametrize("layout", [FIVE_TABLES, THREE_TABLES], ids=["five tables", "three"])
def test_a_switch_that_does_all_that_it_accepts_lacks_nothing(layout: Layout) -> None:
    assert shown(Profile(), layout) == ()


def test_icmpv6_checksums_that_become_wrong_are_found_and_remarked() -> None:
    lacks = shown(Profile(wrong=("icmpv6_checksum",)))
    assert {lack.ability for lack in lacks} == {Ability.CHECKSUM_ICMPV6}
    features = Features(lacks=lacks)
    assert judge(Role.CLIENT_EDGE, features).able == {4, 6}, "TCP and UDP are right"
    assert remarks(features) == [
        "cannot correct the checksum of ICMPv6 when it sets addresses "
        "(tables 1, 2 and 3: the checksum of ICMPv6 becomes wrong); services are not pinged over IPv6"
    ]


def test_addresses_that_are_not_set_are_found_though_no_error_tells() -> None:
    lacks = shown(Profile(ignore=(Elements(set=("ipv6_src", "ipv6_dst")),)))
    assert {lack.ability for lack in lacks} == {Ability.SET_IPV6, Ability.GROUP_SET_IPV6}
    assert {lack.why for lack in lacks} == {"the addresses stay as they were"}
    assert judge(Role.CLIENT_EDGE, Features(lacks=lacks)).able == {4}


def test_a_ttl_that_is_not_decremented_is_found() -> None:
    lacks = shown(Profile(ignore=(Elements(actions=("dec_nw_ttl",)),)))
    assert {lack.ability for lack in lacks} == {Ability.DEC_TTL_IPV4, Ability.DEC_TTL_IPV6, Ability.GROUP_DEC_TTL}
    assert {lack.why for lack in lacks} == {"the TTL stays as it was"}


def test_a_goto_that_is_not_followed_is_found_where_it_is() -> None:
    profile = Profile(ignore=(Elements(instructions=("goto_table",), tables=(2,)),))
    lacks = shown(profile)
    assert {(lack.ability, lack.table) for lack in lacks} == {(Ability.GOTO, 2), (Ability.GOTO, 3)}
    assert not any(judge(role, Features(lacks=lacks)).able for role in Role)


def test_of_what_a_switch_refuses_packets_show_nothing() -> None:
    refusing = Profile(refuse=(Elements(set=("ipv4_src",)),))
    assert shown(refusing) == ()


def test_a_switch_that_sends_nothing_back_is_not_judged_by_packets() -> None:
    assert shown(Profile(ignore=(Elements(messages=("packet_out",)),))) == ()


# ------------------------------------------------------------------------------ packets


def of(table: Table, protocol: int, v6: bool) -> PacketProbe:
    return next(
        probe
        for probe in PROBES
        if (probe.table, probe.protocol, probe.v6) == (table, protocol, v6) and not probe.plain
    )


Change = Callable[[bytearray, PacketProbe], object]


def changed(probe: PacketProbe, change: Change) -> bytes:
    frame = bytearray(probe.wanted)
    change(frame, probe)
    return bytes(frame)


def spoil_checksum(frame: bytearray, probe: PacketProbe) -> None:
    at = parse_ip(probe.wanted).l4 + {TCP: 16, UDP: 6, ICMP: 2, ICMPV6: 2}[probe.protocol]
    frame[at] ^= 0x55


@pytest.mark.parametrize("probe", PROBES, ids=str)
def test_the_wanted_packet_has_no_fault_and_is_recognised(probe: PacketProbe) -> None:
    assert not list(faults(probe, probe.wanted))
    assert not list(faults(probe, probe.wanted + bytes(6))), "filled up by the switch"
    assert PROBES[number_in(probe.wanted, NONCE) or 0] == probe
    assert number_in(probe.wanted, b"other nonce") is None


@pytest.mark.parametrize(
    ("table", "protocol", "v6", "change", "fault"),
    [
        (Table.CLIENT_OUT, TCP, False, spoil_checksum, (Ability.SET_IPV4, "the checksum of TCP becomes wrong")),
        (Table.CLIENT_IN, UDP, True, spoil_checksum, (Ability.SET_IPV6, "the checksum of UDP becomes wrong")),
        (Table.SERVICE, TCP, True, spoil_checksum, (Ability.GROUP_SET_IPV6, "the checksum of TCP becomes wrong")),
        (Table.SERVICE, ICMPV6, True, spoil_checksum,
         (Ability.CHECKSUM_ICMPV6, "the checksum of ICMPv6 becomes wrong")),
        (Table.CLIENT_OUT, UDP, False, lambda frame, probe: frame.__setitem__(24, frame[24] ^ 1),
         (Ability.SET_IPV4, "the header's checksum becomes wrong")),
        (Table.ROUTES, UDP, False, lambda frame, probe: frame.__setitem__(slice(0, 12), probe.sent[:12]),
         (Ability.SET_MACS, "the MACs stay as they were")),
        (Table.ROUTES, UDP, True, lambda frame, probe: frame.__setitem__(21, 7),
         (Ability.DEC_TTL_IPV6, "the TTL becomes wrong")),
        (Table.CLIENT_OUT, TCP, False, lambda frame, probe: frame.__setitem__(-1, frame[-1] ^ 1),
         (Ability.SET_IPV4, "the data of TCP are changed")),
        (Table.CLIENT_OUT, TCP, False, lambda frame, probe: frame.__delitem__(slice(60, None)),
         (Ability.SET_IPV4, "a packet comes back as another one")),
    ],
)  # fmt: skip
def test_each_fault_of_a_packet_is_told_by_its_name(
    table: Table, protocol: int, v6: bool, change: Change, fault: tuple[Ability, str]
) -> None:
    probe = of(table, protocol, v6)
    assert list(faults(probe, changed(probe, change))) == [fault]


def test_udp_over_ipv4_may_come_back_without_a_checksum() -> None:
    probe = of(Table.CLIENT_OUT, UDP, False)
    at = parse_ip(probe.wanted).l4 + 6
    assert not list(faults(probe, changed(probe, lambda frame, _: frame.__setitem__(slice(at, at + 2), bytes(2)))))


def test_a_packet_that_does_not_come_back_shows_something_only_where_a_plain_one_does() -> None:
    back: dict[PacketProbe, bytes | None] = {probe: probe.wanted for probe in PROBES}
    routed = next(probe for probe in PROBES if probe.table is Table.ROUTES and not probe.plain and not probe.v6)
    (lack,) = lacks_shown(back | {routed: None}, FIVE_TABLES)
    assert lack == Lack(Ability.DELIVER_IPV4, 4, NO_ANSWER, Table.ROUTES)
    assert lacks_shown(dict.fromkeys(PROBES), FIVE_TABLES) == ()


def test_where_only_one_family_comes_back_the_other_is_not_matched() -> None:
    back = {probe: None if probe.v6 and probe.table is Table.SERVICE else probe.wanted for probe in PROBES}
    assert lacks_shown(back, FIVE_TABLES) == (Lack(Ability.MATCH_IPV6, 2, NO_ANSWER, Table.SERVICE),)


@pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])
def test_where_nothing_of_a_family_comes_back_and_the_other_one_does_it_is_not_matched(v6: bool) -> None:
    back = {probe: None if probe.v6 is v6 else probe.wanted for probe in PROBES}
    lacks = lacks_shown(back, FIVE_TABLES)
    assert lacks == (Lack(Ability.MATCH_IPV6 if v6 else Ability.MATCH_IPV4, 0, NO_ANSWER, Table.INGRESS),)
    assert [judge(role, Features(lacks=lacks)).able for role in Role] == [frozenset((4,) if v6 else (6,))] * 3


def test_of_a_family_whose_rules_were_refused_packets_show_nothing() -> None:
    assert lacks_shown({probe: probe.wanted for probe in PROBES if not probe.v6}, FIVE_TABLES) == ()


def test_rules_of_lower_priority_before_and_after_do_not_catch_the_packet() -> None:
    back = {probe: None if probe.faults.lost is Ability.PRIORITY else probe.wanted for probe in PROBES}
    assert {lack.ability for lack in lacks_shown(back, FIVE_TABLES)} == {Ability.PRIORITY}
    assert not judge(Role.CORE, Features(lacks=lacks_shown(back, FIVE_TABLES))).able


def test_all_rules_and_groups_of_probes_are_removed() -> None:
    rules = [rule for probe in PROBES for rule in probe.rules]
    deleted = {message.number for message in clean_up(rules) if isinstance(message, DeleteGroup)}
    assert {rule.group.number for rule in rules if isinstance(rule, SetGroup)} <= deleted
    switch = SimulatedSwitch(profile=Profile(), only_declared=False)
    for message in (*rules, *clean_up(rules)):
        switch.apply(message, 0.0)
    assert (dict(switch.flows), switch.groups) == ({}, {})
    keys = [rule.rule.key for rule in rules if isinstance(rule, AddFlow)]
    assert len(keys) == len(set(keys)), "each probe has rules of its own"
