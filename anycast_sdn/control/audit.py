"""Audit: does a switch hold what the controller has installed?  If not, what corrects it? (M20)

Other programs have access to switches, too, and may delete or edit rules.  So switches are inspected periodically.  A
*look* compares all rules that belong to no flow, all groups and all meters, and some of the flows' rules
(``engines.engine.Audit``).  Open vSwitch also reports what other programs modify (``recheck``): modified
rules of flows are compared alone, at once; other rules by a look that comes early.

Rules kept here:
- A difference counts if nothing was changed between the request to the switch and its answer.  If something was, the
  difference counts only when the next look finds the same one.
- Where a switch is shared (``control.share``), each controller compares that on which it decides: its master the flows,
  and the leader all else.
- Where one rule is wrong, more may be: then the next look compares all flows.
- What is still wrong after a correction, because the switch refuses it or reports it in another form, is corrected
  again after ever longer intervals.  So are foreign rules that stay, or come again, deleted; they count once.

Nothing is sent from here; ``process.inspection`` does that.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from anycast_sdn.control.next_hop_audit import NextHopAudit, cut_off
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.control.reconcile import changes
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.events import Event, Fault, repaired
from anycast_sdn.core.model import Address
from anycast_sdn.engines.engine import Audit as FlowsAudit
from anycast_sdn.openflow.pipeline import binding_of
from anycast_sdn.openflow.reaction import Reaction
from anycast_sdn.openflow.requests import RulesRequest
from anycast_sdn.openflow.rules import (
    AddFlow,
    DeleteCookie,
    DeleteFlow,
    DeleteGroup,
    DeleteMeter,
    FlowRule,
    GroupRule,
    Message,
    MeterRule,
    RuleKey,
    SetGroup,
    SetMeter,
)
from anycast_sdn.openflow.tables import Tables

FOREIGN_AGAIN_S, LONGEST_FOREIGN_S = 2.0, 60.0  # until a foreign rule that is still there is deleted again; doubles
MAX_REMEMBERED = 1 << 12  # foreign cookies; rules with others are deleted whenever they are found
MOST_LOOKS = 8  # until what may have been deleted again is put back
NOT_HELD_LOOKS = 3  # that miss a rule again, one after the other: it was sent three times
_Rule = TypeVar("_Rule", GroupRule, MeterRule)


class _Deleted(NamedTuple):
    """A foreign cookie, whose rules were deleted."""

    pause: float  # until they may be deleted again
    when: float


class _Tries(NamedTuple):
    """To correct something."""

    there: object  # what was found instead
    looks: int  # that have found this, one after the other, besides the one that has found it missing first
    refused_at: float  # when the switch had last refused a rule before


class Audit:
    """Of one switch.  A look: ``begin``, ``take_…`` what was found, ``end``, ``repair_some``; then each request of
    ``begin_flows`` likewise.  A short one: each request of ``begin_reported_flows`` alone.
    """

    def __init__(self, switch: ManagedSwitch) -> None:
        self._switch = switch
        self._doubtful = False  # see ``is_doubtful``
        self.may_miss_more = False  # others have deleted rules of flows since the last look began
        self.has_reported = False  # others have modified rules of no flow since the last look began
        self._thorough = False  # something was wrong: compare all flows
        self._changes = -1  # ``Installed.changes`` when this look began
        self._right: set[RuleKey] = set()
        self._as_before: list[list[FlowRule]] = []
        self._wrong: dict[RuleKey, FlowRule] = {}
        self._foreign: set[int] = set()
        self._repairs: list[Message] = []  # for ``repair_some``
        self._groups: dict[int, GroupRule] | None = None
        self._meters: dict[int, MeterRule] | None = None
        self._differences: dict[RuleKey, FlowRule | None] = {}  # found by the last look
        self._refused_at = -math.inf
        self._tries: dict[tuple[str, object], _Tries] = {}  # of what was corrected and is still wrong
        self._deleted: dict[int, _Deleted] = {}  # by foreign cookie
        self._next_hops = NextHopAudit()

    @property
    def _flows(self) -> FlowsAudit:
        return self._switch.engine.audit

    # ---------------------------------------------------------------- all but the flows

    def begin(self, *, is_settled: bool = True) -> None:
        """The switch is asked now.  ``is_settled``: has it got everything that was sent?"""
        self._changes = self._switch.installed.changes if is_settled else -1
        self._right, self._as_before, self._wrong, self._foreign = set(), [], {}, set()
        self._groups = self._meters = None
        self._doubtful = self.has_reported = self.may_miss_more = False

    @property
    def is_doubtful(self) -> bool:
        """Is there something that the next look has to confirm?"""
        return self._doubtful

    def expect_missing(self) -> None:
        """Another program has deleted rules of flows, and perhaps others."""
        self.may_miss_more = True

    def doubt(self) -> None:
        """There is something that the next look has to confirm."""
        self._doubtful = True

    @property
    def is_unchanged(self) -> bool:
        """Has nothing been changed since this look began?"""
        return self._changes == self._switch.installed.changes

    def take_rules(self, rules: Iterable[FlowRule], foreign: Collection[int] = ()) -> None:
        """Rules that belong to no flow; ``foreign``: cookies that the controller does not use."""
        self._foreign.update(foreign)
        for rule in rules:
            if rule in self._switch.installed:
                self._right.add(rule.key)
            else:
                self._wrong[rule.key] = rule

    def take_as_before(self, rules: list[FlowRule]) -> None:
        """Rules that an earlier look has found right; nothing has changed since."""
        self._as_before.append(rules)

    @property
    def all_right(self) -> bool:
        """Were all rules right in this look, and are they still?"""
        return self.is_unchanged and not self._wrong

    def take_groups(self, groups: Iterable[GroupRule]) -> None:
        self._groups = {group.number: group for group in groups}

    def take_meters(self, meters: Iterable[MeterRule]) -> None:
        self._meters = {meter.number: meter for meter in meters}

    def end(self, now: float) -> Outcome:
        """All has been taken → the faults that were found; ``repair_some`` corrects them."""
        self._repairs = []
        if not self._switch.synchronised:
            return Outcome()
        wanted = Tables({rule.key: rule for rule in self._not_right()})
        found = Tables(self._wrong)
        self._postpone_unconfirmed(wanted, found)
        foreign = self._foreign
        if self.is_unchanged:
            installed = self._switch.installed
            wanted.groups, found.groups = _differing(installed.groups, self._groups)
            wanted.meters, found.meters = _differing(installed.meters, self._meters)
        else:
            self._doubtful |= bool(foreign)
            foreign = set()
        missing = wanted.flows.keys() - found.flows.keys()
        self._postpone_repeated(wanted, found)
        if self.is_unchanged and not (wanted.flows or wanted.groups):
            self._switch.room.all_found()
        self._tell_not_taken(missing, now)
        deletions, events = self._found_foreign(foreign, now)
        self._repairs = [*deletions, *changes(wanted, found)]
        for ours, theirs in ((wanted.flows, found.flows), (wanted.groups, found.groups), (wanted.meters, found.meters)):
            events += self._record_repairs(ours.keys(), theirs.keys(), now)
        return Outcome(events=events)

    def end_next_hops(self, wanted: Mapping[Address, GroupRule], found: Mapping[int, GroupRule], now: float) -> Outcome:
        """Of a switch whose layout has such groups: those that it should hold, and all that it does hold."""
        if not self._switch.synchronised:
            return Outcome()
        flows = self._switch.engine.flows
        self._switch.cut_off = cut_off(wanted, flows)
        repairs = self._next_hops.repairs(wanted, found)
        self._doubtful |= self._next_hops.is_doubtful
        wrong = [each.group.number for each in repairs if each.exists]
        events = self._record_repairs([each.group.number for each in repairs], wrong, now)
        return self._at_switch(Reaction([*repairs, *self._next_hops.deletions(wanted, flows)], events=events))

    def repair_some(self, most: int) -> tuple[Outcome, bool]:
        """The next ``most`` corrections that ``end`` has found to be due, if they still are → are there more?"""
        some, self._repairs = self._repairs[:most], self._repairs[most:]
        return self._at_switch(Reaction([message for message in some if self._is_due(message)])), bool(self._repairs)

    def _at_switch(self, reaction: Reaction) -> Outcome:
        return Outcome.at(self._switch.dpid, reaction)

    def found_foreign(self, cookies: Collection[int], now: float) -> Outcome:
        """Rules with these foreign cookies have been found → what deletes them."""
        deletions, events = self._found_foreign(cookies, now)
        return self._at_switch(Reaction([*deletions], events=events))

    def _found_foreign(self, cookies: Collection[int], now: float) -> tuple[list[DeleteCookie], list[Event]]:
        gone = [cookie for cookie, (pause, when) in self._deleted.items() if now > when + 2 * pause + LONGEST_FOREIGN_S]
        for cookie in gone:
            del self._deleted[cookie]
        due = [cookie for cookie in cookies if self.may_delete(cookie, now)]
        events = self._record_repairs((), [cookie for cookie in due if cookie not in self._deleted], now)
        for cookie in due:
            if before := self._deleted.get(cookie):
                self._deleted[cookie] = _Deleted(min(2 * before.pause, LONGEST_FOREIGN_S), now)
            elif len(self._deleted) < MAX_REMEMBERED:
                self._deleted[cookie] = _Deleted(FOREIGN_AGAIN_S, now)
        return [*map(DeleteCookie, due)], events

    def may_delete(self, cookie: int, now: float) -> bool:
        """Is it time to delete the rules with this foreign cookie, perhaps again?"""
        deleted = self._deleted.get(cookie)
        return deleted is None or now >= deleted.when + deleted.pause

    @property
    def next_deletion(self) -> float:
        """When to look again for foreign rules that stay."""
        return min((when + pause for pause, when in self._deleted.values()), default=-math.inf)

    def _is_due(self, message: Message) -> bool:
        """Is a message that ``end`` has found to be due a little earlier still right?"""
        switch = self._switch
        match message:
            case AddFlow(rule):
                return rule in switch.installed
            case DeleteFlow(rule):
                return not switch.installed.has_in_place_of(rule)
            case SetGroup(group):
                return switch.installed.groups.get(group.number) == group
            case SetMeter(meter):
                return switch.installed.meters.get(meter.number) == meter
            case DeleteGroup(number):
                return number not in switch.installed.groups
            case DeleteMeter(number):
                return number not in switch.installed.meters
        return True

    def _not_right(self) -> Iterator[FlowRule]:
        """The installed rules that were not found as they should be."""
        if len(self._right) + sum(map(len, self._as_before)) == len(self._switch.installed):
            return
        right = self._right.union(rule.key for rules in self._as_before for rule in rules)
        yield from (rule for rule in self._switch.installed if rule.key not in right)

    def _postpone_unconfirmed(self, wanted: Tables, found: Tables) -> None:
        """If something was changed during the look, only differences count that the last look has found, too."""
        differences = {key: found.flows.get(key) for key in (*wanted.flows, *found.flows)}
        if not self.is_unchanged:
            confirmed = {key for key, rule in differences.items() if self._differences.get(key, ()) == rule}
            wanted.flows = {key: rule for key, rule in wanted.flows.items() if key in confirmed}
            found.flows = {key: rule for key, rule in found.flows.items() if key in confirmed}
            self._doubtful = len(confirmed) < len(differences)
        self._differences = differences

    def _postpone_repeated(self, wanted: Tables, found: Tables) -> None:
        """What a correction has not changed is corrected again after 1, 2, 4, 8 … looks.

        What is missing may have been deleted again by another program, which ends some day: unless the switch has
        refused a message meanwhile, it is put back at least at each ``MOST_LOOKS``th look.
        """
        refused_at = self._switch.lacks.refused_at
        last_look, self._refused_at = self._refused_at, refused_at
        refuses = refused_at != last_look
        before, self._tries = self._tries, {}
        both: tuple[tuple[str, dict[Any, Any], dict[Any, Any]], ...] = (
            ("rule", wanted.flows, found.flows),
            ("group", wanted.groups, found.groups),
            ("meter", wanted.meters, found.meters),
        )
        for sort, ours, theirs in both:
            for key in list(ours):
                there = theirs.get(key)
                was, tries, since = before.get((sort, key), _Tries(None, 0 if refuses else -1, last_look))
                tries = tries + 1 if there == was else 1
                self._tries[sort, key] = _Tries(there, tries, since)
                may_be_deleted = there is None and since == refused_at and tries % MOST_LOOKS == 0
                if tries & (tries - 1) and not may_be_deleted:
                    del ours[key]
                    theirs.pop(key, None)

    def _tell_not_taken(self, missing: Collection[RuleKey], now: float) -> None:
        """``missing``: the rules that were not found, as far as that counts in this look."""
        rows = self._switch.lacks.rows
        looks = {key: tries.looks for key in missing if (tries := self._tries.get(("rule", key)))}
        if any(each > 1 for each in looks.values()):
            rules = [rule for rule in self._not_right() if looks.get(rule.key, 0) > 1]
            rows.missing(rules)
            rows.not_held((rule for rule in rules if looks[rule.key] >= NOT_HELD_LOOKS), now)
        if rows.are_missing:
            rows.found(self._right.union(rule.key for rules in self._as_before for rule in rules))

    def _record_repairs(self, wanted: Collection[object], found: Collection[object], now: float) -> list[Event]:
        """``wanted``: what was not found as it should be; ``found``: what was found and should not be so."""
        if wanted or found:
            self._switch.note_repairs(now)
            self._thorough = True
        faults = [Fault.WRONG if key in found else Fault.MISSING for key in wanted]
        faults += [Fault.FOREIGN for key in found if key not in wanted]
        return repaired(self._switch.name, faults)

    # ---------------------------------------------------------------- flows

    def recheck(self, cookies: Iterable[int]) -> None:
        """Another program has modified rules with these cookies."""
        cookies = list(cookies)
        if self._switch.decides_on_flows:
            self._flows.recheck(cookies)
        self.has_reported |= self._switch.synchronised and not all(map(binding_of, cookies))

    @property
    def has_reported_flows(self) -> bool:
        """Is there something for a short look?"""
        return self._flows.has_reported

    def begin_flows(self) -> list[RulesRequest]:
        """Begin to compare flows → what to ask for, one after the other."""
        thorough, self._thorough = self._thorough, False
        return self._flows.begin_look(thorough) if self._switch.decides_on_flows else []

    def begin_reported_flows(self) -> list[RulesRequest]:
        """Begin to compare flows with rules that were reported as modified since they were last compared."""
        return self._flows.begin_reported()

    def begin_request(self, request: RulesRequest) -> None:
        """The switch is asked now."""
        self._flows.begin(request)

    def take_flows(self, request: RulesRequest, rules: Iterable[FlowRule]) -> None:
        self._flows.take(request, rules)

    def end_flows(self, request: RulesRequest, most: int, now: float) -> tuple[Outcome, bool]:
        """All has been taken → what corrects the rules of ``most`` flows, and are there more flows?"""
        if not self._switch.decides_on_flows:
            return Outcome(), False
        reaction, more = self._flows.end(request, most)
        if reaction.messages:
            self._switch.note_repairs(now)
            self._thorough |= not self._flows.was_reported(request)  # an unreported fault may not be the only one
        self._doubtful |= self._flows.is_doubtful
        return self._at_switch(reaction), more


def _differing(
    ours: Mapping[int, _Rule], theirs: Mapping[int, _Rule] | None
) -> tuple[dict[int, _Rule], dict[int, _Rule]]:
    """What of each differs from the other; nothing when the switch has not reported what it has."""
    if theirs is None:
        return {}, {}
    return (
        {number: rule for number, rule in ours.items() if theirs.get(number) != rule},
        {number: rule for number, rule in theirs.items() if ours.get(number) != rule},
    )
