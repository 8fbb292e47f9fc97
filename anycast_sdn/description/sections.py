"""The sections of a network file: their keys, types, units, ranges and defaults.

One class for each section; those of uplinks are in ``uplink_sections``.  Error messages, the JSON Schema for editors
and docs/configuration.md (``reference``) are generated from the descriptions here.  Each section becomes a value of the
model, from which the defaults come.  Lists keep their order in the model, so that ``checks`` can name positions in the
file.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from anycast_sdn.core import roles
from anycast_sdn.core.model import Address, AnycastGroup, Prefix, text
from anycast_sdn.core.model import Server as EnrolledServer
from anycast_sdn.description import model
from anycast_sdn.description.profile_sections import ProfileOrName
from anycast_sdn.description.section import Section, as_in, default_of, list_of, optional, some
from anycast_sdn.description.settings import GroupSettings, NamedServer, ServerSettings, Service, Validity
from anycast_sdn.description.uplink_sections import LegacyCore, Uplink
from anycast_sdn.description.values import (
    AllocationName,
    CertificateName,
    Cost,
    Count,
    DatapathId,
    Engines,
    ExpiryName,
    IpAddress,
    IpGateway,
    IpPrefix,
    LinkEnd,
    Milliseconds,
    Mtu,
    Name,
    OvsdbPlace,
    Part,
    PauseSeconds,
    PoolingName,
    PortNumber,
    Rate,
    TtlName,
    Zone,
)

# ------------------------------------------------------------------------------ switches and links


_QUARANTINE_MIN_S = default_of(roles.ClientEdgeRole, "quarantine_min_s")


class Conntrack(Section):
    """The engine conntrack: flows are connections in the switch's connection tracker, and not pairs of rules.

    Needs Open vSwitch. A client edge then has room for a bounded number of service addresses: of the 32 bits of an
    address (IPv6: 128) its clients take the host bits of the largest of their subnets, and further bits if there are
    several subnets, those of servers included (1 for 2, 2 for up to 4, …); 2 to the power of what is left, less 1, is
    how many service addresses there may be.
    For example, clients in one /24 leave 24 bits, 16,777,215 addresses; in three /20, 18 bits, 262,143.
    A prefix ANY/n takes as many as it has. check refuses a file in which less than 256 have room.
    """

    allocation: AllocationName = as_in(
        roles.Conntrack,
        "allocation",
        "who chooses the address of PRh/k for a new flow (M13): controller, the controller, as with rules; switch, the "
        "switch by itself: the controller is not asked, addresses of ended flows do not rest, and pooling and the "
        "limits per client and port do not apply. Several clients may have one address then, and the switch may give "
        "their flows other source ports. Clients of a group with affinity: client are still the controller's",
    )
    reserve: Part = as_in(
        roles.Conntrack,
        "reserve",
        "with allocation: controller, the part of each family's largest prefix of PRh/k from which the switch chooses "
        "by itself while no controller answers, its end; the controller does not use it. For such flows the same "
        "holds as with allocation: switch. A prefix too small to be divided so (1/8: a /30 or a /29) has none. none: "
        "new flows wait for the controller. With allocation: switch it is the other way round: this part is the "
        "controller's, for clients of groups with affinity: client, and the switch has the rest of the prefix",
    )
    zone: Zone | None = optional(
        f"the first of the {roles.ZONES} zones of the connection tracker that the switch uses: two per family, one of "
        "them for UDP. All bridges of one Open vSwitch, and other programs that use its tracker, share the zones. "
        f"Left out: {roles.FIRST_ZONE} for the file's first switch, {roles.FIRST_ZONE + roles.ZONES} for the second, "
        "and so on. Write it if switches are going to be added before this one: its connections stay in their zones"
    )

    def conntrack(self, place: int) -> roles.Conntrack:
        """``place``: the switch's, in the file."""
        zone = roles.FIRST_ZONE + place * roles.ZONES if self.zone is None else self.zone
        return roles.Conntrack(self.allocation, self.reserve, zone)


