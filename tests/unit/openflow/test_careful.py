"""A switch of somebody else is examined, and left as it was."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pytest
from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.openflow.careful import Careful
from anycast_sdn.openflow.decoding import BadMessage
from anycast_sdn.openflow.holdings import Holdings, place_of
from anycast_sdn.openflow.pending import ANSWER_S
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import (
    OFPP_CONTROLLER,
    OFPP_TABLE,
    AddFlow,
    Bucket,
    DeleteCookie,
    DeleteEverything,
    DeleteFlow,
    DeleteGroup,
    Field,
    FlowRule,
    GroupRule,
    Output,
    PacketOut,
    SetGroup,
    ToGroup,
    match,
)
from anycast_sdn.openflow.states import State
from tests.unit.switch_end import HELLO, Peer, error, features, message

TRIAL, OTHER = 0xA17C_FF00_0000_0002, 0x77
_IPV4 = Field("eth_type", 0x0800)
DELETED_STRICTLY, ADDED = ofp.OFPFC_DELETE_STRICT, ofp.OFPFC_ADD


def rule(priority: int, cookie: int = TRIAL, actions: tuple[Any, ...] = ()) -> FlowRule:
    return FlowRule(Table.ROUTES, priority, match(_IPV4, Field("ipv4_dst", bytes(4))), cookie, actions)


def as_listed(peer: Peer, held: FlowRule, packets: int = 3) -> bytes:
    """The rule in a reply to a request for flow statistics."""
    mod = peer.encode(AddFlow(held))
    table, priority = mod[24], int.from_bytes(mod[30:32], "big")
    head = struct.pack("!BxIIHHHHxxxxQQQ", table, 9, 0, priority, 0, 0, 0, held.cookie, packets, packets * 60)
    rest = mod[48:]
    return struct.pack("!H", 2 + len(head) + len(rest)) + head + rest


def listed_group(number: int, kind: int = ofp.OFPGT_SELECT) -> bytes:
    return struct.pack("!HBxI", 8, kind, number)


def holdings(rules: bytes = b"", groups: bytes = b"", meters: bytes = b"") -> Holdings:
    held = Holdings()
    held.take_rules(rules)
    held.take_groups(groups)
    held.take_meters(meters)
    return held


def mods(peer: Peer) -> list[tuple[int, int, int]]:
    """(command, priority, cookie) of the flow-mods that are sent."""
    return [
        (body[17], int.from_bytes(body[22:24], "big"), int.from_bytes(body[:8], "big"))
        for kind, _, body in peer.sent() if kind == ofp.OFPT_FLOW_MOD
    ]  # fmt: skip


@pytest.fixture
def peer() -> Peer:
    return Peer()


def careful(peer: Peer, held: Holdings) -> Any:
    return Careful(peer.connection, held)


def test_what_was_tried_is_deleted_rule_by_rule_and_nothing_by_cookie(peer: Peer) -> None:
    """A switch that does not compare cookies would delete the rules of others as well."""
    switch = careful(peer, holdings())
    switch.try_out(AddFlow(rule(1)), lambda *_: None)
    switch.try_out(AddFlow(rule(2)), lambda *_: None)
    assert [command for command, _, _ in mods(peer)] == [ADDED, ADDED]
    switch.send([DeleteCookie(TRIAL)])
    assert [deleted[:2] for deleted in mods(peer)] == [(DELETED_STRICTLY, 1), (DELETED_STRICTLY, 2)]
    switch.send([DeleteCookie(TRIAL)])
    assert mods(peer) == []


def test_a_trial_does_not_take_the_place_of_a_rule_of_another_program(peer: Peer) -> None:
    switch = careful(peer, holdings(as_listed(peer, rule(1, OTHER))))
    switch.try_out(AddFlow(rule(1)), lambda *_: None)
    assert mods(peer) == [(ADDED, 2, TRIAL)]
    switch.send([DeleteFlow(rule(1))])
    assert mods(peer) == [(DELETED_STRICTLY, 2, TRIAL)]
    switch.send([DeleteCookie(TRIAL)])
    assert mods(peer) == []


def test_a_group_of_a_trial_gets_a_number_that_is_free(peer: Peer) -> None:
    switch = careful(peer, holdings(groups=listed_group(100) + listed_group(99)))
    switch.try_out(SetGroup(GroupRule(100, (Bucket(1, (Output(1),)),)), exists=False), lambda *_: None)
    switch.try_out(AddFlow(rule(1, actions=(ToGroup(100),))), lambda *_: None)
    group, to_group = (body for kind, _, body in peer.sent() if kind in (ofp.OFPT_GROUP_MOD, ofp.OFPT_FLOW_MOD))
    assert int.from_bytes(group[4:8], "big") == 98
    assert struct.pack("!HHI", ofp.OFPAT_GROUP, 8, 98) in to_group
    switch.send([DeleteGroup(100), DeleteGroup(99)])  # 99 was not tried: it is another program's
    deleted = [body for kind, _, body in peer.sent() if kind == ofp.OFPT_GROUP_MOD]
    assert [int.from_bytes(body[4:8], "big") for body in deleted] == [98]


REFUSED = ofp.OFPET_BAD_MATCH, ofp.OFPBMC_BAD_FIELD


def test_what_was_refused_is_not_deleted(peer: Peer) -> None:
    switch = careful(peer, holdings())
    group = SetGroup(GroupRule(7, (Bucket(1, (Output(1),)),)), exists=False)
    taken: list[Any] = []
    attempts = [AddFlow(rule(1)), AddFlow(rule(2)), group]
    switch.try_all([(each, lambda result, why: taken.append(result)) for each in attempts])
    sent = peer.sent()
    assert [kind for kind, _, _ in sent][:3] == [ofp.OFPT_FLOW_MOD, ofp.OFPT_FLOW_MOD, ofp.OFPT_GROUP_MOD]
    for _, xid, _ in sent[1:3]:
        peer.say(error(*REFUSED, b"", xid))
    peer.say(message(ofp.OFPT_BARRIER_REPLY, b"", sent[3][1]))
    assert taken == [False, False, True]  # a barrier tells what was taken
    assert switch.tried == "1 rule and 0 groups"
    switch.send([DeleteCookie(TRIAL), DeleteGroup(7)])
    assert mods(peer) == [(DELETED_STRICTLY, 1, TRIAL)]


def test_a_rule_that_one_trial_has_put_there_is_deleted_though_another_one_was_refused_there(peer: Peer) -> None:
    switch = careful(peer, holdings())
    switch.try_all([(AddFlow(rule(1)), lambda *_: None), (AddFlow(rule(1, actions=(Output(1),))), lambda *_: None)])
    sent = peer.sent()
    peer.say(error(*REFUSED, b"", sent[1][1]))
    peer.say(message(ofp.OFPT_BARRIER_REPLY, b"", sent[2][1]))
    switch.clean_up(lambda confirmed: None)
    assert [deleted[:2] for deleted in mods(peer)] == [(DELETED_STRICTLY, 1)]


@pytest.mark.parametrize("cut", [*range(48, 52), 53, 57])
def test_a_rule_that_is_cut_off_cannot_be_read(peer: Peer, cut: int) -> None:
    entry = as_listed(peer, rule(1, OTHER))[:cut]
    with pytest.raises(BadMessage):
        holdings(cut.to_bytes(2, "big") + entry[2:])


@pytest.mark.parametrize("length", [0, 3, 9, 0xFFFF])
def test_a_rule_whose_match_is_not_so_long_cannot_be_read(peer: Peer, length: int) -> None:
    entry = as_listed(peer, rule(1, OTHER))
    with pytest.raises(BadMessage):
        holdings(entry[:50] + length.to_bytes(2, "big") + entry[52:])


@pytest.mark.parametrize("more", range(1, 8))
def test_groups_and_meters_with_bytes_too_many_cannot_be_read(more: int) -> None:
    for bodies in ({"groups": listed_group(1) + bytes(more)}, {"meters": listed_group(1) + bytes(more)}):
        with pytest.raises(BadMessage):
            holdings(**bodies)


THROUGH = PacketOut(bytes(60), OFPP_CONTROLLER, (Output(OFPP_TABLE),))


def test_a_packet_passes_only_by_rules_of_trials_which_are_above_all_others(peer: Peer) -> None:
    """Open vSwitch gives rules the priority 32768 unless it is told another."""
    switch = careful(peer, holdings(as_listed(peer, rule(32768, OTHER))))
    switch.try_all([(AddFlow(rule(4000)), lambda *_: None), (AddFlow(rule(3999)), lambda *_: None)])
    assert [priority for _, priority, _ in mods(peer)] == [33769, 33768]
    switch.send([THROUGH])
    assert [kind for kind, _, _ in peer.sent()] == [ofp.OFPT_PACKET_OUT]
    switch.send([DeleteCookie(TRIAL)])
    assert [deleted[:2] for deleted in mods(peer)] == [(DELETED_STRICTLY, 33769), (DELETED_STRICTLY, 33768)]


def test_where_other_rules_are_above_all_no_packet_is_sent_and_nothing_is_known(peer: Peer) -> None:
    switch = careful(peer, holdings(as_listed(peer, rule(65535, OTHER))))
    results: list[Any] = []
    switch.try_all([(AddFlow(rule(4000)), lambda *result: results.append(result)),
                    (THROUGH, lambda *result: results.append(result))])  # fmt: skip
    switch.send([THROUGH, DeleteFlow(rule(4000))])
    assert results == [(None, "")] * 2
    assert [kind for kind, _, _ in peer.sent()] == [ofp.OFPT_BARRIER_REQUEST]


def with_one_table() -> Peer:
    peer = Peer(State.HELLO)
    peer.say(HELLO)
    peer.say(features(tables=1))
    peer.sent()
    return peer


def test_a_rule_that_has_one_priority_alone_is_not_tried_where_a_probe_that_was_killed_has_left_it() -> None:
    """With one table, those of ingress that let packets go on are below all others."""
    peer = with_one_table()
    left = replace(rule(1), table=Table.INGRESS, goto=Table.CLIENT_OUT)
    switch = careful(peer, holdings(as_listed(peer, left)))
    results: list[Any] = []
    switch.try_all([(AddFlow(left), lambda *result: results.append(result))])
    switch.send([AddFlow(left), DeleteFlow(left)])
    assert results == [(None, "")]
    assert mods(peer) == []


ONE_TABLE_S_HIGHEST = 20_479


@pytest.mark.parametrize(("above", "passes"), [(1 << 15, True), (65_535 - ONE_TABLE_S_HIGHEST + 3_000, False)])
def test_a_switch_with_one_table_has_rules_of_all_priorities_there(above: int, passes: bool) -> None:
    """Those of the pipeline's tables are above each other there."""
    peer = with_one_table()
    listed = b"".join(as_listed(peer, replace(rule(1, OTHER), table=table)) for table in (Table.INGRESS, Table.ROUTES))
    held = holdings(listed[:12] + above.to_bytes(2, "big") + listed[14:])
    switch = careful(peer, held)
    assert switch.passes_packets == passes
    highest = replace(rule(4095), table=Table.INGRESS)
    switch.send([AddFlow(highest), THROUGH])
    kinds = [kind for kind, _, _ in peer.sent()]
    assert kinds == ([ofp.OFPT_FLOW_MOD, ofp.OFPT_PACKET_OUT] if passes else [])


