"""LossLog: servers that are lost, and those that are back, in the log."""

from __future__ import annotations

import logging

from anycast_sdn.core.events import Event, ServerLost, ServerReturned
from anycast_sdn.core.model import text
from anycast_sdn.core.words import counted
from anycast_sdn.process.repeats import RepeatingLog


class LossLog:
    """A subscriber.  A server that many client edges have lost is one line, which repeats."""

    def __init__(self, log: RepeatingLog) -> None:
        self._log = log

    def __call__(self, event: Event) -> None:
        match event:
            case ServerLost(edge, server, flows):
                line = f"server {text(server)} is lost: {counted(flows, 'flow')} at {edge} freed"
                self._log.log(logging.WARNING, (ServerLost, server), line)
            case ServerReturned(edge, server):
                line = f"server {text(server)} can be reached again from {edge}"
                self._log.log(logging.INFO, (ServerReturned, server), line)
            case _:
                pass
