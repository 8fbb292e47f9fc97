"""Events of all members of a cluster, at any of them: each tells the others what happens to it.

``SharedEvents`` are those of the journal, ``SharedFlowEvents`` those of flows.

The rules this file keeps:

- Who begins to listen gets the last ``GREETED`` events first, and the journal drops those that it knows: so after a
  break of the stream nothing is missing, unless more has happened meanwhile, which is counted and told.
- What each member sees by itself, in etcd (``SEEN_BY_ALL``), is taken from another one ``OWN_FIRST_S`` later, unless
  this member has seen it, too: so it is shown once, also where one could not see it, because it was cut off or lost.
- What another member tells is neither logged here nor told on: each log has the events of its own member.
- Events of flows are told while a client of some member has asked for them (``WANTED``), a sample of each member's
  own, with how many it has left out so far.  A member that is not heard any more wants nothing.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable

from os_ken.lib import hub

from anycast_sdn.core.cluster_events import SEEN_BY_ALL, EventsMissed
from anycast_sdn.core.events import Event
from anycast_sdn.process.faults import isolated
from anycast_sdn.process.peers import Peers
from anycast_sdn.process.streamed_flows import StreamedFlows
from anycast_sdn.views.flow_sample import FlowSample
from anycast_sdn.views.journal import Entry, Journal

EVENT, FLOW_EVENT, WANTED = "event", "flow-event", "flow-events-wanted"
GREETED = 1000
OWN_FIRST_S = 3.0
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
        self._later: deque[tuple[float, Entry]] = deque()  # that this member may have seen by itself
        journal.listen(self._tell)
        peers.greet(EVENT, lambda: [entry.json for entry in journal.own(GREETED)])
        peers.listen(EVENT, self._take)

    def _tell(self, entry: Entry) -> None:
        if entry.is_own:
            self._peers.publish(EVENT, entry.json)

    def _take(self, id: str, text: str) -> None:
        entry, missed = self._journal.hear(text)
        if missed:
            self._report(EventsMissed(self._name(id), missed))
        if entry and entry.type in SEEN_BY_ALL:
            self._later.append((time.monotonic() + OWN_FIRST_S, entry))
            if len(self._later) == 1:
                hub.spawn(self._put_later)
        elif entry:
            self._journal.put(entry)
        self._taken += 1
        if self._taken % AT_ONCE == 0:
            hub.sleep(0)

    def _put_later(self) -> None:
        while self._later:
            due, entry = self._later[0]
            hub.sleep(max(0.0, due - time.monotonic()))
            self._put_unseen(entry)
            self._later.popleft()

    @isolated
    def _put_unseen(self, entry: Entry) -> None:
        name = SEEN_BY_ALL[entry.type]
        if not self._journal.has(entry.type, name, json.loads(entry.json).get("data", {}).get(name)):
            self._journal.put(entry)


class SharedFlowEvents:
    """Streams take from ``shown`` from now on."""

    def __init__(self, flows: StreamedFlows, peers: Peers) -> None:
        self._sample = flows.sample
        self._shown = flows.shown = FlowSample(self._watch)
        self._peers = peers
        self._is_wanted = False  # by clients of this member
        self._wanted_by: set[str] = set()  # ids of members whose clients want them
        self._end: Callable[[], None] | None = None  # of what this member tells, to whomever
        self._left_out: dict[str, int] = {}  # by the ids of members: what they have said of that last
        peers.greet(WANTED, lambda: ["yes"] if self._is_wanted else [])
        peers.listen(WANTED, self._hear_wanted)
        peers.listen(FLOW_EVENT, self._take)

    def _watch(self, on: bool) -> None:
        self._is_wanted = on
        self._left_out.clear()
        self._peers.publish(WANTED, "yes" if on else "no")
        self._begin_or_end()

    def _hear_wanted(self, id: str, text: str) -> None:
        (self._wanted_by.add if text == "yes" else self._wanted_by.discard)(id)
        self._begin_or_end()

    def _begin_or_end(self) -> None:
        self._wanted_by &= self._peers.reached
        is_wanted = self._is_wanted or bool(self._wanted_by)
        if is_wanted and not self._end:
            self._left_out[self._peers.own] = self._sample.left_out
            self._end = self._sample.listen(self._tell)
        elif not is_wanted and self._end:
            self._end()
            self._end = None

    def _tell(self, entry: Entry) -> None:
        if self._is_wanted:
            self._put(self._peers.own, self._sample.left_out, entry)
        if self._wanted_by:
            self._peers.publish(FLOW_EVENT, f"{self._sample.left_out} {entry.json}")
            self._begin_or_end()

    def _take(self, id: str, text: str) -> None:
        if self._is_wanted:
            left_out, _, told = text.partition(" ")
            shown = json.loads(told)
            groups = tuple(shown.get("groups", ()))
            entry = Entry(0, shown["type"], shown.get("edge", ""), groups, told, shown["at"], shown["member"])
            self._put(id, int(left_out), entry)

    def _put(self, id: str, left_out: int, entry: Entry) -> None:
        """``left_out``: by this member, so far."""
        self._shown.leave_out(max(0, left_out - self._left_out.get(id, left_out)))
        self._left_out[id] = left_out
        self._shown.put(entry)
