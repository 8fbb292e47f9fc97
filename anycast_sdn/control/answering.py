"""Answering: which switches do not answer the controller, though they are connected.

Such a switch can neither be told to send LLDP nor report what it hears, so silence at both ends of its links says
nothing about them.  When it answers again, LLDP has ``CHANCE_S`` to come through.
"""

from __future__ import annotations

from collections.abc import Collection

CHANCE_S = 1.0  # two rounds of LLDP


class Answering:
    def __init__(self) -> None:
        self._owing: frozenset[str] = frozenset()
        self._excused_until: dict[str, float] = {}  # of those that answer again

    def update(self, owing: Collection[str], now: float) -> None:
        """These switches, and no others, owe an answer now."""
        self._excused_until = {name: until for name, until in self._excused_until.items() if now < until}
        self._excused_until |= dict.fromkeys(self._owing.difference(owing), now + CHANCE_S)
        self._owing = frozenset(owing)

    def owes(self, switch: str) -> bool:
        return switch in self._owing

    def excuses(self, switch: str, now: float) -> bool:
        """Does the silence of this switch's links say nothing?"""
        return switch in self._owing or now < self._excused_until.get(switch, now)
