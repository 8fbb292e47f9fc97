"""Fall-back trials: does a switch lack what the controller has a fall-back for?

As in ``ability_trials`` no packet matches the rules, and they are removed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from anycast_sdn.core.model import UDP, FlowKey, Prefix, packed
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.connection import Connection
from anycast_sdn.openflow.error_words import may_pass
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import (
    OFPP_CONTROLLER,
    OFPP_TABLE,
    AddFlow,
    Barrier,
    DeleteFlow,
    Field,
    FlowRule,
    Message,
    Output,
    PacketOut,
    ReportExpired,
    destination_in,
    eth_type,
    match,
    source_in,
)

BACK_S = 3.0  # within which a packet passes the tables, also of a slow switch
_COOKIE = 0xA17C_FF00_0000_0003
_NOBODY, _NOBODY_ELSE = packed("240.0.0.1"), packed("240.0.0.2")  # RFC 1112 §4: no host can have them
_NO_PACKET = match(eth_type(False), Field("ipv4_src", _NOBODY), Field("ipv4_dst", _NOBODY))


class FallbackTrial(NamedTuple):
    """Is ``message`` accepted by a switch that has the feature?"""

    feature: str  # the field of ``Features``
    message: Message


def _rule(table: Table, idle_s: int = 0, notify: bool = False) -> FlowRule:
    return FlowRule(table, 1, _NO_PACKET, _COOKIE, idle_timeout=idle_s, notify=notify)


# A packet that no host sends, and the rule that sends it back.
_FRAME = builders.ip_packet(
    FlowKey(_NOBODY, _NOBODY_ELSE, UDP, 9, 9), eth_src=bytes.fromhex("02ac00f7a603"),
    eth_dst=bytes.fromhex("02ac00f7a604"),
)  # fmt: skip
_THROUGH = PacketOut(_FRAME, OFPP_CONTROLLER, (Output(OFPP_TABLE),))
_BACK = FlowRule(
    Table.INGRESS, 3000, match(eth_type(False), source_in(Prefix.host(_NOBODY)),
    destination_in(Prefix.host(_NOBODY_ELSE))), _COOKIE, (Output(OFPP_CONTROLLER),),
)  # fmt: skip
_REPORTED = _rule(Table.CLIENT_IN, notify=True)


def fallback_trials() -> Iterator[FallbackTrial]:
    for table in (Table.CLIENT_OUT, Table.CLIENT_IN):
        yield FallbackTrial("idle_timeouts", AddFlow(_rule(table, idle_s=10)))
        yield FallbackTrial("idle_timeouts", DeleteFlow(_rule(table)))
    yield FallbackTrial("expired_reports", ReportExpired(True))
    yield FallbackTrial("report_flag", AddFlow(_REPORTED))
    yield FallbackTrial("table_output", _THROUGH)


def _ignore(taken: bool | None, why: str) -> None:
    """A barrier is no trial."""


class FallbackTrials:
    """``features``: as far as they are known; ``done`` is called with what has been found.

    What the switch does not answer stays as it was; but a report that does not come is missing, and so is a packet that
    a rule should have sent back.
    """

    def __init__(self, switch: Connection, features: Features, done: Callable[[Features], None]) -> None:
        self._switch = switch
        self._done = done
        self._trials = tuple(fallback_trials())
        tried = dict[str, Any](dict.fromkeys((trial.feature for trial in self._trials), True))
        self._features = replace(features, **tried)
        self._left = len(self._trials)
        self._sends_back = False  # the rule that should do that is there
        self._is_back: bool | None = None  # None: it may still come
        self._is_reported: bool | None = None  # likewise
        self._is_over = False

    def begin(self) -> None:
        self._switch.await_packets(self._take_packet, self._miss_packet, BACK_S)
        trials = ((trial.message, partial(self._take, trial.feature)) for trial in self._trials)
        self._switch.try_all([(AddFlow(_BACK), self._take_back), (Barrier(), _ignore), *trials])

    def _take_back(self, taken: bool | None, why: str) -> None:
        self._sends_back = bool(taken)

    def _take(self, feature: str, taken: bool | None, why: str) -> None:
        if taken is False or (why and not may_pass(why)):
            self._features = replace(self._features, **dict[str, Any]({feature: False}))
        self._left -= 1
        if self._left:
            return
        self._is_back = self._is_back if self._features.table_output else False
        if self._features.report_flag:
            self._switch.await_report(_REPORTED, self._take_report)
            self._switch.send([DeleteFlow(_REPORTED)])
        else:
            self._take_report(False)

    def _take_packet(self, in_port: int, frame: bytes) -> bool:
        if not frame.startswith(_FRAME):
            return False
        self._is_back = True
        self._end()
        return True

    def _miss_packet(self) -> None:
        self._is_back = bool(self._is_back)  # it may be there, while the report is still waited for
        self._end()

    def _take_report(self, reported: bool) -> None:
        self._is_reported = reported
        self._end()

    def _end(self) -> None:
        if self._is_back is None or self._is_reported is None or self._is_over:
            return
        self._is_over = True
        self._switch.await_no_packets()
        self._switch.send([DeleteFlow(_BACK)])
        passes = self._features.table_output and (self._is_back or not self._sends_back)
        self._done(replace(self._features, removed_reports=self._is_reported, table_output=passes))
