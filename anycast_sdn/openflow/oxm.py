"""The numbers of match fields: OXM TLVs (OF 1.3.5 §7.2.3).

Some are Open vSwitch's extensions: ``tcp_flags`` of the ONF's experimenter, of Nicira's extensible match ``ip_frag``,
the registers, and what the connection tracker has found, and of Ericsson's parts of neighbour discovery.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.openflow.rules import Value

HEADER = Struct("!HBB")  # class, field number and "has a mask", bytes that follow
EXPERIMENTER = ofp.OFPXMC_EXPERIMENTER
ERICSSON = 0x1000  # ERICOXM_OF_*
ONF = b"ONF\0"  # the experimenter of ``tcp_flags``; it stands before the value


class Number(NamedTuple):
    oxm_class: int
    field: int
    width: int  # bytes of a value


_BASIC = {
    "in_port": (0, 4),
    "eth_dst": (3, 6),
    "eth_src": (4, 6),
    "eth_type": (5, 2),
    "vlan_vid": (6, 2),
    "ip_proto": (10, 1),
    "ipv4_src": (11, 4),
    "ipv4_dst": (12, 4),
    "tcp_src": (13, 2),
    "tcp_dst": (14, 2),
    "udp_src": (15, 2),
    "udp_dst": (16, 2),
    "sctp_src": (17, 2),
    "sctp_dst": (18, 2),
    "icmpv4_type": (19, 1),
    "arp_op": (21, 2),
    "arp_spa": (22, 4),
    "arp_tpa": (23, 4),
    "arp_sha": (24, 6),
    "arp_tha": (25, 6),
    "ipv6_src": (26, 16),
    "ipv6_dst": (27, 16),
    "icmpv6_type": (29, 1),
    "ipv6_nd_target": (31, 16),
    "ipv6_nd_tll": (33, 6),
}
NUMBERS = {
    **{name: Number(ofp.OFPXMC_OPENFLOW_BASIC, *number) for name, number in _BASIC.items()},
    **{f"reg{number}": Number(ofp.OFPXMC_NXM_1, number, 4) for number in range(16)},
    **{f"xxreg{number}": Number(ofp.OFPXMC_NXM_1, 111 + number, 16) for number in range(4)},
    "pkt_mark": Number(ofp.OFPXMC_NXM_1, 33, 4),
    "ip_frag": Number(ofp.OFPXMC_NXM_1, 26, 1),
    "ct_state": Number(ofp.OFPXMC_NXM_1, 105, 4),
    "ct_zone": Number(ofp.OFPXMC_NXM_1, 106, 2),
    "ct_mark": Number(ofp.OFPXMC_NXM_1, 107, 4),
    "ct_label": Number(ofp.OFPXMC_NXM_1, 108, 16),
    "ct_nw_src": Number(ofp.OFPXMC_NXM_1, 120, 4),
    "ct_ipv6_src": Number(ofp.OFPXMC_NXM_1, 122, 16),
    "ct_tp_src": Number(ofp.OFPXMC_NXM_1, 124, 2),
    "nd_reserved": Number(ERICSSON, 1, 4),
    "nd_options_type": Number(ERICSSON, 2, 1),
    "tcp_flags": Number(EXPERIMENTER, 42, 2),
}
BY_NUMBER = {(oxm_class, field): (name, width) for name, (oxm_class, field, width) in NUMBERS.items()}
# Written behind all others, because what they require (OF 1.3.5 §7.2.3.8) has higher numbers.
LAST = frozenset(("ip_frag", "ct_nw_src", "ct_ipv6_src", "ct_tp_src"))
WIDE = frozenset(("ct_label", "xxreg0", "xxreg1", "xxreg2", "xxreg3"))  # as bytes, but no addresses
ADDRESSES = frozenset((
    "eth_dst", "eth_src", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst", "ct_nw_src", "ct_ipv6_src",
    "arp_spa", "arp_tpa", "arp_sha", "arp_tha", "ipv6_nd_target", "ipv6_nd_tll",
))  # fmt: skip
_AS_BYTES = ADDRESSES | WIDE  # all others are integers


def header(name: str, masked: bool = False) -> bytes:
    """What stands before the value, and the mask, of this field."""
    oxm_class, field, width = NUMBERS[name]
    experimenter = ONF if oxm_class == EXPERIMENTER else b""
    return HEADER.pack(oxm_class, field << 1 | masked, len(experimenter) + width * (1 + masked)) + experimenter


def written(name: str, value: Value, mask: Value | None = None) -> bytes:
    """The value, and its mask if it has one, behind their header."""
    width = NUMBERS[name].width
    if mask is None:
        return header(name) + packed(value, width)
    bits, care = packed(value, width), packed(mask, width)
    return header(name, masked=True) + bytes(a & b for a, b in zip(bits, care, strict=True)) + care


def packed(value: Value, size: int) -> bytes:
    return value if isinstance(value, bytes) else int(value).to_bytes(size, "big")


def value_of(name: str, data: bytes) -> Value:
    """A value or a mask of this field."""
    return data if name in _AS_BYTES else int.from_bytes(data, "big")
