"""A host is alive, but a service on it fails its checks: the flows of that service leave it, no others (M32, M33)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from checks import AS2, AS3, CRITICAL, DNS, PASSING, TCP80, TCP81, change, checked, recover, refuse, status
from scenes import SECOND_SERVICE, SERVICE, ask, bindings, the_binding

from anycast_sdn.control.failed_servers import FAILED_AFTER_S, FailedServers
from anycast_sdn.core.model import TCP, UDP, Address, OnServerLoss, ServerState
from anycast_sdn.openflow.frames import parse_ip
from anycast_sdn.openflow.rules import TCP_ACK, TCP_RST
from anycast_sdn.simulation.network import SimulatedNetwork

HELLO = replace(DNS, dns="", payload=b"hello")
NOTICED_S = 4.0  # that a check fails; then FAILED_AFTER_S until flows leave
IN_BOTH = pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])


def servers_of(net: SimulatedNetwork) -> dict[str, set[Address | None]]:
    """Group → the servers of its flows."""
    flows = bindings(net)
    return {name: {flow.server for flow in flows if flow.group == name} for name in sorted({f.group for f in flows})}


def set_state(net: SimulatedNetwork, server: Address, state: ServerState) -> None:
    group = net.controller.groups.get("web")
    assert group
    change(net, servers={**group.servers, server: replace(group.servers[server], state=state)})


@IN_BOTH
def test_flows_of_a_service_that_fails_go_to_another_server_with_the_same_address(v6: bool) -> None:
    net = checked(HELLO, second=())
    net.advance(2)
    ask(net, service=SERVICE[v6])
    ask(net, service=SECOND_SERVICE[v6], service_port=5000)
    before = {flow.group: flow for flow in bindings(net)}
    assert servers_of(net) == {"second": {AS2[v6]}, "web": {AS2[v6]}}
    refuse(net.host("as2"), 53)
    net.advance(NOTICED_S)
    assert status(net, AS2[v6]) is CRITICAL
    assert servers_of(net)["web"] == {AS2[v6]}, "not yet"
    net.advance(FAILED_AFTER_S)
    assert servers_of(net) == {"second": {AS2[v6]}, "web": {None}}
    ask(net, service=SERVICE[v6])
    assert servers_of(net) == {"second": {AS2[v6]}, "web": {AS3[v6]}}
    after = {flow.group: flow for flow in bindings(net)}
    assert after["web"].translated == before["web"].translated
    assert after["second"] == before["second"]
    net.check_recompute_changes_nothing()


@IN_BOTH
def test_a_connection_of_a_service_that_fails_is_reset(v6: bool) -> None:
    net = checked(TCP80)
    net.advance(2)
    ask(net, service=SERVICE[v6], protocol=TCP, service_port=80)
    refuse(net.host("as2"), 80)
    net.advance(NOTICED_S + FAILED_AFTER_S)
    assert not bindings(net)
    ask(net, service=SERVICE[v6], protocol=TCP, service_port=80, tcp_flags=TCP_ACK)
    last = net.host("h1").received[-1]
    assert last[parse_ip(last).l4 + 13] & TCP_RST


def test_a_service_that_recovers_in_time_keeps_its_flows() -> None:
    net = checked(HELLO)
    net.advance(2)
    ask(net)
    before = the_binding(net)
    refuse(net.host("as2"), 53)
    net.advance(NOTICED_S)
    recover(net.host("as2"))
    net.advance(2 * FAILED_AFTER_S)
    assert status(net, AS2[False]) is PASSING
    assert the_binding(net) == before


def test_a_service_that_has_recovered_gets_flows_again() -> None:
    net = checked(HELLO)
    net.advance(2)
    refuse(net.host("as2"), 53)
    net.advance(NOTICED_S + FAILED_AFTER_S)
    recover(net.host("as2"))
    net.advance(4)
    ask(net)
    assert the_binding(net).server == AS2[False]


def test_a_late_reply_of_a_server_that_fails_pins_no_flow() -> None:
    net = checked(HELLO)
    net.advance(2)
    ask(net)
    host = net.host("as2")
    (request,) = [frame for frame in host.received if parse_ip(frame).key.source[:1] == b"\xcb"]
    refuse(host, 53)
    net.advance(NOTICED_S + FAILED_AFTER_S)
    assert the_binding(net).server is None
    net.send("as2", host.reply(request, parse_ip(request)))
    net.settle()
    assert the_binding(net).server is None


def test_a_group_that_keeps_its_flows_keeps_them() -> None:
    net = checked(HELLO, on_server_loss=OnServerLoss.KEEP)
    net.advance(2)
    ask(net)
    refuse(net.host("as2"), 53)
    net.advance(NOTICED_S + FAILED_AFTER_S)
    assert the_binding(net).server == AS2[False]
    change(net, on_server_loss=OnServerLoss.REPIN)
    net.advance(1)
    assert the_binding(net).server is None


@pytest.mark.parametrize("state", [ServerState.DRAINING, ServerState.DRAINED, ServerState.DISABLED])
def test_a_program_that_is_stopped_in_good_order_keeps_its_flows_to_the_end(state: ServerState) -> None:
    net = checked(TCP80)
    net.advance(2)
    ask(net, protocol=TCP, service_port=80)
    set_state(net, AS2[False], state)
    refuse(net.host("as2"), 80)  # it accepts no more, and goes on with what it has
    net.advance(NOTICED_S + 2 * FAILED_AFTER_S)
    assert the_binding(net).server == AS2[False]
    set_state(net, AS2[False], ServerState.ACTIVE)
    net.advance(2 * FAILED_AFTER_S)
    assert not bindings(net)


def test_a_server_that_is_removed_while_it_fails_loses_its_flows_at_once() -> None:
    net = checked(HELLO)
    net.advance(2)
    ask(net)
    refuse(net.host("as2"), 53)
    net.advance(NOTICED_S)
    group = net.controller.groups.get("web")
    assert group
    change(net, servers={address: server for address, server in group.servers.items() if address in AS3.values()})
    net.advance(1)
    assert the_binding(net).server is None


def test_an_expired_lease_takes_new_flows_away_and_no_others() -> None:
    net = checked(TCP81)
    net.advance(2)
    ask(net)
    net.controller.health.set_lease("web", AS2[False], False, net.now)
    net.advance(3 * FAILED_AFTER_S)
    assert status(net, AS2[False]) is CRITICAL
    assert the_binding(net).server == AS2[False]
    ask(net, port=40001)
    assert servers_of(net)["web"] == {AS2[False], AS3[False]}


def test_silence_of_the_host_frees_the_flows_of_all_its_services() -> None:
    net = checked(TCP80, second=())
    net.advance(2)
    ask(net)
    ask(net, service=SECOND_SERVICE[False], protocol=UDP)
    net.host("as2").receive = lambda frame: ()  # type: ignore[method-assign]
    net.advance(8)
    assert servers_of(net) == {"second": {None}, "web": {None}}


def test_with_all_servers_failing_those_that_fail_open_keep_their_flows_and_get_new_ones() -> None:
    net = checked(HELLO, min_healthy=1)
    net.advance(2)
    ask(net)
    before = the_binding(net)
    for host in ("as2", "as3"):
        refuse(net.host(host), 53)
    net.advance(NOTICED_S + 2 * FAILED_AFTER_S)
    assert status(net, AS2[False]) is status(net, AS3[False]) is CRITICAL
    assert the_binding(net) == before
    recover(net.host("as2"))
    change(net, checks=(replace(HELLO, answer=b"never"),))  # the check is wrong, the service is well
    net.advance(NOTICED_S + 2 * FAILED_AFTER_S)
    assert status(net, AS2[False]) is CRITICAL
    ask(net, port=40001)
    assert servers_of(net) == {"web": {AS2[False]}}


def test_a_server_that_has_failed_open_loses_its_flows_when_another_one_is_well_again() -> None:
    net = checked(HELLO, min_healthy=1)
    net.advance(2)
    for host in ("as2", "as3"):
        refuse(net.host(host), 53)
    net.advance(NOTICED_S + 2 * FAILED_AFTER_S)
    ask(net, service_port=5000)
    assert the_binding(net).server == AS2[False]
    recover(net.host("as3"))
    net.advance(NOTICED_S + 2)
    assert status(net, AS3[False]) is PASSING
    assert the_binding(net).server is None
    ask(net, service_port=5000)
    assert the_binding(net).server == AS3[False]


def test_what_is_remembered_of_failed_servers_is_bounded() -> None:
    failed = FailedServers(120.0, lambda *_: False)
    for number in range(1000):
        failed.set_failing("web", number.to_bytes(4, "big"), True, 1.0)
    assert not failed.tick(2.0)
    assert len(failed.tick(1.0 + FAILED_AFTER_S)) == 1000
    for number in range(1000):
        failed.removed("web", number.to_bytes(4, "big"), 10.0)
    assert failed.groups((7).to_bytes(4, "big")) == ["web"]
    failed.tick(131.0)
    assert not failed
