"""Several controllers are master of a client edge inside the connection tracker in turn (M20)."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from scenes import SERVICE, ask, managed, network
from tracked_flows import as_known, codes, flows, serve_all
from turns import Turns

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.recalling import Recalled
from anycast_sdn.core.kept_flows import KeptFlow
from anycast_sdn.core.model import TCP, Address
from anycast_sdn.core.roles import Allocation, Conntrack, EngineName
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import AddFlow, DeleteFlow
from anycast_sdn.simulation.network import SimulatedNetwork

ARH1 = 1  # datapath id
PRESENCE = (Kind.CONTROLLER_LIVES, Kind.CONTROLLER_ANSWERS)


def busy(**settings: object) -> SimulatedNetwork:
    net = network("figure1", "as2", engines=(EngineName.CONNTRACK,), **settings)
    for v6 in (False, True):
        ask(net, service=SERVICE[v6])
        ask(net, "h2", SERVICE[v6], protocol=TCP, service_port=80)
    assert all(flow.server for flow in flows(net))
    return net


def recall(controller: Controller, known: Iterable[KeptFlow], aside: Iterable[Address] = ()) -> None:
    """It has received these from the master before."""
    switch = controller.switches[ARH1]
    switch.recall(Recalled(iter([*known]), 0.0, lambda engine, now: engine.keep_back(aside, now)))


def kept(net: SimulatedNetwork) -> list[KeptFlow]:
    return [KeptFlow.of(flow, 0.0) for flow in flows(net)]


def said_of_presence(controller: Controller, now: float) -> list[type]:
    """What it does about the rules that say that a controller lives, within a second, and at its end."""
    sent = []
    for step in range(5):
        sent += controller.tick_switch(ARH1, now + step / 4).outbox.get(ARH1, [])
        sent += controller.tick_flows(ARH1, now + step / 4, 100)[0].outbox.get(ARH1, [])
    sent += controller.retire(now + 2).outbox.get(ARH1, [])
    rules = [each for each in sent if isinstance(each, AddFlow | DeleteFlow) and kind_of(each.rule.cookie) in PRESENCE]
    return [type(each) for each in rules]


def test_the_next_master_goes_on_with_the_flows_that_it_has_heard_of() -> None:
    net = busy()
    turns, before, of_services = Turns(net), flows(net), codes(net)
    recall(turns.second, kept(net))
    turns.take_over(turns.second)
    net.settle()
    assert [as_known(flow) for flow in flows(net)] == [as_known(flow) for flow in before]
    assert codes(net) == of_services
    net.advance(3)
    serve_all(net, flows(net))
    ask(net, port=41000)
    (new,) = flows(net)[len(before) :]
    assert new.translated not in {flow.translated for flow in before}
    net.check_recompute_changes_nothing()


def test_a_flow_that_the_next_master_has_not_heard_of_goes_on_and_shares_its_address_with_none() -> None:
    net = busy()
    turns, engine = Turns(net), managed(net, "arh1").engine
    aside = [*engine.set_aside()]
    heard = kept(net)
    ask(net, port=41000)
    (unknown,) = flows(net)[len(heard) :]
    assert unknown.translated in aside
    recall(turns.second, heard, aside)
    turns.take_over(turns.second)
    net.settle()
    for port in range(42000, 42040):
        ask(net, "h2", port=port)
    assert unknown.translated not in {flow.translated for flow in flows(net)}
    server, client = net.host("as2"), net.host("h1")
    before = len(client.received)
    net.send("as2", server.packet(unknown.translated, unknown.key.protocol, 53, 41000, payload=b"news"))
    net.settle()
    assert len(client.received) == before + 1


def test_only_the_master_says_that_a_controller_lives_and_who_is_it_no_more_does_not_deny_it() -> None:
    turns = Turns(busy())
    net = turns.net
    turns.take_over(turns.second)
    net.settle()
    assert said_of_presence(turns.first, net.now) == []
    assert list(dict.fromkeys(said_of_presence(turns.second, net.now))) == [AddFlow, DeleteFlow]


@pytest.mark.parametrize("wiped", [False, True], ids=["take-over", "the switch is started anew at the same time"])
def test_with_switches_that_choose_addresses_flows_outlive_their_master(wiped: bool) -> None:
    net = busy(conntrack=Conntrack(Allocation.SWITCH))
    turns, before = Turns(net), flows(net)
    recall(turns.second, kept(net))
    if wiped:
        net.kill("arh1")
    turns.take_over(turns.second)
    net.settle()
    assert [as_known(flow) for flow in flows(net)] == [as_known(flow) for flow in before]
    net.advance(3)
    serve_all(net, flows(net))


def test_connections_that_the_switch_loses_while_masters_change_are_put_back() -> None:
    net = busy()
    turns, before = Turns(net), flows(net)
    recall(turns.second, kept(net))
    net.kill("arh1")
    turns.take_over(turns.second)
    net.settle()
    assert [as_known(flow) for flow in flows(net)] == [as_known(flow) for flow in before]
    serve_all(net, flows(net))
