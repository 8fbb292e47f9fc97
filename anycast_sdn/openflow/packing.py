"""Flow-mods and group-mods, packed without a detour: what a change of the whole network consists of.

OS-Ken's message classes are the definition of the format, and take some 200 µs for each message.  Here its bytes for
the parts of a message (the header of a match's field, a list of actions) are asked for once and kept; what differs
from message to message is filled in.  A test compares all that we send.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, cast

from os_ken.ofproto import ofproto_v1_3 as ofp
from os_ken.ofproto import ofproto_v1_3_parser as parser

from anycast_sdn.openflow.rules import UNREAD, Action, Field, FlowRule, GroupRule, Match, Unread, Value

MOST_KEPT = 1 << 16  # lists of actions, and matches

_HEADER = Struct("!BBHI")
_FLOW_MOD = Struct("!QQBBHHHIIIH2x")  # OF 1.3.5 §7.3.4.1, up to the match
_MATCH = Struct("!HH")
_INSTRUCTION_ACTIONS = Struct("!HH4x")
_INSTRUCTION_GOTO = Struct("!HHB3x")
_INSTRUCTION_METER = Struct("!HHI")
_GROUP_MOD = Struct("!HBxI")
_BUCKET = Struct("!HHII4x")
_VERSION = ofp.OFP_VERSION
_EXPERIMENTER = ofp.OFPXMC_EXPERIMENTER.to_bytes(2, "big")

ToActions = Callable[[Sequence[Action]], list[Any]]


class Packer:
    """``to_actions`` and ``with_mask``: our values → what OS-Ken's classes take."""

    def __init__(self, to_actions: ToActions, with_mask: Callable[[Field], Any]) -> None:
        self._to_actions = to_actions
        self._with_mask = with_mask
        self._oxm_headers: dict[tuple[str, bool], bytes] = {}
        self._actions = lru_cache(MOST_KEPT)(self._actions_anew)
        self._match = lru_cache(MOST_KEPT)(self._match_anew)

    def flow_mod(self, rule: FlowRule, command: int, xid: int) -> bytes:
        instructions = b""
        if rule.meter is not None:
            instructions += _INSTRUCTION_METER.pack(ofp.OFPIT_METER, _INSTRUCTION_METER.size, rule.meter)
        if rule.actions and Unread() not in rule.actions:  # a rule with that is only ever deleted
            actions = self._actions(rule.actions)
            head = _INSTRUCTION_ACTIONS.pack(ofp.OFPIT_APPLY_ACTIONS, _INSTRUCTION_ACTIONS.size + len(actions))
            instructions += head + actions
        if rule.goto is not None:
            instructions += _INSTRUCTION_GOTO.pack(ofp.OFPIT_GOTO_TABLE, _INSTRUCTION_GOTO.size, rule.goto)
        match = self._match(rule.match)
        length = _HEADER.size + _FLOW_MOD.size + len(match) + len(instructions)
        return b"".join((
            _HEADER.pack(_VERSION, ofp.OFPT_FLOW_MOD, length, xid),
            _FLOW_MOD.pack(
                rule.cookie, 0, rule.table, command, rule.idle_timeout, 0, rule.priority, ofp.OFP_NO_BUFFER,
                ofp.OFPP_ANY, ofp.OFPG_ANY, ofp.OFPFF_SEND_FLOW_REM if rule.notify else 0,
            ),
            match,
            instructions,
        ))  # fmt: skip

    def group_mod(self, group: GroupRule, command: int, xid: int) -> bytes:
        """Of a select group."""
        buckets = []
        for weight, actions in group.buckets:
            packed = self._actions(actions)
            head = _BUCKET.pack(_BUCKET.size + len(packed), weight, ofp.OFPP_ANY, ofp.OFPG_ANY)
            buckets += [head, packed]
        body = _GROUP_MOD.pack(command, ofp.OFPGT_SELECT, group.number) + b"".join(buckets)
        return _HEADER.pack(_VERSION, ofp.OFPT_GROUP_MOD, _HEADER.size + len(body), xid) + body

    def _actions_anew(self, actions: tuple[Action, ...]) -> bytes:
        packed = bytearray()
        for action in self._to_actions(actions):
            action.serialize(packed, len(packed))
        return bytes(packed)

    def _match_anew(self, match: Match) -> bytes:
        if match and match[0].name == UNREAD:  # as the switch has sent it
            packed = bytes(cast(bytes, match[0].value))
        else:
            fields = sorted((self._oxm_header(field), field) for field in match)
            packed = b"".join(header + _value(header, field) for header, field in fields)
        length = _MATCH.size + len(packed)
        return _MATCH.pack(ofp.OFPMT_OXM, length) + packed + bytes(-length % 8)

    def _oxm_header(self, field: Field) -> bytes:
        key = field.name, field.mask is not None
        if key not in self._oxm_headers:
            example = bytearray()
            parser.OFPMatch(**{field.name: self._with_mask(field)}).serialize(example, 0)
            experimenter = example[_MATCH.size : _MATCH.size + 2] == _EXPERIMENTER
            self._oxm_headers[key] = bytes(example[_MATCH.size : _MATCH.size + (8 if experimenter else 4)])
        return self._oxm_headers[key]


def _value(header: bytes, field: Field) -> bytes:
    """The value, and its mask if it has one."""
    size = header[3] - (len(header) - 4)  # without the experimenter, where there is one
    if field.mask is None:
        return _packed(field.value, size)
    value, mask = (_packed(each, size // 2) for each in (field.value, field.mask))
    return bytes(a & b for a, b in zip(value, mask, strict=True)) + mask


def _packed(value: Value, size: int) -> bytes:
    return value if isinstance(value, bytes) else int(value).to_bytes(size, "big")
