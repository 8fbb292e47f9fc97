"""What the REST interface shows of a cluster of controllers."""

from __future__ import annotations

from typing import Literal

from anycast_sdn.api.members import said
from anycast_sdn.description.section import Section


class MemberShown(Section):
    """A controller that takes part now."""

    name: str = said("how operators call it (run --member)")
    id: str = said("of its process: another one after each start")
    release: str = said("its version")
    rest: str = said("where REST clients reach it")
    peer: str = said("where other members reach it")
    since: str = said("when it has started, by its clock (RFC 3339)", json_schema_extra={"format": "date-time"})
    leads: bool = said("it decides on links and routes")
    draining: bool = said("it gives up what it has, and takes nothing")
    reached: bool = said("the member that answers hears it")
    switches: list[str] = said("the switches that are connected to it")


class ClaimShown(Section):
    """What a member says of itself: it has asked a switch to be its master."""

    member: str
    says: Literal["granted", "claimed", "refused", "silent"] = said(
        "granted: the switch has made it that, and refused nothing since; claimed: it has not answered yet; "
        "refused: it has a later master; silent: it does not answer"
    )
    generation: int = said("by which it has asked (OpenFlow generation_id); the switch obeys the latest")
    term: int = said("of the leader that it knew then")


class MasterShown(Section):
    """Who may be the master of a switch, and whom the switch obeys."""

    switch: str
    master: str | None = said("the member that etcd names, and that may ask the switch for it; null: none")
    generation: int | None = said("by which that one asks (OpenFlow generation_id)")
    moved_to: str | None = said(
        "the member that an operator has given it to: its master, where switches are shared, whenever it can be; null: "
        "none"
    )
    obeys: str | None = said("the member whose writes the switch takes, as members say; null: none, or not known here")
    claims: list[ClaimShown] = said("of members that are heard")


class EndpointShown(Section):
    url: str
    up: bool
    problem: str = said("why it is not healthy")


class SchemaShown(Section):
    """The form of what etcd has (meta/schema), which members of two releases have in common."""

    now: int | None = said("null: there is none yet")
    later: int | None = said("a later one that the release of the member that answers knows; null: there is none")
    waits_for: list[str] = said("members whose release does not know it: it is raised when there are none")


class EtcdShown(Section):
    """etcd, as the member that answers sees it."""

    up: bool = said("what is there is read, and changes are taken")
    problem: str = said("why not")
    revision: int = said("the last that is known here")
    behind_s: float = said("how long ago something was heard of it last; each member writes twice a second")
    schema_: SchemaShown = said("of what it has", alias="schema")
    endpoints: list[EndpointShown]


class Cluster(Section):
    """The cluster as the member that answers sees it; each member answers this by itself."""

    mode: Literal["alone", "cluster"] = said("alone: run without --etcd; nothing else has a meaning then")
    member: str | None = said("the one that answers")
    leader: str | None = said("the one that decides on links and routes; null: none now")
    term: int = said("grows with each leader")
    shared: bool = said(
        "each switch has a master among all members, which serves the flows of its clients; false: the leader is the "
        "master of all"
    )
    members: list[MemberShown] = said("those that are there")
    switches: list[MasterShown] = said("all of the network file")
    incomplete: list[str] = said("members that were there and are missing, or cannot be reached")
    etcd: EtcdShown | None
