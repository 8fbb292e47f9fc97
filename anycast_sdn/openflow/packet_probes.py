"""Packet probes: does a switch do with packets what it has accepted as rules?  Pure.

A packet goes through the pipeline as far as one table, is changed there as the method needs it, and comes back to the
controller, which compares it with what it has to be.  So wrong checksums are found, and actions that are accepted and
not carried out, which no error message tells.

No port is involved: packets come from the controller and go there.  They have addresses that no host can have (in
240.0.0.0/16, RFC 1112 §4, and 100::/64, RFC 6666), and rules of their own above all others.  Those for documentation
would not do: testbeds use them.

A packet that does not come back shows something only if another one does: one that is changed in no way comes back
from the same table.  Where none comes back at all, nothing is known; where the first table sends back those of one
family alone, it does not match the other one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from anycast_sdn.core.model import ICMP, ICMPV6, TCP, UDP, FlowKey, packed
from anycast_sdn.openflow.abilities import Ability, Lack, causes, of_family
from anycast_sdn.openflow.builders import decrement_ttl, ip_packet, rewrite
from anycast_sdn.openflow.frames import L3, checksum, parse_ip, transport_checksum
from anycast_sdn.openflow.layout import Layout
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import (
    OFPP_CONTROLLER,
    OFPP_TABLE,
    Action,
    AddFlow,
    Bucket,
    DecTtl,
    DeleteCookie,
    DeleteGroup,
    Field,
    FlowRule,
    GroupRule,
    Match,
    Message,
    Output,
    PacketOut,
    SetField,
    SetGroup,
    ToGroup,
    eth_type,
    match,
)

_COOKIE = 0xA17C_FF00_0000_0004
_GROUP = 0xFFFF_FE40
_PRIORITY = 4000  # above all of the pipeline's
_MAC, _NEXT_MAC, _OWN_MAC = (bytes.fromhex(f"02ac00f7a6{last:02x}") for last in (0x11, 0x12, 0x13))  # nobody's
_PORT, _SERVICE_PORT = 40000, 80
_BACK = Output(OFPP_CONTROLLER)
_PIPELINE = (Table.INGRESS, Table.CLIENT_OUT, Table.SERVICE, Table.CLIENT_IN, Table.ROUTES)
_NUMBER = 2  # bytes of a probe's number in its packet
_CHECKSUM = {TCP: 16, UDP: 6, ICMP: 2, ICMPV6: 2}  # where it stands in a segment
_NAMES = {TCP: "TCP", UDP: "UDP", ICMP: "ICMP", ICMPV6: "ICMPv6"}
NO_ANSWER = "a packet does not come back"


class Faults(NamedTuple):
    """The ability that is lacking when this is wrong with a packet that comes back."""

    lost: Ability  # or changed in another way
    macs: Ability
    addresses: Ability
    ttl: Ability


class PacketProbe(NamedTuple):
    """``sent`` has to come back from ``table`` as ``wanted``, with these rules and groups, in order."""

    v6: bool
    table: Table
    protocol: int
    faults: Faults
    rules: tuple[Message, ...]
    sent: bytes
    wanted: bytes
    plain: bool = False  # nothing is changed: does it come back at all?

    @property
    def message(self) -> PacketOut:
        return PacketOut(self.sent, OFPP_CONTROLLER, (Output(OFPP_TABLE),))


def clean_up(there: Iterable[Message]) -> list[Message]:
    """What removes all rules of probes, and these groups.  A switch without groups would refuse even that."""
    groups = (message for message in there if isinstance(message, SetGroup))
    return [DeleteCookie(_COOKIE), *(DeleteGroup(each.group.number) for each in groups)]


def packet_probes(layout: Layout, nonce: bytes) -> tuple[PacketProbe, ...]:
    """``nonce``: bytes that are in these packets and in no others."""
    return tuple(
        _probe(number, each, layout, nonce + number.to_bytes(_NUMBER, "big")) for number, each in enumerate(_plans())
    )


def number_in(frame: bytes, nonce: bytes) -> int | None:
    """Which probe's packet is this?"""
    at = frame.find(nonce) + len(nonce)
    if at < len(nonce) or len(frame) < at + _NUMBER:
        return None
    return int.from_bytes(frame[at : at + _NUMBER], "big")


# ------------------------------------------------------------------------------ what is probed


class _Plan(NamedTuple):
    v6: bool
    table: Table
    protocol: int
    faults: Faults
    sets: tuple[str, ...] = ()  # which addresses
    hop: bool = False  # MACs and TTL, too
    in_group: bool = False
    shadowed: bool = False  # with rules of lower priorities, which drop it, before it and after


