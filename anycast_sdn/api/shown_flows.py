"""What the REST interface shows of flows, and of who had a translation address."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from anycast_sdn.api.members import said
from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.selection import Exclusion
from anycast_sdn.description.section import Section
from anycast_sdn.description.values import IpAddress, choice


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
    incomplete: list[str] = said("members of the cluster that serve flows which are not all known now")


class Ended(Section):
    """How many flows were ended."""

    ended: int = said("their number; those that began meanwhile may be left")


class HeldBinding(Section):
    """A flow that had a translation address, from the binding log."""

    member: str | None = said("of the cluster, that served it last; null: there is one controller", default=None)

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
        "more), unseen (while nothing was logged; at to that was noticed) or handed_over (in a cluster another member "
        "serves it from then on: its log goes on)"
    )


class LogGap(Section):
    """A time of which records are missing."""

    member: str | None = said("in whose log; null: there is one controller", default=None)

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
    incomplete: list[str] = said("members of the cluster that may have served flows then, and whose logs were not read")
