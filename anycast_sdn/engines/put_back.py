"""PutBack: connections that a switch's tracker has lost, or never had, are put there as they were (M20).

The controller does not know the sequence numbers of TCP connections, so those are made up.  A tracker that checks them
takes the packets of both ends for invalid then, and translates them all the same; but such packets do not keep the
connection alive.  So its rules send a copy of the client's next segment, by which the connection is put back once more,
with its numbers.

Connections that servers have begun are not put back: their next packet begins them again, from either side.
"""

from __future__ import annotations

from collections.abc import Iterator

from anycast_sdn.core.bindings import Binding, BindingTable
from anycast_sdn.core.model import TCP, Address
from anycast_sdn.engines.live_connections import Connection, LiveConnections, has_several
from anycast_sdn.engines.service_codes import ServiceCodes
from anycast_sdn.openflow import connections, frames
from anycast_sdn.openflow.connection_queries import Ends
from anycast_sdn.openflow.rules import Message

LATE_AT_ONCE = 20  # flows in one turn: some milliseconds


class PutBack:
    """``live``: the connections of one switch."""

    def __init__(self, live: LiveConnections, flows: BindingTable, codes: ServiceCodes) -> None:
        self._live = live
        self._flows = flows
        self._codes = codes
        self._without_code: list[int] = []  # numbers of flows whose services have none yet: another controller gives it
        self._late: list[int] = []  # of these, the ones that are looked at again
        self._seen_codes = 0
        self._made_up: dict[int, set[Ends]] = {}  # flow's number → its TCP connections with made-up numbers

    def connections_of(self, flow: Binding) -> Iterator[Message]:
        """What puts all connections of a flow back, at once or, for want of a code, later."""
        inside = self._codes.inside(flow.key)
        if inside is None:
            if not self._codes.gives:
                self._without_code.append(flow.number)
            return
        for ends, inward in self._live.of(flow):
            if inward and has_several(flow):
                continue
            messages = connections.put_back(flow, ends, inside, self._live.zone(flow, ends))
            if messages and ends.protocol == TCP:
                self._made_up.setdefault(flow.number, set()).add(ends)
            self._live.begun(flow, Connection(ends))
            yield from messages

    @property
    def has_more(self) -> bool:
        """Are there flows that ``late`` may put back now?"""
        return bool(self._late)

    def late(self) -> Iterator[Message]:
        """Some of the flows whose services have had no code before, if others have one now."""
        if self._codes.changes != self._seen_codes:
            self._seen_codes = self._codes.changes
            self._late += self._without_code
            self._without_code = []
        some, self._late = self._late[-LATE_AT_ONCE:], self._late[:-LATE_AT_ONCE]
        for flow in filter(None, map(self._flows.by_number, some)):
            yield from self.connections_of(flow)

    def is_made_up(self, flow: Binding) -> bool:
        """Has it connections whose numbers are not those of its packets?"""
        return flow.number in self._made_up

    def with_numbers_of(self, frame: bytes, flow: Binding, inside: Address) -> Iterator[Message]:
        """``frame``: a segment that its client has sent, as translated.  Raises BadFrame."""
        packet = frames.parse_ip(frame)
        numbers = connections.numbers_of(frame, packet)
        ends = Ends(TCP, packet.key.source_port, packet.key.destination_port)
        if flow.translated_port:
            ends = ends._replace(first=flow.key.source_port)
        made_up = self._made_up.get(flow.number, set())
        if numbers is None or ends not in made_up:
            return
        made_up.remove(ends)
        if not made_up:
            self.forget(flow)
        yield self._live.end_one(flow, Connection(ends), inside)
        yield from connections.put_back(flow, ends, inside, self._live.zone(flow, ends), numbers)

    def forget(self, flow: Binding) -> None:
        """It has ended."""
        self._made_up.pop(flow.number, None)
