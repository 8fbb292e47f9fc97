"""The nouns of the method, as frozen values.

Everything here is a fact that was validated once, at construction, and never changes afterwards:
what the network file says (``Network``), who is enrolled (``AnycastGroup``, ``Server``) and what
names a flow (``FlowKey``).  What happens over time lives elsewhere: ``bindings``, ``pool``,
``client_edge``.

Addresses are packed bytes in network order, 4 (IPv4) or 16 (IPv6) of them, because that is what
frames and OpenFlow rules carry.  Text exists only in YAML, REST, the command line and logs; the two
functions ``packed`` and ``text`` are the border.

Names follow RFC 2663 (binding), RFC 4786 (service address) and WO 2004/014046 (ARh, ARs, ANY, PRh).
"""

from __future__ import annotations

import enum
import ipaddress
import struct
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence, Set
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, TypeAlias

Address: TypeAlias = bytes  # packed, 4 or 16 bytes, network order

FEW = 16  # prefixes, each of which is put in its place; more are sorted together

ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
PROTOCOL_NAMES = {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMPV6: "icmpv6", SCTP: "sctp"}


class AnycastError(Exception):
    """Base of all errors that this project raises on purpose."""


class ConfigurationError(AnycastError):
    """The operator's mistake: says which file or request, where in it, and why."""


def packed(address: str) -> Address:
    """'10.1.0.10' → b'\\n\\x01\\x00\\n'.  Raises ValueError when it is not an IP address."""
    return ipaddress.ip_address(_without_zone(address)).packed


def _without_zone(value: str) -> str:
    """Raises ValueError for fe80::1%eth0: a zone means something only on the node that wrote it (RFC 4007 §6)."""
    if "%" in value:
        raise ValueError(f"{value!a} has a zone, which is known only where it was written: leave it out")
    return value


def text(address: Address) -> str:
    """The usual text form (RFC 5952 for IPv6) of a packed address."""
    if len(address) == 4:
        return ".".join(map(str, address))
    a, b, c, d, e, f, g, h = _WORDS.unpack(address)
    written = f":{a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{f:x}:{g:x}:{h:x}:"
    for zeros in _ZEROS:
        before, found, after = written.partition(zeros)
        if found:
            return f"{before[1:]}::{after[:-1]}"
    return written[1:-1]


_WORDS = struct.Struct("!8H")
_ZEROS = [":" + "0:" * count for count in range(8, 1, -1)]  # the longest run of them becomes "::"


def endpoint(address: Address, port: int) -> str:
    """'10.1.0.10:80' or '[2001:db8::1]:80'; just the address when there is no port."""
    if not port:
        return text(address)
    return f"{text(address)}:{port}" if len(address) == 4 else f"[{text(address)}]:{port}"


