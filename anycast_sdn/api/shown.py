"""What the REST interface shows of flows, of the network and of itself; the cost of a link can be changed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from anycast_sdn.api.members import WHOLE, fixed, observed, said
from anycast_sdn.api.models import DrainShown
from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.roles import EngineName
from anycast_sdn.core.selection import Exclusion
from anycast_sdn.description.section import Section
from anycast_sdn.description.values import Cost, IpAddress, LinkEnd, choice

# ------------------------------------------------------------------------------ flows


class Flow(Section):
    """A binding."""

    number: int = said("unique within its edge for as long as the binding lives")
    edge: str = said("the client edge, ARh")
    state: Literal["unanswered", "pinned"] = said("pinned: a server has answered")
    group: str = said("the group of its service")
    client: IpAddress = said("H")
    client_port: int = said("0 for protocols without ports")
    service: IpAddress = said("ANY")
    service_port: int = said("0 for protocols without ports")
    protocol: str = said("its name, or its number where it has none here; any: all that the client sends there")
    translated: IpAddress = said("PR1X")
    translated_port: int = said("the source port beside PR1X, where the switch has chosen another one; 0: the client's")
    server: IpAddress | None = said("ASg, once it is pinned")
    since: str = said("when the binding was made (RFC 3339)", json_schema_extra={"format": "date-time"})
    validity_s: int = said("how long it may be idle in both directions")
    idle: Literal["", "out", "in"] = said("the direction that is idle: out, client to service, or in")


class CandidateShown(Section):
    """A server, as it was when the decision was made."""

    server: IpAddress = said("its address")
    edge: str = said("the server edge that it is behind")
    cost: float | None = said("of the way to it from the edge that decided; null: there is none, or only by routers")
    share: float = said("of that edge's new flows, 0-1")
    weight: int = said("as it was set")
    health: Annotated[HealthStatus, choice(HealthStatus)] = said("by its checks")
    sessions: float = said("pinned to it, of this group; a mean; 0 where neither capacity nor load is known")
    capacity: float | None = said("sessions that mean a load of 1.0, the group's part of it")
    load: float | None = said("as it was last reported; null: nothing was, or it is stale")
    limit: float | None = said("sessions that were aimed at at most; null: no limit is known")
    factor: float = said("of its weight and its limit, by slow start and warnings, 0-1")
    excluded: Annotated[Exclusion, choice(Exclusion)] | None = said("why it took no new flows")
    why_not: str = said("why it got none of those at this edge, for people; empty: it got some")


class Repin(Section):
    """A flow has lost its server, and kept its translation address."""

    model_config = ConfigDict(populate_by_name=True)

    at: str = said("when (RFC 3339)", json_schema_extra={"format": "date-time"})
    from_: IpAddress = said("the server that it has lost", alias="from")
    to: IpAddress | None = said("the one that has answered since; null: none yet")
    reason: str = said("for people")


class DecisionShown(Section):
    """By what a flow got its server (M29)."""

    edge: str = said("the server edge that its packets reached, whose slots decided")
    at: str = said("when it was made (RFC 3339)", json_schema_extra={"format": "date-time"})
    answered: IpAddress | None = said("the server that has answered, last after re-pins")
    first_packet_to: IpAddress | None = said(
        "who got the first packet; null: one of those with a share, which of them is decided by a hash in the switch"
    )
    first_reply_ms: float | None = said("from the first packet to the first reply; null: none yet, or not known")
    handed_over: bool = said("the server that answered first had no share there: another one has handed it the flow")
    repins: list[Repin] = said("servers that the flow has lost, in order, up to the last ten")
    distances: dict[str, int | None] = said("server edges, and what they cost from the flow's client edge now")
    candidates: list[CandidateShown] = said("the group's servers in this family, those with the greatest shares first")


class OneFlow(Flow):
    """A binding, and why it has its server."""

    decision: DecisionShown | None = said("null: it was made before the controller started, or too long ago")


class FlowSummary(Section):
    """Totals over all flows, whatever the page and the filter."""

    unanswered: int = said("flows that no server has answered yet")
    pinned: int = said("flows that are pinned to a server")
    pool_exhausted: int = said("how many new flows found no free address, since the controller's start")


class Flows(Section):
    """A page of flows, in the order of (edge, number)."""

    flows: list[Flow] = said("those that all filters select")
    next: str | None = said("the path of the next page")
    summary: FlowSummary = said("totals over all flows")


class Ended(Section):
    """How many flows were ended."""

    ended: int = said("their number; those that began meanwhile may be left")


class HeldBinding(Section):
    """A flow that had a translation address, from the binding log."""

    translated: IpAddress = said("PR1X")
    from_: str = Field(alias="from", description="since when (RFC 3339)", json_schema_extra={"format": "date-time"})
    to: str | None = said("until when; null: it still has it, as far as the log knows")
    edge: str = said("the client edge, ARh")
    number: int = said("unique within its edge for as long as the binding lived")
    group: str = said("the group of its service")
    client: IpAddress = said("H")
    client_port: int = said("0 for protocols without ports")
    service: IpAddress = said("ANY")
    service_port: int = said("0 for protocols without ports")
    protocol: str = said("its name, or its number where it has none here; any: all that the client sent there")
    server: IpAddress | None = said("ASg, the last one that has answered")
    ended_by: str | None = said(
        "why it has ended: idle, closed, reset, operator, server_lost, refused, gone (the switch did not have it any "
        "more) or unseen (while nothing was logged; at to that was noticed)"
    )


class LogGap(Section):
    """A time of which records are missing."""

    from_: str = Field(alias="from", description="its beginning (RFC 3339)")
    to: str = said("its end")
    reason: str = said("why")
    missing: int | None = said("how many records; null: not known")


class HeldBindings(Section):
    """Who had a translation address at a moment."""

    at: str = said("the moment that was asked for (RFC 3339)", json_schema_extra={"format": "date-time"})
    bindings: list[HeldBinding] = said("those that had it, the latest first; several may share an address")
    gaps: list[LogGap] = said("those that this moment is in: there may have been others")
    begins: str | None = said("when the log begins: nothing is known of before")
    retention_days: float = said("how long records are kept")


# ------------------------------------------------------------------------------ the network


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


# ------------------------------------------------------------------------------ health


class CallerShown(Section):
    """Who has sent this request."""

    name: str = said("of its token or certificate; or loopback, or the unix socket")
    scopes: list[str] = said("read, enrol:GROUP, enrol:*, admin")


class SwitchHealth(Section):
    connected: bool
    repaired: int = said("rules that others had changed, and were put right", default=0)
    last_repair_s: float = said("how long ago that was last done", default=0.0)


class Hub(Section):
    """How long single pieces of work kept all others waiting."""

    longest_ms_last_minute: float
    stalls_over_20_ms_last_minute: int
    longest_ms: float
    stalls_over_20_ms: int


class ReasonSubject(Section):
    """What is wrong."""

    kind: Literal["switch", "link", "server", "group", "pool", "uplink", "controller"]
    name: str = said("of a link both ends, as in c1:1-c2:2; of a pool its client edge")
    group: str | None = said("of a server: its group, or the first of those where it is critical", default=None)


class ReasonShown(Section):
    """Something that is wrong."""

    code: str = said("its stable name; that of the event that tells of it, where there is one")
    severity: Literal["warning", "critical"] = said("critical: service, or a part of it, is affected now")
    subject: ReasonSubject = said("what is wrong")
    since: str = said("when it was first seen (RFC 3339)", json_schema_extra={"format": "date-time"})
    detail: str = said("what is wrong, in a sentence")
    effect: str = said("what that means for flows")


class Probe(Section):
    """Whether the controller itself works."""

    status: Literal["ok", "starting"]


class Health(Section):
    """Is all well?  Those who may not read get the status alone."""

    status: Literal["ok", "starting", "degraded"]
    now: str = said("the controller's time (RFC 3339)", default="", json_schema_extra={"format": "date-time"})
    version: str = said("the controller's", default="")
    network: str = said("the name in the network file", default="")
    reasons: list[ReasonShown] = said("the worst first", default=[])
    more_reasons: int = said("how many there are beyond those", default=0)
    switches: dict[str, SwitchHealth] = Field(default={})
    hub: Hub | None = None


class History(Section):
    """Some figures of the last hour."""

    step_s: int = said("what each figure is of")
    end: str | None = said("of the last step (RFC 3339); null: nothing is known yet",
                           json_schema_extra={"format": "date-time"})  # fmt: skip
    series: dict[str, list[float | None]] = said(
        "the figures by name, the last one at `end`; null: not known, or there was nothing to be counted. "
        "`opened_per_s`: new bindings; `pinned`: flows that have a server; `first_reply_p95_ms`: the time in which 95 "
        "of 100 answered new flows had their first reply; `unanswered_share`: new flows without a reply after 3 s, in "
        "percent; `dropped_per_s`: packets; `pool_used_share:EDGE:FAMILY`: addresses that are leased or rest, 0-1"
    )


class _Replies(Section):
    """What became of new flows of this minute and the one before, 3 s after their first packets."""

    answered: int = said("a server has answered them")
    refused: int = said("a server has refused them, by a TCP RST or an ICMP error")
    unanswered: float = said("nobody has answered them; of a server, its part of them by its share of new flows")
    unanswered_share: float = said("of all of them, 0-1")


class SiteReplies(_Replies):
    """Of new flows that began at one client edge."""

    edge: str = said("the client edge")
    first_reply_p50_ms: float | None = said("half of those answered had their first reply within this time")
    first_reply_p95_ms: float | None = said("95 of 100 had it within this time")


class ServerReplies(_Replies):
    """Of new flows of one server."""

    server: IpAddress
    edge: str | None = said("the edge that it is behind")
    first_reply_mean_ms: float | None = said("the mean time to its first reply")


class GroupReplies(Section):
    group: str
    sites: list[SiteReplies] = said("those where new flows to the group began")
    servers: list[ServerReplies] = said("those that got new flows, or may have got some")


class Replies(Section):
    """Time to the first reply, and loss, from what clients send anyway."""

    replies: list[GroupReplies] = said("of each group")


class Problem(Section):
    """An error (RFC 9457)."""

    type: str = said("what a program should compare: about:blank, or a URN")
    title: str
    status: int
    detail: str = said("a sentence for people")
    instance: str = said("the path that was asked for")
    field: str = said("the member of the body or the query parameter that is at fault", default="")


class Description(Section):
    """OpenAPI 3.1."""

    model_config = ConfigDict(extra="allow")

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]
    components: dict[str, Any]


# ------------------------------------------------------------------------------ events


class SubjectShown(Section):
    """The thing that an event is about."""

    kind: str = said("what it is: switch, link, server, group, pool, …")
    name: str = said("its name")


class EventShown(Section):
    """Something that has happened."""

    id: int = said("its number; they grow")
    at: str = said("when (RFC 3339)", json_schema_extra={"format": "date-time"})
    type: str = said("its stable name, see docs/events.md")
    severity: Literal["info", "warning", "critical"] = said("how much it matters")
    subject: SubjectShown = said("what it is about")
    message: str = said("what has happened, as in the log")
    edge: str | None = said("the switch that it concerns", default=None)
    group: str | None = said("the group that it concerns, or the first of them", default=None)
    groups: list[str] | None = said("the groups that it concerns", default=None)
    data: dict[str, Any] = said("the members of this type")


class Events(Section):
    """Events, in order."""

    events: list[EventShown] = said("those with greater numbers than asked for")