def _plans() -> Iterator[_Plan]:
    for v6 in (False, True):
        lost, ttl = of_family("match", v6), of_family("dec_ttl", v6)
        new, new_in_group = of_family("set", v6), of_family("group_set", v6)
        for table in _PIPELINE:
            yield _Plan(v6, table, UDP, Faults(lost, lost, lost, lost))
        protocols = (TCP, UDP, ICMPV6 if v6 else ICMP)
        for protocol in protocols:
            for table in (Table.CLIENT_OUT, Table.CLIENT_IN):
                yield _Plan(v6, table, protocol, Faults(new, new, new, new), ("src", "dst"))
            faults = Faults(new_in_group, Ability.GROUP_SET_MACS, new_in_group, Ability.GROUP_DEC_TTL)
            yield _Plan(v6, Table.SERVICE, protocol, faults, ("dst",), hop=True, in_group=True)
        hop = Faults(of_family("deliver", v6), Ability.SET_MACS, of_family("deliver", v6), ttl)
        yield _Plan(v6, Table.ROUTES, UDP, hop, hop=True)
        yield _Plan(v6, Table.ROUTES, UDP, Faults(*[Ability.PRIORITY] * 4), shadowed=True)


@lru_cache(256)
def _address(v6: bool, part: int, number: int) -> bytes:
    """``part``: of sources, destinations, and the new ones of each."""
    text = f"100::{part:x}:{number + 1:x}" if v6 else f"240.0.{part}.{number + 1}"
    return packed(text)


def _probe(number: int, plan: _Plan, layout: Layout, payload: bytes) -> PacketProbe:
    v6, table, protocol = plan[:3]
    source, destination = _ends(number, v6)
    ports = (_PORT, _SERVICE_PORT) if protocol in (TCP, UDP) else (0, 0)
    key = FlowKey(source, destination, protocol, *ports)
    sent = ip_packet(key, eth_src=_MAC, eth_dst=_OWN_MAC, payload=payload)
    wanted = _changed(sent, (*_sets(number, plan), *_macs(plan)), plan.hop)
    plain = not (plan.sets or plan.hop or plan.shadowed)
    rules = _rules(number, plan, tuple(_way(table, layout)))
    return PacketProbe(v6, table, protocol, plan.faults, rules, sent, wanted, plain)


@lru_cache(256)  # all of a few layouts: they are the same for each switch
def _rules(number: int, plan: _Plan, tables: tuple[tuple[Table, Table], ...]) -> tuple[Message, ...]:
    """``tables``: as ``_way`` has them."""
    v6, table, ends = plan.v6, plan.table, _ends(number, plan.v6)
    actions: tuple[Action, ...] = (*_sets(number, plan), *_macs(plan), *((DecTtl(),) if plan.hop else ()), _BACK)
    groups: tuple[Message, ...] = ()
    if plan.in_group:
        buckets = (Bucket(1, actions), Bucket(2, actions))
        groups = (SetGroup(GroupRule(_GROUP + number, buckets), exists=False),)
        actions = (ToGroup(_GROUP + number),)
    way = [_onward(v6, ends, here, following) for here, following in tables]
    last = FlowRule(table, _PRIORITY, _match(v6, ends, table), _COOKIE, actions)
    rules: list[FlowRule] = [*way, last]
    if plan.shadowed:
        below = replace(last, actions=())
        rules = [*way, replace(below, priority=_PRIORITY - 2), last, replace(below, priority=_PRIORITY - 1)]
    return (*groups, *map(AddFlow, rules))


def _ends(number: int, v6: bool) -> tuple[bytes, bytes]:
    """Source and destination of a probe's packet."""
    return _address(v6, 0, number), _address(v6, 1, number)


def _sets(number: int, plan: _Plan) -> tuple[SetField, ...]:
    new = {"src": 2, "dst": 3}
    family = "ipv6" if plan.v6 else "ipv4"
    return tuple(SetField(f"{family}_{end}", _address(plan.v6, new[end], number)) for end in plan.sets)


def _macs(plan: _Plan) -> tuple[SetField, ...]:
    return (SetField("eth_src", _OWN_MAC), SetField("eth_dst", _NEXT_MAC)) if plan.hop else ()


def _changed(frame: bytes, sets: Sequence[SetField], hop: bool) -> bytes:
    for name, value in sets:
        frame = rewrite(frame, name, value)
    return (decrement_ttl(frame) or frame) if hop else frame


def _way(to: Table, layout: Layout) -> Iterator[tuple[Table, Table]]:
    """The tables that a packet passes on its way to the switch's table that carries ``to``, each with the next one."""
    for here, following in pairwise(_PIPELINE):
        if layout.table(here) == layout.table(to):
            return
        yield here, following


def _onward(v6: bool, ends: tuple[bytes, bytes], table: Table, goto: Table) -> FlowRule:
    return FlowRule(table, _PRIORITY, _match(v6, ends, table), _COOKIE, goto=goto)


