"""What the REST interface shows of itself and its callers, and of what has happened."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict

from anycast_sdn.api.members import said
from anycast_sdn.description.section import Section


class CallerShown(Section):
    """Who has sent this request."""

    name: str = said("of its token or certificate; or loopback, or the unix socket")
    scopes: list[str] = said("read, enrol:GROUP, enrol:*, admin")


class Probe(Section):
    """Whether the controller itself works."""

    status: Literal["ok", "starting"]


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


class SubjectShown(Section):
    """The thing that an event is about."""

    kind: str = said("what it is: switch, link, server, group, pool, …")
    name: str = said("its name")


class EventShown(Section):
    """Something that has happened."""

    id: int = said("its number at the member that answers; they grow")
    member: str | None = said("in a cluster: the member to which it has happened", default=None)
    number: int | None = said("its number among those of this member, the same whoever answers", default=None)
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
    incomplete: list[str] = said("in a cluster: members that do not answer, so that their latest events are missing")
