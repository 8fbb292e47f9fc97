"""Packets that leave by the actions of the rules that they would meet."""

from __future__ import annotations

import pytest

from anycast_sdn.core.bindings import Binding, Half
from anycast_sdn.core.model import UDP, FlowKey, Prefix, packed
from anycast_sdn.openflow import builders, entries
from anycast_sdn.openflow.direct import DirectPackets
from anycast_sdn.openflow.pipeline import cookie
from anycast_sdn.openflow.reaction import out_of, through_pipeline
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import (
    AddFlow,
    DecTtl,
    DeleteCookie,
    DeleteEverything,
    DeleteFlow,
    DeleteGroup,
    Message,
    Output,
    PacketOut,
    PutBinding,
    RemoveBinding,
    SetField,
    ToGroup,
)

KEY = FlowKey(packed("10.1.0.10"), packed("198.18.0.1"), UDP, 40000, 53)
TRANSLATED, ANY = packed("203.0.113.7"), Prefix.parse("198.18.0.1/32")
FRAME = builders.ip_packet(KEY, eth_src=bytes(6), eth_dst=bytes(6))
PUT = PutBinding(Binding(5, KEY, TRANSLATED, "web", 0.0), Half.OUT, 0, 0, False)
ROUTE = entries.route(ANY, 3)


def knowing(*messages: Message) -> DirectPackets:
    """Of a switch that was found to hold the constant rules, and was sent these messages since."""
    direct = DirectPackets()
    direct.hold(entries.constant())
    direct.as_sent(messages)
    return direct


def actions(direct: DirectPackets, frame: bytes = FRAME) -> object:
    """By which a packet leaves that was to go through the tables; None: nothing is sent."""
    for message in direct.as_sent([through_pipeline(frame)]):
        assert isinstance(message, PacketOut)
        return message.actions
    return None


SOURCE = SetField("ipv4_src", TRANSLATED)


def test_a_packet_gets_the_actions_of_all_rules_on_its_way() -> None:
    assert actions(knowing(AddFlow(ROUTE), PUT)) == (SOURCE, DecTtl(), Output(3))


def test_a_rule_counts_from_the_message_before_the_packet_on() -> None:
    direct = knowing(AddFlow(ROUTE))
    put, sent = direct.as_sent([PUT, through_pipeline(FRAME)])
    assert put == PUT
    assert isinstance(sent, PacketOut)
    assert sent.actions == (SOURCE, DecTtl(), Output(3))


def test_the_switch_chooses_among_the_servers_of_its_group() -> None:
    direct = knowing(AddFlow(entries.service(ANY, 9)), AddFlow(ROUTE), PUT)
    assert actions(direct) == (SOURCE, ToGroup(9))
    direct.as_sent([DeleteGroup(9)])
    assert actions(direct) == (SOURCE, DecTtl(), Output(3)), "the rule has gone with its group"


def test_later_rules_are_looked_up_with_what_earlier_ones_have_set() -> None:
    server = packed("10.2.0.10")
    pinned = PUT._replace(binding=PUT.binding._replace(server=server))
    to_server = entries.route(Prefix.parse("10.2.0.0/24"), 4)
    expected = (SOURCE, SetField("ipv4_dst", server), DecTtl(), Output(4))
    assert actions(knowing(AddFlow(ROUTE), AddFlow(to_server), pinned)) == expected


@pytest.mark.parametrize(
    "gone",
    [DeleteFlow(ROUTE), DeleteCookie(cookie(Kind.ROUTE)), DeleteEverything()],
    ids=lambda each: type(each).__name__,
)
def test_a_rule_that_is_deleted_counts_no_more(gone: Message) -> None:
    direct = knowing(AddFlow(ROUTE), PUT, gone)
    assert actions(direct) is None


@pytest.mark.parametrize("reported", [False, True], ids=["deleted", "reported as removed"])
def test_a_packet_without_its_bindings_rule_is_routed_as_it_is(reported: bool) -> None:
    direct = knowing(AddFlow(ROUTE), PUT)
    if reported:
        direct.removed(entries.binding(PUT).cookie)
    else:
        direct.as_sent([RemoveBinding(PUT)])
    assert actions(direct) == (DecTtl(), Output(3))


def test_a_packet_for_the_controller_comes_back_with_the_cookie_of_the_rule_and_translated() -> None:
    direct = knowing(*map(AddFlow, entries.no_route(())), PUT)
    assert actions(direct) is None
    ((rule, _, frame),) = direct.returned
    assert rule == cookie(Kind.NO_ROUTE)
    assert frame == builders.rewrite(FRAME, "ipv4_src", TRANSLATED)


def test_what_was_sent_counts_more_than_what_is_found_later() -> None:
    direct = knowing(AddFlow(entries.route(ANY, 4)))
    direct.hold([ROUTE])
    assert actions(direct) == (DecTtl(), Output(4))


def test_packets_that_leave_by_a_port_are_sent_as_they_are() -> None:
    sent = out_of(3, FRAME)
    assert knowing().as_sent([sent]) == [sent]
