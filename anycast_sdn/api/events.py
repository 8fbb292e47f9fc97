"""What has happened: the events of the journal, as JSON."""

from __future__ import annotations

from anycast_sdn.api.asked import Answer, Asked


def list_events(asked: Asked) -> Answer:
    wanted = asked.query
    found = []
    for entry in asked.views.events(wanted.since):
        if wanted.selects(entry):
            found.append(entry.shown)
            if len(found) == wanted.limit:
                break
        asked.turn.over()
    return Answer({"events": found})
