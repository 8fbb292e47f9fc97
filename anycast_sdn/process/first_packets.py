"""FirstPackets: packets of new flows, first replies, and copies of such, of all switches, served in turn.

Where nobody waits, the few that a switch has just sent are served at once, by the thread that has read them: no order
is better for them than that of their arrival.  If there are more, or if some wait already, they are queued, and all
switches are served in turn by a thread of its own.

Nobody waits for copies, which tell of what a switch has done by itself: they have what time is left by the others, and
may wait longer.  Those that are shed then are flows that are not known (``SwitchAllocation`` counts them), or not known
to be pinned until the switch is asked for them.

While a switch is behind with the messages that they lead to, none of its packets is served (``backlog.Window``): a
switch processes messages in order, so packets of other ports would wait behind those of a flood.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.core.histogram import Histogram
from anycast_sdn.core.model import Address
from anycast_sdn.openflow import decoding, frames
from anycast_sdn.openflow.pipeline import REPORTS
from anycast_sdn.openflow.row import Kind
from anycast_sdn.process import garbage
from anycast_sdn.process.backlog import IN_ORDER, RoundRobin, Window
from anycast_sdn.process.connections import Connections
from anycast_sdn.process.faults import isolated

TURN = 32  # first packets, and twice as many first replies, of one switch in its turn: 2 to 3 ms; …
COPIES = 16  # … fewer than are read in the meantime, so that what is behind them is read soon; …
COPIED_REPLIES = 2 * TURN  # … not fewer than first packets: each of these leads to one
COPY_WAIT_S = 2.0  # that copies may wait

_REPLIES = frozenset((Kind.FIRST_REPLY, Kind.UNTRACKED_REPLY))
_FIRST = frozenset((Kind.FIRST_PACKET, Kind.SYN, Kind.CLIENT_ERROR))
_COPIED_REPLIES = frozenset((Kind.MEMBER_REPLY, Kind.MEMBER_REPLY_UDP))
# Copies, and what may be about flows that only these tell of: it waits behind them where there are any.
_COPIES = REPORTS | _COPIED_REPLIES | {Kind.OTHER_NUMBERS, Kind.TCP_END, Kind.ICMP_ERROR}

Arrived: TypeAlias = tuple[float, decoding.PacketInMessage]  # when it came


class Waiting:
    """The first packets, first replies and copies of one switch that are not served yet.

    ``ends_of_reply``: of a first reply's frame, see ``ManagedSwitch``.
    """

    def __init__(self, wait_s: float, ends_of_reply: Callable[[bytes], tuple[int, Address]]) -> None:
        self.window = Window()
        self.seconds = Histogram()  # from the arrival of first packets until what they lead to is sent
        self._wait_s = wait_s
        self._ends_of_reply = ends_of_reply
        self._replies = RoundRobin[tuple[int, Address], Arrived](wait_s)  # by ``ends_of_reply``
        self._first = RoundRobin[int, Arrived](wait_s)  # by ingress port
        # Copies of first replies, by server, and all others, by ingress port, in their order: so that a flow is known
        # before it ends.
        self._copied_replies = RoundRobin[Address, Arrived](COPY_WAIT_S, in_order=1)
        self._copies = RoundRobin[int, Arrived](COPY_WAIT_S, in_order=1)
        self._new_replies: list[Arrived] = []  # not queued yet; none while others are
        self._new_first: list[Arrived] = []
        self._new_since = 0.0  # when the first of these came
        self.is_queued = False  # do some wait for turns, other than copies?
        self._shed = 0

    def __len__(self) -> int:
        return len(self._new_replies) + len(self._new_first) + len(self._replies) + len(self._first)

    def __bool__(self) -> bool:
        return bool(self.is_queued or self._new_first or self._new_replies or self.copies)

    @property
    def copies(self) -> int:
        return len(self._copies) + len(self._copied_replies)

    def may_be_served(self, now: float) -> bool:
        return bool(self) and self.window.is_open(now)

    def add(self, is_reply: bool, message: decoding.PacketInMessage, now: float) -> None:
        if not self._new_replies and not self._new_first:
            self._new_since = now
        (self._new_replies if is_reply else self._new_first).append((now, message))
        if len(self._new_replies) + len(self._new_first) > TURN or self.is_queued:
            self._queue()

    def add_copy(self, kind: Kind, message: decoding.PacketInMessage, now: float) -> bool:
        """False: it need not wait, because it is about a flow that has begun, and none waits that tells of that."""
        if kind in _COPIED_REPLIES:
            self._copied_replies.add(frames.source_of(message.frame), (now, message), now)
        elif (kind is Kind.ICMP_ERROR and not self._copies) or (
            kind is Kind.TCP_END and message.in_port not in self._copies
        ):
            return False
        else:
            self._copies.add(message.in_port, (now, message), now)
        return True

    def _queue(self) -> None:
        for arrived in self._new_replies:
            self._replies.add(self._ends_of_reply(arrived[1].frame), arrived, arrived[0])
        for arrived in self._new_first:
            self._first.add(arrived[1].in_port, arrived, arrived[0])
        self._new_replies, self._new_first = [], []
        self.is_queued = True

    def pop_shed(self) -> int:
        """How many packets were dropped since the last call; copies are none."""
        before, self._shed = self._shed, self._replies.shed + self._first.shed
        return self._shed - before

    def pop(self, most: int, now: float) -> tuple[list[Arrived], list[Arrived]]:
        """→ (first replies, first packets), which are to be served in this order.

        At most so many first packets, and twice as many replies: flows in progress should not wait for new ones.
        """
        replies, first = self._new_replies, self._new_first
        if self.is_queued or len(first) > most or now - self._new_since > self._wait_s * IN_ORDER:
            self._queue()
            popped = self._replies.pop(2 * most, now), self._first.pop(most, now)
            self.is_queued = bool(self._replies or self._first)
            return popped
        self._new_replies, self._new_first = [], []
        return replies, first

    def pop_copies(self, now: float) -> list[Arrived]:
        """Those for one turn."""
        return [*self._copies.pop(COPIES, now), *self._copied_replies.pop(COPIED_REPLIES, now)]


class FirstPackets:
    """``react``: carries out what an event has led to; ``wake``: makes the thread run that calls ``serve``."""

    def __init__(
        self,
        controller: Controller,
        connections: Connections,
        react: Callable[[Outcome], None],
        wake: Callable[[], None],
    ) -> None:
        self._controller = controller
        self._connections = connections
        self._react = react
        self._wake = wake
        self._wait_s = controller.network.limits.wait_ms / 1000
        self.waiting = {dpid: self._new(dpid) for dpid in controller.switches}

    def _new(self, dpid: int) -> Waiting:
        return Waiting(self._wait_s, lambda frame: self._controller.switches[dpid].ends_of_reply(frame))

    def drop(self, dpid: int) -> int:
        """Another controller serves this switch: what waits is dropped → how many packets."""
        before, self.waiting[dpid] = self.waiting[dpid], self._new(dpid)
        self.waiting[dpid].seconds = before.seconds
        return len(before)

    def add(self, dpid: int, kind: Kind | None, message: decoding.PacketInMessage) -> bool:
        """Keep a first packet, a first reply or a copy until ``turn_ended``.  False: it is none, and need not wait."""
        if kind in _FIRST or kind in _REPLIES:
            self.waiting[dpid].add(kind in _REPLIES, message, time.monotonic())
            return True
        return kind in _COPIES and self.waiting[dpid].add_copy(kind, message, time.monotonic())

    def turn_ended(self, dpid: int) -> None:
        """Some messages of a switch have been read: serve what is among them at once, where nobody waits."""
        waiting = self.waiting[dpid]
        if not waiting:
            return
        may_serve = self._controller.switches[dpid].serves_flows and waiting.window.is_open(time.monotonic())
        few_copies = waiting.copies <= COPIES
        if may_serve and not waiting.is_queued:
            self.serve(dpid, copies=few_copies)
        if not may_serve or waiting:
            self._wake()

    def ready(self) -> list[int]:
        """The switches with packets that can be served now."""
        switches, now = self._controller.switches, time.monotonic()
        ready = (dpid for dpid, waiting in self.waiting.items() if waiting.may_be_served(now))
        return [dpid for dpid in ready if switches[dpid].serves_flows]

    def serve(self, dpid: int, *, copies: bool = True) -> None:
        """Serve one switch for a turn.  ``copies``: these, too?"""
        garbage.collect_new()
        waiting = self.waiting[dpid]
        out = Outcome()
        replies, first = waiting.pop(TURN, time.monotonic())
        for _, message in replies:
            self._serve_one(dpid, message, time.monotonic(), out)
        for _, message in (*first, *(waiting.pop_copies(time.monotonic()) if copies else ())):
            self._serve_one(dpid, message, time.monotonic(), out)
        if shed := waiting.pop_shed():
            out.add(self._controller.shed(dpid, shed))
        sent = len(out.outbox.get(dpid, ()))
        self._react(out)
        if not out.events:
            garbage.exempt_new()  # bindings; packets that are refused may leave cycles
        waiting.seconds.observe_since([came for came, _ in first], time.monotonic())
        switch = self._connections.channels.get(dpid)
        if switch and waiting.window.count_sent(sent, time.monotonic()):
            switch.probe(lambda _: self._probe_ended(waiting))

    def _probe_ended(self, waiting: Waiting) -> None:
        waiting.window.probe_ended()
        if waiting:
            self._wake()

    @isolated
    def _serve_one(self, dpid: int, message: decoding.PacketInMessage, now: float, out: Outcome) -> None:
        """Add to ``out`` what the packet leads to."""
        out.add(self._controller.packet_in(dpid, *message, now=now))
