"""Drains of servers: they take no new flows, keep those that they have, and it is known when they are done (M33)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lives import EPOCH, TICK_S, Lives, server_of, talk
from scenes import SERVICE, ask, bindings, both_engines, network

from anycast_sdn.control.announcements import RETIRE_S
from anycast_sdn.control.controller import Pace
from anycast_sdn.control.life import GRACE_S, LINGER_S
from anycast_sdn.control.operations import State
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import TCP, UDP, AfterDrain, AtDeadline, NotFound, Prefix, Server, ServerState
from anycast_sdn.core.server_events import OperationEnded, ServerChanged, ServerDrained, ServerDraining, ServerRemoved
from anycast_sdn.openflow.frames import parse_ip
from anycast_sdn.simulation.host import TCP_ACK

pytestmark = both_engines

RST = 0x04


@pytest.fixture
def lives(build) -> Lives:
    return Lives(build("figure1", "as2", "as3"))


def close(lives, port, v6=False):
    """The client resets its connection, and the binding ends."""
    talk(lives.net, v6, port, tcp_flags=RST | TCP_ACK)
    lives.advance(RETIRE_S + 1)


def test_a_drained_server_keeps_its_flows_and_gets_no_new_ones_and_is_done_when_the_last_has_ended(lives, v6):
    talk(lives.net, v6, 40000)
    drain = lives.drain("as2", v6)
    assert (lives.server("as2", v6).state, drain.state, drain.ended) == (ServerState.DRAINING, State.RUNNING, None)
    assert (drain.group, drain.edge, drain.addresses) == ("web", "ars2", (lives.address("as2", v6),))
    talk(lives.net, v6, 40001)
    assert (server_of(lives.net, 40000), server_of(lives.net, 40001)) == ("as2", "as3")
    lives.advance(60)
    assert (lives.operation(drain).state, lives.operation(drain).flows_left) == (State.RUNNING, 1)
    close(lives, 40000, v6)
    done = lives.operation(drain)
    assert (done.state, done.flows_left, done.reason) == (State.SUCCEEDED, 0, "")
    assert done.ended - done.began == pytest.approx(62, abs=1)
    assert lives.server("as2", v6) == Server(lives.address("as2", v6), state=ServerState.DRAINED)
    talk(lives.net, v6, 40002)
    assert server_of(lives.net, 40002) == "as3"
    kinds = [type(event) for event in lives.events]
    assert kinds.count(ServerDraining) == kinds.count(ServerDrained) == kinds.count(OperationEnded) == 1
    assert ServerChanged not in kinds


def test_a_server_without_flows_is_done_as_soon_as_no_packet_can_be_on_its_way(lives):
    """Routers at uplinks have some seconds to learn that its edge, where it was the last one, serves no more."""
    lives.registry.put_server("web", Server(lives.address("as4")))
    lives.advance(1)
    beside, alone = lives.drain("as4"), lives.drain("as2")
    lives.advance(2 * TICK_S)
    assert (lives.operation(beside).state, lives.operation(alone).state) == (State.SUCCEEDED, State.RUNNING)
    lives.advance(RETIRE_S)
    assert lives.operation(alone).state is State.SUCCEEDED


def test_a_first_packet_that_is_under_way_is_waited_for(lives):
    """Its server has it, and may answer: the drain takes a while, and counts the flow when it is pinned."""
    as2 = lives.net.host("as2")
    answers, as2.on_packet = as2.on_packet, lambda frame, packet: ()
    ask(lives.net, port=40000, protocol=UDP)
    drain = lives.drain("as2")
    lives.advance(GRACE_S - 1)
    assert lives.operation(drain).state is State.RUNNING
    lives.net.send("as2", *answers(as2.received[-1], parse_ip(as2.received[-1])))
    lives.advance(GRACE_S)
    assert (lives.operation(drain).state, lives.operation(drain).flows_left) == (State.RUNNING, 1)


def test_a_flow_that_nobody_answers_delays_a_drain_for_a_while_only(lives):
    lives.net.host("as3").on_packet = lambda frame, packet: ()
    lives.net.host("as2").on_packet = lambda frame, packet: ()
    ask(lives.net, port=40000, protocol=UDP)
    drain = lives.drain("as2")
    lives.advance(GRACE_S + TICK_S)
    assert lives.operation(drain).state is State.SUCCEEDED


def test_a_server_can_be_removed_when_it_is_drained(lives, v6):
    talk(lives.net, v6, 40000)
    drain = lives.drain("as2", v6, then=AfterDrain.REMOVE)
    close(lives, 40000, v6)
    assert lives.operation(drain).state is State.SUCCEEDED
    assert lives.server("as2", v6) is None
    assert ServerRemoved("ars2", "web", lives.address("as2", v6)) in lives.events


def segments(host):
    """(flags, sequence number) of the TCP packets that a host has got."""
    found = [(frame, parse_ip(frame)) for frame in host.received]
    return [
        (frame[packet.l4 + 13], int.from_bytes(frame[packet.l4 + 4 : packet.l4 + 8], "big"))
        for frame, packet in found
        if packet.key.protocol == TCP
    ]


@pytest.mark.parametrize("speaks_first", ["client", "server"])
@pytest.mark.parametrize("then", list(AfterDrain))
def test_at_the_deadline_connections_are_reset_at_both_ends(lives, v6, speaks_first, then):
    net, h1, as2 = lives.net, lives.net.host("h1"), lives.net.host("as2")
    talk(net, v6, 40000)
    (connection,) = bindings(net)
    drain = lives.drain("as2", v6, deadline_s=10, then=then)
    lives.advance(9.5)
    assert server_of(net, 40000) == "as2"
    lives.advance(1)
    assert not bindings(net)
    h1.received.clear(), as2.received.clear()
    if speaks_first == "client":
        talk(net, v6, 40000, tcp_flags=TCP_ACK, acknowledged=77)
        assert segments(h1) == [(RST, 77)]
    else:
        numbers = {"sequence": 1234, "acknowledged": 5678, "tcp_flags": TCP_ACK}
        net.send("as2", as2.packet(connection.translated, TCP, 80, 40000, **numbers))
        net.settle()
        assert segments(h1) == [(RST | TCP_ACK, 1234)]
        assert segments(as2) == [(RST, 5678)]
    assert h1.flows() == [parse_ip(h1.received[0]).key._replace(source=SERVICE[v6])]
    lives.advance(LINGER_S + 1)
    done = lives.operation(drain)
    assert (done.state, done.flows_left, done.reason) == (State.SUCCEEDED, 0, "")
    assert (lives.server("as2", v6) is None) is (then is AfterDrain.REMOVE)
    talk(net, v6, 40000)
    assert server_of(net, 40000) == "as3"


def test_at_the_deadline_other_flows_begin_anew_with_another_server(lives, v6):
    ask(lives.net, service=SERVICE[v6], port=40000, protocol=UDP)
    lives.drain("as2", v6, deadline_s=5)
    lives.advance(6)
    assert not bindings(lives.net)
    ask(lives.net, service=SERVICE[v6], port=40000, protocol=UDP)
    assert server_of(lives.net, 40000) == "as3"


def test_flows_that_are_kept_at_the_deadline_go_on_and_it_is_said_how_many(lives, v6):
    talk(lives.net, v6, 40000)
    drain = lives.drain("as2", v6, deadline_s=5, at_deadline=AtDeadline.KEEP)
    lives.advance(6)
    done = lives.operation(drain)
    assert (done.state, done.flows_left, done.reason) == (State.SUCCEEDED, 1, "1 flow went on at the deadline")
    assert lives.server("as2", v6).state is ServerState.DRAINED
    assert server_of(lives.net, 40000) == "as2"


def test_a_server_that_is_removed_at_the_deadline_keeps_the_flows_that_are_kept(lives):
    talk(lives.net, port=40000)
    drain = lives.drain("as2", deadline_s=5, then=AfterDrain.REMOVE, at_deadline=AtDeadline.KEEP)
    lives.advance(6)
    assert (lives.operation(drain).state, lives.server("as2")) == (State.SUCCEEDED, None)
    assert server_of(lives.net, 40000) == "as2"  # M20


def test_a_deadline_of_0_ends_all_at_once(lives):
    talk(lives.net, port=40000)
    lives.drain("as2", deadline_s=0)
    lives.advance(2 * TICK_S)
    assert not bindings(lives.net)


def test_a_second_drain_gives_the_same_operation_another_deadline(lives):
    talk(lives.net, port=40000)
    drain = lives.drain("as2")
    lives.advance(20)
    again = lives.drain("as2", deadline_s=10)
    assert (again.id, again.began) == (drain.id, drain.began)
    assert again.deadline == pytest.approx(drain.began + 30, abs=1)
    lives.advance(9)
    later = lives.drain("as2", deadline_s=100)
    assert later.id == drain.id
    lives.advance(90)
    assert lives.operation(drain).state is State.RUNNING
    lives.advance(15)
    assert lives.operation(drain).state is State.SUCCEEDED
    assert len(list(lives.life.operations)) == 1


@pytest.mark.parametrize("state", [ServerState.ACTIVE, ServerState.DISABLED, ServerState.DRAINED])
def test_another_state_that_an_operator_sets_ends_the_drain(lives, state):
    talk(lives.net, port=40000)
    drain = lives.drain("as2", deadline_s=30)
    lives.advance(1)
    lives.registry.put_server("web", Server(lives.address("as2"), state=state))
    done = lives.operation(drain)
    assert (done.state, done.reason) == (State.FAILED, f"the server was set to {state.value}")
    lives.advance(60)
    assert server_of(lives.net, 40000) == "as2"
    assert lives.server("as2") == Server(lives.address("as2"), state=state)


def test_a_server_that_is_removed_meanwhile_ends_the_drain(lives):
    talk(lives.net, port=40000)
    drain = lives.drain("as2")
    lives.registry.delete_server("web", lives.address("as2"))
    assert (lives.operation(drain).state, lives.operation(drain).reason) == (State.FAILED, "the server was removed")


def test_a_group_that_is_removed_meanwhile_ends_the_drain(lives):
    drain = lives.drain("as2")
    lives.registry.delete_group("web")
    assert lives.operation(drain).state is State.FAILED


def test_other_settings_can_be_changed_while_a_server_is_drained(lives):
    talk(lives.net, port=40000)
    drain = lives.drain("as2")
    lives.registry.put_server("web", Server(lives.address("as2"), 7, ServerState.DRAINING, capacity=100))
    assert lives.operation(drain).state is State.RUNNING
    close(lives, 40000)
    assert lives.operation(drain).state is State.SUCCEEDED
    assert lives.server("as2") == Server(lives.address("as2"), 7, ServerState.DRAINED, capacity=100)


def test_a_server_whose_state_is_set_to_draining_has_an_operation_too(lives):
    talk(lives.net, port=40000)
    lives.registry.put_server("web", Server(lives.address("as2"), state=ServerState.DRAINING))
    lives.advance(1)
    (operation,) = lives.life.operations
    assert lives.server("as2").drain.operation == operation.id
    close(lives, 40000)
    assert lives.server("as2").state is ServerState.DRAINED


def test_both_addresses_of_a_server_are_drained_as_one(lives):
    one, other = lives.address("as2"), lives.address("as2", True)
    lives.registry.put_server("web", Server(one, twin=other))
    talk(lives.net, False, 40000)
    talk(lives.net, True, 40001)
    drain = lives.drain("as2", v6=True)
    assert drain.addresses == (one, other)
    lives.advance(1)
    assert lives.operation(drain).flows_left == 2
    close(lives, 40000)
    assert (lives.operation(drain).state, lives.operation(drain).flows_left) == (State.RUNNING, 1)
    close(lives, 40001, True)
    assert lives.operation(drain).state is State.SUCCEEDED
    assert {lives.server("as2").state, lives.server("as2", True).state} == {ServerState.DRAINED}
    assert len([event for event in lives.events if isinstance(event, OperationEnded)]) == 1


def test_both_addresses_of_a_server_are_removed_as_one_also_after_a_restart(lives):
    one, other = lives.address("as2"), lives.address("as2", True)
    lives.registry.put_server("web", Server(one, twin=other))
    talk(lives.net, True, 40001)
    drain = lives.drain("as2", deadline_s=30, then=AfterDrain.REMOVE)
    lives.advance(1)
    lives.restart()
    for name in lives.net.switches:
        lives.net.connect(name)
    assert lives.operation(drain).addresses == (one, other)
    lives.advance(30 + LINGER_S + 1)
    assert lives.operation(drain).state is State.SUCCEEDED
    assert lives.server("as2") is lives.server("as2", True) is None


def test_flows_of_another_group_to_the_same_server_are_not_waited_for(build):
    net = build("figure1", "as2", "as3")
    mail = replace(net.controller.groups.get("web"), name="mail", prefixes=(Prefix.parse("198.18.9.0/24"),))
    mail = replace(mail, servers={address: server for address, server in mail.servers.items() if len(address) == 4})
    other = Groups({"web": net.controller.groups.get("web"), "mail": mail})
    net.set_groups(other)
    lives = Lives(net)
    talk(net, port=40000)
    lives.registry.change_server("mail", lives.address("as2"), lambda server: lives.life.draining(server, EPOCH))
    lives.advance(RETIRE_S + 1)
    (operation,) = lives.life.operations
    assert (operation.group, operation.state) == ("mail", State.SUCCEEDED)


def test_a_drain_survives_a_restart_of_the_controller_with_its_operation_and_its_deadline(lives):
    talk(lives.net, port=40000)
    drain = lives.drain("as2", deadline_s=60)
    lives.advance(20)
    lives.restart()
    lives.advance(5)
    waiting = lives.operation(drain)
    assert waiting.state is State.RUNNING  # the flows of arh1 are not known yet
    assert waiting.reason == "the flows of arh1 are not known yet"
    for name in lives.net.switches:
        lives.net.connect(name)
    lives.advance(30)
    assert (lives.operation(drain).state, lives.operation(drain).flows_left) == (State.RUNNING, 1)
    assert lives.operation(drain).reason == ""
    lives.advance(10)
    assert lives.operation(drain).state is State.SUCCEEDED
    assert not bindings(lives.net)


def test_the_time_of_day_may_be_set_while_a_drain_runs(lives):
    talk(lives.net, port=40000)
    drain = lives.drain("as2", deadline_s=60)
    for skew in (-86400, 86400):
        lives.skew = skew
        lives.advance(20)
        assert lives.operation(drain).state is State.RUNNING
    lives.advance(25)
    assert lives.operation(drain).state is State.SUCCEEDED


def test_a_drain_after_the_time_of_day_was_set_back_ends_at_its_deadline_at_the_latest(lives):
    talk(lives.net, port=40000)
    drain = lives.drain("as2", deadline_s=60)
    lives.skew = -86400
    lives.restart()
    for name in lives.net.switches:
        lives.net.connect(name)
    lives.advance(64)
    assert lives.operation(drain).state is State.SUCCEEDED


def test_an_end_that_cannot_be_stored_is_stored_later(lives):
    drain = lives.drain("as2")
    lives.fails = True
    lives.advance(RETIRE_S + 3)
    assert lives.operation(drain).state is State.RUNNING
    lives.fails = False
    lives.advance(1)
    assert lives.operation(drain).state is State.SUCCEEDED


def test_many_flows_are_ended_a_few_at_a_time():
    net = network("figure1", "as2", "as3", bindings_per_client=250, switch={"pace": Pace(freed=4)})
    lives = Lives(net)
    for port in range(200):
        ask(net, port=20000 + port, protocol=UDP)
    assert len(bindings(net)) == 200
    lives.drain("as2", deadline_s=0)
    lives.net.advance(TICK_S)
    for _ in range(2):
        todo = lives.life.tick(lives.at)
        assert lives.life.is_busy()
        assert len(todo.flows[1]) <= 64
        lives.carry_out(todo)
    assert 100 < len(bindings(net)) < 200
    lives.advance(4 + LINGER_S)
    assert not bindings(net)
    assert lives.server("as2").state is ServerState.DRAINED


def test_operations_are_kept_for_a_while(lives):
    first = lives.drain("as2")
    lives.advance(RETIRE_S + 1)
    for number in range(1000):
        id = f"{number}"
        lives.life.operations.put(replace(first, id=id))
        lives.life.operations.end(id, State.SUCCEEDED, EPOCH, "")
    with pytest.raises(NotFound):
        lives.operation(first)
    assert len(list(lives.life.operations)) == 1000


def test_what_is_not_enrolled_cannot_be_drained(lives):
    with pytest.raises(NotFound):
        lives.drain("as4")


