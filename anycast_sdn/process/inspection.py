"""Inspections: each switch is read again and again, for the counters of its drop rules, and to find wrong rules.

One ``Inspection`` requests the switch's groups, its meters, all rules but the bindings', the number of all rules, and
those bindings' rules that the engine wants to see; ``control.audit`` compares them with what is wanted.  Replies are
handled message by message, and decoded in pieces, so that first packets are served between.  Replies are filtered by
their cookies: a switch that ignores the cookie of a request replies with more rules than requested, and has no other
effect.

Of a switch that is shared (``control.share``), its master inspects the bindings' rules, and the leader all others.
What the leader sends reaches the switch by its master, so a difference counts at once only if nothing has changed for
``SETTLED_S``.

A short inspection reads only bindings' rules that the switch reports as modified by others.  It begins when the report
comes, or when the inspection in progress ends; if that has reached the bindings' rules, it reads those, too.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, Protocol, TypeVar

from anycast_sdn.control.audit import Audit
from anycast_sdn.control.controller import Controller
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.control.share import Share
from anycast_sdn.core.events import Event, Fault, RulesRepaired
from anycast_sdn.core.switch_events import RulesPutRight
from anycast_sdn.openflow import codec, decoding
from anycast_sdn.openflow.channel import Channel
from anycast_sdn.openflow.pipeline import COOKIE_KIND_MASK, DROPS, MAGIC, MAGIC_MASK, binding_of, cookie, kind_of
from anycast_sdn.openflow.requests import RulesRequest
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import Barrier, FlowRule, GroupRule

LOG = logging.getLogger(__name__)

AUDIT_S, LONGEST_S = 5.0, 60.0  # the least and the longest pause after an inspection
PART = 20  # the pause is so many times the duration of the last inspection, within these limits
SOON_S = 1.0  # the pause after a repair, or if a finding has to be confirmed
FRESH_S = 0.3  # a request for counters waits so long for them to be read
GAP_S = 0.2  # the least pause after an inspection, however many requests or reports ask for the next
SETTLED_S = 0.5  # in which what is sent to a shared switch by its master arrives there
PIECE = 128  # rules that are decoded, bindings that are compared, or messages that are sent at once: some ms
REPORT_S = 60.0  # from one report of repairs of a switch to the next
_NO_NUMBER_MASK = ~COOKIE_KIND_MASK & (1 << 64) - 1  # with the cookie 0: all rules without a number in their cookie
_NUMBERED = Kind.TOO_LARGE  # the rules whose cookie has a number that is not a binding's


class Signal(Protocol):
    """As ``hub.Event``."""

    def set(self) -> None: ...

    def wait(self, timeout: float) -> object: ...


_Taker = TypeVar("_Taker", bound=Callable[..., None])


def _alone(take: _Taker) -> _Taker:
    """A fault of our own ends this inspection, not the connection.

    Replies that come after its end are ignored: the next inspection may have begun.
    """

    @wraps(take)
    def taken(inspection: Inspection, *arguments: Any) -> None:
        if inspection.is_finished:
            return
        try:
            take(inspection, *arguments)
        except decoding.BadMessage:
            raise
        except Exception:
            LOG.exception("internal error in an inspection; the controller goes on")
            inspection.finish()

    return taken  # type: ignore[return-value]


class Memory:
    """What one connection's inspections have found, so that unchanged rules are not decoded again."""

    def __init__(self) -> None:
        self.rules: dict[int, FlowRule] = {}  # hash of the bytes → rule
        self.all_right = False
        self.too_many = False  # the last count was larger than the number of our rules
        self.foreign = 0  # rules of others when all rules were last read: some may not be deletable


