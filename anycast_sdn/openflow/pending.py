"""Pending: the questions, trials and probes that one switch has not answered yet, each with a deadline.

- A question is a multipart request.  Its answer comes in parts and is limited in size; each part gives it new time.
- A trial is a message that the switch may or may not support, with a barrier behind it, or behind several of them: an
  error refuses it, the barrier's reply without one accepts it.
- A probe is an echo request: does the switch still answer?
- Packets are awaited that the switch is to send back.
- A report is that of the removal of a rule which is deleted to see whether the switch sends it.

What is not answered in time counts as refused, so that the dialogue goes on; its name is in ``unanswered`` until
the switch answers one of its kind, but for hints.  Nothing is sent from here; everything is identified by its
transaction id.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.openflow.decoding import BadMessage
from anycast_sdn.openflow.rules import FlowRule

ANSWER_S = 3.0  # for the answer to a question, and from one part of it to the next
TRIAL_S = 0.02  # more for each message that is tried: hardware may write 50 rules a second
PROBE_S = 2.0
REPORT_S = ANSWER_S  # a switch that is late with all else is with this
PART = 64  # bytes that are added to the size of each part, so that their number is bounded as well
LATE_ANSWERS = 256  # questions past their deadline whose answers are still accepted, and ignored

MULTIPART = struct.Struct("!HH4x")  # kind, flags
_MORE = 1  # OFPMPF_REPLY_MORE
CONFIRMATION = "confirmation"  # the name of what is asked with a trial

Reply = Callable[[bytes | None], None]  # a multipart reply's body; None when the switch refused, or did not answer
PartOfReply = Callable[[bytes | None, bool], None]  # the same, message by message; True with the last one
# Supported or not, None: unknown; and what the switch has answered, in words.
TrialResult = Callable[[bool | None, str], None]
ProbeResult = Callable[[bool], None]
Reported = Callable[[bool], None]  # has the removal of the rule been reported?
# Is this packet, of this in_port, which the switch has sent up, one of those that are awaited?
TakesPacket = Callable[[int, bytes], bool]


def silence(question: str) -> str:
    """What a switch does that leaves this unanswered; its subject is the switch."""
    if question == CONFIRMATION:
        return "does not answer barriers"
    return f"does not answer when asked for its {question}"


class RoleReply(NamedTuple):
    role: int
    generation: int  # of the last one that asked to be master or slave


# The reply; True: the generation is stale; False: the switch has no roles; None: it has not answered.
RoleResult = Callable[[RoleReply | bool | None], None]


class Subject(NamedTuple):
    """What a multipart request asks for, in words, and the longest answer that is accepted, in bytes."""

    name: str
    most: int


_SUBJECTS = {
    ofp.OFPMP_DESC: Subject("description", 1 << 12),
    ofp.OFPMP_FLOW: Subject("rules", 1 << 27),  # 700,000 of them
    ofp.OFPMP_AGGREGATE: Subject("counters", 1 << 8),
    ofp.OFPMP_GROUP_DESC: Subject("groups", 1 << 27),
    ofp.OFPMP_METER_CONFIG: Subject("meters", 1 << 23),
    ofp.OFPMP_METER_FEATURES: Subject("meter features", 1 << 8),
    ofp.OFPMP_PORT_DESC: Subject("ports", 1 << 23),
    ofp.OFPMP_TABLE_FEATURES: Subject("table features", 1 << 23),
    ofp.OFPMP_GROUP_FEATURES: Subject("group features", 1 << 8),
}
_HINTS = frozenset(("table features", "group features"))  # nothing depends on the answer


@dataclass(slots=True)
class _Waiting:
    left: float  # seconds


@dataclass(slots=True)
class _Question(_Waiting):
    act: PartOfReply
    kind: int
    subject: str
    most: int  # bytes that the rest of the answer may have


@dataclass(slots=True)
class _Trial(_Waiting):
    act: TrialResult
    barrier: int


@dataclass(slots=True)
class _Probe(_Waiting):
    act: ProbeResult


@dataclass(slots=True)
class _Role(_Waiting):
    act: RoleResult


@dataclass(slots=True)
class _Packets(_Waiting):
    takes: TakesPacket
    over: Callable[[], None]


@dataclass(slots=True)
class _Report(_Waiting):
    act: Reported
    place: tuple[int, int]


class Pending:
    """``changed`` is called with the switch's ``dpid`` and what it leaves unanswered, whenever that changes."""

    def __init__(self, changed: Callable[[int, frozenset[str]], None]) -> None:
        self.dpid = 0  # until the switch has sent it; nothing is asked before
        self.unanswered: frozenset[str] = frozenset()
        self._changed = changed
        self._probes: dict[int, _Probe] = {}
        self._roles: dict[int, _Role] = {}
        self._questions: dict[int, _Question] = {}
        self._trials: dict[int, _Trial] = {}  # by the transaction id of what is tried
        self._barriers: dict[int, tuple[int, ...]] = {}  # of a barrier → of what is tried before it
        self._packets: _Packets | None = None
        self._report: _Report | None = None
        self._late: deque[int] = deque(maxlen=LATE_ANSWERS)

    def ask(self, xid: int, kind: int, part: PartOfReply) -> None:
        subject, most = _SUBJECTS.get(kind, Subject(f"type {kind}", 1 << 23))
        self._questions[xid] = _Question(ANSWER_S, part, kind, subject, most)

    def try_out(self, attempts: Mapping[int, TrialResult], barrier: int) -> None:
        """``attempts``: by the transaction ids of what is tried before this barrier."""
        left = ANSWER_S + TRIAL_S * (len(attempts) - 1)
        self._trials.update((xid, _Trial(left, result, barrier)) for xid, result in attempts.items())
        self._barriers[barrier] = tuple(attempts)

    def probe(self, xid: int, answer: ProbeResult) -> None:
        self._probes[xid] = _Probe(PROBE_S, answer)

    def ask_role(self, xid: int, answer: RoleResult) -> None:
        self._roles[xid] = _Role(PROBE_S, answer)

    def await_packets(self, takes: TakesPacket, over: Callable[[], None], seconds: float) -> None:
        """``takes`` is asked for each packet; ``over`` is called after so many seconds."""
        self._packets = _Packets(seconds, takes, over)

    def await_no_packets(self) -> None:
        self._packets = None

    def await_report(self, rule: FlowRule, act: Reported) -> None:
        """``rule``: as the switch has it.  Its cookie may not be kept, and its match be reported otherwise."""
        self._report = _Report(REPORT_S, act, (rule.table, rule.priority))

    def ignore(self, xid: int) -> None:
        """Whatever the switch answers to this message is ignored."""
        self._late.append(xid)

    # ---------------------------------------------------------------- answers

    def answer(self, xid: int, body: bytes) -> None:
        """A multipart reply.  Raises BadMessage when it answers no question."""
        if len(body) < MULTIPART.size:
            raise BadMessage("multipart reply cut short")
        kind, flags = MULTIPART.unpack_from(body)
        question = self._questions.get(xid)
        if question is None:
            if xid in self._late:
                return
            raise BadMessage("a multipart reply to no request")
        if kind != question.kind:
            raise BadMessage(f"multipart reply of type {kind} to a question of type {question.kind}")
        question.left = ANSWER_S
        question.most -= len(body) + PART
        if question.most < 0:
            raise BadMessage(f"the answer about its {question.subject} is too long")
        last = not flags & _MORE
        if last:
            del self._questions[xid]
            self._answered(question.subject)
        question.act(body[MULTIPART.size :], last)

    def barrier(self, xid: int) -> None:
        """A barrier's reply: what was tried before it, and not refused, is supported."""
        for tried in self._barriers.pop(xid, ()):
            if trial := self._trials.pop(tried, None):
                self._answered(CONFIRMATION)
                trial.act(True, "")

    def is_awaited(self, in_port: int, frame: bytes) -> bool:
        """Is a packet, which the switch has sent up, one of those that are awaited?  Then it is taken."""
        return self._packets is not None and self._packets.takes(in_port, frame)

    def removed(self, table: int, priority: int) -> None:
        """The removal of a rule is reported."""
        report = self._report
        if report and report.place == (table, priority):
            self._report = None
            report.act(True)

    def is_probe(self, xid: int) -> bool:
        return xid in self._probes

    def echo(self, xid: int) -> None:
        """A probe's reply."""
        self._probes.pop(xid).act(True)

    def is_role(self, xid: int) -> bool:
        return xid in self._roles

    def role(self, xid: int, answer: RoleReply | bool) -> None:
        """What the switch says to a request for a role; one that comes late is ignored."""
        if asked := self._roles.pop(xid, None):
            asked.act(answer)

    def concerns(self, xid: int) -> bool:
        """Is this, or was it, the transaction id of a question or a trial?"""
        return xid in self._questions or xid in self._trials or xid in self._late

    def error(self, xid: int, unsupported: bool, why: str = "") -> None:
        """The switch refuses a question or a trial: ``why``, in words.

        ``unsupported``: because it lacks what was tried; otherwise that remains unknown.
        """
        if question := self._questions.pop(xid, None):
            self._answered(question.subject)
            question.act(None, True)
        elif trial := self._trials.pop(xid, None):
            trial.act(False if unsupported else None, why)

    # ---------------------------------------------------------------- deadlines

    def tick(self, passed: float) -> None:
        """So many seconds have passed."""
        waiting: tuple[Mapping[int, _Waiting], ...] = (self._probes, self._questions, self._trials, self._roles)
        for each in waiting:
            for one in each.values():
                one.left -= passed
        if packets := self._packets:
            packets.left -= passed
            if packets.left <= 0:
                self._packets = None
                packets.over()
        self._tick_report(passed)
        for xid in _overdue(self._probes):
            if probe := self._probes.pop(xid, None):  # a callback may end the connection, and with it all others
                probe.act(False)
        for xid in _overdue(self._roles):
            if asked := self._roles.pop(xid, None):
                asked.act(None)
        for xid in _overdue(self._questions):
            if question := self._questions.pop(xid, None):
                self._late.append(xid)
                self._not_answered(question.subject)
                question.act(None, True)
        for xid in _overdue(self._trials):
            if trial := self._trials.pop(xid, None):
                self._barriers.pop(trial.barrier, None)
                self._late.append(xid)
                self._not_answered(CONFIRMATION)
                trial.act(None, "")

    def _tick_report(self, passed: float) -> None:
        if report := self._report:
            report.left -= passed
            if report.left <= 0:
                self._report = None
                report.act(False)

    def forget(self) -> None:
        """Nobody waits any longer: probes fail, and what the switch answers to all else is ignored.

        But for roles: whose master it is has to be known whatever it was before.
        """
        asked, roles = [*self._questions, *self._trials, *self._barriers], dict(self._roles)
        self.end()
        self._late.extend(asked)
        self._roles.update(roles)

    def end(self) -> None:
        """The connection has ended: probes fail, and all else is dropped."""
        probes = [probe.act for probe in self._probes.values()]
        for kept in (self._probes, self._roles, self._questions, self._trials, self._barriers, self._late):
            kept.clear()
        self._packets = self._report = None
        for answer in probes:
            answer(False)

    def _not_answered(self, subject: str) -> None:
        if subject not in self.unanswered | _HINTS:
            self.unanswered |= {subject}
            self._changed(self.dpid, self.unanswered)

    def _answered(self, subject: str) -> None:
        if subject in self.unanswered:
            self.unanswered -= {subject}
            self._changed(self.dpid, self.unanswered)


def _overdue(waiting: Mapping[int, _Waiting]) -> list[int]:
    return [xid for xid, each in waiting.items() if each.left <= 0]
