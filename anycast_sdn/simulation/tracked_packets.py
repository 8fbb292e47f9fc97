"""Between a frame and the connection tracker: the key by which its packet is looked up, and its translation.

As Open vSwitch 3.1 in userspace does it: a packet whose lengths or checksums are wrong has no key, nor has a fragment,
nor one of TCP or UDP with port 0; an ICMP error has that of the packet that it quotes, which is translated with it.
"""

from __future__ import annotations

from anycast_sdn.core.model import ICMP, ICMPV6, TCP, UDP, FlowKey
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.frames import L3, BadFrame, checksum, parse_icmp_error, parse_ip, transport_checksum
from anycast_sdn.openflow.rules import CT_DNAT, CT_RELATED, CT_SNAT
from anycast_sdn.simulation.tracker import REVERSED, Found, Tracked, reversed_key

_PORTED = (TCP, UDP)
_V6_BYTES = 16


def tracked(frame: bytes) -> Tracked | None:
    """An untagged frame with an IP packet; None: it has no key."""
    try:
        packet = parse_ip(frame)
        if packet.more_fragments or not _is_intact(frame, packet.key, packet.l4, packet.end):
            return None
        if packet.is_icmp_error:
            return _related(frame)
    except BadFrame:
        return None
    key = _key(frame, packet.key, packet.l4)
    flags = frame[packet.l4 + 13] if packet.key.protocol == TCP else 0
    return Tracked(key, flags) if key else None


def _is_intact(frame: bytes, key: FlowKey, l4: int, end: int) -> bool:
    if len(key.source) != _V6_BYTES and checksum(frame[L3 : L3 + 4 * (frame[L3] & 15)]):
        return False
    v6 = len(key.source) == _V6_BYTES
    if key.protocol == UDP:
        length = int.from_bytes(frame[l4 + 4 : l4 + 6], "big")
        if not 8 <= length <= end - l4:
            return False
        if not v6 and frame[l4 + 6 : l4 + 8] == bytes(2):  # RFC 768: the sender computed none
            return True
    if key.protocol in _PORTED or key.protocol == (ICMPV6 if v6 else ICMP):
        return transport_checksum(key.source, key.destination, key.protocol, frame[l4:end]) == 0
    return True


def _key(frame: bytes, flow: FlowKey, l4: int) -> FlowKey | None:
    """The key of a packet, or of one that is quoted, with its transport header at ``l4``."""
    if flow.protocol in _PORTED:
        return flow if flow.source_port and flow.destination_port else None
    if flow.protocol == (ICMPV6 if len(flow.source) == _V6_BYTES else ICMP):
        kind, code = frame[l4], frame[l4 + 1]
        if kind not in REVERSED[flow.protocol] or code or len(frame) < l4 + 8:
            return None
        return flow._replace(source_port=int.from_bytes(frame[l4 + 4 : l4 + 6], "big"), destination_port=kind << 8)
    return flow._replace(source_port=0, destination_port=0)


def _related(frame: bytes) -> Tracked | None:
    error = parse_icmp_error(frame)
    if error.quoted.source != error.destination:
        return None
    key = _key(frame, error.quoted, error.quoted_l4)
    return Tracked(reversed_key(key), related=True) if key else None


def translated(frame: bytes, found: Found) -> bytes:
    """The frame as the tracker sends it on."""
    ends = found.becomes
    if ends is None:
        return frame
    if found.state & CT_RELATED:
        return _error_translated(frame, found, ends)
    family = "ipv6" if len(ends.source) == _V6_BYTES else "ipv4"
    if found.state & CT_SNAT:
        frame = builders.rewrite(frame, f"{family}_src", ends.source)
    else:
        frame = builders.rewrite(frame, f"{family}_dst", ends.destination)
    return builders.set_ports(frame, *ends[3:]) if ends.protocol in _PORTED else frame


def _error_translated(frame: bytes, found: Found, ends: FlowKey) -> bytes:
    """An ICMP error, with the packet that it quotes, whose ends are those of the other direction."""
    error = parse_icmp_error(frame)
    return builders.translate_icmp_error(
        frame,
        source=ends.source if found.state & CT_SNAT else error.source,
        destination=ends.destination if found.state & CT_DNAT else error.destination,
        quoted_source=ends.destination,
        quoted_destination=ends.source,
        quoted_ports=(ends.destination_port, ends.source_port) if ends.protocol in _PORTED else None,
    )
