"""Others delete and edit rules on the switches: all is put right within seconds, and no connection is lost (M20)."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from support import PORT, V4, V6, WEB, Running, program, until

from anycast_sdn.openflow.pipeline import cookie
from anycast_sdn.openflow.row import Kind

pytestmark = pytest.mark.alone("rules are put right before servers are missed, which is a matter of seconds")

SWITCHES = ("arh1", "core", "ars2", "ars3")
RIGHT_S = 10.0
SECONDS = 4 * RIGHT_S + 20  # that the connections stay at the most


@pytest.fixture(scope="module")
def network(figure1: Running) -> Running:
    figure1.enrol("web", WEB, [V4.as2, V6.as2, V4.as3, V6.as3])
    figure1.serve_tcp("as2", "as3")
    figure1.serve_udp("as2", "as3", "h2")
    return figure1


def held(network: Running, switch: str) -> list[str]:
    """All but how long a rule may be idle, which a connection's end makes shorter."""
    rules = network.testbed.ofctl("dump-flows", switch, "--no-stats").splitlines()[1:]
    rules = [", ".join(part for part in rule.split(", ") if "idle_timeout" not in part) for rule in rules]
    groups = network.testbed.ofctl("dump-groups", switch).splitlines()[1:]
    return sorted((*rules, *groups, *network.testbed.ofctl("dump-meters", switch).splitlines()[1:]))


@pytest.mark.row("M20", "rules are deleted and edited behind our back: of 300 connections none is lost")
def test_no_connection_is_lost_when_somebody_deletes_and_edits_rules(network: Running) -> None:
    words = {family: program("tcp_crowd.py", family.web, PORT, "--seconds", SECONDS) for family in (V4, V6)}
    crowds = [
        network.testbed.spawn("h1", [*words[family], "--transfers", str(count)])
        for family, count in ((V4, 30), (V6, 270))
    ]
    until(lambda: all("connected" in crowd.output() for crowd in crowds), "300 connections are up")
    bound = {flow["number"]: flow["translated"] for flow in network.flows(f"client={V6.h1}")}
    before = {switch: held(network, switch) for switch in SWITCHES}
    for edit in (("del-flows",), ("mod-flows", "actions=drop"), ("del-groups",), ("del-meters",)):
        for switch in SWITCHES:
            network.testbed.ofctl(edit[0], switch, *edit[1:])
        until(lambda: {switch: held(network, switch) for switch in SWITCHES} == before, f"right after {edit}", RIGHT_S)
    for crowd in crowds:
        assert crowd.process.poll() is None
        crowd.process.send_signal(signal.SIGUSR1)
    for crowd in crowds:
        until(lambda crowd=crowd: crowd.process.poll() is not None, "the connections end")
        result = json.loads(crowd.output().splitlines()[-1])
        assert result["failed"] == 0, crowd.output()
    assert {flow["number"]: flow["translated"] for flow in network.flows(f"client={V6.h1}")}.items() <= bound.items()
    assert "changed by others" in network.controller.log()
    health = network.controller.rest("GET", "/healthz").body  # degraded, for a minute
    said = " ".join(reason["detail"] for reason in health["reasons"])
    assert "Switch arh1 did not hold what it should, perhaps changed by others" in said
    assert health["switches"]["arh1"]["repaired"] >= 600


@pytest.mark.row("M20", "rules of others, whatever their cookies, and rules of ours that nobody wants are removed")
def test_foreign_rules_are_removed(network: Running) -> None:
    before = held(network, "core")
    cookies = (0, 0x1234, cookie(Kind.ROUTE), cookie(Kind.BINDING_OUT, 77), cookie(Kind.SERVICE))
    for table, own in enumerate(cookies):
        for strange in ("udp,tp_dst=9", "tcp,tcp_flags=+syn,tp_dst=9"):  # with what we match, and with what we never do
            rule = f"table={table},priority=9000,cookie={own:#x},{strange},actions=drop"
            network.testbed.ofctl("add-flow", "core", rule)
    until(lambda: held(network, "core") == before, "they are gone", 2 * RIGHT_S)


@pytest.mark.row("M23", "a packet whose way turns round at a switch goes back where it came from, and arrives")
def test_a_packet_may_turn_round(network: Running) -> None:
    """core sends one that is fresh from as2 towards ars3, which has to send it back."""
    right = held(network, "core")
    towards = {port.number: link for link in network.testbed.network.links for port in (link.a, link.b)
               if port.switch == "core"}  # fmt: skip
    to_ars3 = next(number for number, link in towards.items() if "ars3" in (link.a.switch, link.b.switch))
    wrong = f"table=4,priority=9000,ip,nw_dst={V4.h2},nw_ttl=63,actions=dec_ttl,output:{to_ars3}"
    at_ars3 = network.testbed.capture("ars3", 10, "udp")
    with at_ars3:
        network.testbed.ofctl("add-flow", "core", wrong)
        assert network.ask("as2", V4.h2) == ["h2 hello"]
    there = [packet for packet in at_ars3.packets() if packet.destination == V4.h2]
    assert len(there) == 2  # in, and out again
    until(lambda: held(network, "core") == right, "the controller has put core right", RIGHT_S)


@contextmanager
def snooping(network: Running, switch: str) -> Iterator[Callable[[], str]]:
    """What the switch and the controller have said to each other so far."""
    from testbed import Program

    snoop = Program(["ovs-ofctl", "-O", "OpenFlow13", "snoop", network.testbed.bridge(switch)])
    try:
        until(snoop.output, "one of them says something")
        yield snoop.output
    finally:
        snoop.stop()


@pytest.mark.row("M20", "Open vSwitch tells of a binding's rule that somebody edits: it is put right without the audit")
def test_an_edited_binding_is_put_right_at_once(network: Running) -> None:
    """The report leads to it, and no audit: these begin with a question about the groups.

    One may come by chance between an edit and its repair, but not each time.
    """
    network.ask("h1", V4.web, "--flows", 5)
    audits = []
    with snooping(network, "arh1") as said:
        for flow in network.flows(f"client={V4.h1}")[-5:]:
            before, its = network.rules_of(flow), f"{cookie(Kind.BINDING_OUT, flow['number']):#x}"
            network.testbed.ofctl("mod-flows", "arh1", f"table=1,cookie={its}/-1,actions=drop")
            repair = re.compile(rf"event=MODIFIED.* cookie={its} (.*?)OFPT_FLOW_MOD[^\n]* ADD [^\n]*:{its} ", re.S)
            found = until(lambda repair=repair: repair.search(said()), "it is reported, and put again", RIGHT_S)
            until(lambda flow=flow, before=before: network.rules_of(flow) == before, "it is right again", RIGHT_S)
            audits.append("GROUP_DESC request" in found[1])
    assert not all(audits), audits
