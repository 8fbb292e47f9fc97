"""The resources of the REST interface, each described once: what a request may say, and what an answer shows.

A class validates bodies or a query, and the OpenAPI description (``openapi``) is made from it, as is docs/rest.md.
Settings of groups and servers are those of the network file (``description.settings``).  Members of a body that are
only shown may be sent back: those that are ``fixed`` as they are, those that are ``observed`` with any value, because
they change by themselves.
"""

from __future__ import annotations

import base64
import re
from copy import copy
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, create_model

from anycast_sdn.control.operations import Kind, State
from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.load import DEFAULT_TTL_S, FULL, MAX_SESSIONS, MAX_TTL_S
from anycast_sdn.core.model import Drain, ServerState
from anycast_sdn.core.model import Server as EnrolledServer
from anycast_sdn.description import limits
from anycast_sdn.description.section import Section, as_in, optional
from anycast_sdn.description.settings import GroupSettings, Lease, NamedServer, ServerAddress, ServerSettings, Service
from anycast_sdn.description.values import (
    AfterDrainName,
    AtDeadlineName,
    Cost,
    Form,
    GroupName,
    IpAddress,
    LinkEnd,
    NotOfForm,
    PortNumber,
    choice,
    text_form,
)
from anycast_sdn.views.flows import Place

MAX_PAGE = 1000  # flows
MAX_WAIT_S = 600
DEFAULT_PAGE = 100
_WHOLE = ConfigDict(json_schema_serialization_defaults_required=True)  # all members are shown, set or not


def fixed(description: str) -> Any:
    """A member that is shown, and cannot be changed by a body."""
    return Field(default=None, description=description, json_schema_extra={"readOnly": True})


def observed(description: str) -> Any:
    """A member that is shown and changes by itself: what a body says of it is ignored."""
    return Field(default=None, description=description, json_schema_extra={"readOnly": True, "x-observed": True})


@lru_cache
def members(model: type[Section], keyword: str) -> frozenset[str]:
    """The members that are ``readOnly``, or ``x-observed``."""
    extras = {name: field.json_schema_extra for name, field in model.model_fields.items()}
    return frozenset(name for name, extra in extras.items() if isinstance(extra, dict) and keyword in extra)


def part_of(model: type[Section]) -> type[Section]:
    """The model of a PATCH: each member may be left out."""
    optional: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        changed = copy(field)
        changed.default, changed.default_factory = None, None
        optional[name] = (field.annotation, changed)
    return create_model(f"{model.__name__}Changes", __base__=model, __doc__=model.__doc__, **optional)


def _said(description: str, **more: Any) -> Any:
    return Field(description=description, **more)


# ------------------------------------------------------------------------------ groups and servers


class EnrolledSettings(ServerSettings):
    """What is set of a server over REST."""

    state: Annotated[ServerState, choice(ServerState)] = as_in(
        EnrolledServer, "state", "active: it takes new flows; draining: it takes none, and keeps those that it has"
    )


def _of_an_agent(value: str) -> str:
    if value in ("arp", "nd", "icmp", "tcp", "udp", "passive", "lease"):
        raise NotOfForm("is a check that the controller makes itself")
    return value


class DrainShown(Section):
    """A drain in progress."""

    operation: str = _said("its id, as in /v1/operations/{id}")
    since: str = _said("when it began (RFC 3339)")
    deadline: str | None = _said("when it is over, whatever is left (RFC 3339); null: never")
    then: AfterDrainName = _said("what becomes of the server")
    at_deadline: AtDeadlineName = _said("what becomes of flows that are left at the deadline")


class NewServer(EnrolledSettings, NamedServer):
    """A server to be enrolled."""


