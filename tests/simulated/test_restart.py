"""The controller restarts, or a switch connects again: what the switches hold is the memory of flows (M20)."""

from __future__ import annotations

import pytest
from scenes import SERVICE, ask, bindings, both_engines, client_edge, drops, managed, payloads, rules_alone, web

from anycast_sdn.core.bindings import Half
from anycast_sdn.core.model import UDP
from anycast_sdn.core.roles import Pooling
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import AddFlow, DeleteFlow, PutBinding, RemoveBinding
from anycast_sdn.openflow.tables import Tables

pytestmark = both_engines

OF_BINDINGS = (Kind.BINDING_OUT, Kind.BINDING_OUT_UNANSWERED, Kind.BINDING_IN)


def keep_silent(frame, packet):
    return ()


def without_age(net):
    """The bindings without the time and the choice by which they were made, which are not in rules."""
    return [binding._replace(since=0, choice=0, reply_s=None) for binding in bindings(net)]


def about_bindings(messages):
    return [
        message
        for message in messages
        if isinstance(message, PutBinding | RemoveBinding)
        or (isinstance(message, AddFlow | DeleteFlow) and kind_of(message.rule.cookie) in OF_BINDINGS)
    ]


def busy_network(build):
    """Pinned and unanswered flows of both families, each with an address of its own."""
    limits = {"bindings_per_client": 200, "bindings_per_port": 200}
    net = build("figure1", "as2", "as3", pooling=Pooling.FLOW, **limits)
    for v6 in (False, True):
        ask(net, service=SERVICE[v6])
        ask(net, "h2", SERVICE[v6])
    net.host("as2").on_packet = keep_silent
    ask(net, port=40001)
    return net


def test_bindings_are_rebuilt_from_the_switch_and_nothing_is_sent_for_them(build):
    net = busy_network(build)
    before = without_age(net)
    messages = net.restart_controller()
    net.settle()
    assert without_age(net) == before
    assert about_bindings(messages) == []


def test_hosts_are_read_back_from_their_edges(build):
    net = busy_network(build)
    messages = net.restart_controller()
    touched = {kind_of(m.rule.cookie) for m in messages if isinstance(m, AddFlow | DeleteFlow)}
    assert Kind.HOST not in touched
    assert Kind.SERVICE not in touched
    net.wires.clear()
    net.advance(1)
    asked = {receiver for _, sender, receiver, _ in net.wires if sender in net.switches}
    assert asked == {host.name for host in net.network.hosts}  # and asked whether they are still there


def test_pinned_flows_go_on_during_a_restart(build, v6):
    net = busy_network(build)
    net.host("as2").on_packet = net.host("as2").serve
    net.restart_controller()
    ask(net, service=SERVICE[v6], payload=b"still there?")
    assert payloads(net.host("h1").received)[-1] == b"still there?"


def test_an_unanswered_flow_is_pinned_after_a_restart(build):
    net = busy_network(build)
    net.restart_controller()
    unanswered = next(binding for binding in bindings(net) if binding.server is None)
    as2 = net.host("as2")
    net.send("as2", as2.packet(unanswered.translated, UDP, 53, 40001))
    net.settle()
    assert client_edge(net).bindings.by_number(unanswered.number).server == as2.address(False)


def test_new_bindings_share_no_address_with_those_from_before(build):
    net = busy_network(build)
    net.restart_controller()
    for port in range(41000, 41100):
        ask(net, port=port)
    translated = [binding.translated for binding in bindings(net)]
    assert len(set(translated)) == len(translated) == 105
    assert len({binding.number for binding in bindings(net)}) == 105


def test_a_half_that_was_idle_at_the_restart_is_installed_again_when_it_is_needed(build):
    net = build("figure1", "as2", validity={"udp_s": 3})
    ask(net)
    net.host("as2").on_packet = keep_silent
    for _ in range(5):
        net.advance(1)
        ask(net)
    net.restart_controller()
    net.settle()
    (binding,) = bindings(net)
    as2 = net.host("as2")
    net.send("as2", as2.packet(binding.translated, UDP, 53, 40000, payload=b"late"))
    net.settle()
    assert payloads(net.host("h1").received)[-1] == b"late"


def test_flows_of_a_group_that_is_gone_after_the_restart_live_on(build):
    net = busy_network(build)
    net.host("as2").on_packet = net.host("as2").serve
    net.controller.groups = web(net.network, "as3")  # what the new controller will find in its store
    net.restart_controller()
    net.settle()
    ask(net, payload=b"still there?")
    assert payloads(net.host("h1").received)[-1] == b"still there?"


@rules_alone
def test_rules_that_expired_while_a_switch_was_away_end_their_bindings(build):
    net = build("figure1", "as2", validity={"udp_s": 3}, quarantine_s=60)
    ask(net)
    net.disconnect("arh1")
    net.advance(5)
    net.connect("arh1")
    net.settle()
    assert bindings(net) == []
    assert client_edge(net).addresses.use(net.now)["ipv4"].resting == 1


def test_changes_while_a_switch_was_away_reach_it_when_it_is_back(build):
    net = build("figure1", "as2", "as3")
    ask(net)
    net.disconnect("arh1")
    net.set_groups(web(net.network, "as3"))
    net.settle()
    ask(net)  # forwarded without the controller
    net.connect("arh1")
    net.settle()
    ask(net, port=40001)
    assert [binding.server for binding in bindings(net)] == [
        net.host("as2").address(False),
        net.host("as3").address(False),
    ]
    assert managed(net, "arh1").synchronised
    assert len(net.host("h1").received) == 3


