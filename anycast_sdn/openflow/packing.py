"""Flow-mods and group-mods, packed fast, because a change may need very many of them.

OS-Ken's message classes are the definition of the format, and take some 200 µs for each message.  Here the bytes of a
match and, by OS-Ken's classes, of a list of actions are made once and kept, and the rest is filled in.  A test
compares all that we send.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, cast

from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.openflow import oxm
from anycast_sdn.openflow.rules import UNREAD, Action, Bucket, FlowRule, GroupRule, Match, Unread

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

ToActions = Callable[[Sequence[Action]], list[Any]]


class Packer:
    """``to_actions``: our values → OS-Ken's."""

    def __init__(self, to_actions: ToActions) -> None:
        self._to_actions = to_actions
        self._actions = lru_cache(MOST_KEPT)(self._actions_anew)
        self._match = lru_cache(MOST_KEPT)(self._match_anew)

    def flow_mod(self, rule: FlowRule, command: int, xid: int) -> bytes:
        instructions = b""
        if rule.meter is not None:
            instructions += _INSTRUCTION_METER.pack(ofp.OFPIT_METER, _INSTRUCTION_METER.size, rule.meter)
        if rule.actions and Unread() not in rule.actions:  # such a rule is only deleted
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
                rule.cookie, 0, rule.table, command, rule.idle_timeout, rule.hard_timeout, rule.priority,
                ofp.OFP_NO_BUFFER, ofp.OFPP_ANY, ofp.OFPG_ANY, ofp.OFPFF_SEND_FLOW_REM if rule.notify else 0,
            ),
            match,
            instructions,
        ))  # fmt: skip

    def group_mod(self, group: GroupRule, command: int, xid: int) -> bytes:
        different = {id(bucket): bucket for bucket in group.buckets}
        packed = {key: self._bucket(bucket) for key, bucket in different.items()}
        buckets = b"".join([packed[id(bucket)] for bucket in group.buckets])
        kind = ofp.OFPGT_INDIRECT if group.indirect else ofp.OFPGT_SELECT
        body = _GROUP_MOD.pack(command, kind, group.number) + buckets
        return _HEADER.pack(_VERSION, ofp.OFPT_GROUP_MOD, _HEADER.size + len(body), xid) + body

    def _bucket(self, bucket: Bucket) -> bytes:
        packed = self._actions(bucket.actions)
        return _BUCKET.pack(_BUCKET.size + len(packed), bucket.weight, ofp.OFPP_ANY, ofp.OFPG_ANY) + packed

    def _actions_anew(self, actions: tuple[Action, ...]) -> bytes:
        packed = bytearray()
        for action in self._to_actions(actions):
            action.serialize(packed, len(packed))
        return bytes(packed)

    def _match_anew(self, match: Match) -> bytes:
        if match and match[0].name == UNREAD:  # as the switch has sent it
            packed = bytes(cast(bytes, match[0].value))
        else:
            packed = b"".join(
                written for _, written in sorted((field.name in oxm.LAST, oxm.written(*field)) for field in match)
            )
        length = _MATCH.size + len(packed)
        return _MATCH.pack(ofp.OFPMT_OXM, length) + packed + bytes(-length % 8)
