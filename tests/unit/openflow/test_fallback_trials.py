"""What a switch is found to lack that the controller has a fall-back for."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.core.model import Prefix
from anycast_sdn.openflow import entries
from anycast_sdn.openflow.adapted import adapted
from anycast_sdn.openflow.fallback_trials import FallbackTrials, fallback_trials
from anycast_sdn.openflow.fallbacks import FALLBACKS, fallbacks, needs_sweep
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.layout import FIVE_TABLES, THREE_TABLES, Layout
from anycast_sdn.openflow.pipeline import cookie, kind_of
from anycast_sdn.openflow.row import Kind, Table
from anycast_sdn.openflow.rules import AddFlow, DecTtl, FlowRule, Output
from tests.unit.openflow.test_questions import OTHER_SWITCH, Dialogue
from tests.unit.switch_end import Peer, error, in_trials, message

ROUTE = entries.route(Prefix.parse("10.2.0.0/24"), 3)
_FLOW_MOD = struct.Struct("!QQBBHHHIIIH")  # OF 1.3.5 §7.3.4.1
BAD_TIMEOUT, BAD_FLAGS = (ofp.OFPET_FLOW_MOD_FAILED, 5), (ofp.OFPET_FLOW_MOD_FAILED, ofp.OFPFMFC_BAD_FLAGS)
BAD_TYPE = (ofp.OFPET_BAD_REQUEST, ofp.OFPBRC_BAD_TYPE)


class Unable(Dialogue):
    """Not Open vSwitch.  What it refuses: ``idle`` timeouts, rules that ask for ``reports``, ``set_async``, packets to
    its ``tables``.  It reports 0 for all cookies, as one that keeps none.

    ``removes``: it reports the removal of rules; ``passes``: packets pass its tables.
    """

    def __init__(
        self, *, idle: bool = False, reports: bool = False, set_async: bool = False, tables: bool = False,
        removes: bool = True, passes: bool = True,
    ) -> None:  # fmt: skip
        self._idle, self._reports, self._set_async = idle, reports, set_async
        self._refuses_packets = tables
        hidden = {ofp.OFPT_FLOW_MOD: removes and not reports, ofp.OFPT_PACKET_OUT: passes and not tables}
        self._hidden = {kind for kind, shown in hidden.items() if not shown}
        super().__init__(OTHER_SWITCH)

    def _answer(self, kind: int, xid: int, body: bytes) -> None:
        if kind == ofp.OFPT_SET_ASYNC and self._set_async:
            self.say(error(*BAD_TYPE, xid=xid))
        if kind == ofp.OFPT_FLOW_MOD:
            self._take_rule(xid, body)
        self._hides = self._hidden
        if kind == ofp.OFPT_PACKET_OUT and self._refuses_packets:
            self.say(error(ofp.OFPET_BAD_ACTION, ofp.OFPBAC_BAD_OUT_PORT, xid=xid))
        super()._answer(kind, xid, body)

    def say(self, data: bytes) -> None:
        super().say(data[:8] + bytes(8) + data[16:] if data[1:2] == bytes((ofp.OFPT_FLOW_REMOVED,)) else data)

    def _take_rule(self, xid: int, body: bytes) -> None:
        _, _, _, _, idle, *_, flags = _FLOW_MOD.unpack_from(body)
        if idle and self._idle:
            self.say(error(*BAD_TIMEOUT, xid=xid))
        elif flags and self._reports:
            self.say(error(*BAD_FLAGS, xid=xid))


class Unsaid(Unable):
    """It refuses what is tried of this kind, without saying that it lacks it: with ``refusal``."""

    def __init__(self, tried: int, refusal: tuple[int, int]) -> None:
        self._tried, self._refusal = tried, refusal
        super().__init__()

    def _answer(self, kind: int, xid: int, body: bytes) -> None:
        is_refused = kind == self._tried
        if kind == self._tried == ofp.OFPT_FLOW_MOD:
            _, _, _, _, idle, *_, flags = _FLOW_MOD.unpack_from(body)
            is_refused = bool(idle or flags)
        if is_refused:
            self.say(error(*self._refusal, xid=xid))
        super()._answer(kind, xid, body)


def found(dialogue: Dialogue) -> Features:
    features: Features
    ((_, features, _),) = dialogue.results
    return features


def test_a_switch_that_takes_everything_needs_no_fallback() -> None:
    dialogue = Unable()
    assert not list(fallbacks(found(dialogue), of_flows=True))
    assert not needs_sweep(found(dialogue))
    assert dialogue.now - 100.0 <= 1, "only packets are waited for, which it does not send back"


@pytest.mark.parametrize(
    ("lacks", "features"),
    [
        ({"idle": True}, {"idle_timeouts"}),
        ({"reports": True}, {"report_flag", "removed_reports"}),
        ({"removes": False}, {"removed_reports"}),
        ({"set_async": True}, {"expired_reports"}),
        ({"tables": True}, {"table_output"}),
        ({"passes": False}, {"table_output"}),
    ],
)
def test_what_a_switch_lacks_is_found(lacks: dict[str, Any], features: set[str]) -> None:
    of_fallbacks = {"report_flag", *(each.feature for each in FALLBACKS)}
    result = found(Unable(**lacks))
    assert {name for name in of_fallbacks if not getattr(result, name)} == features
    assert needs_sweep(result) is bool(features - {"expired_reports", "table_output"})


UNKNOWN, FULL = ((ofp.OFPET_FLOW_MOD_FAILED, code) for code in (ofp.OFPFMFC_UNKNOWN, ofp.OFPFMFC_TABLE_FULL))
OF_ASYNC = 15, 0  # ASYNC_CONFIG_FAILED of OpenFlow 1.4


@pytest.mark.parametrize("refusal", [UNKNOWN, (0xFFFF, 1)])
def test_a_refusal_for_no_reason_counts_as_one(refusal: tuple[int, int]) -> None:
    result = found(Unsaid(ofp.OFPT_FLOW_MOD, refusal))
    assert (result.idle_timeouts, result.report_flag) == (False, False)
    assert result.lacks == ()


@pytest.mark.parametrize("refusal", [OF_ASYNC, (ofp.OFPET_SWITCH_CONFIG_FAILED, ofp.OFPSCFC_BAD_FLAGS)])
def test_a_switch_may_refuse_to_be_asked_for_expired_ttls_with_any_error(refusal: tuple[int, int]) -> None:
    assert not found(Unsaid(ofp.OFPT_SET_ASYNC, refusal)).expired_reports


def test_want_of_room_is_no_lack() -> None:
    result = found(Unsaid(ofp.OFPT_FLOW_MOD, FULL))
    assert (result.idle_timeouts, result.report_flag) == (True, True)


class Late(Peer):
    """A switch that does everything, so many seconds late."""

    def __init__(self, late_s: float) -> None:
        super().__init__()
        found: list[Features] = []
        waiting: list[tuple[float, bytes]] = []
        FallbackTrials(self.connection, Features(open_vswitch=False), found.append).begin()
        for _ in range(80):
            for kind, xid, body in self.sent():
                barrier = message(ofp.OFPT_BARRIER_REPLY, b"", xid) if kind == ofp.OFPT_BARRIER_REQUEST else b""
                echo = message(ofp.OFPT_ECHO_REPLY, body, xid) if kind == ofp.OFPT_ECHO_REQUEST else b""
                answers = (barrier, echo, in_trials(kind, body))
                waiting += [(self.now + late_s, answer) for answer in answers if answer]
            while waiting and waiting[0][0] <= self.now:
                self.say(waiting.pop(0)[1])
            self.now += 0.25
            self.connection.tick(self.now)
        (self.features,) = found


@pytest.mark.parametrize("late_s", [0.0, 1.0, 2.0])
def test_what_a_switch_does_late_it_does(late_s: float) -> None:
    features = Late(late_s).features
    assert not needs_sweep(features)
    assert not list(fallbacks(features, of_flows=True))


def test_rules_of_these_trials_belong_to_no_row() -> None:
    rules = [trial.message.rule for trial in fallback_trials() if isinstance(trial.message, AddFlow)]
    assert rules
    assert not any(kind_of(rule.cookie) for rule in rules)


@pytest.mark.parametrize("layout", [FIVE_TABLES, THREE_TABLES])
def test_rules_without_what_a_switch_does_not_take_are_read_as_they_should_be(layout: Layout) -> None:
    rule = FlowRule(Table.CLIENT_IN, 900, (), cookie(Kind.BINDING_IN, 7), goto=Table.ROUTES, notify=True)
    assert layout.on_switch(ROUTE).actions[0] == DecTtl()
    other = FlowRule(Table.SERVICE, 0, (), cookie(Kind.SERVICE_ELSE), goto=Table.CLIENT_IN)
    unable = adapted(layout, Features(report_flag=False, keeps_ttl=True))
    assert layout.on_switch(rule).notify
    assert not unable.on_switch(rule).notify
    assert unable.on_switch(ROUTE).actions == (Output(3),)
    for each in (rule, other, ROUTE):
        assert unable.logical(unable.on_switch(each)) == each
    assert adapted(unable, Features()) == layout, "after it has become able"
