"""Values of ``rules`` → bytes of OpenFlow 1.3, and the questions to a switch.

OS-Ken's own message classes are the definition of the format.  Two kinds of messages have faster code: those of the
first-packet path (``templates``), and the rules and groups of large changes (``packing``).  The other direction is
``decoding``.

Rules are placed in the switch's tables by its layout.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any, cast

from os_ken.ofproto import nicira_ext
from os_ken.ofproto import ofproto_v1_3 as ofp
from os_ken.ofproto import ofproto_v1_3_parser as parser
from os_ken.ofproto.ofproto_protocol import ProtocolDesc

from anycast_sdn.openflow import connections, entries, nicira, oxm, transactions
from anycast_sdn.openflow.layout import Layout
from anycast_sdn.openflow.packing import Packer
from anycast_sdn.openflow.requests import RulesRequest
from anycast_sdn.openflow.rules import (
    OFPP_IN_PORT,
    UNREAD,
    Action,
    AddFlow,
    Barrier,
    BeginConnection,
    CheckSize,
    Copy,
    DecTtl,
    DeleteCookie,
    DeleteEverything,
    DeleteFlow,
    DeleteGroup,
    DeleteMeter,
    EndConnection,
    Field,
    FinTimeout,
    FlowRule,
    ForgetInPort,
    Load,
    Match,
    Message,
    Move,
    Output,
    PacketOut,
    PopVlan,
    PutBinding,
    RemoveBinding,
    ReportExpired,
    Resubmit,
    SetField,
    SetGroup,
    SetMeter,
    ToGroup,
    Track,
    Unread,
    Value,
)
from anycast_sdn.openflow.templates import Templates

OPENFLOW_VERSION = ofp.OFP_VERSION  # 1.3
TICKET = 1 << 31  # set in the transaction id of a barrier with a ticket, and in no other


class Encoder:
    """Writes for the switches of one layout."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._on_switch = layout.on_switch
        templates = Templates(self._add_without_xid)
        self._put, self._remove = templates.put, templates.remove
        self._begin = connections.Beginnings(self._packet_out).pack
        self._packet_out_head = lru_cache(_HEADS_KEPT)(self._packet_out_head_anew)

    def encode(self, datapath: Any, messages: Iterable[Message]) -> bytes:
        """All messages as one run of bytes; ``datapath`` hands out the transaction ids."""
        put = self._put
        return b"".join([
            put(message) if isinstance(message, PutBinding) else self._encode(datapath, message)
            for message in self._layout.with_groups(messages)
        ])  # fmt: skip

    def _encode(self, datapath: Any, message: Message) -> bytes:
        if isinstance(message, PacketOut):
            return self._packet_out(message)
        if isinstance(message, BeginConnection):
            return self._begin(message)
        if isinstance(message, RemoveBinding):
            return self._remove(message.put)
        if isinstance(message, AddFlow):
            return PACKER.flow_mod(self._on_switch(message.rule), ofp.OFPFC_ADD, _xid_of(datapath, message.rule))
        if isinstance(message, DeleteFlow):
            xid = _xid_of(datapath, message.rule)
            return PACKER.flow_mod(self._on_switch(message.rule), ofp.OFPFC_DELETE_STRICT, xid)
        if isinstance(message, SetGroup):
            command = ofp.OFPGC_MODIFY if message.exists else ofp.OFPGC_ADD
            xid = transactions.of_group(message.group.number, _next_xid(datapath))
            return PACKER.group_mod(self._layout.group_on_switch(message.group), command, xid)
        if isinstance(message, DeleteCookie):
            return b"".join((_DELETE_COOKIE[:8], message.cookie.to_bytes(8, "big"), _DELETE_COOKIE[16:]))
        if isinstance(message, EndConnection):
            return _end_connection(message, _next_xid(datapath)) if connections.can_end(message) else b""
        if isinstance(message, DeleteEverything):
            return b"".join(serialised(datapath, each) for each in _delete_everything(datapath))
        return serialised(datapath, _build(datapath, message))

    def _packet_out(self, message: PacketOut) -> bytes:
        """The part before the frame is the same for all packets with these actions, and is kept."""
        frame, in_port, actions = message
        head = self._packet_out_head(in_port, actions)
        return b"".join((head[:2], (len(head) + len(frame)).to_bytes(2, "big"), head[4:], frame))

    def _packet_out_head_anew(self, in_port: int, actions: tuple[Action, ...]) -> bytes:
        on_switch = _actions(self._layout.actions_on_switch(actions))
        empty = parser.OFPPacketOut(_VERSION_ONLY, ofp.OFP_NO_BUFFER, in_port, on_switch, b"")
        empty.xid = 0
        return serialised(_VERSION_ONLY, empty)

    def _add_without_xid(self, rule: FlowRule) -> bytes:
        message = _flow_mod(_VERSION_ONLY, self._on_switch(rule), ofp.OFPFC_ADD)
        message.xid = 0
        return serialised(_VERSION_ONLY, message)


