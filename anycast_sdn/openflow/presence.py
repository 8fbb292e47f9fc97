"""Presence: by what a switch knows that the controller lives: rules with a hard timeout, which are put again and again.

When the controller ends in an orderly way, they are deleted.  When it is killed, hangs or is cut off, they expire.
"""

from __future__ import annotations

from collections.abc import Iterable

from anycast_sdn.openflow.rules import AddFlow, DeleteFlow, FlowRule, Message

LIVES_S = 2  # the hard timeout of the rules
PUT_S = 0.5  # from one time that they are put to the next


class Presence:
    """Of the controller, at one switch."""

    def __init__(self) -> None:
        self._rules: tuple[FlowRule, ...] = ()
        self._put_at = 0.0
        self._has_retired = False

    def connected(self, rules: Iterable[FlowRule]) -> None:
        """The switch has connected, and these rules say it there."""
        self._rules = tuple(rules)
        self._put_at = 0.0

    def tick(self, now: float) -> list[Message]:
        if self._has_retired or now < self._put_at:
            return []
        self._put_at = now + PUT_S
        return list(map(AddFlow, self._rules))

    def retire(self) -> list[Message]:
        """The controller ends."""
        self._has_retired = True
        return list(map(DeleteFlow, self._rules))
