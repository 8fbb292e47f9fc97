"""Groups and servers over REST, each described once: what a request may say, and what an answer shows.

A class here, in ``queries`` or in ``shown`` validates what is sent, and the OpenAPI description (``openapi``) is made
from it, as is docs/rest.md.  Settings are those of the network file (``description.settings``).  Members of a body that
are only shown may be sent back: those that are ``fixed`` as they are, those that are ``observed`` with any value,
because they change by themselves.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from anycast_sdn.api.members import WHOLE, fixed, observed, part_of, said
from anycast_sdn.control.operations import Kind, State
from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.load import DEFAULT_TTL_S, FULL, MAX_SESSIONS, MAX_TTL_S
from anycast_sdn.core.model import Drain, ServerState
from anycast_sdn.core.model import Server as EnrolledServer
from anycast_sdn.core.selection import Exclusion
from anycast_sdn.description import limits
from anycast_sdn.description.section import Section, as_in, optional
from anycast_sdn.description.settings import GroupSettings, Lease, NamedServer, ServerAddress, ServerSettings, Service
from anycast_sdn.description.values import (
    AfterDrainName,
    AtDeadlineName,
    GroupName,
    IpAddress,
    NotOfForm,
    PortNumber,
    choice,
    text_form,
)

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

    flows_at_start: int | None = said("null: they have not been counted yet, as in flows_left", default=None)
    flows_left: int | None = said("how many have not ended", default=None)

    operation: str = said("its id, as in /v1/operations/{id}")
    since: str = said("when it began (RFC 3339)")
    deadline: str | None = said("when it is over, whatever is left (RFC 3339); null: never")
    then: AfterDrainName = said("what becomes of the server")
    at_deadline: AtDeadlineName = said("what becomes of flows that are left at the deadline")


class NewServer(EnrolledSettings, NamedServer):
    """A server to be enrolled."""


class CheckShown(Section):
    """What one check says of a server."""

    type: str = said("arp or nd, icmp, tcp, udp, http, passive, lease, or what the server's agent has reported")
    port: int | None = said("where it has one", default=None)
    detail: str = said("what tells it from others of its type and port", default="")
    status: Annotated[HealthStatus, choice(HealthStatus)] = said("what is known by it")
    since: str | None = said("when that began (RFC 3339); null: there is no result yet")
    output: str = said("why, for people")


class ServerHealth(Section):
    """What all checks of a server say together."""

    status: Annotated[HealthStatus, choice(HealthStatus)] = said(
        "that of the worst check; critical: it gets no new flows; unknown: a check has no result yet"
    )
    since: str | None = said("when that began (RFC 3339)")
    reason: str = said("why it is not passing")
    checks: list[CheckShown] = said("each of its checks")


class LoadNow(Section):
    """What a server has reported last."""

    overall: float | None = said("as one number from 0 to 1, by which it is judged; null: the report does not say")
    sessions: int | None = said("in progress, by the server's own count; null: not reported, as in the others")
    cpu: float | None
    memory: float | None
    disk: float | None
    network: float | None
    age_s: float = said("how long ago")


class Server(EnrolledSettings, ServerAddress):
    """A server that is enrolled in a group."""

    model_config = WHOLE

    address: IpAddress = fixed("its own unicast address")
    addresses: Annotated[list[IpAddress], Field(min_length=1, max_length=2)] = optional(
        "its own address; or both, of a server that has IPv4 and IPv6. Given to one that has an address, the other one "
        "is enrolled with it"
    )
    edge: str | None = fixed("the edge that it stands behind")
    reachable: bool = observed("does it answer ARP or neighbour discovery there?")
    flows: int = observed("how many flows of this group are pinned to it")
    health: ServerHealth = observed("what its checks say")
    load: LoadNow | None = observed("what it has reported last; null: nothing, or too long ago")
    shares: dict[str, float] = observed("server edges, and the share of the new flows there that it gets, from 0 to 1")
    effective_weight: float = observed(
        "its weight as it counts at its own edge now: less than was set where load, a slow start or warnings reduce "
        "its share, or where its edge passes flows on; 0: it gets none"
    )
    excluded: Annotated[Exclusion, choice(Exclusion)] | None = observed("why it takes no new flows; null: it does")
    lease_left_s: float | None = observed("how long its lease is still held; 0: it has expired; null: it has none")
    drain: DrainShown | None = observed("its drain, while it is draining")


# It is logged: control characters could look like other lines, or be commands for a terminal.
_CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"


def _one_line(value: str) -> str:
    return re.sub(f"[{_CONTROLS}]+", " ", value).strip()


class CheckReport(Section):
    """The result of one attempt of a check that the server's agent makes."""

    type: Annotated[str, text_form("[a-z][a-z0-9-]{0,31}", _of_an_agent, "a type such as http")] = said(
        "http, or another one that is not of the controller's own checks"
    )
    port: PortNumber | None = said("where it has one", default=None)
    detail: Annotated[str, Field(max_length=200, pattern=f"^[^{_CONTROLS}]*$")] = said(
        "what tells it from others of its type and port", default=""
    )
    status: Literal["passing", "critical"] = said(
        "has it passed? Results are counted as the group says of a check of type http with this port and path "
        "(detail), or else by rise 2 and fall 3"
    )
    output: Annotated[str, Field(max_length=500), AfterValidator(_one_line)] = said(
        "why, for people; control characters become blanks", default=""
    )
    interval_s: Annotated[float, limits.INTERVAL.field] | None = said(
        "how often it is made: after three of these without a report, it fails. Left out: as the group says, or 5",
        default=None,
    )