class CheckShown(Section):
    """What one check says of a server."""

    type: str = _said("arp or nd, icmp, tcp, udp, http, passive, lease, or what the server's agent has reported")
    port: int | None = _said("where it has one", default=None)
    detail: str = _said("what tells it from others of its type and port", default="")
    status: Annotated[HealthStatus, choice(HealthStatus)] = _said("what is known by it")
    since: str | None = _said("when that began (RFC 3339); null: there is no result yet")
    output: str = _said("why, for people")


class ServerHealth(Section):
    """What all checks of a server say together."""

    status: Annotated[HealthStatus, choice(HealthStatus)] = _said(
        "that of the worst check; critical: it gets no new flows; unknown: a check has no result yet"
    )
    since: str | None = _said("when that began (RFC 3339)")
    reason: str = _said("why it is not passing")
    checks: list[CheckShown] = _said("each of its checks")


class Server(EnrolledSettings, ServerAddress):
    """A server that is enrolled in a group."""

    model_config = _WHOLE

    address: IpAddress = fixed("its own unicast address")
    addresses: Annotated[list[IpAddress], Field(min_length=1, max_length=2)] = optional(
        "its own address; or both, of a server that has IPv4 and IPv6. Given to one that has an address, the other one "
        "is enrolled with it"
    )
    edge: str | None = fixed("the edge that it stands behind")
    reachable: bool = observed("does it answer ARP or neighbour discovery there?")
    flows: int = observed("how many flows are pinned to it")
    health: ServerHealth = observed("what its checks say")
    lease_left_s: float | None = observed("how long its lease is still held; 0: it has expired; null: it has none")
    drain: DrainShown | None = observed("its drain, while it is draining")


# It is logged: control characters could look like other lines, or be commands for a terminal.
_CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"


def _one_line(value: str) -> str:
    return re.sub(f"[{_CONTROLS}]+", " ", value).strip()


class CheckReport(Section):
    """The result of one attempt of a check that the server's agent makes."""

    type: Annotated[str, text_form("[a-z][a-z0-9-]{0,31}", _of_an_agent, "a type such as http")] = _said(
        "http, or another one that is not of the controller's own checks"
    )
    port: PortNumber | None = _said("where it has one", default=None)
    detail: Annotated[str, Field(max_length=200, pattern=f"^[^{_CONTROLS}]*$")] = _said(
        "what tells it from others of its type and port", default=""
    )
    status: Literal["passing", "critical"] = _said(
        "has it passed? Results are counted as the group says of a check of type http with this port and path "
        "(detail), or else by rise 2 and fall 3"
    )
    output: Annotated[str, Field(max_length=500), AfterValidator(_one_line)] = _said(
        "why, for people; control characters become blanks", default=""
    )
    interval_s: Annotated[float, limits.INTERVAL.field] | None = _said(
        "how often it is made: after three of these without a report, it fails. Left out: as the group says, or 5",
        default=None,
    )


_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Load(Section):
    """What the server, or its agent, says of its load (M26). What is left out is not known."""

    sessions: Annotated[int, Field(ge=0, le=MAX_SESSIONS)] | None = _said(
        "sessions in progress; capacity of these mean a load of 1", default=None
    )
    cpu: _Share | None = _said("the share of its processors that is in use", default=None)
    memory: _Share | None = _said(f"of its memory; below {FULL} it says nothing", default=None)
    disk: _Share | None = _said(f"of its disks; below {FULL} it says nothing", default=None)
    network: _Share | None = _said("of its network interface", default=None)
    ttl_s: Annotated[float, Field(ge=1, le=MAX_TTL_S, allow_inf_nan=False, json_schema_extra={"x-unit": "seconds"})] = (
        _said("the report counts for so long", default=DEFAULT_TTL_S)
    )


class Reports(Section):
    """What the server's agent reports."""

    checks: Annotated[list[CheckReport], Field(max_length=16)] = _said(
        "new results. An empty list: the agent begins anew, and what was reported before counts no more"
    )


class Servers(Section):
    """The servers of a group."""

    servers: list[Server] = _said("in the order of their addresses, IPv4 first")


