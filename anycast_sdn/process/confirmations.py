"""Confirmations: switches confirm, by barriers, that they have installed what was sent; operators wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable

from os_ken.lib import hub

from anycast_sdn.control.controller import CONFIRMED_AFTER_S, Controller
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.process.faults import isolated

STEP_S = 0.02  # confirmations of this time are handled together
CONFIRMATION_S = 2.0  # a change by an operator is answered after this at the latest


class Confirmations:
    def __init__(
        self, controller: Controller, react: Callable[[Outcome], None], updating: Callable[[], set[str]]
    ) -> None:
        """``updating``: the switches at which what is decided does not count yet."""
        self._controller = controller
        self._react = react
        self._updating = updating
        self._waiting: list[tuple[float, tuple[int, int]]] = []  # (when they count, (datapath id, ticket))
        self._late: set[str] = set()  # switches that have not confirmed a change in time

    def note(self, dpid: int, ticket: int) -> None:
        """The switch has answered a barrier."""
        self._waiting.append((time.monotonic() + CONFIRMED_AFTER_S, (dpid, ticket)))

    def clear(self) -> None:
        self._waiting.clear()
        self._late.clear()

    def forget(self, dpid: int) -> None:
        self._waiting = [each for each in self._waiting if each[1][0] != dpid]

    def handle(self) -> None:
        now = time.monotonic()
        if tickets := [ticket for when, ticket in self._waiting if when <= now]:
            del self._waiting[: len(tickets)]
            if not self._confirm(tickets, now):
                for ticket in tickets:  # again, one at a time, so that a fault in one of them loses that one alone
                    self._confirm([ticket], now)

    @isolated
    def _confirm(self, tickets: list[tuple[int, int]], now: float) -> None:
        self._react(self._controller.confirmed(tickets, now))

    def wait(self) -> None:
        """Returns when switches have confirmed what is decided, or after ``CONFIRMATION_S``."""
        deadline = time.monotonic() + CONFIRMATION_S
        self._late &= self._updating()
        while (busy := self._updating() - self._late) and time.monotonic() < deadline:
            hub.sleep(STEP_S)
        self._late |= busy  # later changes do not wait for these switches
