"""The hosts behind one switch: where they are, and how the switch answers their ARP and ND.

The switch is the only neighbour that a host ever sees.  It answers for its gateway addresses, and for
other hosts of the subnet too (proxy ARP within the subnet, RFC 1027; RFC 4389 for ND), so that no packet
is flooded: a question is sent only to the ports of the subnet that it is about, and only when
the controller does not have the answer.

Rules kept here:
- A host is learned from its own ARP and ND, never from other packets, and only with an address of a subnet of
  its port.  So no host can claim a gateway, service or translation address.
- Duplicate-address detection (RFC 5227, RFC 4862) is answered only for an address that another host
  holds *now*: the holder is asked first, because it may be gone.
- A host that is known at one place is taken to be at another only when it is silent at the first; a first packet
  whose source is not known at its port waits until the source has answered there (``claims``).
- A known host is asked again every ``REFRESH_S``; after three questions without an answer it counts as gone.  A host
  that changed its MAC or its port is found by the later questions, which go to the whole subnet.
- A watched host (a server, a router) is asked again after ``WATCHED_REFRESH_S``, and more often until it answers: its
  silence is noticed within 2.5 s, so that a lost server is replaced within 6 s (``losses``).  One that is gone is asked
  at once when a port comes up, and at first every ``WATCHED_RETRY_S``.  Where there are many, they are asked less
  often: ``WATCHED_PER_S`` at one switch.
- Silence is excused when the controller itself was late (``core.lateness``).  A shorter delay hides no answer: between
  two questions to a host, what has come in is read.
- So is it while nothing is heard of the switch itself, or of the controller that passes on what it hears.  The switch
  is to be asked whether it answers as soon as a known host that is watched does not (``doubts_switch``).
- A tick examines the hosts that are due, not all: deadlines are in a heap.  It sends ``MAX_QUESTIONS`` and leaves the
  rest to the next tick, because after a restart of the controller all hosts are due at once.
- Packets for a host that is not known yet wait, a few per host, for as long as it is asked.  How many unknown
  hosts are asked for is limited for each port that packets and questions come from.

Events in, frames out: methods return ``Replies`` and send nothing.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from anycast_sdn.control.claims import Moves, Sources
from anycast_sdn.core.events import Drop
from anycast_sdn.core.lateness import Lateness
from anycast_sdn.core.model import Address, Neighbour
from anycast_sdn.core.prefixes import reserved
from anycast_sdn.core.roles import Subnet
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.frames import Arp, Nd

REFRESH_S = 30.0  # a known host is asked again after this long without ARP or ND from it
RETRY_S = 1.0  # between questions
QUESTIONS = 3  # unanswered ones before a host counts as gone
MOST_QUESTIONS = 120  # before it does whatever excuses its silence: a switch may answer late all the time
WATCHED_REFRESH_S = 1.0  # a watched host is asked again after this long without ARP or ND from it
WATCHED_RETRY_S = 0.25  # between questions to it
WATCHED_PER_S = 200  # questions to all watched hosts of one switch
LOOKED_FOR_AT_FIRST = 16  # more questions at that pace to a watched host that is gone (4 s); then one every
LOOKED_FOR_S = 3.0
LATE_S, EXCUSE_S = 0.75, 1.0  # more than this between two ticks: the controller was late
WAITING_PER_HOST = 64  # packets
MAX_UNKNOWN = 256  # hosts asked for at once because of one port: a scan of a large subnet must not fill the memory
MAX_HOSTS = 4096  # known at one port, for the same reason
MAX_QUESTIONS = 400  # in one tick

_ANY_V4, _ANY_V6 = bytes(4), bytes(16)
_ALL_NODES = bytes.fromhex("ff020000000000000000000000000001")
_ALL_NODES_MAC = bytes.fromhex("333300000001")


class _Asker(NamedTuple):
    """A host that has asked for an address, and waits for the answer."""

    port: int
    mac: bytes
    address: Address | None  # None: duplicate-address detection


@dataclass(slots=True)
class _Entry:
    known: Neighbour | None = None
    ask_at: float = 0.0
    queued: float = math.inf  # the deadline under which it is in the heap; never after ``ask_at``
    asked: int = 0
    missed: int = 0  # a watched host: so often it was found to be gone since it was last heard
    askers: list[_Asker] = field(default_factory=list)
    waiting: deque[bytes] = field(default_factory=lambda: deque(maxlen=WAITING_PER_HOST))


@dataclass(slots=True)
class Replies:
    """What came of an event: frames to send, packets that may go on, packets that cannot."""

    frames: list[tuple[int, bytes]] = field(default_factory=list)  # (port, frame)
    resolved: list[bytes] = field(default_factory=list)
    unreachable: list[bytes] = field(default_factory=list)
    verified: list[tuple[int, bytes]] = field(default_factory=list)  # (port, first packet): its source is known now
    moved: list[Address] = field(default_factory=list)  # hosts that appeared, moved or vanished
    missing: list[Address] = field(default_factory=list)  # watched hosts that do not answer and were not known before
    drops: list[Drop] = field(default_factory=list)  # one for each dropped packet


class Neighbours:
    """All hosts behind one switch.  ``mac``: the switch's own, as hosts see it."""

    def __init__(self, mac: bytes, subnets: Iterable[Subnet]) -> None:
        self._mac = mac
        self._subnets = tuple(subnets)
        self._gateways = {gateway.address for subnet in self._subnets for gateway in subnet.gateways}
        self._entries: dict[Address, _Entry] = {}
        self._due: list[tuple[float, Address]] = []  # heap; what is not ``queued`` under this deadline is out of date
        self._at_port: defaultdict[int, dict[Address, None]] = defaultdict(dict)  # port → the hosts known there
        self._looked_for: dict[Address, int] = {}  # unknown host → the port because of which it is asked for
        self._looked_for_by: Counter[int] = Counter()  # port → how many hosts are asked for because of it
        self._moves = Moves()
        self._sources = Sources()
        self._watched: set[Address] = set()
        self._down: set[int] = set()  # ports of hosts that have lost their carrier
        self._lateness = Lateness(LATE_S, EXCUSE_S)
        self.doubts_switch = False  # found by the last tick

    def known(self) -> Iterator[tuple[Address, Neighbour]]:
        return ((address, entry.known) for address, entry in self._entries.items() if entry.known)

    def get(self, address: Address) -> Neighbour | None:
        entry = self._entries.get(address)
        return entry.known if entry else None

    def is_missing(self, address: Address) -> bool:
        """Has a watched host left all questions unanswered, and has it not been heard since?"""
        entry = self._entries.get(address)
        return entry is not None and entry.known is None and entry.missed > 0

    def is_at(self, address: Address, port: int) -> bool:
        """Is the host known at this port?  Its MAC does not matter: a host may send by several."""
        entry = self._entries.get(address)
        return entry is not None and entry.known is not None and entry.known.port == port

    def is_watched(self, address: Address) -> bool:
        return address in self._watched

    def watch(self, addresses: Iterable[Address]) -> None:
        """Ask for these hosts all the time, also while no packet is sent to them: enrolled servers, routers."""
        before, self._watched = self._watched, set(addresses)
        for address in sorted(self._watched - before):
            self._look_for(address)

    def set_watched(self, address: Address, watched: bool) -> None:
        """As ``watch``, for one host."""
        entry = self._entries.get(address)
        if not watched:
            self._watched.discard(address)
            if entry:
                entry.missed = 0
        elif self._home(address):
            self._watched.add(address)
            self._look_for(address)

    def _look_for(self, address: Address) -> None:
        if self._home(address):
            entry = self._entries.setdefault(address, _Entry())
            if not entry.asked:  # nor is it asked again soon
                entry.ask_at = 0.0
                self._queue(address, entry)

    def adopt(self, address: Address, neighbour: Neighbour, now: float) -> None:
        """After a restart: the switch has a rule for this host, which is asked whether it is still there."""
        home = self._home(address)
        if home and neighbour.port in home[1].ports:
            entry = self._entries[address] = _Entry(ask_at=now)
            self._place(address, entry, neighbour)
            self._queue(address, entry)

    def told(self, address: Address, neighbour: Neighbour | None) -> None:
        """Another controller, which asks for hosts, has found it there, or (None) nowhere."""
        home = self._home(address)
        if home is None or (neighbour and neighbour.port not in home[1].ports):
            return
        self._place(address, self._entries.setdefault(address, _Entry()), neighbour)
        if neighbour is None:
            del self._entries[address]

    # ---------------------------------------------------------------- events

    def arp(self, packet: Arp, port: int, now: float) -> Replies:
        out = Replies()
        if packet.sender_mac != packet.eth_src:
            out.drops.append(Drop.MAC_MISMATCH)
            return out
        probe = packet.sender_ip == _ANY_V4
        if not probe and not self._learn(packet.sender_ip, packet.sender_mac, port, now, out):
            return out
        if packet.op == 1 and packet.target_ip != packet.sender_ip:
            asker = _Asker(port, packet.eth_src, None if probe else packet.sender_ip)
            self._question(packet.target_ip, asker, now, out)
        return out

    def nd(self, packet: Nd, port: int, now: float) -> Replies:
        out = Replies()
        if packet.advertisement:
            self._learn(packet.target, packet.link_layer or packet.eth_src, port, now, out)
            return out
        probe = packet.source == _ANY_V6
        mac = packet.link_layer or packet.eth_src
        if not (probe or _link_local(packet.source) or self._learn(packet.source, mac, port, now, out)):
            return out
        if packet.target != packet.source and not _link_local(packet.target):
            asker = _Asker(port, packet.eth_src, None if probe else packet.source)
            self._question(packet.target, asker, now, out)
        return out

    def wait(self, frame: bytes, address: Address, port: int, now: float) -> Replies:
        """A packet from ``port``, for a host for which the switch has no rule: ask, and keep the packet meanwhile."""
        out = Replies()
        entry = self._entries.get(address)
        if entry is not None and entry.known:
            out.resolved.append(frame)  # learned while the packet was on its way to the controller
            return out
        if entry is None:
            entry = self._unknown(address, port, out)
        if entry is None:
            return out
        if len(entry.waiting) == WAITING_PER_HOST:
            out.drops.append(Drop.WAITING_OVERFLOW)
        entry.waiting.append(frame)
        if len(entry.waiting) == 1:
            self._ask_now(address, entry, now, out)
        return out

    def check_source(self, frame: bytes, source: Address, port: int, now: float) -> Replies:
        """A first packet whose source is not known at its port: ask for it there, and keep the packet meanwhile."""
        out = Replies()
        home = self._home(source)
        waits, ask = self._sources.wait(source, port, frame, now) if home and port in home[1].ports else (False, False)
        if ask:
            self._ask_at(port, source, None, out)
        if not waits:
            out.drops.append(Drop.UNKNOWN_SOURCE)
        return out

    def port_down(self, port: int, now: float) -> Replies:
        """Hosts behind a port that lost its carrier count as gone until they are heard again."""
        out = Replies()
        if any(port in subnet.ports for subnet in self._subnets):
            self._down.add(port)
        self._moves.port_down(port)
        out.drops += [Drop.UNKNOWN_SOURCE] * self._sources.port_down(port)
        for address in list(self._at_port[port]):
            entry = self._entries[address]
            if moved_to := self._moves.pop_claimed(address):
                self._set_present(address, entry, moved_to, now, out)
            else:
                self._forget(address, entry, now, out)
        return out

    def port_up(self, port: int, now: float) -> Replies:
        """If it was down, watched hosts may be there again: they are asked at once, very many at the next ticks."""
        out = Replies()
        came_up = port in self._down
        self._down.discard(port)
        for address in self._watched if came_up else ():
            entry, home = self._entries.get(address), self._home(address)
            if entry and not entry.known and home and port in home[1].ports:
                entry.asked, entry.ask_at = min(entry.asked, QUESTIONS - 1), now
                if len(out.frames) < MAX_QUESTIONS:
                    self._ask(address, entry, now, out)
                else:
                    self._queue(address, entry)
        return out

    def disconnected(self) -> Replies:
        """No host can be asked now, so that silence means nothing: open claims and what waits for them are dropped."""
        out = Replies(drops=[Drop.UNKNOWN_SOURCE] * len(self._sources))
        self._moves, self._sources = Moves(), Sources()
        return out

    def excuses(self, now: float) -> bool:
        """Does silence mean nothing now?"""
        return self._lateness.excuses(now)

    def tick(self, now: float, is_heard: bool = True) -> Replies:
        """Ask the hosts that are due, and forget those that have not answered.  ``is_heard``: is the switch?"""
        out = Replies()
        self.doubts_switch = False
        if not is_heard:
            self._lateness.excuse(now)
        self._decide_claims(now, out)
        excused = self._lateness.excuses(now)
        self._lateness.checked(now)
        while self._due and self._due[0][0] <= now and len(out.frames) < MAX_QUESTIONS:
            deadline, address = heapq.heappop(self._due)
            entry = self._entries.get(address)
            if entry is None or entry.queued != deadline:
                continue
            entry.queued = math.inf
            if entry.ask_at > now:  # it has answered meanwhile
                self._queue(address, entry)
            elif entry.asked >= (MOST_QUESTIONS if excused else QUESTIONS):
                self._forget(address, entry, now, out)
            else:
                self.doubts_switch |= entry.asked == 1 and entry.known is not None and address in self._watched
                self._ask(address, entry, now, out)
        return out

    # ---------------------------------------------------------------- inside

    def _home(self, address: Address) -> tuple[Address, Subnet] | None:
        """The gateway and the subnet of an address; None when no host may have the address."""
        for subnet in self._subnets:
            for gateway in subnet.gateways:
                if address in gateway.prefix:
                    usable = address not in self._gateways and not reserved(gateway.prefix, address)
                    return (gateway.address, subnet) if usable else None
        return None

    def _queue(self, address: Address, entry: _Entry) -> None:
        """Enter the entry's ``ask_at`` into the heap, if that is earlier than before."""
        if entry.ask_at < entry.queued:
            entry.queued = entry.ask_at
            heapq.heappush(self._due, (entry.ask_at, address))

    def _unknown(self, address: Address, port: int, out: Replies) -> _Entry | None:
        """Start to ask for a host because of this port; None: no host may have the address, or the limit is reached."""
        if not self._home(address) or self._looked_for_by[port] >= MAX_UNKNOWN:
            out.drops.append(Drop.UNRESOLVABLE)
            return None
        self._looked_for[address] = port
        self._looked_for_by[port] += 1
        return self._entries.setdefault(address, _Entry())

    def _looked_for_no_more(self, address: Address) -> None:
        port = self._looked_for.pop(address, None)
        if port is not None:
            self._looked_for_by[port] -= 1

    def _learn(self, address: Address, mac: bytes, port: int, now: float, out: Replies) -> bool:
        """A host claims an address → may it have that?  If not, its questions are not answered."""
        home = self._home(address)
        if home is None or port not in home[1].ports or mac[0] & 1:
            out.drops.append(Drop.FALSE_CLAIM)
            if address in self._gateways:
                self._defend(address, port, out)
            return False
        entry = self._entries.get(address)
        known = entry is not None and entry.known is not None
        if not known and address not in self._watched and len(self._at_port[port]) >= MAX_HOSTS:
            out.drops.append(Drop.TOO_MANY_HOSTS)
            return True  # it is not learned, even if it was asked for; its questions are answered all the same
        if entry is None:
            entry = self._entries[address] = _Entry()
        neighbour = Neighbour(mac, port)
        if entry.known is None:
            self._moves.pop_claimed(address)  # there is no old place to ask
        elif entry.known != neighbour:
            if self._moves.claim(address, neighbour, now):
                self._ask_at(entry.known.port, address, entry.known.mac, out)
            return True
        elif self._moves.refute(address):
            out.drops.append(Drop.FALSE_MOVE)
        self._set_present(address, entry, neighbour, now, out)
        return True

    def _set_present(self, address: Address, entry: _Entry, neighbour: Neighbour, now: float, out: Replies) -> None:
        """The host is at this place: answer the questions and send the packets that have waited for that."""
        if entry.known != neighbour:
            self._place(address, entry, neighbour)
            out.moved.append(address)
        watched = address in self._watched
        entry.asked, entry.missed, entry.ask_at = 0, 0, now + (self._pause(WATCHED_REFRESH_S) if watched else REFRESH_S)
        self._queue(address, entry)
        self._looked_for_no_more(address)
        for asker in entry.askers:
            if asker.mac != neighbour.mac and asker.port != neighbour.port:
                self._answer(address, asker, out)
        entry.askers.clear()
        out.resolved.extend(entry.waiting)
        entry.waiting.clear()
        out.verified.extend((neighbour.port, frame) for frame in self._sources.pop_answered(address, neighbour.port))

    def _decide_claims(self, now: float, out: Replies) -> None:
        """Repeat the questions that are due, and decide the claims whose time is over."""
        again, taken = self._moves.tick(now)
        for address in again:
            if known := self.get(address):
                self._ask_at(known.port, address, known.mac, out)
        for address, neighbour in taken:
            self._set_present(address, self._entries.setdefault(address, _Entry()), neighbour, now, out)
        unknown, lost = self._sources.tick(now, self._moves)
        for port, address in unknown:
            self._ask_at(port, address, None, out)
        out.drops += [Drop.UNKNOWN_SOURCE] * lost

    def _place(self, address: Address, entry: _Entry, neighbour: Neighbour | None) -> None:
        if entry.known:
            del self._at_port[entry.known.port][address]
        if neighbour:
            self._at_port[neighbour.port][address] = None
        entry.known = neighbour

    def _question(self, target: Address, asker: _Asker, now: float, out: Replies) -> None:
        """A host asks for ``target``."""
        if target in self._gateways:
            self._answer(target, asker, out)
            return
        home = self._home(target)
        if home is None or asker.port not in home[1].ports:
            out.drops.append(Drop.FOREIGN_QUESTION)
            return
        entry = self._entries.get(target) or self._unknown(target, asker.port, out)
        if entry is None:
            return
        if entry.known and (entry.known.mac == asker.mac or entry.known.port == asker.port):
            return  # it asks for its own address, perhaps from another port; or both are at one port
        rival = any(other.address is None and other.mac != asker.mac for other in entry.askers)
        if (entry.known and asker.address is not None) or (rival and asker.address is None):
            self._answer(target, asker, out)
            return
        if asker not in entry.askers and len(entry.askers) < WAITING_PER_HOST:
            entry.askers.append(asker)
        self._ask_now(target, entry, now, out)

    def _ask_now(self, address: Address, entry: _Entry, now: float, out: Replies) -> None:
        entry.asked = 0
        self._ask(address, entry, now, out)

    def _ask(self, address: Address, entry: _Entry, now: float, out: Replies) -> None:
        """Send one question: the first to a known host goes to it alone, the later ones to its whole subnet."""
        home = self._home(address)
        assert home is not None
        entry.asked += 1
        entry.ask_at = now + (WATCHED_RETRY_S if address in self._watched else RETRY_S)
        self._queue(address, entry)
        known = entry.known if entry.asked == 1 else None
        for port in [known.port] if known else home[1].ports:
            self._ask_at(port, address, known.mac if known else None, out)

    def _ask_at(self, port: int, address: Address, mac: bytes | None, out: Replies) -> None:
        """Send one question by one port, to this MAC alone if there is one."""
        home = self._home(address)
        assert home is not None
        if len(address) == 4:
            frame = builders.arp_request(self._mac, home[0], address, mac or builders.BROADCAST)
        else:
            frame = builders.neighbour_solicitation(self._mac, home[0], address, mac)
        out.frames.append((port, frame))

    def _forget(self, address: Address, entry: _Entry, now: float, out: Replies) -> None:
        watched = address in self._watched
        if entry.known:
            out.moved.append(address)
            self._place(address, entry, None)
        elif watched and not entry.missed:
            out.missing.append(address)
        self._looked_for_no_more(address)
        out.unreachable.extend(entry.waiting)
        if watched:
            pause = self._pause(WATCHED_RETRY_S if entry.missed < LOOKED_FOR_AT_FIRST else LOOKED_FOR_S)
            ask_at = now + pause - WATCHED_RETRY_S  # the last question has waited that long already
            again = _Entry(asked=QUESTIONS - 1, missed=entry.missed + 1, ask_at=ask_at)
            self._entries[address] = again
            self._queue(address, again)
        else:
            del self._entries[address]

    def _pause(self, seconds: float) -> float:
        """The pause between questions to a watched host: longer where there are many."""
        return max(seconds, len(self._watched) / WATCHED_PER_S)

    def _answer(self, target: Address, asker: _Asker, out: Replies) -> None:
        """Answer that ``target`` is at the MAC of the switch, so that packets for it go through the switch."""
        if len(target) == 4:
            frame = builders.arp_reply(self._mac, target, asker.mac, asker.address or _ANY_V4)
        elif asker.address is None:
            frame = builders.neighbour_advertisement(
                self._mac, target, target, _ALL_NODES_MAC, _ALL_NODES, solicited=False
            )
        else:
            frame = builders.neighbour_advertisement(
                self._mac, target, target, asker.mac, asker.address, solicited=True
            )
        out.frames.append((asker.port, frame))

    def _defend(self, gateway: Address, port: int, out: Replies) -> None:
        """A host claims a gateway address: answer all hosts at that port with the switch's MAC (RFC 5227 §2.4)."""
        all_hosts = _Asker(port, builders.BROADCAST, gateway if len(gateway) == 4 else None)
        self._answer(gateway, all_hosts, out)


def _link_local(address: Address) -> bool:
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80