class Inspection:
    """One inspection.  ``counted`` gets the packets of the drop rules by kind, ``react`` carries out repairs."""

    def __init__(
        self,
        switch: Channel,
        audit: Audit,
        memory: Memory,
        counted: Callable[[dict[Kind, int]], None],
        react: Callable[[Outcome], None],
        done: Callable[[], None],
    ) -> None:
        self._switch = switch
        self._audit = audit
        self._memory = memory
        self._counted = counted
        self._react = react
        self._done = done
        self._packets: dict[Kind, int] = {}
        self._groups: list[GroupRule] = []  # as the switch holds them
        self._rules: dict[int, FlowRule] = {}
        self._unread: deque[bytes] = deque()  # rules that are not decoded yet
        self._total = 0
        self._foreign = 0
        self._requests: list[RulesRequest] = []
        self._more = 0  # requests that may still be added
        self.is_finished = False

    def begin(self, *, meters: bool, ordered: bool, is_settled: bool = True) -> None:
        """``meters``: does the switch have meters; ``ordered``: does it process messages in order?

        ``is_settled``: see ``Audit.begin``.
        """
        if not ordered:
            self._switch.send([Barrier()])
        self._memory.all_right &= self._audit.is_unchanged  # since the last inspection
        self._audit.begin(is_settled=is_settled)
        if meters:
            self._switch.ask(codec.meter_request(self._switch), self._take_meters)
        self._switch.ask_in_parts(codec.group_request(self._switch), self._take_groups)
        request = codec.flow_stats_request(self._switch, cookie=cookie(_NUMBERED), mask=COOKIE_KIND_MASK)
        self._switch.ask_in_parts(request, partial(self._take_rules, False))
        request = codec.flow_stats_request(self._switch, cookie=0, mask=_NO_NUMBER_MASK)
        self._switch.ask_in_parts(request, partial(self._take_rules, True))

    def begin_with_flows(self) -> None:
        """Another controller inspects the rest."""
        self._audit.begin()
        self._begin_flows()

    def begin_short(self) -> None:
        """A short inspection: of bindings' rules that were reported as modified by others."""
        self._requests = self._audit.begin_reported_flows()
        self._switch.later(self._proceed)

    @_alone
    def _take_meters(self, body: bytes | None) -> None:
        if body is not None:
            self._audit.take_meters(decoding.decode_meters(body))

    @_alone
    def _take_groups(self, body: bytes | None, last: bool) -> None:
        if body is not None:
            self._groups += decoding.decode_held_groups(body)
            if last:
                self._audit.take_groups(decoding.logical_groups(self._groups, self._switch.layout))

    @_alone
    def _take_rules(self, last_question: bool, body: bytes | None, last: bool) -> None:
        if body is None:  # the switch does not reply
            self.finish()
            return
        known, foreign = [], set()
        for entry in decoding.split_flow_stats(body):
            kind = kind_of(entry.cookie)
            if kind is None:
                foreign.add(entry.cookie)
            elif not binding_of(entry.cookie) and (kind is not _NUMBERED) is last_question:  # it was requested
                if kind in DROPS:
                    self._packets[kind] = self._packets.get(kind, 0) + entry.packets
                fingerprint = hash(entry.what)
                rule = self._memory.rules.get(fingerprint)
                if rule:
                    known.append(rule)
                    self._rules[fingerprint] = rule
                else:
                    self._unread.append(entry.whole)
        if self._memory.all_right and self._audit.is_unchanged:
            self._audit.take_as_before(known)
        else:
            self._audit.take_rules(known)
        self._audit.take_rules((), foreign)
        if last and last_question:
            self._switch.later(self._read_rules)

    @_alone
    def _read_rules(self) -> None:
        if not self._unread:
            self._switch.later(self._end_rules)
            return
        for whole in self._next_unread():
            ((rule,), _) = decoding.decode_flow_stats(whole, self._switch.layout)
            (entry,) = decoding.split_flow_stats(whole)
            self._rules[hash(entry.what)] = rule
            self._audit.take_rules([rule])
        self._switch.later(self._read_rules)

    def _next_unread(self) -> list[bytes]:
        return [self._unread.popleft() for _ in range(min(PIECE, len(self._unread)))]

    @_alone
    def _end_rules(self) -> None:
        self._counted(self._packets)
        self._memory.rules, self._memory.all_right = self._rules, self._audit.all_right
        self._react(self._audit.end(time.monotonic()))
        if self._switch.layout.names_next_hops:
            held = {group.number: group for group in self._groups}
            self._react(self._audit.end_next_hops(self._switch.layout.next_hops, held, time.monotonic()))
        self._repair()

    @_alone
    def _repair(self) -> None:
        out, more = self._audit.repair_some(PIECE)
        self._react(out)
        if more:
            self._switch.later(self._repair)
            return
        self._switch.ask(codec.aggregate_request(self._switch), self._take_total)
        self._switch.ask(codec.aggregate_request(self._switch, MAGIC, MAGIC_MASK), self._take_ours)

    def finish(self) -> None:
        """All replies are handled, or one is missing."""
        if not self.is_finished:
            self.is_finished = True
            self._done()

    # ---------------------------------------------------------------- rules of others

    @_alone
    def _take_total(self, body: bytes | None) -> None:
        self._total = decoding.decode_rule_count(body) if body else 0

    @_alone
    def _take_ours(self, body: bytes | None) -> None:
        """Rules may come and go between two requests, so only a second excess is followed up."""
        more = 0 if body is None else self._total - decoding.decode_rule_count(body)
        left = self._memory.foreign if time.monotonic() < self._audit.next_deletion else 0
        too_many = more > left
        if too_many and not self._memory.too_many:
            self._audit.doubt()
        if too_many and self._memory.too_many:
            self._switch.ask_in_parts(codec.flow_stats_request(self._switch), self._take_all)
        else:
            self._begin_flows()
        self._memory.too_many = too_many

    @_alone
    def _take_all(self, body: bytes | None, last: bool) -> None:
        foreign = [entry.cookie for entry in decoding.split_flow_stats(body or b"") if kind_of(entry.cookie) is None]
        self._foreign += len(foreign)
        self._react(self._audit.found_foreign(set(foreign), time.monotonic()))
        if last:
            self._memory.foreign = self._foreign
            self._begin_flows()

    # ---------------------------------------------------------------- bindings

    def _begin_flows(self) -> None:
        self._requests = self._audit.begin_flows()
        self._more = len(self._requests)  # a bound: steady reports of modified rules must not prolong this inspection
        self._switch.later(self._proceed)

    @_alone
    def _proceed(self) -> None:
        if self._more > 0 and self._audit.has_reported_flows:
            fresh = self._audit.begin_reported_flows()
            self._requests += fresh
            self._more -= len(fresh)
        if not self._requests:
            self.finish()
            return
        request = self._requests.pop()
        self._audit.begin_request(request)
        self._switch.ask_in_parts(codec.rules_request(self._switch, request), partial(self._take_flows, request))

    @_alone
    def _take_flows(self, request: RulesRequest, body: bytes | None, last: bool) -> None:
        if body is None:
            self.finish()
            return
        for entry in decoding.split_flow_stats(body):
            if request.covers(entry.cookie):
                self._unread.append(entry.whole)
        if last:
            self._switch.later(partial(self._read_flows, request))

    @_alone
    def _read_flows(self, request: RulesRequest) -> None:
        if self._unread:
            rules, _ = decoding.decode_flow_stats(b"".join(self._next_unread()), self._switch.layout)
            self._audit.take_flows(request, rules)
            self._switch.later(partial(self._read_flows, request))
            return
        out, more = self._audit.end_flows(request, PIECE, time.monotonic())
        self._react(out)
        self._switch.later(partial(self._read_flows, request) if more else self._proceed)


