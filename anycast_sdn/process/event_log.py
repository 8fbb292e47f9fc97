"""EventLog: each event of this controller is one line of the log; a listener of the journal."""

from __future__ import annotations

import json
import logging

from anycast_sdn.core.events import Severity
from anycast_sdn.views.journal import Entry

LEVELS = {Severity.INFO: logging.INFO, Severity.WARNING: logging.WARNING, Severity.CRITICAL: logging.ERROR}


class EventLog:
    """The line has the event's type in the place of a logger's name; in JSON, it is the whole event."""

    def __init__(self, log: logging.Logger | None = None) -> None:
        self._log = log or logging.getLogger("anycast_sdn.events")

    def __call__(self, entry: Entry) -> None:
        if not entry.is_own:
            return
        event = json.loads(entry.json)
        self._log.log(LEVELS[Severity(event["severity"])], "%s", event["message"], extra={"event": event})
