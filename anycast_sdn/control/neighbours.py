"""The hosts behind one edge: where they are, and what the edge tells them by ARP and ND.

The edge is the only neighbour that a host ever sees.  It answers for its gateway addresses, and for
other hosts of the subnet too (proxy ARP within the subnet, RFC 1027; RFC 4389 for ND), so that nothing
is ever flooded: a question goes out only on the ports of the subnet that it is about, and only when
the edge itself does not know the answer.

Rules kept here:
- A host is learned from its own ARP and ND, never from data, and only with an address of a subnet of
  its port.  So nobody can claim a gateway, service or translation address.
- Duplicate-address detection (RFC 5227, RFC 4862) is answered only for an address that another host
  holds *now*: the holder is asked first, because it may be gone.
- A known host is asked again every ``REFRESH_S``; three questions without an answer forget it.  A host
  that changed its MAC or its port is found by the later questions, which go to the whole subnet.
- Packets for a host that is not known yet wait, a few per host, for as long as it is asked.

Events in, frames out: methods return ``Replies`` and send nothing.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from anycast_sdn.core.model import Address, Prefix, Subnet
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.frames import Arp, Nd

REFRESH_S = 30.0  # a known host is asked again after this long without a word
RETRY_S = 1.0  # between questions
QUESTIONS = 3  # unanswered ones before a host counts as gone
WANTED_RETRY_S = 3.0  # a server that is away is looked for this often
WAITING_PER_HOST = 64  # packets
MAX_UNKNOWN = 1024  # hosts asked for at once: a scan of a large subnet must not fill the memory
MAX_HOSTS = 4096  # known at once behind one port, for the same reason

_ANY_V4, _ANY_V6 = bytes(4), bytes(16)
_ALL_NODES = bytes.fromhex("ff020000000000000000000000000001")
_ALL_NODES_MAC = bytes.fromhex("333300000001")


class Neighbour(NamedTuple):
    """A host that answered."""

    mac: bytes
    port: int


class _Asker(NamedTuple):
    """Who waits to hear about an address."""

    port: int
    mac: bytes
    address: Address | None  # None: duplicate-address detection


@dataclass(slots=True)
class _Entry:
    known: Neighbour | None = None
    ask_at: float = 0.0
    asked: int = 0
    askers: list[_Asker] = field(default_factory=list)
    waiting: deque[bytes] = field(default_factory=lambda: deque(maxlen=WAITING_PER_HOST))


@dataclass(slots=True)
class Replies:
    """What came of an event: frames to send, packets that may go on, packets that cannot."""

    frames: list[tuple[int, bytes]] = field(default_factory=list)  # (port, frame)
    resolved: list[bytes] = field(default_factory=list)
    unreachable: list[bytes] = field(default_factory=list)
    moved: list[Address] = field(default_factory=list)  # who appeared, moved or vanished


class Neighbours:
    """All hosts behind one edge.  ``mac``: the edge's own, as hosts see it."""

    def __init__(self, mac: bytes, subnets: Iterable[Subnet]) -> None:
        self._mac = mac
        self._subnets = tuple(subnets)
        self._gateways = {gateway.address for subnet in self._subnets for gateway in subnet.gateways}
        self._entries: dict[Address, _Entry] = {}
        self._at_port: Counter[int] = Counter()  # known hosts
        self._looked_for: set[Address] = set()  # unknown hosts that nobody wants for good
        self._wanted: set[Address] = set()
        self.counters: Counter[str] = Counter()

    def known(self) -> Iterator[tuple[Address, Neighbour]]:
        return ((address, entry.known) for address, entry in self._entries.items() if entry.known)

    def get(self, address: Address) -> Neighbour | None:
        entry = self._entries.get(address)
        return entry.known if entry else None

    def is_wanted(self, address: Address) -> bool:
        return address in self._wanted

    def want(self, addresses: Iterable[Address]) -> None:
        """Keep looking for these hosts, also when nobody sends to them: enrolled servers."""
        self._wanted = set(addresses)
        for address in self._wanted:
            if self._home(address):
                self._entries.setdefault(address, _Entry())

    def adopt(self, address: Address, neighbour: Neighbour, now: float) -> None:
        """Believe what the switch still holds after a restart, and ask the host at once."""
        home = self._home(address)
        if home and neighbour.port in home[1].ports:
            entry = self._entries[address] = _Entry(ask_at=now)
            self._place(entry, neighbour)

    # ---------------------------------------------------------------- events

    def arp(self, packet: Arp, port: int, now: float) -> Replies:
        out = Replies()
        if packet.sender_mac != packet.eth_src:
            self.counters["arp_mac_mismatch"] += 1
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

    def wait(self, frame: bytes, address: Address, now: float) -> Replies:
        """A packet for a host that the switch has no rule for: ask, and keep the packet meanwhile."""
        out = Replies()
        entry = self._entries.get(address)
        if entry is not None and entry.known:
            out.resolved.append(frame)  # learned while the packet was on its way to us
            return out
        if entry is None:
            entry = self._unknown(address)
        if entry is None:
            return out
        if len(entry.waiting) == WAITING_PER_HOST:
            self.counters["waiting_overflow"] += 1
        entry.waiting.append(frame)
        if len(entry.waiting) == 1:
            self._ask_now(address, entry, now, out)
        return out

    def port_down(self, port: int, now: float) -> Replies:
        """Hosts behind a port that lost its carrier are gone until they speak again."""
        out = Replies()
        for address, entry in list(self._entries.items()):
            if entry.known and entry.known.port == port:
                self._forget(address, entry, now, out)
        return out

    def tick(self, now: float) -> Replies:
        """Ask whom it is time to ask, and give up on who has not answered."""
        out = Replies()
        for address, entry in list(self._entries.items()):
            if address in self._wanted and not entry.known and not entry.asked:
                self._ask_now(address, entry, now, out)
            elif entry.ask_at <= now:
                if entry.asked >= QUESTIONS:
                    self._forget(address, entry, now, out)
                else:
                    self._ask(address, entry, now, out)
        return out

    # ---------------------------------------------------------------- inside

    def _home(self, address: Address) -> tuple[Address, Subnet] | None:
        """The gateway and subnet of a host's address; None when no host may have it."""
        for subnet in self._subnets:
            for gateway in subnet.gateways:
                if address in gateway.prefix:
                    usable = address not in self._gateways and not _reserved(address, gateway.prefix)
                    return (gateway.address, subnet) if usable else None
        return None

    def _unknown(self, address: Address) -> _Entry | None:
        """Start to look for a host; None when there can be none, or too many are looked for."""
        if not self._home(address) or len(self._looked_for) >= MAX_UNKNOWN:
            self.counters["unresolvable"] += 1
            return None
        self._looked_for.add(address)
        return self._entries.setdefault(address, _Entry())

    def _learn(self, address: Address, mac: bytes, port: int, now: float, out: Replies) -> bool:
        home = self._home(address)
        if home is None or port not in home[1].ports or mac[0] & 1:
            self.counters["false_claims"] += 1
            if address in self._gateways:
                self._defend(address, port, out)
            return False
        entry = self._entries.get(address)
        if entry is None:
            if self._at_port[port] >= MAX_HOSTS:
                self.counters["too_many_hosts"] += 1
                return True  # not learned; what it asks for is answered all the same
            entry = self._entries[address] = _Entry()
        if entry.known != (mac, port):
            self._place(entry, Neighbour(mac, port))
            out.moved.append(address)
        entry.asked, entry.ask_at = 0, now + REFRESH_S
        self._looked_for.discard(address)
        for asker in entry.askers:
            if asker.mac != mac and asker.port != port:
                self._answer(address, asker, out)
        entry.askers.clear()
        out.resolved.extend(entry.waiting)
        entry.waiting.clear()
        return True

    def _place(self, entry: _Entry, neighbour: Neighbour | None) -> None:
        if entry.known:
            self._at_port[entry.known.port] -= 1
        if neighbour:
            self._at_port[neighbour.port] += 1
        entry.known = neighbour

    def _question(self, target: Address, asker: _Asker, now: float, out: Replies) -> None:
        """A host asks who has ``target``."""
        if target in self._gateways:
            self._answer(target, asker, out)
            return
        home = self._home(target)
        if home is None or asker.port not in home[1].ports:
            self.counters["foreign_questions"] += 1
            return
        entry = self._entries.get(target) or self._unknown(target)
        if entry is None:
            return
        if entry.known and (entry.known.mac == asker.mac or entry.known.port == asker.port):
            return  # it asks about itself, perhaps on another port; or the two hear each other
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
        """One question: the first to a known host goes to it alone, the later ones to its whole subnet."""
        home = self._home(address)
        assert home is not None
        gateway, subnet = home
        entry.asked += 1
        entry.ask_at = now + RETRY_S
        known = entry.known if entry.asked == 1 else None
        for port in [known.port] if known else subnet.ports:
            if len(address) == 4:
                to = known.mac if known else builders.BROADCAST
                frame = builders.arp_request(self._mac, gateway, address, to)
            else:
                frame = builders.neighbour_solicitation(self._mac, gateway, address, known.mac if known else None)
            out.frames.append((port, frame))

    def _forget(self, address: Address, entry: _Entry, now: float, out: Replies) -> None:
        if entry.known:
            out.moved.append(address)
            self._place(entry, None)
        self._looked_for.discard(address)
        out.unreachable.extend(entry.waiting)
        if address in self._wanted:
            self._entries[address] = _Entry(asked=QUESTIONS - 1, ask_at=now + WANTED_RETRY_S)
        else:
            del self._entries[address]

    def _answer(self, target: Address, asker: _Asker, out: Replies) -> None:
        """Tell ``asker`` that ``target`` is at our MAC: packets for it go through the edge."""
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
        """Somebody claims our address: say whose it is, to everybody on that port (RFC 5227 §2.4)."""
        everybody = _Asker(port, builders.BROADCAST, gateway if len(gateway) == 4 else None)
        self._answer(gateway, everybody, out)


def _reserved(address: Address, prefix: Prefix) -> bool:
    """IPv4: the network's own and its broadcast address; IPv6: the subnet-router anycast address."""
    hosts = prefix.bits - prefix.length
    if hosts < 2:
        return False
    offset = int.from_bytes(address, "big") & ((1 << hosts) - 1)
    return offset == 0 or (len(address) == 4 and offset == (1 << hosts) - 1)


def _link_local(address: Address) -> bool:
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80
