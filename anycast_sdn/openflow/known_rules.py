"""Known rules: for a switch that keeps no cookies, its rules are known by their matches.

What the switch says of a rule, or sends up because of one, gets the cookie that the rule was sent with, where messages
are read; so nobody else has to know of it.

- A listed rule, and one whose removal is reported, is known by its table, priority and match.
- A packet is looked up among the rules that send packets up, of the table that has sent it.
- What has expired is known no more: by its report, as only rules that ask for one do.
- To delete the rules of a cookie, each of them is deleted by its match; and what was listed and is not known, for those
  of others.
- Which rules it holds is known from its connection on, so it has to be empty then.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.openflow import decoding, entries, packet_fields
from anycast_sdn.openflow.flow_table import FlowTable
from anycast_sdn.openflow.layout import Layout
from anycast_sdn.openflow.pending import MULTIPART
from anycast_sdn.openflow.rules import (
    OFPP_CONTROLLER,
    AddFlow,
    DeleteCookie,
    DeleteEverything,
    DeleteFlow,
    DeleteGroup,
    DeleteMeter,
    FlowRule,
    Message,
    Output,
    PutBinding,
    RemoveBinding,
    RuleKey,
    ToGroup,
)

_COOKIE = struct.Struct("!Q")
_OF_RULES = frozenset((ofp.OFPMP_FLOW, ofp.OFPMP_AGGREGATE))
_ASKED = slice(32, 48)  # the cookie and its mask, in the body of such a question behind its multipart header
_LISTED_COOKIE, _LISTED_MATCH = 24, 48  # in an entry of OFPMP_FLOW, OF 1.3.5 §7.3.5.2
_REMOVED_MATCH = 40  # in OFPT_FLOW_REMOVED without its header, §7.4.2
_SENT_TABLE, _SENT_COOKIE = 7, slice(8, 16)  # in OFPT_PACKET_IN likewise, §7.4.1
_TO_CONTROLLER = Output(OFPP_CONTROLLER)


class _Held(NamedTuple):
    rule: FlowRule  # as the switch has it
    sent: FlowRule  # the pipeline's


class KnownRules:
    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._held: dict[RuleKey, _Held] = {}
        self._tables: dict[int, FlowTable[_Held]] = {}  # of rules that send packets to the controller
        self._foreign: dict[RuleKey, FlowRule] = {}

    # ---------------------------------------------------------------- to the switch

    def as_sent(self, messages: Iterable[Message]) -> Iterator[Message]:
        """The messages as the switch is to be sent them."""
        for message in messages:
            if isinstance(message, DeleteCookie):
                yield from self._deletions(message.cookie)
                continue
            self._note(message)
            yield message

    def _note(self, message: Message) -> None:
        match message:
            case AddFlow(rule):
                self._put(rule)
            case PutBinding():
                self._put(entries.binding(message))
            case DeleteFlow(rule):
                self._remove(self._layout.on_switch(rule).key)
            case RemoveBinding(put):
                self._remove(self._layout.on_switch(entries.binding(put)).key)
            case DeleteGroup(number):
                self._remove_all(held for held in self._held.values() if ToGroup(number) in held.rule.actions)
            case DeleteMeter(number):
                self._remove_all(held for held in self._held.values() if held.rule.meter == number)
            case DeleteEverything():
                self._remove_all(self._held.values())
                self._foreign.clear()

    def _deletions(self, cookie: int) -> Iterator[Message]:
        of_cookie = [held for held in self._held.values() if held.rule.cookie == cookie]
        self._remove_all(of_cookie)
        yield from (DeleteFlow(held.sent) for held in of_cookie)
        if not of_cookie:
            foreign, self._foreign = self._foreign, {}
            yield from (DeleteFlow(self._layout.logical(rule)) for rule in foreign.values() if rule.cookie == cookie)

    def _put(self, rule: FlowRule) -> None:
        held = _Held(self._layout.on_switch(rule), rule)
        self._remove(held.rule.key)
        self._held[held.rule.key] = held
        if _sends_up(held):
            self._tables.setdefault(held.rule.table, FlowTable()).put(held)

    def _remove(self, key: RuleKey) -> None:
        held = self._held.pop(key, None)
        if held and _sends_up(held):
            self._tables[held.rule.table].remove(held.rule)

    def _remove_all(self, several: Iterable[_Held]) -> None:
        for held in list(several):
            self._remove(held.rule.key)

    @staticmethod
    def as_asked(kind: int, request: bytes) -> bytes:
        """A question for rules of a cookie is one for all rules: those of others are left out when it is answered."""
        if kind not in _OF_RULES:
            return request
        return request[: _ASKED.start] + bytes(16) + request[_ASKED.stop :]

    # ---------------------------------------------------------------- from the switch

    def restored(self, kind: int, body: bytes) -> bytes:
        """A message of this type with the cookies that its rules were sent with.  Raises BadMessage."""
        if kind == ofp.OFPT_PACKET_IN:
            return self._packet_in(body)
        if kind == ofp.OFPT_FLOW_REMOVED and len(body) > _REMOVED_MATCH:
            return self._removed(body)
        if kind == ofp.OFPT_MULTIPART_REPLY and int.from_bytes(body[:2], "big") == ofp.OFPMP_FLOW:
            head, entries_ = body[: MULTIPART.size], body[MULTIPART.size :]
            return head + b"".join(self._listed(each.whole) for each in decoding.split_flow_stats(entries_))
        return body

    def _listed(self, entry: bytes) -> bytes:
        table, priority = entry[2], int.from_bytes(entry[12:14], "big")
        rule = FlowRule(table, priority, decoding.match_at(entry, _LISTED_MATCH), 0)
        held = self._held.get(rule.key)
        if held is None:
            self._foreign[rule.key] = rule
        cookie = held.rule.cookie if held else 0
        return entry[:_LISTED_COOKIE] + _COOKIE.pack(cookie) + entry[_LISTED_COOKIE + 8 :]

    def _removed(self, body: bytes) -> bytes:
        _, deleted, _ = decoding.decode_flow_removed(body)
        key = FlowRule(*decoding.place_of_removed(body), decoding.match_at(body, _REMOVED_MATCH), 0).key
        held = self._held.get(key)
        if not deleted:  # what the controller deletes it has forgotten before, and may have put again since
            self._remove(key)
        return _COOKIE.pack(held.rule.cookie if held else 0) + body[8:]

    def _packet_in(self, body: bytes) -> bytes:
        message = decoding.decode_packet_in(body)
        fields = packet_fields.of_frame(message.frame, message.in_port)
        table = self._tables.get(body[_SENT_TABLE])
        held = table.find(fields) if table else None
        if held is None:
            return body
        return body[: _SENT_COOKIE.start] + _COOKIE.pack(held.rule.cookie) + body[_SENT_COOKIE.stop :]


def _sends_up(held: _Held) -> bool:
    return _TO_CONTROLLER in held.rule.actions
