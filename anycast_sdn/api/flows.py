"""The flows of all client edges over REST: shown page by page, and ended by an operator.

There may be hundreds of thousands: they are looked at in slices, with turns for others between.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import urlencode

from anycast_sdn.api.answers import Written
from anycast_sdn.api.asked import Answer, Asked
from anycast_sdn.api.problems import Problem
from anycast_sdn.api.queries import FlowFilters, FlowPage, Held, cursor_of
from anycast_sdn.core.words import listed
from anycast_sdn.store.bindings.messages import Unavailable
from anycast_sdn.views.flows import Before, FlowFilter, FlowView, Place, flow_as_json

FIRST: Place = ("", 0)
MOST_SLICES = 60  # that are looked at for one page where few may be found: some 30,000 flows


def list_flows(asked: Asked) -> Answer:
    """One page: its boundary holds while flows come and go."""
    query: FlowPage = asked.query
    if query.cursor is not None and isinstance(query.cursor, tuple) is (query.order == "newest"):
        raise Problem(400, "the cursor is of another order: ask for the first page of this one", field="cursor")
    page = _newest(asked, query) if query.order == "newest" else _by_edge(asked, query)
    following = None
    if page.following is not None:
        given = query.model_dump(mode="json", exclude_unset=True)
        following = "/v1/flows?" + urlencode(given | {"cursor": cursor_of(page.following)})
    flows = Written(f"[{', '.join(page.written)}]")
    known = {"summary": asked.views.flow_summary(), "incomplete": asked.views.masters_not_known()}
    return Answer({"flows": flows, "next": following, **known})


class _Page(NamedTuple):
    written: list[Written]  # as text at once: for so many objects the garbage collector would take its time
    following: Place | Before | None


def _by_edge(asked: Asked, query: FlowPage) -> _Page:
    wanted, limit, written = _filter(query), query.limit, list[Written]()
    place = query.cursor if isinstance(query.cursor, tuple) else FIRST
    went_on: Place | None = place
    shown = slices = 0
    while went_on is not None:
        found, went_on = asked.views.flows(wanted, place, limit + 1 - shown)
        if shown + len(found) > limit:
            found = found[:-1]
            last = found[-1] if found else None
            return _Page([*written, *_written(found)], (last.edge, last.number) if last else place)
        written += _written(found)
        shown += len(found)
        place, slices = went_on or place, slices + 1
        if query.q and slices == MOST_SLICES and went_on is not None:
            return _Page(written, went_on)
        asked.turn.over()
    return _Page(written, None)


def _newest(asked: Asked, query: FlowPage) -> _Page:
    wanted, written = _filter(query), list[Written]()
    left, slices = query.limit, 0
    before: Before | None = query.cursor if query.cursor is not None and not isinstance(query.cursor, tuple) else {}
    while before is not None and left and slices < MOST_SLICES:
        found, before = asked.views.newest_flows(wanted, before, left)
        written += _written(found)
        left, slices = left - len(found), slices + 1
        asked.turn.over()
    return _Page(written, before)


def _written(found: list[FlowView]) -> list[Written]:
    return [Written(json.dumps([flow_as_json(view) for view in found])[1:-1])] if found else []


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


def list_held(asked: Asked) -> Answer:
    """Who had an address at a moment, from the binding log."""
    query: Held = asked.query
    try:
        return Answer(asked.views.held(query.translated, query.at, query.port))
    except Unavailable as error:
        raise Problem(503, f"the binding log cannot be searched: {error}") from error


def end_flow(asked: Asked, edge: str, number: int) -> Answer:
    asked.views.end_flow(edge, number)
    return Answer()


def _filter(query: FlowFilters) -> FlowFilter:
    wanted = FlowFilter(**query.values(FlowFilters.model_fields))
    return replace(wanted, q=query.q) if isinstance(query, FlowPage) else wanted
