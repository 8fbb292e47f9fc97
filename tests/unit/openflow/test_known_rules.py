"""A switch that keeps no cookies: what it says gets the cookies with which its rules were sent."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.core.model import UDP, FlowKey, Prefix, packed
from anycast_sdn.openflow import codec, decoding, entries
from anycast_sdn.openflow.builders import ip_packet
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.known_rules import KnownRules
from anycast_sdn.openflow.layout import FIVE_TABLES, THREE_TABLES, Layout
from anycast_sdn.openflow.one_table import ONE_TABLE
from anycast_sdn.openflow.pipeline import cookie, kind_of
from anycast_sdn.openflow.row import Kind, Table
from anycast_sdn.openflow.rules import AddFlow, DeleteCookie, DeleteEverything, DeleteFlow, FlowRule, Message
from tests.unit.openflow.test_codec import DATAPATH
from tests.unit.openflow.test_layout import RULES, SUBNETS
from tests.unit.switch_end import Peer, multipart

LAYOUTS = pytest.mark.parametrize(
    "layout", [FIVE_TABLES, THREE_TABLES, ONE_TABLE], ids=["five tables", "three", "one"]
)
PLAIN = [*entries.constant(), *entries.ingress(SUBNETS, [10], [], hairpin=False), *entries.no_route(SUBNETS)]
MAC, GATEWAY_MAC = bytes.fromhex("0600000000aa"), bytes.fromhex("02ac00000001")


def listed(layout: Layout, rule: FlowRule) -> bytes:
    """As the switch lists it: without its cookie."""
    mod = codec.encoder(layout).encode(DATAPATH, [AddFlow(rule)])
    table, priority = mod[24], int.from_bytes(mod[30:32], "big")
    return struct.pack("!HBxIIHHHH4xQQQ", len(mod), table, 1, 0, priority, rule.idle_timeout, rule.hard_timeout,
                       rule.notify, 0, 5, 500) + mod[48:]  # fmt: skip


def knowing(layout: Layout, rules: list[FlowRule]) -> KnownRules:
    known = KnownRules(layout)
    sent = [*known.as_sent(map(AddFlow, rules))]
    assert sent == [*map(AddFlow, rules)]
    return known


def flow_reply(layout: Layout, rules: list[FlowRule]) -> bytes:
    return struct.pack("!HH4x", ofp.OFPMP_FLOW, 0) + b"".join(listed(layout, rule) for rule in rules)


@LAYOUTS
def test_listed_rules_are_those_that_were_sent(layout: Layout) -> None:
    known = knowing(layout, PLAIN)
    body = known.restored(ofp.OFPT_MULTIPART_REPLY, flow_reply(layout, PLAIN))
    assert decoding.decode_flow_stats(body[8:], layout) == (PLAIN, set())


def test_rules_of_others_are_told_by_no_cookie_and_deleted_by_their_matches() -> None:
    known = knowing(FIVE_TABLES, PLAIN[1:])
    body = known.restored(ofp.OFPT_MULTIPART_REPLY, flow_reply(FIVE_TABLES, PLAIN))
    assert decoding.decode_flow_stats(body[8:], FIVE_TABLES) == (PLAIN[1:], {0})
    (deletion,) = known.as_sent([DeleteCookie(0)])
    assert isinstance(deletion, DeleteFlow)
    assert deletion.rule.key == PLAIN[0].key
    assert not [*known.as_sent([DeleteCookie(0)])], "it is deleted"


def test_the_rules_of_a_cookie_are_deleted_one_by_one() -> None:
    known = knowing(THREE_TABLES, RULES)
    of_martians = [rule for rule in RULES if kind_of(rule.cookie) is Kind.MARTIAN]
    deletions = [*known.as_sent([DeleteCookie(cookie(Kind.MARTIAN))])]
    assert len(of_martians) > 1
    assert deletions == [DeleteFlow(rule) for rule in of_martians]


def test_what_was_deleted_is_known_no_more() -> None:
    for message in (DeleteFlow(PLAIN[0]), DeleteEverything()):
        known = knowing(FIVE_TABLES, PLAIN[:1])
        assert [*known.as_sent([message])] == [message]
        body = known.restored(ofp.OFPT_MULTIPART_REPLY, flow_reply(FIVE_TABLES, PLAIN[:1]))
        assert decoding.decode_flow_stats(body[8:], FIVE_TABLES) == ([], {0})


def packet_in(table: int, in_port: int, frame: bytes) -> bytes:
    head = struct.pack("!IHBBQ", 0xFFFFFFFF, len(frame), ofp.OFPR_ACTION, table, 0)
    return head + struct.pack("!HHHBBI4x2x", 1, 12, 0x8000, 0, 4, in_port) + frame


def test_a_packet_that_is_sent_up_has_the_cookie_of_the_rule_that_sends_it() -> None:
    known = knowing(FIVE_TABLES, [*PLAIN, *entries.for_each_port(SUBNETS, [packed("10.1.0.1")])])
    arp = MAC + GATEWAY_MAC + b"\x08\x06" + bytes(46)
    ping = ip_packet(FlowKey(packed("10.1.0.10"), packed("10.1.0.1"), UDP, 1, 2), eth_src=MAC, eth_dst=GATEWAY_MAC)
    lldp = MAC + GATEWAY_MAC + b"\x88\xcc" + bytes(46)
    for table, port, frame, kind in (
        (Table.INGRESS, 1, arp, Kind.ARP),
        (Table.INGRESS, 10, lldp, Kind.LLDP),
        (Table.ROUTES, 1, ping, Kind.GATEWAY_HERE),
        (Table.ROUTES, 10, ping, Kind.NO_ROUTE),
    ):
        message = decoding.decode_packet_in(known.restored(ofp.OFPT_PACKET_IN, packet_in(table, port, frame)))
        assert (kind_of(message.cookie), message.in_port, message.frame) == (kind, port, frame)
    nowhere = packet_in(9, 1, arp)
    assert known.restored(ofp.OFPT_PACKET_IN, nowhere) == nowhere


FLOW_RULE = replace(entries.route(Prefix.parse("10.2.0.0/24"), 3), cookie=cookie(Kind.BINDING_IN, 7))


def removal(rule: FlowRule, reason: int = ofp.OFPRR_IDLE_TIMEOUT) -> bytes:
    entry = listed(FIVE_TABLES, rule)
    end = 48 + -(-int.from_bytes(entry[50:52], "big") // 8) * 8
    removed = struct.pack("!QHBBIIHHQQ", 0, rule.priority, reason, rule.table, 1, 0, 0, 0, 3, 300)
    return removed + entry[48:end]


def test_the_removal_of_a_rule_is_reported_with_its_cookie() -> None:
    known = knowing(FIVE_TABLES, [FLOW_RULE])
    body = known.restored(ofp.OFPT_FLOW_REMOVED, removal(FLOW_RULE))
    assert decoding.decode_flow_removed(body) == (FLOW_RULE.cookie, False, False)


@pytest.mark.parametrize("reason", [ofp.OFPRR_IDLE_TIMEOUT, ofp.OFPRR_HARD_TIMEOUT, ofp.OFPRR_DELETE])
def test_what_has_expired_is_known_no_more_and_what_was_deleted_may_be_there_again(reason: int) -> None:
    known = knowing(FIVE_TABLES, [FLOW_RULE])
    known.restored(ofp.OFPT_FLOW_REMOVED, removal(FLOW_RULE, reason))
    body = known.restored(ofp.OFPT_MULTIPART_REPLY, flow_reply(FIVE_TABLES, [FLOW_RULE]))
    is_known = reason == ofp.OFPRR_DELETE
    assert decoding.decode_flow_stats(body[8:], FIVE_TABLES) == (([FLOW_RULE], set()) if is_known else ([], {0}))


def test_a_packet_of_a_flow_whose_rule_has_gone_unseen_is_known_by_the_rule_that_sends_it_up() -> None:
    known = knowing(FIVE_TABLES, [*PLAIN, FLOW_RULE])
    packet = ip_packet(FlowKey(packed("10.1.0.10"), packed("10.2.0.1"), UDP, 1, 2), eth_src=MAC, eth_dst=GATEWAY_MAC)
    body = known.restored(ofp.OFPT_PACKET_IN, packet_in(Table.ROUTES, 10, packet))
    assert kind_of(decoding.decode_packet_in(body).cookie) is Kind.NO_ROUTE


def test_such_a_switch_is_asked_for_all_rules_and_its_answers_are_restored() -> None:
    peer, rules = Peer(), PLAIN[:3]
    peer.connection.adapt(Features(cookies=False))
    messages: list[Message] = [*map(AddFlow, rules)]
    peer.connection.send(messages)
    peer.sent()
    bodies: list[bytes | None] = []
    request = codec.flow_stats_request(peer.connection, cookie=cookie(Kind.MARTIAN), mask=0xFFFF << 48)
    peer.connection.ask(request, bodies.append)
    ((_, xid, asked),) = peer.sent()
    assert asked[24:40] == bytes(16), "no cookie and no mask"
    peer.say(multipart(ofp.OFPMP_FLOW, b"".join(listed(FIVE_TABLES, rule) for rule in rules), xid))
    (body,) = bodies
    assert body is not None
    assert decoding.decode_flow_stats(body, FIVE_TABLES) == (rules, set())
