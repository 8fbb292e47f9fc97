"""The content of the network file, as frozen values: validated once, when the file is read, and never changed.

Units and ranges are given here for readers of the code; ``sections`` explains each key to operators.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from anycast_sdn.core.model import Address, AnycastGroup, Gateway, Prefix
from anycast_sdn.core.roles import ClientEdgeRole, EngineName, Side, Subnet
from anycast_sdn.description.profile import Profile

SECRET: Mapping[str, bool] = {"secret": True}  # of a field: it is shown nowhere, and left out of digests


class Ttl(enum.Enum):
    DECREMENT = "decrement"
    KEEP = "keep"  # of a switch that cannot do that


@dataclass(frozen=True, slots=True)
class Switch:
    """One OpenFlow switch; with no role it is plain core (M25)."""

    name: str
    dpid: int  # 1–2**64-1
    client_edge: ClientEdgeRole | None = None
    server_edge: bool = False
    addresses: tuple[Address, ...] = ()  # its own; an edge has its gateway addresses besides
    ttl: Ttl = Ttl.DECREMENT  # what it does with the TTL of packets that it forwards
    ovsdb: str = ""  # where its database is: tcp:ADDRESS:PORT, ssl:ADDRESS:PORT or unix:PATH; "": not to be used
    certificate: str = ""  # a name in that by which it connects, or sha256:FINGERPRINT; "": the name of the switch
    profile: Profile | None = None  # what the testbed's Open vSwitch plays; None: itself

    @property
    def keeps_ttl(self) -> bool:
        return self.ttl is Ttl.KEEP

    @property
    def is_edge(self) -> bool:
        return self.server_edge or self.client_edge is not None

    @property
    def bound_to(self) -> str:
        """As ``certificate``, with the default."""
        return self.certificate or self.name

    @property
    def translation_prefixes(self) -> tuple[Prefix, ...]:
        """PRh/k, if it is a client edge."""
        return self.client_edge.translation_prefixes if self.client_edge else ()

    @property
    def mac(self) -> bytes:
        """Its MAC address on every port; locally administered."""
        return b"\x02\xac" + (self.dpid & 0xFFFFFFFF).to_bytes(4, "big")


MAX_PORT = 65279  # Open vSwitch's largest
MAX_COST = 65535


class Port(NamedTuple):
    """A switch's port, written ``switch:number``."""

    switch: str
    number: int  # 1–MAX_PORT

    def __str__(self) -> str:
        return f"{self.switch}:{self.number}"


@dataclass(frozen=True, slots=True)
class Link:
    """A link between two switches, used in both directions."""

    a: Port
    b: Port
    cost: int = 1  # 1–MAX_COST; costs add up along a path
    mtu: int = 0  # the largest IP packet that it takes, in bytes, 576–65520; 0: no limit


@dataclass(frozen=True, slots=True)
class BgpMember:
    """What differs in the session of one of several controllers; ``router_id``: no other controller's."""

    name: str
    local_address: Address
    router_id: Address
    neighbour: Address | None = None  # None: as the others'


@dataclass(frozen=True, slots=True)
class BgpSession:
    """The controller's BGP session, in an edge's name, with the router at the other end of an uplink (RFC 4271)."""

    local_as: int  # 1–2**32-2
    router_id: Address  # IPv4: the edge's BGP identifier
    local_address: Address  # the controller's own: it opens the session itself, not through the edge
    neighbour: Address  # the router's, in the same family
    neighbour_as: int
    med: int | None = None  # multi-exit discriminator, 1–2**32-1: of two edges the router prefers the lower
    communities: tuple[int, ...] = ()  # RFC 1997
    hold_s: int = 10  # hold time, 10–65535 seconds
    ttl: int = 1  # 1–255; 1: the router is on a link of the controller
    password: str = field(default="", repr=False, metadata=SECRET)  # RFC 2385: signs every segment; 1–80 bytes, or ""
    members: tuple[BgpMember, ...] = ()  # of a cluster, each with a session of its own; none: only the leader has one

    def of_member(self, name: str) -> BgpSession | None:
        """The session of this member; None: it has none of its own."""
        member = next((each for each in self.members if each.name == name), None)
        if member is None:
            return None
        neighbour = member.neighbour or self.neighbour
        return replace(
            self, local_address=member.local_address, router_id=member.router_id, neighbour=neighbour, members=()
        )

    def all_sessions(self) -> list[BgpSession]:
        """All that the router may have: of a controller that is alone, and of each member."""
        sessions = {(each.local_address, each.neighbour): each for each in map(self.of_member, self._names()) if each}
        return [*({(self.local_address, self.neighbour): self} | sessions).values()]

    def _names(self) -> tuple[str, ...]:
        return tuple(member.name for member in self.members)