class NewGroup(GroupSettings, Service):
    """A group to be created."""


class Group(GroupSettings, Service):
    """An anycast group: a service, and the servers that may answer for it."""

    model_config = _WHOLE

    name: GroupName = fixed("its name")
    servers: list[Server] = fixed("the set of its servers, which are enrolled and removed one by one")


class Groups(Section):
    """All groups."""

    groups: list[Group] = _said("in the order of their names")


ServerChanges = part_of(Server)
GroupChanges = part_of(Group)


# ------------------------------------------------------------------------------ drains, leases


class EdgeDrain(Section):
    """How a drain ends. By itself it ends when the last flow has ended."""

    deadline_s: Annotated[float, limits.DEADLINE.field] | None = optional(
        "it is over after so long, whatever is left. Left out: it has no deadline"
    )
    at_deadline: AtDeadlineName = as_in(
        Drain, "at_deadline", "what becomes of the flows that are left then: end, they are ended; keep, they go on"
    )


class ServerDrain(EdgeDrain):
    """How a drain ends, and what becomes of the server."""

    then: AfterDrainName = as_in(Drain, "then", "what becomes of the server: keep, it stays enrolled; remove")


class LeaseShown(Lease):
    """A lease that was renewed."""

    left_s: float | None = _said("how long it is held")


class Operation(Section):
    """The drain of a server, or of all servers behind an edge."""

    id: str
    kind: Annotated[Kind, choice(Kind)]
    state: Annotated[State, choice(State)] = _said("failed: something else happened to the server or the edge")
    edge: str = _said("the edge that is drained, or that the server is behind")
    group: str | None = _said("the server's group; null: an edge is drained")
    addresses: list[IpAddress] = _said("the server's; none: an edge is drained")
    flows_left: int | None = _said("null: they have not been counted yet")
    since: str = _said("when it began (RFC 3339)")
    deadline: str | None = _said("when it is over, whatever is left (RFC 3339); null: never")
    ended: str | None = _said("when it has ended (RFC 3339); null: it is running")
    reason: str = _said("why it has failed, what it waits for, or what was left")


class Operations(Section):
    """Operations that run, and the last ones that have ended."""

    operations: list[Operation] = _said("those that run first, then the others, the last one first")


def _wait(value: object) -> float:
    number = r"[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?"
    if not isinstance(value, str) or not re.fullmatch(number, value) or float(value) > MAX_WAIT_S:
        raise NotOfForm(f"is not a number of seconds from 0 to {MAX_WAIT_S}")
    return float(value)


class Wait(Section):
    """Whether to wait."""

    wait: Annotated[float, Form(_wait, {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S})] = _said(
        "answer when the operation has ended, or after so many seconds", default=0.0
    )


# ------------------------------------------------------------------------------ flows


class Flow(Section):
    """A binding."""

    number: int = _said("unique within its edge for as long as the binding lives")
    edge: str = _said("the client edge, ARh")
    state: Literal["unanswered", "pinned"] = _said("pinned: a server has answered")
    group: str = _said("the group of its service")
    client: IpAddress = _said("H")
    client_port: int = _said("0 for protocols without ports")
    service: IpAddress = _said("ANY")
    service_port: int = _said("0 for protocols without ports")
    protocol: str = _said("its name, or its number where it has none here; any: all that the client sends there")
    translated: IpAddress = _said("PR1X")
    server: IpAddress | None = _said("ASg, once it is pinned")
    since: str = _said("when the binding was made (RFC 3339)", json_schema_extra={"format": "date-time"})
    validity_s: int = _said("how long it may be idle in both directions")
    idle: Literal["", "out", "in"] = _said("the direction that is idle: out, client to service, or in")


class FlowSummary(Section):
    """Totals over all flows, whatever the page and the filter."""

    unanswered: int = _said("flows that no server has answered yet")
    pinned: int = _said("flows that are pinned to a server")
    pool_exhausted: int = _said("how many new flows found no free address, since the controller's start")