def encoder(layout: Layout) -> Encoder:
    """The encoder of this layout.  Where it is the same for all its switches, templates are made once."""
    return Encoder(layout) if layout.names_next_hops else _common_encoder(layout)


_common_encoder = cache(Encoder)


def _end_connection(message: EndConnection, xid: int) -> bytes:
    body = connections.end(message)
    length = _EXPERIMENTER.size + len(body)
    head = (ofp.OFP_VERSION, ofp.OFPT_EXPERIMENTER, length, xid, nicira.VENDOR, connections.CT_FLUSH)
    return _EXPERIMENTER.pack(*head) + body


_EXPERIMENTER = struct.Struct("!BBHIII")


class _Numbered:
    """Takes a transaction id from a datapath."""

    xid = 0

    def set_xid(self, xid: int) -> None:
        self.xid = xid


def _next_xid(datapath: Any) -> int:
    numbered = _Numbered()
    datapath.set_xid(numbered)
    return numbered.xid


def _xid_of(datapath: Any, rule: FlowRule) -> int:
    return transactions.of_rule(rule.cookie, _next_xid(datapath))


def _delete_everything(datapath: Any) -> tuple[Any, Any]:
    rules = parser.OFPFlowMod(
        datapath, table_id=ofp.OFPTT_ALL, command=ofp.OFPFC_DELETE, out_port=ofp.OFPP_ANY, out_group=ofp.OFPG_ANY
    )
    return rules, parser.OFPGroupMod(datapath, ofp.OFPGC_DELETE, ofp.OFPGT_SELECT, ofp.OFPG_ALL, [])


# OF 1.3.5 §7.3.10: what is not listed is not sent.
_ALL_PORT_REASONS = 1 << ofp.OFPPR_ADD | 1 << ofp.OFPPR_DELETE | 1 << ofp.OFPPR_MODIFY
_ALL_REMOVED_REASONS = (
    1 << ofp.OFPRR_IDLE_TIMEOUT | 1 << ofp.OFPRR_HARD_TIMEOUT | 1 << ofp.OFPRR_DELETE | 1 << ofp.OFPRR_GROUP_DELETE
)
_HEADS_KEPT = 1 << 12


def serialised(datapath: Any, message: Any) -> bytes:
    """One OS-Ken message, with a transaction id of its own, as bytes."""
    if message.xid is None:
        datapath.set_xid(message)
    message.serialize()
    return bytes(message.buf)


def _build(datapath: Any, message: Message) -> Any:
    """An OS-Ken message; a rule's tables are the switch's."""
    match message:
        case AddFlow(rule):
            return _flow_mod(datapath, rule, ofp.OFPFC_ADD)
        case DeleteFlow(rule):
            return _flow_mod(datapath, rule, ofp.OFPFC_DELETE_STRICT)
        case PutBinding():
            return _flow_mod(datapath, entries.binding(message), ofp.OFPFC_ADD)
        case RemoveBinding(put):
            return _flow_mod(datapath, entries.binding(put), ofp.OFPFC_DELETE_STRICT)
        case PacketOut(frame, in_port, actions):
            return parser.OFPPacketOut(datapath, ofp.OFP_NO_BUFFER, in_port, _actions(actions), frame)
        case SetGroup(group, exists):
            command = ofp.OFPGC_MODIFY if exists else ofp.OFPGC_ADD
            buckets = [
                parser.OFPBucket(bucket.weight, ofp.OFPP_ANY, ofp.OFPG_ANY, _actions(bucket.actions))
                for bucket in group.buckets
            ]
            kind = ofp.OFPGT_INDIRECT if group.indirect else ofp.OFPGT_SELECT
            return parser.OFPGroupMod(datapath, command, kind, group.number, buckets)
        case DeleteGroup(number):
            return parser.OFPGroupMod(datapath, ofp.OFPGC_DELETE, ofp.OFPGT_SELECT, number, [])
        case SetMeter(meter, exists):
            command = ofp.OFPMC_MODIFY if exists else ofp.OFPMC_ADD
            bands = [parser.OFPMeterBandDrop(meter.rate, meter.burst)]
            flags = ofp.OFPMF_PKTPS | ofp.OFPMF_BURST
            return parser.OFPMeterMod(datapath, command, flags, meter.number, bands)
        case DeleteMeter(number):
            return parser.OFPMeterMod(datapath, ofp.OFPMC_DELETE, 0, number, [])
        case ReportExpired(wanted):
            reasons = 1 << ofp.OFPR_ACTION | (1 << ofp.OFPR_INVALID_TTL if wanted else 0)
            # The second of each is for a slave: it hears which rules are removed.
            return parser.OFPSetAsync(datapath, [reasons, 0], [_ALL_PORT_REASONS, 0], [_ALL_REMOVED_REASONS] * 2)
        case Barrier(ticket):
            barrier = parser.OFPBarrierRequest(datapath)
            barrier.xid = TICKET | ticket if ticket else None
            return barrier
        case BeginConnection():
            return _build(datapath, connections.with_first_packet(message))
        case EndConnection():
            return parser.OFPExperimenter(datapath, nicira.VENDOR, connections.CT_FLUSH, connections.end(message))


