"""Fall-back trials: does a switch lack what the controller has a fall-back for?

As in ``ability_trials`` no packet matches the rules, and they are removed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from anycast_sdn.openflow.channel import Channel
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import AddFlow, DeleteFlow, Field, FlowRule, Message, ReportExpired, eth_type, match

_COOKIE = 0xA17C_FF00_0000_0003
_NO_PACKET = match(eth_type(False), Field("ipv4_src", bytes(4)), Field("ipv4_dst", bytes(4)))


class FallbackTrial(NamedTuple):
    """Is ``message`` accepted by a switch that has the feature?"""

    feature: str  # the field of ``Features``
    message: Message


def _rule(table: Table, idle_s: int = 0, notify: bool = False) -> FlowRule:
    return FlowRule(table, 1, _NO_PACKET, _COOKIE, idle_timeout=idle_s, notify=notify)


_REPORTED = _rule(Table.CLIENT_IN, notify=True)


def fallback_trials() -> Iterator[FallbackTrial]:
    for table in (Table.CLIENT_OUT, Table.CLIENT_IN):
        yield FallbackTrial("idle_timeouts", AddFlow(_rule(table, idle_s=10)))
        yield FallbackTrial("idle_timeouts", DeleteFlow(_rule(table)))
    yield FallbackTrial("expired_reports", ReportExpired(True))
    yield FallbackTrial("report_flag", AddFlow(_REPORTED))


class FallbackTrials:
    """``features``: as far as they are known; ``done`` is called with what has been found.

    What the switch does not answer stays as it was; but a report that does not come is missing.
    """

    def __init__(self, switch: Channel, features: Features, done: Callable[[Features], None]) -> None:
        self._switch = switch
        self._done = done
        self._trials = tuple(fallback_trials())
        tried = dict[str, Any](dict.fromkeys((trial.feature for trial in self._trials), True))
        self._features = replace(features, **tried)
        self._left = len(self._trials)

    def begin(self) -> None:
        for trial in self._trials:
            self._switch.try_out(trial.message, partial(self._take, trial.feature))

    def _take(self, feature: str, taken: bool | None, why: str) -> None:
        if taken is False:
            self._features = replace(self._features, **dict[str, Any]({feature: False}))
        self._left -= 1
        if not self._left:
            self._switch.await_report(_COOKIE, self._take_report)
            self._switch.send([DeleteFlow(_REPORTED)])

    def _take_report(self, reported: bool) -> None:
        self._done(replace(self._features, removed_reports=reported))
