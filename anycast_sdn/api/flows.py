"""The flows of all client edges over REST: shown page by page, and ended by an operator.

There may be hundreds of thousands: they are looked at in slices, with turns for others between.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urlencode

from webob import Request, Response

from anycast_sdn.api import reading
from anycast_sdn.api.answers import Turn, Written, json_response
from anycast_sdn.api.problems import Problem
from anycast_sdn.api.reading import Reader
from anycast_sdn.core.model import NotFound, packed
from anycast_sdn.core.words import listed
from anycast_sdn.views.flows import FlowFilter, FlowView, Place, flow_as_json

DEFAULT_PAGE = 100  # flows


class FlowViews(Protocol):
    """What the controller shows of flows, and does to them."""

    def flows(self, wanted: FlowFilter, after: Place, limit: int) -> tuple[list[FlowView], Place | None]:
        """At most ``limit`` of the wanted flows behind a place, in order.

        → (flows, the place after which to go on, None at the end).  One call looks at a slice of all bindings,
        so it may find none although there are more.
        """

    def flow_summary(self) -> dict[str, Any]:
        """Totals over all flows, whatever the page and the filter."""

    def flow(self, edge: str, number: int) -> FlowView:
        """One of them.  Raises NotFound."""

    def end_flows(self, wanted: FlowFilter, after: Place) -> tuple[int, Place | None]:
        """Ends the wanted flows of the next slice behind a place → (how many, as ``flows``)."""

    def end_flow(self, edge: str, number: int) -> None:
        """Raises NotFound."""


class Flows:
    """The handlers of ``/v1/flows``.  ``pause`` gives up the hub for a moment."""

    def __init__(self, views: FlowViews, pause: Callable[[], None]) -> None:
        self._views = views
        self._pause = pause

    def list(self, request: Request) -> Response:
        """One page in the order (edge, number): a page boundary holds while flows come and go."""
        given, values = reading.query(request, _FILTERS | _PAGE)
        filters = dict(values)
        limit = filters.pop("limit", DEFAULT_PAGE)
        place: Place | None = filters.pop("cursor", ("", 0))
        wanted, turn = FlowFilter(**filters), Turn(self._pause)
        page: list[FlowView] = []
        written: list[Written] = []  # as text at once: for so many objects the garbage collector would take its time
        while place is not None and len(page) <= limit:
            found, place = self._views.flows(wanted, place, limit + 1 - len(page))
            found_now = found[: limit - len(page)]
            page += found
            if found_now:
                written.append(Written(json.dumps([flow_as_json(view) for view in found_now])[1:-1]))
            turn.over()
        more = urlencode(dict(given) | {"cursor": _cursor(page[limit - 1])}) if len(page) > limit else None
        shown = {
            "flows": Written(f"[{', '.join(written)}]"),
            "next": f"/v1/flows?{more}" if more else None,
            "summary": self._views.flow_summary(),
        }
        return json_response(shown, turn)

    def end(self, request: Request) -> Response:
        """Ends all that are wanted; those that begin meanwhile may be left."""
        filters = dict(reading.query(request, _FILTERS)[1])
        if not filters:
            raise Problem(400, f"this would end every flow: say which, by {listed(_FILTERS)}")
        wanted, turn, ended = FlowFilter(**filters), Turn(self._pause), 0
        place: Place | None = ("", 0)
        while place is not None:
            count, place = self._views.end_flows(wanted, place)
            ended += count
            turn.over()
        return json_response({"ended": ended})

    def get(self, request: Request, edge: str, number: str) -> Response:
        return json_response(flow_as_json(self._views.flow(edge, _number(number))))

    def end_one(self, request: Request, edge: str, number: str) -> Response:
        self._views.end_flow(edge, _number(number))
        return Response(status=204)


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,13}", text):
        raise NotFound(f"{text!a} is no flow's number")
    return int(text)


def _cursor(flow: FlowView) -> str:
    return base64.urlsafe_b64encode(f"{flow.number} {flow.edge}".encode()).decode()


def _place(cursor: str) -> Place:
    """The (edge, number) that ``_cursor`` packed."""
    try:
        number, edge = base64.urlsafe_b64decode(cursor.encode()).decode().split(" ", 1)
        return edge, int(number)
    except ValueError as error:
        raise ValueError('it is not a cursor of an earlier answer\'s "next"') from error


_FILTERS: dict[str, Reader] = {
    "group": str,
    "edge": str,
    "client": packed,
    "server": packed,
    "state": reading.flow_state,
}
_PAGE: dict[str, Reader] = {"limit": reading.page_size, "cursor": _place}
