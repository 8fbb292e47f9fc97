"""The server edge: stateless capture, several servers behind one edge, announcements (M8–M10, M23)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from scenes import SERVICE, ask, bindings, both_engines, drops, served_by, the_binding, web

from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import ICMP, TCP, AnycastGroup, Prefix, Server, packed
from anycast_sdn.description.model import Port
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.row import Kind

pytestmark = both_engines


def test_several_servers_behind_one_edge_share_the_flows(build, v6):
    net = build("figure1", "as3", "as4")
    for port in range(40000, 40100):
        ask(net, service=SERVICE[v6], port=port)
    shares = Counter(binding.server for binding in bindings(net))
    assert set(shares) == {net.host("as3").address(v6), net.host("as4").address(v6)}
    assert min(shares.values()) >= 30


def test_a_share_follows_the_weight(build):
    net = build("figure1", "as3")
    as3, as4 = (net.host(name).address(False) for name in ("as3", "as4"))
    servers = {as3: Server(as3, weight=1), as4: Server(as4, weight=4)}
    net.set_groups(Groups({"web": AnycastGroup("web", (Prefix.host(SERVICE[False]),), servers)}))
    net.settle()
    for port in range(40000, 40200):
        ask(net, port=port)
    shares = Counter(binding.server for binding in bindings(net))
    assert 2.5 <= shares[as4] / shares[as3] <= 7


def test_a_flows_packets_reach_one_server_before_it_is_pinned(build, v6):
    net = build("figure1", "as3", "as4")
    for name in ("as3", "as4"):
        net.host(name).on_packet = lambda frame, packet: ()
    for port in range(40000, 40020):
        for _ in range(5):
            ask(net, service=SERVICE[v6], port=port)
    seen = served_by(net, "as3", "as4")
    assert len(seen) == 20
    assert all(len(servers) == 1 for servers in seen.values())
    assert len(net.host("as3").received) + len(net.host("as4").received) == 100


def test_no_rule_at_the_server_edge_belongs_to_a_flow(build):
    net = build("figure1", "as2", "as3", "as4")
    before = {name: net.switches[name].flows for name in ("core", "ars2", "ars3")}
    for port in range(40000, 40020):
        ask(net, port=port)
    assert len(bindings(net)) == 20
    assert {name: net.switches[name].flows for name in before} == before


def test_the_source_stays_as_it_is_at_the_server_edge(build, v6):
    net = build("figure1", "as2")
    ask(net, service=SERVICE[v6], protocol=TCP, service_port=80)
    assert {key.source for key in net.seen("core", "ars2")} == {key.source for key in net.seen("ars2", "as2")}


def test_an_edge_without_servers_of_a_group_does_not_capture_it(build):
    net = build("figure1", "as3")
    captured = {
        name: [rule for rule in switch.flows.values() if kind_of(rule.cookie) is Kind.SERVICE]
        for name, switch in net.switches.items()
    }
    assert [len(captured[name]) for name in ("arh1", "core", "ars2", "ars3")] == [0, 0, 0, 2]
    assert net.switches["ars2"].groups == {}


def test_a_draining_server_takes_no_new_flows_and_its_edge_announces_nothing(build):
    net = build("figure1", "as2", "as3")
    net.set_groups(web(net.network, "as2", "as3", draining=["as2"]))
    net.settle()
    ask(net)
    assert the_binding(net).server == net.host("as3").address(False)
    assert net.host("as2").received == []


def test_the_last_server_of_a_group_takes_its_routes_with_it(build):
    net = build("figure1", "as2")
    net.set_groups(Groups({}))
    net.settle()
    for switch in net.switches.values():
        matched = {field.value for rule in switch.flows.values() for field in rule.match}
        assert not matched & set(SERVICE.values())
        assert switch.groups == {}


def test_a_whole_prefix_can_be_one_service(build):
    net = build("one-switch")
    for address in ("198.18.53.1", "198.18.53.200"):
        ask(net, "c1", packed(address))
    assert [binding.group for binding in bindings(net, "edge")] == ["dns", "dns"]
    assert [key.source for key in net.host("c1").flows()] == [packed("198.18.53.1"), packed("198.18.53.200")]


def test_packets_go_to_the_nearest_edge_that_can_serve(build):
    net = build("two-sites")
    ask(net, "h1")  # as1 is 3 away, as2 4, as3 6
    ask(net, "h3")  # as3 is 2 away, as2 4, as1 5
    assert the_binding(net, "arh1").server == net.host("as1").address(False)
    assert the_binding(net, "arh2").server == net.host("as3").address(False)


def test_new_flows_follow_the_costs(build):
    net = build("two-sites")
    net.set_cost(Port("ars1", 10), 100)
    net.settle()
    ask(net, "h1")
    assert the_binding(net, "arh1").server == net.host("as2").address(False)


def test_new_flows_follow_a_failure_to_the_next_edge(build):
    net = build("two-sites")
    net.set_port(Port("ars1", 10), up=False)
    net.settle()
    ask(net, "h1")
    assert the_binding(net, "arh1").server == net.host("as2").address(False)
    net.set_port(Port("ars1", 10), up=True)
    net.advance(2)  # confirmed by LLDP, and held back for a second
    ask(net, "h1", port=40001)
    assert bindings(net)[1].server == net.host("as1").address(False)


def test_a_group_in_one_family_only_is_served_in_that_family(build):
    net = build("figure1", "as2")
    groups = web(net.network, "as2")
    only_v4 = replace(groups.get("web"), prefixes=(Prefix.host(SERVICE[False]),))
    net.set_groups(Groups({"web": only_v4}))
    net.settle()
    ask(net, service=SERVICE[False])
    ask(net, service=SERVICE[True])
    assert [binding.key.destination for binding in bindings(net)] == [SERVICE[False]]
    assert drops(net, "arh1") == {"no_service": 1}


def test_a_ping_before_any_server_answers_stays_with_one_server(build):
    net = build("figure1", "as3", "as4")
    for name in ("as3", "as4"):
        net.host(name).on_packet = lambda frame, packet: ()
    for sequence in range(6):
        ask(net, protocol=ICMP, port=0, service_port=0, sequence=sequence)
    assert {len(net.host("as3").received), len(net.host("as4").received)} == {0, 6}
