"""An Open vSwitch that plays another switch: what passes between it and its controllers is changed after a profile.

What the profile refuses never reaches Open vSwitch; what it ignores is left out of what does, and shown nevertheless in
what the switch lists.  So packets are treated as the rules say that Open vSwitch got, and not as the controller
believes.  Pure: bytes in, bytes out.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import openflow_wire as wire

from anycast_sdn.core.model import ICMPV6
from anycast_sdn.description.profile import (
    ERRORS,
    GOTO_NOWHERE,
    OUT_OF_GROUPS,
    OUT_OF_METERS,
    QUOTED,
    TABLE_FULL,
    Kind,
    OpenFlowError,
    Place,
    Profile,
    error_of,
)
from anycast_sdn.openflow.rules import ETH_IPV6, ETH_LLDP

_ALL = 0xFFFFFFFC  # groups; of meters, all above 0xFFFF0000 are reserved
_ANY_TABLE = 0xFF
_MOST_CHANGED = 1 << 16  # messages whose beginning is remembered, for errors
_MULTIPART = 16  # bytes before its body


class Answer(NamedTuple):
    """What becomes of a controller's message.  At most one of them is not empty."""

    passed: bytes = b""  # to Open vSwitch
    back: bytes = b""  # to the controller, in the switch's name
    closes: bool = False


class _Refused(Exception):
    def __init__(self, error: OpenFlowError) -> None:
        super().__init__(f"type {error.type} code {error.code}")
        self.error = error


class _Closes(Exception):
    pass


