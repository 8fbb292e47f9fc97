"""Patience: how long each switch takes to confirm what it is sent, and how long others wait for it.

A switch that confirms late is waited for: twice as long as it took, from ``USUAL_S`` up to ``LONGEST_S``.  One that
does not confirm at all is waited for no longer than any other.  What was measured counts less with each later answer.
"""

from __future__ import annotations

USUAL_S = 1.0  # others wait so long for a switch of which nothing else is known
LONGEST_S = 10.0
PROMPT_S = 0.5  # an answer within this time is not late
FADES = 0.8  # what is left of a measured time with each later answer
MOST_AWAITED = 1000


class Patience:
    def __init__(self) -> None:
        self._took: dict[str, float] = {}  # by switch, where it was late
        self._awaited: dict[int, tuple[str, float]] = {}  # number → (switch, since when), also of those given up

    def sent(self, number: int, switch: str, now: float) -> None:
        self._awaited[number] = switch, now
        if len(self._awaited) > MOST_AWAITED:
            del self._awaited[next(iter(self._awaited))]

    def answered(self, switch: str, number: int, now: float) -> None:
        """A number that this switch was not sent is ignored."""
        if self._awaited.get(number, ("", 0.0))[0] != switch:
            return
        took = max(now - self._awaited.pop(number)[1], FADES * self._took.get(switch, 0.0))
        if took > PROMPT_S:
            self._took[switch] = took
        else:
            self._took.pop(switch, None)

    def late_s(self, switch: str) -> float:
        """By how much it answers late; 0.0: it does not."""
        return min(self._took.get(switch, 0.0), LONGEST_S)

    def of(self, switch: str) -> float:
        """How long others wait for it."""
        return min(max(USUAL_S, 2 * self._took.get(switch, 0.0)), LONGEST_S)
