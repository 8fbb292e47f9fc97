"""Several flows of one client to one service have one PR1X: protocol and ports tell them apart (M30)."""

from __future__ import annotations

import itertools

import pytest
from scenes import (
    SECOND_SERVICE,
    SERVICE,
    ask,
    bindings,
    both_engines,
    carried_out,
    claim,
    client_edge,
    drops,
    group,
    payloads,
    rules_alone,
    web,
)

from anycast_sdn.core.events import Fault
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import ICMP, ICMPV6, SCTP, TCP, UDP, FlowKey, Prefix
from anycast_sdn.core.roles import EngineName, Expiry, Pooling
from anycast_sdn.openflow.builders import Unreachable, ip_packet, unreachable
from anycast_sdn.openflow.frames import parse_icmp_error
from anycast_sdn.openflow.pipeline import kind_of, number_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.simulation.host import TCP_ACK

pytestmark = both_engines

FIRST, SECOND = 40000, 40001  # ports of h1's flows; as2 serves the first one, as3 the second
GRE = 47
FIN = 0x01


@pytest.fixture
def shared(build, v6):
    """Makes a network in which h1's two flows, each with a server of its own, have one PR1X."""

    def make(**options):
        net = build("figure1", "as2", **{"pooling": Pooling.PAIRED} | options)
        ask(net, service=SERVICE[v6], port=FIRST)
        net.set_groups(web(net.network, "as3"))
        net.settle()
        ask(net, service=SERVICE[v6], port=SECOND)
        net.set_groups(web(net.network, "as2", "as3"))
        net.settle()
        first, second = bindings(net)
        assert first.translated == second.translated
        assert (first.server, second.server) == (net.host("as2").address(v6), net.host("as3").address(v6))
        net.host("h1").received.clear()
        return net

    return make


def rules_of_bindings(net):
    of_bindings = (Kind.BINDING_OUT_UNANSWERED, Kind.BINDING_OUT, Kind.BINDING_IN)
    rules = net.switches["arh1"].flows
    return {key: rule for key, rule in rules.items() if kind_of(rule.cookie) in of_bindings}


def without_age(net):
    return [binding._replace(since=0, choice=0, reply_s=None) for binding in bindings(net)]


def both_go_on(net, v6):
    """Each flow is served by its own server, and its answer reaches its own port."""
    net.host("h1").received.clear()
    for port in (FIRST, SECOND):
        ask(net, service=SERVICE[v6], port=port, payload=b"%d" % port)
    h1 = net.host("h1")
    assert payloads(h1.received) == [b"%d" % FIRST, b"%d" % SECOND]
    assert [key.destination_port for key in h1.flows()] == [FIRST, SECOND]
    assert {key.source for key in h1.flows()} == {SERVICE[v6]}


def test_two_flows_with_one_address_keep_their_own_servers(shared, v6):
    net = shared()
    both_go_on(net, v6)
    assert net.host("as2").flows()[-1].source == net.host("as3").flows()[-1].source == bindings(net)[0].translated


def test_a_restarted_controller_finds_both(shared, v6):
    net = shared()
    before = without_age(net)
    net.restart_controller()
    net.settle()
    assert without_age(net) == before
    assert client_edge(net).addresses.use(net.now)["ipv6" if v6 else "ipv4"].leased == 1
    both_go_on(net, v6)
    ask(net, service=SERVICE[v6], port=40002)
    assert len({binding.translated for binding in bindings(net)}) == 1  # a new one still shares it


def test_an_edge_that_connects_again_has_both(shared, v6):
    net = shared()
    before = bindings(net)
    net.disconnect("arh1")
    both_go_on(net, v6)
    net.connect("arh1")
    net.settle()
    assert bindings(net) == before
    net.kill("arh1")  # its rules are gone, too
    net.connect("arh1")
    net.settle()
    assert bindings(net) == before
    both_go_on(net, v6)


