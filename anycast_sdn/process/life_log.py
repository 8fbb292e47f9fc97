"""LifeLog: how servers come and go, in the log."""

from __future__ import annotations

import logging

from anycast_sdn.core.events import (
    EdgeDraining,
    EdgeResumed,
    Event,
    LeaseExpired,
    LeaseRenewed,
    OperationEnded,
    ServerChanged,
    ServerDrained,
    ServerDraining,
    ServerEnrolled,
    ServerRemoved,
)
from anycast_sdn.core.model import Address, text
from anycast_sdn.process.repeats import RepeatingLog


class LifeLog:
    """A subscriber.  One line for each event."""

    def __init__(self, log: RepeatingLog) -> None:
        self._log = log

    def __call__(self, event: Event) -> None:
        line = _line(event)
        if line:
            warns = isinstance(event, LeaseExpired) or (isinstance(event, OperationEnded) and not event.succeeded)
            self._log.log(logging.WARNING if warns else logging.INFO, event, line)


def _line(event: Event) -> str:
    match event:
        case ServerEnrolled(edge, group, server):
            return f"{_server(server, group)} is enrolled, behind {edge}"
        case ServerChanged(_, group, server, changes):
            return f"{_server(server, group)}: {', '.join(changes)}"
        case ServerRemoved(_, group, server):
            return f"{_server(server, group)} is removed"
        case ServerDraining(_, group, server, _, deadline_s):
            return f"{_server(server, group)} is being drained{_within(deadline_s)}"
        case ServerDrained(_, group, server):
            return f"{_server(server, group)} is drained"
        case LeaseExpired(_, group, server, removed_in_s):
            then = "" if removed_in_s is None else f"; it is removed in {removed_in_s:g} s"
            return f"{_server(server, group)} has not renewed its lease{then}"
        case LeaseRenewed(_, group, server):
            return f"{_server(server, group)} has renewed its lease again"
        case EdgeDraining(edge, _, deadline_s):
            return f"edge {edge} is being drained{_within(deadline_s)}"
        case EdgeResumed(edge):
            return f"edge {edge} takes new flows again"
        case OperationEnded(group=group, what=what, succeeded=succeeded, reason=reason):
            if succeeded and group and not reason:
                return ""  # the server's own event, that it is drained or removed, says it
            return f"{what} {'is over' if succeeded else 'has failed'}" + (f": {reason}" if reason else "")
        case _:
            return ""


def _server(server: Address, group: str) -> str:
    return f"server {text(server)} of group {group}"


def _within(deadline_s: float | None) -> str:
    return "" if deadline_s is None else f", within {deadline_s:g} s"