class ClientEdge(Section):
    """Makes the switch a client edge, ARh: it translates the flows of its clients."""

    translation_prefixes: list[IpPrefix] = some(
        "PRh/k: flows of clients leave with source addresses from here (M3); how many flows share one: pooling. "
        "Nothing else may use these prefixes. A /24 has 254 addresses, a /64 2^64; at least a /30 or a /126"
    )
    services: list[IpPrefix] | None = optional(
        "the anycast prefixes, or parts of them, that clients here may use (M6). Left out: all of them"
    )
    validity: Validity = Field(default_factory=Validity, description="how long a binding may be idle, by protocol")
    pooling: PoolingName = as_in(
        roles.ClientEdgeRole,
        "pooling",
        "which flows share an address of PRh/k: flow, none; paired, those of one client to one service address; auto, "
        "none while at least half of the pool of an address family is free and the client has not its share of the "
        "addresses, and paired for new flows beyond that (M30)",
    )
    quarantine_s: PauseSeconds = as_in(
        roles.ClientEdgeRole, "quarantine_s", "how long a released address of PRh/k rests before another flow gets it"
    )
    quarantine_min_s: PauseSeconds | None = optional(
        "when no address is free, the one that has rested longest is taken early, but not before this time; a second "
        "less where client and server have closed or reset the connection. Left out: "
        f"{_QUARANTINE_MIN_S}, or quarantine_s where that is less"
    )
    expiry: ExpiryName = as_in(
        roles.ClientEdgeRole,
        "expiry",
        "what ends idle bindings: idle_timeout, a timeout of each rule in the switch; sweep, the controller, which "
        "reads the rules' counters; auto, timeouts for up to idle_timeouts bindings, the sweep for the others",
    )
    idle_timeouts: Count = as_in(
        roles.ClientEdgeRole, "idle_timeouts", "with expiry: auto, how many bindings end by timeouts in the switch"
    )
    bindings_per_client: Annotated[int, Field(ge=1)] | None = optional(
        "how many flows of one address family a client may have at once, and how many addresses (M30). Left out: "
        f"{roles.MOST_PER_CLIENT} flows and a quarter of the addresses"
    )
    bindings_per_port: Annotated[int, Field(ge=1)] | None = optional(
        "how many flows of one address family all clients at one port of the switch may have at once, and how many "
        "addresses (M30). Left out: half of the addresses; all of them where only one port leads to clients"
    )
    engine: Engines = as_in(
        roles.ClientEdgeRole,
        "engines",
        "how the switch carries the method out: rules, by a pair of rules for each flow, on every switch; conntrack, "
        "in its connection tracker, on Open vSwitch; [conntrack, rules], by rules where it is not able to otherwise",
    )
    conntrack: Conntrack = Field(default_factory=Conntrack, description="the settings of the engine conntrack")

    def role(self, anycast: list[Prefix], place: int) -> roles.ClientEdgeRole:
        """``place``: the switch's, in the file."""
        return roles.ClientEdgeRole(
            translation_prefixes=tuple(self.translation_prefixes),
            services=tuple(anycast if self.services is None else self.services),
            validity=self.validity.validity(),
            quarantine_s=self.quarantine_s,
            quarantine_min_s=(
                min(_QUARANTINE_MIN_S, self.quarantine_s) if self.quarantine_min_s is None else self.quarantine_min_s
            ),
            pooling=self.pooling,
            expiry=self.expiry,
            idle_timeouts=self.idle_timeouts,
            bindings_per_client=self.bindings_per_client,
            bindings_per_port=self.bindings_per_port,
            engines=self.engine,
            conntrack=self.conntrack.conntrack(place),
        )


class Switch(Section):
    """One OpenFlow switch: a client edge, a server edge, both, or plain core (M25)."""

    name: Name = Field(
        description="its name in other sections, in REST and in the log; no other switch, host or router has it"
    )
    dpid: DatapathId = Field(
        description="the datapath id by which the switch connects; text without 0x is hexadecimal, as switches print it"
    )
    client_edge: ClientEdge | None = optional("given: the switch is a client edge (ARh)")
    server_edge: bool = as_in(
        model.Switch, "server_edge", "true: the switch is a server edge (ARs); servers behind it can be enrolled (M4)"
    )
    addresses: list[IpAddress] = list_of(
        "the switch's own addresses: it answers pings to them and sends ICMP errors from them. An edge has its gateway "
        "addresses besides. A switch without addresses does not show in a traceroute"
    )

    ttl: TtlName = as_in(
        model.Switch, "ttl",
        "decrement, or keep, for a switch that cannot decrement the TTL of packets: then it is sent no rules that do. "
        "It does not show in traceroute, and only the order of changes of routes prevents loops",
    )  # fmt: skip

    ovsdb: OvsdbPlace | None = optional(
        "where the database of its Open vSwitch is, for the engine conntrack: the timeouts of its connection tracker "
        "are set there, as validity says, by the datapath id. ssl: needs run --ovsdb-key, --ovsdb-cert and --ovsdb-ca. "
        "Left out: connections end by the datapath's own timeouts (in userspace, TCP after 24 h and UDP after 30 s)"
    )

    certificate: CertificateName | None = optional(
        "with run --openflow-tls, by which certificate the switch connects: a name in it, the common name or one of "
        "the SAN; or sha256: and the certificate's fingerprint. Switches may have the same one: bridges of one Open "
        "vSwitch have to. Left out: the switch's name"
    )

    profile: ProfileOrName | None = optional(
        "what the testbed's Open vSwitch plays (M28): the name of a profile of docs/hardware.md, or a section. The "
        "controller ignores it"
    )

    def switch(self, anycast: list[Prefix], place: int) -> model.Switch:
        return model.Switch(
            name=self.name,
            dpid=self.dpid,
            client_edge=self.client_edge.role(anycast, place) if self.client_edge else None,
            server_edge=self.server_edge,
            addresses=tuple(self.addresses),
            ttl=self.ttl,
            ovsdb=self.ovsdb or "",
            certificate=self.certificate or "",
            profile=self.profile.made() if self.profile else None,
        )