def _flow_mod(datapath: Any, rule: FlowRule, command: int) -> Any:
    instructions: list[Any] = []
    if rule.meter is not None:
        instructions.append(parser.OFPInstructionMeter(rule.meter))
    if rule.actions and Unread() not in rule.actions:  # such a rule is only deleted
        instructions.append(parser.OFPInstructionActions(ofp.OFPIT_APPLY_ACTIONS, _actions(rule.actions)))
    if rule.goto is not None:
        instructions.append(parser.OFPInstructionGotoTable(rule.goto))
    return parser.OFPFlowMod(
        datapath,
        cookie=rule.cookie,
        table_id=rule.table,
        command=command,
        idle_timeout=rule.idle_timeout,
        hard_timeout=rule.hard_timeout,
        priority=rule.priority,
        buffer_id=ofp.OFP_NO_BUFFER,
        out_port=ofp.OFPP_ANY,
        out_group=ofp.OFPG_ANY,
        flags=ofp.OFPFF_SEND_FLOW_REM if rule.notify else 0,
        match=_match(rule.match),
        instructions=instructions,
    )


_UNKNOWN_TO_OS_KEN = frozenset(("ct_nw_src", "ct_ipv6_src", "ct_tp_src"))


class _MatchAsFound(parser.OFPMatch):  # type: ignore[misc]
    """A match with the bytes that a switch has sent."""

    def __init__(self, oxms: bytes) -> None:
        super().__init__()
        self._oxms = oxms

    def serialize(self, buf: bytearray, offset: int) -> int:
        length = 4 + len(self._oxms)
        data = length.to_bytes(2, "big") + self._oxms + bytes(-length % 8)
        buf += bytes(offset - len(buf))
        buf += ofp.OFPMT_OXM.to_bytes(2, "big") + data
        return len(data) + 2


def _match(conditions: Match) -> Any:
    if conditions and conditions[0].name == UNREAD:
        return _MatchAsFound(cast(bytes, conditions[0].value))
    if any(field.name in _UNKNOWN_TO_OS_KEN for field in conditions):
        ordered = sorted(conditions, key=lambda field: (field.name in oxm.LAST, oxm.written(*field)))
        return _MatchAsFound(b"".join(oxm.written(*field) for field in ordered))
    made = parser.OFPMatch(**{field.name: _with_mask(field) for field in conditions})
    return parser.OFPMatch(_ordered_fields=sorted(made.items(), key=lambda field: field[0] in oxm.LAST))


def _with_mask(field: Field) -> Any:
    if field.mask is None:
        return _text(field.name, field.value)
    return _text(field.name, field.value), _text(field.name, field.mask)


def _text(name: str, value: Value) -> Any:
    """OS-Ken takes addresses as bytes or text, depending on the width; text always works."""
    if not isinstance(value, bytes):
        return value
    if name in oxm.WIDE:
        return int.from_bytes(value, "big")
    if len(value) == 6:
        return value.hex(":")
    return ".".join(map(str, value)) if len(value) == 4 else value.hex(":", 2)


def _actions(actions: Sequence[Action]) -> list[Any]:
    return [_action(action) for action in actions]


def _action(action: Action) -> Any:
    match action:
        case SetField(name, value):
            return parser.OFPActionSetField(**{name: _text(name, value)})
        case DecTtl():
            return parser.OFPActionDecNwTtl()
        case PopVlan():
            return parser.OFPActionPopVlan()
        case Output(port):
            return parser.OFPActionOutput(port, ofp.OFPCML_NO_BUFFER)
        case ToGroup(group):
            return parser.OFPActionGroup(group)
        case Unread():
            raise AssertionError("a rule that could not be read is never written")
        case _:
            return _extension(action)