@pytest.mark.parametrize("expiry", [Expiry.IDLE_TIMEOUT, Expiry.SWEEP])
def test_one_ends_and_the_other_keeps_the_address_until_it_ends_itself(shared, v6, expiry):
    net = shared(expiry=expiry, validity={"udp_s": 4})
    use = lambda: client_edge(net).addresses.use(net.now)["ipv6" if v6 else "ipv4"]  # noqa: E731
    for _ in range(4):
        net.advance(3)
        ask(net, service=SERVICE[v6], port=SECOND)
    (left,) = bindings(net)
    assert left.key.source_port == SECOND
    assert (use().leased, use().resting) == (1, 0)
    net.advance(12)
    assert bindings(net) == []
    assert (use().leased, use().resting) == (0, 1)
    assert rules_of_bindings(net) == {}


def test_a_late_packet_of_either_side_restores_one_flow_while_the_other_goes_on(shared, engine, v6):
    net = shared(validity={"udp_s": 4})
    h1, as2 = net.host("h1"), net.host("as2")
    # A connection that one side alone has used may be idle for 30 s; Open vSwitch keeps its ends for up to 20 s more.
    times = 18 if engine is EngineName.CONNTRACK else 4
    for sender in ("server", "client"):
        for _ in range(times):
            net.advance(3)
            ask(net, service=SERVICE[v6], port=SECOND)
        (left,) = bindings(net)
        if sender == "client":
            ask(net, service=SERVICE[v6], port=FIRST, payload=b"late")
        else:
            net.send("as2", as2.packet(left.translated, UDP, 53, FIRST, payload=b"late"))
            net.settle()
        restored = next(binding for binding in bindings(net) if binding.key.source_port == FIRST)
        assert (restored.translated, restored.server) == (left.translated, as2.address(v6))
        assert payloads(h1.received)[-1] == b"late"


@rules_alone
def test_an_audit_puts_back_what_others_delete_of_one_and_leaves_the_other(shared, v6):
    net = shared()
    before, rules = bindings(net), rules_of_bindings(net)
    net.delete_rules("arh1", [key for key, rule in rules.items() if number_of(rule.cookie) == before[0].number])
    net.advance(12)
    assert (bindings(net), rules_of_bindings(net)) == (before, rules)
    assert net.counters.repairs["arh1"] == {Fault.MISSING: 2}
    both_go_on(net, v6)


def test_an_error_reaches_the_flow_that_it_is_about(shared, v6):
    net = shared()
    h1, as2, shared_address = net.host("h1"), net.host("as2"), bindings(net)[0].translated
    for port in (FIRST, SECOND):
        quoted = FlowKey(shared_address, as2.address(v6), UDP, port, 53)
        about = ip_packet(quoted, eth_src=as2.gateway_mac, eth_dst=as2.mac)
        error = unreachable(about, as2.mac, as2.address(v6), Unreachable.ADMINISTRATIVELY_PROHIBITED)
        assert error is not None
        net.send("as2", error)
    net.settle()
    (told,) = h1.received  # the second flow has another server
    assert parse_icmp_error(told).quoted == FlowKey(h1.address(v6), SERVICE[v6], UDP, FIRST, 53)
    assert drops(net, "arh1") == {"stranger_reply": 1}


def test_protocols_of_one_client_share_one_address(build, v6):
    net = build("figure1", "as2", pooling=Pooling.PAIRED)
    h1 = net.host("h1")
    kinds = [(TCP, 40000, 53), (UDP, 40000, 53), (SCTP, 40000, 53), (GRE, 0, 0)]
    for protocol, port, service_port in kinds:
        ask(net, service=SERVICE[v6], protocol=protocol, port=port, service_port=service_port)
    ask(net, service=SERVICE[v6], protocol=ICMPV6 if v6 else ICMP, port=0, service_port=0, icmp_type=128 if v6 else 8)
    assert len(bindings(net)) == 5
    assert len({binding.translated for binding in bindings(net)}) == 1
    assert all(binding.server == net.host("as2").address(v6) for binding in bindings(net))
    assert [key.protocol for key in h1.flows()] == [TCP, UDP, SCTP, GRE, ICMPV6 if v6 else ICMP]


