"""Open vSwitch's own actions (Nicira's experimenter extensions): their numbers, and how they are read.

``codec`` writes them with OS-Ken's classes where it has right ones; of all others the bytes behind the subtype are made
here.  An action is read as one of ours only if these are its bytes exactly.
"""

from __future__ import annotations

import struct

from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.openflow import oxm
from anycast_sdn.openflow.frames import L3
from anycast_sdn.openflow.rules import (
    OFPP_IN_PORT,
    Action,
    CheckSize,
    Copy,
    FinTimeout,
    ForgetInPort,
    Load,
    Move,
    Nat,
    Resubmit,
    Track,
)

VENDOR = 0x00002320
REG_MOVE, REG_LOAD, RESUBMIT_TABLE, FIN_TIMEOUT, REG_LOAD2, CT, NAT, CONTROLLER2, CHECK_PKT_LARGER = (
    6, 7, 14, 19, 33, 35, 36, 37, 49
)  # fmt: skip  # NXAST_*
METER_ID = 5  # NXAC2PT_METER_ID: the property of CONTROLLER2 that names a meter
ONF_VENDOR, FLOW_MONITOR = 0x4F4E4600, 1870  # ONF extension 187, which Open vSwitch has, too
IN_PORT = 0xFFF8  # OFPP_IN_PORT and …
NO_PORT = 0xFFFF  # … OFPP_NONE, in the 16 bits that OpenFlow 1.0 has for ports

_ACTION = struct.Struct("!IHH")  # vendor, subtype, and 16 bits that most subtypes use
_HEAD = 4 + _ACTION.size - 2  # bytes of an action up to its subtype
_CHECK_SIZE = struct.Struct("!HHHBB6x")
_MOVE = struct.Struct("!HHH")
_PROPERTY = struct.Struct("!HHI")
_NXM_IN_PORT = 0x0002
_FORGET_IN_PORT = struct.pack("!IHHIQ", VENDOR, REG_LOAD, 16 - 1, _NXM_IN_PORT, NO_PORT)


def check_size(limit: int) -> bytes:
    """CHECK_PKT_LARGER behind its subtype: the frame's bytes; the answer goes to the lowest bit of reg1."""
    return _CHECK_SIZE.pack(limit + L3, 0, ofp.OFPXMC_NXM_1, 1 << 1, 4)


def copy(meter: int | None) -> bytes:
    """CONTROLLER2 behind its subtype."""
    return bytes(6) + (b"" if meter is None else _PROPERTY.pack(METER_ID, _PROPERTY.size, meter))


# Fields that have another number in these actions, where Open vSwitch lists those of its extension of OpenFlow 1.0.
_NXM = {
    "eth_dst": (ofp.OFPXMC_NXM_0, 1),
    "eth_src": (ofp.OFPXMC_NXM_0, 2),
    "ipv4_src": (ofp.OFPXMC_NXM_0, 7),
    "ipv4_dst": (ofp.OFPXMC_NXM_0, 8),
    "tcp_src": (ofp.OFPXMC_NXM_0, 9),
    "tcp_dst": (ofp.OFPXMC_NXM_0, 10),
    "udp_src": (ofp.OFPXMC_NXM_0, 11),
    "udp_dst": (ofp.OFPXMC_NXM_0, 12),
    "arp_op": (ofp.OFPXMC_NXM_0, 15),
    "arp_spa": (ofp.OFPXMC_NXM_0, 16),
    "arp_tpa": (ofp.OFPXMC_NXM_0, 17),
    "arp_sha": (ofp.OFPXMC_NXM_1, 17),
    "arp_tha": (ofp.OFPXMC_NXM_1, 18),
    "ipv6_src": (ofp.OFPXMC_NXM_1, 19),
    "ipv6_dst": (ofp.OFPXMC_NXM_1, 20),
}
_SAME = (ofp.OFPXMC_NXM_1, oxm.ERICSSON)  # the classes of fields that have the same number everywhere
_OTHERS = frozenset(name for name, number in oxm.NUMBERS.items() if number.oxm_class in _SAME)


def _header(name: str, masked: bool = False) -> bytes:
    oxm_class, field = _NXM.get(name) or oxm.NUMBERS[name][:2]
    return oxm.HEADER.pack(oxm_class, field << 1 | masked, oxm.NUMBERS[name].width * (1 + masked))


_BY_HEADER = {_header(name, masked): (name, masked) for name in (*_NXM, *_OTHERS) for masked in (False, True)}


def load(action: Load) -> bytes:
    """REG_LOAD2 behind its subtype."""
    name, value, mask = action.name, action.value, action.mask
    width = oxm.NUMBERS[name].width
    care = b"" if mask is None else oxm.packed(mask, width)
    data = _header(name, bool(care)) + oxm.packed(value, width) + care
    return data + bytes(-(_HEAD + len(data)) % 8)


def move(action: Move) -> bytes:
    """REG_MOVE behind its subtype."""
    bits = _MOVE.pack(action.bits, action.source_bit, action.destination_bit)
    return bits + _header(action.source) + _header(action.destination)


# ------------------------------------------------------------------------------ the connection tracker

