"""No room: the pool is empty, or the switch's table is full.  What exists goes on undisturbed."""

from __future__ import annotations

import pytest
from scenes import SERVICE, ask, bindings, both_engines, client_edge, drops, rules_alone

from anycast_sdn.core.model import ICMP, ICMPV6, Prefix
from anycast_sdn.core.roles import Pooling
from anycast_sdn.openflow.frames import parse_icmp_error
from anycast_sdn.views.flows import flow_summary

pytestmark = both_engines

SMALL = Prefix.parse("203.0.113.0/30")
TINY = {  # two addresses of each family, which one client may have
    "translation_prefixes": (SMALL, Prefix.parse("2001:db8:1:f::/126")),
    "bindings_per_client": 3,
    "bindings_per_port": 3,
    "pooling": Pooling.FLOW,
}


def fill(net, v6=False):
    for port in (40000, 40001):
        ask(net, service=SERVICE[v6], port=port)
    net.host("h1").received.clear()


def test_the_client_gets_an_error_when_no_address_is_free(build, v6):
    net = build("figure1", "as2", **TINY)
    fill(net, v6)
    ask(net, service=SERVICE[v6], port=40002)
    (frame,) = net.host("h1").received
    error = parse_icmp_error(frame)
    assert (error.type, error.code) == ((1, 1) if v6 else (3, 13))  # administratively prohibited
    assert (error.quoted.destination, error.quoted.source_port) == (SERVICE[v6], 40002)
    assert drops(net, "arh1") == {"pool_empty": 1}
    assert flow_summary(net.controller, net.counters)["pool_exhausted"] == 1


def test_existing_flows_go_on_when_no_address_is_free(build, v6):
    net = build("figure1", "as2", **TINY)
    fill(net, v6)
    before = bindings(net)
    ask(net, service=SERVICE[v6], port=40002)
    ask(net, service=SERVICE[v6], port=40000)
    ask(net, service=SERVICE[v6], port=40001)
    assert bindings(net) == before
    answered = [key for key in net.host("h1").flows() if key.protocol not in (ICMP, ICMPV6)]
    assert len(answered) == 2


def test_the_errors_are_limited_in_rate(build):
    net = build("figure1", "as2", **TINY)
    fill(net)
    h1 = net.host("h1")
    net.send("h1", *(h1.packet(SERVICE[False], 17, port, 53) for port in range(41000, 41300)))
    net.settle()
    assert drops(net, "arh1")["pool_empty"] == 300
    assert 100 <= len(h1.received) <= 110


def test_an_address_serves_again_after_its_rest(build):
    net = build("figure1", "as2", **TINY, validity={"udp_s": 3}, quarantine_s=5)
    fill(net)
    first = {binding.translated for binding in bindings(net)}
    net.advance(4)
    ask(net, port=40002)
    assert bindings(net) == []  # both addresses rest
    net.advance(5)
    ask(net, port=40003)
    assert {binding.translated for binding in bindings(net)} < first


def test_ipv6_goes_on_when_ipv4_has_no_address(build):
    net = build("figure1", "as2", **TINY | {"translation_prefixes": (SMALL, Prefix.parse("2001:db8:1:f::/64"))})
    fill(net)
    ask(net, service=SERVICE[True], port=40002)
    assert len(bindings(net)) == 3


@rules_alone
@pytest.mark.parametrize("room", [0, 1])
def test_a_flow_that_the_switch_has_no_room_for_is_ended(build, room):
    plenty = build("figure1", "as2")
    size = len(plenty.switches["arh1"].flows) + 2 + room  # one flow, or one and a half
    net = build("figure1", "as2", switch={"table_size": size})
    ask(net, port=40000)
    ask(net, port=40001)
    net.settle()
    (kept,) = bindings(net)
    assert kept.key.source_port == 40000
    assert drops(net, "arh1")["rule_refused"] >= 1
    assert client_edge(net).addresses.use(net.now)["ipv4"].resting == room  # what never left needs no rest
    net.host("h1").received.clear()
    ask(net, port=40000)
    assert len(net.host("h1").received) == 1