def _extension(
    action: FinTimeout | ForgetInPort | CheckSize | Copy | Resubmit | Load | Move | Track,
) -> Any:
    match action:
        case FinTimeout(idle_s):
            return parser.NXActionFinTimeout(fin_idle_timeout=idle_s, fin_hard_timeout=0)
        case ForgetInPort():
            return parser.NXActionRegLoad(nicira_ext.ofs_nbits(0, 15), "in_port_nxm", nicira.NO_PORT)
        case Resubmit(table, in_port):
            port = nicira.IN_PORT if in_port == OFPP_IN_PORT else in_port
            return parser.NXActionResubmitTable(in_port=port, table_id=table)
        # OS-Ken has no classes for these, or none that can write them whole.
        case CheckSize(limit):
            return parser.NXActionUnknown(nicira.CHECK_PKT_LARGER, data=nicira.check_size(limit))
        case Copy(meter):
            return parser.NXActionUnknown(nicira.CONTROLLER2, data=nicira.copy(meter))
        case Load():
            return parser.NXActionUnknown(nicira.REG_LOAD2, data=nicira.load(action))
        case Move():
            return parser.NXActionUnknown(nicira.REG_MOVE, data=nicira.move(action))
        case Track():
            return parser.NXActionUnknown(nicira.CT, data=nicira.track(action))


def _delete_cookie_without_xid() -> bytes:
    """For cookie 0; ``encode`` replaces the cookie, because a switch may hold very many rules of other programs."""
    message = parser.OFPFlowMod(
        _VERSION_ONLY, cookie_mask=(1 << 64) - 1, table_id=ofp.OFPTT_ALL, command=ofp.OFPFC_DELETE,
        out_port=ofp.OFPP_ANY, out_group=ofp.OFPG_ANY,
    )  # fmt: skip
    message.xid = 0
    return serialised(_VERSION_ONLY, message)


PACKER = Packer(_actions)
_VERSION_ONLY = ProtocolDesc(version=ofp.OFP_VERSION)  # all that OS-Ken reads of a datapath
_DELETE_COOKIE = _delete_cookie_without_xid()


# ------------------------------------------------------------------------------ requests


def flow_stats_request(
    datapath: Any,
    table: int = ofp.OFPTT_ALL,
    cookie: int = 0,
    mask: int = 0,
    fields: Mapping[str, object] = MappingProxyType({}),
) -> Any:
    """All rules, or those of one of the switch's tables whose cookie equals ``cookie`` under ``mask``, and that match
    these ``fields``, and perhaps others.
    """
    matched = parser.OFPMatch(**fields)
    return parser.OFPFlowStatsRequest(datapath, 0, table, ofp.OFPP_ANY, ofp.OFPG_ANY, cookie, mask, matched)


def rules_request(switch: Any, request: RulesRequest) -> Any:
    """``switch``: its ``layout`` says which of its tables that is."""
    table = ofp.OFPTT_ALL if request.table is None else switch.layout.table(request.table)
    return flow_stats_request(switch, table, request.cookie, request.mask)


def aggregate_request(datapath: Any, cookie: int = 0, mask: int = 0) -> Any:
    """How many rules there are in all tables whose cookie equals ``cookie`` under ``mask``."""
    return parser.OFPAggregateStatsRequest(
        datapath, 0, ofp.OFPTT_ALL, ofp.OFPP_ANY, ofp.OFPG_ANY, cookie, mask, parser.OFPMatch()
    )


def group_request(datapath: Any) -> Any:
    return parser.OFPGroupDescStatsRequest(datapath)


def meter_request(datapath: Any) -> Any:
    return parser.OFPMeterConfigStatsRequest(datapath)


def meter_features_request(datapath: Any) -> Any:
    return parser.OFPMeterFeaturesStatsRequest(datapath)


def table_features_request(datapath: Any) -> Any:
    return parser.OFPTableFeaturesStatsRequest(datapath, 0)


def group_features_request(datapath: Any) -> Any:
    return parser.OFPGroupFeaturesStatsRequest(datapath, 0)


def port_request(datapath: Any) -> Any:
    return parser.OFPPortDescStatsRequest(datapath)


def description_request(datapath: Any) -> Any:
    return parser.OFPDescStatsRequest(datapath, 0)
