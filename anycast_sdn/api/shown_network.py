"""What the REST interface shows of switches, links, services and routers; the cost of a link can be changed."""

from __future__ import annotations

from typing import Annotated, Literal

from anycast_sdn.api.members import WHOLE, fixed, observed, said
from anycast_sdn.api.models import DrainShown
from anycast_sdn.core.roles import EngineName
from anycast_sdn.description.section import Section
from anycast_sdn.description.values import Cost, IpAddress, LinkEnd, choice


class Pool(Section):
    """The translation addresses of one family at a client edge."""

    size: int = said("all of them")
    leased: int = said("in use")
    resting: int = said("released, and not yet free")
    free: int = said("never used, or rested")
    level: Literal["plenty", "low", "exhausted"] = said("is there enough?")
    used_up_in_s: float | None = said("when none will be free, at the rate of the last seconds; null: not soon")
    trend_per_min: float = said("by how many fewer can be leased each minute, over the last ten; negative: more")
    exhausted_in_s: float | None = said("when none will be free, at that rate; null: not at that rate, or not soon")


class Rules(Section):
    """How many rules and groups a switch holds."""

    bindings: int = said("rules of flows")
    other: int = said("all other rules")
    groups: int = said("groups of OpenFlow")


class KnownHost(Section):
    """A host that has answered ARP or neighbour discovery."""

    address: IpAddress
    mac: str
    port: int


class Bucket(Section):
    """What a server gets of the new flows at a server edge."""

    server: IpAddress
    edge: str | None = said("that the server is behind")
    share: float = said("0-1")


class Edge(Section):
    """A switch, whatever its role."""

    name: str
    dpid: int = said("its datapath id")
    roles: list[Literal["client edge", "server edge", "core"]]
    connected: bool = said("is it connected, and has it the rules that it should have?")
    pools: dict[str, Pool] = said("by address family, ipv4 and ipv6: of a client edge")
    bindings: int = said("how many flows it has")
    rules: Rules
    engine: Annotated[EngineName, choice(EngineName)] | None = said(
        "how it carries the method out, of those that the network file names; null: it serves no clients"
    )
    pooling: Literal["flow", "paired", "auto"] | None = said(
        "which flows share a translation address; null: it is no client edge"
    )
    drops_per_s: dict[str, float] = said("how fast these counters have grown in the last minute")
    drops: dict[str, int] = said("counters by name: docs/counters.md says what each means, and what to do")
    repaired: int = said("how many rules others had changed, and were put right")
    last_sweep_s: float | None = said("how long the last reading of all counters took; null: there was none")
    hosts: list[KnownHost]
    announces: list[str] = said("prefixes that it announces into the network")
    buckets: dict[str, list[Bucket]] = said(
        "by prefix: the servers that its new flows go to, the greatest shares first, up to 12; of up to 200 prefixes"
    )
    drain: DrainShown | None = said("while the servers behind it take no new flows, by an operator's decision")


class Edges(Section):
    """All switches."""

    edges: list[Edge]


class Link(Section):
    """A link between two switches."""

    model_config = WHOLE

    ends: list[LinkEnd] = fixed("its two ports, written switch:port")
    cost: Cost = said("costs add up along a path; a change holds until the controller starts again")
    mtu: int | None = fixed("the largest IP packet that it takes; null: no packet is too large")
    up: bool = observed("is it used?")
    state: str = observed("up, held back, switch away, port down, silent or not declared")
    declared: bool = fixed("is it in the network file?")
    confirmed: bool = observed("has LLDP passed lately, in both directions?")
    by_ports: bool = observed("do its ports alone say whether it is up, since no LLDP comes through, or none is used?")
    failures: int = observed("those that are not forgotten yet")
    cabled_instead: dict[str, str] = observed("one of its ports, and the port that it is connected with instead")


class ServerTotals(Section):
    """How some servers are."""

    servers: int = said("how many")
    critical: int = said("of which the health is critical; so for the others")
    warning: int
    unknown: int
    passing: int
    inactive: int = said("which an operator has taken out: draining, drained or disabled")
    flows: int = said("of the group that are pinned to them")
    load: float | None = said("the mean of the loads that were reported, 0-1; null: none was")
    highest_load: float | None = said("of those")


