"""FlowAudit: are the rules of flows on a switch as they should be?  If not, what corrects them? (M20)

There may be very many, so they are compared in slices: one direction of the flows whose numbers end with the same
bits.  A look takes one slice of each direction in turn, and also those in which a rule was missing at the last look or
was reported as modified; all slices when ``thorough``.  Reported slices can also be compared alone.

Rules kept here:
- Only flows that have not changed since the switch was asked are compared; the others are left to the next look.
- A missing rule may have expired, with its FLOW_REMOVED still on the way: it counts when the next look misses it, too.
- A rule that belongs to no flow is deleted.

Nothing is sent from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

from anycast_sdn.core.bindings import LOW_BITS, Binding, BindingTable, Half
from anycast_sdn.core.events import Fault, repaired
from anycast_sdn.engines.engine import Audit
from anycast_sdn.engines.found_rules import corrections, faults
from anycast_sdn.openflow import readback
from anycast_sdn.openflow.pipeline import binding_of, cookies_of, number_of
from anycast_sdn.openflow.reaction import Reaction
from anycast_sdn.openflow.requests import RulesRequest
from anycast_sdn.openflow.rules import DeleteFlow, FlowRule, Message, PutBinding

SLICE = 4096  # flows in a slice, at the most; not fewer, because a switch searches all its rules for each request


class FlowAudit(Audit):
    """``name``: the switch's; ``wanted_rule``: makes the rule of one direction of a flow.
    """

    def __init__(self, name: str, flows: BindingTable, wanted_rule: Callable[[Binding, Half], PutBinding]) -> None:
        self._name = name
        self._flows = flows
        self._wanted_rule = wanted_rule
        self._next_part = 0
        self._reported: set[int] = set()  # the last bits of the numbers of flows with rules reported as modified
        self._reported_parts: set[int] = set()  # parts of slices with such flows
        self._asked: dict[int, Binding] = {}  # the flows of the slice, as they were when the switch was asked
        self._found: dict[int, list[FlowRule]] = {}  # the rules of these
        self._surplus: dict[int, list[FlowRule]] = {}  # rules with other flows' numbers
        self._missed: set[tuple[int, Half]] = set()  # rules that were missing when they were last looked for
        self._missed_before: set[tuple[int, Half]] = set()  # those of the slice, at the look before

    @property
    def is_doubtful(self) -> bool:
        return bool(self._missed)

    def recheck(self, cookies: Iterable[int]) -> None:
        self._reported.update(number_of(cookie) % (1 << LOW_BITS) for cookie in cookies if binding_of(cookie))

    @property
    def has_reported(self) -> bool:
        return bool(self._reported)

    def was_reported(self, request: RulesRequest) -> bool:
        return number_of(request.cookie) in self._reported_parts

    def begin_look(self, thorough: bool) -> list[RulesRequest]:
        parts = range(1 << self._bits)
        looked_at: Iterable[int] = parts
        reported = self._reported_parts = self._pop_reported()
        if not thorough:
            missed = (number % len(parts) for number, _ in self._missed)
            looked_at = {self._next_part % len(parts), *missed, *reported}
            self._next_part += 1
        return self._both_halves(looked_at)

    def begin_reported(self) -> list[RulesRequest]:
        reported = self._pop_reported()
        self._reported_parts |= reported  # a look at others may be under way
        return self._both_halves(reported)

    @property
    def _bits(self) -> int:
        return (len(self._flows) // SLICE).bit_length()

    def _pop_reported(self) -> set[int]:
        parts = range(1 << self._bits)
        low = min(len(parts), 1 << LOW_BITS)
        reported = {number % low for number in self._reported}
        self._reported.clear()
        return {part for part in parts if part % low in reported} if reported else set()

    def _both_halves(self, parts: Iterable[int]) -> list[RulesRequest]:
        return [
            RulesRequest(*cookies_of(half, part, self._bits))  # in all tables: others may have put them into any
            for part in sorted(parts)
            for half in Half.BOTH.parts
        ]

    def begin(self, request: RulesRequest) -> None:
        half, part, mask = readback.half_of(request), number_of(request.cookie), number_of(request.mask)
        self._asked = {flow.number: flow for flow in self._flows.ending_with(part, mask.bit_length())}
        self._found, self._surplus = {}, {}
        here = {(number, each) for number, each in self._missed if each is half and number & mask == part}
        self._missed_before, self._missed = here, self._missed - here

    def take(self, request: RulesRequest, rules: Iterable[FlowRule]) -> None:
        for rule in rules:
            if request.covers(rule.cookie):
                number = number_of(rule.cookie)
                found = self._found if number in self._asked else self._surplus
                found.setdefault(number, []).append(rule)

    def end(self, request: RulesRequest, most: int) -> tuple[Reaction, bool]:
        half = readback.half_of(request)
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
            if self._flows.by_number(number) is flow:  # it has not changed since the switch was asked
                take(self._corrections(flow, half, rules), rules)
        return Reaction(messages, events=repaired(self._name, found)), bool(self._asked or self._surplus)

    def _corrections(self, flow: Binding, half: Half, rules: list[FlowRule]) -> list[Message]:
        """``rules``: found with the cookies of this direction."""
        if half not in flow.installed:
            return [*map(DeleteFlow, rules)]
        if rules:
            return corrections([self._wanted_rule(flow, half)], rules)
        if (flow.number, half) not in self._missed_before:
            self._missed.add((flow.number, half))
            return []
        return [self._wanted_rule(flow, half)]
