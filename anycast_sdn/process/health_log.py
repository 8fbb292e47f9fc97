"""HealthLog: changes of servers' health, in the log."""

from __future__ import annotations

import logging

from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.events import Event, ServerHealthChanged
from anycast_sdn.core.model import text
from anycast_sdn.core.words import listed
from anycast_sdn.process.repeats import RepeatingLog

_LEVELS = {HealthStatus.CRITICAL: logging.WARNING, HealthStatus.WARNING: logging.WARNING}


class HealthLog:
    """A subscriber.  One line for each change of a server, but none when its first results are good: after the start of
    the controller that are all servers."""

    def __init__(self, log: RepeatingLog) -> None:
        self._log = log

    def __call__(self, event: Event) -> None:
        match event:
            case ServerHealthChanged(before=HealthStatus.UNKNOWN, after=HealthStatus.PASSING):
                pass
            case ServerHealthChanged(_, server, groups, _, after, reason):
                of = f"of {'group' if len(groups) == 1 else 'groups'} {listed(groups, 3)}"
                line = f"server {text(server)} {of} is {after.value}{f': {reason}' if reason else ''}"
                self._log.log(_LEVELS.get(after, logging.INFO), (ServerHealthChanged, server, groups, after), line)
            case _:
                pass
