"""The role of a client edge, and the subnets of hosts behind an edge, as frozen values."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from anycast_sdn.core.model import ICMP, ICMPV6, TCP, UDP, Address, Gateway, GroupValidity, Prefix

MOST_PER_CLIENT = 1 << 14  # bindings of one client, where the network file has no limit


@dataclass(frozen=True, slots=True)
class Validity:
    """How long a binding may be idle in both directions, in seconds, 1–65535 each (M13, M19)."""

    tcp_s: int = 7440  # RFC 5382 REQ-5: not less than 2 h 4 min
    tcp_closing_s: int = 240  # one direction has closed; RFC 5382 REQ-5: not less than 4 min
    tcp_closed_s: int = 5  # both directions have closed, on switches that match TCP flags (Open vSwitch)
    udp_s: int = 300  # RFC 4787 REQ-5
    icmp_s: int = 60  # RFC 5508 REQ-2
    other_s: int = 300
    unanswered_s: int = 30  # no server has answered yet

    @property
    def shortest_s(self) -> int:
        """The shortest validity of a binding that the sweep may end."""
        return min(self.tcp_closing_s, self.tcp_s, self.udp_s, self.icmp_s, self.other_s, self.unanswered_s)

    def pinned_s(self, protocol: int) -> int:
        if protocol == TCP:
            return self.tcp_s
        if protocol == UDP:
            return self.udp_s
        return self.icmp_s if protocol in (ICMP, ICMPV6) else self.other_s


@lru_cache(1024)
def in_force(edge: Validity, group: GroupValidity) -> Validity:
    """The validity of a group's bindings at a client edge: what the group does not set is as the edge has it."""
    return replace(edge, **{member: s for member, s in group._asdict().items() if s is not None})


class Pooling(enum.Enum):
    """Which flows share an address PR1X (M13, M30)."""

    FLOW = "flow"  # none: each flow has its own
    PAIRED = "paired"  # those of one client to one service address; their ports tell them apart (RFC 4787 REQ-2)
    AUTO = "auto"  # none while at least half of the pool is free and the client has not its share; paired beyond that


class Expiry(enum.Enum):
    """How the switch's rules of a binding end when both directions have been idle."""

    IDLE_TIMEOUT = "idle_timeout"  # each rule by its own timeout, in the switch
    SWEEP = "sweep"  # rules have no timeout; the controller reads their counters from time to time
    AUTO = "auto"  # timeouts while there are few bindings, the sweep for those beyond


class EngineName(enum.Enum):
    """How a switch carries the method out for its clients (``engines``)."""

    RULES = "rules"  # a pair of rules for each flow
    CONNTRACK = "conntrack"  # a connection for each flow, in Open vSwitch's connection tracker


class Allocation(enum.Enum):
    """Who chooses PR1X of a flow, with ``EngineName.CONNTRACK`` (M13)."""

    CONTROLLER = "controller"  # the controller, out of its pool
    SWITCH = "switch"  # the switch, out of the whole range; the controller is not asked


FIRST_ZONE = 0x8000  # of the first switch of a file; programs that number from 1, such as OVN, are far below
ZONES = 4  # of one switch
FRAGMENT_ZONES = range(0xF000, 0xFFF0)  # of all server edges, for fragments: each zone is of few servers


@dataclass(frozen=True, slots=True)
class Conntrack:
    """The settings of the engine ``conntrack``."""

    allocation: Allocation = Allocation.CONTROLLER
    reserve: int = 8  # while no controller answers, the switch chooses from one of so many equal parts; 0: from none
    zone: int = FIRST_ZONE  # the first of the switch's zones, 1–65532

    @property
    def zones(self) -> range:
        return range(self.zone, self.zone + ZONES)

    def zone_of(self, v6: bool, udp: bool) -> int:
        """UDP and other protocols without TCP's states share timers, except in zones of their own."""
        return self.zone + 2 * v6 + udp


class AddressRange(NamedTuple):
    """All addresses from the first to the last."""

    first: Address
    last: Address


