"""Open vSwitch's own actions (Nicira's experimenter extensions): their numbers, and how they are read.

``codec`` writes them with OS-Ken's classes, where it has one.
"""

from __future__ import annotations

import struct

from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.openflow.frames import L3
from anycast_sdn.openflow.rules import (
    OFPP_IN_PORT,
    Action,
    CheckSize,
    Copy,
    FinTimeout,
    ForgetInPort,
    Resubmit,
)

VENDOR = 0x00002320
REG_LOAD, RESUBMIT_TABLE, FIN_TIMEOUT, CONTROLLER2, CHECK_PKT_LARGER = 7, 14, 19, 37, 49  # NXAST_*
METER_ID = 5  # NXAC2PT_METER_ID: the property of CONTROLLER2 that names a meter
ONF_VENDOR, FLOW_MONITOR = 0x4F4E4600, 1870  # ONF extension 187, which Open vSwitch has, too
IN_PORT = 0xFFF8  # OFPP_IN_PORT and …
NO_PORT = 0xFFFF  # … OFPP_NONE, in the 16 bits that OpenFlow 1.0 has for ports

_ACTION = struct.Struct("!IHH")  # vendor, subtype, and 16 bits that most subtypes use
_CHECK_SIZE = struct.Struct("!HHHBB6x")
_PROPERTY = struct.Struct("!HHI")
_NXM_IN_PORT = 0x0002
_FORGET_IN_PORT = struct.pack("!IHHIQ", VENDOR, REG_LOAD, 16 - 1, _NXM_IN_PORT, NO_PORT)


def check_size(limit: int) -> bytes:
    """CHECK_PKT_LARGER behind its subtype: the frame's bytes; the answer goes to the lowest bit of reg1."""
    return _CHECK_SIZE.pack(limit + L3, 0, ofp.OFPXMC_NXM_1, 1 << 1, 4)


def copy(meter: int | None) -> bytes:
    """CONTROLLER2 behind its subtype."""
    return bytes(6) + (b"" if meter is None else _PROPERTY.pack(METER_ID, _PROPERTY.size, meter))


def read(body: bytes) -> Action | None:
    """An experimenter's action, from its vendor on; None for one that ``codec`` never writes."""
    if body == _FORGET_IN_PORT:
        return ForgetInPort()
    if len(body) < _ACTION.size:
        return None
    vendor, subtype, value = _ACTION.unpack_from(body)
    behind_subtype = body[_ACTION.size - 2 :]
    if vendor != VENDOR:
        return None
    if subtype == FIN_TIMEOUT:
        return FinTimeout(value) if behind_subtype[2:4] == bytes(2) else None  # a hard timeout besides
    if subtype == RESUBMIT_TABLE and len(body) > _ACTION.size:
        return Resubmit(body[_ACTION.size], OFPP_IN_PORT if value == IN_PORT else value)
    if subtype == CHECK_PKT_LARGER and behind_subtype == check_size(value - L3):
        return CheckSize(value - L3)
    if subtype == CONTROLLER2:
        meter = int.from_bytes(behind_subtype[-4:], "big")
        return next((Copy(each) for each in (None, meter) if behind_subtype == copy(each)), None)
    return None
