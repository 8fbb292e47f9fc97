"""A switch with several controllers, at one of them: roles, and what is sent and heard as its slave."""

from __future__ import annotations

import struct

import pytest
from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.openflow import codec
from anycast_sdn.openflow.pending import PROBE_S, RoleReply
from anycast_sdn.openflow.rules import (
    AddFlow,
    Barrier,
    DeleteFlow,
    EndConnection,
    GroupRule,
    Message,
    PacketOut,
    ReportExpired,
    SetGroup,
)
from anycast_sdn.openflow.states import State
from tests.unit.switch_end import PACKET_IN, RULE, WELL_FORMED, Peer, error, message, multipart

BARRIER = 8  # bytes of such a request
IS_SLAVE = ofp.OFPET_BAD_REQUEST, ofp.OFPBRC_IS_SLAVE
WRITES: list[Message] = [
    AddFlow(RULE), DeleteFlow(RULE), PacketOut(bytes(60), 1, ()), SetGroup(GroupRule(1, ()), exists=False)
]  # fmt: skip


def ask(
    peer: Peer, role: int = ofp.OFPCR_ROLE_MASTER, generation: int = 7
) -> tuple[int, list[RoleReply | bool | None]]:
    """→ the transaction id, where the answers come."""
    answers: list[RoleReply | bool | None] = []
    peer.connection.ask_role(role, generation, answers.append)
    ((kind, xid, body),) = peer.sent()
    assert (kind, body) == (ofp.OFPT_ROLE_REQUEST, struct.pack("!I4xQ", role, generation))
    return xid, answers


def reply(role: int, generation: int, xid: int) -> bytes:
    return message(ofp.OFPT_ROLE_REPLY, struct.pack("!I4xQ", role, generation), xid)


@pytest.mark.parametrize("generation", [0, 7, (1 << 64) - 1])
def test_the_answer_says_role_and_generation(generation: int) -> None:
    peer = Peer()
    xid, answers = ask(peer, generation=generation)
    peer.say(reply(ofp.OFPCR_ROLE_MASTER, generation, xid))
    assert answers == [RoleReply(ofp.OFPCR_ROLE_MASTER, generation)]


@pytest.mark.parametrize(
    ("code", "expected"), [(ofp.OFPRRFC_STALE, True), (ofp.OFPRRFC_UNSUP, False), (ofp.OFPRRFC_BAD_ROLE, False)]
)
def test_a_refusal_says_whether_the_generation_is_stale(code: int, expected: bool) -> None:
    peer = Peer()
    xid, answers = ask(peer)
    peer.say(error(ofp.OFPET_ROLE_REQUEST_FAILED, code, xid=xid))
    assert answers == [expected]


def test_a_switch_that_does_not_know_the_message_has_no_roles() -> None:
    peer = Peer()
    xid, answers = ask(peer)
    peer.say(error(ofp.OFPET_BAD_REQUEST, ofp.OFPBRC_BAD_TYPE, xid=xid))
    assert answers == [False]


def test_a_switch_that_says_nothing_about_its_role_is_not_waited_for() -> None:
    peer = Peer()
    xid, answers = ask(peer)
    peer.wait(PROBE_S)
    assert answers == [None]
    peer.say(reply(ofp.OFPCR_ROLE_MASTER, 7, xid))
    assert (answers, peer.connection.state) == ([None], State.ADMITTED)


def test_an_answer_that_is_cut_short_ends_the_connection() -> None:
    peer = Peer()
    xid, answers = ask(peer)
    peer.say(message(ofp.OFPT_ROLE_REPLY, bytes(8), xid))
    assert (answers, peer.connection.state) == ([], State.CLOSED)


@pytest.mark.parametrize("body", [b"", bytes(8), bytes(16), bytes(17)])
def test_an_answer_to_no_request_is_ignored(body: bytes) -> None:
    peer = Peer()
    peer.say(message(ofp.OFPT_ROLE_REPLY, body, 99))
    assert (peer.connection.state, peer.listener.heard) == (State.ADMITTED, [])


def test_a_refusal_of_a_slave_is_told_apart_from_others_once_a_role_was_asked_for() -> None:
    peer = Peer()
    peer.say(error(*IS_SLAVE, peer.encode(AddFlow(RULE))))
    assert peer.listener.names() == ["rule_refused"]  # of a single controller it is a refusal like any other
    ask(peer)
    peer.say(error(*IS_SLAVE, peer.encode(AddFlow(RULE))))
    assert peer.listener.names() == ["rule_refused", "is_slave"]


# ------------------------------------------------------------------------------ as a slave


def slave() -> Peer:
    peer = Peer()
    peer.connection.become_slave()
    return peer


def test_a_slave_sends_nothing_that_changes_the_switch() -> None:
    peer = slave()
    peer.connection.send([*WRITES, Barrier(), ReportExpired(False)])
    assert [kind for kind, *_ in peer.sent()] == [ofp.OFPT_BARRIER_REQUEST, ofp.OFPT_SET_ASYNC]
    results: list[bool | None] = []
    peer.connection.try_out(AddFlow(RULE), lambda taken, why: results.append(taken))
    peer.connection.await_packets(lambda in_port, frame: True, lambda: results.append(None), 1.0)
    peer.wait(10)
    assert results == []


def test_a_slave_may_ask() -> None:
    peer = slave()
    xid, answers = peer.ask()
    peer.say(multipart(ofp.OFPMP_PORT_DESC, b"", xid))
    assert answers == [b""]