def test_how_many_rules_a_switch_holds_does_not_matter_for_each_message(peer: Peer) -> None:
    """Echo requests are answered between them."""

    class Counting(dict[Any, bytes]):
        looks = 0

        def __iter__(self) -> Any:
            Counting.looks += 1
            return super().__iter__()

    held = holdings(b"".join(as_listed(peer, rule(1000 + each, OTHER)) for each in range(100)))
    held.rules = Counting(held.rules)
    switch = careful(peer, held)
    switch.try_all([(AddFlow(rule(4000 + each)), lambda *_: None) for each in range(50)])
    assert len(mods(peer)) == 50
    assert Counting.looks == 1


def test_where_it_is_not_known_which_rules_there_are_no_packet_is_sent(peer: Peer) -> None:
    held = holdings()
    held.unread.add("rules")
    careful(peer, held).send([THROUGH])
    assert peer.sent() == []


def with_trials(peer: Peer) -> Any:
    switch = careful(peer, holdings())
    switch.try_out(SetGroup(GroupRule(7, (Bucket(1, (Output(1),)),)), exists=False), lambda *_: None)
    switch.try_out(AddFlow(rule(1)), lambda *_: None)
    peer.sent()
    assert switch.tried == "1 rule and 1 group"
    return switch


def test_what_is_left_of_trials_is_cleaned_up_when_it_is_interrupted_and_nothing_more_is_tried(peer: Peer) -> None:
    switch = with_trials(peer)
    confirmed: list[bool] = []
    switch.clean_up(confirmed.append)
    sent = peer.sent()
    assert [kind for kind, _, _ in sent][:3] == [ofp.OFPT_FLOW_MOD, ofp.OFPT_GROUP_MOD, ofp.OFPT_BARRIER_REQUEST]
    switch.try_out(AddFlow(rule(2)), lambda *_: None)
    switch.send([AddFlow(rule(2))])
    assert peer.sent() == []
    assert (confirmed, switch.tried) == ([], "1 rule and 1 group")
    peer.say(message(ofp.OFPT_BARRIER_REPLY, b"", sent[-1][1]))
    assert (confirmed, switch.tried) == ([True], "")


