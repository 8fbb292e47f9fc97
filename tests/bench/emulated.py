"""An emulated OpenFlow 1.3 switch: enough of one for a controller to work with it, and fast.

It has ports, hosts that answer ARP and neighbour solicitations, and a memory for rules; of frames it forwards LLDP
alone, by its links.  It describes itself as Open vSwitch and keeps the order of messages as that does, so that nobody
needs barriers between rules and packets.  A request that it does not implement gets an OpenFlow error; what the
controller tries out it can do.  Messages about flows under load are handled by ``load`` (see ``loadgen``), all others
here.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from struct import Struct
from typing import NamedTuple, Protocol, TypeAlias

from examined import TRIAL_COOKIES, removal, sent_back

from anycast_sdn.core.model import ICMPV6, Address
from anycast_sdn.openflow import builders, frames
from anycast_sdn.openflow.pipeline import COOKIE_KIND_MASK, kind_of
from anycast_sdn.openflow.row import Kind

HELLO, ERROR, ECHO_REQUEST, ECHO_REPLY, FEATURES_REQUEST, FEATURES_REPLY = 0, 1, 2, 3, 5, 6
PACKET_IN, PACKET_OUT, FLOW_MOD, MULTIPART_REQUEST, MULTIPART_REPLY, BARRIER_REQUEST, BARRIER_REPLY = (
    10, 13, 14, 18, 19, 20, 21,
)  # fmt: skip
_FLOW_REMOVED, _GROUP_MOD, _METER_MOD = 11, 15, 29
DESCRIPTION, FLOW_STATS, AGGREGATE, GROUP_DESC, METER_CONFIG, METER_FEATURES, PORT_DESC = 0, 1, 2, 7, 10, 11, 13
ADD, DELETE, DELETE_STRICT = 0, 3, 4
ALL_TABLES = 0xFF
_SEND_REMOVED = 1  # OFPFF_SEND_FLOW_REM
_TO_CONTROLLER = 0xFFFFFFFD  # OFPP_CONTROLLER

HEADER = Struct("!BBHI")
FLOW_MOD_FIXED = Struct("!8x QQBBHHHIIIH2x")  # up to the match: cookie, mask, table, command, idle, hard, priority, …
MATCH = 48  # where a flow-mod's match begins
_MULTIPART = Struct("!HH4x")
_FLOW_STATS_REQUEST = Struct("!B3xII4xQQ")
_FLOW_STATS = Struct("!HBxIIHHHH4xQQQ")
_FEATURES = Struct("!QIBB2xII")
_PORT = Struct("!I4x6s2x16sIIIIIIII")
_PACKET_IN = Struct("!IHBBQHHIIxxxx xx")
_LISTED = Struct("!H2xI")  # a change of a group or meter begins with its command and number
_DELETE_LISTED, _ALL_LISTED = 2, 0xFFFFFFFC  # all groups; all meters have a higher one
_MAX_METER = 200_000  # as Open vSwitch says
_REPLY_SIZE = 60000  # of one part of a multipart reply
_READ_SIZE = 1 << 18
_VIEWS = 3  # masks that a controller uses by turns

_Key: TypeAlias = tuple[int, int, bytes]  # table, priority, match


class Wrong(Exception):
    """The controller sent a message that the benchmark's flows do not allow."""


class Host(NamedTuple):
    mac: bytes
    port: int


class Load(Protocol):
    """Handles messages in ``data`` from ``at`` on, up to one of another kind; returns where that begins."""

    def take(self, data: bytes, at: int, out: list[bytes], now: float) -> int: ...


