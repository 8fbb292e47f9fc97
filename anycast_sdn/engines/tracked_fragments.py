"""TrackedFragments: what the engine ``conntrack`` does for packets in fragments, apart from deciding.

The tracker puts the fragments of a packet together, looks it up, and lets them go on, one behind the other.  So a first
packet in fragments comes to the controller in all its parts, but only the first part shows the ports: which flow the
others are of is remembered, for as long as the tracker waits for them.  Each part goes back to the switch with the same
actions; the last one that gets there begins the connection.

Where the switch would spoil fragments of UDP over IPv4, they have connections of their own
(``openflow.fragment_entries``), which begin and end here.

Nothing is sent from here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.model import UDP, Address, FlowKey
from anycast_sdn.core.roles import Conntrack
from anycast_sdn.openflow import builders, fragment_entries, frames
from anycast_sdn.openflow.connections import source_port_of
from anycast_sdn.openflow.pipeline import Table
from anycast_sdn.openflow.rules import OFPP_CONTROLLER, EndConnection, Message, Nat, PacketOut, Track

WAIT_S = 15.0  # so long Open vSwitch waits for the other fragments of a packet
MOST_PACKETS = 1000  # so many fragments it holds at once
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

    def begin_out(self, binding: Binding, key: FlowKey) -> Iterator[Message]:
        """A flow with fragments to ANY: what has to be there before they go on.  ``key``: of the client's packet."""
        self._note(binding.number, key)
        if binding.server:
            yield self._redirect(binding, binding.server, key)

    def out(self, frame: bytes, binding: Binding, key: FlowKey) -> PacketOut:
        nat = Nat(True, binding.translated, binding.translated, source_port_of(binding, key))
        return _sent_on(frame, Track(self._translated_zone, Table.TRACKED_OUT, commit=True, nat=nat))

    def begin_in(self, binding: Binding, key: FlowKey) -> Iterator[Message]:
        """A flow with fragments to PR1X.  ``key``: of the client's packets."""
        self._note(binding.number, key)
        nat = Nat(True, binding.translated, binding.translated, source_port_of(binding, key))
        yield _known(key, Track(self._translated_zone, commit=True, nat=nat))

    def back(self, frame: bytes, binding: Binding) -> PacketOut:
        nat = Nat(True, binding.key.destination, binding.key.destination)
        return _sent_on(frame, Track(self._redirected_zone, Table.TRACKED_IN, commit=True, nat=nat))

    def pinned(self, binding: Binding) -> Iterator[Message]:
        """A server has answered: further fragments are for it."""
        if binding.server:
            for key in self._flows.get(binding.number, ()):
                yield self._redirect(binding, binding.server, key)

    def unpin(self, binding: Binding, server: Address) -> Iterator[EndConnection]:
        """Further fragments are no longer for this server."""
        for key in self._flows.get(binding.number, ()):
            yield EndConnection(self._redirected_zone, *_reply(binding, server, key))

    def end(self, binding: Binding) -> Iterator[EndConnection]:
        """``binding``: as it was."""
        if binding.server:
            yield from self.unpin(binding, binding.server)
        for key in self._flows.pop(binding.number, ()):
            yield EndConnection(self._translated_zone, *key)

    def _note(self, number: int, key: FlowKey) -> None:
        flows = self._flows.setdefault(number, {})
        if len(flows) < MOST_FLOWS:
            flows[key] = None

    def _redirect(self, binding: Binding, server: Address, key: FlowKey) -> PacketOut:
        nat = Nat(True, key.destination, key.destination)
        return _known(_reply(binding, server, key), Track(self._redirected_zone, commit=True, nat=nat))


def _reply(binding: Binding, server: Address, key: FlowKey) -> FlowKey:
    return FlowKey(server, binding.translated, UDP, key.destination_port, source_port_of(binding, key))


def _known(key: FlowKey, track: Track) -> PacketOut:
    """The tracker knows this flow from now on, by a packet that is sent nowhere."""
    return _sent_on(builders.ip_packet(key, eth_src=_NO_MAC, eth_dst=_NO_MAC), track)


def _sent_on(frame: bytes, track: Track) -> PacketOut:
    return PacketOut(frame, OFPP_CONTROLLER, (track,))
