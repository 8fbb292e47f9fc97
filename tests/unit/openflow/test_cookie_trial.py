"""Does a switch keep the cookies of its rules?  What is concluded from what it lists."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.openflow.cookie_trial import COOKIE, CookieTrial
from anycast_sdn.openflow.row import Table
from tests.unit.switch_end import Peer, error, message, multipart

PRIORITY = 977


def entry(cookie: int, priority: int = PRIORITY, table: int = Table.ROUTES) -> bytes:
    return struct.pack("!HBxIIHHHH4xQQQ", 56, table, 1, 0, priority, 0, 0, 0, cookie, 0, 0) + bytes(8)


def found(lists: bytes | Callable[[int], bytes]) -> tuple[bool, list[int]]:
    """``lists``: the rules, or the whole answer to the question for them → (cookies are kept, kinds of messages)."""
    peer, results, kinds = Peer(), list[bool](), list[int]()
    CookieTrial(peer.connection, results.append).begin()
    while sent := peer.sent():
        for kind, xid, _ in sent:
            kinds.append(kind)
            if kind == ofp.OFPT_BARRIER_REQUEST:
                peer.say(message(ofp.OFPT_BARRIER_REPLY, xid=xid))
            if kind == ofp.OFPT_MULTIPART_REQUEST:
                peer.say(multipart(ofp.OFPMP_FLOW, lists, xid) if isinstance(lists, bytes) else lists(xid))
    (result,) = results
    return result, kinds


@pytest.mark.parametrize("cookie", [0, 1, (1 << 64) - 1])
def test_a_switch_that_lists_the_rule_with_another_cookie_keeps_none(cookie: int) -> None:
    assert found(entry(cookie))[0] is False


def test_one_that_lists_it_with_its_own_keeps_them_whatever_else_it_lists() -> None:
    assert found(entry(0, table=0) + entry(7) + entry(COOKIE) + entry(0, priority=5))[0] is True


@pytest.mark.parametrize("listed", [b"", entry(0, priority=5), entry(0, table=Table.INGRESS)])
def test_where_the_rule_is_not_listed_nothing_is_known(listed: bytes) -> None:
    assert found(listed)[0] is True


def test_one_that_refuses_to_list_rules_is_not_judged_by_that() -> None:
    assert found(lambda xid: error(ofp.OFPET_BAD_REQUEST, ofp.OFPBRC_BAD_MULTIPART, xid=xid))[0] is True


def test_the_rule_is_removed() -> None:
    kinds = found(entry(COOKIE))[1]
    assert kinds == [ofp.OFPT_FLOW_MOD, ofp.OFPT_BARRIER_REQUEST, ofp.OFPT_MULTIPART_REQUEST, ofp.OFPT_FLOW_MOD]