class EmulatedSwitch:
    """``hosts``: those that answer ARP and ND.  ``remember``: keep the rules of flows, for statistics requests."""

    def __init__(
        self, dpid: int, ports: Sequence[int], hosts: Mapping[Address, Host] | None = None, remember: bool = False
    ) -> None:
        self.dpid = dpid
        self.load: Load | None = None
        self.rules = Rules(remember)
        self._listed: dict[int, dict[int, bytes]] = {GROUP_DESC: {}, METER_CONFIG: {}}  # by number
        self.links: dict[int, tuple[EmulatedSwitch, int]] = {}  # port → the switch there, and its port
        self.introduced = False  # the controller has asked for the ports, which ends OS-Ken's handshake
        self._ports = ports
        self._silent = True  # the hosts have not sent their announcements yet
        self._announcing = False
        self._hosts = dict(hosts or {})
        self._rest = b""
        self._unsent = b""

    def connect(self, port: int, deadline: float) -> None:
        """To a controller on the loopback interface, as soon as it listens."""
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", port))
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.send([_message(HELLO, 0)])

    def close(self) -> None:
        self.socket.close()

    @property
    def hosts(self) -> int:
        return len(self._hosts)

    def announce(self) -> None:
        """From now on, the hosts announce themselves; may be called while another thread sends and receives."""
        self._announcing = True

    def _announcements(self) -> Iterator[bytes]:
        for address, host in self._hosts.items():
            if len(address) == 4:
                yield self._packet_in(Kind.ARP, host.port, builders.arp_request(host.mac, address, address))
            else:
                to_all = bytes.fromhex("333300000001"), bytes.fromhex("ff02" + 27 * "0" + "1")
                claim = builders.neighbour_advertisement(host.mac, address, address, *to_all, False)
                yield self._packet_in(Kind.ND, host.port, claim)

    # ---------------------------------------------------------------- bytes

    def send(self, messages: Sequence[bytes]) -> None:
        """Send as much as fits now; ``flush`` sends the rest."""
        self._unsent += b"".join(messages)
        self.flush()

    def flush(self) -> None:
        if self._unsent:
            try:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
            except BlockingIOError:
                return

    @property
    def wants_to_send(self) -> bool:
        return bool(self._unsent)

    def receive(self, now: float) -> None:
        """Reads once and handles every complete message."""
        chunk = self.socket.recv(_READ_SIZE)
        if not chunk:
            raise Wrong(f"the controller has disconnected switch {self.dpid}")
        data = self._rest + chunk
        at = 0
        out: list[bytes] = []
        while True:
            if self.load is not None:
                at = self.load.take(data, at, out, now)
            if len(data) - at < HEADER.size:
                break
            _, kind, length, xid = HEADER.unpack_from(data, at)
            if at + length > len(data):
                break
            out.extend(self._answer(kind, xid, data[at : at + length]))
            at += length
        self._rest = data[at:]
        if self._announcing and self._silent:
            self._silent = False
            out.extend(self._announcements())
        if out:
            self.send(out)

    # ---------------------------------------------------------------- messages

    def _answer(self, kind: int, xid: int, message: bytes) -> Iterator[bytes]:
        if kind == ECHO_REQUEST:
            yield _message(ECHO_REPLY, xid, message[HEADER.size :])
        elif kind == FEATURES_REQUEST:
            yield _message(FEATURES_REPLY, xid, _FEATURES.pack(self.dpid, 0, 254, 0, 0x4F, 0))
        elif kind == BARRIER_REQUEST:
            yield _message(BARRIER_REPLY, xid)
        elif kind == MULTIPART_REQUEST:
            yield from self._multipart(xid, message)
        elif kind == FLOW_MOD:
            yield from self.rules.take(message)
        elif kind in (_GROUP_MOD, _METER_MOD):
            self._list(self._listed[GROUP_DESC if kind == _GROUP_MOD else METER_CONFIG], message)
        elif kind == PACKET_OUT:
            yield from self._deliver(message)
        elif kind == ERROR:
            raise Wrong(f"error message from the controller: {message.hex()}")

    def _multipart(self, xid: int, message: bytes) -> Iterator[bytes]:
        kind, _ = _MULTIPART.unpack_from(message, HEADER.size)
        parts: list[bytes] = [b""]
        if not self._remembers(kind, message):
            yield _message(ERROR, xid, b"\0\1\0\2" + message[:64])  # bad request: multipart type
            return
        if kind == DESCRIPTION:
            parts = [Struct("256s256s256s32s256s").pack(b"Nicira, Inc.", b"Open vSwitch", b"3.1.0", b"", b"")]
        elif kind == FLOW_STATS:
            table, _, _, cookie, mask = _FLOW_STATS_REQUEST.unpack_from(message, 16)
            parts = self.rules.statistics(table, cookie, mask) or parts
        elif kind == AGGREGATE:
            parts = [bytes(24)]
        elif kind == METER_FEATURES:
            parts = [Struct("!IIIBBxx").pack(_MAX_METER, 2, 15, 1, 0)]
        elif kind in self._listed:
            parts = list(_parts(self._listed[kind].values())) or parts
        elif kind == PORT_DESC:
            parts = [b"".join(map(_port, self._ports))]
            self.introduced = True
        else:
            yield _message(ERROR, xid, b"\0\1\0\2" + message[:64])  # bad request: multipart type
            return
        for number, part in enumerate(parts, 1):
            yield _message(MULTIPART_REPLY, xid, _MULTIPART.pack(kind, number < len(parts)) + part)

    @staticmethod
    def _list(there: dict[int, bytes], message: bytes) -> None:
        """Groups and meters are listed as they come, but for the first field: the command here, the length there."""
        command, number = _LISTED.unpack_from(message, HEADER.size)
        if command != _DELETE_LISTED:
            body = message[HEADER.size + 2 :]
            there[number] = (len(body) + 2).to_bytes(2, "big") + body
        elif number >= _ALL_LISTED:
            there.clear()
        else:
            there.pop(number, None)

    def _remembers(self, kind: int, message: bytes) -> bool:
        """False for a request about rules of flows if these are not kept: no reply may say that they are missing."""
        if kind != FLOW_STATS or self.rules.remember:
            return True
        *_, mask = _FLOW_STATS_REQUEST.unpack_from(message, 16)
        return not mask & COOKIE_KIND_MASK

    def _deliver(self, message: bytes) -> Iterator[bytes]:
        """A packet-out with an ARP or ND request for a host here: the host answers.  LLDP crosses the link."""
        (actions,) = Struct("!H").unpack_from(message, 16)
        frame = message[24 + actions :]
        ethertype = frame[12:14]
        if back := sent_back(frame):
            fixed = _PACKET_IN.pack(0xFFFFFFFF, len(back), 1, 0, TRIAL_COOKIES[0], 1, 12, 0x80000004, _TO_CONTROLLER)
            yield _message(PACKET_IN, 0, fixed + back)
        elif ethertype == b"\x88\xcc":
            (port,) = Struct("!I").unpack_from(message, 24 + 4)
            if peer := self.links.get(port):
                peer[0].receive_lldp(peer[1], frame)
        elif ethertype == b"\x08\x06":
            question = frames.parse_arp(frame)
            if host := self._hosts.get(question.target_ip):
                answer = builders.arp_reply(host.mac, question.target_ip, question.sender_mac, question.sender_ip)
                yield self._packet_in(Kind.ARP, host.port, answer)
        elif ethertype == b"\x86\xdd" and frame[20] == ICMPV6:
            solicitation = frames.parse_nd(frame)
            if host := self._hosts.get(solicitation.target):
                answer = builders.neighbour_advertisement(
                    host.mac, solicitation.target, solicitation.target, frame[6:12], solicitation.source, True
                )
                yield self._packet_in(Kind.ND, host.port, answer)

    def receive_lldp(self, port: int, frame: bytes) -> None:
        if self.rules.has(Kind.LLDP):
            self.send([self._packet_in(Kind.LLDP, port, frame)])

    def _packet_in(self, kind: Kind, in_port: int, frame: bytes) -> bytes:
        table, cookie = self.rules.punting(kind)
        fixed = _PACKET_IN.pack(0xFFFFFFFF, len(frame), 1, table, cookie, 1, 12, 0x80000004, in_port)
        return _message(PACKET_IN, 0, fixed + frame)


