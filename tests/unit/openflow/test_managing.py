"""A connection to a switch whose master is another controller, which sends what is written here."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.openflow import codec
from anycast_sdn.openflow.decoding import BadMessage
from anycast_sdn.openflow.features import Features, Tried
from anycast_sdn.openflow.outgoing import WRITES
from anycast_sdn.openflow.pipeline import BINDING_KINDS, kind_of
from anycast_sdn.openflow.questions import Introduction
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import AddFlow, Barrier
from tests.unit.openflow.test_questions import ANSWERS
from tests.unit.switch_end import RULE, Peer, error, message, multipart

FEATURES = Features(fin_timeout=False, hairpin=False)


class Managed(Peer):
    """``passed_on``: messages for the master."""

    def __init__(self, tried: Tried | None, answers: dict[int, Any] | None = None) -> None:
        super().__init__()
        self.passed_on: list[bytes] = []
        self.asked: list[int] = []
        self.connection.monitors.watch(self.connection)  # as while it was the master
        self.connection.become_slave()
        self.sent()
        self.connection.become_manager(self.passed_on.append)
        self.cancelled = self.sent()
        self.results: list[tuple[Any, ...]] = []
        Introduction(
            self.connection, 1, None, lambda *result: self.results.append(result[1:]), tried, flows=False
        ).begin()
        for _ in range(200):
            if self.results:
                break
            self.now += 0.25
            self.connection.tick(self.now)
            for kind, xid, body in self.sent():
                self.asked.append(kind)
                if kind == ofp.OFPT_MULTIPART_REQUEST:
                    (question,) = struct.unpack_from("!H", body)
                    answer = (ANSWERS | (answers or {})).get(question)
                    unsupported = error(ofp.OFPET_BAD_REQUEST, ofp.OFPBRC_BAD_MULTIPART, xid=xid)
                    self.say(unsupported if answer is None else multipart(question, answer, xid))

    def passed_on_rules(self) -> list[int]:
        """Cookies of flow-mods."""
        found, data = [], b"".join(self.passed_on)
        while data:
            length = int.from_bytes(data[2:4], "big")
            if data[1] == ofp.OFPT_FLOW_MOD:
                found.append(int.from_bytes(data[8:16], "big"))
            data = data[length:]
        return found


@pytest.mark.parametrize("described", [True, False])
def test_nothing_is_tried_out_and_what_the_master_has_found_counts(described: bool) -> None:
    managed = Managed(Tried((), FEATURES), None if described else {ofp.OFPMP_DESC: None})
    ((_, features, _),) = managed.results
    assert (features.fin_timeout, features.hairpin) == (False, False)
    assert not managed.passed_on_rules()
    assert not WRITES & set(managed.asked)


def test_a_switch_of_which_the_master_says_nothing_is_introduced_all_the_same() -> None:
    assert len(Managed(None).results) == 1


def test_changes_of_its_master_are_not_reported_to_whoever_manages_it() -> None:
    managed = Managed(Tried((), FEATURES))
    assert [kind for kind, _, _ in managed.cancelled] == [ofp.OFPT_EXPERIMENTER]
    assert not managed.connection.monitors._watches


def test_of_a_switch_that_does_not_list_its_rules_all_but_those_of_flows_are_deleted() -> None:
    managed = Managed(Tried((), FEATURES), {ofp.OFPMP_FLOW: None})
    kinds = {kind_of(cookie) for cookie in managed.passed_on_rules()}
    assert kinds == set(Kind) - set(BINDING_KINDS.values())
    assert managed.results[0][0].unlisted


# ------------------------------------------------------------------------------ the master


def passed_on(data: bytes) -> list[tuple[int, int, bytes]]:
    """What the master sends of it."""
    peer = Peer()
    peer.connection.send_for_another(data)
    return peer.sent()


def test_the_master_sends_what_is_passed_on_and_answers_come_back_for_tickets_alone() -> None:
    other = Peer()
    data = codec.encoder(other.connection.layout).encode(other.connection, [AddFlow(RULE), Barrier(7), Barrier()])
    rule, ticket, barrier = passed_on(data)
    assert [kind for kind, _, _ in (rule, ticket, barrier)] == [
        ofp.OFPT_FLOW_MOD, ofp.OFPT_BARRIER_REQUEST, ofp.OFPT_BARRIER_REQUEST
    ]  # fmt: skip
    assert (rule[1], ticket[1], barrier[1]) == (0, codec.TICKET | 7, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"\4", b"\4\x0e\0", message(ofp.OFPT_FLOW_MOD, bytes(48))[:-1], b"\4\x0e\0\4\0\0\0\0", b"\4\x0e\0\0\0\0\0\0",
        b"\1" + message(ofp.OFPT_FLOW_MOD, bytes(48))[1:], message(ofp.OFPT_ROLE_REQUEST, bytes(16)),
        message(ofp.OFPT_HELLO, b""), message(ofp.OFPT_FLOW_MOD, bytes(48)) + b"\4",
    ],
)  # fmt: skip
def test_what_no_leader_passes_on_is_refused_as_a_whole(data: bytes) -> None:
    peer = Peer()
    with pytest.raises(BadMessage):
        peer.connection.send_for_another(data)
    assert not peer.sent()


@given(st.binary(max_size=60))
def test_whatever_is_passed_on_is_sent_or_refused(data: bytes) -> None:
    peer = Peer()
    try:
        peer.connection.send_for_another(data)
    except BadMessage:
        assert not peer.sent()
