"""LLDP frames that discover the links between switches (IEEE 802.1AB): built, and verified when they are read.

A frame names the switch and port that sent it and the round, with a digest of these under a key that only this
controller has.  A frame that others made is recognised as forged, and a replayed one by its round.

The layout is fixed, four mandatory TLVs with one of our own before the last, so that reading is one
comparison: a frame that differs from it, such as other vendors' LLDP, is not ours.
"""

from __future__ import annotations

import hmac
from struct import Struct
from typing import NamedTuple

from anycast_sdn.openflow.frames import BadFrame, untagged
from anycast_sdn.openflow.rules import ETH_LLDP

NEAREST_BRIDGE = bytes.fromhex("0180c200000e")  # no bridge passes it on
DIGEST_SIZE = 16  # bytes of HMAC-SHA256

_CHASSIS, _PORT, _TTL, _END, _OWN = 1, 2, 3, 0, 127
_LOCALLY_ASSIGNED = 7
_ORGANISATION = b"\x02\xac\x17\x01"  # a locally administered identifier, and our subtype
_FRAME = Struct(f"!6s6sH HBQ HBI HH H4sQ{DIGEST_SIZE}s H")


def _header(kind: int, length: int) -> int:
    return kind << 9 | length


_CHASSIS_TLV = _header(_CHASSIS, 9), _LOCALLY_ASSIGNED
_PORT_TLV = _header(_PORT, 5), _LOCALLY_ASSIGNED
_TTL_TLV = _header(_TTL, 2), 3  # seconds
_OWN_TLV = _header(_OWN, 4 + 8 + DIGEST_SIZE), _ORGANISATION
_END_TLV = _header(_END, 0)
_SIGNED = Struct("!QIQ")


class Probe(NamedTuple):
    """The content of one of our frames."""

    dpid: int
    port: int
    sequence: int  # grows from round to round


def build(probe: Probe, mac: bytes, key: bytes) -> bytes:
    """The frame of this probe.  ``mac``: the sending switch's."""
    dpid, port, sequence = probe
    return _FRAME.pack(
        NEAREST_BRIDGE, mac, ETH_LLDP, *_CHASSIS_TLV, dpid, *_PORT_TLV, port, *_TTL_TLV, *_OWN_TLV, sequence,
        _digest(probe, key), _END_TLV,
    )  # fmt: skip


def read(frame: bytes, key: bytes) -> Probe:
    """The probe in a frame, whatever padding follows.  Raises BadFrame: "lldp", not ours; "lldp digest", forged."""
    frame = untagged(frame)
    if len(frame) < _FRAME.size:
        raise BadFrame("lldp")
    (
        _, _, ethertype, *chassis, dpid, port_tlv, port_subtype, port, ttl_tlv, ttl, own_tlv, organisation, sequence,
        digest, end,
    ) = _FRAME.unpack_from(frame)  # fmt: skip
    ours = ETH_LLDP, _CHASSIS_TLV, _PORT_TLV, _TTL_TLV, _OWN_TLV, _END_TLV
    if (ethertype, tuple(chassis), (port_tlv, port_subtype), (ttl_tlv, ttl), (own_tlv, organisation), end) != ours:
        raise BadFrame("lldp")
    probe = Probe(dpid, port, sequence)
    if not hmac.compare_digest(digest, _digest(probe, key)):
        raise BadFrame("lldp digest")
    return probe


def _digest(probe: Probe, key: bytes) -> bytes:
    return hmac.digest(key, _SIGNED.pack(*probe), "sha256")[:DIGEST_SIZE]
