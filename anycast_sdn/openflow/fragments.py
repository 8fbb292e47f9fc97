"""Does a switch spoil fragments when it sets an IPv4 address?  It is asked with one that it is to send back.

Userspace Open vSwitch (3.1 to 3.7) corrects the checksum of TCP and UDP in every fragment, also in those that have none
because they are not the first of their packet: two bytes of data are changed.  Its kernel datapath does not.
"""

from __future__ import annotations

from anycast_sdn.core.model import UDP, packed
from anycast_sdn.openflow.frames import L3, checksum
from anycast_sdn.openflow.rules import OFPP_CONTROLLER, Output, PacketOut, SetField

_MACS = bytes.fromhex("02ac00f7a602" "02ac00f7a601")  # no switch and no host of ours has them
_SOURCE, _NEW_SOURCE, _DESTINATION = map(packed, ("192.0.2.1", "203.0.113.254", "192.0.2.2"))
_DATA = bytes(range(1, 65))


def _fragment() -> bytes:
    """Of UDP, from byte 1480 on."""
    header = bytes.fromhex(f"4500{20 + len(_DATA):04x}f7a600b940{UDP:02x}0000") + _SOURCE + _DESTINATION
    header = header[:10] + checksum(header).to_bytes(2, "big") + header[12:]
    return _MACS + b"\x08\x00" + header + _DATA


QUESTION = PacketOut(_fragment(), OFPP_CONTROLLER, (SetField("ipv4_src", _NEW_SOURCE), Output(OFPP_CONTROLLER)))


def is_answer(in_port: int, frame: bytes) -> bool:
    """Is a packet that a switch has sent up the one that it was to send back?"""
    return in_port == OFPP_CONTROLLER and frame[:12] == _MACS


def is_as_it_was(frame: bytes) -> bool:
    """Was nothing changed but the address?"""
    return frame[L3 + 12 : L3 + 16] == _NEW_SOURCE and frame[L3 + 20 :] == _DATA
