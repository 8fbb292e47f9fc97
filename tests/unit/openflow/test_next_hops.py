"""Groups of next hops: rules of bindings on two tables name the group of their destination."""

from __future__ import annotations

import struct

from anycast_sdn.core.bindings import Binding, Half
from anycast_sdn.core.model import TCP, Address, FlowKey, Prefix, packed
from anycast_sdn.openflow import codec, decoding, entries
from anycast_sdn.openflow.layout import Layout
from anycast_sdn.openflow.next_hops import FIRST_GROUP, TWO_TABLES
from anycast_sdn.openflow.rules import (
    AddFlow,
    Bucket,
    DeleteFlow,
    DeleteGroup,
    FlowRule,
    GroupRule,
    Message,
    PutBinding,
    SetGroup,
    ToGroup,
)

H, ANY, PR1X, SERVER = map(packed, ("10.1.0.10", "198.18.0.1", "203.0.113.7", "10.3.0.10"))
OWN, MAC = bytes.fromhex("02ac00000001"), bytes.fromhex("060000000001")
TO_SERVERS, ELSEWHERE = (entries.route(Prefix.parse("10.3.0.0/24"), port) for port in (10, 11))
TO_H = entries.host(H, OWN, MAC, 1)
CAPTURED, SERVICE = entries.service(Prefix.host(ANY), 5), GroupRule(5, (Bucket(1, ()), Bucket(2, ())))


def put(half: Half, port: int = 40000, server: Address | None = SERVER) -> PutBinding:
    binding = Binding(port, FlowKey(H, ANY, TCP, port, 80), PR1X, "", 0.0, server)
    return PutBinding(binding, half, idle_timeout=30, fin_timeout=0)


def connected(*messages: Message) -> tuple[Layout, list[Message]]:
    """A new connection that has sent these → what the switch got."""
    layout = TWO_TABLES.of_switch()
    return layout, list(layout.with_groups(messages))


def groups(messages: list[Message]) -> list[SetGroup]:
    return [each for each in messages if isinstance(each, SetGroup) and each.group.number >= FIRST_GROUP]


def test_the_group_of_a_destination_is_made_before_the_first_rule_that_names_it() -> None:
    layout, sent = connected(AddFlow(TO_SERVERS), put(Half.OUT))
    made, rule = sent[-2:]
    assert made == SetGroup(GroupRule(FIRST_GROUP, (Bucket(0, TO_SERVERS.actions),), indirect=True), exists=False)
    assert isinstance(rule, AddFlow)
    held = layout.on_switch(rule.rule)
    assert (held.table, held.goto, held.actions[-1]) == (1, None, ToGroup(FIRST_GROUP))
    assert layout.logical(held) == rule.rule
    assert not groups(list(layout.with_groups([put(Half.OUT, 40001)]))), "there is one already"


def test_when_a_route_changes_one_group_is_modified_and_no_rule_of_a_binding() -> None:
    flows = [put(Half.OUT, port) for port in range(40000, 40020)]
    layout, _ = connected(AddFlow(TO_SERVERS), *flows)
    group = GroupRule(FIRST_GROUP, (Bucket(0, ELSEWHERE.actions),), indirect=True)
    assert list(layout.with_groups([AddFlow(ELSEWHERE)])) == [AddFlow(ELSEWHERE), SetGroup(group, exists=True)]


def test_a_more_specific_rule_gives_the_next_hop() -> None:
    host = entries.host(SERVER, OWN, MAC, 3)
    layout, _ = connected(AddFlow(TO_SERVERS), put(Half.OUT))
    for change, rule in ((AddFlow(host), host), (DeleteFlow(host), TO_SERVERS)):
        (modified,) = groups(list(layout.with_groups([change])))
        assert modified.group.buckets == (Bucket(0, rule.actions),)


def test_a_group_without_a_next_hop_drops() -> None:
    """A rule that sends to the controller has a meter, and a bucket can have none."""
    unresolved = AddFlow(entries.connected(Prefix.parse("10.1.0.0/24")))
    (made,) = groups(connected(unresolved, put(Half.IN))[1])
    assert made.group.buckets == (Bucket(0, ()),)