# ------------------------------------------------------------------------------ when


@dataclass(slots=True)
class _Rounds:
    """The inspections of one connection, short ones excepted."""

    switch: Channel
    due: float
    memory: Memory = field(default_factory=Memory)
    began: float | None = None  # the inspection in progress, which may be a short one
    inspection: Inspection | None = None
    counted: float = -math.inf  # when the last one that has read the counters began
    ended: float = -math.inf  # the last one
    took: float = 0.0  # the last one
    next_short: float = -math.inf  # no short one begins before
    changes: int = -1  # see ``Installed.changes``
    changed: float = math.inf  # when these were noticed

    def note_changes(self, changes: int, now: float) -> None:
        if changes != self.changes:
            self.changes, self.changed = changes, now

    def earliest(self, gap: float) -> float:
        """No inspection begins before, however urgent it is: they take at most half the time."""
        return self.ended + max(gap, self.took)


@dataclass(slots=True)
class _Repairs:
    """Of one switch, that are not in the log yet."""

    since: float
    rules: Counter[Fault] = field(default_factory=Counter)


class Inspections:
    """The inspections of all switches.  ``react``: carries out what they lead to."""

    def __init__(
        self, controller: Controller, react: Callable[[Outcome], None], new_signal: Callable[[], Signal]
    ) -> None:
        self._controller = controller
        self._react = react
        self._new_signal = new_signal
        self._progress = new_signal()  # is set, and replaced, when counters have been read or an inspection has ended
        self._rounds: dict[int, _Rounds] = {}
        self._repairs: dict[str, _Repairs] = {}
        self._reported_at: dict[str, float] = {}

    def run_due(self, switches: Mapping[int, Channel]) -> None:
        now = time.monotonic()
        for place, (dpid, switch) in enumerate(list(switches.items())):
            managed = self._controller.switches[dpid]
            if not (managed.synchronised or managed.decides_on_flows):
                continue
            rounds = self._rounds.get(dpid)
            if rounds is None or rounds.switch is not switch:
                due = now + AUDIT_S * (1 + place / len(switches)) / 2  # not all of them at once
                rounds = self._rounds[dpid] = _Rounds(switch, due)
            rounds.note_changes(managed.installed.changes, now)
            if rounds.began is not None:
                continue
            audit = self._controller.audits[dpid]
            reported = audit.has_reported and now >= rounds.earliest(GAP_S)
            if now >= rounds.due or reported or (audit.may_miss_more and now >= rounds.earliest(SOON_S)):
                self._begin(dpid, rounds, now)
            elif audit.has_reported_flows and now >= rounds.next_short:
                self._begin(dpid, rounds, now, short=True)

    def end(self, dpid: int) -> None:
        """What it is compared with is out of date."""
        rounds = self._rounds.pop(dpid, None)
        if rounds and rounds.inspection:
            rounds.inspection.is_finished = True
        self._signal_progress()

    def modified(self, switch: Channel, cookies: Iterable[int]) -> None:
        """Another program has modified rules with these cookies."""
        self._controller.audits[switch.id].recheck(cookies)
        self.run_due({switch.id: switch})

    def wait_until_fresh(self, switches: Mapping[int, Channel]) -> None:
        """Returns when the counters of all these switches have been read since the call, or after ``FRESH_S``."""
        called = now = time.monotonic()
        counting = self._controller.switches
        late = [
            rounds for dpid, rounds in self._rounds.items()
            if switches.get(dpid) is rounds.switch and counting[dpid].synchronised
        ]  # fmt: skip
        while (late := [rounds for rounds in late if rounds.counted < called]) and now < called + FRESH_S:
            idle = [rounds for rounds in late if rounds.began is None]
            for rounds in idle:
                rounds.due = min(rounds.due, max(called, rounds.earliest(GAP_S)))
            if any(rounds.due <= now for rounds in idle):
                self.run_due(switches)
            later = (rounds.due for rounds in idle if rounds.due > now)
            self._progress.wait(min((called + FRESH_S, *later)) - now)
            now = time.monotonic()

    def _signal_progress(self) -> None:
        progress, self._progress = self._progress, self._new_signal()
        progress.set()

    def _begin(self, dpid: int, rounds: _Rounds, now: float, short: bool = False) -> None:
        managed = self._controller.switches[dpid]
        features, is_shared = managed.features, managed.share is Share.REST
        rounds.began = now
        inspection = Inspection(
            rounds.switch,
            self._controller.audits[dpid],
            rounds.memory,
            lambda packets: self._counted(dpid, rounds, packets),
            self._react,
            lambda: self._end(dpid, rounds, short),
        )
        rounds.inspection = inspection
        if short:
            inspection.begin_short()
        elif managed.share is Share.FLOWS:
            inspection.begin_with_flows()
        else:
            inspection.begin(
                meters=features.meters,
                ordered=features.open_vswitch or is_shared,
                is_settled=not is_shared or now - rounds.changed > SETTLED_S,
            )

    def _counted(self, dpid: int, rounds: _Rounds, packets: dict[Kind, int]) -> None:
        self._controller.drops_counted(dpid, packets)
        rounds.counted = rounds.began or rounds.counted
        self._signal_progress()

    def _end(self, dpid: int, rounds: _Rounds, short: bool) -> None:
        """The next one is due soon after a repair, or if it has to confirm a finding."""
        now = time.monotonic()
        assert rounds.began is not None
        began, rounds.began = rounds.began, None
        repaired_at = self._controller.switches[dpid].repaired_at
        repaired = repaired_at is not None and repaired_at >= began
        if short:
            rounds.next_short = now + max(GAP_S, now - began)
        else:
            rounds.ended, rounds.took = now, now - began
            rounds.due = now + min(max(AUDIT_S, PART * rounds.took), LONGEST_S)
        if self._controller.audits[dpid].is_doubtful or repaired:
            rounds.due = min(rounds.due, max(now + SOON_S, rounds.earliest(SOON_S)))
        self._report_repairs(self._controller.switches[dpid].name, now)
        self._signal_progress()

    # ---------------------------------------------------------------- what is reported

    def note(self, event: Event) -> None:
        """A subscriber: repairs are reported together."""
        if isinstance(event, RulesRepaired):
            repairs = self._repairs.setdefault(event.switch, _Repairs(time.monotonic()))
            repairs.rules[event.fault] += event.rules

    def _report_repairs(self, switch: str, now: float) -> None:
        """At once, and then at most once a minute: another program may change rules again and again."""
        if switch in self._repairs and now >= self._reported_at.get(switch, -math.inf) + REPORT_S:
            repairs, self._reported_at[switch] = self._repairs.pop(switch), now
            rules, seconds = repairs.rules, math.ceil(now - repairs.since) or 1
            counts = rules[Fault.MISSING], rules[Fault.WRONG], rules[Fault.FOREIGN]
            self._react(Outcome(events=[RulesPutRight(switch, *counts, seconds)]))
