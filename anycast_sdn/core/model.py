"""The nouns of the method, as frozen values.

Everything here was validated once, at construction, and never changes afterwards: addresses and
prefixes, what is enrolled (``AnycastGroup``, ``Server``) and what identifies a flow (``FlowKey``).
State that changes over time is in ``bindings``, ``pool`` and ``client_edge``; what the network file
says is in ``description.model``.

Addresses are packed bytes in network order, 4 (IPv4) or 16 (IPv6) of them, because that is what
frames and OpenFlow rules carry.  Text exists only in YAML, REST, the command line and logs;
``packed`` and ``text`` convert.

Names follow RFC 2663 (binding), RFC 4786 (service address) and WO 2004/014046 (ARh, ARs, ANY, PRh).
"""

from __future__ import annotations

import enum
import ipaddress
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from anycast_sdn.core.checks import AnyCheck

Address: TypeAlias = bytes  # packed, 4 or 16 bytes, network order

FEW = 16  # prefixes: up to so many are inserted into a sorted list one by one; more are sorted together

ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
WHOLE = 256  # no IP protocol: the "protocol" of a key that stands for all packets between two addresses
PROTOCOL_NAMES = {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMPV6: "icmpv6", SCTP: "sctp", WHOLE: "any"}


class AnycastError(Exception):
    """Base of all errors that this project raises on purpose."""


class ConfigurationError(AnycastError):
    """The operator's mistake: says which file or request, where in it, and why."""


class NotFound(ConfigurationError):
    """Nothing has the name that the operator has given."""


@lru_cache(1 << 13)
def interned(address: Address) -> Address:
    """The same address, as one object for all the bindings that have it: servers, services and clients are few."""
    return address


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
    """The edge's own address on a subnet, and the subnet's prefix."""

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
    identifier, so all echoes of one host to one service address are one flow.  The protocol ``WHOLE`` stands for
    everything between the two addresses.
    """

    source: Address
    destination: Address
    protocol: int
    source_port: int
    destination_port: int

    @property
    def is_whole(self) -> bool:
        return self.protocol == WHOLE

    @property
    def whole(self) -> FlowKey:
        """Everything between its two addresses."""
        return FlowKey(self.source, self.destination, WHOLE, 0, 0)

    def __str__(self) -> str:
        name = PROTOCOL_NAMES.get(self.protocol, str(self.protocol))
        return f"{endpoint(self.source, self.source_port)} → {endpoint(self.destination, self.destination_port)}/{name}"

    @property
    def reverse(self) -> FlowKey:
        """That of the packets in the other direction."""
        return FlowKey(self.destination, self.source, self.protocol, self.destination_port, self.source_port)


def interned_key(key: FlowKey) -> FlowKey:
    """The same, for a new binding: its addresses are those of others, too."""
    source, destination, *ends = key
    return tuple.__new__(FlowKey, (interned(source), interned(destination), *ends))


# ------------------------------------------------------------------------------ groups and servers


class Neighbour(NamedTuple):
    """A host, or a router at an uplink, that has answered by ARP or ND."""

    mac: bytes
    port: int


class ServerState(enum.Enum):
    ACTIVE = "active"  # takes new flows
    DRAINING = "draining"  # takes no new flows, keeps its present ones
    DRAINED = "drained"  # as draining, and its last flow has ended, or its drain is over
    DISABLED = "disabled"  # takes no new flows, by an operator's decision, whatever its health


class AfterDrain(enum.Enum):
    """What becomes of a server that is drained."""

    KEEP = "keep"  # it stays enrolled
    REMOVE = "remove"


class AtDeadline(enum.Enum):
    """What becomes of the flows that are left when the deadline of a drain has come."""

    END = "end"  # they are ended, as an operator ends a flow
    KEEP = "keep"  # they go on, and the drain is over


class Drain(NamedTuple):
    """A drain in progress, of a server or of all servers behind an edge."""

    operation: str  # its id, for those who wait for its end
    began_at: float  # s since the epoch
    deadline_s: float | None = None  # it is over after so long, 0 or more, whatever is left; None: never
    then: AfterDrain = AfterDrain.KEEP
    at_deadline: AtDeadline = AtDeadline.END


class Lease(NamedTuple):
    """An enrolment that has to be renewed (M33)."""

    ttl_s: float  # without a renewal for so long, the server is critical
    deregister_after_s: float | None = None  # critical for so long, it is removed; None: never


@dataclass(frozen=True, slots=True)
class Server:
    """One enrolled server, ASg: an ordinary unicast address behind a server edge (M4)."""

    address: Address
    weight: int = 1  # share of new flows among the servers of one edge, 0–1000; 0: it takes none
    state: ServerState = ServerState.ACTIVE
    capacity: int | None = None  # sessions that mean a load of 1.0, 1 and more; None: not known
    lease: Lease | None = None
    drain: Drain | None = None  # while it is draining
    twin: Address | None = None  # its address of the other family, enrolled together with this one


class Affinity(enum.Enum):
    """What is bound to the server that answers first (M17, M31)."""

    FLOW = "flow"  # each flow by its five fields
    CLIENT = "client"  # a client with everything that it sends to one service address


class OnServerLoss(enum.Enum):
    """What becomes of flows whose server is lost (M32)."""

    REPIN = "repin"  # they are unanswered again, with the same PR1X: another server may answer
    KEEP = "keep"  # they stay pinned to it until they are idle


class Distance(enum.Enum):
    """How far away a server may be to get new flows (M26)."""

    NEAREST = "nearest"  # the nearest servers first, others for what these cannot take
    ANY = "any"  # all servers that can be reached are alike


class SelectionSettings(NamedTuple):
    """The settings of ``core.selection`` that a group has (M26)."""

    distance: Distance = Distance.NEAREST
    spill_at: float = 0.8  # share of a server's capacity from which on others get its new flows, 0.1–1


NEAREST_FIRST = SelectionSettings()  # of a group that sets none of it


class GroupValidity(NamedTuple):
    """The members of ``roles.Validity`` that a group sets for its own flows; None: as their client edge has it."""

    tcp_s: int | None = None
    tcp_closing_s: int | None = None
    tcp_closed_s: int | None = None
    udp_s: int | None = None
    icmp_s: int | None = None
    other_s: int | None = None
    unanswered_s: int | None = None


AS_THE_EDGE = GroupValidity()  # a group that sets none of it


@dataclass(frozen=True, slots=True)
class AnycastGroup:
    """One service: its prefixes ANY/n, the servers that may answer for it, and how its flows are treated."""

    name: str
    prefixes: tuple[Prefix, ...]
    servers: Mapping[Address, Server] = field(default_factory=dict)
    affinity: Affinity = Affinity.FLOW
    on_server_loss: OnServerLoss = OnServerLoss.REPIN
    validity: GroupValidity = AS_THE_EDGE
    checks: tuple[AnyCheck, ...] = ()
    min_healthy: int = 0  # with fewer healthy servers, all that are enrolled serve (fail open)
    slow_start_s: float = 30.0  # a server that comes back gets its share gradually, over so long; 0: at once
    selection: SelectionSettings = NEAREST_FIRST

    @property
    def binds_clients(self) -> bool:
        """Is a client bound with all that it sends, by new bindings?"""
        return self.affinity is Affinity.CLIENT

    @property
    def keeps_at_lost_server(self) -> bool:
        """Do its flows stay pinned to a server that is lost?"""
        return self.on_server_loss is OnServerLoss.KEEP
