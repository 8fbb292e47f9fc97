"""Audit: does a switch hold what it is believed to hold?  And if not, what puts it right? (M20)

Others have access to switches, too, and may delete or edit what is there.  So a switch is looked at again and
again: all its rules but the bindings', its groups and its meters at each look, and the bindings' rules some slices
at a time.  Open vSwitch tells besides what others modify (``suspect``): these slices are looked at at once.

Rules kept here:
- What is compared was believed when the switch was asked, and still is.  Where something was changed meanwhile,
  a difference counts only when the next look finds the same one.
- A binding's rule that is missing may have expired, and the report be under way: it counts when the next look
  misses it, too.
- Where one thing is wrong, more may be: then all slices are looked at.
- What does not get right by being put, because the switch refuses it or shows it otherwise than it was put, is put
  again ever more seldom.  So are foreign rules deleted that stay, or come again; they count once.

Nothing is sent or asked from here; ``inspection`` does that.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from anycast_sdn.control.reconcile import changes
from anycast_sdn.control.switch import EdgeSwitch
from anycast_sdn.core.bindings import LOW_BITS, Binding, Half
from anycast_sdn.openflow import readback
from anycast_sdn.openflow.pipeline import binding_of, number_of
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

SLICE = 4096  # bindings whose rules are asked for together, at the most: for each question, a switch looks at all
FOREIGN_AGAIN_S, LONGEST_FOREIGN_S = 2.0, 60.0  # until a rule that was deleted, and is there, is deleted again; doubles
_Rule = TypeVar("_Rule", GroupRule, MeterRule)


class _Deleted(NamedTuple):
    """A cookie of others, whose rules were deleted."""

    pause: float  # until they may be deleted again
    when: float


class Slice(NamedTuple):
    """One direction of the bindings whose numbers end with these bits."""

    half: Half
    bits: int
    part: int

    @property
    def mask(self) -> int:
        return (1 << self.bits) - 1

    def has(self, number: int) -> bool:
        return number & self.mask == self.part


class Audit:
    """Of one switch.  A look: ``begin``, ``take_…`` what was found, ``end``; then each of ``slices`` likewise."""

    def __init__(self, edge: EdgeSwitch) -> None:
        self._edge = edge
        self.doubtful = False  # there is something that the next look has to confirm
        self._thorough = False  # something was wrong
        self._changes = -1  # how often the edge had been changed when this look began
        self._right: set[RuleKey] = set()
        self._as_before: list[list[FlowRule]] = []
        self._wrong: dict[RuleKey, FlowRule] = {}
        self._foreign: set[int] = set()
        self._groups: dict[int, GroupRule] | None = None
        self._meters: dict[int, MeterRule] | None = None
        self._differences: dict[RuleKey, FlowRule | None] = {}  # that the last look has found
        self._refusals = 0
        # Of what is not right although it was put: what was there instead, and how many looks have found that.
        self._tries: dict[tuple[str, object], tuple[object, int]] = {}
        self._deleted: dict[int, _Deleted] = {}  # cookies of others
        self._next_part = 0
        self._suspected: set[int] = set()  # the last bits of bindings' numbers whose rules others have modified
        self._told_of: set[int] = set()  # the parts with these
        self._asked: dict[int, Binding] = {}  # the bindings of the slice, as they were when it was asked for
        self._found: dict[int, list[FlowRule]] = {}
        self._missed: set[tuple[int, Half]] = set()  # rules of bindings that the last look at them has missed
        self._missed_before: set[tuple[int, Half]] = set()  # of the slice

    # ---------------------------------------------------------------- all but the bindings

    def begin(self) -> None:
        """The switch is asked now."""
        self._changes = self._edge.changes
        self._right, self._as_before, self._wrong, self._foreign = set(), [], {}, set()
        self._groups = self._meters = None
        self.doubtful = False

    def suspect(self, cookies: Iterable[int]) -> None:
        """Others have modified rules with these cookies: the next look is to see to that."""
        self._suspected.update(number_of(cookie) % (1 << LOW_BITS) for cookie in cookies if binding_of(cookie))
        self.doubtful = True

    @property
    def undisturbed(self) -> bool:
        """Has nothing been changed since this look began?"""
        return self._changes == self._edge.changes

    def take_rules(self, rules: Iterable[FlowRule], foreign: Collection[int] = ()) -> None:
        """Rules of no binding; ``foreign``: cookies that are not ours."""
        self._foreign.update(foreign)
        for rule in rules:
            if self._edge.wants(rule):
                self._right.add(rule.key)
            else:
                self._wrong[rule.key] = rule

    def take_as_before(self, rules: list[FlowRule]) -> None:
        """Rules that an earlier look has found right, and nothing was changed since."""
        self._as_before.append(rules)

    @property
    def all_right(self) -> bool:
        """Were all rules right in this look, and are they still?"""
        return self.undisturbed and not self._wrong

    def take_groups(self, groups: Iterable[GroupRule]) -> None:
        self._groups = {group.number: group for group in groups}

    def take_meters(self, meters: Iterable[MeterRule]) -> None:
        self._meters = {meter.number: meter for meter in meters}

    def end(self, now: float) -> list[Message]:
        """All of it has been found → what puts the switch right."""
        if not self._edge.synchronised:
            return []
        wanted = Tables({rule.key: rule for rule in self._not_right()})
        found = Tables(self._wrong)
        self._leave_doubts(wanted, found)
        foreign = self._foreign
        if self.undisturbed:
            installed = self._edge.installed
            wanted.groups, found.groups = _differing(installed.groups, self._groups)
            wanted.meters, found.meters = _differing(installed.meters, self._meters)
        else:
            self.doubtful |= bool(foreign)
            foreign = set()
        self._leave_hopeless(wanted, found)
        for ours, theirs in ((wanted.flows, found.flows), (wanted.groups, found.groups), (wanted.meters, found.meters)):
            self._count(ours.keys(), theirs.keys(), now)
        return [*self.found_foreign(foreign, now), *changes(wanted, found)]

    def found_foreign(self, cookies: Collection[int], now: float) -> list[Message]:
        """Rules of others have been found → what removes them."""
        gone = [cookie for cookie, (pause, when) in self._deleted.items() if now > when + 2 * pause + LONGEST_FOREIGN_S]
        for cookie in gone:
            del self._deleted[cookie]
        due = [cookie for cookie in cookies if self.may_delete(cookie, now)]
        self._count((), [cookie for cookie in due if cookie not in self._deleted], now)
        for cookie in due:
            pause = 2 * self._deleted[cookie].pause if cookie in self._deleted else FOREIGN_AGAIN_S
            self._deleted[cookie] = _Deleted(min(pause, LONGEST_FOREIGN_S), now)
        return [*map(DeleteCookie, due)]

    def may_delete(self, cookie: int, now: float) -> bool:
        """Is it time to delete the rules of others with this cookie, perhaps again?"""
        deleted = self._deleted.get(cookie)
        return deleted is None or now >= deleted.when + deleted.pause

    @property
    def next_deletion(self) -> float:
        """When rules of others that stay are to be looked for again."""
        return min((when + pause for pause, when in self._deleted.values()), default=-math.inf)

    def is_due(self, message: Message) -> bool:
        """Is what ``end`` has returned a little earlier still right?"""
        edge = self._edge
        match message:
            case AddFlow(rule):
                return edge.wants(rule)
            case DeleteFlow(rule):
                return not edge.wants_at(rule)
            case SetGroup(group):
                return edge.installed.groups.get(group.number) == group
            case SetMeter(meter):
                return edge.installed.meters.get(meter.number) == meter
            case DeleteGroup(number):
                return number not in edge.installed.groups
            case DeleteMeter(number):
                return number not in edge.installed.meters
        return True

    def _not_right(self) -> Iterator[FlowRule]:
        """The rules that should be there, and were not found as they should be."""
        if len(self._right) + sum(map(len, self._as_before)) == self._edge.rules:
            return
        right = self._right.union(rule.key for rules in self._as_before for rule in rules)
        yield from (rule for rule in self._edge.believed() if rule.key not in right)

    def _leave_doubts(self, wanted: Tables, found: Tables) -> None:
        """Where something was changed during the look, differences count that the last look has found, too."""
        differences = {key: found.flows.get(key) for key in (*wanted.flows, *found.flows)}
        if not self.undisturbed:
            confirmed = {key for key, rule in differences.items() if self._differences.get(key, ()) == rule}
            wanted.flows = {key: rule for key, rule in wanted.flows.items() if key in confirmed}
            found.flows = {key: rule for key, rule in found.flows.items() if key in confirmed}
            self.doubtful = len(confirmed) < len(differences)
        self._differences = differences

    def _leave_hopeless(self, wanted: Tables, found: Tables) -> None:
        """What is as it was before it was put is put after 1, 2, 4, 8 … looks.

        What is missing may have been deleted by others, again and again: it counts where the switch refuses something.
        """
        refusals = self._edge.counters["rule_refused"]
        refuses, self._refusals = refusals != self._refusals, refusals
        before, self._tries = self._tries, {}
        both: tuple[tuple[str, dict[Any, Any], dict[Any, Any]], ...] = (
            ("rule", wanted.flows, found.flows),
            ("group", wanted.groups, found.groups),
            ("meter", wanted.meters, found.meters),
        )
        for sort, ours, theirs in both:
            for key in list(ours):
                there = theirs.get(key)
                was, tries = before.get((sort, key), (None, 0))
                if there is None and not refuses and not tries:
                    continue
                tries = tries + 1 if there == was else 1
                self._tries[sort, key] = there, tries
                if tries & (tries - 1):
                    del ours[key]
                    theirs.pop(key, None)

    def _count(self, wanted: Collection[object], found: Collection[object], now: float) -> None:
        """``wanted``: what was not as it should be; ``found``: what was there and should not be so."""
        if not wanted and not found:
            return
        repairs = self._edge.repairs
        repairs["missing"] += sum(key not in found for key in wanted)
        repairs["wrong"] += sum(key in found for key in wanted)
        repairs["foreign"] += sum(key not in wanted for key in found)
        self._edge.repaired_at = now
        self._thorough = True

    # ---------------------------------------------------------------- bindings

    def slices(self) -> list[Slice]:
        """Those that are to be looked at now."""
        bits = (len(self._edge.engine.flows) // SLICE).bit_length()
        parts = range(1 << bits)
        looked_at: Iterable[int] = parts
        if not self._thorough:
            low = min(len(parts), 1 << LOW_BITS)
            suspected = {number % low for number in self._suspected}
            missed = (number % len(parts) for number, _ in self._missed)
            self._told_of = {part for part in parts if part % low in suspected}
            looked_at = {self._next_part % len(parts), *missed, *self._told_of}
            self._next_part += 1
        self._suspected.clear()
        self._thorough = False
        return [Slice(half, bits, part) for part in sorted(looked_at) for half in Half.BOTH.parts]

    def begin_slice(self, piece: Slice) -> None:
        """The switch is asked now."""
        asked = self._edge.engine.flows.ending_with(piece.part, piece.bits)
        self._asked = {binding.number: binding for binding in asked}
        self._found = {}
        here = {(number, half) for number, half in self._missed if half is piece.half and piece.has(number)}
        self._missed_before, self._missed = here, self._missed - here

    def take_bindings(self, piece: Slice, rules: Iterable[FlowRule]) -> None:
        for rule in rules:
            number = number_of(rule.cookie)
            if piece.has(number) and readback.half_of(rule) is piece.half:
                self._found.setdefault(number, []).append(rule)

    def end_slice(self, piece: Slice, now: float, most: int = 1 << 40) -> tuple[list[Message], bool]:
        """All of it has been found → what puts the switch right, of ``most`` bindings, and are there more?"""
        if not self._edge.synchronised:
            return [], False
        thorough, messages = self._thorough, list[Message]()
        for number in list(islice(self._found.keys() - self._asked.keys(), most)):
            rules = self._found.pop(number)
            if not self._binding(number):
                self._count((), rules, now)
                messages += map(DeleteFlow, rules)
        for number in list(islice(self._asked, most)):
            binding, rules = self._asked.pop(number), self._found.pop(number, [])
            if self._binding(number) is binding:  # else something has happened to it meanwhile
                messages += self._put_right(binding, piece.half, rules, now)
        if piece.part in self._told_of:
            self._thorough = thorough  # there are no others that nobody has told of
        self.doubtful |= bool(self._missed)
        return messages, bool(self._asked or self._found)

    def _binding(self, number: int) -> Binding | None:
        return self._edge.engine.flows.by_number(number)

    def _put_right(self, binding: Binding, half: Half, rules: list[FlowRule], now: float) -> list[Message]:
        """``rules``: those that were found with the cookies of this direction."""
        engine = self._edge.engine
        lost = (binding.number, half)
        if half not in binding.installed:
            self._count((), rules, now)
            return [*map(DeleteFlow, rules)]
        if rules:
            messages = engine.put_right(binding, half, rules)
            if messages:
                self._edge.repaired_at, self._thorough = now, True
            return messages
        if lost not in self._missed_before:
            self._missed.add(lost)
            return []
        self._count([lost], (), now)
        return [engine.wanted_rule(binding, half)]


def _differing(
    ours: Mapping[int, _Rule], theirs: Mapping[int, _Rule] | None
) -> tuple[dict[int, _Rule], dict[int, _Rule]]:
    """Of each, what is not the same in the other; nothing when the switch does not say what it has."""
    if theirs is None:
        return {}, {}
    return (
        {number: rule for number, rule in ours.items() if theirs.get(number) != rule},
        {number: rule for number, rule in theirs.items() if ours.get(number) != rule},
    )
