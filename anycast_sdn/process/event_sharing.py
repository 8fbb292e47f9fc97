"""SharedEvents: each member of a cluster tells the others what happens to it, so that any of them shows all events.

The rules this file keeps:

- Who begins to listen gets the last ``GREETED`` events first, and the journal drops those that it knows: so after a
  break of the stream nothing is missing, unless more has happened meanwhile, which is counted and told.
- What another member tells is neither logged here nor told on: each log has the events of its own member.
"""

from __future__ import annotations

from collections.abc import Callable

from os_ken.lib import hub

from anycast_sdn.core.cluster_events import EventsMissed
from anycast_sdn.core.events import Event
from anycast_sdn.process.peers import Peers
from anycast_sdn.views.journal import Entry, Journal

EVENT = "event"
GREETED = 1000
AT_ONCE = 50  # some milliseconds; then other green threads run


class SharedEvents:
    """``name``: what a member is called, by its id."""

    def __init__(
        self, journal: Journal, peers: Peers, report: Callable[[Event], None], name: Callable[[str], str]
    ) -> None:
        self._journal = journal
        self._peers = peers
        self._report = report
        self._name = name
        self._taken = 0
        journal.listen(self._tell)
        peers.greet(EVENT, lambda: [entry.json for entry in journal.told(GREETED)])
        peers.listen(EVENT, self._take)

    def _tell(self, entry: Entry) -> None:
        if entry.is_own and entry.number:
            self._peers.publish(EVENT, entry.json)

    def _take(self, id: str, text: str) -> None:
        if missed := self._journal.take(text):
            self._report(EventsMissed(self._name(id), missed))
        self._taken += 1
        if self._taken % AT_ONCE == 0:
            hub.sleep(0)