class Link(Section):
    """A link between two switches, used in both directions while LLDP confirms it."""

    ends: list[LinkEnd] = Field(min_length=2, max_length=2, description="its two ports, written switch:port")
    cost: Cost = as_in(
        model.Link, "cost", "costs add up along a path, and nearest means the least sum (M23); REST can change it"
    )
    mtu: Mtu | None = optional(
        "the largest IP packet that the link takes, for one that takes less than hosts send, such as a tunnel; from "
        "1280 where there is IPv6. Needs Open vSwitch at both ends. Left out: no packet is too large"
    )

    def link(self) -> model.Link:
        return model.Link(self.ends[0], self.ends[1], self.cost, self.mtu or 0)


# ------------------------------------------------------------------------------ hosts


class Subnet(Section):
    """A network of hosts: the edge is their gateway, and these ports of it lead to them (M1)."""

    name: Name = Field(description="its name in hosts, in REST and in the log")
    edge: str = Field(description="the name of its switch")
    side: Literal["client", "server"] = Field(
        description="client needs client_edge on that switch, server needs server_edge: true. A client subnet cannot "
        "hold enrolled servers (M5)"
    )
    gateways: list[IpGateway] = some("the edge's own address, with the length of the subnet's prefix; one per family")
    ports: list[PortNumber] = some("the edge's ports that lead to the hosts; subnets may share them")
    services: list[IpPrefix] | None = optional(
        "which of its edge's services these hosts may use (M6). Left out: all of them; []: none"
    )

    def subnet(self) -> roles.Subnet:
        services = None if self.services is None else tuple(self.services)
        side = roles.Side(self.side)
        return roles.Subnet(self.name, self.edge, side, tuple(self.gateways), tuple(self.ports), services)


class Host(Section):
    """A host that the Mininet testbed creates (M28). The controller ignores it, and finds hosts by ARP and ND."""

    name: Name = Field(description="its name in Mininet")
    subnet: str = Field(description="the name of its subnet")
    port: PortNumber = Field(description="one of the subnet's ports; hosts on one port share an unmanaged switch")
    addresses: list[IpAddress] = some("its addresses within the subnet")

    def host(self) -> model.Host:
        return model.Host(self.name, self.subnet, self.port, tuple(self.addresses))


# ------------------------------------------------------------------------------ enrolments, limits


class Server(ServerSettings, NamedServer):
    """An enrolled server, ASg."""

    def servers(self) -> list[EnrolledServer]:
        """One for each address."""
        values = self.values(ServerSettings.model_fields)
        if self.addresses is None:
            return [EnrolledServer(self.address, **values)]
        one, other = self.addresses
        return [EnrolledServer(one, twin=other, **values), EnrolledServer(other, twin=one, **values)]


def _once_each(servers: list[Server]) -> list[Server]:
    seen: set[Address] = set()
    for server in servers:
        for enrolled in server.servers():
            if enrolled.address in seen:
                raise ValueError(f"{text(enrolled.address)} is enrolled twice: keep one of them")
            seen.add(enrolled.address)
    return servers