def test_a_flow_that_nobody_has_answered_is_spread_as_its_service_is() -> None:
    layout, sent = connected(SetGroup(SERVICE, exists=False), AddFlow(CAPTURED), put(Half.OUT, server=None))
    assert groups(sent) == [SetGroup(GroupRule(FIRST_GROUP, SERVICE.buckets), exists=False)]
    (follows,) = groups(list(layout.with_groups([SetGroup(GroupRule(5, SERVICE.buckets[:1]), exists=True)])))
    assert follows.group.buckets == SERVICE.buckets[:1]
    (follows,) = groups(list(layout.with_groups([DeleteGroup(5)])))
    assert follows.group.buckets == (Bucket(0, ()),)


def test_a_group_that_is_deleted_is_made_again_for_the_next_flow() -> None:
    layout, _ = connected(AddFlow(TO_SERVERS), put(Half.OUT))
    assert list(layout.with_groups([DeleteGroup(FIRST_GROUP)])) == [DeleteGroup(FIRST_GROUP)]
    assert (layout.groups, layout.next_hops) == ({}, {})
    assert list(layout.with_groups([AddFlow(ELSEWHERE)])) == [AddFlow(ELSEWHERE)]
    (made,) = groups(list(layout.with_groups([put(Half.OUT)])))
    assert made == SetGroup(GroupRule(FIRST_GROUP + 1, (Bucket(0, ELSEWHERE.actions),), indirect=True), exists=False)


def test_only_destinations_of_what_has_changed_are_looked_up() -> None:
    others = [entries.route(Prefix.parse(f"10.{number}.0.0/24"), 12) for number in range(4, 40)]
    layout, _ = connected(AddFlow(TO_SERVERS), AddFlow(TO_H), put(Half.OUT), put(Half.IN))
    assert not groups(list(layout.with_groups(map(AddFlow, others))))
    (modified,) = groups(list(layout.with_groups([DeleteFlow(TO_H)])))
    assert modified.group.buckets == (Bucket(0, ()),)


def found(rule: FlowRule) -> bytes:
    """A rule as a switch shows it."""
    mod = codec.PACKER.flow_mod(rule, 0, 1)
    head = struct.pack("!HBxIIHHHH4xQQQ", len(mod), rule.table, 1, 0, rule.priority, rule.idle_timeout, 0, rule.notify,
                       rule.cookie, 5, 500)  # fmt: skip
    return head + mod[48:]


def test_what_a_switch_holds_is_known_again_from_its_rules_and_groups() -> None:
    messages: list[Message] = [AddFlow(TO_SERVERS), AddFlow(TO_H), put(Half.OUT), put(Half.IN)]
    former, sent = connected(*messages)
    rules = [each.rule for each in sent if isinstance(each, AddFlow)]
    unneeded = GroupRule(FIRST_GROUP + 9, (Bucket(0, ()),), indirect=True)
    layout = TWO_TABLES.of_switch()
    for group in (*former.groups.values(), unneeded):
        mod = codec.PACKER.group_mod(group, 0, 1)
        described = struct.pack("!HBxI", len(mod) - 8, mod[10], group.number) + mod[16:]
        assert decoding.decode_groups(described, layout) == [], "they are none of the pipeline's"
    assert decoding.decode_flow_stats(b"".join(found(former.on_switch(rule)) for rule in rules), layout)[0] == rules
    assert list(layout.with_groups([put(Half.OUT, 40001)])) == [
        DeleteGroup(unneeded.number), AddFlow(entries.binding(put(Half.OUT, 40001)))
    ]  # fmt: skip
    assert layout.groups == former.groups


def test_a_rule_that_names_another_group_is_put_anew() -> None:
    layout, _ = connected(AddFlow(TO_SERVERS), put(Half.OUT))
    rule = entries.binding(put(Half.OUT))
    edited = layout.on_switch(rule)
    edited = FlowRule(edited.table, edited.priority, edited.match, rule.cookie, (*edited.actions[:-1], ToGroup(77)))
    assert layout.logical(edited) != rule
    assert layout.logical(edited).key == rule.key


def test_what_was_known_is_read_anew_after_another_controller_was_the_switchs_master() -> None:
    layout, _ = connected(AddFlow(TO_SERVERS), put(Half.OUT))
    layout.forget()
    layout.logical(layout.on_switch(ELSEWHERE))
    (made,) = groups(list(layout.with_groups([put(Half.OUT)])))
    assert made.group.buckets == (Bucket(0, ELSEWHERE.actions),)
