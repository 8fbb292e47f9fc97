"""FlowAudit: what others do to the rules of flows is found and put right, and nothing else is touched (M20)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from anycast_sdn.core.bindings import Binding, BindingTable, Half
from anycast_sdn.core.events import Fault, RulesRepaired
from anycast_sdn.engines import flow_audit
from anycast_sdn.engines.flow_audit import FlowAudit
from anycast_sdn.openflow import entries
from anycast_sdn.openflow.reaction import Reaction
from anycast_sdn.openflow.rules import FlowRule, Message, PutBinding
from tests.unit.engines.samples import KEY, SERVER, held


def flow(number: int) -> Binding:
    key = KEY._replace(source_port=40000 + number)
    return Binding(number, key, (0xCB007100 + number).to_bytes(4, "big"), "web", 0.0, SERVER, Half.BOTH)


def wanted(binding: Binding, half: Half) -> PutBinding:
    return PutBinding(binding, half, 300, 0)


class Audited:
    """A switch with these many flows, and the audit of it."""

    def __init__(self, count: int) -> None:
        self.flows, self.repairs = BindingTable(), Counter[Fault]()
        for number in range(1, count + 1):
            self.flows.put(flow(number))
        self.wanted = [entries.binding(wanted(each, half)) for each in self.flows for half in Half.BOTH.parts]
        self.rules = list(self.wanted)
        self.audit = FlowAudit("arh1", self.flows, wanted)

    def look(self, thorough: bool = False) -> list[Message]:
        """At the slices that are due; the switch is put right."""
        messages: list[Message] = []
        for request in self.audit.begin_look(thorough):
            self.audit.begin(request)
            asked = [rule for rule in self.rules if rule.cookie & request.mask == request.cookie & request.mask]
            assert all(request.covers(rule.cookie) for rule in asked)
            self.audit.take(request, asked)
            more = True
            while more:
                some, more = self.audit.end(request, 2)
                messages += some.messages
                for event in some.events:
                    assert isinstance(event, RulesRepaired)
                    self.repairs[event.fault] += event.rules
        self.rules = held(messages, self.rules)
        return messages


def same(rules: list[FlowRule], others: list[FlowRule]) -> bool:
    return {rule.key: rule for rule in rules} == {rule.key: rule for rule in others}


def test_correct_rules_are_left_as_they_are() -> None:
    audited = Audited(5)
    assert audited.look(thorough=True) == []
    assert (audited.audit.is_doubtful, audited.repairs) == (False, Counter())


def test_a_missing_rule_is_installed_when_the_next_look_misses_it_too() -> None:
    audited = Audited(5)
    audited.rules.pop(3)
    assert audited.look() == []
    assert audited.audit.is_doubtful
    audited.look()
    assert same(audited.rules, audited.wanted)
    assert not audited.audit.is_doubtful
    assert audited.repairs == {Fault.MISSING: 1}


def test_an_edited_rule_is_replaced_and_a_rule_of_no_flow_is_deleted() -> None:
    audited = Audited(5)
    audited.rules[2] = replace(audited.rules[2], idle_timeout=7)
    audited.rules += [entries.binding(wanted(flow(9), half)) for half in Half.BOTH.parts]
    audited.look()
    assert same(audited.rules, audited.wanted)
    assert audited.repairs == {Fault.WRONG: 1, Fault.FOREIGN: 2}


def test_a_flow_to_which_something_has_happened_since_is_left_to_the_next_look() -> None:
    audited = Audited(1)
    (request, _) = audited.audit.begin_look(False)
    audited.audit.begin(request)
    audited.flows.put(flow(1)._replace(closed=Half.OUT))
    assert audited.audit.end(request, 9) == (Reaction(), False)
    assert not audited.audit.is_doubtful


@pytest.mark.parametrize("thorough", [False, True])
def test_slices_are_compared_in_turn_or_all_at_once(monkeypatch: pytest.MonkeyPatch, thorough: bool) -> None:
    monkeypatch.setattr(flow_audit, "SLICE", 4)
    audited = Audited(30)
    parts = 8
    assert len(audited.audit.begin_look(thorough)) == 2 * (parts if thorough else 1)
    audited.rules[7] = replace(audited.rules[7], actions=())
    looks = 0
    while not same(audited.rules, audited.wanted):
        audited.look(thorough)
        looks += 1
    assert looks <= (1 if thorough else parts)


def test_what_a_switch_has_reported_is_in_the_next_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_audit, "SLICE", 4)
    audited = Audited(30)
    number = 13
    rule = next(rule for rule in audited.rules if rule.cookie & 0xFF == number)
    audited.rules[audited.rules.index(rule)] = changed = replace(rule, idle_timeout=7)
    audited.audit.recheck([changed.cookie])
    audited.look()
    assert same(audited.rules, audited.wanted)
