"""Bytes of OpenFlow 1.3 → values: messages from switches, which may be malformed.

OS-Ken's parser is not used: it can loop for ever on a length of zero, and builds an object for each field of a large
dump.  Whatever is malformed raises ``BadMessage``; nothing else is raised.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.core.model import AnycastError
from anycast_sdn.openflow import nicira, oxm
from anycast_sdn.openflow.connection_queries import asks_whose
from anycast_sdn.openflow.layout import Layout
from anycast_sdn.openflow.pipeline import REPORTS, kind_of, number_of
from anycast_sdn.openflow.requests import RulesRequest
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import (
    UNREAD,
    Action,
    Bucket,
    DecTtl,
    Field,
    FlowRule,
    GroupRule,
    Match,
    MeterRule,
    Output,
    PopVlan,
    SetField,
    ToGroup,
    Unread,
    one_object,
)
from anycast_sdn.openflow.tracked_frame import NO_LABEL, TrackedFrame

USUAL_BUCKET = 256  # bytes: none of ours is longer
MOST_KEPT = 1 << 14  # buckets


class BadMessage(AnycastError):
    """Bytes from a switch that are not the message they claim to be."""


class _Reader:
    """Bytes up to an end, beyond which nothing is read; no element is shorter than its header."""

    def __init__(self, data: bytes, start: int = 0, end: int | None = None) -> None:
        self.data = data
        self.at = start
        self.end = len(data) if end is None else end

    def take(self, form: struct.Struct) -> tuple[Any, ...]:
        if self.at + form.size > self.end:
            raise BadMessage("truncated")
        values = form.unpack_from(self.data, self.at)
        self.at += form.size
        return values

    def bytes(self, size: int) -> bytes:
        if size < 0 or self.at + size > self.end:
            raise BadMessage("truncated")
        self.at += size
        return self.data[self.at - size : self.at]

    def part(self, length: int, least: int) -> _Reader:
        """The next ``length`` bytes as a reader of their own; at least ``least``, so that reading makes progress."""
        if length < least or self.at + length > self.end:
            raise BadMessage("impossible length")
        self.at += length
        return _Reader(self.data, self.at - length, self.at)

    def __bool__(self) -> bool:
        return self.at < self.end


_FEATURES = struct.Struct("!Q4xBB10x")
_U16_PAIR = struct.Struct("!HH")
_U32 = struct.Struct("!I")
_OUTPUT = struct.Struct("!IH")
_NAME = itemgetter(0)
_FLOW_STATS = struct.Struct("!HBxIIHHHH4xQQQ")
_COUNTERS = struct.Struct("!H12xH8xQQ")  # of the same
_GROUP = struct.Struct("!HBxI")
_BUCKET = struct.Struct("!HHII4x")
_METER = struct.Struct("!HHI")
_BAND = struct.Struct("!HHII4x")
_PACKET_IN = struct.Struct("!IHBBQ")
_USUAL_PACKET_IN = struct.Struct("!8sQ8sI4x2x")
_IN_PORT = oxm.header("in_port")
_ONLY_IN_PORT = struct.pack("!HH", ofp.OFPMT_OXM, 12) + _IN_PORT
_FLOW_REMOVED = struct.Struct("!QHBBIIHHQQ")
_AGGREGATE = struct.Struct("!QQI4x")
_PORT = struct.Struct("!I4x6s2x16sII24x")
_DESCRIPTION = struct.Struct("!256s256s256s32s256s")
_PORT_STATUS = struct.Struct("!B7x")


# Types of errors that may mean that something is not supported → their codes that do not mean that.
_OTHER_REASONS: dict[int, set[int]] = {
    ofp.OFPET_BAD_REQUEST: {
        ofp.OFPBRC_EPERM, ofp.OFPBRC_BUFFER_EMPTY, ofp.OFPBRC_BUFFER_UNKNOWN, ofp.OFPBRC_IS_SLAVE,
        ofp.OFPBRC_MULTIPART_BUFFER_OVERFLOW,
    },
    ofp.OFPET_BAD_ACTION: {ofp.OFPBAC_EPERM},
    ofp.OFPET_BAD_INSTRUCTION: {ofp.OFPBIC_EPERM},
    ofp.OFPET_BAD_MATCH: {ofp.OFPBMC_EPERM},
    ofp.OFPET_FLOW_MOD_FAILED: {ofp.OFPFMFC_UNKNOWN, ofp.OFPFMFC_TABLE_FULL, ofp.OFPFMFC_OVERLAP, ofp.OFPFMFC_EPERM},
    ofp.OFPET_GROUP_MOD_FAILED: {
        ofp.OFPGMFC_GROUP_EXISTS, ofp.OFPGMFC_OUT_OF_GROUPS, ofp.OFPGMFC_OUT_OF_BUCKETS, ofp.OFPGMFC_UNKNOWN_GROUP,
        ofp.OFPGMFC_CHAINED_GROUP, ofp.OFPGMFC_EPERM,
    },
    ofp.OFPET_METER_MOD_FAILED: {
        ofp.OFPMMFC_UNKNOWN, ofp.OFPMMFC_METER_EXISTS, ofp.OFPMMFC_UNKNOWN_METER, ofp.OFPMMFC_OUT_OF_METERS,
        ofp.OFPMMFC_OUT_OF_BANDS,
    },
    ofp.OFPET_EXPERIMENTER: set(),
}  # fmt: skip


class SwitchFeatures(NamedTuple):
    dpid: int
    tables: int
    auxiliary: int  # 0: this is the main connection


class PacketInMessage(NamedTuple):
    cookie: int
    in_port: int
    frame: bytes


def decode_hello(body: bytes) -> int | None:
    """The versions that a HELLO offers, as bits; None where it names only the one in its header."""
    reader = _Reader(body)
    while reader:
        kind, length = reader.take(_U16_PAIR)
        element = reader.part(length - _U16_PAIR.size, 0)
        reader.at = min(reader.at + -length % 8, reader.end)  # the last one's padding may be missing
        if kind == ofp.OFPHET_VERSIONBITMAP and length >= _U16_PAIR.size + _U32.size:
            (bitmap,) = element.take(_U32)  # versions 0 to 31; OpenFlow has no higher ones
            return int(bitmap)
    return None


def versions_in(bitmap: int) -> str:
    """For people."""
    return ", ".join(str(version) for version in range(32) if bitmap >> version & 1) or "none"


def decode_features(body: bytes) -> SwitchFeatures:
    if len(body) != _FEATURES.size:
        raise BadMessage("features reply of a wrong length")
    return SwitchFeatures(*_FEATURES.unpack(body))


def decode_packet_in(body: bytes) -> PacketInMessage:
    """``body``: the message without its header.  Raises BadMessage."""
    if len(body) >= _USUAL_PACKET_IN.size:
        _, cookie, head, in_port = _USUAL_PACKET_IN.unpack_from(body)
        if head == _ONLY_IN_PORT:  # as Open vSwitch writes it for a packet that came by a plain port
            return PacketInMessage(cookie, in_port, body[_USUAL_PACKET_IN.size :])
        if head[:2] == _ONLY_IN_PORT[:2] and head[4:] == _ONLY_IN_PORT[4:]:  # registers follow, and a tracker's finds
            length = int.from_bytes(head[2:4], "big")
            frame = _PACKET_IN.size + length + -length % 8 + 2  # padding before the frame, OF 1.3.5 §7.4.1
            if _USUAL_PACKET_IN.size <= frame <= len(body):
                whole = body[frame:]
                if _is_origin_read(kind_of(cookie), whole):
                    whole = _with_origin(whole, _Reader(body, _PACKET_IN.size + 4, _PACKET_IN.size + length))
                return PacketInMessage(cookie, in_port, whole)
    reader = _Reader(body)
    _, _, _, _, cookie = reader.take(_PACKET_IN)
    kind, length = reader.take(_U16_PAIR)
    if kind != ofp.OFPMT_OXM:
        raise BadMessage("not an OXM match")
    oxms = reader.part(length - 4, 0)
    reader.bytes(-length % 8 + 2)
    while oxms:
        header = oxms.bytes(oxm.HEADER.size)
        value = oxms.bytes(header[-1])
        if header == _IN_PORT:
            return PacketInMessage(cookie, int.from_bytes(value, "big"), body[reader.at :])
    raise BadMessage("packet-in without in_port")


def _is_origin_read(kind: Kind | None, frame: bytes) -> bool:
    return kind in REPORTS or (kind is Kind.CONNECTION_FOUND and asks_whose(frame))


_ORIGIN = {oxm.header(name): name for name in ("ct_nw_src", "ct_ipv6_src", "ct_tp_src", "ct_label")}


def _with_origin(frame: bytes, oxms: _Reader) -> bytes:
    """The frame of a connection, with what the switch's tracker says about it."""
    found: dict[str, bytes] = {}
    while oxms:
        header = oxms.bytes(oxm.HEADER.size)
        value = oxms.bytes(header[-1])
        if header in _ORIGIN:
            found[_ORIGIN[header]] = value
    source = found.get("ct_nw_src") or found.get("ct_ipv6_src")
    port = int.from_bytes(found.get("ct_tp_src", b""), "big")
    return TrackedFrame.of(frame, source, port, found.get("ct_label", NO_LABEL)) if source else frame