class PlayedSwitch:
    """One switch, with all its connections.  What it knows of its rules outlives them, as the rules do.

    Whoever passes messages on asks Open vSwitch how many rules it holds, where ``adds_to`` says so (``note_held``).
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.forget()

    def forget(self) -> None:
        """It has been made anew, and holds nothing."""
        self._as_sent: dict[tuple[int, int, frozenset[bytes]], wire.FlowMod] = {}  # rules of which something is ignored
        self._keys: dict[tuple[int, int, frozenset[bytes]], int] = {}  # rules that were added, with their cookies
        self._groups: set[int] = set()
        self._meters: set[int] = set()
        self._replacing = 0
        self._changed: dict[int, bytes] = {}  # by transaction id: how messages began that Open vSwitch got otherwise
        self.held: Counter[int] = Counter()  # rules in each table, as Open vSwitch has last said

    # ---------------------------------------------------------------- from a controller

    def from_controller(self, message: bytes) -> Answer:
        try:
            return self._take(message)
        except _Closes:
            return Answer(closes=True)
        except _Refused as refused:
            return Answer(back=wire.error(message, refused.error, self.profile.quoted))

    def adds_to(self, message: bytes) -> int | None:
        """The table to which a message adds a rule, if that has to be counted."""
        has_room = self.profile.rules is None and self.profile.all_rules is None
        if has_room or message[1] != wire.FLOW_MOD:
            return None
        flow = wire.read_flow_mod(message)
        return flow.table if flow.command == wire.ADD and flow.key not in self._keys else None

    def _take(self, message: bytes) -> Answer:
        if message[0] != wire.VERSION:
            return Answer(message)
        wire.kept(message, self._refuses)
        if self._swallows(message):
            return Answer()
        changed = wire.kept(message, self._keeps)
        if message[1] == wire.FLOW_MOD:
            changed = self._flow_mod(message, changed)
        elif message[1] == wire.GROUP_MOD:
            self._group_mod(message)
        elif message[1] == wire.METER_MOD:
            self._meter_mod(message)
        if changed != message and wire.xid_of(message):
            if len(self._changed) >= _MOST_CHANGED:
                self._changed.clear()
            self._changed[wire.xid_of(message)] = message[:QUOTED]
        return Answer(changed)

    def _refuses(self, kind: Kind, name: str, place: Place) -> bool:
        if self.profile.closes_at(kind, name, place):
            raise _Closes
        if self.profile.refuses(kind, name, place):
            raise _Refused(error_of(kind, name))
        return True

    def _keeps(self, kind: Kind, name: str, place: Place) -> bool:
        return not self.profile.ignores(kind, name, place)

    def _swallows(self, message: bytes) -> bool:
        name = wire.name_of(message)
        if name is not None and self.profile.ignores("messages", name):
            return True
        return message[1] == wire.MULTIPART_REQUEST and self.profile.ignores("multipart", wire.multipart_of(message))

    def _flow_mod(self, message: bytes, changed: bytes) -> bytes:
        flow = wire.read_flow_mod(message)
        if not flow.puts:
            self._delete(flow)
            return changed
        self._check_tables(flow)
        if flow.key in self._keys and "replacing" in self.profile.wrong:
            self._replacing += 1
            if self._replacing % 3 == 0:
                self._forget(flow.key)
                return changed[:25] + bytes((wire.DELETE_STRICT,)) + changed[26:]
        if flow.command == wire.ADD:
            self._keys[flow.key] = 0 if "cookies" in self.profile.wrong else flow.cookie
        self._as_sent.pop(flow.key, None)
        if changed != message:
            self._as_sent[flow.key] = flow
        return changed[:8] + bytes(8) + changed[16:] if "cookies" in self.profile.wrong else changed

    def _check_tables(self, flow: wire.FlowMod) -> None:
        if not self.profile.has_table(flow.table):
            raise _Refused(ERRORS["tables"])
        goto = wire.goto_of(flow.instructions)
        if goto is not None and not self.profile.has_table(goto):
            raise _Refused(GOTO_NOWHERE)
        if flow.command == wire.ADD and flow.key not in self._keys:
            self._check_room(flow.table)

    def _check_room(self, table: int) -> None:
        rules, all_rules = self.profile.rules, self.profile.all_rules
        if rules is not None and self.held[table] >= rules:
            raise _Refused(TABLE_FULL)
        if all_rules is not None and self.held.total() >= all_rules:
            raise _Refused(TABLE_FULL)
        self.held[table] += 1

    def _delete(self, flow: wire.FlowMod) -> None:
        """The rules that a switch deletes then (OF 1.3.5 §6.4)."""
        known = {key: each.cookie for key, each in self._as_sent.items()} | self._keys
        for key in [flow.key] if flow.command == wire.DELETE_STRICT else known:
            table, _, fields = key
            is_meant = key == flow.key or (
                flow.command != wire.DELETE_STRICT and flow.table in (_ANY_TABLE, table) and flow.match <= fields
            )
            if is_meant and not (known.get(key, 0) ^ flow.cookie) & flow.cookie_mask:
                self._forget(key)

    def _forget(self, key: tuple[int, int, frozenset[bytes]]) -> None:
        self._keys.pop(key, None)
        self._as_sent.pop(key, None)

    def _group_mod(self, message: bytes) -> None:
        command, number = struct.unpack_from("!H2xI", message, 8)
        if command == wire.ADD:
            if self.profile.groups is not None and len(self._groups | {number}) > self.profile.groups:
                raise _Refused(OUT_OF_GROUPS)
            self._groups.add(number)
        elif command == 2:  # OFPGC_DELETE
            self._groups = set() if number == _ALL else self._groups - {number}

    def _meter_mod(self, message: bytes) -> None:
        command, _, number = struct.unpack_from("!HHI", message, 8)
        if command == wire.ADD:
            if self.profile.meters is not None and len(self._meters | {number}) > self.profile.meters:
                raise _Refused(OUT_OF_METERS)
            self._meters.add(number)
        elif command == 2:  # OFPMC_DELETE
            self._meters = set() if number > 0xFFFF0000 else self._meters - {number}

    # ---------------------------------------------------------------- from Open vSwitch

    def from_switch(self, message: bytes) -> bytes:
        """What the controller gets instead; nothing, if nothing."""
        match message[1]:
            case wire.FEATURES_REPLY:
                return message[:20] + bytes((min(message[20], self.profile.tables),)) + message[21:]
            case wire.ERROR:
                quoted = self._changed.get(wire.xid_of(message), message[12:])
                return wire.with_length(message[:12] + quoted[: self.profile.quoted])
            case wire.PACKET_IN:
                return self._packet_in(message)
            case wire.MULTIPART_REPLY:
                return self._multipart_reply(message)
        return message

    def _packet_in(self, message: bytes) -> bytes:
        _, at = wire.match_at(message, 24)
        frame = message[at + 2 :]
        if "lldp" in self.profile.wrong and int.from_bytes(frame[12:14], "big") == ETH_LLDP:
            return b""
        is_icmpv6 = int.from_bytes(frame[12:14], "big") == ETH_IPV6 and frame[20:21] == bytes((ICMPV6,))
        if "icmpv6_checksum" in self.profile.wrong and is_icmpv6 and len(frame) >= 58:
            return message[: at + 2] + frame[:56] + bytes(byte ^ 0xFF for byte in frame[56:58]) + frame[58:]
        return message

    def _multipart_reply(self, message: bytes) -> bytes:
        head, body = message[:_MULTIPART], message[_MULTIPART:]
        match wire.multipart_of(message):
            case "desc":
                body = self._description(body)
            case "flow":
                body = b"".join(self._flows(body))
            case "aggregate" if "statistics" in self.profile.wrong:
                body = bytes(16) + body[16:]
            case "table":
                body = b"".join(
                    body[at : at + 24] for at in range(0, len(body), 24) if self.profile.has_table(body[at])
                )
            case "group_features":
                body = self._group_features(body)
            case "meter_features" if self.profile.meters is not None:
                body = self.profile.meters.to_bytes(4, "big") + body[4:]
            case "table_features":
                body = b"".join(self._table_features(body))
        return wire.with_length(head + body)

    def _description(self, body: bytes) -> bytes:
        words = (self.profile.manufacturer, self.profile.hardware, self.profile.software)
        texts = [text.encode()[:255].ljust(256, b"\0") for text in words]
        return b"".join(texts) + body[768:]

    def _flows(self, body: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(body):
            (length,) = struct.unpack_from("!H", body, at)
            yield self._flow(body[at : at + length])
            at += length

    def _flow(self, entry: bytes) -> bytes:
        """One rule, as it was sent, but for timeouts: those that it ignores are 0."""
        (priority,) = struct.unpack_from("!H", entry, 12)
        match, end = wire.match_at(entry, 48)
        if sent := self._as_sent.get((entry[2], priority, match)):
            entry = entry[:18] + struct.pack("!H", sent.flags) + entry[20:end] + sent.instructions
            entry = len(entry).to_bytes(2, "big") + entry[2:]
        if "statistics" in self.profile.wrong:
            entry = entry[:32] + bytes(16) + entry[48:]
        return entry

    def _group_features(self, body: bytes) -> bytes:
        if self.profile.groups is None:
            return body
        return body[:8] + struct.pack("!4I", *[self.profile.groups] * 4) + body[24:]

    def _table_features(self, body: bytes) -> Iterator[bytes]:
        """Of the tables that it has; what it refuses there is in them nevertheless: features are often wrong."""
        at = 0
        while at < len(body):
            (length,) = struct.unpack_from("!H", body, at)
            table = body[at : at + length]
            if self.profile.has_table(table[2]):
                said = self.profile.said_rules
                room = table[60:64] if said is None else said.to_bytes(4, "big")
                yield table[:60] + room + table[64:]
            at += length

    def note_held(self, message: bytes) -> None:
        """Open vSwitch's answer to ``wire``'s question how many rules are in each table."""
        body = message[_MULTIPART:]
        for at in range(0, len(body), 24):
            (active,) = struct.unpack_from("!I", body, at + 4)
            self.held[body[at]] = active