def test_a_switch_that_is_slow_is_asked_again_whether_trials_are_deleted_before_they_count_as_left(peer: Peer) -> None:
    switch = with_trials(peer)
    confirmed: list[bool] = []
    switch.clean_up(confirmed.append)
    peer.wait(2 * ANSWER_S + 0.5)
    assert confirmed == []
    peer.wait(ANSWER_S)
    assert confirmed == [False]
    assert switch.left == "1 rule (cookies that begin with 0xa17cff) and groups (7) of trials may be left at the switch"


def test_what_would_change_more_is_not_sent(peer: Peer) -> None:
    with pytest.raises(AssertionError):
        careful(peer, holdings()).send([DeleteEverything()])
    assert peer.sent() == []


def test_a_rule_is_found_where_a_flow_mod_would_put_one(peer: Peer) -> None:
    held = holdings(as_listed(peer, rule(1, OTHER)))
    assert [*held.rules] == [place_of(peer.encode(AddFlow(rule(1))))]
    assert place_of(peer.encode(AddFlow(rule(2)))) not in held.rules


def test_counters_and_the_order_of_an_answer_are_no_difference(peer: Peer) -> None:
    one, two = rule(1, OTHER), rule(2, OTHER)
    before = holdings(as_listed(peer, one) + as_listed(peer, two), listed_group(1) + listed_group(2))
    after = holdings(as_listed(peer, two, packets=9) + as_listed(peer, one), listed_group(2) + listed_group(1))
    assert before.differences(after) == []
    assert before.counts() == "2 rules, 2 groups and 0 meters"


def test_what_a_switch_does_not_list_is_not_counted(peer: Peer) -> None:
    held = holdings(as_listed(peer, rule(1, OTHER)), listed_group(1))
    held.unread = {"rules"}
    assert held.counts() == "1 group and 0 meters"
    assert held.numbers() == {"rules": None, "groups": 1, "meters": 0}
    held.unread = {"rules", "groups", "meters"}
    assert held.counts() == ""


def test_what_is_missing_changed_and_more_is_counted(peer: Peer) -> None:
    before = holdings(as_listed(peer, rule(1, OTHER)) + as_listed(peer, rule(2, OTHER)), listed_group(1))
    after = holdings(as_listed(peer, rule(2, OTHER + 1)) + as_listed(peer, rule(3)),
                     listed_group(1, ofp.OFPGT_INDIRECT))  # fmt: skip
    assert before.differences(after) == ["1 rule missing", "1 rule more", "1 rule changed", "1 group changed"]
    after.unread.add("rules")
    assert before.differences(after) == ["1 group changed"]


def test_the_switch_is_the_one_that_it_stands_for(peer: Peer) -> None:
    switch = careful(peer, holdings())
    assert (switch.id, switch.layout) == (peer.connection.id, peer.connection.layout)
    assert peer.sent() == []
