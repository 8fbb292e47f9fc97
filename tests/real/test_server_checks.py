"""Servers are checked from their gateway's address: what real kernels and programs answer, and when (M33)."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from support import ARH1_MAC, ARS3_MAC, PORT, V4, V6, WEB, Family, Running, is_userspace, program, until

if TYPE_CHECKING:
    from testbed import Program

TCP = {"type": "tcp", "port": PORT, "interval_s": 1, "timeout_s": 1}
UDP = {"type": "udp", "port": PORT, "interval_s": 1, "timeout_s": 1, "payload": "check"}
DNS = {"type": "udp", "port": 53, "interval_s": 1, "timeout_s": 1, "dns": "example.org"}
ICMP = {"type": "icmp", "interval_s": 1, "timeout_s": 1}
OTHER_V4 = "198.18.9.1"
OTHER = (f"{OTHER_V4}/32", "2001:db8:a:9::1/128")
OTHER_PORT = PORT + 10
EVERY_S = 0.1  # between two new connections of a client
FAMILIES = (V4, V6)
NOTICED_S = 15.0  # a deadline, for a busy machine


@pytest.fixture(scope="module")
def network(figure1: Running) -> Running:
    """as2, the nearest, and as3 are in group web, and in group other at another port; as4 is in neither."""
    figure1.serve_udp("as2", "as3")
    figure1.serve_tcp("as3", "as4")
    figure1.serve_tcp("as3", port=OTHER_PORT)
    for name, prefixes in (("web", WEB), ("other", OTHER)):
        figure1.enrol(name, prefixes, [V4.as2, V6.as2, V4.as3, V6.as3])
    return figure1


def start(network: Running, host: str, port: int = PORT) -> Program:
    """The host's TCP server."""
    server = network.testbed.spawn(host, program("tcp_server.py", host, port))
    network.testbed.wait_listening(host, port)
    return server


def check(network: Running, *checks: dict[str, Any], group: str = "web", **settings: Any) -> None:
    network.call("PATCH", f"/v1/groups/{group}", {"checks": list(checks), **settings})


def health(network: Running, server: str, group: str = "web") -> dict[str, Any]:
    return dict(network.call("GET", f"/v1/groups/{group}/servers/{server}")["health"])


def await_health(network: Running, host: str, status: str, group: str = "web") -> None:
    """In both families."""
    until(lambda: all(health(network, getattr(family, host), group)["status"] == status for family in FAMILIES),
          f"{host} is {status} in {group}", NOTICED_S)  # fmt: skip


class Clients:
    """h1 connects to group web again and again, in both families."""

    def __init__(self, network: Running) -> None:
        self._programs = {
            family: network.testbed.spawn("h1", program("connector.py", family.web, PORT, EVERY_S))
            for family in FAMILIES
        }

    def said(self, family: Family) -> list[tuple[float, str]]:
        lines = (line.split(" ", 1) for line in self._programs[family].output().splitlines())
        return [(float(when), said) for when, said in lines]

    def are_served_by(self, host: str, after: float = 0.0) -> bool:
        return all(self.said(family)[-1:] and self.said(family)[-1][0] > after and self.said(family)[-1][1] == host
                   for family in FAMILIES)  # fmt: skip

    def stop(self) -> None:
        for each in self._programs.values():
            each.stop()


@pytest.mark.row("M33", "the web server is killed under a living host: with tcp every second, new connections fail for "
                 "at most 3 s and none afterwards, in both families; another service of the host goes on; a check "
                 "makes no binding and is counted nowhere")  # fmt: skip
def test_a_web_server_that_is_killed_is_replaced_within_3_s(network: Running) -> None:
    servers = [start(network, "as2"), start(network, "as2", OTHER_PORT)]
    before = network.edge("ars2")["drops"]
    check(network, TCP)
    check(network, {**TCP, "port": OTHER_PORT}, group="other")
    await_health(network, "as2", "passing")
    await_health(network, "as2", "passing", "other")
    time.sleep(2)
    assert network.flows() == []
    assert network.edge("ars2")["drops"] == before
    clients = Clients(network)
    until(lambda: clients.are_served_by("as2"), "clients are served by as2")
    killed = time.monotonic()
    servers[0].stop()
    until(lambda: clients.are_served_by("as3", killed + 4), "clients are served by as3, for a while", 30)
    clients.stop()
    failed = {}
    for family in FAMILIES:
        fails = [when for when, said in clients.said(family) if when > killed and not said.startswith("as")]
        failed[family.name] = max(fails) - killed + EVERY_S if fails else 0.0
        assert fails, "the host is alive and refuses connections"
        assert failed[family.name] < 3.0, failed
    print(f"new connections failed for {failed} s")
    assert "connection refused" in health(network, V4.as2)["reason"]
    assert health(network, V4.as2, "other")["status"] == "passing"
    assert f"server {V4.as2} of group web is critical: tcp {PORT}: connection refused" in network.controller.log()
    servers.append(start(network, "as2"))
    await_health(network, "as2", "passing")
    check(network, group="other")
    for server in servers:
        server.stop()