class Flows(Section):
    """A page of flows, in the order of (edge, number)."""

    flows: list[Flow] = _said("those that all filters select")
    next: str | None = _said("the path of the next page")
    summary: FlowSummary = _said("totals over all flows")


class Ended(Section):
    """How many flows were ended."""

    ended: int = _said("their number; those that began meanwhile may be left")


class FlowFilters(Section):
    """Which flows; a flow is selected when all of the given parameters select it."""

    group: str | None = _said("the group of its service", default=None)
    edge: str | None = _said("its client edge", default=None)
    client: IpAddress | None = _said("H", default=None)
    server: IpAddress | None = _said("ASg", default=None)
    state: Literal["unanswered", "pinned"] | None = _said("its state", default=None)


def _page_size(value: object) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,4}", value) or not 1 <= int(value) <= MAX_PAGE:
        raise NotOfForm(f"is not a number from 1 to {MAX_PAGE}")
    return int(value)


def cursor_of(place: Place) -> str:
    return base64.urlsafe_b64encode(f"{place[1]} {place[0]}".encode()).decode()


def _place(value: object) -> Place:
    """The (edge, number) that ``cursor_of`` packed."""
    try:
        number, edge = base64.urlsafe_b64decode(str(value).encode()).decode().split(" ", 1)
        return edge, int(number)
    except ValueError as error:
        raise NotOfForm('is not a cursor of an earlier answer\'s "next"') from error


class FlowPage(FlowFilters):
    """Which flows, and how many of them."""

    limit: Annotated[int, Form(_page_size, {"type": "integer", "minimum": 1, "maximum": MAX_PAGE})] = _said(
        "how many at most", default=DEFAULT_PAGE
    )
    cursor: Annotated[Place, Form(_place, {"type": "string"}, cursor_of)] = _said(
        'where to go on, from the "next" of an earlier answer', default=("", 0)
    )


# ------------------------------------------------------------------------------ the network


class Pool(Section):
    """The translation addresses of one family at a client edge."""

    size: int = _said("all of them")
    leased: int = _said("in use")
    resting: int = _said("released, and not yet free")
    free: int = _said("never used, or rested")
    level: Literal["plenty", "low", "exhausted"] = _said("is there enough?")
    used_up_in_s: float | None = _said("when none will be free, at the rate of the last seconds; null: not soon")


class Rules(Section):
    """How many rules and groups a switch holds."""

    bindings: int = _said("rules of flows")
    other: int = _said("all other rules")
    groups: int = _said("groups of OpenFlow")


class KnownHost(Section):
    """A host that has answered ARP or neighbour discovery."""

    address: IpAddress
    mac: str
    port: int


class Edge(Section):
    """A switch, whatever its role."""

    name: str
    dpid: int = _said("its datapath id")
    roles: list[Literal["client edge", "server edge", "core"]]
    connected: bool = _said("is it connected, and has it the rules that it should have?")
    pools: dict[str, Pool] = _said("by address family, ipv4 and ipv6: of a client edge")
    bindings: int = _said("how many flows it has")
    rules: Rules
    drops: dict[str, int] = _said("counters by name: docs/counters.md says what each means, and what to do")
    repaired: int = _said("how many rules others had changed, and were put right")
    last_sweep_s: float | None = _said("how long the last reading of all counters took; null: there was none")
    hosts: list[KnownHost]
    announces: list[str] = _said("prefixes that it announces into the network")
    drain: DrainShown | None = _said("while the servers behind it take no new flows, by an operator's decision")


class Edges(Section):
    """All switches."""

    edges: list[Edge]


