"""Switches with one table: they are core, if they can be, and what an edge would need is said to be missing (M38)."""

from __future__ import annotations

from dataclasses import replace

from scenes import SERVICE, ask, bindings, managed, served_by, topology, web

from anycast_sdn.core.model import TCP, FlowKey, packed
from anycast_sdn.description.model import Network, Port, Ttl
from anycast_sdn.description.profile import Elements, Profile
from anycast_sdn.openflow.builders import ip_packet
from anycast_sdn.openflow.judgement import Role
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.views.reasons import reasons

# It does not even take a rule that leads to another table, nor sets anything.
ONE_TABLE = Profile(tables=1, refuse=(Elements(instructions=("goto_table",), actions=("set_field", "group")),))
FEW_ROLES = Profile(tables=5)  # as plain as that one is, with tables enough
UNUSED = 77  # a port that leads nowhere


def figure1(*servers: str, network: Network | None = None, **profiles: Profile) -> SimulatedNetwork:
    network = network or topology("figure1")
    return SimulatedNetwork(network, web(network, *(servers or ("as2", "as3"))), profiles=profiles)


def sentence(net: SimulatedNetwork, name: str, role: Role) -> str:
    return next(each.sentence for each in managed(net, name).abilities.judgements if each.role is role)


def test_a_core_with_one_table_carries_what_one_with_five_does(v6):
    few, many = figure1(core=ONE_TABLE), figure1(core=FEW_ROLES)
    for net in (few, many):
        for port in range(40000, 40006):
            ask(net, service=SERVICE[v6], port=port)
            ask(net, service=SERVICE[v6], port=port)
    assert few.wires == many.wires
    assert len(bindings(few)) == len(bindings(many)) == 6
    assert served_by(few, "as2", "as3") == served_by(many, "as2", "as3") != {}
    assert sentence(few, "core", Role.CORE) == "can be a core"


def test_all_its_rules_are_in_its_table_and_none_is_refused():
    one_table = Profile(tables=1)
    net = figure1(core=ONE_TABLE, arh1=one_table, ars2=one_table)
    net.advance(30)
    for name in ("core", "arh1", "ars2"):
        assert net.counters.drops[name]["rule_refused"] == 0
        assert net.switches[name].flows.keys() == {rule.key for rule in managed(net, name).installed}


def test_its_rules_are_found_again_by_the_next_controller():
    net = figure1(core=ONE_TABLE)
    assert net.restart_controller() == figure1(core=FEW_ROLES).restart_controller()
    net.settle()
    net.check_recompute_changes_nothing()


def test_nothing_comes_in_by_a_port_that_leads_nowhere(v6):
    net = figure1(core=ONE_TABLE)
    net.channels.report_port("core", UNUSED, True)
    net.settle()
    source, host = ("2001:db8:9::9", "2001:db8:2::10") if v6 else ("10.9.0.9", "10.2.0.10")
    key = FlowKey(packed(source), packed(host), TCP, 40000, 80)
    frame = ip_packet(key, eth_src=bytes.fromhex("0600000000aa"), eth_dst=bytes.fromhex("02ac00000004"))
    before = len(net.wires)
    net.receive(Port("core", UNUSED), frame)
    net.settle()
    assert len(net.wires) <= before + 1, "it arrives, and goes nowhere"
    inside = next(end for link in net.network.links for end in (link.a, link.b) if end.switch == "core")
    net.receive(inside, frame)
    net.settle()
    assert len(net.wires) > before + 2, "from another switch it goes on"


def test_a_server_edge_with_one_table_announces_nothing_and_the_other_one_serves(v6):
    net = figure1(ars2=ONE_TABLE)
    for port in range(40000, 40006):
        ask(net, service=SERVICE[v6], port=port)
    assert set().union(*served_by(net, "as2", "as3").values()) == {"as3"}
    said = sentence(net, "ars2", Role.SERVER_EDGE)
    assert said.startswith("cannot be a server edge: it cannot hold rules in two tables (it has one)")
    assert said.endswith("service addresses are not announced here; what its hosts send is dropped")
    found = reasons(net.controller, net.counters, (), "", net.now)
    assert any(each.code == "switch.degraded" and "(it has one)" in each.sentence for each in found)


def test_clients_of_a_client_edge_with_one_table_are_kept_out_and_that_is_said(v6):
    net = figure1(arh1=ONE_TABLE)
    ask(net, service=SERVICE[v6])
    assert not bindings(net)
    assert not served_by(net, "as2", "as3")
    said = sentence(net, "arh1", Role.CLIENT_EDGE)
    assert said.startswith("cannot be a client edge: it cannot hold rules in two tables (it has one)")


def test_one_that_cannot_decrement_the_ttl_is_core_where_the_network_file_says_so():
    profile = Profile(tables=1, refuse=(Elements(instructions=("goto_table",), actions=("dec_nw_ttl",)),))
    network = topology("figure1")
    switches = tuple(
        replace(switch, ttl=Ttl.KEEP) if switch.name == "core" else switch for switch in network.switches
    )
    net = figure1(network=replace(network, switches=switches), core=profile)
    assert sentence(net, "core", Role.CORE).startswith("can be a core; it keeps the TTL")
    ask(net)
    assert len(served_by(net, "as2", "as3")) == 1
    assert "with ttl: keep" in sentence(figure1(core=profile), "core", Role.CORE)
