"""Several controllers are master of the switches in turn: each begins with what the one before has left there."""

from __future__ import annotations

import pytest
from scenes import SERVICE, ask, bindings, both_engines, client_edge, managed, payloads, rules_alone, web
from turns import Turns

from anycast_sdn.core.binding_numbers import COUNT_BITS
from anycast_sdn.core.roles import Pooling
from anycast_sdn.openflow.pipeline import binding_of
from anycast_sdn.openflow.rules import AddFlow, DeleteFlow, PutBinding, RemoveBinding

pytestmark = both_engines


def without_age(net):
    """The bindings without the time and the choice by which they were made, which are not in rules."""
    return [binding._replace(since=0, choice=0, reply_s=None, port=0) for binding in bindings(net)]


def about_bindings(messages):
    return [
        message
        for message in messages
        if isinstance(message, PutBinding | RemoveBinding)
        or (isinstance(message, AddFlow | DeleteFlow) and binding_of(message.rule.cookie))
    ]


def busy_network(build):
    """Pinned flows of both families, each with an address of its own."""
    net = build("figure1", "as2", "as3", pooling=Pooling.FLOW, bindings_per_client=200, bindings_per_port=200)
    for v6 in (False, True):
        ask(net, service=SERVICE[v6])
        ask(net, "h2", SERVICE[v6])
    return net


@rules_alone
def test_who_gets_switches_back_adopts_what_others_have_made_and_deletes_nothing(build, v6):
    turns = Turns(busy_network(build))
    net = turns.net
    turns.take_over(turns.second)
    for client, port in (("h1", 41000), ("h2", 41001)):
        ask(net, client, SERVICE[v6], port=port)
    for controller in (turns.first, turns.second, turns.first):
        before = without_age(net)
        messages = turns.take_over(controller)
        net.settle()
        assert without_age(net) == before
        assert about_bindings(messages) == []
        ask(net, service=SERVICE[v6], port=41000, payload=b"still there?")
        assert payloads(net.host("h1").received)[-1] == b"still there?"
        ask(net, service=SERVICE[v6], port=42000 + len(before))
    addresses = [binding.translated for binding in bindings(net)]
    assert len(set(addresses)) == len(addresses)


@rules_alone
def test_a_master_has_numbers_of_its_own(build):
    net = busy_network(build)
    turns = Turns(net)
    before = {binding.number for binding in bindings(net)}
    turns.take_over(turns.second)
    ask(net, port=43000)
    (new,) = {binding.number for binding in bindings(net)} - before
    assert new >> COUNT_BITS == 11
    turns.take_over(turns.first)
    ask(net, port=43001)
    assert max(number >> COUNT_BITS for number in {binding.number for binding in bindings(net)}) == 12


def test_who_has_forgotten_is_as_at_its_start(build):
    net = build("ring", "as1")
    net.restart_controller()
    net.settle()
    fresh = net._new_controller(net.controller.groups)
    net.controller.begin_anew()
    while net.controller.is_busy():
        net.controller.work(net.now)
    for dpid, switch in net.controller.switches.items():
        other = fresh.switches[dpid]
        assert not switch.synchronised
        assert not switch.ever_synchronised
        assert set(switch.serving.enrolled) == set(other.serving.enrolled)
        assert switch.fabric_ports == other.fabric_ports
        assert not len(switch.engine.flows)
        assert net.controller.routes.wanted(switch.name) == fresh.routes.wanted(switch.name)
    assert net.controller.discovery.starting
    assert net.controller.updating() == fresh.updating()


def test_it_knows_enrolments_that_change_after_it_has_forgotten(build):
    net = build("figure1", "as2")
    net.controller.begin_anew()
    net.controller.set_groups(web(net.network, "as3"), net.now)
    net._connect_all()
    net.channels._disconnected.clear()
    net.settle()
    assert [bool(list(managed(net, name).serving.services(net.controller.groups))) for name in ("ars2", "ars3")] == [
        False, True
    ]  # fmt: skip
    assert client_edge(net) is not None


@pytest.mark.parametrize("drained", [(), ("ars2",)])
def test_drained_edges_are_told_anew(build, drained):
    net = build("figure1", "as2", "as3")
    net.controller.begin_anew()
    net.controller.drain_edges(drained, net.now)
    net._connect_all()
    net.settle()
    ask(net)
    pinned = [binding.server for binding in bindings(net)]
    assert pinned
    if drained:
        (other,) = (host for host in net.network.hosts if host.name == "as3")
        assert set(pinned) <= set(other.addresses)
