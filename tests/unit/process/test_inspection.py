"""A switch is inspected: its counters are read, and wrong rules are put right, whatever its replies contain."""

from __future__ import annotations

import itertools
import struct
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from os_ken.ofproto import ofproto_v1_3_parser as parser

from anycast_sdn.control.audit import MAX_REMEMBERED
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.control.share import Share
from anycast_sdn.core.events import Fault, RulesRepaired
from anycast_sdn.core.switch_events import RulesPutRight
from anycast_sdn.openflow import decoding, readback
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.layout import FIVE_TABLES
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import DeleteCookie, FlowRule, Message, RuleKey
from anycast_sdn.openflow.tables import Tables
from anycast_sdn.process import inspection
from anycast_sdn.process.inspection import Inspections
from tests.unit.control.test_reading_back import applied, both, controller
from tests.unit.openflow.test_codec import DATAPATH, as_flow_stats


class Switch:
    """Answers as a switch would, from the rules that it holds; at once, but ``later`` waits for ``run``."""

    set_xid = DATAPATH.set_xid  # type: ignore[attr-defined]
    layout = FIVE_TABLES
    ofproto, ofproto_parser = DATAPATH.ofproto, DATAPATH.ofproto_parser

    def __init__(self, dpid: int, held: dict[RuleKey, FlowRule], ignores_cookies: bool = False) -> None:
        self.id = dpid
        self.held = held
        self.ignores_cookies = ignores_cookies
        self.asked: list[str] = []
        self.refuses: tuple[type, ...] = ()
        self._later: list[Callable[[], None]] = []

    def later(self, act: Callable[[], None]) -> None:
        self._later.append(act)

    def run(self) -> None:
        while self.run_one():
            pass

    def run_one(self) -> bool:
        if self._later:
            self._later.pop(0)()
        return bool(self._later)

    def send(self, messages: list[Message]) -> None:
        self.held = applied(self.held, messages)
        for message in messages:
            if isinstance(message, DeleteCookie):
                self.held = {key: rule for key, rule in self.held.items() if rule.cookie != message.cookie}

    def _matching(self, request: Any) -> list[FlowRule]:
        mask = 0 if self.ignores_cookies else request.cookie_mask
        return [rule for rule in self.held.values() if rule.cookie & mask == request.cookie & mask]

    def ask(self, request: Any, reply: Callable[[bytes | None], None]) -> None:
        self.ask_in_parts(request, lambda body, last: reply(body))

    def ask_in_parts(self, request: Any, part: Callable[[bytes | None, bool], None]) -> None:
        self.asked.append(type(request).__name__)
        if isinstance(request, self.refuses) or not isinstance(
            request, parser.OFPFlowStatsRequest | parser.OFPAggregateStatsRequest
        ):
            part(None, True)  # groups and meters are not asked about here
        elif isinstance(request, parser.OFPAggregateStatsRequest):
            part(struct.pack("!QQI4x", 0, 0, len(self._matching(request))), True)
        else:
            bodies = [as_flow_stats(rule) for rule in self._matching(request)]
            half = len(bodies) // 2
            part(b"".join(bodies[:half]), False)
            part(b"".join(bodies[half:]), True)


class Progress:
    """A ``Signal``; what happens while it is waited for is up to the test."""

    def __init__(self, during: Callable[[float], None]) -> None:
        self._during = during
        self.is_set = False

    def set(self) -> None:
        self.is_set = True

    def wait(self, timeout: float) -> None:
        assert timeout > 0, "waits for something"
        if not self.is_set:
            self._during(timeout)


