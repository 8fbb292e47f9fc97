"""The controller is away in the middle of what needs it most: the pool is used up, or a server dies (M20, M30, M32)."""

from __future__ import annotations

from collections import Counter

import pytest
from scenes import (
    SECOND_SERVICE,
    SERVICE,
    ask,
    bindings,
    both_engines,
    client_edge,
    drops,
    errors,
    group,
    payloads,
)

from anycast_sdn.control.losses import LOST_AFTER_S
from anycast_sdn.core.bindings import State
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import TCP, Prefix
from anycast_sdn.core.roles import EngineName, Expiry, Pooling
from anycast_sdn.description.model import Port
from anycast_sdn.openflow.frames import parse_ip
from anycast_sdn.simulation.host import TCP_ACK

pytestmark = both_engines

SIZE = 6  # addresses in each family
SMALL = {
    "translation_prefixes": (Prefix.parse("203.0.113.0/29"), Prefix.parse("2001:db8:1:f::/125")),
    "bindings_per_client": SIZE,
    "bindings_per_port": SIZE,
    "pooling": Pooling.FLOW,
    "validity": {"udp_s": 8},
}
FLOWS = [(host, port) for port in (40000, 40001, 40002) for host in ("h1", "h2")]
AS2 = Port("ars2", 1)
NOTICED_S = 5.0


def connect_all(net):
    for name in net.switches:
        net.connect(name)
    net.settle()


def without_age(found):
    """Bindings without the time and the choice by which they were made, which are not in rules."""
    return sorted(binding._replace(since=0, choice=0, reply_s=None) for binding in found)


def ports(found):
    return {binding.key.source_port for binding in found}


@pytest.mark.parametrize("expiry", [Expiry.IDLE_TIMEOUT, Expiry.SWEEP])
def test_a_pool_that_is_used_up_while_the_controller_is_away_loses_and_doubles_nothing(build, v6, expiry):
    net = build("figure1", "as2", **SMALL, expiry=expiry)
    for host, port in FLOWS:
        ask(net, host, SERVICE[v6], port)
    before = bindings(net)
    assert len({binding.translated for binding in before}) == SIZE
    ask(net, service=SERVICE[v6], port=41000)
    assert drops(net, "arh1")["pool_empty"] == 1

    net.replace_controller()
    for number in range(4):
        net.advance(1)
        for host, port in FLOWS:
            ask(net, host, SERVICE[v6], port, payload=b"away %d" % number)
        ask(net, service=SERVICE[v6], port=41001)  # nobody is there to bind it
    for host in ("h1", "h2"):
        assert Counter(payloads(net.host(host).received))[b"away 3"] == len(FLOWS) // 2
    connect_all(net)
    assert without_age(bindings(net)) == without_age(before)

    net.host("h1").received.clear()
    ask(net, service=SERVICE[v6], port=41001)
    assert errors(net.host("h1")) == [(1, 1) if v6 else (3, 13)]
    for host, port in FLOWS:
        ask(net, host, SERVICE[v6], port, payload=b"back")
        assert payloads(net.host(host).received)[-1] == b"back"
    assert without_age(bindings(net)) == without_age(before)


def test_an_address_that_became_free_while_the_controller_was_away_is_leased_once(build, engine, v6):
    net = build("figure1", "as2", **SMALL, expiry=Expiry.IDLE_TIMEOUT)
    for host, port in FLOWS:
        ask(net, host, SERVICE[v6], port)
    before, (ended, *going_on) = bindings(net), FLOWS
    net.replace_controller()

    def go_on(seconds):
        for _ in range(seconds):
            net.advance(1)
            for host, port in going_on:
                ask(net, host, SERVICE[v6], port)

    go_on(10)
    connect_all(net)
    if engine is EngineName.CONNTRACK:
        go_on(8)  # until the tracker has been asked for all flows, and an address that rests may be leased early
    left = bindings(net)
    assert len(left) == SIZE - 1
    assert {binding.number for binding in left} < {binding.number for binding in before}
    for port in (41000, 41001):
        ask(net, service=SERVICE[v6], port=port)
    after = bindings(net)
    assert ports(after) - ports(left) == {41000}
    assert len({binding.translated for binding in after}) == len({binding.number for binding in after}) == SIZE
    assert drops(net, "arh1")["pool_empty"] == 1
    ask(net, ended[0], SERVICE[v6], ended[1])
    new = {binding.key: binding.translated for binding in bindings(net) if binding not in after}
    if engine is EngineName.CONNTRACK:  # flows that are kept in a file are remembered also when they have ended
        assert list(new.values()) == [before[0].translated]
    else:
        assert not new


@pytest.mark.parametrize("dies", ["before the controller ends", "while the controller is away"])
@pytest.mark.parametrize("how", ["its port goes down", "it is silent"])
def test_flows_of_a_server_that_dies_around_a_restart_are_bound_anew(build, v6, dies, how):
    """They keep their addresses, a connection is reset, and flows of another server do not notice."""
    net = build("figure1", "as2", "as3")
    network = net.network
    groups = [group(network, "web", SERVICE, "as2", "as3"), group(network, "other", SECOND_SERVICE, "as4")]
    net.set_groups(Groups({each.name: each for each in groups}))
    net.advance(1)
    polled = [("h1", 123), ("h2", 514)]
    for host, port in polled:
        ask(net, host, SERVICE[v6], port, service_port=port)
        ask(net, host, SECOND_SERVICE[v6], port, service_port=port)
    ask(net, service=SERVICE[v6], protocol=TCP, port=40000, service_port=80)
    before = {binding.number: binding for binding in bindings(net)}

    def die():
        if how == "it is silent":
            net.silent.add(AS2)
        else:
            net.set_port(AS2, False)

    if dies == "before the controller ends":
        die()
        net.advance(LOST_AFTER_S / 2)
        net.replace_controller()
    else:
        net.replace_controller()
        die()
    net.advance(2)
    connect_all(net)
    net.advance(NOTICED_S + LOST_AFTER_S + 0.5)

    as2, as3, as4 = (net.host(name).address(v6) for name in ("as2", "as3", "as4"))
    for host, port in polled:
        ask(net, host, SERVICE[v6], port, service_port=port, payload=b"again")
        assert payloads(net.host(host).received)[-1] == b"again"
    net.host("h1").received.clear()
    ask(net, service=SERVICE[v6], protocol=TCP, port=40000, service_port=80, tcp_flags=TCP_ACK)
    (reset,) = net.host("h1").received
    assert reset[parse_ip(reset).l4 + 13] & 0x04
    after = {binding.number: binding for binding in bindings(net)}
    assert before.keys() - after.keys() == {b.number for b in before.values() if b.key.protocol == TCP}
    for number, binding in after.items():
        assert (binding.translated, binding.state) == (before[number].translated, State.PINNED)
        assert binding.server == (as3 if before[number].server == as2 else as4)
    use = client_edge(net).addresses.use(net.now)["ipv6" if v6 else "ipv4"]
    assert use.leased == len(after) == 4
