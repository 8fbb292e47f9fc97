"""Does a switch keep the cookies and the idle timeouts of its rules?  What is concluded from what it lists."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.listing_trial import COOKIE, IDLE_S, ListingTrial
from anycast_sdn.openflow.row import Table
from tests.unit.switch_end import Peer, error, message, multipart

PRIORITY = 977
UNKNOWN = Features(cookies=False)
TIMED = frozenset((Table.CLIENT_OUT, Table.CLIENT_IN))


def entry(cookie: int, priority: int = PRIORITY, table: int = Table.ROUTES, idle_s: int | None = None) -> bytes:
    timeout = (IDLE_S if table in TIMED else 0) if idle_s is None else idle_s
    return struct.pack("!HBxIIHHHH4xQQQ", 56, table, 1, 0, priority, timeout, 0, 0, cookie, 0, 0) + bytes(8)


def all_three(cookie: int = COOKIE, idle_s: int = IDLE_S) -> bytes:
    return entry(cookie) + b"".join(entry(cookie, table=table, idle_s=idle_s) for table in sorted(TIMED))


def answering(
    lists: bytes | Callable[[int], bytes], features: Features = UNKNOWN, refuses: tuple[int, int] | None = None
) -> tuple[Features, list[tuple[int, bytes]]]:
    """``lists``: the rules, or the whole answer to the question for them → (what is found, the messages).

    ``refuses``: what it says to each rule.
    """
    peer, results, kinds = Peer(), list[Features](), list[tuple[int, bytes]]()
    ListingTrial(peer.connection, features, results.append).begin()
    while sent := peer.sent():
        for kind, xid, body in sent:
            kinds.append((kind, body))
            if kind == ofp.OFPT_FLOW_MOD and body[17] == ofp.OFPFC_ADD and refuses:
                peer.say(error(*refuses, xid=xid))
            if kind == ofp.OFPT_BARRIER_REQUEST:
                peer.say(message(ofp.OFPT_BARRIER_REPLY, xid=xid))
            if kind == ofp.OFPT_MULTIPART_REQUEST:
                peer.say(multipart(ofp.OFPMP_FLOW, lists, xid) if isinstance(lists, bytes) else lists(xid))
    (result,) = results
    return result, kinds


def found(lists: bytes | Callable[[int], bytes]) -> tuple[bool, bool]:
    """(cookies are kept, idle timeouts are kept)."""
    features, _ = answering(lists)
    return features.cookies, features.idle_timeouts


@pytest.mark.parametrize("cookie", [0, 1, (1 << 64) - 1])
def test_a_switch_that_lists_the_rules_with_another_cookie_keeps_none(cookie: int) -> None:
    assert found(all_three(cookie)) == (False, True)


@pytest.mark.parametrize("idle_s", [0, IDLE_S - 1])
def test_one_that_lists_them_with_another_idle_timeout_does_not_keep_these(idle_s: int) -> None:
    assert found(all_three(idle_s=idle_s)) == (True, False)


@pytest.mark.parametrize("table", sorted(TIMED))
def test_one_that_keeps_idle_timeouts_in_one_table_of_flows_alone_does_not_keep_them(table: Table) -> None:
    assert found(all_three().replace(entry(COOKIE, table=table), entry(COOKIE, table=table, idle_s=0))) == (True, False)


def test_one_that_lists_them_as_they_were_sent_keeps_both_whatever_else_it_lists() -> None:
    others = entry(0, table=0) + entry(7) + entry(7, table=Table.CLIENT_IN, idle_s=3) + entry(0, priority=5)
    assert found(others + all_three()) == (True, True)


@pytest.mark.parametrize("listed", [b"", entry(0, priority=5), entry(0, table=Table.INGRESS)])
def test_where_the_rules_are_not_listed_nothing_is_known(listed: bytes) -> None:
    assert found(listed) == (True, True)


def test_a_long_list_is_read_part_by_part() -> None:
    def in_parts(xid: int) -> bytes:
        first = multipart(ofp.OFPMP_FLOW, entry(0), xid, more=True)
        return first + multipart(ofp.OFPMP_FLOW, entry(0, priority=5), xid)

    assert found(in_parts) == (False, True)


def test_one_that_refuses_to_list_rules_is_not_judged_by_that() -> None:
    assert found(lambda xid: error(ofp.OFPET_BAD_REQUEST, ofp.OFPBRC_BAD_MULTIPART, xid=xid)) == (True, True)


def test_one_that_refuses_the_rules_is_not_asked_for_them() -> None:
    features, messages = answering(all_three(0, 0), refuses=(ofp.OFPET_BAD_MATCH, 6))
    assert (features.cookies, features.idle_timeouts) == (True, True)
    assert ofp.OFPT_MULTIPART_REQUEST not in [kind for kind, _ in messages]


def test_one_that_refuses_idle_timeouts_is_not_sent_them_again() -> None:
    features, messages = answering(entry(0), Features(idle_timeouts=False))
    assert (features.cookies, features.idle_timeouts) == (False, False)
    timeouts = [int.from_bytes(body[18:20], "big") for kind, body in messages if kind == ofp.OFPT_FLOW_MOD]
    assert timeouts == [0, 0]


def test_the_rules_are_removed() -> None:
    _, messages = answering(all_three())
    commands = [body[17] for kind, body in messages if kind == ofp.OFPT_FLOW_MOD]
    assert commands == [ofp.OFPFC_ADD] * 3 + [ofp.OFPFC_DELETE_STRICT] * 3
