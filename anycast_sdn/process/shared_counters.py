"""SharedCounters: what masters of shared switches have counted there is shown by the leader, too.

Members say to each other, by topic:

    counted    a master, what it has counted at its switches since its start

The rules this file keeps:

- What another member has counted before it was first heard of is not added: rates do not jump where the leader changes.
- Totals are said, and said again every ``AGAIN_S``: a line that is lost does no harm.
- ``Counters`` know which part others have counted: metrics of each member have its own alone.
- A line that cannot be read is dropped, and logged once.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.share import Share
from anycast_sdn.views.counters import Counters, Totals

LOG = logging.getLogger(__name__)

COUNTED = "counted"
AGAIN_S = 3.0
MOST_KNOWN = 10_000  # switches, of members that were heard


class Lines(Protocol):
    """What members of a cluster say to each other."""

    def publish(self, topic: str, text: str) -> None: ...

    def listen(self, topic: str, listener: Callable[[str, str], None]) -> None: ...


class SharedCounters:
    def __init__(self, controller: Controller, counters: Counters, lines: Lines) -> None:
        self._controller = controller
        self._counters = counters
        self._lines = lines
        self._said, self._said_at = "", 0.0
        self._known: dict[tuple[str, str], Totals] = {}  # (id of a member, switch) → as it has said last
        self._has_logged = False
        lines.listen(COUNTED, self._hear)

    def beat(self) -> None:
        """To be called several times a second."""
        own = {
            switch.name: self._counters.own(switch.name)
            for switch in self._controller.switches.values() if switch.share is Share.FLOWS
        }  # fmt: skip
        said, now = json.dumps(own), time.monotonic()
        if own and (said != self._said or now - self._said_at >= AGAIN_S):
            self._said, self._said_at = said, now
            self._lines.publish(COUNTED, said)

    def _hear(self, member: str, text: str) -> None:
        try:
            heard = _read(text, self._controller.by_name.keys())
        except ValueError as error:
            if not self._has_logged:
                LOG.warning("what member %s has counted cannot be read: %s", member, error)
            self._has_logged = True
            return
        for switch, totals in heard.items():
            before = self._known.pop((member, switch), totals)
            self._known[member, switch] = totals
            self._counters.others_counted(switch, before, totals)
        while len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]


def _read(text: str, switches: Collection[str]) -> Mapping[str, Totals]:
    """Raises ValueError."""
    heard = json.loads(text)
    if not (isinstance(heard, dict) and all(switch in switches for switch in heard)):
        raise ValueError("it is not about switches of the network file")
    return {switch: _totals(each) for switch, each in heard.items()}


def _totals(said: Any) -> Totals:
    """Raises ValueError."""
    if not (isinstance(said, list) and len(said) == 2):
        raise ValueError("it is no pair")
    drops, repairs = said
    for numbers in said:
        if not (isinstance(numbers, dict) and all(type(number) is int and number >= 0 for number in numbers.values())):
            raise ValueError("it has no numbers")
    return Totals(drops, repairs)
