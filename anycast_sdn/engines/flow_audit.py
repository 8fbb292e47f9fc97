"""FlowAudit: are the rules of flows on a switch as they should be?  And if not, what puts them right? (M20)

There may be very many, so they are looked at in slices: one direction of the flows whose numbers end with the same
bits.  A look takes one slice of each direction in turn, and besides those where something was missed or is suspected;
all of them when ``thorough``.  What is suspected can be looked at alone, too.

Rules kept here:
- What is compared was wanted when the switch was asked, and still is: a flow to which something has happened
  meanwhile is left to the next look.
- A rule that is missing may have expired, and the report be on its way: it counts when the next look misses it, too.
- A rule of no flow is deleted.

Nothing is sent or asked from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import NamedTuple

from anycast_sdn.core.bindings import LOW_BITS, Binding, BindingTable, Half
from anycast_sdn.core.events import Fault, repaired
from anycast_sdn.engines.found_rules import corrections, faults
from anycast_sdn.openflow import readback
from anycast_sdn.openflow.pipeline import COOKIE_KIND_MASK, Kind, binding_of, cookie, kind_of, number_of
from anycast_sdn.openflow.reaction import Reaction
from anycast_sdn.openflow.rules import DeleteFlow, FlowRule, Message, PutBinding

SLICE = 4096  # flows whose rules are asked for together, at the most: for each question, a switch looks at all rules
_OUT_KINDS = cookie(Kind.BINDING_OUT) ^ cookie(Kind.BINDING_OUT_UNANSWERED)  # the bit in which these differ


class Slice(NamedTuple):
    """One direction of the flows whose numbers end with these bits."""

    half: Half
    bits: int
    part: int

    @property
    def cookie(self) -> int:
        """With ``cookie_mask``: the rules to ask for, in whatever table others may have put them."""
        return cookie(Kind.BINDING_IN if self.half is Half.IN else Kind.BINDING_OUT_UNANSWERED, self.part)

    @property
    def cookie_mask(self) -> int:
        return (COOKIE_KIND_MASK if self.half is Half.IN else COOKIE_KIND_MASK & ~_OUT_KINDS) | self._mask

    @property
    def _mask(self) -> int:
        return (1 << self.bits) - 1

    def has(self, number: int) -> bool:
        return number & self._mask == self.part

    def may_have(self, cookie: int) -> bool:
        """Is a rule with this cookie one of such a flow, in either direction?"""
        return kind_of(cookie) in readback.HALF_OF and self.has(number_of(cookie))


class FlowAudit:
    """Of one switch.  A look: ``slices``, or ``suspected_slices``; then for each of them ``begin``, ``take`` what was
    found, and ``end``.

    ``name``: the switch's; ``wanted_rule``: of one direction of a flow, as it should be now.
    """

    def __init__(self, name: str, flows: BindingTable, wanted_rule: Callable[[Binding, Half], PutBinding]) -> None:
        self._name = name
        self._flows = flows
        self._wanted_rule = wanted_rule
        self._next_part = 0
        self._suspected: set[int] = set()  # the last bits of the numbers of flows whose rules others have modified
        self._told_of: set[int] = set()  # the parts with these
        self._asked: dict[int, Binding] = {}  # the flows of the slice, as they were when it was asked for
        self._found: dict[int, list[FlowRule]] = {}  # of these
        self._surplus: dict[int, list[FlowRule]] = {}  # of other numbers, which may be any that a switch likes
        self._missed: set[tuple[int, Half]] = set()  # rules that the last look at them has missed
        self._missed_before: set[tuple[int, Half]] = set()  # of the slice

    @property
    def doubtful(self) -> bool:
        """Was something missed that the next look has to confirm?"""
        return bool(self._missed)

    def suspect(self, cookies: Iterable[int]) -> None:
        """Others have modified rules with these cookies: the next look is to include their slices."""
        self._suspected.update(number_of(cookie) % (1 << LOW_BITS) for cookie in cookies if binding_of(cookie))

    @property
    def has_suspects(self) -> bool:
        """Has no look at what others have modified begun yet?"""
        return bool(self._suspected)

    def is_told_of(self, piece: Slice) -> bool:
        """Is this slice looked at because others were known to have modified something there?"""
        return piece.part in self._told_of

    def slices(self, thorough: bool) -> list[Slice]:
        """Those that are to be looked at now."""
        parts = range(1 << self._bits)
        looked_at: Iterable[int] = parts
        told_of = self._told_of = self._take_suspected()
        if not thorough:
            missed = (number % len(parts) for number, _ in self._missed)
            looked_at = {self._next_part % len(parts), *missed, *told_of}
            self._next_part += 1
        return self._both_halves(looked_at)

    def suspected_slices(self) -> list[Slice]:
        """Those with what others have modified since a look was last taken at it."""
        told_of = self._take_suspected()
        self._told_of |= told_of  # a look at others may be under way
        return self._both_halves(told_of)

    @property
    def _bits(self) -> int:
        return (len(self._flows) // SLICE).bit_length()

    def _take_suspected(self) -> set[int]:
        parts = range(1 << self._bits)
        low = min(len(parts), 1 << LOW_BITS)
        suspected = {number % low for number in self._suspected}
        self._suspected.clear()
        return {part for part in parts if part % low in suspected} if suspected else set()

    def _both_halves(self, parts: Iterable[int]) -> list[Slice]:
        return [Slice(half, self._bits, part) for part in sorted(parts) for half in Half.BOTH.parts]

    def begin(self, piece: Slice) -> None:
        """The switch is asked now."""
        self._asked = {flow.number: flow for flow in self._flows.ending_with(piece.part, piece.bits)}
        self._found, self._surplus = {}, {}
        here = {(number, half) for number, half in self._missed if half is piece.half and piece.has(number)}
        self._missed_before, self._missed = here, self._missed - here

    def take(self, piece: Slice, rules: Iterable[FlowRule]) -> None:
        for rule in rules:
            number = number_of(rule.cookie)
            if piece.has(number) and readback.half_of(rule) is piece.half:
                found = self._found if number in self._asked else self._surplus
                found.setdefault(number, []).append(rule)

    def end(self, piece: Slice, most: int) -> tuple[Reaction, bool]:
        """All of it has been found → what puts right the rules of ``most`` flows, and are there more flows?"""
        messages: list[Message] = []
        found: list[Fault] = []

        def take(corrected: Iterable[Message], rules: list[FlowRule]) -> None:
            new = [*corrected]
            messages.extend(new)
            found.extend(faults(new, rules))

        for _ in range(min(most, len(self._surplus))):
            number, rules = self._surplus.popitem()
            if self._flows.by_number(number) is None:
                take(map(DeleteFlow, rules), rules)
        for number in list(islice(self._asked, most)):
            flow, rules = self._asked.pop(number), self._found.pop(number, [])
            if self._flows.by_number(number) is flow:  # else something has happened to it meanwhile
                take(self._put_right(flow, piece.half, rules), rules)
        return Reaction(messages, events=repaired(self._name, found)), bool(self._asked or self._surplus)

    def _put_right(self, flow: Binding, half: Half, rules: list[FlowRule]) -> list[Message]:
        """``rules``: those that were found with the cookies of this direction."""
        if half not in flow.installed:
            return [*map(DeleteFlow, rules)]
        if rules:
            return corrections([self._wanted_rule(flow, half)], rules)
        if (flow.number, half) not in self._missed_before:
            self._missed.add((flow.number, half))
            return []
        return [self._wanted_rule(flow, half)]