def test_two_services_of_one_client_have_an_address_each(build, v6):
    net = build("figure1", "as2", pooling=Pooling.PAIRED)
    groups = [group(net.network, "web", SERVICE, "as2"), group(net.network, "dns", SECOND_SERVICE, "as3")]
    net.set_groups(Groups({each.name: each for each in groups}))
    net.advance(1)
    for service, port in itertools.product((SERVICE, SECOND_SERVICE), (FIRST, SECOND)):
        ask(net, service=service[v6], port=port)
    web, dns = ({b.translated for b in bindings(net) if b.group == name} for name in ("web", "dns"))
    assert len(web) == len(dns) == 1
    assert web != dns


def test_a_client_that_moves_to_another_port_keeps_its_flows(shared, v6):
    net = shared()
    before = bindings(net)
    old = net.host("h1").port
    net.move("h1", 2)
    net.set_port(old, up=False)
    net.settle()
    net.send("h1", claim(net.host("h1").mac, net.host("h1").address(v6)))
    net.settle()
    both_go_on(net, v6)
    assert bindings(net) == before
    ask(net, service=SERVICE[v6], port=40002)
    assert len({binding.translated for binding in bindings(net)}) == 1


@pytest.mark.parametrize("pooling", [Pooling.PAIRED, Pooling.AUTO])
def test_two_clients_have_a_prefix_of_two_addresses_for_all_their_flows(build, v6, pooling):
    tiny = (Prefix.parse("203.0.113.0/30"), Prefix.parse("2001:db8:1:f::/126"))
    net = build("figure1", "as2", translation_prefixes=tiny, pooling=pooling)
    for port in range(40000, 40020):
        for host in ("h1", "h2"):
            ask(net, host, SERVICE[v6], port)
    assert len(bindings(net)) == 40
    assert drops(net, "arh1") == {}


def test_without_quarantine_an_address_is_free_when_its_last_flow_has_ended(build, engine, v6):
    tiny = (Prefix.parse("203.0.113.0/30"), Prefix.parse("2001:db8:1:f::/126"))
    options = {"translation_prefixes": tiny, "pooling": Pooling.PAIRED, "quarantine_s": 0, "validity": {"udp_s": 3}}
    net = build("figure1", "as2", **options)
    for port in (FIRST, SECOND):
        ask(net, service=SERVICE[v6], port=port)
        ask(net, "h2", SERVICE[v6], port)
    net.advance(5 if engine is EngineName.RULES else 25)  # Open vSwitch frees what has ended after 20 s
    assert bindings(net) == []
    assert client_edge(net).addresses.use(net.now)["ipv6" if v6 else "ipv4"].free == 2
    ask(net, service=SERVICE[v6], port=FIRST)
    assert len(net.host("h1").received) == 3


def test_a_port_that_a_closed_connection_had_is_used_again_at_once(build, v6):
    """The rules of the old connection may still be there; the new ones match the same packets."""
    net = build("figure1", "as2", pooling=Pooling.PAIRED)
    as2 = net.host("as2")
    ask(net, service=SERVICE[v6], port=SECOND)
    for _ in range(4):
        ask(net, service=SERVICE[v6], protocol=TCP, port=FIRST, service_port=80)
        binding = next(binding for binding in bindings(net) if binding.key.protocol == TCP)
        net.send("as2", as2.packet(binding.translated, TCP, 80, FIRST, tcp_flags=FIN | TCP_ACK))
        net.settle()
        ask(net, service=SERVICE[v6], protocol=TCP, port=FIRST, service_port=80, tcp_flags=FIN | TCP_ACK)
        net.advance(3)
    net.advance(10)
    assert [binding.key.protocol for binding in bindings(net)] == [UDP]
    assert carried_out(net) == 1
    assert net.counters.repairs["arh1"] == {}