def is_expired(body: bytes) -> bool:
    """Was this packet-in sent because its TTL has expired?  ``body`` is one that could be decoded."""
    return bool(body[6] == ofp.OFPR_INVALID_TTL)


def decode_flow_removed(body: bytes) -> tuple[int, bool, bool]:
    """(cookie, was the rule deleted rather than expired, has no packet matched it)."""
    cookie, _, reason, *_, packets, _ = _Reader(body).take(_FLOW_REMOVED)
    return cookie, reason not in (ofp.OFPRR_IDLE_TIMEOUT, ofp.OFPRR_HARD_TIMEOUT), not packets


def place_of_removed(body: bytes) -> tuple[int, int]:
    """(table, priority) in such a report, which could be decoded."""
    return body[11], int.from_bytes(body[8:10], "big")


def decode_flow_stats(body: bytes, layout: Layout) -> tuple[list[FlowRule], set[int]]:
    """The rules with our cookies, by their logical tables, and the cookies of all others.  ``layout``: the switch's."""
    rules: list[FlowRule] = []
    foreign: set[int] = set()
    for entry in _elements(body, _FLOW_STATS.size):
        _, table, _, _, priority, idle, hard, flags, cookie, _, _ = entry.take(_FLOW_STATS)
        if kind_of(cookie) is None:
            foreign.add(cookie)
            continue
        conditions = _conditions(entry)
        try:
            meter, actions, goto = _instructions(entry)
        except _Unknown:
            meter, actions, goto = None, (Unread(),), None
        if flags & ~ofp.OFPFF_SEND_FLOW_REM:
            actions = (*actions, Unread())
        notify = bool(flags & ofp.OFPFF_SEND_FLOW_REM)
        held = FlowRule(table, priority, conditions, cookie, actions, goto, meter, idle, notify, hard)
        rules.append(layout.logical(held))
    return rules, foreign


