"""The connection tracker of a simulated switch, as that of Open vSwitch 3.1's userspace datapath.

What is looked up is a ``Tracked``: the key of a packet in its zone.  What is found is a ``Found``: ct_state, the label,
and the ends that the packet is to have from now on.  Nothing here reads a clock or a frame: ``now`` is an argument, in
seconds, and ``matching.Packet`` makes the key and changes the frame.

Rules kept here, all of them Open vSwitch's:

- A connection has two keys: that of its first packet before the translation, and that of the replies to what its
  translation made of it.  A packet with any other key is not of this connection.
- It ends when its timeout has passed since the last packet that counts, in either direction.  A packet of TCP counts
  unless its flags are impossible; an ICMP error about a connection never does.
- What has ended is found no more; but until the next sweep its translated ends are taken, and replies to them invalid.
  Only ``end`` frees them at once.  A SYN that reuses the ports of a closed connection ends it, too.
- Committing a connection that is known changes its label and mark, and nothing else.
- Where the address from the range is in use, or the zone is full, a packet goes on as it is, as +new.
- Translation is independent of validity: an invalid packet of a known connection is translated, too.
- A packet that has been translated in a zone is found there by the key of the reply to it, or by the connection's own.

Not here: sequence numbers (as with ``dpctl/ct-disable-tcp-seq-chk``), helpers (FTP, TFTP), fragments.
Ports are those of TCP and UDP alone: SCTP has them from Open vSwitch 3.2 on.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from anycast_sdn.core.model import ICMP, ICMPV6, TCP, UDP, FlowKey
from anycast_sdn.openflow.rules import (
    CT_DNAT,
    CT_ESTABLISHED,
    CT_INVALID,
    CT_NEW,
    CT_RELATED,
    CT_REPLY,
    CT_SNAT,
    CT_TRACKED,
    TCP_ACK,
    TCP_FIN,
    TCP_RST,
    TCP_SYN,
    Nat,
    Track,
)

NO_LABEL = bytes(16)
_TRANSLATED = CT_SNAT | CT_DNAT
_TCP_PSH, _TCP_URG = 0x08, 0x20
_SYN_ACK = TCP_SYN | TCP_ACK
_ANSWERS = {ICMP: {8: 0, 13: 14, 15: 16}, ICMPV6: {128: 129}}  # requests that begin a connection → their replies
REVERSED = {  # types of ICMP whose packets have connections of their own → those of the other direction
    protocol: kinds | {reply: request for request, reply in kinds.items()} for protocol, kinds in _ANSWERS.items()
}
_SOURCE_PORTS = ((1, 511), (600, 1023), (1024, 65535))  # a translation chooses from the range with the port, or above


class Timeouts(NamedTuple):
    """Of one zone, in seconds; the names of Open vSwitch's ``CT_Timeout_Policy`` (ovs-vswitchd.conf.db(5)).

    The defaults are those of the userspace datapath (Open vSwitch 3.1, lib/conntrack-tp.c).  Protocols that are neither
    TCP nor ICMP have those of UDP.
    """

    tcp_syn_sent: int = 30
    tcp_syn_recv: int = 30
    tcp_established: int = 24 * 60 * 60
    tcp_fin_wait: int = 15 * 60
    tcp_time_wait: int = 45
    tcp_close: int = 30
    udp_first: int = 60
    udp_single: int = 60
    udp_multiple: int = 30
    icmp_first: int = 60
    icmp_reply: int = 30


class Tracked(NamedTuple):
    """A packet as the tracker sees it.

    ``key``: of ICMP the identifier, and type and code in 16 bits, stand for the ports.
    """

    key: FlowKey
    tcp_flags: int = 0
    related: bool = False  # an ICMP error: ``key`` is that of replies to the packet that it quotes


class Found(NamedTuple):
    """What the tracker has found."""

    zone: int = 0
    state: int = 0  # ct_state
    label: bytes = NO_LABEL
    first: FlowKey | None = None  # the connection's first packet, before its translation; or this packet
    becomes: FlowKey | None = None  # the ends that the packet has after its translation; None: it stays as it is
    # The connection, and does the packet go in the direction of replies?  Where it was looked up without a translation:
    # the next look-up takes it from here, and changes nothing about it but the label.
    known: tuple[Connection, bool] | None = None
    mark: int = 0


NOTHING = Found()  # of a packet that has not been looked up
_DEFAULT = Timeouts()
SWEEP_S = 20.0  # from one search for connections that have ended to the next
_Place: TypeAlias = tuple[int, FlowKey]  # zone, key


class Peer(enum.IntEnum):
    """What one end of a TCP connection has sent, in the order in which it happens."""

    CLOSED = 0
    SYN_SENT = 1
    ESTABLISHED = 2  # and the other end has acknowledged it
    CLOSING = 3  # FIN
    FIN_WAIT_2 = 4  # and the other end has acknowledged it
    TIME_WAIT = 5  # RST, from either


@dataclass
class Connection:
    key: FlowKey
    reply: FlowKey  # the key of replies
    nat: Nat | None
    ends_at: float = 0.0
    label: bytes = NO_LABEL
    mark: int = 0
    peers: list[Peer] = field(default_factory=lambda: [Peer.SYN_SENT, Peer.CLOSED])  # of TCP: its client, its server
    answered: bool = False  # not of TCP


class _Is(enum.Enum):
    """What a packet is to the connection that has its key."""

    VALID = enum.auto()
    STILL_NEW = enum.auto()  # as the one that began it
    INVALID = enum.auto()
    ANOTHER = enum.auto()  # the first one of another connection: this one has ended


def _translates(action: Track) -> bool:
    return action.translate or action.nat is not None


def reversed_key(key: FlowKey) -> FlowKey:
    """That of a reply."""
    source, destination, protocol, source_port, destination_port = key
    if protocol not in _ANSWERS:
        return FlowKey(destination, source, protocol, destination_port, source_port)
    return FlowKey(destination, source, protocol, source_port, REVERSED[protocol][destination_port >> 8] << 8)


class Tracker:
    """The connections of one switch, or of several: all bridges of one ovs-vswitchd share them.

    ``timeouts``: of each zone that has its own; ``limits``: how many connections a zone may have.
    """

    def __init__(self) -> None:
        self.timeouts: dict[int, Timeouts] = {}
        self.limits: dict[int, int] = {}
        self._next_sweep = 0.0
        self._places: dict[_Place, tuple[Connection, bool]] = {}  # → the connection; is it the key of its replies?

    def connections(self, zone: int, now: float) -> list[Connection]:
        """Those that have not ended."""
        return [
            connection
            for (where, _), (connection, reply) in self._places.items()
            if where == zone and not reply and now < connection.ends_at
        ]

    def expire(self, now: float) -> None:
        """Forget what has ended, once in ``SWEEP_S``."""
        if now < self._next_sweep:
            return
        self._next_sweep = now + SWEEP_S
        ended = [place for place, (connection, _) in self._places.items() if connection.ends_at <= now]
        for place in ended:
            del self._places[place]

    def end(self, zone: int, key: FlowKey, now: float) -> bool:
        """Forget the connection with this first packet.  → was there one?"""
        connection, reply = self._find(zone, key, now)
        if connection is None or reply:
            return False
        self._forget(zone, connection)
        return True

    # ---------------------------------------------------------------- packets

    def track(self, packet: Tracked | None, action: Track, before: Found, now: float) -> Found:
        """Look a packet up.  None: one without a key.  ``before``: what was found for the same packet the last time."""
        zone = action.zone
        if before.zone != zone:
            before = NOTHING
        if before.known:
            return self._found(before.state, *before.known, action)
        if packet is None:
            return Found(zone, CT_INVALID | CT_TRACKED)
        state = before.state
        connection, reply = self._look_up(packet.key, action, before, now)
        if connection is None and self._is_left(zone, packet.key) and not state & _TRANSLATED:
            return Found(zone, CT_INVALID | CT_TRACKED)
        if connection is None:
            return self._begin(packet, action, now)
        if packet.related:
            state |= CT_RELATED | (CT_REPLY if reply else 0)
        else:
            match self._update(zone, connection, packet, reply, now):
                case _Is.ANOTHER:
                    connection.ends_at = now
                    if not (reply and connection.nat):
                        return self._begin(packet, action, now)
                    return self._found(0, connection, reply, action, translates=False)
                case _Is.INVALID:
                    state = CT_INVALID
                case _Is.STILL_NEW:
                    state |= CT_NEW
                case _Is.VALID:
                    state = state & ~CT_NEW | CT_ESTABLISHED | (CT_REPLY if reply else 0)
        return self._found(state, connection, reply, action)

    def _look_up(
        self, key: FlowKey, action: Track, before: Found, now: float
    ) -> tuple[Connection | None, bool]:
        """→ (the connection, does the packet go in the direction of replies?)."""
        if not before.state & _TRANSLATED:
            return self._find(action.zone, key, now)
        connection, reply = self._find(action.zone, reversed_key(key), now)
        if connection or before.first is None or _translates(action):
            return connection, not reply
        return self._find(action.zone, before.first, now)

    def _find(self, zone: int, key: FlowKey, now: float) -> tuple[Connection | None, bool]:
        connection, reply = self._places.get((zone, key), (None, False))
        return (None, False) if connection is None or connection.ends_at <= now else (connection, reply)

    def _is_left(self, zone: int, key: FlowKey) -> bool:
        """Is this the key of replies of a connection that was translated, and that has ended?"""
        connection, reply = self._places.get((zone, key), (None, False))
        return connection is not None and connection.nat is not None and reply

    def _is_free(self, zone: int, reply: FlowKey, now: float) -> bool:
        return self._find(zone, reply, now)[0] is None and not self._is_left(zone, reply)

    def _begin(self, packet: Tracked, action: Track, now: float) -> Found:
        """A packet of no connection that is known."""
        zone = action.zone
        if packet.related or not _may_begin(packet):
            return Found(zone, CT_INVALID | CT_TRACKED, first=packet.key)
        connection = self._committed(packet, action, now) if action.commit else None
        if connection is None:
            return Found(zone, CT_NEW | CT_TRACKED, first=packet.key)
        return self._found(CT_NEW, connection, False, action)

    def _found(
        self, state: int, connection: Connection, reply: bool, action: Track, translates: bool = True
    ) -> Found:
        becomes = None
        if translates and _translates(action) and connection.nat and not state & _TRANSLATED:
            state |= CT_SNAT if connection.nat.source is not reply else CT_DNAT
            becomes = reversed_key(connection.key if reply else connection.reply)
        if action.label is not None:
            connection.label = action.label
        if action.mark is not None:
            connection.mark = action.mark
        known = None if _translates(action) else (connection, reply)
        label, mark = connection.label, connection.mark
        return Found(action.zone, state | CT_TRACKED, label, connection.key, becomes, known, mark)

    # ---------------------------------------------------------------- connections

    def _committed(self, packet: Tracked, action: Track, now: float) -> Connection | None:
        zone, key = action.zone, packet.key
        limit = self.limits.get(zone)
        if limit is not None and len(self.connections(zone, now)) >= limit:
            return None
        reply = reversed_key(key)
        if action.nat:
            free = (each for each in _translations(reply, action.nat) if self._is_free(zone, each, now))
            translated = next(free, None)
            if translated is None:
                return None
            reply = translated
        connection = Connection(key, reply, action.nat)
        timeouts = self._timeouts(zone)
        if key.protocol == TCP:
            first_s = timeouts.tcp_syn_sent
        else:
            first_s = timeouts.icmp_first if key.protocol in _ANSWERS else timeouts.udp_first
        connection.ends_at = now + first_s
        self._places[zone, reply] = connection, True
        self._places[zone, key] = connection, False  # also where both are the same
        return connection

    def _forget(self, zone: int, connection: Connection) -> None:
        for key in (connection.key, connection.reply):
            if self._places.get((zone, key), (None,))[0] is connection:
                del self._places[zone, key]

    def _timeouts(self, zone: int) -> Timeouts:
        return self.timeouts.get(zone, _DEFAULT)

    def _update(self, zone: int, connection: Connection, packet: Tracked, reply: bool, now: float) -> _Is:
        """The packet is one of this connection: what it changes in it."""
        if packet.key.protocol == TCP:
            verdict, timeout_s = _tcp(connection.peers, packet.tcp_flags, reply, self._timeouts(zone))
        else:
            verdict, timeout_s = _other(connection, reply, self._timeouts(zone))
        if timeout_s is not None:
            connection.ends_at = now + timeout_s
        return verdict


# ------------------------------------------------------------------------------ protocols


def _may_begin(packet: Tracked) -> bool:
    if packet.key.protocol in _ANSWERS:
        return packet.key.destination_port >> 8 in _ANSWERS[packet.key.protocol]
    if packet.key.protocol == TCP:
        # A connection may be picked up in the middle, but not at its second packet.
        return not _impossible(packet.tcp_flags) and packet.tcp_flags & _SYN_ACK != _SYN_ACK
    return True


def _impossible(flags: int) -> bool:
    """TCP flags that no segment has."""
    if flags & TCP_SYN and flags & (TCP_RST | TCP_FIN):
        return True
    if flags & TCP_ACK:
        return False
    return not flags & (TCP_SYN | TCP_RST) or bool(flags & (TCP_FIN | _TCP_PSH | _TCP_URG))


def _tcp(peers: list[Peer], flags: int, reply: bool, timeouts: Timeouts) -> tuple[_Is, int | None]:
    """Changes the state of both ends by a segment of one of them.  → (what it is, the timeout from now on)."""
    sender, receiver = (1, 0) if reply else (0, 1)
    if _impossible(flags):
        return _Is.INVALID, None
    if flags & _SYN_ACK == TCP_SYN:
        if min(peers) >= Peer.FIN_WAIT_2:
            return _Is.ANOTHER, None
        if peers[sender] <= Peer.SYN_SENT:
            peers[sender] = Peer.SYN_SENT
            return _Is.STILL_NEW, timeouts.tcp_syn_sent
    peers[sender] = max(peers[sender], Peer.CLOSING if flags & TCP_FIN else Peer.SYN_SENT)
    if flags & TCP_ACK:
        peers[receiver] = _ACKNOWLEDGED.get(peers[receiver], peers[receiver])
    if flags & TCP_RST:
        peers[:] = Peer.TIME_WAIT, Peer.TIME_WAIT
    return _Is.VALID, _tcp_timeout(peers, timeouts)


_ACKNOWLEDGED = {Peer.SYN_SENT: Peer.ESTABLISHED, Peer.CLOSING: Peer.FIN_WAIT_2}


def _tcp_timeout(peers: list[Peer], timeouts: Timeouts) -> int:
    slower, faster = sorted(peers)
    if slower >= Peer.FIN_WAIT_2:
        return timeouts.tcp_close
    if slower >= Peer.CLOSING:
        return timeouts.tcp_time_wait
    if slower < Peer.ESTABLISHED:
        return timeouts.tcp_syn_recv
    return timeouts.tcp_fin_wait if faster >= Peer.CLOSING else timeouts.tcp_established


def _other(connection: Connection, reply: bool, timeouts: Timeouts) -> tuple[_Is, int]:
    """As ``_tcp``, for all other protocols."""
    icmp = connection.key.protocol in _ANSWERS
    connection.answered |= reply
    if connection.answered:
        return _Is.VALID, timeouts.icmp_reply if icmp else timeouts.udp_multiple
    return _Is.STILL_NEW, timeouts.icmp_first if icmp else timeouts.udp_single


# ------------------------------------------------------------------------------ translation


def _translations(reply: FlowKey, nat: Nat) -> Iterator[FlowKey]:
    """The keys that replies may have, in the order in which they are tried.

    One address of the range, which the flow alone decides, and no other when that is in use: then TCP and UDP get
    another source port on it, unless one is given, and other protocols are not translated.
    """
    first, last = (int.from_bytes(address, "big") for address in (nat.first, nat.last))
    chosen = first + zlib.crc32(repr(reply).encode()) % (last - first + 1)
    address = chosen.to_bytes(len(nat.first), "big")
    if not nat.source:
        yield reply._replace(source=address)
    elif nat.port and reply.protocol in (TCP, UDP):
        yield reply._replace(destination=address, destination_port=nat.port)
    elif reply.protocol in (TCP, UDP):
        for port in _ports(reply.destination_port):
            yield reply._replace(destination=address, destination_port=port)
    else:
        yield reply._replace(destination=address)


def _ports(wanted: int) -> Iterator[int]:
    least, most = next(ports for ports in _SOURCE_PORTS if wanted <= ports[1])
    yield wanted
    yield from range(max(least, wanted + 1), most + 1)
    yield from range(least, wanted)
