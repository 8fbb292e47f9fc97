"""Client edges inside the connection tracker whose switches are shared: by a leader, and a master of their flows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scenes import SERVICE, ask, bindings, payloads, topology, web
from shared import SharedNetwork
from tracked_flows import as_known, codes

from anycast_sdn.control.recalling import Recalled
from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.kept_flows import KeptFlow
from anycast_sdn.core.model import TCP, UDP, Prefix, packed
from anycast_sdn.core.roles import Allocation, Conntrack, EngineName
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, DeleteFlow

OTHER = packed("198.18.7.7")


def build(**changes: object) -> SharedNetwork:
    description = topology("figure1", engines=(EngineName.CONNTRACK,), **changes)
    return SharedNetwork(description, web(description, "as2"))


def busy(**changes: object) -> SharedNetwork:
    net = build(**changes)
    for v6 in (False, True):
        ask(net, service=SERVICE[v6])
        ask(net, "h2", SERVICE[v6], protocol=TCP, service_port=80, tcp_flags=TCP_SYN)
    assert len(bindings(net)) == 4
    return net


def goes_on(net: SharedNetwork, flow: Binding) -> bool:
    """Does what its server sends reach the client?"""
    client = net.host("h1" if flow.key.protocol == UDP else "h2")
    before = len(client.received)
    ports = flow.key.destination_port, flow.key.source_port
    sent = net.host("as2").packet(flow.translated, flow.key.protocol, *ports, payload=b"news", tcp_flags=TCP_ACK)
    net.send("as2", sent)
    net.settle()
    return payloads(client.received[before:], 8 if flow.key.protocol == UDP else 20) == [b"news"]


def codes_of_both(net: SharedNetwork) -> list[dict[bytes, int]]:
    engines = (net.of_flows("arh1").engine, net.controller.by_name["arh1"].engine)
    return [{service.network: code for service, code in each.codes.all.items()} for each in engines if each.codes]


def test_its_master_knows_the_flows_and_their_first_replies() -> None:
    net = busy()
    assert all(flow.server for flow in bindings(net))
    assert all(goes_on(net, flow) for flow in bindings(net))
    net.check_recompute_changes_nothing()


def test_a_service_that_is_enrolled_later_has_the_code_that_the_leader_gives() -> None:
    net = busy()
    group = net.controller.groups.get("web")
    assert group
    more = replace(group, name="more", prefixes=(Prefix(OTHER, 32),))
    net.set_groups(Groups({"web": group, "more": more}))
    net.settle()
    ask(net, service=OTHER, port=41000)
    flow = bindings(net)[-1]
    assert flow.key.destination == OTHER
    assert flow.server
    assert goes_on(net, flow)
    assert codes_of_both(net) == [codes(net)] * 2


def test_what_a_service_had_before_it_was_removed_is_not_given_again_by_its_master() -> None:
    net = busy()
    before = bindings(net)
    net.set_groups(Groups())
    net.settle()
    assert codes_of_both(net)[0] == codes_of_both(net)[1]
    assert len(before) == 4


@pytest.mark.parametrize("end", [TCP_RST, TCP_FIN], ids=["reset", "closed"])
def test_its_master_hears_of_the_ends_of_tcp_connections(end: int) -> None:
    net = busy()
    (flow,) = (each for each in bindings(net) if each.key.protocol == TCP and len(each.translated) == 4)
    key = flow.key
    ports = key.destination_port, key.source_port
    net.send("as2", net.host("as2").packet(flow.translated, TCP, *ports, tcp_flags=end | TCP_ACK))
    net.settle()
    net.send("h2", net.host("h2").packet(key.destination, TCP, *reversed(ports), tcp_flags=end | TCP_ACK))
    net.settle()
    net.advance(10)
    assert flow.number not in {each.number for each in bindings(net)}


@pytest.mark.parametrize("allocation", [*Allocation])
def test_a_switch_that_is_started_anew_has_its_connections_back(allocation: Allocation) -> None:
    net = busy(conntrack=Conntrack(allocation))
    before = bindings(net)
    net.kill("arh1")
    net.connect("arh1")
    net.settle()
    assert list(map(as_known, bindings(net))) == list(map(as_known, before))
    assert all(goes_on(net, flow) for flow in before)
    ask(net, port=43000)
    assert bindings(net)[-1].key.source_port == 43000
    assert codes_of_both(net) == [codes(net)] * 2


def test_connections_are_put_back_by_the_codes_of_a_leader_that_is_as_new_as_the_master() -> None:
    """All machines were without power: the switch has nothing, and its master knows no code before the leader does."""
    net = busy()
    before = bindings(net)
    known = [KeptFlow.of(flow, 0.0) for flow in before]
    net.kill("arh1")
    net.channels.replace_controller(net._new_controller(net.controller.groups))
    net.master.by_name["arh1"].recall(Recalled(iter(known), 0.0, lambda engine, now: None))
    net._connect_all()
    net.settle()
    net.advance(1)
    assert list(map(as_known, bindings(net))) == list(map(as_known, before))
    assert codes_of_both(net) == [codes(net)] * 2
    assert all(goes_on(net, flow) for flow in before)


def test_a_new_leader_and_a_new_master_go_on_with_the_codes_that_the_switch_has() -> None:
    net = busy()
    before, of_services = bindings(net), codes(net)
    known = [KeptFlow.of(flow, 0.0) for flow in before]
    net.channels.replace_controller(net._new_controller(net.controller.groups))
    net.master.by_name["arh1"].recall(Recalled(iter(known), 0.0, lambda engine, now: None))
    net._connect_all()
    net.settle()
    assert codes_of_both(net) == [of_services] * 2
    assert all(goes_on(net, flow) for flow in before)
    net.advance(3)
    assert list(map(as_known, bindings(net))) == list(map(as_known, before))


def test_flows_of_a_service_that_was_removed_go_on_when_another_member_leads() -> None:
    """It does not know the flows before their master has told of them."""
    net = busy()
    before = bindings(net)
    net.set_groups(Groups())
    net.settle()
    assert all(goes_on(net, flow) for flow in before)
    of_services = codes(net)
    net.channels.lead_anew(net._new_controller(net.controller.groups))
    net.advance(3)
    assert codes(net) == of_services
    assert codes_of_both(net) == [of_services] * 2
    assert all(goes_on(net, flow) for flow in before)


def test_at_its_end_each_controller_says_what_it_has_put_about_living() -> None:
    net = busy()
    net.advance(1)
    deleted = [
        {kind_of(each.rule.cookie) for each in controller.retire(net.now).outbox[net.channels.dpid("arh1")]
         if isinstance(each, DeleteFlow)}
        for controller in (net.controller, net.master)
    ]  # fmt: skip
    assert deleted == [{Kind.CONTROLLER_ANSWERS}, {Kind.CONTROLLER_LIVES}]


def test_with_a_switch_that_chooses_addresses_its_master_knows_the_flows() -> None:
    net = busy(conntrack=Conntrack(Allocation.SWITCH))
    assert all(flow.server for flow in bindings(net))
    assert all(goes_on(net, flow) for flow in bindings(net))
