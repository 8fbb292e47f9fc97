"""FirstPackets: queues packets of new flows, and first replies, and serves all switches in turn.

While a switch is behind with the messages that they lead to, none of its packets is served (``backlog.Window``): a
switch processes messages in order, so packets of other ports would wait behind those of a flood.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.core.histogram import Histogram
from anycast_sdn.core.model import Address
from anycast_sdn.openflow import decoding
from anycast_sdn.openflow.pipeline import Kind
from anycast_sdn.process.backlog import RoundRobin, Window
from anycast_sdn.process.connections import Connections
from anycast_sdn.process.faults import isolated

TURN = 16  # first packets, and twice as many first replies, of one switch in its turn: 2 to 3 ms


class Waiting:
    """The first packets and first replies of one switch that are not served yet."""

    def __init__(self, wait_s: float) -> None:
        self.replies = RoundRobin[tuple[int, Address], decoding.PacketInMessage](wait_s)  # by ``ends_of_reply``
        self.first = RoundRobin[int, tuple[float, decoding.PacketInMessage]](wait_s)  # by ingress port; when it came
        self.window = Window()
        self.seconds = Histogram()  # from the arrival of first packets until what they lead to is sent
        self._shed = 0

    def __len__(self) -> int:
        return len(self.replies) + len(self.first)

    def __bool__(self) -> bool:
        return bool(self.replies or self.first)

    def may_be_served(self, now: float) -> bool:
        return bool(self) and self.window.is_open(now)

    def pop_shed(self) -> int:
        """How many packets were dropped since the last call."""
        before, self._shed = self._shed, self.replies.shed + self.first.shed
        return self._shed - before

    def pop(
        self, most: int, now: float
    ) -> tuple[list[decoding.PacketInMessage], list[tuple[float, decoding.PacketInMessage]]]:
        """→ (first replies, first packets with the times of their arrival).

        At most so many first packets, and twice as many replies: flows in progress should not wait for new ones.
        """
        return self.replies.pop(2 * most, now), self.first.pop(most, now)


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
        self.waiting = {dpid: Waiting(wait_s) for dpid in controller.switches}

    def add(self, dpid: int, kind: Kind | None, message: decoding.PacketInMessage) -> bool:
        """Queue a first packet or a first reply.  False: it is of another kind, which need not wait."""
        waiting = self.waiting[dpid]
        if kind is Kind.FIRST_PACKET or kind is Kind.SYN or kind is Kind.CLIENT_ERROR:
            now = time.monotonic()
            waiting.first.add(message.in_port, (now, message), now)
        elif kind is Kind.FIRST_REPLY:
            waiting.replies.add(self._controller.switches[dpid].ends_of_reply(message.frame), message, time.monotonic())
        else:
            return False
        return True

    def ready(self) -> list[int]:
        """The switches with packets that can be served now."""
        switches, now = self._controller.switches, time.monotonic()
        ready = (dpid for dpid, waiting in self.waiting.items() if waiting.may_be_served(now))
        return [dpid for dpid in ready if switches[dpid].serves_flows]

    def serve(self, dpid: int) -> None:
        """Serve one switch for a turn."""
        waiting = self.waiting[dpid]
        out = Outcome()
        replies, first = waiting.pop(TURN, time.monotonic())
        for message in replies:
            self._serve_one(dpid, message, time.monotonic(), out)
        for _, message in first:
            self._serve_one(dpid, message, time.monotonic(), out)
        if shed := waiting.pop_shed():
            out.add(self._controller.shed(dpid, shed))
        sent = len(out.outbox.get(dpid, ()))
        self._react(out)
        waiting.seconds.observe_since([came for came, _ in first], time.monotonic())
        switch = self._connections.channels.get(dpid)
        if switch and waiting.window.count_sent(sent, time.monotonic()):
            switch.probe(lambda _: self._probe_ended(waiting.window))

    def _probe_ended(self, window: Window) -> None:
        window.probe_ended()
        self._wake()

    @isolated
    def _serve_one(self, dpid: int, message: decoding.PacketInMessage, now: float, out: Outcome) -> None:
        """Add to ``out`` what the packet leads to."""
        out.add(self._controller.packet_in(dpid, *message, now=now))
