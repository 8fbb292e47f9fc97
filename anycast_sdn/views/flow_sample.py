"""FlowSample: the latest events of flows, for those who ask for them: a part of them, when there are many.

There may be tens of thousands a second, which neither a person nor a page can follow.  So ``PER_S`` are taken, spread
evenly over what happens, and the others are counted (``left_out``).  Nothing is taken while nobody listens.

In a cluster, one sample has the flows that this member decides on; what members show is another one (``put``), of the
samples of all.

The numbers of its entries are places in the sample.  They are no numbers of the journal, and are not shown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from anycast_sdn.core.flow_events import FlowChange, reported
from anycast_sdn.views.journal import Entry, entry_of

PER_S = 100
KEPT = 1_000


class FlowSample:
    def __init__(self, watch: Callable[[bool], None], member: str = "") -> None:
        """``watch``: True: someone listens; False: nobody does any more; ``member``: see ``Journal``."""
        self._member = member
        self._watch = watch
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._listeners: list[Callable[[Entry], None]] = []
        self._room = 0.0  # for so many events now
        self._filled_at = 0.0
        self.last_id = 0
        self.left_out = 0  # events, since the start

    def listen(self, listener: Callable[[Entry], None]) -> Callable[[], None]:
        """As ``Journal.listen``."""
        self._listeners.append(listener)
        if len(self._listeners) == 1:
            self._watch(True)

        def end() -> None:
            self._listeners.remove(listener)
            if not self._listeners:
                self._watch(False)

        return end

    def after(self, id: int) -> Iterator[Entry]:
        """As ``Journal.after``."""
        if not self._entries:
            return iter(())
        return islice(self._entries, max(0, id + 1 - self._entries[0].id), None)

    def take(self, edge: str, changes: Sequence[FlowChange], now: float, wall: float) -> None:
        """What has happened to flows of this client edge.  ``now``: monotonic; ``wall``: seconds since 1970."""
        self._room = min(PER_S, self._room + (now - self._filled_at) * PER_S)
        self._filled_at = now
        number = min(len(changes), int(self._room))
        self._room -= number
        self.left_out += len(changes) - number
        for place in range(number):
            change = changes[place * len(changes) // number]
            event = reported(edge, change)
            self.put(entry_of(event, event.sentence(), change.when + wall - now, member=self._member))

    def put(self, entry: Entry) -> None:
        """One more."""
        self.last_id += 1
        entry = entry._replace(id=self.last_id)
        self._entries.append(entry)
        for listener in [*self._listeners]:  # one that hears it may be the last one to end
            listener(entry)

    def leave_out(self, number: int) -> None:
        """So many events were not collected."""
        self.left_out += number
