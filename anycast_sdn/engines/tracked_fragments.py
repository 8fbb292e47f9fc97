"""TrackedFragments: what the engine ``conntrack`` does for packets in fragments, apart from deciding.

The tracker puts the fragments of a packet together, looks it up, and lets them go on, one behind the other.  So a first
packet in fragments comes to the controller in all its parts, but only the first part shows the ports: which flow the
others are of is remembered, for as long as the tracker waits for them.  Each part goes back to the switch with the same
actions; where they begin a connection, the last one that gets there does.

Where the switch would spoil fragments of UDP over IPv4, they have connections of their own
(``openflow.fragment_entries``), which begin and end here.

Nothing is sent from here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from anycast_sdn.core.bindings import Binding, BindingTable
from anycast_sdn.core.due import Due
from anycast_sdn.core.model import UDP, Address, FlowKey
from anycast_sdn.core.roles import Conntrack
from anycast_sdn.openflow import builders, fragment_entries, frames
from anycast_sdn.openflow.connections import source_port_of
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import OFPP_CONTROLLER, EndConnection, Message, Nat, PacketOut, Track

WAIT_S = 15.0  # so long Open vSwitch waits for the other fragments of a packet
MOST_PACKETS = 1000  # so many fragments it holds at once
KEEP_S = 20.0  # less than any timeout that Open vSwitch has by itself
MOST_FLOWS = 256  # of one binding whose ends are remembered; others end when they are idle
_NO_MAC = bytes(6)


class _Packet(NamedTuple):
    """The packet that a fragment is of."""

    number: int  # of the binding
    key: FlowKey
    until: float


class TrackedFragments:
    def __init__(self, settings: Conntrack) -> None:
        self.spoils = False  # would the switch spoil fragments of UDP over IPv4?
        self._translated_zone = fragment_entries.translated_zone(settings)
        self._redirected_zone = fragment_entries.redirected_zone(settings)
        self._packets: OrderedDict[bytes, _Packet] = OrderedDict()
        self._flows: dict[int, dict[FlowKey, None]] = {}  # number of a binding → its flows with such connections
        self._due: Due[int] = Due()  # when these are to be kept alive

    # ---------------------------------------------------------------- packets in several parts

    def remember(self, frame: bytes, number: int, key: FlowKey, now: float) -> None:
        """The first fragment of a packet: the others are of the same flow.  ``number``: of its binding."""
        self._packets[frames.packet_of(frame)] = _Packet(number, key, now + WAIT_S)
        if len(self._packets) > MOST_PACKETS:
            self._packets.popitem(last=False)

    def flow_of(self, frame: bytes, now: float) -> tuple[int, FlowKey] | None:
        """→ (number of the binding, the packet's flow); None: its first fragment is not known."""
        found = self._packets.get(frames.packet_of(frame))
        return (found.number, found.key) if found and now < found.until else None

    def are_translated(self, key: FlowKey) -> bool:
        """Do the fragments of this flow have connections of their own?"""
        return self.spoils and key.protocol == UDP and len(key.source) == 4

    # ---------------------------------------------------------------- connections for fragments

    def begin(self, binding: Binding, key: FlowKey, now: float) -> Iterator[Message]:
        """A flow with fragments: what has to be there before they go on.  ``key``: of the client's packets."""
        self._due.plan_by(binding.number, now + KEEP_S)
        flows = self._flows.setdefault(binding.number, {})
        if len(flows) < MOST_FLOWS:
            flows[key] = None
        yield from self._translate(binding, key, begins=True)
        if binding.server:
            yield from self._redirect(binding, binding.server, key, begins=True)

    def out(self, frame: bytes) -> PacketOut:
        return _sent_on(frame, Track(self._translated_zone, Table.TRACKED_OUT, translate=True))

    def back(self, frame: bytes) -> PacketOut:
        return _sent_on(frame, Track(self._redirected_zone, Table.TRACKED_IN, translate=True))

    def pinned(self, binding: Binding) -> Iterator[Message]:
        """A server has answered: further fragments are for it."""
        if binding.server:
            for key in self._flows.get(binding.number, ()):
                yield from self._redirect(binding, binding.server, key, begins=True)

    def tick(self, flows: BindingTable, now: float, most: int) -> Iterator[Message]:
        """While flows go on, their connections for fragments do, too, although no fragments come for a while.

        For some seconds after the end of a connection, Open vSwitch (before 3.2) begins no other one with the same
        ends; so they had better not end before the binding does.
        """
        for _ in range(most):
            number = self._due.pop(now)
            if number is None:
                return
            binding = flows.by_number(number)
            if binding is None:
                continue
            self._due.plan(number, now + KEEP_S)
            for key in self._flows.get(number, ()):
                yield from self._translate(binding, key, begins=False)
                if binding.server:
                    yield from self._redirect(binding, binding.server, key, begins=False)

    def unpin(self, binding: Binding, server: Address) -> Iterator[EndConnection]:
        """Further fragments are no longer for this server."""
        for key in self._flows.get(binding.number, ()):
            yield EndConnection(self._redirected_zone, *_reply(binding, server, key))

    def end(self, binding: Binding) -> Iterator[EndConnection]:
        """``binding``: as it was."""
        if binding.server:
            yield from self.unpin(binding, binding.server)
        self._due.cancel(binding.number)
        for key in self._flows.pop(binding.number, ()):
            yield EndConnection(self._translated_zone, *key)

    def _translate(self, binding: Binding, key: FlowKey, *, begins: bool) -> Iterator[PacketOut]:
        nat = Nat(True, binding.translated, binding.translated, source_port_of(binding, key))
        reply = FlowKey(key.destination, binding.translated, UDP, key.destination_port, nat.port)
        yield from _known(self._translated_zone, key, reply, nat if begins else None)

    def _redirect(self, binding: Binding, server: Address, key: FlowKey, *, begins: bool) -> Iterator[PacketOut]:
        sent = _reply(binding, server, key)
        answered = FlowKey(binding.translated, key.destination, UDP, sent.destination_port, sent.source_port)
        nat = Nat(True, key.destination, key.destination)
        yield from _known(self._redirected_zone, sent, answered, nat if begins else None)


def _reply(binding: Binding, server: Address, key: FlowKey) -> FlowKey:
    return FlowKey(server, binding.translated, UDP, key.destination_port, source_port_of(binding, key))


def _known(zone: int, key: FlowKey, reply: FlowKey, nat: Nat | None) -> Iterator[PacketOut]:
    """The tracker knows this flow from now on, or goes on to know it, by packets that are sent nowhere.

    Both directions: with packets of one alone, a connection has a shorter timeout.
    """
    begin = Track(zone, commit=nat is not None, translate=True, nat=nat)
    for each, track in ((key, begin), (reply, Track(zone, translate=True))):
        yield _sent_on(builders.ip_packet(each, eth_src=_NO_MAC, eth_dst=_NO_MAC), track)


def _sent_on(frame: bytes, track: Track) -> PacketOut:
    return PacketOut(frame, OFPP_CONTROLLER, (track,))