def _message(kind: int, xid: int, body: bytes = b"") -> bytes:
    return HEADER.pack(4, kind, HEADER.size + len(body), xid) + body


def _match(message: bytes) -> bytes:
    """That of a flow-mod."""
    return message[MATCH : MATCH + int.from_bytes(message[MATCH + 2 : MATCH + 4], "big")]


def _port(number: int) -> bytes:
    mac = b"\x02\x00" + number.to_bytes(4, "big")
    return _PORT.pack(number, mac, b"eth%d" % number, 0, 0, 0, 0, 0, 0, 0, 0)


class Rules:
    """What the controller has installed.

    Flows' rules are stored as they come, and decoded only for a statistics request.  A controller may read a large
    table slice by slice, distinguished by bits of the cookie, while more rules come.  So the rules are kept sorted by
    the cookie masks of the latest requests.
    """

    def __init__(self, remember: bool) -> None:
        self.remember = remember
        self.pending: list[bytes] = []  # flow-mods in order, not decoded yet
        self.asked = 0  # how many statistics requests there were, and when the last one
        self.asked_at = 0.0
        self._entries: dict[_Key, tuple[int, bytes]] = {}  # → cookie, statistics entry
        self._views: dict[int, dict[tuple[int, int], dict[_Key, bytes]]] = {}  # mask → (table, cookie & mask)
        self._reported: set[_Key] = set()  # rules that are tried out, whose removal is to be reported
        self._punting: dict[int, int] = {}  # cookie → table, of all rules that are not a flow's

    def take(self, message: bytes) -> Iterator[bytes]:
        """A flow-mod that is not part of the load.  A rule that is tried out is not kept; its removal is reported."""
        cookie, _, table, command, _, _, priority, _, _, _, flags = FLOW_MOD_FIXED.unpack_from(message)
        key = table, priority, _match(message)
        if cookie not in TRIAL_COOKIES:
            if command == ADD:
                self._punting[cookie] = table
            self.pending.append(message)
        elif command == ADD and flags & _SEND_REMOVED:
            self._reported.add(key)
        elif command == DELETE_STRICT and key in self._reported:
            self._reported.remove(key)
            yield _message(_FLOW_REMOVED, 0, removal(cookie, table, priority))

    def has(self, kind: Kind) -> bool:
        return any(kind_of(cookie) is kind for cookie in self._punting)

    def punting(self, kind: Kind) -> tuple[int, int]:
        """(table, cookie) of the installed rule of this kind, for packet-ins."""
        for cookie, table in self._punting.items():
            if kind_of(cookie) is kind:
                return table, cookie
        raise Wrong(f"the controller has installed no rule {kind.name}")

    def statistics(self, table: int, cookie: int, mask: int) -> list[bytes]:
        """The bodies of a flow statistics reply."""
        if table != ALL_TABLES:  # by a sweep
            self.asked += 1
            self.asked_at = time.monotonic()
        self.settle()
        view = self._views.get(mask)
        if view is None:
            if len(self._views) == _VIEWS:
                del self._views[next(iter(self._views))]
            view = self._views[mask] = {}
            for key, (own, entry) in self._entries.items():
                view.setdefault((key[0], own & mask), {})[key] = entry
        groups = [group for (own, bits), group in view.items() if bits == cookie & mask and table in (ALL_TABLES, own)]
        return list(_parts(entry for group in groups for entry in group.values()))

    def settle(self) -> None:
        """Decode the flow-mods that have come since; takes long if there are many."""
        pending, self.pending = self.pending, []
        for message in pending:
            cookie, mask, table, command, idle, hard, priority, _, _, _, flags = FLOW_MOD_FIXED.unpack_from(message)
            key = table, priority, _match(message)
            if command == ADD:
                self._remove(key)
                size = len(message) - MATCH + _FLOW_STATS.size
                fixed = _FLOW_STATS.pack(size, table, 1, 0, priority, idle, hard, flags, cookie, 1, 64)
                self._put(key, cookie, fixed + message[MATCH:])
            elif command == DELETE_STRICT:
                self._remove(key)
            elif command == DELETE:
                for each in [key for key, (own, _) in self._entries.items() if own & mask == cookie & mask]:
                    self._remove(each)

    def _put(self, key: _Key, cookie: int, entry: bytes) -> None:
        self._entries[key] = cookie, entry
        for mask, view in self._views.items():
            view.setdefault((key[0], cookie & mask), {})[key] = entry

    def _remove(self, key: _Key) -> None:
        if known := self._entries.pop(key, None):
            for mask, view in self._views.items():
                del view[key[0], known[0] & mask][key]


def _parts(entries: Iterable[bytes]) -> Iterator[bytes]:
    part: list[bytes] = []
    size = 0
    for entry in entries:
        if size + len(entry) > _REPLY_SIZE:
            yield b"".join(part)
            part, size = [], 0
        part.append(entry)
        size += len(entry)
    if part:
        yield b"".join(part)
