"""Is one connection still in the tracker?  How the controller asks, and what it is answered.

The controller asks by a packet-out: an ICMP error that quotes the last packet of the connection, from PR1X to K.  The
tracker says that the error is related to the connection, with its label, or that there is no such connection; either
way the frame comes back to the controller.  An ICMP error does not keep a connection alive, so asking changes nothing
(seen in Open vSwitch 3.1; ``conn_update_state`` of its lib/conntrack.c).

All that the controller has to know of the answer is in the frame itself: the number of the inquiry and of the binding
in its MAC addresses, and of the connection in the packet that it quotes.  Where there is one, the rule
``CONNECTION_FOUND`` writes its label, which is ASg, over the error's source.  Whose connection it is, the tracker says
beside the frame; that is read only where the number of the inquiry ``asks_whose``.
"""

from __future__ import annotations

from typing import NamedTuple

from anycast_sdn.core.model import ICMP, ICMPV6, Address, FlowKey
from anycast_sdn.core.tracked_address import PEER
from anycast_sdn.openflow import builders, frames
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import OFPP_CONTROLLER, TCP_ACK, Action, Field, PacketOut, SetField, Track
from anycast_sdn.openflow.tracked_frame import TrackedFrame

ASKED = Field("reg3", 1)  # in all packets by which the controller asks, and in no others
_MARK = SetField(ASKED.name, ASKED.value)
WHOSE = 1 << 40  # in the number of an inquiry
_MAC = 6
_NO_LABEL = bytes(16)


class Ends(NamedTuple):
    """Of a connection, what tells it from others of the same client and service address."""

    protocol: int
    first: int  # source port; of ICMP the identifier; 0 without ports
    second: int  # destination port; of ICMP the client's type and code


class Answer(NamedTuple):
    inquiry: int
    number: int  # of the binding
    translated: Address  # PR1X
    ends: Ends
    server: Address | None  # the label, if there is a connection that has one
    inside: Address | None = None  # H' of the client that has begun it, if that is known


def is_icmp(protocol: int, address: Address) -> bool:
    """In a packet of this address's family.  The ICMP of the other family is a protocol without ports."""
    return protocol == (ICMPV6 if len(address) == 16 else ICMP)


def ends_of(frame: bytes) -> Ends:
    """Of a client's packet.  Raises BadFrame."""
    packet = frames.parse_ip(frame)
    _, _, protocol, source_port, destination_port = packet.key
    if packet.icmp_type >= 0:
        return _icmp_ends(protocol, frame, packet.l4)
    return Ends(protocol, source_port, destination_port)


def ends_of_reply(frame: bytes) -> Ends | None:
    """Of a server's packet, as the client's packets have them; None: no connection can begin with it.

    Raises BadFrame.
    """
    protocol, first, second = ends_of(frame)
    if not is_icmp(protocol, frames.source_of(frame)):
        return Ends(protocol, second, first)
    if second != frames.ECHO_REQUEST[protocol] << 8:
        return None
    return Ends(protocol, first, frames.ECHO_REPLY[protocol] << 8)


def ask(inquiry: int, number: int, translated: Address, ends: Ends, zone: int) -> PacketOut:
    actions = (_MARK, Track(zone, Table.TRACKED_IN))
    return PacketOut(_question(inquiry, number, translated, ends), OFPP_CONTROLLER, actions)


def unpin(translated: Address, ends: Ends, zone: int) -> PacketOut:
    """The connection, if there is one, is to have no server: the next reply pins it."""
    actions: tuple[Action, ...] = (Track(zone, commit=True, label=_NO_LABEL),)
    return PacketOut(_question(0, 0, translated, ends), OFPP_CONTROLLER, actions)


def asks_whose(frame: bytes) -> bool:
    return frame[:1] != b"\0"


def answer(frame: bytes, found: bool) -> Answer:
    """``frame``: as it came back.  Raises BadFrame."""
    error = frames.parse_icmp_error(frame)
    quoted = error.quoted
    ends = Ends(quoted.protocol, quoted.source_port, quoted.destination_port)
    if is_icmp(quoted.protocol, quoted.source):
        ends = _icmp_ends(quoted.protocol, frame, error.quoted_l4)
    server = error.source if found and any(error.source) else None
    inquiry, number = (int.from_bytes(mac, "big") for mac in (error.eth_dst, error.eth_src))
    inside = frame.source if isinstance(frame, TrackedFrame) and frame.source not in PEER.values() else None
    return Answer(inquiry, number, quoted.source, ends, server, inside)


def _icmp_ends(protocol: int, frame: bytes, l4: int) -> Ends:
    if len(frame) < l4 + 6:
        raise frames.BadFrame("truncated")
    return Ends(protocol, int.from_bytes(frame[l4 + 4 : l4 + 6], "big"), frame[l4] << 8 | frame[l4 + 1])


def _question(inquiry: int, number: int, translated: Address, ends: Ends) -> bytes:
    v6 = len(translated) == 16
    protocol, first, second = ends
    icmp = is_icmp(protocol, translated)
    key = FlowKey(translated, PEER[v6], protocol, 0 if icmp else first, 0 if icmp else second)
    quoted = builders.ip_packet(
        key, eth_src=bytes(_MAC), eth_dst=bytes(_MAC), tcp_flags=TCP_ACK, icmp_type=second >> 8, identifier=first
    )[frames.L3 :]
    macs = inquiry.to_bytes(_MAC, "big"), number.to_bytes(_MAC, "big")
    return builders.quoting_error(*macs, PEER[v6], translated, quoted)