@pytest.mark.row("M33", "a DNS server that answers SERVFAIL fails with that, one that answers NXDOMAIN passes")
def test_a_dns_server_that_fails_is_told_from_one_that_knows_nothing(network: Running) -> None:
    check(network, DNS)
    for code, status, output in ((3, "passing", "NXDOMAIN"), (2, "critical", "SERVFAIL"), (0, "passing", "NOERROR")):
        server = network.testbed.spawn("as2", program("dns_server.py", 53, code))
        network.testbed.wait_listening("as2", 53, "udp")
        await_health(network, "as2", status)
        until(lambda output=output: [each["output"] for each in health(network, V6.as2)["checks"]][1] == output,
              f"as2 says {output}")  # fmt: skip
        server.stop()
    await_health(network, "as2", "critical")
    assert health(network, V4.as2)["reason"] == "udp 53 dns example.org: port unreachable"


@pytest.mark.row("M33", "a frozen program still accepts TCP in its kernel, but answers no datagram")
def test_a_frozen_program_is_seen_by_what_it_has_to_answer_itself(network: Running) -> None:
    server = start(network, "as4")
    (udp,) = network.serve_udp("as4", port=PORT + 1)
    servers = [V4.as4, V6.as4]
    network.enrol("frozen", ["198.18.7.1/32", "2001:db8:a:7::1/128"], servers)
    check(network, {**UDP, "port": PORT + 1}, TCP, ICMP, group="frozen")
    await_health(network, "as4", "passing", "frozen")
    for each in (server, udp):
        os.kill(each.process.pid, signal.SIGSTOP)
    await_health(network, "as4", "critical", "frozen")
    time.sleep(1)
    shown = {each["type"]: each["status"] for each in health(network, V6.as4, "frozen")["checks"]}
    assert shown == {"nd": "passing", "udp": "critical", "tcp": "passing", "icmp": "passing"}
    os.kill(udp.process.pid, signal.SIGCONT)
    await_health(network, "as4", "passing", "frozen")
    os.kill(server.process.pid, signal.SIGCONT)
    network.call("DELETE", "/v1/groups/frozen")
    for each in (server, udp):
        each.stop()


@pytest.mark.skipif(not is_userspace(), reason="the flood is for the speed of userspace Open vSwitch")
@pytest.mark.row("M33", "floods of forged answers, from a client and from another server, disturb no check")
def test_floods_of_forged_answers_disturb_no_check(network: Running) -> None:
    server = start(network, "as2")
    check(network, TCP, ICMP)
    await_health(network, "as2", "passing")
    await_health(network, "as3", "passing")
    log = len(network.controller.log())
    floods = []
    for sender, source, gateway, kind in (
        ("h1", V4.h1, "10.2.0.1", "ports"), ("as4", V4.as4, "10.3.0.1", "ports"), ("as4", V4.as3, "10.3.0.1", "syns")
    ):  # fmt: skip
        edge = {"h1": ARH1_MAC, "as4": ARS3_MAC}[sender].hex(":")
        words = program("flood.py", network.testbed.interface(sender), 3000, 6, kind, edge, source, gateway)
        floods.append(network.testbed.spawn(sender, words))
    for each in floods:
        until(lambda each=each: "sent" in each.output() or each.process.poll() is not None, "the flood is over", 60)
    assert "is critical" not in network.controller.log()[log:]
    server.stop()


@pytest.mark.row("M33", "a whole host is silent: it is critical at once, and its checks fail with it; it returns only "
                 "when its program answers")  # fmt: skip
