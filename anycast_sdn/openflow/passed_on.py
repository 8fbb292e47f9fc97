"""Passed on: messages that another controller has encoded, for a switch whose master this one is."""

from __future__ import annotations

import struct

from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.openflow import codec
from anycast_sdn.openflow.decoding import BadMessage
from anycast_sdn.openflow.outgoing import WRITES

_HEADER = struct.Struct("!BBHI")
_PASSED_ON = WRITES | {ofp.OFPT_BARRIER_REQUEST, ofp.OFPT_SET_ASYNC}


def checked(data: bytes) -> bytes:
    """→ as they are to be sent.  Raises BadMessage."""
    messages, at = bytearray(data), 0
    while at < len(data):
        if len(data) - at < _HEADER.size:
            raise BadMessage("a message that is passed on is cut short")
        version, kind, length, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size or at + length > len(data) or kind not in _PASSED_ON or version != ofp.OFP_VERSION:
            raise BadMessage(f"message type {kind} that is passed on")
        if not data[at + 4] & codec.TICKET >> 24:  # our own requests have such numbers, too
            messages[at + 4 : at + 8] = bytes(4)
        at += length
    return bytes(messages)
