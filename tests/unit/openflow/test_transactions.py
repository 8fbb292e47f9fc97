"""Which rule or group an error is about, when it quotes little or nothing of the message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.core.bindings import Binding, BindingTable, Half
from anycast_sdn.core.model import FlowKey, packed
from anycast_sdn.openflow import transactions
from anycast_sdn.openflow.pipeline import cookie, kind_of, number_of
from anycast_sdn.openflow.row import Kind, Table
from anycast_sdn.openflow.rules import (
    AddFlow,
    Bucket,
    DeleteFlow,
    DeleteGroup,
    FlowRule,
    GroupRule,
    Message,
    MeterRule,
    Output,
    PutBinding,
    SetGroup,
    SetMeter,
)
from tests.unit.switch_end import DPID, Peer, error

FLOW = Binding(
    (3 << 32) + 77, FlowKey(packed("10.1.0.10"), packed("198.18.0.1"), 6, 40000, 80), packed("203.0.113.7"), "web", 0.0
)
PUT = PutBinding(FLOW, Half.OUT, 300, 0)
ROUTE = FlowRule(Table.ROUTES, 232, (), cookie(Kind.ROUTE), (Output(3),))
GROUP = SetGroup(GroupRule(7, (Bucket(1, (Output(1),)),)), exists=False)
BAD_ACTION, BAD_BUCKET = (ofp.OFPET_BAD_ACTION, ofp.OFPBAC_BAD_TYPE), (ofp.OFPET_GROUP_MOD_FAILED, 1)


def told(sent: Message, error_of: tuple[int, int], quoted: int) -> list[tuple[object, ...]]:
    """What is heard of an error that quotes so many bytes."""
    peer = Peer()
    data = peer.encode(sent)
    peer.say(error(*error_of, data[:quoted], xid=int.from_bytes(data[4:8], "big")))
    return peer.listener.heard


@pytest.mark.parametrize("quoted", [0, 8, 12, 64])
def test_a_refused_rule_is_known_by_its_row_however_little_is_quoted(quoted: int) -> None:
    for message in (AddFlow(ROUTE), DeleteFlow(ROUTE)):
        ((name, dpid, value, full, why),) = told(message, BAD_ACTION, quoted)
        assert (name, dpid, kind_of(int(str(value))), full) == ("rule_refused", DPID, Kind.ROUTE, False)
        assert why == "bad action, bad type"


@pytest.mark.parametrize("quoted", [0, 8, 64])
def test_the_flow_of_a_refused_rule_is_known(quoted: int) -> None:
    ((name, _, value, *_),) = told(PUT, BAD_ACTION, quoted)
    assert name == "rule_refused"
    flows = BindingTable()
    flows.put(FLOW)
    assert transactions.refused(flows, number_of(int(str(value)))) == FLOW


@pytest.mark.parametrize("quoted", [0, 8, 64])
def test_a_refused_group_is_known_by_its_number(quoted: int) -> None:
    heard = told(GROUP, BAD_BUCKET, quoted)
    assert [each[0] for each in heard] == ["rule_refused", "group_refused"]
    assert heard[1] == ("group_refused", DPID, 7)


@pytest.mark.parametrize("quoted", [8, 64])
def test_a_refused_meter_is_reported(quoted: int) -> None:
    assert told(SetMeter(MeterRule(1, 5, 5), exists=False), (ofp.OFPET_METER_MOD_FAILED, 11), quoted)


@pytest.mark.parametrize("quoted", [8, 64])
def test_that_a_group_cannot_be_deleted_is_no_news(quoted: int) -> None:
    """A switch without groups refuses that, too."""
    assert told(DeleteGroup(7), (ofp.OFPET_BAD_REQUEST, ofp.OFPBRC_BAD_TYPE), quoted) == []


def test_of_two_flows_with_the_same_lower_bits_none_is_taken() -> None:
    flows = BindingTable()
    for number in (FLOW.number, FLOW.number + (1 << 33)):
        flows.put(FLOW._replace(number=number, key=FLOW.key._replace(source_port=number % 50000)))
    assert transactions.refused(flows, 77) is None
    assert transactions.refused(flows, FLOW.number) is not None


@given(st.sampled_from(sorted(Kind)), st.integers(0, transactions.MOST), st.integers(1, (1 << 40) - 1))
def test_ids_of_rules_never_look_like_those_of_questions_and_tickets(kind: Kind, count: int, number: int) -> None:
    xid = transactions.of_rule(cookie(kind, number), count)
    assert transactions.MOST < xid < 1 << 31
    assert transactions.group_in(xid) is None
    assert kind_of(transactions.cookie_in(xid)) is not None
    assert transactions.cookie_in(count) == 0
    assert transactions.group_in(transactions.of_group(count, 1)) == count