def in_slices(net, name, meanwhile):
    """The switch connects anew, as to a controller that has others to serve; ``meanwhile`` happens after each slice."""
    switch, dpid = net.switches[name], managed(net, name).dpid
    found = Tables(switch.flows, dict(switch.groups), switch.meters)
    net.controller.begin_reading(dpid, found, managed(net, name).features)
    net.channels.open(name)
    while (out := net.controller.read_on(dpid, net.now)) is not None:
        net.react(out)
        meanwhile()
    net.react(net.controller.end_reading(dpid, {}, net.now))
    net.settle()


@pytest.fixture
def small_slices(monkeypatch):
    monkeypatch.setattr("anycast_sdn.control.reading_back.READ_AT_ONCE", 10)
    monkeypatch.setattr("anycast_sdn.engines.flow_reading.COMPARED_AT_ONCE", 3)


@rules_alone
def test_what_happens_while_a_switch_is_read_back_is_newer_than_what_was_found(build, small_slices):
    """Known flows are served, new ones bound once, and neither is undone by what was found before."""
    net = build("figure1", "as2", validity={"udp_s": 3})
    for port in range(40000, 40020):
        ask(net, port=port)
    net.disconnect("arh1")
    before = bindings(net)
    net.advance(5)  # all rules expire
    ports = iter([*range(40000, 40010), *range(41000, 41200)])
    in_slices(net, "arh1", lambda: ask(net, port=next(ports)))
    after = {binding.key.source_port: binding for binding in bindings(net)}
    assert {binding.number for port, binding in after.items() if port < 40010} <= {b.number for b in before}
    assert {40000, 40001, 41000} <= after.keys()
    assert 40015 not in after  # no packet needed it, and no rule of it was found
    assert all(binding.server and binding.installed is Half.BOTH for binding in after.values())
    net.advance(1)
    assert not net.counters.repairs["arh1"]


def test_a_flow_whose_rules_are_not_read_yet_gets_no_second_binding(build, small_slices):
    """After a restart of the controller, first packets wait until bindings are read back."""
    net = busy_network(build)
    net.replace_controller()
    assert not managed(net, "arh1").serves_flows
    in_slices(net, "arh1", lambda: ask(net, port=40001))
    assert len({binding.key for binding in bindings(net)}) == len(bindings(net)) == 5
    for name in ("core", "ars2", "ars3"):
        net.connect(name)


@rules_alone
def test_new_flows_begin_as_soon_as_all_known_ones_are_adopted(build, small_slices):
    """They do not wait until all rules have been compared, and no address is given twice."""
    net = busy_network(build)
    net.host("as2").on_packet = net.host("as2").serve
    for port in range(42000, 42020):
        ask(net, port=port)
    before = bindings(net)
    net.replace_controller()
    new = iter(range(41000, 41100))
    begun = []  # how many flows have begun before the switch was synchronised

    def ask_anew():
        if managed(net, "arh1").serves_flows:
            ask(net, port=next(new))
            begun.append(len(bindings(net)) - len(before))

    in_slices(net, "arh1", ask_anew)
    assert begun == list(range(1, len(begun) + 1))
    assert len(begun) >= 5
    assert all(binding.installed is Half.BOTH for binding in bindings(net) if binding.key.source_port >= 41000)
    assert len({binding.translated for binding in bindings(net)}) == len(bindings(net))
    for name in ("core", "ars2", "ars3"):
        net.connect(name)
    net.settle()


@rules_alone
def test_a_rule_that_is_removed_while_the_switch_is_read_counts_as_removed(build, small_slices):
    net = busy_network(build)
    net.replace_controller()
    rules = [key for key, rule in net.switches["arh1"].flows.items() if kind_of(rule.cookie) in OF_BINDINGS]
    switch, dpid = net.switches["arh1"], managed(net, "arh1").dpid
    net.controller.begin_reading(dpid, Tables(switch.flows, dict(switch.groups), switch.meters), Features())
    for effect in switch.delete(rules):
        net.controller.rule_removed(dpid, effect.cookie, effect.idle_timeout, False, net.now)
    while net.controller.read_on(dpid, net.now) is not None:
        pass
    net.react(net.controller.end_reading(dpid, {}, net.now))
    assert bindings(net) == []
    for name in net.switches:
        net.connect(name)


def test_a_connection_that_ends_while_the_switch_is_read_does_no_harm(build, small_slices):
    net = busy_network(build)
    before = without_age(net)
    net.replace_controller()
    dpid = managed(net, "arh1").dpid
    switch = net.switches["arh1"]
    for steps in (1, 5, 12):
        net.controller.begin_reading(dpid, Tables(switch.flows, dict(switch.groups), switch.meters), Features())
        for _ in range(steps):
            net.controller.read_on(dpid, net.now)
        net.controller.disconnected(dpid, net.now)
    for name in net.switches:
        net.connect(name)
    net.settle()
    assert without_age(net) == before


def test_after_a_restart_flows_count_for_their_ports_as_before(build):
    net = build("figure1", "as2", bindings_per_client=200, bindings_per_port=3)
    for port in range(40000, 40003):
        ask(net, port=port)
    net.restart_controller()
    net.settle()
    ask(net, port=40003)
    assert len(bindings(net)) == 3
    assert drops(net, "arh1")["port_full"] == 1