class Prefix(NamedTuple):
    """An address prefix such as ANY/n or PRh/k; host bits are zero."""

    network: Address
    length: int  # bits, 0–32 or 0–128

    @classmethod
    def parse(cls, value: str) -> Prefix:
        """'198.18.0.0/16' → Prefix.  Raises ValueError for host bits or bad syntax."""
        net = ipaddress.ip_network(_without_zone(value))
        return cls(net.network_address.packed, net.prefixlen)

    @classmethod
    def host(cls, address: Address) -> Prefix:
        return cls(address, 8 * len(address))

    @property
    def bits(self) -> int:
        """Width of an address of this family: 32 or 128."""
        return 8 * len(self.network)

    @property
    def mask(self) -> Address:
        width = self.bits
        return ((1 << width) - (1 << (width - self.length))).to_bytes(width // 8, "big")

    @property
    def is_v6(self) -> bool:
        return len(self.network) == 16

    def __contains__(self, address: Address) -> bool:  # type: ignore[override]
        if len(address) != len(self.network):
            return False
        shift = self.bits - self.length
        return int.from_bytes(address, "big") >> shift == int.from_bytes(self.network, "big") >> shift

    def covers(self, other: Prefix) -> bool:
        """True when every address of ``other`` is in this prefix."""
        return self.length <= other.length and other.network in self

    def overlaps(self, other: Prefix) -> bool:
        return self.covers(other) or other.covers(self)

    def __str__(self) -> str:
        return _shown(self.network, self.length)


@lru_cache(1 << 15)
def _shown(network: Address, length: int) -> str:
    return f"{text(network)}/{length}"


class Gateway(NamedTuple):
    """The edge's own address on a subnet, and the subnet it stands for."""

    address: Address
    prefix: Prefix

    @classmethod
    def parse(cls, value: str) -> Gateway:
        """'10.1.0.1/24' → Gateway(10.1.0.1, 10.1.0.0/24)."""
        interface = ipaddress.ip_interface(_without_zone(value))
        return cls(interface.ip.packed, Prefix(interface.network.network_address.packed, interface.network.prefixlen))

    def __str__(self) -> str:
        return f"{text(self.address)}/{self.prefix.length}"


class FlowKey(NamedTuple):
    """The document's five fields (M12).

    Protocols without ports carry 0 in both; ICMP echo too: OpenFlow 1.3 cannot match the echo
    identifier, so all echoes of one host to one service address are one flow.
    """

    source: Address
    destination: Address
    protocol: int
    source_port: int
    destination_port: int

    def __str__(self) -> str:
        name = PROTOCOL_NAMES.get(self.protocol, str(self.protocol))
        return (
            f"{endpoint(self.source, self.source_port)} → "
            f"{endpoint(self.destination, self.destination_port)}/{name}"
        )


# ------------------------------------------------------------------------------ groups and servers


class ServerState(enum.Enum):
    ACTIVE = "active"  # takes new flows
    DRAINING = "draining"  # takes none, keeps those that it has


@dataclass(frozen=True, slots=True)
class Server:
    """One enrolled server, ASg: an ordinary unicast address behind a server edge (M4)."""

    address: Address
    weight: int = 1  # share of new flows among the servers of one edge, 1–1000
    state: ServerState = ServerState.ACTIVE


@dataclass(frozen=True, slots=True)
class AnycastGroup:
    """One service: its prefixes ANY/n and the servers that may answer for it."""

    name: str
    prefixes: tuple[Prefix, ...]
    servers: Mapping[Address, Server] = field(default_factory=dict)


class Groups:
    """All groups at one moment; looked up by service address.  Prefixes never overlap.

    ``announced``: the ANY/n that some edge is able to serve; None when that is not known.
    A change of one group makes another value, which shares what is not different: it costs what that group has.
    """

    def __init__(
        self, groups: Mapping[str, AnycastGroup] | None = None, announced: Container[Prefix] | None = None
    ) -> None:
        self._by_name: dict[str, AnycastGroup] = {}
        self._announced = announced
        self._owners: dict[Prefix, str] = {}  # ANY/n → its group
        self._lengths: Counter[tuple[int, int]] = Counter()  # (bits, length) of the ANY/n that are not one address
        self._memberships: dict[Address, tuple[str, ...]] = {}  # server → its groups
        self._active: set[str] = set()
        self._sorted: dict[int, list[Prefix]] = {32: [], 128: []}  # all ANY/n by bits of an address
        memberships: dict[Address, list[str]] = {}
        for name, group in (groups or {}).items():
            self._enter(name, group)
            self._enter_prefixes(name, group.prefixes)
            for address in group.servers:
                memberships.setdefault(address, []).append(name)
        self._memberships = {address: tuple(names) for address, names in memberships.items()}

    def __iter__(self) -> Iterator[AnycastGroup]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str) -> AnycastGroup | None:
        return self._by_name.get(name)

    def names(self) -> Set[str]:
        return self._by_name.keys()

    def servers(self) -> Set[Address]:
        """All that are enrolled somewhere."""
        return self._memberships.keys()

    def of_server(self, address: Address) -> tuple[str, ...]:
        """The names of the groups in which it is enrolled."""
        return self._memberships.get(address, ())

    def is_active(self, group: AnycastGroup) -> bool:
        """Has it a server that takes new flows?"""
        return group.name in self._active

    def replaced(self, group: AnycastGroup) -> Groups:
        """The same groups but this one, which is new or another now."""
        return self._changed(group.name, group)

    def without(self, name: str) -> Groups:
        return self._changed(name, None)

    def announced(self, prefixes: Container[Prefix]) -> Groups:
        """The same groups, of which these ANY/n are announced."""
        same = copy(self)
        same._announced = prefixes
        return same

    def is_announced(self, group: AnycastGroup, address: Address) -> bool:
        """Is there an edge that is able to serve this address of the group?"""
        if self._announced is None:
            return True
        service = self.service(address)
        return service is not None and service in self._announced and self._owners[service] == group.name

    def owner(self, service: Prefix) -> AnycastGroup | None:
        """The group that has this very ANY/n."""
        name = self._owners.get(service)
        return self._by_name[name] if name is not None else None

    def overlapping(self, prefix: Prefix) -> Iterator[tuple[Prefix, str]]:
        """(ANY/n, its group) of those that share addresses with ``prefix``."""
        in_order = self._sorted[prefix.bits]
        at = bisect_left(in_order, prefix)
        if at and in_order[at - 1].covers(prefix):  # those here do not overlap: no other one can
            yield in_order[at - 1], self._owners[in_order[at - 1]]
        while at < len(in_order) and prefix.covers(in_order[at]):
            yield in_order[at], self._owners[in_order[at]]
            at += 1

    def service(self, address: Address) -> Prefix | None:
        """The ANY/n that holds this address, if any."""
        service = Prefix.host(address)
        if service in self._owners:
            return service
        number, bits = int.from_bytes(address, "big"), 8 * len(address)
        for width, length in self._lengths:
            if width == bits:
                shift = bits - length
                service = Prefix((number >> shift << shift).to_bytes(bits // 8, "big"), length)
                if service in self._owners:
                    return service
        return None

    def covering(self, address: Address) -> AnycastGroup | None:
        """The group whose ANY/n holds this address, if any."""
        service = self.service(address)
        return self._by_name[self._owners[service]] if service is not None else None

    def _enter(self, name: str, group: AnycastGroup) -> None:
        self._by_name[name] = group
        if any(server.state is ServerState.ACTIVE for server in group.servers.values()):
            self._active.add(name)

    def _enter_prefixes(self, name: str, prefixes: Sequence[Prefix]) -> None:
        for prefix in prefixes:
            self._owners[prefix] = name
            if prefix.length != prefix.bits:
                self._lengths[prefix.bits, prefix.length] += 1
        if len(prefixes) > FEW:
            for bits, in_order in self._sorted.items():
                in_order += [prefix for prefix in prefixes if prefix.bits == bits]
                in_order.sort()
        else:
            for prefix in prefixes:
                insort(self._sorted[prefix.bits], prefix)

    def _leave_prefixes(self, prefixes: Sequence[Prefix]) -> None:
        for prefix in prefixes:
            del self._owners[prefix]
            kind = prefix.bits, prefix.length
            if prefix.length != prefix.bits:
                self._lengths[kind] -= 1
                if not self._lengths[kind]:
                    del self._lengths[kind]
        if len(prefixes) > FEW:
            self._sorted = {bits: [prefix for prefix in in_order if prefix in self._owners]
                            for bits, in_order in self._sorted.items()}  # fmt: skip
        else:
            for prefix in prefixes:
                in_order = self._sorted[prefix.bits]
                del in_order[bisect_left(in_order, prefix)]

    def _changed(self, name: str, group: AnycastGroup | None) -> Groups:
        """A copy with ``group`` under its name; None: without."""
        changed = copy(self)
        changed._by_name, changed._active = self._by_name.copy(), self._active.copy()
        memberships = changed._memberships = self._memberships.copy()
        before = self._by_name.get(name)
        changed._active.discard(name)
        if group:
            changed._enter(name, group)
        else:
            changed._by_name.pop(name, None)
        was, now = (dict.fromkeys(each.prefixes if each else ()) for each in (before, group))
        if was.keys() != now.keys():
            changed._owners, changed._lengths = self._owners.copy(), self._lengths.copy()
            changed._sorted = {bits: in_order.copy() for bits, in_order in self._sorted.items()}
            changed._leave_prefixes([prefix for prefix in was if prefix not in now])
            changed._enter_prefixes(name, [prefix for prefix in now if prefix not in was])
        old, new = before.servers if before else {}, group.servers if group else {}
        for address in old.keys() - new.keys():
            memberships[address] = tuple(other for other in memberships[address] if other != name)
            if not memberships[address]:
                del memberships[address]
        for address in new.keys() - old.keys():
            memberships[address] = (*memberships.get(address, ()), name)
        return changed


# ------------------------------------------------------------------------------ the network file


@dataclass(frozen=True, slots=True)
class Validity:
    """How long a binding may be idle in both directions, in seconds, 1–65535 each (M13, M19)."""

    tcp_s: int = 7440  # RFC 5382 REQ-5: not less than 2 h 4 min
    tcp_closing_s: int = 240  # one direction has closed; RFC 5382 REQ-5: not less than 4 min
    tcp_closed_s: int = 5  # both directions have closed, on switches that tell (Open vSwitch)
    udp_s: int = 300  # RFC 4787 REQ-5
    icmp_s: int = 60  # RFC 5508 REQ-2
    other_s: int = 300
    unanswered_s: int = 30  # no server has answered yet

    @property
    def shortest_s(self) -> int:
        """The least of those that the sweep has to keep."""
        return min(self.tcp_closing_s, self.tcp_s, self.udp_s, self.icmp_s, self.other_s, self.unanswered_s)

    def pinned_s(self, protocol: int) -> int:
        if protocol == TCP:
            return self.tcp_s
        if protocol == UDP:
            return self.udp_s
        return self.icmp_s if protocol in (ICMP, ICMPV6) else self.other_s


class Expiry(enum.Enum):
    """How the switch's rules of a binding end when both directions have been idle."""

    IDLE_TIMEOUT = "idle_timeout"  # each rule by its own timeout, in the switch
    SWEEP = "sweep"  # rules have no timeout; the controller reads their counters from time to time
    AUTO = "auto"  # timeouts while there are few bindings, the sweep for those beyond


@dataclass(frozen=True, slots=True)
class ClientEdgeRole:
    """What makes a switch an ARh."""

    translation_prefixes: tuple[Prefix, ...]  # PRh/k, dedicated to the mechanism (M3)
    services: tuple[Prefix, ...]  # ANY/m that this site may use (M6)
    validity: Validity = Validity()
    quarantine_s: int = 120  # a released PR1X rests this long
    expiry: Expiry = Expiry.AUTO
    idle_timeouts: int = 4000  # auto: so many bindings expire in the switch; Open vSwitch scans them all the time
    bindings_per_client: int | None = None  # of one family; None: a quarter of the pool, at most 4096
    bindings_per_port: int | None = None  # all clients at one port; None: half of the pool, all of it for an only port


@dataclass(frozen=True, slots=True)
class Switch:
    """One OpenFlow switch; with no role it is plain core (M25)."""

    name: str
    dpid: int  # 1–2**64-1
    client_edge: ClientEdgeRole | None = None
    server_edge: bool = False
    addresses: tuple[Address, ...] = ()  # its own; an edge has its gateway addresses besides

    @property
    def mac(self) -> bytes:
        """What its neighbours see; locally administered."""
        return b"\x02\xac" + (self.dpid & 0xFFFFFFFF).to_bytes(4, "big")


class Port(NamedTuple):
    """A switch's port, written ``switch:number``."""

    switch: str
    number: int  # 1–65279

    def __str__(self) -> str:
        return f"{self.switch}:{self.number}"


MAX_COST = 65535


@dataclass(frozen=True, slots=True)
class Link:
    """A cable between two switches, usable in both directions."""

    a: Port
    b: Port
    cost: int = 1  # 1–MAX_COST, added up along a path
    mtu: int = 0  # the largest IP packet that it takes, in bytes, 576–65520; 0: whatever hosts send


class Side(enum.Enum):
    CLIENT = "client"
    SERVER = "server"
    UPLINK = "uplink"  # no hosts, but a router of a network that we do not manage


@dataclass(frozen=True, slots=True)
class Subnet:
    """A network of hosts behind an edge; the edge is its gateway in each family."""

    name: str
    edge: str  # a switch's name
    side: Side
    gateways: tuple[Gateway, ...]  # at most one subnet per family and entry
    ports: tuple[int, ...]  # the edge's ports that lead to these hosts
    services: tuple[Prefix, ...] | None = None  # that its hosts may use; None: all that a client edge here may

    def allowed(self, role: ClientEdgeRole) -> tuple[Prefix, ...]:
        """The services that its hosts may use, behind an edge with this role (M6)."""
        return role.services if self.services is None else self.services


@dataclass(frozen=True, slots=True)
class BgpSession:
    """What the controller says in an edge's name to the router at the other end of an uplink (RFC 4271)."""

    local_as: int  # 1–2**32-2
    router_id: Address  # IPv4: the edge's BGP identifier
    local_address: Address  # the controller's own: the session does not pass the edge
    neighbour: Address  # the router's, in the same family
    neighbour_as: int
    med: int | None = None  # multi-exit discriminator, 1–2**32-1: of two ways into our AS the lower one
    communities: tuple[int, ...] = ()  # RFC 1997
    hold_s: int = 10  # 10–65535; the session is lost when the router is silent for so long
    ttl: int = 1  # 1–255; 1: the router is on the controller's own link
    password: str = field(default="", repr=False)  # RFC 2385: signs every segment; 1–80 bytes, "" for none


@dataclass(frozen=True, slots=True)
class Uplink:
    """An edge's port to an ordinary router, with the edge's own address there in each family."""

    name: str
    edge: str
    port: int
    addresses: tuple[Gateway, ...]
    routers: tuple[Address, ...]  # the router's own, at most one per family: the next hops
    routes: tuple[Prefix, ...] = ()  # static: what is reached by this uplink, whatever BGP says
    bgp: BgpSession | None = None
    mtu: int = 0  # as a link's

    @property
    def subnet(self) -> Subnet:
        """The link as a subnet whose hosts are routers."""
        return Subnet(self.name, self.edge, Side.UPLINK, self.addresses, (self.port,))

    def router(self, v6: bool) -> Address | None:
        return next((router for router in self.routers if (len(router) == 16) == v6), None)

    def address(self, v6: bool) -> Address | None:
        return next((own.address for own in self.addresses if own.prefix.is_v6 == v6), None)


@dataclass(frozen=True, slots=True)
class Host:
    """A host of the testbed.  The controller itself learns hosts by ARP and ND."""

    name: str
    subnet: str
    port: int
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class LegacyRouter:
    """An ordinary router of the testbed, at the other end of these uplinks."""

    name: str
    loopbacks: tuple[Address, ...]  # at most one per family; the IPv4 one is its router id
    uplinks: tuple[str, ...] = ()

    @property
    def router_id(self) -> Address:
        return next(address for address in self.loopbacks if len(address) == 4)


@dataclass(frozen=True, slots=True)
class LegacyCable:
    """A cable between two of them; of each prefix the first end has the first address, the other the second."""

    ends: tuple[str, str]
    prefixes: tuple[Prefix, ...]
    cost: int = 1  # 1–65535, OSPF's


@dataclass(frozen=True, slots=True)
class LegacyCore:
    """The testbed's network of ordinary routers; the controller itself knows nothing of it."""

    as_number: int
    routers: tuple[LegacyRouter, ...]
    cables: tuple[LegacyCable, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """Packets per second that a switch may send to the controller, by purpose (OpenFlow meters)."""

    first_packets: int = 10000  # of new flows, from each host port
    first_replies: int = 20000  # of flows that are unanswered or half idle
    neighbours: int = 500  # ARP and neighbour discovery from each host port; packets to unknown hosts
    icmp_errors: int = 500  # from each eighth of all senders: about flows, to be translated; packets larger than an mtu
    undeliverable: int = 100  # from each host port: packets that go no further, whose sender is told so
    wait_ms: int = 500  # a first packet that the controller could not look at in time is shed; its client sends again


@dataclass(frozen=True, slots=True)
class Network:
    """One network description; drives the controller and the testbed alike (M28)."""

    name: str
    anycast_prefixes: tuple[Prefix, ...]  # ANY/m (M2)
    switches: tuple[Switch, ...]
    links: tuple[Link, ...]
    subnets: tuple[Subnet, ...]
    hosts: tuple[Host, ...] = ()
    groups: tuple[AnycastGroup, ...] = ()
    limits: Limits = Limits()
    uplinks: tuple[Uplink, ...] = ()
    legacy_core: LegacyCore | None = None
    undeclared_links: bool = False  # use those that discovery finds beside ``links``
    # Where an address belongs: (bits, host bits, network's number) → subnet, and the first two of all of them.
    _homes: Mapping[tuple[int, int, int], Subnet] = field(init=False, repr=False, compare=False)
    _widths: tuple[tuple[int, int], ...] = field(init=False, repr=False, compare=False)

    def switch(self, name: str) -> Switch:
        return next(switch for switch in self.switches if switch.name == name)

    def subnets_of(self, edge: str) -> tuple[Subnet, ...]:
        return tuple(subnet for subnet in self.subnets if subnet.edge == edge)

    def uplinks_of(self, edge: str) -> tuple[Uplink, ...]:
        return tuple(uplink for uplink in self.uplinks if uplink.edge == edge)

    def mtus_of(self, switch: str) -> dict[int, int]:
        """The ports of a switch whose link or uplink has an mtu, and that."""
        ends = [(end, link.mtu) for link in self.links for end in (link.a, link.b)]
        ends += [(Port(uplink.edge, uplink.port), uplink.mtu) for uplink in self.uplinks]
        return {end.number: mtu for end, mtu in ends if mtu and end.switch == switch}

    def subnet_of(self, address: Address) -> Subnet | None:
        """The subnet that an address belongs to, if any."""
        number, bits = int.from_bytes(address, "big"), 8 * len(address)
        for width, shift in self._widths:
            if width == bits:
                subnet = self._homes.get((width, shift, number >> shift))
                if subnet:
                    return subnet
        return None

    def __post_init__(self) -> None:
        homes: dict[tuple[int, int, int], Subnet] = {}
        for subnet in self.subnets:
            for _, prefix in subnet.gateways:
                shift = prefix.bits - prefix.length
                homes.setdefault((prefix.bits, shift, int.from_bytes(prefix.network, "big") >> shift), subnet)
        object.__setattr__(self, "_homes", homes)
        object.__setattr__(self, "_widths", tuple(sorted({key[:2] for key in homes})))