class Link(Section):
    """A link between two switches."""

    model_config = _WHOLE

    ends: list[LinkEnd] = fixed("its two ports, written switch:port")
    cost: Cost = _said("costs add up along a path; a change holds until the controller starts again")
    mtu: int | None = fixed("the largest IP packet that it takes; null: no packet is too large")
    up: bool = observed("is it used?")
    state: str = observed("up, held back, switch away, port down, silent or not declared")
    declared: bool = fixed("is it in the network file?")
    confirmed: bool = observed("has LLDP passed lately, in both directions?")
    failures: int = observed("those that are not forgotten yet")
    cabled_instead: dict[str, str] = observed("one of its ports, and the port that it is connected with instead")


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
    routes: int = _said("routes that lead there")


class Announcing(Section):
    name: str
    announces: list[str]


class BgpSession(Section):
    """A session of BGP with a router at an uplink."""

    uplink: str
    edge: str
    neighbour: str
    neighbour_as: int
    state: str = _said("of RFC 4271, section 8.2.2, in lower case")
    announced: int = _said("prefixes announced to the router")
    learned: int
    ignored: int = _said("routes that could not be used, or were too many")
    problem: str = _said("why there is no session; empty while there is one")


class Topology(Section):
    """The network as it is, or as it would be without some of its parts."""

    switches: list[TopologySwitch]
    links: list[Link]
    parts: list[list[str]] = _said("the switches that are connected with each other: one list, unless it is split")
    uplinks: list[Uplink]
    edges: list[Announcing] = _said("the prefixes that each edge announces")
    catchment: dict[str, dict[str, str | None]] = _said(
        "by service and site: the server edge that gets the site's new flows; null: none can be reached; "
        '"unauthorised": the site may not use it'
    )
    updating: list[str] = _said("switches that have still to install, or to confirm, what has changed")
    bgp: list[BgpSession]


_PART = text_form("[^%]*", str, "a part of the network: a zone (%) is valid on one machine only, leave it out")


class Without(Section):
    """What to leave out."""

    without: list[Annotated[str, _PART]] = _said(
        "a switch, an uplink, a server's address, or a link: one of its ports, s1:1, both, s1:1-s2:2, or its switches, "
        "s1-s2; may be repeated",
        default=[],
    )


# ------------------------------------------------------------------------------ health


class SwitchHealth(Section):
    connected: bool
    repaired: int = _said("rules that others had changed, and were put right", default=0)
    last_repair_s: float = _said("how long ago that was last done", default=0.0)


class Hub(Section):
    """How long single pieces of work kept all others waiting."""

    longest_ms_last_minute: float
    stalls_over_20_ms_last_minute: int
    longest_ms: float
    stalls_over_20_ms: int


class Health(Section):
    """Is all well?"""

    status: Literal["ok", "starting", "degraded"]
    reasons: list[str] = _said("sentences, the latest first: what is wrong, and since when", default=[])
    switches: dict[str, SwitchHealth] = Field(default={})
    hub: Hub | None = None


class Problem(Section):
    """An error (RFC 9457)."""

    type: str = _said("what a program should compare: about:blank, or a URN")
    title: str
    status: int
    detail: str = _said("a sentence for people")
    instance: str = _said("the path that was asked for")
    field: str = _said("the member of the body or the query parameter that is at fault", default="")


class Description(Section):
    """OpenAPI 3.1."""

    model_config = ConfigDict(extra="allow")

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]
    components: dict[str, Any]


# ------------------------------------------------------------------------------ paths


class Nothing(Section):
    """A query without parameters."""


class InPath(Section):
    """The variables of paths."""

    group: str = _said("a group's name", json_schema_extra={"pattern": "^[a-z][a-z0-9-]{0,63}$"})
    address: IpAddress = _said("a server's address")
    edge: str = _said("the name of an edge")
    switch: str = _said("the name of a switch")
    number: Annotated[int, text_form("[0-9]{1,13}", int, "a flow's number")] = _said("a flow's number at its edge")
    id: str = _said("an operation's id")
    end: LinkEnd = _said("a port of a link, written switch:port")