def test_what_was_queued_is_dropped_message_by_message() -> None:
    peer = Peer()
    peer.connection.send([AddFlow(RULE), Barrier(), *WRITES])
    queued = bytes(peer.connection.unsent)
    first = int.from_bytes(queued[2:4], "big")
    peer.connection.next_to_send(first // 2)
    peer.connection.sent(first // 2)
    assert peer.connection.become_slave() == len(WRITES)
    assert bytes(peer.connection.unsent) == queued[first // 2 : first + BARRIER]


def test_what_the_socket_has_been_offered_is_not_taken_back() -> None:
    peer = Peer()
    peer.connection.send([AddFlow(RULE)] * 4)
    size = len(peer.connection.unsent) // 4
    peer.connection.next_to_send(size + 1)
    assert peer.connection.become_slave() == 2
    peer.connection.sent(size + 1)
    assert len(peer.connection.unsent) == size - 1


def test_what_was_asked_before_has_no_effect_any_more() -> None:
    peer = Peer()
    xid, answers = peer.ask()
    attempt, barrier, results = peer.try_out()
    probes: list[bool] = []
    peer.connection.probe(probes.append)
    peer.connection.become_slave()
    peer.say(multipart(ofp.OFPMP_PORT_DESC, b"", xid))
    peer.say(error(ofp.OFPET_BAD_ACTION, 0, xid=attempt))
    peer.say(message(ofp.OFPT_BARRIER_REPLY, xid=barrier))
    peer.wait(10)
    assert (answers, results, probes, peer.connection.state) == ([], [], [False], State.ADMITTED)
    assert not peer.connection.unanswered


def test_an_answer_about_its_role_is_waited_for_whatever_else_ends() -> None:
    """A leader becomes the master of a switch that it manages: it manages no more before the switch has answered."""
    peer = Peer()
    peer.connection.become_manager(lambda data: None)
    xid, answers = ask(peer)
    peer.connection.become_slave()
    peer.say(reply(ofp.OFPCR_ROLE_MASTER, 7, xid))
    assert answers == [RoleReply(ofp.OFPCR_ROLE_MASTER, 7)]


def test_a_slave_hears_of_removed_rules_alone() -> None:
    peer = slave()
    for each in (PACKET_IN, WELL_FORMED[ofp.OFPT_PORT_STATUS], WELL_FORMED[ofp.OFPT_BARRIER_REPLY]):
        peer.say(each)
    peer.say(error(ofp.OFPET_FLOW_MOD_FAILED, ofp.OFPFMFC_TABLE_FULL, peer.encode(AddFlow(RULE))))
    assert peer.listener.heard == []
    peer.say(WELL_FORMED[ofp.OFPT_FLOW_REMOVED])
    assert peer.listener.names() == ["rule_of_others_removed"]


def test_what_is_asked_of_the_switch_for_a_slave_are_reports_of_removed_rules() -> None:
    peer = slave()
    peer.connection.send([ReportExpired(False)])
    ((_, _, body),) = peer.sent()
    masks = struct.unpack("!6I", body)
    assert [bool(mask) for mask in masks[1::2]] == [False, False, True]  # packet-in, port-status, flow-removed


def test_a_master_again_sends_and_hears_as_before() -> None:
    peer = slave()
    peer.connection.become_master()
    peer.connection.send(WRITES)
    assert len(peer.sent()) == len(WRITES)
    peer.say(PACKET_IN)
    peer.say(message(ofp.OFPT_BARRIER_REPLY, xid=codec.TICKET | 9))
    assert peer.listener.names() == ["packet_in", "confirmed"]


# ------------------------------------------------------------------------------ what a switch takes from a slave, too


END = EndConnection(4, bytes(4), bytes(4), 17, 40000, 53)
Q, F, E = ofp.OFPT_ROLE_REQUEST, ofp.OFPT_FLOW_MOD, ofp.OFPT_EXPERIMENTER


def ended() -> tuple[Peer, int]:
    """A master among several controllers has ended a connection, and sent something after that → its question."""
    peer = Peer()
    xid, _ = ask(peer)
    peer.say(reply(ofp.OFPCR_ROLE_MASTER, 7, xid))
    peer.connection.send([AddFlow(RULE), END])
    peer.connection.send([AddFlow(RULE), END])
    ((kind, xid, body),) = peer.sent()
    assert (kind, body) == (Q, struct.pack("!I4xQ", ofp.OFPCR_ROLE_NOCHANGE, 0))
    return peer, xid


def test_a_connection_is_ended_after_the_switch_has_said_who_its_master_is_and_all_else_waits_behind() -> None:
    peer, xid = ended()
    peer.say(reply(ofp.OFPCR_ROLE_MASTER, 7, xid))
    assert [kind for kind, *_ in peer.sent()] == [F, E, F, E]
    peer.connection.send([AddFlow(RULE)])
    assert [kind for kind, *_ in peer.sent()] == [F]


@pytest.mark.parametrize("says", [ofp.OFPCR_ROLE_SLAVE, ofp.OFPCR_ROLE_EQUAL, None])
def test_a_former_master_ends_no_connection(says: int | None) -> None:
    peer, xid = ended()
    if says is None:
        peer.wait(PROBE_S)
    else:
        peer.say(reply(says, 8, xid))
    assert peer.listener.names() == ["is_slave"]
    assert peer.connection.become_slave() == 4
    peer.connection.become_master()
    peer.connection.send([AddFlow(RULE)])
    assert [kind for kind, *_ in peer.sent() if kind != ofp.OFPT_ECHO_REQUEST] == [F]


def test_where_there_are_no_roles_or_no_other_controllers_a_connection_is_ended_at_once() -> None:
    peer, xid = ended()
    peer.say(error(ofp.OFPET_BAD_REQUEST, ofp.OFPBRC_BAD_TYPE, xid=xid))
    assert [kind for kind, *_ in peer.sent()] == [F, E, F, E]
    alone = Peer()
    alone.connection.send([AddFlow(RULE), END])
    assert [kind for kind, *_ in alone.sent()] == [F, E]
