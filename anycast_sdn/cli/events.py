"""The event stream of a running controller (server-sent events), as a command reads it.

It goes on behind the last event that came, whatever interrupts it: none is missed and none comes twice.  A stream on
which nothing comes for ``SILENT_S``, not even a sign of life, has broken off.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from anycast_sdn.cli import client
from anycast_sdn.cli.client import Controller, Refused, Unreachable

SILENT_S = 16.0  # the controller sends something every 5 s
PAUSES_S = (1, 2, 4, 8, 15)  # before one try and the next


class Message(NamedTuple):
    """``type``: "" for an event."""

    type: str
    data: Any


def follow(
    controller: Controller, path: str, last: int | None, interrupted: Callable[[str, int], None]
) -> Iterator[Message]:
    """Each message, for ever.  ``last``: the number of the last event that is known; None: new ones are wanted.

    ``interrupted`` is told why, and in how many seconds it is tried again.  Raises Refused, Unreachable when it cannot
    begin, AnycastError.
    """
    has_begun, failures = False, 0
    while True:
        fields = {"Accept": "text/event-stream"} | ({} if last is None else {"Last-Event-ID": str(last)})
        reason = f"the event stream of {controller} has ended"
        try:
            with client.opened(controller, path, fields, SILENT_S) as lines:
                for name, said in messages(lines):
                    has_begun, failures = True, 0
                    last = int(said["id"]) if "id" in said else last
                    if "data" in said:
                        yield Message(name, json.loads(said["data"]))
        except Refused as error:
            if error.status != 503 or not has_begun:
                raise
            reason = str(error)
        except Unreachable as error:
            if not has_begun:
                raise
            reason = str(error)
        pause = PAUSES_S[min(failures, len(PAUSES_S) - 1)]
        interrupted(reason, pause)
        time.sleep(pause)
        failures += 1


def messages(lines: Iterator[bytes]) -> Iterator[tuple[str, dict[str, str]]]:
    """(its type, its fields) of each message, WHATWG HTML §9.2.6; comments are no messages."""
    said: dict[str, str] = {}
    for line in lines:
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        name, _, value = text.partition(":")
        if not text:
            if said:
                yield said.get("event", ""), said
            said = {}
        elif name:
            value = value.removeprefix(" ")
            said[name] = f"{said[name]}\n{value}" if name == "data" and name in said else value