def _match(v6: bool, ends: tuple[bytes, bytes], table: Table) -> Match:
    """By the addresses that rows of this table match."""
    family = "ipv6" if v6 else "ipv4"
    source, destination = Field(f"{family}_src", ends[0]), Field(f"{family}_dst", ends[1])
    if table is Table.INGRESS:
        return match(eth_type(v6), source)
    return match(eth_type(v6), destination, source if table in (Table.CLIENT_OUT, Table.CLIENT_IN) else None)


# ------------------------------------------------------------------------------ what has come back


def lacks_shown(back: Mapping[PacketProbe, bytes | None], layout: Layout) -> tuple[Lack, ...]:
    """``back``: of each probe whose rules were accepted, the packet that came back, None: none."""
    return causes(_found(back, layout))


def _found(back: Mapping[PacketProbe, bytes | None], layout: Layout) -> Iterator[Lack]:
    plain = {(probe.v6, probe.table): frame is not None for probe, frame in back.items() if probe.plain}
    for probe, frame in back.items():
        if not plain.get((probe.v6, Table.INGRESS)):
            is_first = probe.plain and probe.table is Table.INGRESS
            if is_first and plain.get((not probe.v6, Table.INGRESS)):
                yield _lack(probe.faults.lost, NO_ANSWER, probe.table, layout)
            continue  # of this family nothing comes back: nothing else is known
        if frame is None and probe.plain:
            way = [before for before, _ in _way(probe.table, layout)]
            if way and not any(plain.get((v6, probe.table)) for v6 in (False, True)):
                yield _lack(Ability.GOTO, NO_ANSWER, way[-1], layout)
            else:
                yield _lack(probe.faults.lost, NO_ANSWER, probe.table, layout)
        elif frame is None:
            if plain.get((probe.v6, probe.table)):
                yield _lack(probe.faults.lost, NO_ANSWER, probe.table, layout)
        else:
            for ability, why in faults(probe, frame):
                yield _lack(ability, why, probe.table, layout)


def _lack(ability: Ability, why: str, table: Table, layout: Layout) -> Lack:
    return Lack(ability, int(layout.table(table)), why, table)


def faults(probe: PacketProbe, frame: bytes) -> Iterator[tuple[Ability, str]]:
    """What is wrong with a packet that came back."""
    wanted, sent, faulty = probe.wanted, probe.sent, probe.faults
    if len(frame) < len(wanted) or frame[12:L3] != wanted[12:L3]:
        yield faulty.lost, "a packet comes back as another one"
        return
    frame = frame[: len(wanted)]  # a switch may fill it up
    parts = _parts(probe.v6)
    for part, ability, words in (
        (parts.macs, faulty.macs, ("MACs stay as they were", "MACs become wrong")),
        (parts.addresses, faulty.addresses, ("addresses stay as they were", "addresses become wrong")),
        (parts.ttl, faulty.ttl, ("TTL stays as it was", "TTL becomes wrong")),
    ):
        if frame[part] != wanted[part]:
            yield ability, f"the {words[frame[part] != sent[part]]}"
    if not probe.v6 and checksum(frame[L3 : L3 + 20]):
        yield faulty.addresses, "the header's checksum becomes wrong"
    yield from _segment_faults(probe, frame)


def _segment_faults(probe: PacketProbe, frame: bytes) -> Iterator[tuple[Ability, str]]:
    l4, protocol = parse_ip(probe.wanted).l4, probe.protocol
    segment, wanted = frame[l4:], probe.wanted[l4:]
    at = _CHECKSUM[protocol]
    if segment[:at] + segment[at + 2 :] != wanted[:at] + wanted[at + 2 :]:
        yield probe.faults.lost, f"the data of {_NAMES[protocol]} are changed"
        return
    addresses = frame[_parts(probe.v6).addresses]
    half = len(addresses) // 2
    none = protocol == UDP and not probe.v6 and segment[at : at + 2] == b"\0\0"  # RFC 768
    if not none and transport_checksum(addresses[:half], addresses[half:], protocol, segment):
        why = f"the checksum of {_NAMES[protocol]} becomes wrong"
        yield Ability.CHECKSUM_ICMPV6 if protocol == ICMPV6 else probe.faults.addresses, why


class _Parts(NamedTuple):
    macs: slice
    addresses: slice
    ttl: slice


def _parts(v6: bool) -> _Parts:
    """Where they stand in a frame."""
    addresses, ttl = (slice(L3 + 8, L3 + 40), L3 + 7) if v6 else (slice(L3 + 12, L3 + 20), L3 + 8)
    return _Parts(slice(0, 12), addresses, slice(ttl, ttl + 1))
