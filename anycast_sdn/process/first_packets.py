"""FirstPackets: packets of new flows, and first replies, that wait for the controller; all switches in turn.

A switch is sent no more of what follows from them than it works off (``backlog.Window``): what it owes it answers in
order, so others' packets would wait behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.core.events import Drop, PacketsDropped
from anycast_sdn.core.model import Address
from anycast_sdn.openflow import decoding
from anycast_sdn.openflow.pipeline import Kind
from anycast_sdn.process.backlog import Turns, Window
from anycast_sdn.process.connections import Connections
from anycast_sdn.process.faults import alone

TURN = 16  # first packets of one switch, and twice as many first replies, then it is another's turn: 2 to 3 ms


class Waiting:
    """What one switch has sent up about flows, and nobody has looked at yet."""

    def __init__(self, wait_s: float) -> None:
        self.replies = Turns[tuple[int, Address], decoding.PacketInMessage](wait_s)  # by ``whose_reply``
        self.first = Turns[int, decoding.PacketInMessage](wait_s)  # by the port where they came in
        self.window = Window()
        self._shed = 0

    def __bool__(self) -> bool:
        return bool(self.replies or self.first)

    def may_be_served(self, now: float) -> bool:
        return bool(self) and self.window.is_open(now)

    def pop_shed(self) -> int:
        """How many packets have waited too long since this was asked last."""
        before, self._shed = self._shed, self.replies.shed + self.first.shed
        return self._shed - before

    def pop(self, most: int, now: float) -> list[decoding.PacketInMessage]:
        """So many of what is new, and twice as many of what has begun: it should not wait for what is new."""
        return self.replies.pop(2 * most, now) + self.first.pop(most, now)


class FirstPackets:
    """``react``: sends what the controller wants; ``serve_again``: a switch can be served again."""

    def __init__(
        self,
        controller: Controller,
        connections: Connections,
        react: Callable[[Outcome], None],
        serve_again: Callable[[], None],
    ) -> None:
        self._controller = controller
        self._connections = connections
        self._react = react
        self._serve_again = serve_again
        wait_s = controller.network.limits.wait_ms / 1000
        self.waiting = {dpid: Waiting(wait_s) for dpid in controller.switches}

    def add(self, dpid: int, kind: Kind | None, message: decoding.PacketInMessage) -> bool:
        """False for packets of other kinds, which need not wait."""
        waiting = self.waiting[dpid]
        if kind is Kind.FIRST_PACKET or kind is Kind.SYN:
            waiting.first.add(message.in_port, message, time.monotonic())
        elif kind is Kind.FIRST_REPLY:
            waiting.replies.add(self._controller.switches[dpid].whose_reply(message.frame), message, time.monotonic())
        else:
            return False
        return True

    def served(self) -> list[int]:
        """The switches of which something waits that can be served now."""
        edges, now = self._controller.switches, time.monotonic()
        served = (dpid for dpid, waiting in self.waiting.items() if waiting.may_be_served(now))
        return [dpid for dpid in served if edges[dpid].serves_flows]

    def serve(self, dpid: int) -> None:
        """A turn of one switch."""
        waiting = self.waiting[dpid]
        out = Outcome()
        for message in waiting.pop(TURN, time.monotonic()):
            self._serve_one(dpid, message, time.monotonic(), out)
        if shed := waiting.pop_shed():
            out.events.append(PacketsDropped(self._connections.name(dpid), Drop.WAITED_TOO_LONG, shed))
        sent = len(out.outbox.get(dpid, ()))
        self._react(out)
        switch = self._connections.channels.get(dpid)
        if switch and waiting.window.sent(sent, time.monotonic()):
            switch.probe(lambda _: self._worked_off(waiting.window))

    def _worked_off(self, window: Window) -> None:
        """The switch has come so far, or does not say: who still waits may be served."""
        window.passed()
        self._serve_again()

    @alone
    def _serve_one(self, dpid: int, message: decoding.PacketInMessage, now: float, out: Outcome) -> None:
        """Adds to ``out`` what follows."""
        out.add(self._controller.packet_in(dpid, *message, now=now))
