"""FirstPackets: packets of new flows, and first replies, of all switches, served in turn.

Where nobody waits, the few that a switch has just sent are served at once, by the thread that has read them: no order
is better for them than that of their arrival.  If there are more, or if some wait already, they are queued, and all
switches are served in turn by a thread of its own.

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
from anycast_sdn.openflow import decoding
from anycast_sdn.openflow.row import Kind
from anycast_sdn.process import garbage
from anycast_sdn.process.backlog import IN_ORDER, RoundRobin, Window
from anycast_sdn.process.connections import Connections
from anycast_sdn.process.faults import isolated

TURN = 32  # first packets, and twice as many first replies, of one switch in its turn: 2 to 3 ms

Arrived: TypeAlias = tuple[float, decoding.PacketInMessage]  # when it came


class Waiting:
    """The first packets and first replies of one switch that are not served yet.

    ``ends_of_reply``: of a first reply's frame, see ``ManagedSwitch``.
    """

    def __init__(self, wait_s: float, ends_of_reply: Callable[[bytes], tuple[int, Address]]) -> None:
        self.window = Window()
        self.seconds = Histogram()  # from the arrival of first packets until what they lead to is sent
        self._wait_s = wait_s
        self._ends_of_reply = ends_of_reply
        self._replies = RoundRobin[tuple[int, Address], Arrived](wait_s)  # by ``ends_of_reply``
        self._first = RoundRobin[int, Arrived](wait_s)  # by ingress port
        self._new_replies: list[Arrived] = []  # not queued yet; none while others are
        self._new_first: list[Arrived] = []
        self._new_since = 0.0  # when the first of these came
        self.is_queued = False  # do some wait for turns?
        self._shed = 0

    def __len__(self) -> int:
        return len(self._new_replies) + len(self._new_first) + len(self._replies) + len(self._first)

    def __bool__(self) -> bool:
        return bool(self.is_queued or self._new_first or self._new_replies)

    def may_be_served(self, now: float) -> bool:
        return bool(self) and self.window.is_open(now)

    def add(self, is_reply: bool, message: decoding.PacketInMessage, now: float) -> None:
        if not self._new_replies and not self._new_first:
            self._new_since = now
        (self._new_replies if is_reply else self._new_first).append((now, message))
        if len(self._new_replies) + len(self._new_first) > TURN or self.is_queued:
            self._queue()

    def _queue(self) -> None:
        for arrived in self._new_replies:
            self._replies.add(self._ends_of_reply(arrived[1].frame), arrived, arrived[0])
        for arrived in self._new_first:
            self._first.add(arrived[1].in_port, arrived, arrived[0])
        self._new_replies, self._new_first = [], []
        self.is_queued = True

    def pop_shed(self) -> int:
        """How many packets were dropped since the last call."""
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
        wait_s = controller.network.limits.wait_ms / 1000
        self.waiting = {dpid: Waiting(wait_s, switch.ends_of_reply) for dpid, switch in controller.switches.items()}

    def add(self, dpid: int, kind: Kind | None, message: decoding.PacketInMessage) -> bool:
        """Keep a first packet or a first reply until ``turn_ended``.  False: it is neither, and need not wait."""
        is_reply = kind is Kind.FIRST_REPLY or kind is Kind.UNTRACKED_REPLY
        if is_reply or kind is Kind.FIRST_PACKET or kind is Kind.SYN or kind is Kind.CLIENT_ERROR:
            self.waiting[dpid].add(is_reply, message, time.monotonic())
            return True
        return False

    def turn_ended(self, dpid: int) -> None:
        """Some messages of a switch have been read: serve what is among them at once, where nobody waits."""
        waiting = self.waiting[dpid]
        if not waiting:
            return
        may_serve = self._controller.switches[dpid].serves_flows and waiting.window.is_open(time.monotonic())
        if may_serve and not waiting.is_queued:
            self.serve(dpid)
        else:
            self._wake()

    def ready(self) -> list[int]:
        """The switches with packets that can be served now."""
        switches, now = self._controller.switches, time.monotonic()
        ready = (dpid for dpid, waiting in self.waiting.items() if waiting.may_be_served(now))
        return [dpid for dpid in ready if switches[dpid].serves_flows]

    def serve(self, dpid: int) -> None:
        """Serve one switch for a turn."""
        garbage.collect_new()
        waiting = self.waiting[dpid]
        out = Outcome()
        replies, first = waiting.pop(TURN, time.monotonic())
        for _, message in replies:
            self._serve_one(dpid, message, time.monotonic(), out)
        for _, message in first:
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