@dataclass(frozen=True, slots=True)
class ClientEdgeRole:
    """The settings of a client edge, ARh."""

    translation_prefixes: tuple[Prefix, ...]  # PRh/k, dedicated to the mechanism (M3)
    services: tuple[Prefix, ...]  # ANY/m that this site may use (M6)
    validity: Validity = Validity()
    quarantine_s: int = 120  # how long a released PR1X rests
    quarantine_min_s: int = 5  # after so long it may be leased early, when none is free; the smaller of both counts
    pooling: Pooling = Pooling.AUTO
    expiry: Expiry = Expiry.AUTO
    idle_timeouts: int = 4000  # auto: so many bindings expire in the switch; Open vSwitch scans their rules continually
    # Of one family.  None: a client has at most a quarter of the addresses and ``MOST_PER_CLIENT`` flows, and all
    # clients at one port half of the addresses, or all of them at the only port.
    bindings_per_client: int | None = None
    bindings_per_port: int | None = None
    engines: tuple[EngineName, ...] = (EngineName.RULES,)  # the first that the switch is able to carry out
    conntrack: Conntrack = Conntrack()

    @property
    def wants_conntrack(self) -> bool:
        return EngineName.CONNTRACK in self.engines

    def reserve(self, v6: bool) -> Prefix | None:
        """The part of PRh/k that is the switch's own while no controller answers; None: there is none.

        It is the end of the family's largest prefix.  The pool has the rest.
        """
        prefixes = [prefix for prefix in self.translation_prefixes if prefix.is_v6 is v6]
        if not (prefixes and self.conntrack.reserve and self.conntrack.allocation is Allocation.CONTROLLER):
            return None
        return _last_part(min(prefixes, key=lambda prefix: prefix.length), self.conntrack.reserve)

    def switch_range(self, v6: bool) -> AddressRange | None:
        """The addresses from which the switch chooses by itself; the pool has all others.

        With ``Allocation.CONTROLLER`` it is the reserve.  With ``Allocation.SWITCH`` it is all of the family's largest
        prefix but the part which would be the reserve otherwise: with that the controller serves clients as a whole.
        """
        prefixes = [prefix for prefix in self.translation_prefixes if prefix.is_v6 is v6]
        if not (self.wants_conntrack and prefixes):
            return None
        whole = min(prefixes, key=lambda prefix: prefix.length)
        part = _last_part(whole, self.conntrack.reserve) if self.conntrack.reserve else None
        first, size = int.from_bytes(whole.network, "big"), 1 << whole.bits - whole.length
        last = first + size - 2
        if self.conntrack.allocation is Allocation.CONTROLLER:
            if part is None:
                return None
            first = int.from_bytes(part.network, "big") - 1
        elif part:
            last = int.from_bytes(part.network, "big") - 1
        return AddressRange(*(end.to_bytes(whole.bits // 8, "big") for end in (first + 1, last)))

    @property
    def switch_ranges(self) -> tuple[AddressRange, ...]:
        return tuple(found for v6 in (False, True) if (found := self.switch_range(v6)))


def _last_part(whole: Prefix, parts: int) -> Prefix | None:
    """The last of so many equal parts of a prefix; None when it has no other address than the prefix's very last."""
    length = whole.length + (parts - 1).bit_length()
    if length > whole.bits - 1:
        return None
    hosts = (1 << (whole.bits - whole.length)) - (1 << (whole.bits - length))
    return Prefix((int.from_bytes(whole.network, "big") | hosts).to_bytes(whole.bits // 8, "big"), length)


class Side(enum.Enum):
    CLIENT = "client"
    SERVER = "server"
    UPLINK = "uplink"  # no hosts, but a router of a network that the controller does not manage


@dataclass(frozen=True, slots=True)
class Subnet:
    """A network of hosts behind an edge; the edge is its gateway in each family."""

    name: str
    edge: str  # a switch's name
    side: Side
    gateways: tuple[Gateway, ...]  # at most one per family
    ports: tuple[int, ...]  # the edge's ports that lead to these hosts
    services: tuple[Prefix, ...] | None = None  # that its hosts may use; None: all services of its client edge

    def allowed(self, role: ClientEdgeRole) -> tuple[Prefix, ...]:
        """The services that its hosts may use, behind an edge with this role (M6)."""
        return role.services if self.services is None else self.services
