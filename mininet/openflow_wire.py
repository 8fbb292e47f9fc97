"""OpenFlow 1.3 messages as bytes: of what elements they are made, and the same without some of them.

Written after OpenFlow 1.3.5 alone, and not with the controller's own code, whose messages it takes apart in tests.
Kinds and names of elements are those of ``description.profile``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from anycast_sdn.description.profile import (
    ACTIONS,
    EXPERIMENTER,
    FAMILIES,
    FLAGS,
    GROUPS,
    INSTRUCTIONS,
    MATCH_FIELDS,
    MESSAGES,
    MULTIPARTS,
    NO_RULE,
    PORTS,
    Kind,
    OpenFlowError,
    Place,
)

VERSION = 4  # OpenFlow 1.3
ERROR, FEATURES_REPLY, PACKET_IN, PACKET_OUT, FLOW_MOD, GROUP_MOD, METER_MOD = 1, 6, 10, 13, 14, 15, 29
MULTIPART_REQUEST, MULTIPART_REPLY = 18, 19
HEADER = struct.Struct("!BBHI")
ADD, MODIFY, MODIFY_STRICT, DELETE, DELETE_STRICT = range(5)  # commands of a flow-mod; the first three of a group-mod
_FLOW_MOD = struct.Struct("!QQBBHHHIIIHxx")
_BASIC = 0x8000  # OFPXMC_OPENFLOW_BASIC
_ETH_TYPE = b"\x80\0\x0a\x02"  # how that field begins
_GOTO, _WRITES, _APPLIES = 1, 3, 4
_OUTPUT, _SET_FIELD = 0, 25

Keeps: TypeAlias = Callable[[Kind, str, Place], bool]  # does this element stay?


class FlowMod(NamedTuple):
    """``match``: its fields, each with header, value and mask; ``instructions``: as bytes."""

    cookie: int
    cookie_mask: int
    table: int
    command: int
    idle_timeout: int
    hard_timeout: int
    priority: int
    buffer: int
    out_port: int
    out_group: int
    flags: int
    match: frozenset[bytes]
    instructions: bytes

    @property
    def key(self) -> tuple[int, int, frozenset[bytes]]:
        return self.table, self.priority, self.match

    @property
    def place(self) -> Place:
        found = next((field for field in self.match if field.startswith(_ETH_TYPE)), b"")
        return Place(self.table, FAMILIES.get(int.from_bytes(found[4:6], "big")))

    @property
    def puts(self) -> bool:
        return self.command in (ADD, MODIFY, MODIFY_STRICT)


def read_flow_mod(message: bytes) -> FlowMod:
    match, end = match_at(message, HEADER.size + _FLOW_MOD.size)
    return FlowMod._make((*_FLOW_MOD.unpack_from(message, HEADER.size), match, message[end:]))


def goto_of(instructions: bytes) -> int | None:
    for kind, instruction in _parts(instructions):
        if kind == _GOTO:
            return instruction[4]
    return None


def xid_of(message: bytes) -> int:
    (xid,) = struct.unpack_from("!I", message, 4)
    return int(xid)


def error(refused: bytes, what: OpenFlowError, quoted: int) -> bytes:
    body = struct.pack("!HH", *what) + refused[:quoted]
    return HEADER.pack(VERSION, ERROR, HEADER.size + len(body), xid_of(refused)) + body


def with_length(message: bytes) -> bytes:
    return message[:2] + len(message).to_bytes(2, "big") + message[4:]


def name_of(message: bytes) -> str | None:
    """Of a controller's message; None: of one that every switch has to take."""
    return MESSAGES.get(message[1])


def multipart_of(message: bytes) -> str:
    (number,) = struct.unpack_from("!H", message, HEADER.size)
    return MULTIPARTS.get(number, EXPERIMENTER)


def kept(message: bytes, keeps: Keeps) -> bytes:
    """A controller's message without the elements that do not stay.  ``keeps`` is asked for each, and may raise.

    Of messages and multipart requests themselves it is only asked.
    """
    name = name_of(message)
    if name is not None:
        keeps("messages", name, NO_RULE)
    if message[1] == FLOW_MOD:
        return _kept_of_flow_mod(message, keeps)
    if message[1] == GROUP_MOD:
        return _kept_of_group_mod(message, keeps)
    if message[1] == PACKET_OUT:
        (length,) = struct.unpack_from("!H", message, 16)
        actions = _kept_of_actions(message[24 : 24 + length], keeps, NO_RULE)
        start = message[:16] + len(actions).to_bytes(2, "big") + message[18:24]
        return with_length(start + actions + message[24 + length :])
    if message[1] == MULTIPART_REQUEST:
        keeps("multipart", multipart_of(message), NO_RULE)
    return message


