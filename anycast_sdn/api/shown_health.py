"""What the REST interface shows of what is wrong, and of how services do."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from anycast_sdn.api.members import said
from anycast_sdn.description.section import Section
from anycast_sdn.description.values import IpAddress


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

    kind: Literal["switch", "link", "server", "group", "pool", "uplink", "controller", "member"]
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


class Health(Section):
    """Is all well?  Those who may not read get the status alone."""

    status: Literal["ok", "starting", "degraded"]
    role: Literal["leader", "follower"] | None = said("of this member, in a cluster", default=None)
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