@dataclass(frozen=True, slots=True)
class Uplink:
    """An edge's port to an ordinary router, with the edge's own address there in each family."""

    name: str
    edge: str
    port: int
    addresses: tuple[Gateway, ...]
    routers: tuple[Address, ...]  # the router's own, at most one per family: the next hops
    routes: tuple[Prefix, ...] = ()  # static routes by this uplink, preferred to those learned by BGP
    bgp: BgpSession | None = None
    mtu: int = 0  # as a link's mtu

    @property
    def subnet(self) -> Subnet:
        """The uplink as a subnet whose hosts are routers."""
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
    """A cable between two of these routers; its first end has each prefix's first address, the other end the second."""

    ends: tuple[str, str]
    prefixes: tuple[Prefix, ...]
    cost: int = 1  # 1–65535, OSPF's


@dataclass(frozen=True, slots=True)
class LegacyCore:
    """The testbed's network of ordinary routers; the controller ignores it."""

    as_number: int
    routers: tuple[LegacyRouter, ...]
    cables: tuple[LegacyCable, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """Packets per second that a switch may send to the controller, by purpose (OpenFlow meters), and a delay."""

    first_packets: int = 10000  # of new flows, from each host port
    first_replies: int = 20000  # of flows that are unanswered or have one direction idle
    neighbours: int = 500  # ARP and neighbour discovery from each host port; packets to unknown hosts
    icmp_errors: int = 500  # from each eighth of all senders: about flows, to be translated; packets larger than an mtu
    undeliverable: int = 100  # from each host port: packets that cannot be forwarded; ICMP errors answer them
    reports: int = 5000  # from each host port: of flows that the switch has begun by itself
    wait_ms: int = 500  # a first packet that waits longer for the controller is dropped; its client sends again


@dataclass(frozen=True, slots=True)
class Network:
    """One network, for the controller and the testbed alike (M28)."""

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
    lldp: bool = True  # links are watched by LLDP; false: their ports alone say whether they are up
    undeclared_links: bool = False  # true: links that discovery finds beside ``links`` are used, too
    # Where an address belongs: (bits, host bits, network's number) → subnet, and all pairs of the first two.
    _homes: Mapping[tuple[int, int, int], Subnet] = field(init=False, repr=False, compare=False)
    _widths: tuple[tuple[int, int], ...] = field(init=False, repr=False, compare=False)
    _mtus: Mapping[str, Mapping[int, int]] = field(init=False, repr=False, compare=False)  # by switch and port
    _engines: frozenset[EngineName] = field(init=False, repr=False, compare=False)
    _families: frozenset[int] = field(init=False, repr=False, compare=False)

    def switch(self, name: str) -> Switch:
        return next(switch for switch in self.switches if switch.name == name)

    def subnets_of(self, edge: str) -> tuple[Subnet, ...]:
        return tuple(subnet for subnet in self.subnets if subnet.edge == edge)

    def uplinks_of(self, edge: str) -> tuple[Uplink, ...]:
        return tuple(uplink for uplink in self.uplinks if uplink.edge == edge)

    def connected_to(self, switch: str) -> tuple[Subnet, ...]:
        """The subnets at the ports of a switch, those of uplinks among them."""
        return *self.subnets_of(switch), *(uplink.subnet for uplink in self.uplinks_of(switch))

    def mtus_of(self, switch: str) -> dict[int, int]:
        """The ports of a switch whose link or uplink has an mtu → that mtu."""
        return dict(self._mtus.get(switch, {}))

    @property
    def engines(self) -> frozenset[EngineName]:
        """Of all client edges."""
        return self._engines

    @property
    def families(self) -> frozenset[int]:
        """4, 6: those in which subnets and uplinks have addresses."""
        return self._families

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
        ends = [(end, link.mtu) for link in self.links for end in (link.a, link.b)]
        ends += [(Port(uplink.edge, uplink.port), uplink.mtu) for uplink in self.uplinks]
        mtus: dict[str, dict[int, int]] = {}
        for end, mtu in ends:
            if mtu:
                mtus.setdefault(end.switch, {})[end.number] = mtu
        engines = (name for switch in self.switches if switch.client_edge for name in switch.client_edge.engines)
        gateways = [*(subnet.gateways for subnet in self.subnets), *(uplink.addresses for uplink in self.uplinks)]
        families = frozenset(6 if gateway.prefix.is_v6 else 4 for some in gateways for gateway in some)
        object.__setattr__(self, "_homes", homes)
        object.__setattr__(self, "_families", families)
        object.__setattr__(self, "_mtus", mtus)
        object.__setattr__(self, "_engines", frozenset(engines))
        object.__setattr__(self, "_widths", tuple(sorted({key[:2] for key in homes})))