class Counted(NamedTuple):
    """One rule in a dump, not decoded yet."""

    cookie: int
    packets: int
    whole: bytes
    what: bytes  # all but its counters and age: two rules are the same if this is


def split_flow_stats(body: bytes) -> Iterator[Counted]:
    at, end = 0, len(body)
    while at < end:
        if end - at < _FLOW_STATS.size:
            raise BadMessage("truncated")
        length, _, cookie, packets = _COUNTERS.unpack_from(body, at)
        if length < _FLOW_STATS.size or at + length > end:
            raise BadMessage("impossible length")
        whole = body[at : at + length]
        yield Counted(cookie, packets, whole, b"".join((whole[:4], whole[12:32], whole[48:])))
        at += length


def decode_counters(body: bytes, request: RulesRequest) -> list[tuple[int, int]]:
    """(binding's number, packets) of each rule without a timeout that is asked for."""
    wanted, mask, _ = request  # spelled out below instead of ``covers``: there may be very many rules
    counters = []
    at, end = 0, len(body)
    while at < end:
        if end - at < _FLOW_STATS.size:
            raise BadMessage("truncated")
        length, idle_timeout, cookie, packets = _COUNTERS.unpack_from(body, at)
        if length < _FLOW_STATS.size:
            raise BadMessage("impossible length")
        if not idle_timeout and cookie & mask == wanted & mask:
            counters.append((number_of(cookie), packets))
        at += length
    return counters


def decode_groups(body: bytes, layout: Layout) -> list[GroupRule]:
    """Those of the pipeline, as ``decode_held_groups``."""
    return logical_groups(decode_held_groups(body), layout)


