"""What has happened: the events of the journal, as JSON."""

from __future__ import annotations

from anycast_sdn.api.asked import Answer, Asked


def list_events(asked: Asked) -> Answer:
    wanted = asked.query
    found = []
    # A copy: others add events while this request pauses.
    entries = list(asked.views.events(wanted.since))
    for entry in entries if wanted.order == "oldest" else reversed(entries):
        if wanted.selects(entry):
            found.append(entry.shown)
            if len(found) == wanted.limit:
                break
        asked.turn.over()
    return Answer({"events": found})
