"""Refusal: what a switch's error message is about (OF 1.3.5 §7.4.4).  Pure.

It quotes the beginning of the message that it refuses, at least its header; what is not quoted follows from the
transaction id (``transactions``).
"""

from __future__ import annotations

from typing import NamedTuple

from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.openflow import decoding, transactions
from anycast_sdn.openflow.error_words import error_words

_COOKIE = slice(8, 16)  # in a flow-mod
_GROUP_COMMAND, _GROUP_NUMBER = slice(8, 10), slice(12, 16)  # in a group-mod; a meter-mod's command is there, too
_DELETES = {ofp.OFPT_GROUP_MOD: ofp.OFPGC_DELETE, ofp.OFPT_METER_MOD: ofp.OFPMC_DELETE}
NO_ROOM_FOR_GROUPS = "no room for groups"
_FULL = {
    (ofp.OFPET_FLOW_MOD_FAILED, ofp.OFPFMFC_TABLE_FULL): "table full",
    (ofp.OFPET_GROUP_MOD_FAILED, ofp.OFPGMFC_OUT_OF_GROUPS): NO_ROOM_FOR_GROUPS,
    (ofp.OFPET_METER_MOD_FAILED, ofp.OFPMMFC_OUT_OF_METERS): "no room for meters",
}


class Refusal(NamedTuple):
    """``changes``: it refuses a rule, a group or a meter; otherwise another message.

    ``group``: the number of a group that is refused because of its buckets.
    """

    changes: bool
    reason: str
    cookie: int = 0  # of the rule; 0: it is none, or not known
    full: bool = False
    group: int | None = None


def refusal(xid: int, kind: int, code: int, quoted: bytes) -> Refusal | None:
    """None: nothing was refused that is missed, but the deletion of a group or a meter that is not there."""
    full = (kind, code) in _FULL
    reason = _FULL.get((kind, code)) or error_words(kind, code)
    message: int = quoted[1] if len(quoted) > 1 else _message_of(xid, kind)
    if message in _DELETES and int.from_bytes(quoted[_GROUP_COMMAND], "big") == _DELETES[message]:
        return None
    if message == ofp.OFPT_FLOW_MOD:
        whole = len(quoted) >= _COOKIE.stop
        cookie = int.from_bytes(quoted[_COOKIE], "big") if whole else transactions.cookie_in(xid)
        return Refusal(True, reason, cookie, full)
    if message == ofp.OFPT_GROUP_MOD:
        whole = len(quoted) >= _GROUP_NUMBER.stop
        number = int.from_bytes(quoted[_GROUP_NUMBER], "big") if whole else transactions.group_in(xid)
        if number is None:
            return None  # those that are set are known by their ids
        return Refusal(True, reason, 0, full, number if decoding.concerns_buckets(kind, code) else None)
    if message == ofp.OFPT_METER_MOD:
        return Refusal(True, reason, 0, full)
    return Refusal(False, f"{error_words(kind, code)}, {quoted[:64].hex()}" if quoted else error_words(kind, code))


def _message_of(xid: int, kind: int) -> int:
    """The type of a message of which nothing is quoted, as far as it is known; 0: it is not."""
    if transactions.group_in(xid) is not None:
        return int(ofp.OFPT_GROUP_MOD)
    if transactions.cookie_in(xid):
        return int(ofp.OFPT_FLOW_MOD)
    failed = {ofp.OFPET_GROUP_MOD_FAILED: ofp.OFPT_GROUP_MOD, ofp.OFPET_METER_MOD_FAILED: ofp.OFPT_METER_MOD}
    return int(failed.get(kind, 0))
