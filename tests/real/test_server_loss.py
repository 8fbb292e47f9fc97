"""Flows outlive no server: another one serves them within seconds, and no other flow notices (M32)."""

from __future__ import annotations

import time
from collections import defaultdict
from itertools import pairwise

import pytest
from support import PORT, V4, V6, WEB, Family, Running, on_both_engines, program, until

pytestmark = [on_both_engines, pytest.mark.alone("it measures gaps in answers")]

GRE = 47
UDP_PORTS = (123, 514, 5060)  # NTP, syslog and SIP: clients and servers use the same port
CONNECTION = f"tcp:20500:{PORT}"
POLLED = [*(f"udp:{port}" for port in UDP_PORTS), f"raw:{GRE}", "ping", CONNECTION]
OTHERS = {V4: "198.18.9.1", V6: "2001:db8:a:9::1"}
WITHIN_S = 6.0
AGAIN_S = 3.5  # from one retransmission of TCP to the next, six seconds after the first
UNDISTURBED_S = 1.5  # between answers on a busy machine; they are asked for every 0.25 s

Answers = dict[tuple[Family, str], list[tuple[float, str]]]  # (family, what is polled) → (when, by whom)


@pytest.fixture(scope="module")
def network(figure1: Running) -> Running:
    return serve_what_is_polled(figure1)


def serve_what_is_polled(figure1: Running) -> Running:
    """as2, the nearest, and as3 are in group web; as4 has a group of its own."""
    for host in ("as2", "as3", "as4"):
        for port in UDP_PORTS:
            figure1.testbed.spawn(host, program("udp_server.py", host, port))
        peer = figure1.testbed.spawn(host, program("raw_peer.py", "serve", GRE))
        until(peer.output, f"the peer for GRE at {host} is ready")
    figure1.serve_tcp("as2", "as3", "as4")
    figure1.enrol("web", WEB, [V4.as2, V6.as2, V4.as3, V6.as3])
    figure1.enrol("other", [f"{OTHERS[V4]}/32", f"{OTHERS[V6]}/128"], [V4.as4, V6.as4])
    for client in ("h1", "h2"):
        figure1.run(client, "sysctl", "-qw", "net.ipv4.ping_group_range=0 0")
    return figure1


class Polls:
    """A client that polls everything at one service, in both families."""

    def __init__(self, network: Running, client: str, services: dict[Family, str]) -> None:
        self._network = network
        self._programs = {
            family: network.testbed.spawn(client, program("poller.py", service, *POLLED))
            for family, service in services.items()
        }
        until(lambda: len(self.answers()) == 2 * len(POLLED), f"all that {client} asks is answered")

    def answers(self) -> Answers:
        answers: Answers = defaultdict(list)
        for family, polling in self._programs.items():
            for line in polling.output().splitlines():
                when, what, said = line.split(" ", 2)
                answers[family, what].append((float(when), said))
        return answers

    def stop(self) -> Answers:
        answers = self.answers()
        for polling in self._programs.values():
            polling.stop()
        return answers


def gap_s(answers: list[tuple[float, str]]) -> float:
    """The longest time without an answer."""
    return max(later - earlier for earlier, later in pairwise(when for when, said in answers if said != "reset"))


def flows_of(network: Running, client: str) -> dict[tuple[str, int], dict[str, object]]:
    return {(flow["protocol"], flow["client_port"]): flow for flow in network.flows(f"client={client}&state=pinned")}


def gaps_when_as2_dies(network: Running, *how: str, without_controller: bool = False) -> dict[str, float]:
    """as2 dies in this way while h1 polls it and h2 polls as4 → for how long nobody answered h1.

    ``without_controller``: it is killed before, and started again afterwards.
    """
    polls = Polls(network, "h1", {V4: V4.web, V6: V6.web})
    others = Polls(network, "h2", OTHERS)
    before = {family: flows_of(network, family.h1) for family in (V4, V6)}
    for family, flows in before.items():
        assert len(flows) == len(POLLED)
        assert {flow["server"] for flow in flows.values()} == {family.as2}
    if without_controller:
        network.controller.kill()
    died = time.monotonic()
    network.run("as2", *how)
    if without_controller:
        network.controller.start()
    until(
        lambda: all(
            answers[-1][0] > died + 2 and answers[-1][1] not in ("reset", "as2") for answers in polls.answers().values()
        ),
        "everything is answered again", 25,
    )  # fmt: skip
    after = {family: flows_of(network, family.h1) for family in (V4, V6)}
    answers, undisturbed = polls.stop(), others.stop()
    for family, flows in after.items():
        assert {flow["server"] for flow in flows.values()} == {family.as3}
        for what, flow in flows.items():
            if what[0] != "tcp":
                assert flow["translated"] == before[family][what]["translated"]
    assert max(map(gap_s, undisturbed.values())) < UNDISTURBED_S
    for family in (V4, V6):
        resets = [(end, begin) for end, begin in pairwise(answers[family, CONNECTION]) if end[1] == "reset"]
        assert len(resets) == 1
        assert resets[0][1][0] - resets[0][0][0] < 1, "the next connection begins at once"
    return {f"{family.name} {what}": gap_s(found) for (family, what), found in answers.items()}


def check(gaps: dict[str, float], within_s: float = WITHIN_S, again_s: float = AGAIN_S) -> None:
    print({what: round(gap, 2) for what, gap in gaps.items()})
    for what, gap in gaps.items():
        assert gap < within_s + (again_s if CONNECTION in what else 0), (what, gaps)


def end_flows(network: Running) -> None:
    """By the command: h1's next packets go to the nearest server again."""
    flows = network.flows("group=web")
    assert network.command("flows", "end", "--group", "web").stdout == f"ended {len(flows)} flows\n"
    assert network.are_gone(flows)


@pytest.mark.row("M32", "a server is silent, with its carrier: NTP, syslog, SIP, GRE, ping are served by another one "
                 "within 6 s, TCP is reset and connects again")  # fmt: skip
def test_a_silent_server_is_replaced(network: Running) -> None:
    name = network.testbed.interface("as2")
    check(gaps_when_as2_dies(network, "ip", "address", "flush", "dev", name, "scope", "global"))
    for family, length in ((V4, 24), (V6, 64)):
        gateway = family.as2.rpartition(":" if family is V6 else ".")[0]
        gateway += ":1" if family is V6 else ".1"
        network.run("as2", "ip", "address", "add", f"{family.as2}/{length}", "dev", name, *["nodad"][: family is V6])
        network.run("as2", "ip", "route", "replace", "default", "via", gateway, "dev", name)
    network.wait_for_servers("web")


@pytest.mark.row("M32", "a server's link is cut: the same")
def test_a_server_whose_link_is_cut_is_replaced(network: Running) -> None:
    end_flows(network)
    check(gaps_when_as2_dies(network, "ip", "link", "set", network.testbed.interface("as2"), "down"))
    assert network.drops("arh1", "freed") >= 4 * len(POLLED)
    assert network.drops("arh1", "server_lost") >= 4
    assert "server 10.2.0.10 is lost" in network.controller.log()