_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Load(Section):
    """What the server, or its agent, says of its load (M26). What is left out is not known."""

    sessions: Annotated[int, Field(ge=0, le=MAX_SESSIONS)] | None = said(
        "sessions in progress; capacity of these mean a load of 1", default=None
    )
    cpu: _Share | None = said("the share of its processors that is in use", default=None)
    memory: _Share | None = said(f"of its memory; below {FULL} it says nothing", default=None)
    disk: _Share | None = said(f"of its disks; below {FULL} it says nothing", default=None)
    network: _Share | None = said("of its network interface", default=None)
    ttl_s: Annotated[float, Field(ge=1, le=MAX_TTL_S, allow_inf_nan=False, json_schema_extra={"x-unit": "seconds"})] = (
        said("the report counts for so long", default=DEFAULT_TTL_S)
    )


class Reports(Section):
    """What the server's agent reports."""

    checks: Annotated[list[CheckReport], Field(max_length=16)] = said(
        "new results. An empty list: the agent begins anew, and what was reported before counts no more"
    )


class Servers(Section):
    """The servers of a group."""

    servers: list[Server] = said("in the order of their addresses, IPv4 first; the worst health first in a page")
    next: str | None = said("of a page: the path of the next one", default=None)


class NewGroup(GroupSettings, Service):
    """A group to be created."""


class Group(GroupSettings, Service):
    """An anycast group: a service, and the servers that may answer for it."""

    model_config = WHOLE

    name: GroupName = fixed("its name")
    servers: list[Server] = fixed("the set of its servers, which are enrolled and removed one by one")


class Groups(Section):
    """All groups."""

    groups: list[Group] = said("in the order of their names")


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

    left_s: float | None = said("how long it is held")


class Operation(Section):
    """The drain of a server, or of all servers behind an edge."""

    id: str
    kind: Annotated[Kind, choice(Kind)]
    state: Annotated[State, choice(State)] = said("failed: something else happened to the server or the edge")
    edge: str = said("the edge that is drained, or that the server is behind")
    group: str | None = said("the server's group; null: an edge is drained")
    addresses: list[IpAddress] = said("the server's; none: an edge is drained")
    flows_at_start: int | None = said("null: they have not been counted yet, as in flows_left")
    flows_left: int | None = said("how many have not ended")
    since: str = said("when it began (RFC 3339)")
    deadline: str | None = said("when it is over, whatever is left (RFC 3339); null: never")
    ended: str | None = said("when it has ended (RFC 3339); null: it is running")
    reason: str = said("why it has failed, what it waits for, or what was left")


class Operations(Section):
    """Operations that run, and the last ones that have ended."""

    operations: list[Operation] = said("those that run first, then the others, the last one first")
