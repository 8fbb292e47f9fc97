"""Echoes: does the switch at the other end of a connection answer?

It is asked by echo requests, every ``ECHO_S``, and at once when somebody doubts it.  A connection whose packets are
swallowed on their way ends by nothing else.

Time passes in ``tick`` alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

ECHO_S, ECHOES_MISSED = 1.5, 2  # a silent switch is noticed within 6 s
OWED_S = 0.5  # an answer that takes longer is awaited: what the switch does not say means nothing until then
GONE_S = 2.0  # without an answer and without a byte: with other evidence, that is enough


class Echoes:
    """``send``, here and there, sends a request, and returns its transaction id."""

    def __init__(self) -> None:
        self._until_next_s = 0.0
        self._unanswered: deque[int] = deque()  # transaction ids
        self._owed_s = 0.0  # for which there is at least one of them, and no sign of life
        self._quiet_s = 0.0  # since the last byte

    def __contains__(self, xid: int) -> bool:
        return xid in self._unanswered

    @property
    def are_owed(self) -> bool:
        return bool(self._unanswered) and self._owed_s >= OWED_S

    @property
    def are_awaited(self) -> bool:
        """For at least one tick."""
        return bool(self._unanswered) and self._owed_s > 0.0

    @property
    def seem_gone(self) -> bool:
        """Nothing has come from the switch for long, though it was asked."""
        return bool(self._unanswered) and min(self._owed_s, self._quiet_s) >= GONE_S

    def ask(self, send: Callable[[], int]) -> None:
        """Ask now, unless an answer is awaited already."""
        if not self._unanswered:
            self._ask(send)

    def tick(self, passed: float, send: Callable[[], int]) -> bool:
        """So many seconds have passed → False: it does not answer any more."""
        self._quiet_s += passed
        self._owed_s += passed if self._unanswered else 0.0
        self._until_next_s -= passed
        if self._until_next_s <= 0:
            if len(self._unanswered) > ECHOES_MISSED:
                return False
            self._ask(send)
        return True

    def _ask(self, send: Callable[[], int]) -> None:
        self._until_next_s = ECHO_S
        self._unanswered.append(send())

    def received(self) -> None:
        """Some bytes have come, of whatever."""
        self._quiet_s = 0.0

    def answered(self, xid: int) -> None:
        while self._unanswered.popleft() != xid:
            pass
        self._owed_s = 0.0

    def clear(self) -> None:
        """It is alive: replies queue behind something else that it says."""
        self._unanswered.clear()
        self._owed_s = 0.0
