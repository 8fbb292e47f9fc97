"""What paths and queries of the REST interface may say."""

from __future__ import annotations

import base64
import json
import re
from typing import Annotated, Literal

from anycast_sdn.api.members import said
from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.model import Address
from anycast_sdn.core.times import moment_of
from anycast_sdn.description.section import Section
from anycast_sdn.description.values import Form, IpAddress, LinkEnd, NotOfForm, choice, text_form
from anycast_sdn.views.flows import Before, Place
from anycast_sdn.views.history import EVERY_S, KEPT_S
from anycast_sdn.views.journal import Entry

MAX_PAGE = 1000  # flows
DEFAULT_PAGE = 100
MAX_WAIT_S = 600


class Nothing(Section):
    """A query without parameters."""


class InPath(Section):
    """The variables of paths."""

    group: str = said("a group's name", json_schema_extra={"pattern": "^[a-z][a-z0-9-]{0,63}$"})
    address: IpAddress = said("a server's address")
    edge: str = said("the name of an edge")
    switch: str = said("the name of a switch")
    number: Annotated[int, text_form("[0-9]{1,13}", int, "a flow's number")] = said("a flow's number at its edge")
    id: str = said("an operation's id")
    member: str = said("a member of the cluster")
    end: LinkEnd = said("a port of a link, written switch:port")


def _wait(value: object) -> float:
    number = r"[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?"
    if not isinstance(value, str) or not re.fullmatch(number, value) or float(value) > MAX_WAIT_S:
        raise NotOfForm(f"is not a number of seconds from 0 to {MAX_WAIT_S}")
    return float(value)


class Wait(Section):
    """Whether to wait."""

    wait: Annotated[float, Form(_wait, {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S})] = said(
        "answer when the operation has ended, or after so many seconds", default=0.0
    )


class FlowFilters(Section):
    """Which flows; a flow is selected when all of the given parameters select it."""

    group: str | None = said("the group of its service", default=None)
    edge: str | None = said("its client edge", default=None)
    client: IpAddress | None = said("H", default=None)
    server: IpAddress | None = said("ASg", default=None)
    state: Literal["unanswered", "pinned"] | None = said("its state", default=None)


def _page_size(value: object) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,4}", value) or not 1 <= int(value) <= MAX_PAGE:
        raise NotOfForm(f"is not a number from 1 to {MAX_PAGE}")
    return int(value)


def cursor_of(place: Place | Before) -> str:
    packed = f"{place[1]} {place[0]}" if isinstance(place, tuple) else json.dumps(dict(place), separators=(",", ":"))
    return base64.urlsafe_b64encode(packed.encode()).decode()


def _place(value: object) -> Place | Before:
    """What ``cursor_of`` packed."""
    try:
        packed = base64.urlsafe_b64decode(str(value).encode()).decode()
        if packed.startswith("{"):
            return {str(edge): int(number) for edge, number in json.loads(packed).items()}
        number, edge = packed.split(" ", 1)
        return edge, int(number)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise NotOfForm('is not a cursor of an earlier answer\'s "next"') from error


class FlowPage(FlowFilters):
    """Which flows, and how many of them."""

    q: Annotated[str, text_form("[!-~]{0,60}", str.lower, "a part of an address, or of EDGE/NUMBER")] = said(
        "those with this in an address, which may have its port behind it, or in EDGE/NUMBER", default=""
    )
    order: Literal["edge", "newest"] = said(
        "edge: by edge and number. With newest, or q, a page may be short although there is a next one", default="edge"
    )

    limit: Annotated[int, Form(_page_size, {"type": "integer", "minimum": 1, "maximum": MAX_PAGE})] = said(
        "how many at most", default=DEFAULT_PAGE
    )
    cursor: Annotated[Place | Before, Form(_place, {"type": "string"}, cursor_of)] | None = said(
        'where to go on, from the "next" of an earlier answer', default=None
    )


def _moment(value: object) -> str:
    try:
        moment_of(str(value), 1e9)
    except (ValueError, OverflowError) as error:
        wanted = "a moment such as 2026-01-31T09:26:53Z, 09:26 (UTC), 5m (ago) or now"
        raise NotOfForm(f"is not {wanted}") from error
    return str(value)


_MOMENT = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "pattern": "^-?[0-9]{1,6}[smhd]$"}]}
_PORT = text_form("0*[1-9][0-9]{0,4}", int, "a port")