def logical_groups(held: Iterable[GroupRule], layout: Layout) -> list[GroupRule]:
    return [group for each in held if (group := layout.logical_group(each))]


def decode_held_groups(body: bytes) -> list[GroupRule]:
    """As the switch holds them.  One that is of another type than ours gets no buckets, and so equals none of ours."""
    groups = []
    for entry in _elements(body, _GROUP.size):
        _, kind, number = entry.take(_GROUP)
        indirect = kind == ofp.OFPGT_INDIRECT
        buckets = [*map(_bucket, _pieces(entry, _BUCKET.size))] if indirect or kind == ofp.OFPGT_SELECT else []
        groups.append(GroupRule(number, tuple(buckets), indirect))
    return groups


def _bucket(data: bytes) -> Bucket:
    """A table of slots has very many buckets, of which few are different."""
    return _usual_bucket(data) if len(data) <= USUAL_BUCKET else _bucket_anew(data)


def _bucket_anew(data: bytes) -> Bucket:
    reader = _Reader(data)
    _, weight, *watched = reader.take(_BUCKET)
    try:
        read = _read_actions(reader)
    except _Unknown:
        read = (Unread(),)
    # A select group's buckets may watch a port or a group; ours watch none.
    watches = watched not in ([ofp.OFPP_ANY, ofp.OFPG_ANY], [0, 0])
    return one_object(Bucket(weight, (*read, Unread()) if watches else read))


_usual_bucket = lru_cache(MOST_KEPT)(_bucket_anew)


def decode_meters(body: bytes) -> list[MeterRule]:
    """All meters.  One that does not drop by packets per second gets the rate 0, and so equals none of ours."""
    meters = []
    for entry in _elements(body, _METER.size):
        _, flags, number = entry.take(_METER)
        kind, _, rate, burst = entry.take(_BAND) if entry else (0, 0, 0, 0)
        ours = kind == ofp.OFPMBT_DROP and flags & ofp.OFPMF_PKTPS and flags & ofp.OFPMF_BURST and not entry
        meters.append(MeterRule(number, rate, burst) if ours else MeterRule(number, 0, 0))
    return meters


def decode_description(body: bytes) -> tuple[str, ...]:
    """What a switch says of itself: manufacturer, hardware, software, serial number, datapath.

    () when the body is too short, as that of a switch which says nothing.
    """
    if len(body) < _DESCRIPTION.size:
        return ()
    return tuple(words.split(b"\0")[0].decode("ascii", "replace") for words in _Reader(body).take(_DESCRIPTION))


def decode_meter_features(body: bytes) -> int:
    """How many meters the switch can have; 0: it says nothing."""
    return int.from_bytes(body[: _U32.size], "big") if len(body) >= _U32.size else 0


def decode_rule_count(body: bytes) -> int:
    """How many rules an aggregate counts."""
    _, _, rules = _Reader(body).take(_AGGREGATE)
    return int(rules)


def decode_ports(body: bytes) -> Iterator[tuple[int, bool]]:
    """(number, has a carrier and is not switched off) of each port."""
    reader = _Reader(body)
    while reader:
        number, _, _, config, state = reader.take(_PORT)
        yield number, not (config & ofp.OFPPC_PORT_DOWN or state & ofp.OFPPS_LINK_DOWN)


def decode_port_status(body: bytes) -> tuple[int, bool]:
    """(number, usable) of the port that changed."""
    reader = _Reader(body)
    (reason,) = reader.take(_PORT_STATUS)
    number, up = next(decode_ports(reader.bytes(_PORT.size)))
    return number, up and reason != ofp.OFPPR_DELETE


def means_unsupported(kind: int, code: int) -> bool:
    """Does an error with this type and code mean that a switch does not support what it was asked for?

    Otherwise it is unknown: the switch may have no room now, or there was another reason.
    """
    return code not in _OTHER_REASONS.get(kind, {code})


def concerns_buckets(kind: int, code: int) -> bool:
    """Does an error in answer to a group-mod mean that the switch does not take such buckets, or not so many?"""
    return means_unsupported(kind, code) or (kind, code) == (ofp.OFPET_GROUP_MOD_FAILED, ofp.OFPGMFC_OUT_OF_BUCKETS)


class _Unknown(Exception):
    """Well-formed, but something that we never write."""


