"""What a switch is asked again and again: what its drop rules have counted, and whether it holds what it should.

One run of ``Inspection`` asks for its groups, its meters, all rules but the bindings', how many rules there are in
all, and for slices of the bindings' rules; ``control.audit`` compares.  Answers are taken message by message, read and
worked off in pieces, so that first packets get their turn between.  Cookies are believed as they stand in the
answers: a switch that ignores those of a request answers with more than it was asked for, and that is all.

A short run looks only at bindings' rules that the switch reports as modified by others.  It begins when the report
comes, and waits for nothing but the end of a run that is under way; one that has come to the bindings takes them, too.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, TypeVar

from anycast_sdn.control.audit import Audit
from anycast_sdn.control.controller import Controller
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.core.events import Event, Fault, RulesRepaired
from anycast_sdn.engines.flow_audit import Slice
from anycast_sdn.openflow import codec, decoding
from anycast_sdn.openflow.channel import Channel
from anycast_sdn.openflow.pipeline import (
    COOKIE_KIND_MASK,
    DROPS,
    MAGIC,
    MAGIC_MASK,
    Kind,
    binding_of,
    cookie,
    kind_of,
)
from anycast_sdn.openflow.reaction import Reaction
from anycast_sdn.openflow.rules import Barrier, FlowRule, Message

LOG = logging.getLogger(__name__)

AUDIT_S, LONGEST_S = 5.0, 60.0  # from the end of one inspection to the next
PART = 20  # nor does it begin before so many times what the last one took have passed
SOON_S = 1.0  # after a repair, or where something is to be confirmed
FRESH_S, STEP_S = 0.3, 0.005  # so long does somebody wait who asks for counters
GAP_S = 0.2  # from one inspection that somebody asks for, or a report leads to, to the next, however many ask or report
PIECE = 128  # rules that are read, bindings that are judged, and messages that are sent in one piece: some ms
SAID_AGAIN_S = 60.0
_NO_NUMBER_MASK = ~COOKIE_KIND_MASK & (1 << 64) - 1  # with the cookie 0: rules of no binding, but for those of
_NUMBERED = Kind.TOO_LARGE  # which carry a number that is no binding's


_Taker = TypeVar("_Taker", bound=Callable[..., None])


def _alone(take: _Taker) -> _Taker:
    """An error of our own ends this inspection, and not the connection whose answer was taken.

    Once it has ended, whatever comes is nothing to it: the next one may have begun.
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
            LOG.exception("our own error in an inspection; the controller goes on")
            inspection.finish()

    return taken  # type: ignore[return-value]


class Memory:
    """Of one connection: rules, by their bytes, that were right; so that what has not changed is not read again."""

    def __init__(self) -> None:
        self.rules: dict[int, FlowRule] = {}
        self.all_right = False
        self.too_many = False  # more rules than ours, when they were last counted
        self.foreign = 0  # rules of others, when all were last looked at: they may stay although they were deleted