class Group(GroupSettings, Service):
    """An anycast group to begin with: enrolled when the database is new; later, groups are changed over REST (M27)."""

    servers: Annotated[list[Server], AfterValidator(_once_each)] = list_of("the servers that may answer for it")

    def group(self) -> AnycastGroup:
        servers = {server.address: server for each in self.servers for server in each.servers()}
        return AnycastGroup(servers=servers, **self.values(type(self).model_fields.keys() - {"servers"}))


class Limits(Section):
    """Packets that a switch may send to the controller, by purpose (OpenFlow meters). The switch drops the rest."""

    first_packets: Rate = as_in(
        model.Limits,
        "first_packets",
        "of new flows, from each host port; as many may begin there by the switch itself (engine conntrack)",
    )
    reports: Rate = as_in(
        model.Limits,
        "reports",
        "from each host port: copies of packets by which the controller learns of flows that the switch has begun by "
        "itself (engine conntrack). Flows beyond that go on, but are not known, and counted as unreported",
    )
    first_replies: Rate = as_in(
        model.Limits,
        "first_replies",
        "from each of 31 parts of all servers: packets of flows that are not pinned yet or have one direction idle",
    )
    neighbours: Rate = as_in(
        model.Limits,
        "neighbours",
        "ARP and neighbour discovery from each host port; LLDP; packets to hosts not found yet",
    )
    icmp_errors: Rate = as_in(
        model.Limits,
        "icmp_errors",
        "from each eighth of all senders: ICMP errors about flows, to be translated; packets larger than an mtu",
    )
    undeliverable: Rate = as_in(
        model.Limits,
        "undeliverable",
        "from each host port: packets that cannot be forwarded, whose senders get an ICMP error",
    )
    wait_ms: Milliseconds = as_in(
        model.Limits,
        "wait_ms",
        "not a rate: a first packet that has waited for the controller longer is dropped; its client sends again",
    )

    def limits(self) -> model.Limits:
        return model.Limits(**self.model_dump())


class Discovery(Section):
    """How links are watched, and what is done with those that LLDP finds."""

    lldp: bool = as_in(
        model.Network,
        "lldp",
        "false: no LLDP is sent, the links are those under links, and their ports alone say whether they are up: for "
        "switches that keep LLDP to themselves. The controller finds such a switch by itself; a link that fails while "
        "its ports stay up is not noticed there",
    )
    undeclared_links: bool = as_in(
        model.Network,
        "undeclared_links",
        "true: links that LLDP finds, but that are not under links, are used at cost 1",
    )

    @model_validator(mode="after")
    def _found_by_lldp(self) -> Discovery:
        if self.undeclared_links and not self.lldp:
            raise ValueError("undeclared_links needs lldp, which finds them: leave one of the two out")
        return self


# ------------------------------------------------------------------------------ the file


class File(Section):
    """The whole file: one network, for the controller and for the Mininet testbed (M28)."""

    name: Name = Field(description="the network's name")
    anycast_prefixes: list[IpPrefix] = some(
        "ANY/m: the prefixes out of which services get their addresses (M2). Nothing else may use them"
    )
    switches: list[Switch] = some("the OpenFlow switches")
    links: list[Link] = list_of("the links between them, which make up the interconnect network")
    subnets: list[Subnet] = list_of("the networks of hosts behind edges")
    hosts: list[Host] = list_of("the testbed's hosts; none on a real network")
    groups: list[Group] = list_of("anycast groups to begin with; usually they are enrolled over REST (M27)")
    limits: Limits = Field(default_factory=Limits, description="limits on what a switch sends to the controller")
    uplinks: list[Uplink] = list_of("ports to ordinary routers")
    legacy_core: LegacyCore | None = optional("the testbed's network of ordinary routers")
    discovery: Discovery = Field(default_factory=Discovery, description="how links are watched")

    def network(self) -> model.Network:
        anycast = self.anycast_prefixes
        return model.Network(
            name=self.name,
            anycast_prefixes=tuple(anycast),
            switches=tuple(switch.switch(anycast, place) for place, switch in enumerate(self.switches)),
            links=tuple(link.link() for link in self.links),
            subnets=tuple(subnet.subnet() for subnet in self.subnets),
            hosts=tuple(host.host() for host in self.hosts),
            groups=tuple(group.group() for group in self.groups),
            limits=self.limits.limits(),
            uplinks=tuple(uplink.uplink() for uplink in self.uplinks),
            legacy_core=self.legacy_core.core() if self.legacy_core else None,
            lldp=self.discovery.lldp,
            undeclared_links=self.discovery.undeclared_links,
        )
