"""Drains of edges: no server behind the edge takes new flows, for as long as it is drained (M33)."""

from __future__ import annotations

import pytest
from lives import Lives, server_of, talk
from scenes import SERVICE, ask, bindings, both_engines, catchment, served_by

from anycast_sdn.control.life import LINGER_S
from anycast_sdn.control.operations import Kind, State
from anycast_sdn.core.model import UDP, AtDeadline, NotFound, Server
from anycast_sdn.core.server_events import EdgeDraining, EdgeResumed, OperationEnded

pytestmark = both_engines


@pytest.fixture
def lives(build) -> Lives:
    return Lives(build("figure1", "as2", "as3"))


def test_new_flows_go_to_other_edges_and_present_ones_stay(lives, v6):
    talk(lives.net, v6, 40000)
    drain = lives.drain_edge("ars2")
    assert (drain.kind, drain.edge, drain.state) == (Kind.DRAIN_EDGE, "ars2", State.RUNNING)
    lives.advance(1)
    talk(lives.net, v6, 40001)
    assert (server_of(lives.net, 40000), server_of(lives.net, 40001)) == ("as2", "as3")
    assert catchment(lives.net) == {"arh1": "ars3"}
    assert lives.operation(drain).flows_left == 1
    talk(lives.net, v6, 40000, tcp_flags=0x14)
    lives.advance(8)
    done = lives.operation(drain)
    assert (done.state, done.flows_left, done.reason) == (State.SUCCEEDED, 0, "")
    talk(lives.net, v6, 40002)
    assert server_of(lives.net, 40002) == "as3"  # it stays drained
    kinds = [type(event) for event in lives.events]
    assert (kinds.count(EdgeDraining), kinds.count(OperationEnded)) == (1, 1)


def test_an_edge_that_is_resumed_serves_again(lives):
    lives.drain_edge("ars2")
    lives.advance(10)
    lives.registry.resume_edge("ars2")
    lives.advance(10)
    assert catchment(lives.net) == {"arh1": "ars2"}
    talk(lives.net)
    assert server_of(lives.net, 40000) == "as2"
    assert EdgeResumed("ars2") in lives.events


def test_an_edge_that_is_resumed_too_early_ends_the_drain(lives):
    talk(lives.net)
    drain = lives.drain_edge("ars2")
    lives.registry.resume_edge("ars2")
    assert (lives.operation(drain).state, lives.operation(drain).reason) == (State.FAILED, "the edge was resumed")


def test_while_an_edge_is_drained_no_flow_is_lost(lives, v6):
    """A new flow every 10 ms; the announcement goes, and packets that are under way are still delivered."""
    for number in range(200):
        if number == 50:
            lives.registry.drain_edge("ars2", lambda present: lives.life.draining_edge(present, lives.at.wall))
        if number == 150:
            lives.registry.resume_edge("ars2")
        lives.net.send("h1", lives.net.host("h1").packet(SERVICE[v6], UDP, 20000 + number, 53))
        lives.net.advance(0.01)
    lives.advance(1)
    answered = {key.destination_port for key in lives.net.host("h1").flows()}
    assert answered == set(range(20000, 20200))
    assert set().union(*served_by(lives.net, "as2", "as3").values()) == {"as2", "as3"}


def test_with_no_other_edge_new_flows_are_refused_and_present_ones_go_on(lives):
    lives.registry.delete_server("web", lives.address("as3"))
    ask(lives.net, port=40000, protocol=UDP)
    lives.drain_edge("ars2")
    lives.advance(6)
    ask(lives.net, port=40001, protocol=UDP)
    assert [flow.key.source_port for flow in bindings(lives.net)] == [40000]
    ask(lives.net, port=40000, protocol=UDP)
    assert server_of(lives.net, 40000) == "as2"


def test_a_server_that_is_enrolled_behind_a_drained_edge_waits_too(lives):
    lives.drain_edge("ars3")
    lives.registry.put_server("web", Server(lives.address("as4"), weight=1000))
    lives.registry.delete_server("web", lives.address("as2"))
    lives.advance(6)
    ask(lives.net, port=40000, protocol=UDP)
    assert not bindings(lives.net)


@pytest.mark.parametrize("at_deadline", list(AtDeadline))
def test_at_the_deadline_flows_are_ended_or_kept(lives, at_deadline):
    talk(lives.net)
    drain = lives.drain_edge("ars2", deadline_s=5, at_deadline=at_deadline)
    lives.advance(6 + LINGER_S)
    kept = at_deadline is AtDeadline.KEEP
    assert (lives.operation(drain).state, lives.operation(drain).flows_left) == (State.SUCCEEDED, int(kept))
    assert bool(bindings(lives.net)) is kept


def test_removed_servers_that_still_have_flows_are_waited_for(lives):
    talk(lives.net)
    lives.registry.delete_server("web", lives.address("as2"))
    drain = lives.drain_edge("ars2")
    lives.advance(6)
    assert (lives.operation(drain).state, lives.operation(drain).flows_left) == (State.RUNNING, 1)


def test_a_drained_edge_stays_so_after_a_restart(lives):
    talk(lives.net)
    drain = lives.drain_edge("ars2", deadline_s=60)
    lives.advance(10)
    lives.restart()
    for name in lives.net.switches:
        lives.net.connect(name)
    lives.advance(6)
    talk(lives.net, port=40001)
    assert (server_of(lives.net, 40000), server_of(lives.net, 40001)) == ("as2", "as3")
    assert (lives.operation(drain).state, lives.operation(drain).flows_left) == (State.RUNNING, 1)
    lives.advance(60)
    assert lives.operation(drain).state is State.SUCCEEDED
    lives.restart()
    for name in lives.net.switches:
        lives.net.connect(name)
    lives.advance(1)
    assert (lives.operation(drain).state, catchment(lives.net)) == (State.SUCCEEDED, {"arh1": "ars3"})


def test_a_second_drain_is_the_same_operation_while_it_runs_and_another_one_afterwards(lives):
    talk(lives.net)
    drain = lives.drain_edge("ars2")
    assert lives.drain_edge("ars2", deadline_s=2).id == drain.id
    lives.advance(3 + LINGER_S)
    assert lives.operation(drain).state is State.SUCCEEDED
    again = lives.drain_edge("ars2")
    lives.advance(1)
    assert again.id != drain.id
    assert lives.operation(again).state is State.SUCCEEDED


@pytest.mark.parametrize("edge", ["arh1", "core", "nowhere"])
def test_only_server_edges_can_be_drained(lives, edge):
    with pytest.raises(NotFound, match="there are ars2, ars3"):
        lives.drain_edge(edge)
    with pytest.raises(NotFound):
        lives.registry.resume_edge(edge)
