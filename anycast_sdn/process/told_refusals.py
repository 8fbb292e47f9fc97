"""ToldRefusals: what a switch refuses is told once for each kind of row and reason, not rule by rule.

A switch that lacks something refuses hundreds of rules for it.  What is still refused much later is told again.  Of one
switch no more than ``MOST_TOLD`` different ones are told within ``AGAIN_S``, whatever its errors say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from anycast_sdn.core.switch_events import RulesRefused
from anycast_sdn.openflow.pipeline import BINDING_KINDS, ROW, kind_of

AGAIN_S = 600.0  # until it is told again …
FULL_AGAIN_S = 60.0  # … if a table is full, which may change
MOST_TOLD = 64  # of one switch
_OF_FLOWS = frozenset(BINDING_KINDS.values())


class _Told(NamedTuple):
    what: str
    reason: str


class ToldRefusals:
    """``tell``: whom an event goes to."""

    def __init__(self, tell: Callable[[RulesRefused], None]) -> None:
        self._tell = tell
        self._told: dict[int, dict[_Told, float]] = {}  # by datapath id: when it was told

    def rule(self, dpid: int, name: str, cookie: int, full: bool, reason: str, now: float) -> None:
        """``name``: the switch's; ``cookie``: 0: a group or a meter."""
        what = words(cookie)
        told, of_switch = _Told(what, reason), self._told.setdefault(dpid, {})
        if now - of_switch.get(told, -AGAIN_S) < (FULL_AGAIN_S if full else AGAIN_S):
            return
        if told not in of_switch and len(of_switch) >= MOST_TOLD:
            for old in [each for each, when in of_switch.items() if now - when >= AGAIN_S]:
                del of_switch[old]
            if len(of_switch) >= MOST_TOLD:
                return
        of_switch[told] = now
        self._tell(RulesRefused(name, what, reason))

    def message(self, name: str, reason: str) -> None:
        """Any other message; each connection tells of each kind of error once."""
        self._tell(RulesRefused(name, "a message", reason))


def words(cookie: int) -> str:
    """The rules of a row, as the documentation of the pipeline has it."""
    kind = kind_of(cookie)
    if not cookie:
        return "a group or a meter"
    if kind is None:
        return "rules with cookies of others"  # whichever: a switch may quote what it likes
    if kind in _OF_FLOWS:
        return "rules of flows"
    row = ROW[kind]
    return f'rules of table {row.table.value} {row.table.name.lower()} for "{row.matches}"'