class Inspection:
    """One run.  ``counted`` takes the packets of the drop rules by kind, ``repair`` what puts things right."""

    def __init__(
        self,
        switch: Channel,
        audit: Audit,
        memory: Memory,
        counted: Callable[[dict[Kind, int]], None],
        repair: Callable[[Reaction], None],
        done: Callable[[], None],
    ) -> None:
        self._switch = switch
        self._audit = audit
        self._memory = memory
        self._counted = counted
        self._repair = repair
        self._done = done
        self._packets: dict[Kind, int] = {}
        self._rules: dict[int, FlowRule] = {}
        self._unread: deque[bytes] = deque()  # rules, as they came
        self._total = 0
        self._foreign = 0
        self._slices: list[Slice] = []
        self._more = 0  # slices that may still be added
        self.is_finished = False

    def begin(self, *, meters: bool, ordered: bool) -> None:
        """``meters``: has it any; ``ordered``: does it do what it is told in order?"""
        if not ordered:
            self._switch.send([Barrier()])
        self._memory.all_right &= self._audit.is_unchanged  # since the last look
        self._audit.begin()
        if meters:
            self._switch.ask(codec.meter_request(self._switch), self._take_meters)
        self._switch.ask(codec.group_request(self._switch), self._take_groups)
        request = codec.flow_stats_request(self._switch, cookie=cookie(_NUMBERED), mask=COOKIE_KIND_MASK)
        self._switch.ask_in_parts(request, partial(self._take_rules, False))
        request = codec.flow_stats_request(self._switch, cookie=0, mask=_NO_NUMBER_MASK)
        self._switch.ask_in_parts(request, partial(self._take_rules, True))

    def begin_short(self) -> None:
        """At bindings' rules that others have modified, and at nothing else."""
        self._slices = self._audit.reported_slices()
        self._switch.later(self._proceed)

    @_alone
    def _take_meters(self, body: bytes | None) -> None:
        if body is not None:
            self._audit.take_meters(decoding.decode_meters(body))

    @_alone
    def _take_groups(self, body: bytes | None) -> None:
        if body is not None:
            self._audit.take_groups(decoding.decode_groups(body))

    @_alone
    def _take_rules(self, last_question: bool, body: bytes | None, last: bool) -> None:
        if body is None:  # it does not say what it holds
            self.finish()
            return
        known, foreign = [], set()
        for entry in decoding.split_flow_stats(body):
            kind = kind_of(entry.cookie)
            if kind is None:
                foreign.add(entry.cookie)
            elif not binding_of(entry.cookie) and (kind is not _NUMBERED) is last_question:  # it was asked for
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
        put_right = self._audit.end(time.monotonic())
        self._repair(Reaction(events=put_right.events))
        self._send_repairs(put_right.messages)

    @_alone
    def _send_repairs(self, messages: list[Message]) -> None:
        self._repair(Reaction([message for message in messages[:PIECE] if self._audit.is_due(message)]))
        if len(messages) > PIECE:
            self._switch.later(partial(self._send_repairs, messages[PIECE:]))
            return
        self._switch.ask(codec.aggregate_request(self._switch), self._take_total)
        self._switch.ask(codec.aggregate_request(self._switch, MAGIC, MAGIC_MASK), self._take_ours)

    def finish(self) -> None:
        """There is no more to ask, or no answer."""
        if not self.is_finished:
            self.is_finished = True
            self._done()

    # ---------------------------------------------------------------- rules of others

    @_alone
    def _take_total(self, body: bytes | None) -> None:
        self._total = decoding.decode_rule_count(body) if body else 0

    @_alone
    def _take_ours(self, body: bytes | None) -> None:
        """Between two questions rules may come and go: what counts is to be too many twice."""
        more = 0 if body is None else self._total - decoding.decode_rule_count(body)
        left = self._memory.foreign if time.monotonic() < self._audit.next_deletion else 0
        too_many = more > left
        self._audit.doubtful |= too_many and not self._memory.too_many
        if too_many and self._memory.too_many:
            self._switch.ask_in_parts(codec.flow_stats_request(self._switch), self._take_all)
        else:
            self._begin_slices()
        self._memory.too_many = too_many

    @_alone
    def _take_all(self, body: bytes | None, last: bool) -> None:
        foreign = [entry.cookie for entry in decoding.split_flow_stats(body or b"") if kind_of(entry.cookie) is None]
        self._foreign += len(foreign)
        self._repair(self._audit.found_foreign(set(foreign), time.monotonic()))
        if last:
            self._memory.foreign = self._foreign
            self._begin_slices()

    # ---------------------------------------------------------------- bindings

    def _begin_slices(self) -> None:
        self._slices = self._audit.slices()
        self._more = len(self._slices)  # whoever goes on modifying rules must not keep this run from its end
        self._switch.later(self._proceed)

    @_alone
    def _proceed(self) -> None:
        if self._more > 0 and self._audit.has_reported_flows:
            fresh = self._audit.reported_slices()
            self._slices += fresh
            self._more -= len(fresh)
        if not self._slices:
            self.finish()
            return
        piece = self._slices.pop()
        self._audit.begin_slice(piece)
        request = codec.flow_stats_request(self._switch, cookie=piece.cookie, mask=piece.cookie_mask)
        self._switch.ask_in_parts(request, partial(self._take_slice, piece))

    @_alone
    def _take_slice(self, piece: Slice, body: bytes | None, last: bool) -> None:
        if body is None:
            self.finish()
            return
        for entry in decoding.split_flow_stats(body):
            if piece.may_have(entry.cookie):
                self._unread.append(entry.whole)
        if last:
            self._switch.later(partial(self._read_slice, piece))

    @_alone
    def _read_slice(self, piece: Slice) -> None:
        if self._unread:
            rules, _ = decoding.decode_flow_stats(b"".join(self._next_unread()), self._switch.layout)
            self._audit.take_flows(piece, rules)
            self._switch.later(partial(self._read_slice, piece))
            return
        reaction, more = self._audit.end_slice(piece, time.monotonic(), PIECE)
        self._repair(reaction)
        self._switch.later(partial(self._read_slice, piece) if more else self._proceed)


# ------------------------------------------------------------------------------ when, and what is said of it


@dataclass(slots=True)
class _Rounds:
    """The inspections of one connection."""

    switch: Channel
    due: float
    memory: Memory = field(default_factory=Memory)
    began: float | None = None  # the one that is under way
    asked_for: bool = False  # another one, meanwhile
    finished: float = -math.inf  # when the last that is finished began; as all that follows, but for short ones
    counted: float = -math.inf  # when the last that has read the counters began
    ended: float = -math.inf
    took: float = 0.0
    next_short: float = -math.inf  # before, there is to be no short one

    def earliest(self, gap: float) -> float:
        """Before, there is to be none, however urgent: they never take more than half the time."""
        return self.ended + max(gap, self.took)


