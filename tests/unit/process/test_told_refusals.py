"""What a switch refuses is told once, in the words of the pipeline's documentation."""

from __future__ import annotations

from anycast_sdn.core.switch_events import RulesRefused
from anycast_sdn.openflow.pipeline import cookie
from anycast_sdn.openflow.row import Kind
from anycast_sdn.process.told_refusals import AGAIN_S, FULL_AGAIN_S, MOST_TOLD, ToldRefusals, words

ROUTE, FLOW = cookie(Kind.ROUTE), cookie(Kind.BINDING_OUT, 7)
ARH1, ARS2 = 1, 2


def test_hundreds_of_refused_rules_of_a_row_are_one_event() -> None:
    told: list[RulesRefused] = []
    refusals = ToldRefusals(told.append)
    for number in range(300):
        refusals.rule(ARH1, "arh1", cookie(Kind.BINDING_OUT, number + 1), False, "bad action, bad set type", 1.0)
        refusals.rule(ARH1, "arh1", ROUTE, False, "bad action, bad type", 1.0)
    assert [event.sentence() for event in told] == [
        "switch arh1 refused rules of flows: bad action, bad set type",
        'switch arh1 refused rules of table 4 routes for "destination in a prefix of another switch; ANY/n towards the '
        'nearest edge able to serve it": bad action, bad type',
    ]


def test_another_reason_another_row_and_another_switch_are_told() -> None:
    told: list[RulesRefused] = []
    refusals = ToldRefusals(told.append)
    for dpid, value, reason in (
        (ARH1, ROUTE, "one"), (ARH1, ROUTE, "two"), (ARH1, FLOW, "one"), (ARS2, ROUTE, "one"), (ARS2, ROUTE, "one")
    ):  # fmt: skip
        refusals.rule(dpid, str(dpid), value, False, reason, 1.0)
    assert len(told) == 4


def test_what_is_still_refused_much_later_is_told_again_and_a_full_table_sooner() -> None:
    told: list[RulesRefused] = []
    refusals = ToldRefusals(told.append)
    for full, again in ((False, AGAIN_S), (True, FULL_AGAIN_S)):
        for now in (5.0, 4.0 + again, 5.0 + again):
            refusals.rule(ARH1, "arh1", ROUTE, full, f"full: {full}", now)
    assert len(told) == 4


def test_what_is_no_rule_of_ours_has_words_too() -> None:
    assert words(0) == "a group or a meter"
    assert words(0x123) == words(0x124) == "rules with cookies of others"


def test_a_switch_cannot_fill_the_memory_and_the_journal_by_errors() -> None:
    told: list[RulesRefused] = []
    refusals = ToldRefusals(told.append)
    for number in range(3000):
        refusals.rule(ARH1, "arh1", 0x1000 + number, False, "bad action, bad type", 1.0)
    assert len(told) == 1
    for number in range(3000):
        refusals.rule(ARH1, "arh1", ROUTE, False, f"type {number} code {number}", 2.0)
    assert len(told) == MOST_TOLD == len(refusals._told[ARH1])
    refusals.rule(ARS2, "ars2", ROUTE, False, "bad action, bad type", 3.0)
    assert len(told) == MOST_TOLD + 1
    refusals.rule(ARH1, "arh1", FLOW, False, "bad action, bad type", 2.0 + AGAIN_S)
    assert told[-1].what == "rules of flows"
    assert len(refusals._told[ARH1]) == 1