class Held(Section):
    """Of which address, and when."""

    translated: IpAddress = said("PR1X")
    at: Annotated[str, Form(_moment, _MOMENT)] = said(
        "the moment, by the controller's clock: as RFC 3339 says, or how long ago: 90s, 5m, 2h, 1d"
    )
    port: Annotated[int, _PORT] | None = said(
        "the port of the other side that the server has seen, which is the client's own", default=None
    )


Rank = tuple[int, Address]  # of a server among those of its group: the worst health first


def servers_cursor(rank: Rank) -> str:
    return base64.urlsafe_b64encode(bytes([rank[0]]) + rank[1]).decode()


def _rank(value: object) -> Rank:
    """What ``servers_cursor`` packed."""
    try:
        packed = base64.urlsafe_b64decode(str(value).encode())
    except ValueError:
        packed = b""
    if len(packed) not in (5, 17):
        raise NotOfForm('is not a cursor of an earlier answer\'s "next"')
    return packed[0], packed[1:]


class ServerPage(Section):
    """Which servers of a group, and how many of them."""

    status: Annotated[HealthStatus, choice(HealthStatus)] | None = said("those with this health", default=None)
    limit: Annotated[int, Form(_page_size, {"type": "integer", "minimum": 1, "maximum": MAX_PAGE})] | None = said(
        "how many at most, the worst health first. Left out: all, in the order of their addresses", default=None
    )
    cursor: Annotated[Rank, Form(_rank, {"type": "string"}, servers_cursor)] | None = said(
        'where to go on, from the "next" of an earlier answer', default=None
    )


class Events(Section):
    """Which events."""

    since: Annotated[int, text_form("[0-9]{1,15}", int, "the number of an event")] | None = said(
        "the number of the last one that is known already; without it all that are kept, or, of a stream, new ones",
        default=None,
    )
    type: list[str] = said("their type, or the part of it before the dot; may be repeated", default=[])
    group: str | None = said("of this group", default=None)
    edge: str | None = said("at this switch", default=None)
    limit: Annotated[int, Form(_page_size, {"type": "integer", "minimum": 1, "maximum": MAX_PAGE})] = said(
        "how many at most", default=DEFAULT_PAGE
    )
    order: Literal["oldest", "newest"] = said("which of them come first", default="oldest")

    @property
    def of_flows(self) -> bool:
        """Are events of flows asked for?"""
        return any(each.partition(".")[0] == "flow" for each in self.type)

    def selects(self, entry: Entry) -> bool:
        return (
            (not self.type or entry.type in self.type or entry.type.partition(".")[0] in self.type)
            and (self.group is None or self.group in entry.of_groups)
            and (self.edge is None or self.edge == entry.at_switch)
        )


class OfGroup(Section):
    """Which group."""

    group: str | None = said("of this group alone", default=None)


def _seconds(least: int, most: int) -> Form:
    def convert(value: object) -> int:
        if not isinstance(value, str) or not re.fullmatch("[0-9]{1,6}", value) or not least <= int(value) <= most:
            raise NotOfForm(f"is not a whole number of seconds from {least} to {most}")
        return int(value)

    return Form(convert, {"type": "integer", "minimum": least, "maximum": most})


class Span(Section):
    """Which time, and how it is divided."""

    last_s: Annotated[int, _seconds(int(EVERY_S), KEPT_S)] = said("up to now, from so many seconds ago", default=KEPT_S)
    step_s: Annotated[int, _seconds(int(EVERY_S), KEPT_S)] = said("of each figure", default=60)


class Switches(Section):
    """What is shown of switches."""

    hosts: Literal["all", "none"] = said("none: their lists of hosts are empty, which may be long", default="all")


_PART = text_form("[^%]*", str, "a part of the network: a zone (%) is valid on one machine only, leave it out")


class Without(Section):
    """What to leave out, and what to show."""

    without: list[Annotated[str, _PART]] = said(
        "a switch, an uplink, a server's address, or a link: one of its ports, s1:1, both, s1:1-s2:2, or its switches, "
        "s1-s2; may be repeated",
        default=[],
    )
    group: list[str] = said(
        "show announcements, catchment, paths and measured flows of this group alone, since those of all are much in a "
        "large network; may be repeated",
        default=[],
    )