_CT = struct.Struct("!HIHB3xH")  # flags, the field that the zone is read from, zone, table, application's helper
_COMMIT = 1  # NX_CT_F_COMMIT
_NO_TABLE = 0xFF  # NX_CT_RECIRC_NONE
_NAT = struct.Struct("!HHIH2xHH")  # an action's header, vendor, subtype, flags, which ends of a range there are
_NAT_SOURCE, _NAT_DESTINATION = 1, 2  # NX_NAT_F_*
_RANGE = {4: (0b0001, 0b0010), 16: (0b0100, 0b1000)}  # NX_NAT_RANGE_*, by an address's bytes: the first, the last
_FIRST_PORT = 0b01_0000  # NX_NAT_RANGE_PROTO_MIN; without a last one, it is the only one
_LABEL = struct.pack("!HH", ofp.OFPAT_SET_FIELD, 24) + oxm.header("ct_label")
_MARK = struct.pack("!HH", ofp.OFPAT_SET_FIELD, 16) + oxm.header("ct_mark")
_SET_MARK = struct.Struct("!I4x")


def track(action: Track) -> bytes:
    """CT behind its subtype, with the actions inside it."""
    table = _NO_TABLE if action.table is None else action.table
    head = _CT.pack(_COMMIT if action.commit else 0, 0, action.zone, table, 0)
    inside = _nat(action.nat) if action.nat or action.translate else b""
    inside += b"" if action.label is None else _LABEL + action.label
    return head + inside + (b"" if action.mark is None else _MARK + _SET_MARK.pack(action.mark))


def _nat(nat: Nat | None) -> bytes:
    """The action NAT; without a range it translates packets of known connections.  OS-Ken's is not padded."""
    flags = present = 0
    addresses = b""
    if nat:
        flags = _NAT_SOURCE if nat.source else _NAT_DESTINATION
        has_first, has_last = _RANGE[len(nat.first)]
        one = nat.first == nat.last
        present, addresses = (has_first, nat.first) if one else (has_first | has_last, nat.first + nat.last)
        if nat.port:
            present, addresses = present | _FIRST_PORT, addresses + nat.port.to_bytes(2, "big")
    length = _NAT.size + len(addresses)
    length += -length % 8
    head = _NAT.pack(ofp.OFPAT_EXPERIMENTER, length, VENDOR, NAT, flags, present)
    return (head + addresses).ljust(length, b"\0")


# ------------------------------------------------------------------------------ reading


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
    if subtype == REG_LOAD2:
        return _read_load(behind_subtype)
    if subtype == REG_MOVE:
        return _read_move(behind_subtype)
    return _read_track(behind_subtype) if subtype == CT else None


def _read_load(body: bytes) -> Load | None:
    at = oxm.HEADER.size
    name, masked = _BY_HEADER.get(body[:at], ("", False))
    if not name:
        return None
    end = at + oxm.NUMBERS[name].width
    value, mask = body[at:end], body[end : 2 * end - at]
    if len(value) < end - at or (masked and len(mask) < end - at):
        return None
    found = Load(name, oxm.value_of(name, value), oxm.value_of(name, mask) if masked else None)
    return found if load(found) == body else None


def _read_move(body: bytes) -> Move | None:
    middle, end = _MOVE.size + oxm.HEADER.size, _MOVE.size + 2 * oxm.HEADER.size
    if len(body) != end:
        return None
    bits, source_bit, destination_bit = _MOVE.unpack_from(body)
    source, source_masked = _BY_HEADER.get(body[_MOVE.size : middle], ("", True))
    destination, masked = _BY_HEADER.get(body[middle:], ("", True))
    return None if source_masked or masked else Move(source, destination, bits, source_bit, destination_bit)


def _read_track(body: bytes) -> Track | None:
    if len(body) < _CT.size:
        return None
    flags, _, zone, table, _ = _CT.unpack_from(body)
    nat, inside = _read_nat(body[_CT.size :])
    translate = len(inside) < len(body) - _CT.size
    label, inside = _read_set(_LABEL, 16, inside)
    mark, _ = _read_set(_MARK, _SET_MARK.size, inside)
    found = Track(
        zone, None if table == _NO_TABLE else table, flags == _COMMIT, translate and not nat, nat, label,
        None if mark is None else int.from_bytes(mark[:4], "big"),
    )  # fmt: skip
    return found if track(found) == body else None


def _read_set(head: bytes, size: int, actions: bytes) -> tuple[bytes | None, bytes]:
    """(what this set-field sets, what follows the action); the same bytes if it is not the first action."""
    if not actions.startswith(head):
        return None, actions
    end = len(head) + size
    return actions[len(head) : end].ljust(size, b"\0"), actions[end:]


def _read_nat(actions: bytes) -> tuple[Nat | None, bytes]:
    """(its range, what follows the action); the same bytes if NAT is not the first action."""
    if len(actions) < _NAT.size:
        return None, actions
    kind, length, vendor, subtype, flags, present = _NAT.unpack_from(actions)
    if (kind, vendor, subtype) != (ofp.OFPAT_EXPERIMENTER, VENDOR, NAT):
        return None, actions
    addresses = actions[_NAT.size : length]
    size = next((size for size, (has_first, _) in _RANGE.items() if present & has_first), 0)
    first, last = addresses[:size], addresses[size : 2 * size]
    one = not any(present & has_last for _, has_last in _RANGE.values())
    at = size if one else 2 * size
    port = int.from_bytes(addresses[at : at + 2], "big") if present & _FIRST_PORT else 0
    nat = Nat(flags == _NAT_SOURCE, first, first if one else last, port) if len(first) == size > 0 else None
    return nat, actions[length:]