class Inspected:
    """A client edge whose switch holds what it should, with one binding; ``inspect`` inspects it at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, share: Share = Share.ALL, **options: bool) -> None:
        """``share``: who decides on the rest of the switch has a controller of its own, which is not inspected."""
        self.controller, self.dpid = controller()
        self.now = 100.0
        monkeypatch.setattr(inspection.time, "monotonic", lambda: self.now)
        other, _ = controller()
        out = other.synchronise(self.dpid, Tables.of(both()), Features(), self.now)
        held = {rule.key: rule for rule in both()} | applied({}, out.outbox[self.dpid])
        found = Tables(dict(held), *(getattr(other.switches[self.dpid].installed, of) for of in ("groups", "meters")))
        self.controller.begin_reading(self.dpid, found, Features(), share=share)
        while self.controller.read_on(self.dpid, self.now) is not None:
            pass
        self.controller.end_reading(self.dpid, {}, self.now)
        while self.controller.is_busy():
            assert not self.controller.work(self.now).outbox.get(self.dpid)
        self.switch = Switch(self.dpid, held, **options)
        self.repairs: Counter[Fault] = Counter()
        self.reports: list[RulesPutRight] = []
        self.while_waiting: Callable[[float], None] = self.pass_all
        self.waits = 0
        self.inspections = Inspections(self.controller, self._react, lambda: Progress(self._wait))
        self.inspect()
        self.switch.asked.clear()

    def _react(self, out: Outcome) -> None:
        for messages in out.outbox.values():
            self.switch.send(messages)
        for event in out.events:
            if isinstance(event, RulesPutRight):
                self.reports.append(event)
                continue
            assert isinstance(event, RulesRepaired)
            self.repairs[event.fault] += event.rules
            self.inspections.note(event)

    def inspect(self, seconds: float = 10.0) -> None:
        for _ in range(2):  # the first time, a switch becomes due
            self.pass_time(seconds)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.inspections.run_due({self.dpid: self.switch})  # type: ignore[dict-item]
        self.switch.run()

    def _wait(self, timeout: float) -> None:
        self.waits += 1
        self.while_waiting(timeout)

    def pass_all(self, timeout: float) -> None:
        """The switch replies, or else the time-out passes."""
        if not self.switch.run_one():
            self.now += timeout
        self.switch.run()

    def edit(self, rule: FlowRule) -> None:
        """Another program modifies a rule, and the switch reports it."""
        self.switch.held[rule.key] = FlowRule(*rule.key, cookie=rule.cookie)
        self.inspections.modified(self.switch, [rule.cookie])  # type: ignore[arg-type]

    def wait_until_fresh(self) -> None:
        self.inspections.wait_until_fresh({self.dpid: self.switch})  # type: ignore[dict-item]

    @property
    def managed(self) -> Any:
        return self.controller.switches[self.dpid]


@pytest.mark.parametrize("ignores_cookies", [False, True])
def test_a_switch_that_is_right_is_left_alone_and_its_drops_are_counted(monkeypatch, ignores_cookies: bool) -> None:
    """Also if the switch ignores the cookies of a request, and replies with all rules."""
    here = Inspected(monkeypatch, ignores_cookies=ignores_cookies)
    before = dict(here.switch.held)
    here.inspect()
    assert here.switch.held == before
    assert not here.repairs
    not_ip = [rule for rule in before.values() if kind_of(rule.cookie) is Kind.NOT_IP]
    assert here.managed.dropped["not_ip"] == 5 * len(not_ip)  # ``as_flow_stats`` gives each of them five packets
    martians = [rule for rule in before.values() if kind_of(rule.cookie) is Kind.MARTIAN]
    assert here.managed.dropped["martian"] == 5 * len(martians)


@pytest.mark.parametrize("ignores_cookies", [False, True])
def test_what_is_wrong_is_put_right(monkeypatch, ignores_cookies: bool) -> None:
    here = Inspected(monkeypatch, ignores_cookies=ignores_cookies)
    before = dict(here.switch.held)
    binding, other = both()
    gone = next(key for key, rule in before.items() if kind_of(rule.cookie) is Kind.NO_ROUTE)
    del here.switch.held[gone]
    del here.switch.held[binding.key]
    here.switch.held[other.key] = FlowRule(*other.key, cookie=other.cookie)
    for own in (0, 0x1234):
        foreign = FlowRule(2, 7 + own, (), own)
        here.switch.held[foreign.key] = foreign
    for _ in range(4):
        here.inspect()
    assert here.switch.held == before
    assert here.repairs == {Fault.MISSING: 2, Fault.WRONG: 1, Fault.FOREIGN: 2}


def test_at_rest_a_switch_is_asked_a_few_questions_every_five_seconds(monkeypatch) -> None:
    here = Inspected(monkeypatch)
    for _ in range(100):
        here.inspect(0.25)  # 50 s
    assert len(here.switch.asked) <= 10 * 8


def test_a_switch_that_does_not_reply_is_not_asked_again_and_again(monkeypatch) -> None:
    here = Inspected(monkeypatch)
    here.switch.refuses = (parser.OFPFlowStatsRequest,)
    here.switch.held.clear()
    here.inspect()
    assert here.switch.held == {}
    assert not here.repairs
    assert here.switch.asked.count("OFPFlowStatsRequest") == 4  # two looks, two questions


def test_a_fault_of_our_own_ends_one_inspection_and_not_the_next(monkeypatch, caplog) -> None:
    here = Inspected(monkeypatch)
    before = dict(here.switch.held)
    here.switch.held.clear()
    with monkeypatch.context() as patched:
        patched.setattr(here.controller.audits[here.dpid], "take_rules", lambda *_: 1 / 0)
        here.inspect()
    assert "internal error in an inspection" in caplog.text
    for _ in range(4):
        here.inspect()
    assert here.switch.held == before


def test_counters_are_read_anew_on_request_and_the_reply_ends_the_wait(monkeypatch) -> None:
    here = Inspected(monkeypatch)
    here.now += 1
    before = here.now
    here.wait_until_fresh()
    assert "OFPFlowStatsRequest" in here.switch.asked
    assert (here.now, here.waits) == (before, 1), "no polling"


def test_a_request_for_counters_waits_for_a_silent_switch_until_its_deadline(monkeypatch) -> None:
    here = Inspected(monkeypatch)
    here.now += 1
    before = here.now

    def wait(timeout: float) -> None:
        here.now += timeout

    here.while_waiting = wait
    here.wait_until_fresh()
    assert here.now - before == pytest.approx(inspection.FRESH_S)
    assert here.waits == 1


def test_requests_for_counters_wait_for_a_pause_as_long_as_the_last_inspection(monkeypatch) -> None:
    here = Inspected(monkeypatch)
    here.now += 10
    here.inspections.run_due({here.dpid: here.switch})  # type: ignore[dict-item]
    here.now += 2  # the switch replies late
    here.switch.run()
    here.switch.asked.clear()
    ended = here.now
    while here.now < ended + 1.9 - inspection.FRESH_S:
        here.wait_until_fresh()
        assert not here.switch.asked
    here.now = ended + 2
    here.wait_until_fresh()
    assert here.switch.asked


def test_a_rule_that_was_modified_is_not_equal_to_the_wanted_one() -> None:
    made, dpid = controller()
    edge = made.switches[dpid]
    made.synchronise(dpid, Tables(), Features(), 0.0)
    for rule in edge.installed:
        assert rule in edge.installed
        assert FlowRule(*rule.key, cookie=rule.cookie, idle_timeout=9) not in edge.installed
    assert all(readback.half_of(rule) == 0 for rule in edge.installed)


def test_replies_may_be_decoded_in_any_number_of_pieces(monkeypatch) -> None:
    monkeypatch.setattr(inspection, "PIECE", 1)
    here = Inspected(monkeypatch)
    before = dict(here.switch.held)
    for key, rule in before.items():
        here.switch.held[key] = FlowRule(*key, cookie=rule.cookie, idle_timeout=3)
    foreign = FlowRule(2, 7, (), 0x1234)
    here.switch.held[foreign.key] = foreign
    for _ in range(2):
        here.inspect()
    assert here.switch.held == before
    assert here.repairs == {Fault.WRONG: len(before), Fault.FOREIGN: 1}


def test_a_rule_of_others_that_cannot_be_deleted_counts_once_and_is_deleted_at_growing_intervals(monkeypatch) -> None:
    here = Inspected(monkeypatch)
    before = dict(here.switch.held)
    sent: list[Message] = []
    send = here.switch.send

    def keep_foreign(messages: list[Message]) -> None:
        sent.extend(messages)
        send([message for message in messages if not isinstance(message, DeleteCookie)])

    foreign = [FlowRule(2, 7, (), 0), FlowRule(2, 8, (), 1 << 63)]
    here.switch.held |= {rule.key: rule for rule in foreign}
    with monkeypatch.context() as patched:
        patched.setattr(here.switch, "send", keep_foreign)
        for _ in range(60):
            here.inspect(1.0)
        assert here.repairs == {Fault.FOREIGN: 2}
        assert 2 * 2 <= sum(isinstance(message, DeleteCookie) for message in sent) <= 2 * 7
    for _ in range(40):
        here.inspect(1.0)
    assert here.switch.held == before
    assert here.repairs == {Fault.FOREIGN: 2}


def test_however_many_requests_for_counters_there_are_a_switch_is_read_a_few_times_a_second(monkeypatch) -> None:
    here = Inspected(monkeypatch)
    began = here.now
    for _ in range(50):
        here.now += 0.001
        before = here.managed.dropped = {}
        here.wait_until_fresh()
        assert here.managed.dropped != before  # each request gets what was counted since it began
    inspections = here.switch.asked.count("OFPGroupDescStatsRequest")
    assert inspections <= (here.now - began) / inspection.GAP_S + 1


def test_a_binding_reported_as_modified_is_put_right_at_once_whenever_the_last_inspection_was(monkeypatch) -> None:
    here = Inspected(monkeypatch)
    before = dict(here.switch.held)
    here.edit(both()[0])
    here.switch.run()
    assert here.switch.held == before
    assert here.switch.asked == ["OFPFlowStatsRequest"] * 2, "only its slice is read, in both directions"
    here.edit(both()[1])
    here.switch.run()
    assert here.switch.held != before, "another program may modify rules again and again"
    here.pass_time(inspection.GAP_S)
    assert here.switch.held == before
    assert here.repairs == {Fault.WRONG: 2}


def test_repairs_are_reported_with_the_time_in_which_they_were_made(monkeypatch) -> None:
    here = Inspected(monkeypatch)
    for number in range(800):
        here.now += 0.1
        if number in (0, 300, 400):
            here.edit(both()[0])
        here.inspections.run_due({here.dpid: here.switch})  # type: ignore[dict-item]
        here.switch.run()
    first, second = here.reports
    assert first == RulesPutRight(here.managed.name, missing=0, wrong=1, foreign=0, within_s=1)
    assert (second.missing, second.wrong, second.foreign) == (0, 2, 0)
    assert 30 <= second.within_s <= 30 + inspection.AUDIT_S, "the first of the two was put right at 30 s"


def test_any_other_rule_that_is_reported_as_modified_is_put_right_as_soon(monkeypatch) -> None:
    here = Inspected(monkeypatch)
    before = dict(here.switch.held)
    here.edit(next(rule for rule in before.values() if kind_of(rule.cookie) is Kind.NO_ROUTE))
    here.pass_time(inspection.GAP_S)
    assert here.switch.held == before


@pytest.mark.parametrize("turns", range(8))
def test_a_binding_modified_during_an_inspection_does_not_wait_for_the_next_one(monkeypatch, turns: int) -> None:
    """Whenever the report comes."""
    here = Inspected(monkeypatch)
    before = dict(here.switch.held)
    here.now += 10.0
    here.inspections.run_due({here.dpid: here.switch})  # type: ignore[dict-item]
    for _ in range(turns):
        here.switch.run_one()
    here.edit(both()[0])
    here.switch.run()
    assert here.switch.held == before


def test_steady_reports_of_modified_bindings_neither_prolong_inspections_nor_keep_others_wrong(monkeypatch) -> None:
    here = Inspected(monkeypatch)
    before = dict(here.switch.held)
    other = next(rule for rule in before.values() if kind_of(rule.cookie) is Kind.NO_ROUTE)
    here.switch.held[other.key] = FlowRule(*other.key, cookie=other.cookie)
    seconds, step = 20, 0.1
    for _ in range(int(seconds / step)):
        here.now += step
        here.edit(both()[0])
        for _ in range(50):
            here.edit(both()[0])
            here.switch.run_one()
        here.inspections.run_due({here.dpid: here.switch})  # type: ignore[dict-item]
        here.switch.run()
    assert here.switch.held[other.key] == other
    inspections = here.switch.asked.count("OFPGroupDescStatsRequest")
    assert seconds / inspection.AUDIT_S <= inspections <= seconds / inspection.SOON_S + 1
    assert len(here.switch.asked) <= 10 * inspections + 2 * seconds / inspection.GAP_S


def test_rules_that_are_deleted_during_an_inspection_are_put_right_soon(monkeypatch) -> None:
    here = Inspected(monkeypatch)
    before = dict(here.switch.held)
    gone = next(key for key, rule in before.items() if kind_of(rule.cookie) is Kind.NO_ROUTE)
    here.now += 10.0
    here.inspections.run_due({here.dpid: here.switch})  # type: ignore[dict-item]
    while here.switch.run_one() and here.switch.asked.count("OFPAggregateStatsRequest") < 2:
        pass
    del here.switch.held[gone]
    here.controller.audits[here.dpid].expect_missing()
    here.switch.run()
    assert here.switch.held != before
    here.pass_time(inspection.SOON_S)
    assert here.switch.held == before


def test_an_inspection_that_has_failed_ignores_later_replies(monkeypatch) -> None:
    here = Inspected(monkeypatch)
    audit = here.controller.audits[here.dpid]
    ended: list[object] = []
    with monkeypatch.context() as patched:
        patched.setattr(decoding, "split_flow_stats", _failing_once(decoding.split_flow_stats, call=5))
        patched.setattr(audit, "end_flows", lambda request, *_: (ended.append(request), (Outcome(), False))[1])
        here.now += 10.0
        here.inspections.run_due({here.dpid: here.switch})  # type: ignore[dict-item]
        here.switch.run()
    assert not ended, "the first part of the first slice's answer has ended it"
    here.inspect()
    assert not here.repairs


def _failing_once(act: Callable[..., Any], call: int) -> Callable[..., Any]:
    calls = itertools.count(1)
    return lambda *arguments: 1 / 0 if next(calls) == call else act(*arguments)


def test_of_very_many_rules_of_others_not_all_are_remembered(monkeypatch) -> None:
    audit = Inspected(monkeypatch).controller.audits[1]
    many = range(1, 2 * MAX_REMEMBERED + 1)
    assert len(audit.found_foreign(many, 1.0).outbox[1]) == len(many)
    assert len(audit.found_foreign(many, 1.5).outbox[1]) == MAX_REMEMBERED, "the remembered ones are left for a while"