class EdgeTotals(ServerTotals):
    edge: str | None = said("the server edge; null: the network file has no subnet of these servers")


class Service(ServerTotals):
    """A group as a whole."""

    name: str = said("the group's")
    prefixes: list[str] = said("its service addresses")
    affinity: Literal["flow", "client"]
    families: list[Literal["ipv4", "ipv6"]] = said("those in which it has servers")
    edges: list[EdgeTotals] = said("the same for its servers behind each edge")


class Services(Section):
    services: list[Service] = said("in the order of their names; up to 2 s old")


class TopologySwitch(Section):
    name: str
    dpid: int
    connected: bool


class Router(Section):
    address: IpAddress
    reachable: bool


class Uplink(Section):
    name: str
    port: LinkEnd
    mtu: int | None
    routers: list[Router]
    routes: int = said("routes that lead there")


class Announcing(Section):
    name: str
    announces: list[str]


class BgpSession(Section):
    """A session of BGP with a router at an uplink."""

    uplink: str
    edge: str
    neighbour: str
    neighbour_as: int
    state: str = said("of RFC 4271, section 8.2.2, in lower case")
    announced: int = said("prefixes announced to the router")
    learned: int
    ignored: int = said("routes that could not be used, or were too many")
    problem: str = said("why there is no session; empty while there is one")


class Measured(Section):
    """Behind which edges the flows of a site are really pinned."""

    group: str
    family: Literal["ipv4", "ipv6"]
    site: str
    edges: dict[str, int] = said('by server edge: flows; "elsewhere": the network file has no subnet of the server')


class Move(Section):
    """What would be different for a group, a family and a site; moves alike of several prefixes are one."""

    group: str
    prefix: str | None = said("the first prefix that moves so; null: the group is deleted, and has flows still")
    prefixes: int = said("how many prefixes move so; 0: none, only flows lose their server")
    site: str
    from_: str | None = said("where its new flows go now, as in the catchment", alias="from")
    to: str | None = said("where they would go; null: nowhere")
    flows_losing_server: int = said("flows of the group, family and site, in the first of its rows")
    note: str = said("why flows lose their server")


class MoveTotals(Section):
    """Of all rows, shown or not."""

    moves: int = said("rows with another edge")
    flows_losing_server: int
    rows_left_out: int = said("rows that are not shown, because they are too many")


class LoadThen(Section):
    """The load of a group's servers that are left, when they have the flows of all."""

    group: str
    family: Literal["ipv4", "ipv6"]
    sessions: int = said("of all servers of the group now")
    capacity: int = said("of those that would take new flows, together")
    load: float = said("sessions / capacity")
    limit: float = said("the group's selection.spill_at")


class PoolAsked(Section):
    """A pool from which connections that lose their server, and are opened anew, lease addresses."""

    edge: str
    family: Literal["ipv4", "ipv6"]
    free: int = said("addresses that are free now")
    new_connections: int = said("TCP connections; each leases an address, while that of the former one rests")
    fills: bool = said("are they more than there are free addresses?")


class Topology(Section):
    """The network as it is, or as it would be without some of its parts."""

    switches: list[TopologySwitch]
    links: list[Link]
    parts: list[list[str]] = said("the switches that are connected with each other: one list, unless it is split")
    uplinks: list[Uplink]
    edges: list[Announcing] = said("the prefixes that each edge announces")
    catchment: dict[str, dict[str, str | None]] = said(
        "by service and site: the server edge that gets the site's new flows; null: none can be reached; "
        '"unauthorised": the site may not use it'
    )
    paths: dict[str, dict[str, list[str]]] = said(
        "by site and where the catchment says that its flows go: the switches on the way, both ends included"
    )
    measured: list[Measured] = said("what flows are really pinned to now, also with parts left out")
    difference: list[Move] = said("what is different without the parts that are left out; the gravest, if too many")
    difference_totals: MoveTotals
    loads: list[LoadThen] = said("of groups that lose servers, if all others have a capacity; the highest, if too many")
    pools: list[PoolAsked] = said("where connections are opened anew without these parts")
    updating: list[str] = said("switches that have still to install, or to confirm, what has changed")
    bgp: list[BgpSession]
