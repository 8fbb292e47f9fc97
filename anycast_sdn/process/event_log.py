"""EventLog: each event that operators are told of is one line of the log; a subscriber."""

from __future__ import annotations

import logging

from anycast_sdn.core.events import Event, Reported, Severity
from anycast_sdn.process.repeats import RepeatingLog

LEVELS = {Severity.INFO: logging.INFO, Severity.WARNING: logging.WARNING, Severity.CRITICAL: logging.ERROR}


class EventLog:
    """Events of one kind that repeat are a line that repeats."""

    def __init__(self, log: RepeatingLog) -> None:
        self._log = log

    def __call__(self, event: Event) -> None:
        if isinstance(event, Reported) and (line := event.sentence()):
            self._log.log(LEVELS[event.severity], event.kind, line)
