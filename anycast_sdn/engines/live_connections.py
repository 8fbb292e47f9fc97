"""LiveConnections: which connections of a switch's tracker bindings have, as far as known, and whether they go on.

The tracker ends connections by itself, and reports nothing.  So each connection is asked for (``openflow.
connection_queries``): the first time when the validity of its binding has passed since it began, and from then on
``PARTS`` times in that time.  A connection that is not there any more has been idle (M19).

A flow of TCP, UDP or a protocol without ports has one connection; a flow of ICMP has one for each identifier, and a
client that is bound as a whole any number.  Which these are is not known after a restart of the controller: such a
binding ends when it has begun none in its validity, and those that were known have ended.

A TCP connection whose end nobody saw, because the controller was away, is in the tracker for some seconds more, as if
it were open.  So one that is found after a restart is asked for again as soon as a closed one would be gone, and then
after longer and longer times: who waits for the last of a server's flows does not wait for part of ``tcp_s``.

Nothing is sent from here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

from anycast_sdn.core.bindings import Binding, BindingTable, Half
from anycast_sdn.core.inquiries import Inquiries
from anycast_sdn.core.kept_flows import FlowChanges, KeptConnection
from anycast_sdn.core.model import TCP, UDP
from anycast_sdn.core.roles import MOST_PER_CLIENT, Conntrack
from anycast_sdn.core.tracked_address import PEER
from anycast_sdn.openflow import connection_queries, frames
from anycast_sdn.openflow.connection_queries import WHOSE, Answer, Ends
from anycast_sdn.openflow.rules import EndConnection, Message

PARTS = 4  # a connection is found to have ended after this part of its validity at the latest
LEAST_S = 1.0  # from one inquiry about a connection to the next; longer than a closed one is to be in the tracker
LONGER = 4  # times as long until the next inquiry about a connection that may have closed unseen
PER_S, BURST = 2000, 500  # inquiries about all connections of a switch: less than 30 µs each, with their answers
AT_ONCE = 192  # inquiries in one turn: some milliseconds
ANSWER_S = 2.0  # a switch answers sooner
_NEW_AT_ONCE = 2048  # planned in one tick: about a millisecond

_Key: TypeAlias = int | tuple[int, Ends]  # the binding's number, and which of its connections where it may have several


class Connection(NamedTuple):
    ends: Ends
    inward: bool = False  # a packet of the server has begun it


def has_several(binding: Binding) -> bool:
    """May it have more than one connection?"""
    return binding.key.is_whole or connection_queries.is_icmp(binding.key.protocol, binding.translated)


def _only_ends(binding: Binding) -> Ends:
    return Ends(*binding.key[2:])


def _translated(binding: Binding, ends: Ends) -> Ends:
    """As its packets have them beside PR1X."""
    return ends._replace(first=binding.translated_port) if binding.translated_port else ends


class LiveConnections:
    """``validity_s``: how long a binding may be idle; ``changes``: are told of what a binding alone does not say."""

    def __init__(
        self, flows: BindingTable, validity_s: Callable[[Binding], int], settings: Conntrack,
        changes: FlowChanges,
    ) -> None:
        self._flows = flows
        self._changes = changes
        self._validity_s = validity_s
        self._settings = settings
        self._inquiries: Inquiries[_Key] = Inquiries(PER_S, BURST, ANSWER_S)
        self._several: dict[int, dict[Ends, bool]] = {}  # number → its connections → were they begun inward?
        self._inward: set[int] = set()  # those of bindings with one connection
        self._new: deque[_Key] = deque()  # not planned yet
        self._ended: list[Binding] = []  # see ``pop_ended``
        self._doubtful: set[int] = set()  # bindings that were there before, and perhaps not until now
        self._unseen: dict[int, float] = {}  # those of TCP that may have closed unseen → the next pause, in seconds

    def of(self, binding: Binding) -> list[Connection]:
        if has_several(binding):
            return [Connection(*each) for each in self._several.get(binding.number, {}).items()]
        return [Connection(_only_ends(binding), binding.number in self._inward)]

    def is_full(self, binding: Binding, ends: Ends) -> bool:
        """Has it so many connections that it may not have this one, too?"""
        known = self._several.get(binding.number, ())
        return len(known) >= MOST_PER_CLIENT and ends not in known

    def begun(self, binding: Binding, connection: Connection) -> None:
        """A packet that begins it is on its way to the switch; or begins it again."""
        number = binding.number
        key: _Key = number
        if connection.inward or has_several(binding):
            self._changes.begun(KeptConnection(number, *connection.ends, connection.inward))
        if has_several(binding):
            key = number, connection.ends
            self._several.setdefault(number, {})[connection.ends] = connection.inward
        elif connection.inward:
            self._inward.add(number)
        else:
            self._inward.discard(number)
        self._inquiries.overtaken(key)
        self._new.append(key)

    def remembered(self, binding: Binding, connections: Iterable[KeptConnection]) -> None:
        """The binding was there before; of its connections these are known that it does not tell by itself."""
        for _, protocol, first, second, inward in connections:
            self.begun(binding, Connection(Ends(protocol, first, second), inward))
        self._doubtful.add(binding.number)
        self.recheck(binding)

    def recheck(self, binding: Binding) -> None:
        """Its validity may be shorter now."""
        self._new += self._keys(binding)

    def ask_soon(self, binding: Binding, now: float) -> None:
        """Is its connection still there?  Or which ones has it, if there may be several?  That is not known."""
        wait_s = self._validity_s(binding) if has_several(binding) else 0
        for key in self._keys(binding):
            self._inquiries.plan(key, now + wait_s)
        if binding.key.protocol == TCP:
            self._unseen[binding.number] = self._validity_s(binding._replace(closed=Half.BOTH)) + LEAST_S

    def _keys(self, binding: Binding) -> list[_Key]:
        known: list[_Key] = [(binding.number, ends) for ends in self._several.get(binding.number, ())]
        return known or [binding.number]

    def forget(self, binding: Binding) -> None:
        """The binding has ended."""
        for key in self._keys(binding):
            self._inquiries.forget(key)
        self._inquiries.forget(binding.number)
        self._several.pop(binding.number, None)
        self._inward.discard(binding.number)
        self._doubtful.discard(binding.number)
        self._unseen.pop(binding.number, None)

    # ---------------------------------------------------------------- inquiries

    def tick(self, now: float, most: int) -> tuple[list[Message], bool]:
        """Some of the inquiries that are due, up to ``most`` → may there be more to do now?"""
        for _ in range(min(_NEW_AT_ONCE, len(self._new))):
            key = self._new.popleft()
            binding = self._flows.by_number(key if isinstance(key, int) else key[0])
            if binding is not None:
                self._inquiries.plan_by(key, now + self._validity_s(binding))
        most = min(most, AT_ONCE)
        asked = [self._ask(key, inquiry) for key, inquiry in self._inquiries.pop(now, most)]
        return [message for message in asked if message], bool(self._new) or len(asked) == most

    def _ask(self, key: _Key, inquiry: int) -> Message | None:
        number = key if isinstance(key, int) else key[0]
        binding = self._flows.by_number(number)
        if binding is None:
            self._inquiries.forget(key)
            return None
        if isinstance(key, int) and has_several(binding):
            self._inquiries.forget(key)
            if not self._several.get(number):
                self._ended.append(binding)
            return None
        ends = _only_ends(binding) if isinstance(key, int) else key[1]
        zone = self.zone(binding, ends)
        inquiry |= WHOSE if number in self._doubtful else 0
        return connection_queries.ask(inquiry, number, binding.translated, _translated(binding, ends), zone)

    def pop_ended(self) -> list[Binding]:
        """Bindings without any connection, as far as known, since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def answered(self, answer: Answer, found: bool, now: float) -> Binding | None:
        """→ the binding, if this is the answer to the last inquiry about one of its connections."""
        number = answer.number
        binding = self._flows.by_number(number)
        if binding is None:
            return None
        key: _Key = (number, answer.ends) if has_several(binding) else number
        if not self._inquiries.take_answer(key, answer.inquiry & ~WHOSE):
            return None
        self._doubtful.discard(number)
        if found:
            self._inquiries.plan(key, now + self._pause_s(binding))
        else:
            self._inquiries.forget(key)
            self._several.get(number, {}).pop(answer.ends, None)
            self._inward.discard(number)
        return binding

    def _pause_s(self, binding: Binding) -> float:
        """From the answer that a connection is there to the next inquiry about it."""
        usual = max(LEAST_S, self._validity_s(binding) / PARTS)
        unseen = self._unseen.pop(binding.number, usual)
        if unseen >= usual:
            return usual
        self._unseen[binding.number] = unseen * LONGER
        return unseen

    def has_any(self, binding: Binding) -> bool:
        """Is there one that was not found to have ended?"""
        return binding.number in self._inquiries or bool(self._several.get(binding.number))

    # ---------------------------------------------------------------- single connections at the switch

    def zone(self, binding: Binding, ends: Ends) -> int:
        return self._settings.zone_of(len(binding.translated) == 16, ends.protocol == UDP)

    def end(self, binding: Binding, inside: bytes) -> Iterable[Message]:
        """``inside``: H'."""
        return [self.end_one(binding, each, inside) for each in self.of(binding)]

    def end_one(self, binding: Binding, connection: Connection, inside: bytes) -> EndConnection:
        (protocol, first, second), inward = connection
        peer, zone = PEER[len(inside) == 16], self.zone(binding, connection.ends)
        if not inward:
            return EndConnection(zone, inside, peer, protocol, first, second)
        icmp = connection_queries.is_icmp(protocol, inside)
        ports = (first, frames.ECHO_REQUEST[protocol] << 8) if icmp else (second, first)
        return EndConnection(zone, peer, binding.translated, protocol, *ports)

    def unpin(self, binding: Binding) -> Iterable[Message]:
        for ends, _ in self.of(binding):
            zone = self.zone(binding, ends)
            yield connection_queries.unpin(binding.translated, _translated(binding, ends), zone)
