"""What becomes of flows at a client edge: opened, pinned, pinned to another server, closed.

There are tens of thousands a second, so they are not among the events that every subscriber gets.  A ``FlowRecord``
notes them while somebody watches it, and is popped by whoever does; nobody watches: nothing is noted.  It is bounded,
and says how many it had no room for.

A ``FlowChange`` is what is noted; ``reported`` makes of it the event that operators are told of.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.events import Drop, Reported, Severity, Subject
from anycast_sdn.core.model import PROTOCOL_NAMES, Address, endpoint, text
from anycast_sdn.core.transitions import RELEASES, Do, FlowEvent

MOST_NOTED = 200_000  # changes that wait to be popped
MOST_REFUSED = 1_000  # clients whose refusals wait to be popped


class Change(enum.Enum):
    __hash__ = object.__hash__

    OPENED = "opened"  # a new binding; with a server: that of a flow which had ended a short while ago
    ADOPTED = "adopted"  # found on the switch at the controller's start
    PINNED = "pinned"  # the first reply
    REPINNED = "repinned"  # the first reply of another server, after the one before was lost
    CLOSED = "closed"


class EndedBy(enum.Enum):
    """Why a flow has ended."""

    __hash__ = object.__hash__

    IDLE = "idle"  # nothing was sent in either direction for its validity
    CLOSED = "closed"  # both ends have closed their TCP connection
    RESET = "reset"  # one end has reset its TCP connection
    OPERATOR = "operator"
    SERVER_LOST = "server_lost"  # a TCP connection, whose server is lost or was drained
    REFUSED = "refused"  # the switch has refused its rule
    GONE = "gone"  # the switch has connected again, and holds none of its rules


_ENDED_BY = {
    FlowEvent.ALL_IDLE: EndedBy.IDLE,
    FlowEvent.SWEPT: EndedBy.IDLE,
    FlowEvent.OVER: EndedBy.RESET,
    FlowEvent.REFUSED: EndedBy.REFUSED,
    FlowEvent.ADDRESS_REFUSED: EndedBy.REFUSED,
    FlowEvent.ENDED: EndedBy.OPERATOR,
    FlowEvent.FOUND_GONE: EndedBy.GONE,
    FlowEvent.CONNECTION_LOST: EndedBy.SERVER_LOST,
}


def ended_by(event: FlowEvent, flow: Binding) -> EndedBy:
    """Why this flow has ended, by the event that has ended it."""
    why = _ENDED_BY[event]
    if why is EndedBy.IDLE and (flow.reset or flow.closed):
        return EndedBy.RESET if flow.reset else EndedBy.CLOSED
    return why


class FlowChange(NamedTuple):
    what: Change
    flow: Binding  # as it is now; closed: as it was
    when: float
    before: Address | None = None  # REPINNED: the server before
    ended_by: EndedBy | None = None  # CLOSED


class Refusals(NamedTuple):
    """Flows of one client that got no binding, since the last ``pop``."""

    client: Address
    reason: Drop
    packets: int


class FlowRecord:
    """Of one client edge."""

    def __init__(self) -> None:
        self.is_watched = False
        self.missing = 0  # changes that were not noted, since the last ``pop_missing``
        self._changes: list[FlowChange] = []
        self._is_settled = False
        self._refused: dict[tuple[Address, Drop], int] = {}
        self._freed: dict[int, Address] = {}  # flows that have lost their server → that server

    def watch(self, on: bool) -> None:
        self.is_watched = on
        if not on:
            self._changes, self._refused, self._freed, self.missing = [], {}, {}, 0
            self._is_settled = False

    def note(self, do: Do, event: FlowEvent, before: Binding | None, after: Binding, now: float) -> None:
        """What ``ClientEdge`` has done to a flow."""
        if not self.is_watched:
            return
        if do is Do.LEASE or do is Do.REVIVE:
            self._add(FlowChange(Change.OPENED, after, now))
        elif do is Do.PIN:
            former = self._freed.pop(after.number, None) if self._freed else None
            self._add(FlowChange(Change.REPINNED if former else Change.PINNED, after, now, former))
        elif do is Do.FREE and before and before.server:
            self._freed[after.number] = before.server
        elif do in RELEASES:
            self._freed.pop(after.number, None)
            self._add(FlowChange(Change.CLOSED, after, now, None, ended_by(event, after)))

    def adopted(self, flow: Binding, now: float) -> None:
        if self.is_watched:
            self._add(FlowChange(Change.ADOPTED, flow, now))

    def refused(self, client: Address, reason: Drop) -> None:
        """A new flow of this client gets no binding."""
        if self.is_watched:
            key = client, reason
            if key in self._refused or len(self._refused) < MOST_REFUSED:
                self._refused[key] = self._refused.get(key, 0) + 1

    def settle(self) -> None:
        """All that the switch holds has been read: what was not adopted is not there."""
        self._is_settled = self.is_watched

    def _add(self, change: FlowChange) -> None:
        if len(self._changes) < MOST_NOTED:
            self._changes.append(change)
        else:
            self.missing += 1

    def pop(self, most: int) -> list[FlowChange]:
        """Up to ``most`` changes, in order."""
        some, self._changes = self._changes[:most], self._changes[most:]
        return some

    def pop_missing(self) -> int:
        missing, self.missing = self.missing, 0
        return missing

    def pop_settled(self) -> bool:
        """Was ``settle`` called?  To be asked when no changes of before are left."""
        settled, self._is_settled = self._is_settled, False
        return settled

    def pop_refused(self) -> list[Refusals]:
        refused, self._refused = self._refused, {}
        return [Refusals(client, reason, packets) for (client, reason), packets in refused.items()]


# ------------------------------------------------------------------------------ for operators


@dataclass(frozen=True, slots=True)
class _OfFlow(Reported):
    """About one flow of a client edge; told only to those who ask for flows.  The members are those of REST's flows."""

    switch: str
    number: int
    group: str
    client: Address
    client_port: int
    service: Address
    service_port: int
    protocol: str
    translated: Address
    server: Address | None

    @property
    def subject(self) -> Subject:
        return Subject("flow", f"{self.switch}/{self.number}")

    @property
    def _name(self) -> str:
        return f"{self.group} flow {endpoint(self.client, self.client_port)}"

    @property
    def _server(self) -> str:
        return text(self.server) if self.server else "no server"


