"""What has happened: the events of the journal, as JSON or as a stream."""

from __future__ import annotations

import re
from operator import attrgetter

from webob.acceptparse import create_accept_header

from anycast_sdn.api.answers import Written
from anycast_sdn.api.asked import Answer, Asked
from anycast_sdn.api.problems import Problem
from anycast_sdn.api.streams import EventStream

JSON, STREAM = "application/json", "text/event-stream"


def list_events(asked: Asked) -> Answer:
    wanted, journal, last = asked.query, asked.views.journal, _last(asked)
    if _prefers_a_stream(asked.fields.get("Accept")):
        flows = asked.views.flow_sample if wanted.of_flows else None
        return Answer(stream=EventStream(journal, wanted.selects, last, flows, asked.views.silent_members))
    found = []
    entries = list(journal.after(last or 0))  # a copy: new events come while others have their turn
    if wanted.order == "newest":  # those of other members may have come long after they happened
        entries.sort(key=attrgetter("at"))
        entries.reverse()
    for entry in entries:
        if wanted.selects(entry):
            found.append(Written(entry.json))
            if len(found) == wanted.limit:
                break
        asked.turn.over()
    return Answer({"events": found, "incomplete": asked.views.silent_members()})


def _prefers_a_stream(accept: str | None) -> bool:
    offers = create_accept_header(accept).acceptable_offers([JSON, STREAM])
    return bool(offers) and offers[0][0] == STREAM


def _last(asked: Asked) -> int | None:
    """The number of the last event that the client knows."""
    given = asked.fields.get("Last-Event-ID")
    if given is None:
        since: int | None = asked.query.since
        return since
    if not re.fullmatch("[0-9]{1,15}", given):
        raise Problem(400, "Last-Event-ID is not the number of an event")
    return int(given)