def _elements(body: bytes, least: int) -> Iterator[_Reader]:
    """The elements of a multipart reply, each of which starts with its own length."""
    reader = _Reader(body)
    while reader:
        length, _ = _U16_PAIR.unpack(reader.bytes(4))
        reader.at -= 4
        yield reader.part(length, least)


def _pieces(reader: _Reader, least: int) -> Iterator[bytes]:
    """The rest of ``reader``: elements, each of which starts with its own length."""
    while reader:
        length = int.from_bytes(reader.data[reader.at : reader.at + 2], "big")
        if length < least:
            raise BadMessage("impossible length")
        yield reader.bytes(length)


def _match(reader: _Reader) -> Iterator[tuple[str, Any, Any]]:
    """The conditions of an ofp_match; ``reader`` is behind it once all are read."""
    kind, length = reader.take(_U16_PAIR)
    if kind != ofp.OFPMT_OXM:
        raise BadMessage("not an OXM match")
    oxms = reader.part(length - 4, 0)
    reader.bytes(-length % 8)
    while oxms:
        yield _oxm(oxms)


def match_at(data: bytes, at: int) -> Match:
    """The ofp_match that begins there."""
    return _conditions(_Reader(data, at))


def _conditions(reader: _Reader) -> Match:
    """A rule's match; its bytes as they are where something in it is never written by us."""
    start = reader.at
    try:
        return tuple(sorted((Field(*condition) for condition in _match(reader)), key=_NAME))
    except _Unknown:
        reader.at = start
        _, length = reader.take(_U16_PAIR)
        oxms = reader.bytes(length - 4)
        reader.bytes(-length % 8)
        return (Field(UNREAD, oxms),)


def _oxm(reader: _Reader) -> tuple[str, Any, Any]:
    oxm_class, field, size = reader.take(oxm.HEADER)
    payload = reader.part(size, 1)
    name, width = oxm.BY_NUMBER.get((oxm_class, field >> 1), ("", 0))
    if not name:
        raise _Unknown
    if oxm_class == oxm.EXPERIMENTER:
        if payload.bytes(4) != oxm.ONF:
            raise _Unknown
        size -= 4
    if size != width * (1 + (field & 1)):
        raise BadMessage(f"length of {name}")
    value = oxm.value_of(name, payload.bytes(width))
    return name, value, oxm.value_of(name, payload.bytes(width)) if field & 1 else None


def _instructions(reader: _Reader) -> tuple[int | None, tuple[Action, ...], int | None]:
    meter: int | None = None
    goto: int | None = None
    actions: tuple[Action, ...] = ()
    while reader:
        kind, length = reader.take(_U16_PAIR)
        part = reader.part(length - 4, 4)
        if kind == ofp.OFPIT_METER:
            (meter,) = part.take(_U32)
        elif kind == ofp.OFPIT_GOTO_TABLE:
            goto = part.bytes(1)[0]
        elif kind == ofp.OFPIT_APPLY_ACTIONS:
            part.bytes(4)
            actions = _read_actions(part)
        else:
            raise _Unknown
    return meter, actions, goto


def _read_actions(reader: _Reader) -> tuple[Action, ...]:
    actions: list[Action] = []
    while reader:
        kind, length = reader.take(_U16_PAIR)
        actions.append(_read_action(kind, reader.part(length - 4, 4)))
    return tuple(actions)


def _read_action(kind: int, part: _Reader) -> Action:
    if kind == ofp.OFPAT_SET_FIELD:
        name, value, mask = _oxm(part)
        if mask is not None:
            raise _Unknown
        return SetField(name, value)
    if kind == ofp.OFPAT_DEC_NW_TTL:
        return DecTtl()
    if kind == ofp.OFPAT_POP_VLAN:
        return PopVlan()
    if kind == ofp.OFPAT_OUTPUT:
        port, most = part.take(_OUTPUT)
        if port == ofp.OFPP_CONTROLLER and most != ofp.OFPCML_NO_BUFFER:
            raise _Unknown  # it would cut packets short; of other ports it means nothing
        return Output(port)
    if kind == ofp.OFPAT_GROUP:
        return ToGroup(*part.take(_U32))
    if kind == ofp.OFPAT_EXPERIMENTER and (action := nicira.read(part.bytes(part.end - part.at))):
        return action
    raise _Unknown