def test_a_silent_host_fails_and_comes_back_with_its_program(network: Running) -> None:
    server = start(network, "as2")
    check(network, TCP)
    await_health(network, "as2", "passing")
    network.run("as2", "sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=8")  # its kernel answers no ARP
    until(lambda: health(network, V4.as2)["status"] == "critical", "as2 is silent in IPv4")
    assert health(network, V4.as2)["reason"].startswith("arp: does not answer")
    until(lambda: f"tcp {PORT}: does not answer ARP or ND" in health(network, V4.as2)["reason"], "tcp fails, too")
    assert health(network, V6.as2)["status"] == "passing"
    server.stop()
    network.run("as2", "sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=0")
    until(lambda: "connection refused" in health(network, V4.as2)["reason"], "as2 is back without its program")
    assert health(network, V4.as2)["reason"] == f"tcp {PORT}: connection refused"
    server = start(network, "as2")
    await_health(network, "as2", "passing")
    server.stop()


@pytest.mark.row("M33", "all servers fail: the service is withdrawn and clients are told at once; with min_healthy all "
                 "of them serve")  # fmt: skip
def test_all_servers_fail_with_and_without_min_healthy(network: Running) -> None:
    server = start(network, "as2")
    check(network, {**TCP, "port": PORT + 77}, ICMP)  # a check that is wrong: nothing listens there
    for host in ("as2", "as3"):
        await_health(network, host, "critical")
    until(lambda: not any(prefix in network.edge("ars2")["announces"] for prefix in WEB), "ars2 has withdrawn it")
    clients = Clients(network)
    until(lambda: clients.are_served_by("refused"), "clients are refused at once")
    check(network, {**TCP, "port": PORT + 77}, ICMP, min_healthy=1)
    until(lambda: clients.are_served_by("as2"), "as2 serves in spite of its check")
    assert health(network, V4.as2)["status"] == "critical"
    check(network, TCP, min_healthy=0)
    await_health(network, "as2", "passing")
    clients.stop()
    server.stop()


@pytest.mark.row("M33", "a program that flaps is critical only after fall failures in a row")
def test_a_program_that_flaps_is_damped(network: Running) -> None:
    check(network, {**TCP, "fall": 100})
    server = start(network, "as2")
    await_health(network, "as2", "passing")
    log = len(network.controller.log())
    for _ in range(3):
        server.stop()
        until(lambda: health(network, V4.as2)["status"] == "warning", "as2 fails, but not often enough")
        server = start(network, "as2")
        until(lambda: health(network, V4.as2)["status"] == "passing", "as2 passes at the first success")
    assert "is critical" not in network.controller.log()[log:]
    server.stop()


@pytest.mark.row("M32", "a program dies under a living host: the UDP flows of its service are served by another server "
                 "with the same PR1X, those of the host's other service stay")  # fmt: skip
def test_flows_of_a_dead_program_go_to_another_server_and_no_others(network: Running) -> None:
    port = PORT + 20
    dies, *others = network.serve_udp("as2", "as3", port=port)
    check(network, {**UDP, "port": port})
    check(network, group="other")
    for group in ("web", "other"):
        for host in ("as2", "as3"):
            await_health(network, host, "passing", group)
    network.controller.await_routes()
    asked = {family: network.ask("h1", family.web, "--source-port", 6000, port=port) for family in FAMILIES}
    assert {answer[0].split()[0] for answer in asked.values()} == {"as2"}
    assert network.ask("h1", OTHER_V4, "--source-port", 6001)[0].startswith("as2 ")
    before = {family: network.flow(family.h1, 6000) for family in FAMILIES}
    other = network.flow(V4.h1, 6001)
    dies.stop()
    until(lambda: all(network.flow(family.h1, 6000)["state"] == "unanswered" for family in FAMILIES),
          "the flows leave as2", 30)  # fmt: skip
    for family in FAMILIES:
        assert network.ask("h1", family.web, "--source-port", 6000, port=port)[0].startswith("as3 ")
        after = network.flow(family.h1, 6000)
        assert (after["server"], after["translated"]) == (family.as3, before[family]["translated"])
    assert network.flow(V4.h1, 6001) == other
    for each in others:
        each.stop()


@pytest.mark.row("M33", "passive: a server that refuses clients' new flows is found, and no packet is sent for that")
def test_clients_own_packets_show_a_server_that_refuses(network: Running) -> None:
    check(network, {"type": "passive", "interval_s": 1, "timeout_s": 1, "fall": 1})
    server = start(network, "as2")
    clients = Clients(network)
    await_health(network, "as2", "passing")
    server.stop()
    await_health(network, "as2", "critical")
    until(lambda: clients.are_served_by("as3"), "clients are served by as3")
    reason = health(network, V6.as2)["reason"]
    clients.stop()
    assert "new flows answered" in reason
