"""What a switch tells of its rules, to those who follow it."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import pytest
from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.openflow.flow_monitor import Update
from anycast_sdn.openflow.rules import FlowRule
from anycast_sdn.openflow.states import State
from tests.unit.openflow.test_codec import as_flow_stats, decode_flow_stats
from tests.unit.switch_end import RULE, Peer, message, multipart

EXTENSION = struct.pack("!II", 0x4F4E4600, 1870)
PAUSED, RESUMED = (message(ofp.OFPT_EXPERIMENTER, struct.pack("!II", 0x4F4E4600, code)) for code in (1871, 1872))
# As Open vSwitch 3.1 has written it: 10.1.0.10:1001 to 198.18.0.1:80/tcp gets 203.0.113.1.
AS_OPEN_VSWITCH_WRITES_IT = bytes.fromhex(
    "0068000000000384012c0000002b0100a17c1000000000010001002b80000a020800800016040a01000a80001804c61200018000140106"
    "80001a0203e980001c020050000000000000040018000000000019001080001604cb0071010000000000010008020000000"
    "0"
)


def update(rule: FlowRule, event: int = 0) -> bytes:
    """0: added, 1: deleted, 2: modified."""
    entry = as_flow_stats(rule)
    rest = entry[48:]
    head = struct.pack("!HHHHHHHBxQ", 24 + len(rest), event, 0, rule.priority, rule.idle_timeout, 0, 4, rule.table,
                       rule.cookie)  # fmt: skip
    return head + rest


def told(*updates: bytes, xid: int = 0, more: bool = False) -> bytes:
    return multipart(ofp.OFPMP_EXPERIMENTER, EXTENSION + b"".join(updates), xid, more)


class Follower:
    def __init__(self) -> None:
        self.heard: list[object] = []

    def told(self, updates: Iterable[Update]) -> None:
        self.heard += [(each.cookie, each.is_gone) for each in updates]

    def listed(self) -> None:
        self.heard.append("listed")

    def paused(self, on: bool) -> None:
        self.heard.append(on)


def follow(peer: Peer) -> tuple[Follower, int]:
    """→ and the transaction id of the request."""
    follower = Follower()
    peer.connection.monitors.follow(peer.connection, follower)
    requests = [xid for kind, xid, _ in peer.sent() if kind == ofp.OFPT_MULTIPART_REQUEST]
    return follower, requests[-1]


def test_all_rules_are_told_and_then_each_change() -> None:
    peer = Peer(State.ADMITTED)
    follower, xid = follow(peer)
    peer.say(told(update(RULE), xid=xid, more=True) + told(xid=xid))
    peer.say(told(update(RULE, 1), update(RULE, 2)))
    cookie = RULE.cookie
    assert follower.heard == [False, (cookie, False), "listed", (cookie, True), (cookie, False)]
    assert not peer.listener.heard  # nobody is told that others have modified rules


def test_what_is_told_before_the_list_is_of_an_earlier_one() -> None:
    peer = Peer(State.ADMITTED)
    first, before = follow(peer)
    second, xid = follow(peer)
    assert xid != before
    peer.say(told(update(RULE)) + told(update(RULE), xid=before))
    assert first.heard == second.heard == [False]
    peer.say(told(xid=xid) + told(update(RULE)))
    assert second.heard == [False, "listed", (RULE.cookie, False)]


def test_a_pause_is_told_also_to_who_begins_in_it() -> None:
    peer = Peer(State.ADMITTED)
    first, _ = follow(peer)
    peer.say(PAUSED)
    second, _ = follow(peer)
    peer.say(RESUMED)
    assert (first.heard, second.heard) == ([False, True], [True, False])


def test_nothing_is_told_any_more_to_who_follows_no_more() -> None:
    peer = Peer(State.ADMITTED)
    follower, xid = follow(peer)
    peer.say(told(xid=xid))
    peer.connection.monitors.follow_no_more(peer.connection)
    ((kind, _, body),) = peer.sent()
    assert (kind, body[:8], len(body)) == (ofp.OFPT_EXPERIMENTER, EXTENSION, 12)
    peer.say(told(update(RULE)) + PAUSED)
    assert follower.heard == [False, "listed"]
    assert not peer.listener.heard
    assert not peer.connection.is_closed


@pytest.mark.parametrize("cut", [*range(1, 24, 3), 31])
def test_what_is_cut_short_ends_the_connection(cut: int) -> None:
    peer = Peer(State.ADMITTED)
    _, xid = follow(peer)
    peer.say(told(xid=xid) + told(update(RULE)[:cut]))
    assert peer.connection.is_closed


def test_a_rule_is_read_as_from_a_list_of_all_rules() -> None:
    peer = Peer(State.ADMITTED)
    updates: list[Update] = []
    follower = Follower()
    follower.told = updates.extend  # type: ignore[method-assign,assignment]
    peer.connection.monitors.follow(peer.connection, follower)
    (*_, (_, xid, _)) = peer.sent()
    peer.say(told(AS_OPEN_VSWITCH_WRITES_IT, xid=xid))
    ((rule,), foreign) = decode_flow_stats(updates[0].entry)
    assert (rule.cookie, rule.table, rule.priority, rule.goto) == (0xA17C100000000001, 1, 900, 2)
    assert rule.idle_timeout == 300
    assert rule.notify
    assert not foreign
