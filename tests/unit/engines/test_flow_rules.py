"""FlowRules: a pair of rules for each binding, from its first packet until nothing is left of it."""

from __future__ import annotations

from anycast_sdn.core.bindings import Binding, Half, State
from anycast_sdn.core.groups import Groups
from anycast_sdn.engines.engine import Engine
from anycast_sdn.openflow import entries, readback
from anycast_sdn.openflow.pipeline import cookie
from anycast_sdn.openflow.reaction import Reaction
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import FlowRule, PacketOut
from tests.unit.engines.samples import FEATURES, GROUPS, KEY, POOL, SERVER, controller, engine, held, packet, reply


def the_flow(one: Engine) -> Binding:
    (flow,) = one.flows
    return flow


def pinned(one: Engine) -> list[FlowRule]:
    """After a first packet and its reply → the rules on the switch."""
    rules = held(one.packet_handlers[Kind.FIRST_PACKET](1, packet(), GROUPS, 1).messages)
    answer = reply(the_flow(one).translated)
    return held(one.packet_handlers[Kind.FIRST_REPLY](10, answer, GROUPS, 1).messages, rules)


def test_a_first_packet_installs_its_rule_and_is_then_sent_through_it() -> None:
    one = engine()
    *rules, last = one.packet_handlers[Kind.FIRST_PACKET](1, packet(), GROUPS, 1).messages
    assert [readback.half_of(rule) for rule in held(rules)] == [Half.OUT]
    assert isinstance(last, PacketOut)
    assert last.frame == packet()
    assert the_flow(one).translated in POOL


def test_a_first_reply_installs_both_rules_to_and_from_the_server_that_sent_it() -> None:
    one = engine()
    found = list(map(readback.binding, pinned(one)))
    assert [(each.half, each.key, each.server) for each in found if each] == [
        (Half.OUT, KEY, SERVER), (Half.IN, KEY, SERVER)
    ]  # fmt: skip


def test_a_flow_that_an_operator_ends_leaves_no_rule_and_is_not_continued() -> None:
    one = engine()
    rules = pinned(one)
    before = the_flow(one)
    assert held(one.end(before.number, 2).messages, rules) == []
    assert len(one.flows) == 0
    one.packet_handlers[Kind.FIRST_PACKET](1, packet(), GROUPS, 3)
    after = the_flow(one)
    assert after.state is State.UNANSWERED
    assert (after.number != before.number, after.translated != before.translated) == (True, True)


def test_rules_that_others_delete_are_installed_again_once() -> None:
    one = engine()
    rules = pinned(one)
    for rule in rules:
        assert one.rule_removed(rule.cookie, True, False, 2).others_deleted
    reaction, more = one.tick(2, 1)
    assert held(reaction.messages) == rules
    assert not more
    assert one.tick(2, 1) == (Reaction(), False)


def test_the_rule_from_before_the_pin_is_not_installed_again() -> None:
    one = engine()
    pinned(one)
    one.rule_removed(cookie(Kind.BINDING_OUT_UNANSWERED, the_flow(one).number), True, False, 2)
    assert one.tick(2, 1)[0].messages == []


def test_after_both_rules_have_expired_the_flow_has_ended() -> None:
    one = engine()
    out, back = pinned(one)
    assert one.rule_removed(out.cookie, False, False, 300).messages == []
    assert the_flow(one).installed is Half.IN
    one.rule_removed(back.cookie, False, False, 301)
    assert len(one.flows) == 0


def test_with_the_last_flow_of_a_removed_server_its_rules_are_removed() -> None:
    made = controller()
    one = engine(under=made)
    pinned(one)
    made.set_groups(Groups(), 2)
    assert one.end(the_flow(one).number, 2).changed


def test_a_flow_that_was_used_since_the_switch_was_asked_is_left_as_it_is() -> None:
    one = engine()
    pinned(one)
    one.begin_reading(FEATURES, begins=False, wiped=False)
    flow = the_flow(one)
    one.packet_handlers[Kind.FIRST_PACKET](1, packet(), GROUPS, 2)
    assert one.settle(flow, [], False, 2).messages == []
    assert the_flow(one) is flow


def test_a_flow_without_any_found_rule_ends_unless_the_switch_has_lost_all_rules() -> None:
    one = engine()
    rules = pinned(one)
    assert held(one.settle(the_flow(one), [], True, 2).messages) == rules
    assert one.settle(the_flow(one), [], False, 2).messages == []
    assert len(one.flows) == 0


def test_found_rules_equal_those_that_would_be_written() -> None:
    one = engine()
    rules = pinned(one)
    assert one.settle(the_flow(one), rules, False, 2).messages == []
    assert [entries.binding(one.wanted_rule(the_flow(one), half)) for half in Half.BOTH.parts] == rules
