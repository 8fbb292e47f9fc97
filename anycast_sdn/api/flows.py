"""The flows of all client edges over REST: shown page by page, and ended by an operator.

There may be hundreds of thousands: they are looked at in slices, with turns for others between.
"""

from __future__ import annotations

import json
from urllib.parse import urlencode

from anycast_sdn.api.answers import Written
from anycast_sdn.api.asked import Answer, Asked
from anycast_sdn.api.problems import Problem
from anycast_sdn.api.queries import FlowFilters, FlowPage, cursor_of
from anycast_sdn.core.words import listed
from anycast_sdn.views.flows import FlowFilter, FlowView, Place, flow_as_json

FIRST: Place = ("", 0)


def list_flows(asked: Asked) -> Answer:
    """One page in the order (edge, number): a page boundary holds while flows come and go."""
    query: FlowPage = asked.query
    wanted, limit = _filter(query), query.limit
    place: Place | None = query.cursor or FIRST
    page: list[FlowView] = []
    written: list[Written] = []  # as text at once: for so many objects the garbage collector would take its time
    while place is not None and len(page) <= limit:
        found, place = asked.views.flows(wanted, place, limit + 1 - len(page))
        found_now = found[: limit - len(page)]
        page += found
        if found_now:
            written.append(Written(json.dumps([flow_as_json(view) for view in found_now])[1:-1]))
        asked.turn.over()
    following = None
    if len(page) > limit:
        last = page[limit - 1]
        given = query.model_dump(mode="json", exclude_unset=True)
        following = "/v1/flows?" + urlencode(given | {"cursor": cursor_of((last.edge, last.number))})
    return Answer(
        {"flows": Written(f"[{', '.join(written)}]"), "next": following, "summary": asked.views.flow_summary()}
    )


def end_flows(asked: Asked) -> Answer:
    """Ends all that are wanted; those that begin meanwhile may be left."""
    query: FlowFilters = asked.query
    if not query.model_fields_set:
        raise Problem(400, f"this would end every flow: say which, by {listed(FlowFilters.model_fields)}")
    wanted, ended = _filter(query), 0
    place: Place | None = FIRST
    while place is not None:
        count, place = asked.views.end_flows(wanted, place)
        ended += count
        asked.turn.over()
    return Answer({"ended": ended})


def get_flow(asked: Asked, edge: str, number: int) -> Answer:
    flow = flow_as_json(asked.views.flow(edge, number))
    return Answer(flow | {"decision": asked.views.decision(edge, number)})


def end_flow(asked: Asked, edge: str, number: int) -> Answer:
    asked.views.end_flow(edge, number)
    return Answer()


def _filter(query: FlowFilters) -> FlowFilter:
    return FlowFilter(**query.values(FlowFilters.model_fields))