class Inspections:
    """All switches', in turn.  ``react``: takes what follows from them; ``sleep``: lets others have their turn."""

    def __init__(
        self, controller: Controller, react: Callable[[Outcome], None], sleep: Callable[[float], None]
    ) -> None:
        self._controller = controller
        self._react = react
        self._sleep = sleep
        self._rounds: dict[int, _Rounds] = {}
        self._unsaid: defaultdict[str, Counter[Fault]] = defaultdict(Counter)  # repairs that are not in the log yet
        self._said_at: dict[str, float] = {}

    def run_due(self, switches: Mapping[int, Channel]) -> None:
        now = time.monotonic()
        for place, (dpid, switch) in enumerate(list(switches.items())):
            if not self._controller.switches[dpid].synchronised:
                continue
            rounds = self._rounds.get(dpid)
            if rounds is None or rounds.switch is not switch:
                due = now + AUDIT_S * (1 + place / len(switches)) / 2  # not all of them at once
                rounds = self._rounds[dpid] = _Rounds(switch, due)
            if rounds.began is not None:
                continue
            audit = self._controller.audits[dpid]
            if now >= rounds.due or (audit.has_reported and now >= rounds.earliest(GAP_S)):
                self._begin(dpid, rounds, now)
            elif audit.has_reported_flows and now >= rounds.next_short:
                self._begin(dpid, rounds, now, short=True)

    def soon(self, dpid: int) -> None:
        """Somebody has deleted rules there."""
        if rounds := self._rounds.get(dpid):
            rounds.asked_for = rounds.began is not None  # that one may have looked already
            rounds.due = min(rounds.due, max(time.monotonic(), rounds.earliest(SOON_S)))

    def modified(self, switch: Channel, cookies: Iterable[int]) -> None:
        """Others have modified rules with these cookies."""
        self._controller.audits[switch.id].recheck(cookies)
        self.run_due({switch.id: switch})

    def fresh(self, switches: Mapping[int, Channel]) -> None:
        """Returns when all counters have been read since now, or after ``FRESH_S``."""
        asked = time.monotonic()
        while time.monotonic() < asked + FRESH_S:
            late = [rounds for dpid, rounds in self._rounds.items()
                    if switches.get(dpid) is rounds.switch and rounds.counted < asked]  # fmt: skip
            if not late:
                return
            idle = [rounds for rounds in late if rounds.began is None]
            for rounds in idle:
                rounds.due = min(rounds.due, max(asked, rounds.finished + GAP_S))
            if any(time.monotonic() >= rounds.due for rounds in idle):
                self.run_due(switches)
            self._sleep(STEP_S)

    def _begin(self, dpid: int, rounds: _Rounds, now: float, short: bool = False) -> None:
        edge = self._controller.switches[dpid]
        rounds.began, rounds.asked_for = now, False
        inspection = Inspection(
            rounds.switch,
            self._controller.audits[dpid],
            rounds.memory,
            lambda packets: self._counted(dpid, rounds, packets),
            lambda reaction: self._react(Outcome.at(dpid, reaction)),
            lambda: self._end(dpid, rounds, short),
        )
        if short:
            inspection.begin_short()
        else:
            inspection.begin(meters=edge.features.meters, ordered=edge.features.open_vswitch)

    def _counted(self, dpid: int, rounds: _Rounds, packets: dict[Kind, int]) -> None:
        self._controller.drops_counted(dpid, packets)
        rounds.counted = rounds.began or rounds.counted

    def _end(self, dpid: int, rounds: _Rounds, short: bool) -> None:
        """The next one comes soon where it has to confirm something; it never takes more than a part of the time."""
        now = time.monotonic()
        assert rounds.began is not None
        began, rounds.began = rounds.began, None
        repaired_at = self._controller.switches[dpid].repaired_at
        repaired = repaired_at is not None and repaired_at >= began
        if short:
            rounds.next_short = now + max(GAP_S, now - began)
        else:
            rounds.finished, rounds.ended, rounds.took = began, now, now - began
            rounds.due = now + min(max(AUDIT_S, PART * rounds.took), LONGEST_S)
        if self._controller.audits[dpid].doubtful or repaired or rounds.asked_for:
            rounds.due = min(rounds.due, max(now + SOON_S, rounds.earliest(SOON_S)))
        self._say_repairs(self._controller.switches[dpid].name, now)

    def note(self, event: Event) -> None:
        """A subscriber: repairs are logged."""
        if isinstance(event, RulesRepaired):
            self._unsaid[event.switch][event.fault] += event.rules

    def _say_repairs(self, switch: str, now: float) -> None:
        """At once, and then at most once a minute: others may change rules again and again."""
        if switch in self._unsaid and now >= self._said_at.get(switch, -math.inf) + SAID_AGAIN_S:
            rules, self._said_at[switch] = self._unsaid.pop(switch), now
            said = ("switch %s did not hold what it should, perhaps changed by others: %d rules were missing, "
                    "%d were different, %d were not ours; put right")  # fmt: skip
            LOG.warning(said, switch, rules[Fault.MISSING], rules[Fault.WRONG], rules[Fault.FOREIGN])
