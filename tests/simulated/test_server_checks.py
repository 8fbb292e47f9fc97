"""Checks of servers through the switch: what they see, and that nothing else notices them (M33)."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from checks import (
    AS2,
    AS3,
    CRITICAL,
    DNS,
    PASSING,
    PING,
    TCP80,
    TCP81,
    UNKNOWN,
    be_silent,
    change,
    checked,
    freeze,
    mac_of,
    probes_to,
    reason,
    recover,
    refuse,
    rules_of_checks,
    serve_dns,
    status,
)
from scenes import GATEWAY, SERVICE, ask, bindings, catchment, drops, errors, managed

from anycast_sdn.core.checks import AnyCheck, IcmpCheck, UdpCheck
from anycast_sdn.core.model import ICMP, ICMPV6, TCP, UDP, FlowKey
from anycast_sdn.core.server_events import ServerHealthChanged
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.builders import Unreachable
from anycast_sdn.openflow.frames import parse_ip
from anycast_sdn.openflow.rules import TCP_ACK, TCP_RST, TCP_SYN
from anycast_sdn.simulation.network import SimulatedNetwork

HELLO = UdpCheck(port=53, payload=b"hello", answer=b"hell", interval_s=1.0, timeout_s=0.5)
IN_BOTH = pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])


# ------------------------------------------------------------------------------ what they see


@IN_BOTH
@pytest.mark.parametrize("check", [TCP80, HELLO, PING], ids=["tcp", "udp", "icmp"])
def test_a_server_that_answers_passes_and_nothing_else_comes_of_it(check: AnyCheck, v6: bool) -> None:
    net = checked(check)
    net.advance(6)
    assert status(net, AS2[v6]) is PASSING
    assert not bindings(net)
    assert drops(net, "ars2") == {}
    assert all(parse_ip(frame).icmp_type in (-1, 8, 128) for frame in net.host("as2").received), "no errors go to it"
    net.check_recompute_changes_nothing()


@IN_BOTH
def test_a_connection_that_is_accepted_is_reset_at_once(v6: bool) -> None:
    net = checked(TCP80)
    net.advance(3.2)
    flags = [frame[parse_ip(frame).l4 + 13] for frame in probes_to(net, "as2", v6)]
    assert len(flags) >= 4
    assert set(flags[::2]) == {TCP_SYN}
    assert set(flags[1::2]) == {TCP_RST}


@IN_BOTH
def test_a_server_whose_program_is_dead_gets_no_new_flows_within_3_s(v6: bool) -> None:
    net = checked(TCP80)
    net.advance(3)
    assert catchment(net)["arh1"] == "ars2"
    refuse(net.host("as2"), 80)
    net.advance(3)
    assert status(net, AS2[v6]) is CRITICAL
    assert reason(net, AS2[v6]) == "tcp 80: connection refused"
    assert catchment(net)["arh1"] == "ars3"
    recover(net.host("as2"))
    net.advance(3)
    assert status(net, AS2[v6]) is PASSING
    assert catchment(net)["arh1"] == "ars2"
    net.check_recompute_changes_nothing()


@IN_BOTH
@pytest.mark.parametrize("check", [TCP80, HELLO, PING], ids=["tcp", "udp", "icmp"])
def test_silence_fails_after_the_timeout(check: AnyCheck, v6: bool) -> None:
    net = checked(check)
    net.advance(3)
    be_silent(net.host("as2"))
    net.advance(5)
    assert status(net, AS2[v6]) is CRITICAL
    assert reason(net, AS2[v6]).endswith(": no answer within 0.5 s")
    assert status(net, AS3[v6]) is PASSING


@IN_BOTH
@pytest.mark.parametrize("check", [TCP80, HELLO, PING], ids=["tcp", "udp", "icmp"])
def test_a_whole_host_that_is_silent_fails_everything(check: AnyCheck, v6: bool) -> None:
    net = checked(check)
    net.advance(3)
    freeze(net.host("as2"))
    net.advance(8)
    arp = "nd" if v6 else "arp"
    assert reason(net, AS2[v6]).startswith(f"{arp}: does not answer; ")
    assert reason(net, AS2[v6]).endswith(": does not answer ARP or ND")
    recover(net.host("as2"))
    net.advance(5)
    assert status(net, AS2[v6]) is PASSING


@IN_BOTH
def test_a_host_that_boots_gets_no_flows_before_its_program_has_answered(v6: bool) -> None:
    net = checked(TCP80)
    net.advance(3)
    freeze(net.host("as2"))
    net.advance(8)
    recover(net.host("as2"))
    refuse(net.host("as2"), 80)
    for _ in range(20):
        net.advance(0.5)
        assert status(net, AS2[v6]) is CRITICAL


@IN_BOTH
@pytest.mark.parametrize(("code", "says"), [(2, "SERVFAIL"), (5, "REFUSED"), (9, "NOTAUTH"), (11, "DNS error 11")])
def test_a_dns_server_that_answers_with_an_error_fails_with_that(code: int, says: str, v6: bool) -> None:
    net = checked()
    serve_dns(net.host("as2"), code)
    change(net, checks=(DNS,))
    net.advance(3)
    assert reason(net, AS2[v6]) == f"udp 53 dns example.org: {says}"


@IN_BOTH
@pytest.mark.parametrize("code", [0, 3])
def test_a_dns_server_that_knows_its_answer_passes(code: int, v6: bool) -> None:
    net = checked()
    serve_dns(net.host("as2"), code)
    change(net, checks=(DNS,))
    net.advance(3)
    assert status(net, AS2[v6]) is PASSING


@IN_BOTH
def test_a_closed_udp_port_fails_at_once(v6: bool) -> None:
    net = checked()
    refuse(net.host("as2"), 53)
    change(net, checks=(replace(HELLO, timeout_s=30.0, interval_s=60.0),))
    net.advance(3)
    assert reason(net, AS2[v6]) == "udp 53: port unreachable"


@IN_BOTH
def test_another_answer_than_the_expected_one_fails(v6: bool) -> None:
    net = checked(replace(HELLO, answer=b"HTTP"))
    net.advance(2)
    assert reason(net, AS2[v6]) == "udp 53: another answer than expected: b'hello'"


# ------------------------------------------------------------------------------ when they are made


@IN_BOTH
def test_attempts_keep_their_interval_and_come_twice_as_often_while_they_contradict(v6: bool) -> None:
    net = checked(IcmpCheck(interval_s=2.0, timeout_s=0.5, fall=100))
    net.advance(10)
    assert len(probes_to(net, "as2", v6)) in (5, 6)
    be_silent(net.host("as2"))
    net.advance(2)
    before = len(probes_to(net, "as2", v6))
    net.advance(10)
    assert len(probes_to(net, "as2", v6)) - before in (9, 10, 11)
    assert status(net, AS2[v6]).value == "warning"


def test_a_slow_server_has_one_attempt_under_way() -> None:
    net = checked()
    be_silent(net.host("as2"))
    change(net, checks=(replace(TCP80, interval_s=0.5, timeout_s=3.0),))
    net.advance(31)
    frames = probes_to(net, "as2")
    assert 8 <= len(frames) <= 11
    arrived = [when for when, _, receiver, frame in net.wires if receiver == "as2" and frame in frames]
    assert min(after - before for before, after in pairwise(arrived)) >= 3.0


def test_a_check_that_two_groups_have_is_made_once() -> None:
    net = checked(PING, second=(PING,))
    net.advance(10)
    assert len(probes_to(net, "as2")) <= 11
    assert status(net, AS2[False]) is status(net, AS2[False], "second") is PASSING
    change(net, "second", checks=())
    net.advance(5)
    assert status(net, AS2[False]) is PASSING
    assert rules_of_checks(net) == 2
    change(net, "web", checks=())
    before = len(probes_to(net, "as2"))
    net.advance(5)
    assert len(probes_to(net, "as2")) == before
    assert rules_of_checks(net) == 0


def test_a_server_that_is_removed_is_checked_no_longer() -> None:
    net = checked(TCP80)
    net.advance(3)
    group = net.controller.groups.get("web")
    assert group
    change(net, servers={address: server for address, server in group.servers.items() if address in AS3.values()})
    before = len(probes_to(net, "as2"))
    net.advance(5)
    assert len(probes_to(net, "as2")) == before
    assert status(net, AS2[False]) is UNKNOWN
    assert rules_of_checks(net) == 0
    net.check_recompute_changes_nothing()


def test_a_server_that_moves_to_another_port_is_checked_there() -> None:
    net = checked(TCP80, hosts=("as3", "as4"))
    net.advance(3)
    net.move("as3", net.host("as4").port.number)
    net.advance(8)
    assert status(net, AS3[False]) is PASSING
    assert rules_of_checks(net, "ars3") == 4
    before = len(probes_to(net, "as3"))
    net.advance(3)
    assert len(probes_to(net, "as3")) >= before + 2
    net.check_recompute_changes_nothing()


@IN_BOTH
def test_while_the_edge_is_away_all_that_is_known_is_held(v6: bool) -> None:
    net = checked(TCP80)
    net.advance(3)
    net.disconnect("ars2")
    refuse(net.host("as2"), 80)
    net.advance(30)
    assert status(net, AS2[v6]) is PASSING
    net.connect("ars2")
    net.advance(5)
    assert status(net, AS2[v6]) is CRITICAL
    net.disconnect("ars2")
    recover(net.host("as2"))
    net.advance(30)
    assert status(net, AS2[v6]) is CRITICAL


@IN_BOTH
def test_after_a_restart_servers_serve_before_their_first_result(v6: bool) -> None:
    net = checked(TCP80)
    net.advance(3)
    net.restart_controller()
    net.settle()
    assert catchment(net)["arh1"] == "ars2"
    net.advance(3)
    assert status(net, AS2[v6]) is PASSING


# ------------------------------------------------------------------------------ what they decide


def test_one_of_two_services_on_a_host_fails_alone() -> None:
    net = checked(TCP80, second=(TCP81,))
    net.advance(3)
    refuse(net.host("as2"), 81)
    net.advance(4)
    assert status(net, AS2[False]) is PASSING
    assert status(net, AS2[False], "second") is CRITICAL
    assert catchment(net)["arh1"] == "ars2"
    assert catchment(net, service="198.18.0.2/32")["arh1"] == "ars3"


def test_with_all_servers_dead_the_service_is_withdrawn_and_clients_are_told() -> None:
    net = checked(TCP80)
    net.advance(3)
    for host in ("as2", "as3"):
        refuse(net.host(host), 80)
    net.advance(4)
    assert catchment(net)["arh1"] is None
    ask(net, protocol=TCP, service_port=80)
    (reset,) = net.host("h1").received
    assert reset[parse_ip(reset).l4 + 13] & TCP_RST
    assert drops(net, "arh1")["no_able_edge"] == 1


def test_a_server_whose_results_alternate_is_never_critical() -> None:
    net = checked(replace(PING, fall=2))
    host = net.host("as2")
    count = 0

    def every_second(frame: bytes, packet: Any) -> Any:
        nonlocal count
        count += packet.icmp_type == 8
        return host.serve(frame, packet) if count % 2 else ()

    host.on_packet = every_second
    for _ in range(60):
        net.advance(0.5)
        assert status(net, AS2[False]) is not CRITICAL
    assert count > 20


def test_each_change_is_one_event_with_all_groups_and_the_reason() -> None:
    net = checked(PING, second=(PING,))
    events: list[Any] = []
    react = net.channels.react
    net.channels.react = lambda out: (events.extend(out.events), react(out))[1]  # type: ignore[method-assign]
    net.advance(3)
    be_silent(net.host("as2"))
    net.advance(5)
    changes = [event for event in events if isinstance(event, ServerHealthChanged) and event.server == AS2[False]]
    assert [(change.switch, set(change.groups), change.after.value, change.reason) for change in changes][-1] == (
        "ars2", {"web", "second"}, "critical", "icmp: no answer within 0.5 s"
    )  # fmt: skip
    assert [change.after.value for change in changes].count("critical") == 1


# ------------------------------------------------------------------------------ forgeries


def forge(net: SimulatedNetwork, sender: str, frame: bytes) -> None:
    net.send(sender, frame)
    net.settle()


@IN_BOTH
def test_answers_that_do_not_fit_a_probe_change_nothing(v6: bool) -> None:
    """The server is silent, and somebody who sees no probe answers for it: from its own port, and from another."""
    for sender in ("as2", "as3", "h1"):
        net = checked()
        be_silent(net.host("as2"))
        change(net, checks=tuple(replace(check, timeout_s=5.0, interval_s=60.0) for check in (TCP80, DNS, PING)))
        net.advance(1.5)
        probes = {parse_ip(frame).key.protocol: frame for frame in probes_to(net, "as2", v6)}
        assert len(probes) == 3
        mac, to = net.host(sender).mac, mac_of(net, {"as2": "ars2", "as3": "ars3", "h1": "arh1"}[sender])
        for protocol, probe in probes.items():
            key = parse_ip(probe).key.reverse
            wrong: list[bytes] = []
            if protocol == TCP:
                for flags in (TCP_SYN | TCP_ACK, TCP_RST | TCP_ACK, TCP_RST):
                    wrong.append(builders.ip_packet(key, eth_src=mac, eth_dst=to, tcp_flags=flags, acknowledged=77))
            elif protocol == UDP:
                said = bytes(2) + b"\x81\x82" + bytes(9)
                wrong.append(builders.ip_packet(key, eth_src=mac, eth_dst=to, payload=said))
            else:
                reply = 129 if protocol == ICMPV6 else 0
                wrong.append(builders.ip_packet(key, eth_src=mac, eth_dst=to, icmp_type=reply, identifier=4))
            another = FlowKey(*key.reverse[:3], key.destination_port, 9)
            quoted = builders.ip_packet(another, eth_src=to, eth_dst=mac, payload=b"guess")
            if error := builders.unreachable(quoted, mac, key.source, Unreachable.PORT):
                wrong.append(error[:0] + to + error[6:])
            for frame in wrong:
                forge(net, sender, frame)
        assert status(net, AS2[v6]) is UNKNOWN, sender


@IN_BOTH
def test_a_right_answer_from_another_port_changes_nothing(v6: bool) -> None:
    """As another server of the same subnet may send it, in the name of the one that is silent."""
    net = checked()
    be_silent(net.host("as2"))
    change(net, checks=(replace(TCP80, timeout_s=5.0, interval_s=60.0),))
    net.advance(1.5)
    (probe,) = probes_to(net, "as2", v6)
    packet = parse_ip(probe)
    acknowledged = int.from_bytes(probe[packet.l4 + 4 : packet.l4 + 8], "big") + 1
    answer = builders.ip_packet(
        packet.key.reverse, eth_src=net.host("as2").mac, eth_dst=mac_of(net, "ars2"),
        tcp_flags=TCP_SYN | TCP_ACK, acknowledged=acknowledged,
    )  # fmt: skip
    edge = managed(net, "ars2")
    out = net.controller.health.answered(edge, 77, answer, net.now)
    assert out is not None
    assert not out.outbox
    assert status(net, AS2[v6]) is UNKNOWN
    forge(net, "as2", answer)
    assert status(net, AS2[v6]) is PASSING


@IN_BOTH
def test_a_late_answer_is_reset_and_no_error_goes_to_the_server(v6: bool) -> None:
    net = checked(TCP80)
    host = net.host("as2")
    be_silent(host)
    net.advance(6)
    probe = probes_to(net, "as2", v6)[0]
    host.received.clear()
    forge(net, "as2", host.reply(probe, parse_ip(probe), tcp_flags=TCP_SYN | TCP_ACK, acknowledged=5))
    late = [frame for frame in probes_to(net, "as2", v6) if frame[parse_ip(frame).l4 + 13] & TCP_RST]
    assert len(late) == 1
    assert all(parse_ip(frame).icmp_type < 0 for frame in host.received)
    assert status(net, AS2[v6]) is CRITICAL


@IN_BOTH
def test_servers_may_still_ping_their_gateway(v6: bool) -> None:
    net = checked(TCP80)
    host = net.host("as2")
    gateway = managed(net, "ars2").subnets[0].gateways[v6].address
    protocol, reply = (ICMPV6, 129) if v6 else (ICMP, 0)
    net.send("as2", host.packet(gateway, protocol, identifier=7))
    net.send("as2", host.packet(gateway, UDP, 4000, 4000))
    net.settle()
    types = [parse_ip(frame).icmp_type for frame in host.received]
    assert reply in types
    assert (1 if v6 else 3) in types


def test_other_hosts_are_told_that_no_port_of_a_gateway_is_open() -> None:
    net = checked(TCP80)
    net.send("h1", net.host("h1").packet(GATEWAY[False], UDP, 4000, 50000))
    net.settle()
    assert errors(net.host("h1")) == [(3, 3)]


def test_flows_of_clients_go_on_beside_checks() -> None:
    net = checked(TCP80, HELLO, PING)
    net.advance(2)
    ask(net, service=SERVICE[False])
    assert [binding.server for binding in bindings(net)] == [AS2[False]]