def _kept_of_flow_mod(message: bytes, keeps: Keeps) -> bytes:
    flow = read_flow_mod(message)
    place = flow.place
    for field in flow.match:
        name, masked = field_name(field)
        keeps("match", name, place)
        if masked:
            keeps("masks", name, place)
    if not flow.puts:
        return message
    flags = sum(
        bit
        for bit in (1 << number for number in range(16))
        if flow.flags & bit and (bit not in FLAGS or keeps("flags", FLAGS[bit], place))
    )
    idle = flow.idle_timeout if not flow.idle_timeout or keeps("timeouts", "idle", place) else 0
    hard = flow.hard_timeout if not flow.hard_timeout or keeps("timeouts", "hard", place) else 0
    head = (*flow[:4], idle, hard, *flow[6:10], flags)
    end = len(message) - len(flow.instructions)
    before = message[: HEADER.size] + _FLOW_MOD.pack(*head) + message[HEADER.size + _FLOW_MOD.size : end]
    return with_length(before + b"".join(_kept_instructions(flow.instructions, keeps, place)))


def _kept_instructions(instructions: bytes, keeps: Keeps, place: Place) -> Iterator[bytes]:
    for kind, instruction in _parts(instructions):
        stays = keeps("instructions", INSTRUCTIONS.get(kind, EXPERIMENTER), place)
        if kind in (_WRITES, _APPLIES):
            instruction = _with_size(instruction[:8] + _kept_of_actions(instruction[8:], keeps, place))
        if stays:
            yield instruction


def _kept_of_group_mod(message: bytes, keeps: Keeps) -> bytes:
    (command,) = struct.unpack_from("!H", message, 8)
    if command not in (ADD, MODIFY):
        return message
    keeps("groups", GROUPS.get(message[10], EXPERIMENTER), NO_RULE)
    buckets, at = [], 16
    while at < len(message):
        (length,) = struct.unpack_from("!H", message, at)
        bucket = message[at : at + length]
        actions = _kept_of_actions(bucket[16:], keeps, NO_RULE, in_bucket=True)
        buckets.append((16 + len(actions)).to_bytes(2, "big") + bucket[2:16] + actions)
        at += length
    return with_length(message[:16] + b"".join(buckets))


def _kept_of_actions(actions: bytes, keeps: Keeps, place: Place, in_bucket: bool = False) -> bytes:
    return b"".join(each for kind, each in _parts(actions) if _stays(kind, each, keeps, place, in_bucket))


def _stays(kind: int, action: bytes, keeps: Keeps, place: Place, in_bucket: bool) -> bool:
    name = ACTIONS.get(kind, EXPERIMENTER)
    stays = [keeps("actions", name, place)]
    if in_bucket:
        stays.append(keeps("bucket_actions", name, place))
    if kind == _SET_FIELD:
        stays.append(keeps("set", field_name(action[4:])[0], place))
    if kind == _OUTPUT:
        (port,) = struct.unpack_from("!I", action, 4)
        if port in PORTS:
            stays.append(keeps("ports", PORTS[port], place))
    return all(stays)


def field_name(field: bytes) -> tuple[str, bool]:
    """Of a match field that begins here: its name, and is it masked?"""
    oxm_class, number = struct.unpack_from("!HB", field)
    known = oxm_class == _BASIC and number >> 1 < len(MATCH_FIELDS)
    return (MATCH_FIELDS[number >> 1] if known else EXPERIMENTER), bool(number & 1)


def match_at(message: bytes, at: int) -> tuple[frozenset[bytes], int]:
    """The fields of the match there, and where it ends."""
    _, length = struct.unpack_from("!HH", message, at)
    fields, place = [], at + 4
    while place < at + length:
        size = 4 + message[place + 3]
        fields.append(message[place : place + size])
        place += size
    return frozenset(fields), at + _padded(length)


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each begins with its type and its length: actions, instructions."""
    at = 0
    while at + 4 <= len(data):
        kind, length = struct.unpack_from("!HH", data, at)
        if length < 4:
            raise ValueError("an action or an instruction of no length")
        yield kind, data[at : at + length]
        at += length


def _with_size(part: bytes) -> bytes:
    return part[:2] + len(part).to_bytes(2, "big") + part[4:]


def _padded(length: int) -> int:
    return (length + 7) // 8 * 8
