"""The controller goes and comes back: what the switches hold is its memory; so does a switch's connection."""

from __future__ import annotations

from scenes import SERVICE, ask, bindings, client_edge, edge, payloads, web

from anycast_sdn.core.model import UDP
from anycast_sdn.openflow.pipeline import Kind, kind_of
from anycast_sdn.openflow.rules import AddFlow, DeleteFlow, PutBinding, RemoveBinding

OF_BINDINGS = (Kind.BINDING_OUT, Kind.BINDING_OUT_UNANSWERED, Kind.BINDING_IN)


def keep_silent(frame, packet):
    return ()


def without_age(net):
    """The bindings but for when they were made, which a switch does not know."""
    return [binding._replace(since=0) for binding in bindings(net)]


def about_bindings(messages):
    return [
        message
        for message in messages
        if isinstance(message, PutBinding | RemoveBinding)
        or (isinstance(message, AddFlow | DeleteFlow) and kind_of(message.rule.cookie) in OF_BINDINGS)
    ]


def busy_network(build):
    """Pinned and unanswered flows of both families."""
    net = build("figure1", "as2", "as3", bindings_per_client=200, bindings_per_port=200)
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


def test_hosts_are_remembered_by_their_edges(build):
    net = busy_network(build)
    messages = net.restart_controller()
    touched = {kind_of(m.rule.cookie) for m in messages if isinstance(m, AddFlow | DeleteFlow)}
    assert Kind.HOST not in touched
    assert Kind.SERVICE not in touched
    net.wires.clear()
    net.advance(1)
    asked = {receiver for _, sender, receiver, _ in net.wires if sender in net.switches}
    assert asked == {host.name for host in net.network.hosts}  # and asked whether they are still there


def test_pinned_flows_do_not_notice_a_restart(build, v6):
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


def test_a_half_that_was_idle_at_the_restart_is_put_back_when_it_is_needed(build):
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


def test_rules_that_expired_while_a_switch_was_away_end_their_bindings(build):
    net = build("figure1", "as2", validity={"udp_s": 3}, quarantine_s=60)
    ask(net)
    net.disconnect("arh1")
    net.advance(5)
    net.connect("arh1")
    net.settle()
    assert bindings(net) == []
    assert client_edge(net).pool_use(net.now)["ipv4"].resting == 1


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
    assert edge(net, "arh1").synchronised
    assert len(net.host("h1").received) == 3