@dataclass(frozen=True, slots=True)
class FlowOpened(_OfFlow):
    """A flow has got a translation address.  ``server``: of one that had ended a short while ago, and goes on."""

    type: ClassVar[str] = "flow.opened"

    def sentence(self) -> str:
        to = f"{endpoint(self.service, self.service_port)}/{self.protocol}"
        goes_on = f", and goes on with {self._server}" if self.server else ""
        return f"{self._name} to {to} has got {text(self.translated)}{goes_on}"


@dataclass(frozen=True, slots=True)
class FlowAdopted(_OfFlow):
    """A flow was found on its switch at the controller's start, and goes on."""

    type: ClassVar[str] = "flow.adopted"

    def sentence(self) -> str:
        pinned = f", pinned to {self._server}" if self.server else ""
        return f"{self._name} with {text(self.translated)} goes on{pinned}"


@dataclass(frozen=True, slots=True)
class FlowPinned(_OfFlow):
    """A server has answered a flow first, and serves it from now on."""

    type: ClassVar[str] = "flow.pinned"

    def sentence(self) -> str:
        return f"{self._name} is pinned to {self._server}"


@dataclass(frozen=True, slots=True)
class FlowRepinned(_OfFlow):
    """Another server has answered a flow that had lost its server.  ``before``: the one that it had."""

    type: ClassVar[str] = "flow.repinned"

    before: Address

    def sentence(self) -> str:
        return f"{self._name} is bound anew: {text(self.before)} → {self._server}"


@dataclass(frozen=True, slots=True)
class FlowClosed(_OfFlow):
    """A flow has ended: its address rests, and is then free for another one."""

    type: ClassVar[str] = "flow.closed"

    ended_by: EndedBy

    @property
    def severity(self) -> Severity:
        """info; warning if its server is lost"""
        return Severity.WARNING if self.ended_by is EndedBy.SERVER_LOST else Severity.INFO

    def sentence(self) -> str:
        return f"{self._name} has ended: {_BECAUSE[self.ended_by]}"


_BECAUSE = {
    EndedBy.IDLE: "it was idle",
    EndedBy.CLOSED: "both ends have closed it",
    EndedBy.RESET: "it was reset",
    EndedBy.OPERATOR: "an operator has ended it",
    EndedBy.SERVER_LOST: "its server serves it no more",
    EndedBy.REFUSED: "the switch has refused its rule",
    EndedBy.GONE: "the switch does not hold its rules any more",
}


_EVENTS = {Change.OPENED: FlowOpened, Change.ADOPTED: FlowAdopted, Change.PINNED: FlowPinned}


def reported(switch: str, change: FlowChange) -> Reported:
    """For operators; ``switch``: the client edge."""
    what, (number, key, translated, group, _, server, *_), _, before, ended_by = change
    protocol = PROTOCOL_NAMES.get(key.protocol) or str(key.protocol)
    flow = (
        switch, number, group, key.source, key.source_port, key.destination, key.destination_port, protocol,
        translated, server,
    )  # fmt: skip
    if what is Change.CLOSED:
        assert ended_by
        return FlowClosed(*flow, ended_by)
    if what is Change.REPINNED:
        assert before
        return FlowRepinned(*flow, before)
    return _EVENTS[what](*flow)
