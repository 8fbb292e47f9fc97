"""The ring, broken: links and switches fail under running transfers, and every switch is a hop (M8, M23, M24)."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from ring import ANY, all_links_up, begin_transfers, cut, deafened, draining, end_transfers, links, ring
from support import PORT, SLACK_S, Running, program, until

from anycast_sdn.openflow import lldp

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.alone("it measures stalls, and counts every packet that is lost")

AS1 = {4: "10.21.0.10", 6: "2001:db8:21::10"}
AS2 = {4: "10.22.0.10", 6: "2001:db8:22::10"}
in_both_families = pytest.mark.parametrize("v", [4, 6], ids=["IPv4", "IPv6"])
# The hops from h1: arh1, c1, c2, and then ars1, or c3 and ars2.
HOPS = {4: ["10.1.0.1", "10.255.0.1", "10.255.0.2"], 6: ["2001:db8:1::1", "2001:db8:ff::1", "2001:db8:ff::2"]}
TO_ANY = {4: [*HOPS[4], "10.21.0.1", ANY[4]], 6: [*HOPS[6], "2001:db8:21::1", ANY[6]]}
TO_AS2 = {
    4: [*HOPS[4], "10.255.0.3", "10.22.0.1", AS2[4]],
    6: [*HOPS[6], "2001:db8:ff::3", "2001:db8:22::1", AS2[6]],
}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with ring(tmp_path_factory.mktemp("ring")) as network:
        yield network


def rules_of(network: Running, switch: str) -> list[str]:
    """All that the switch holds, without what it counts."""
    dump = network.testbed.ofctl("dump-flows", switch).splitlines()[1:]
    return sorted(re.sub(r"(duration|n_packets|n_bytes)=[^,]*, ", "", line) for line in dump)


@pytest.mark.row("M24", "a link is cut under 200 TCP transfers: all finish, checksums right, within about a second")
@pytest.mark.row("M20", "pinned flows keep their server although another is nearest now; new flows take the new one")
def test_a_cut_link_costs_no_transfer(network: Running) -> None:
    crowds = begin_transfers(network, seconds=8)
    with cut(network, "c1", 1):
        until(lambda: links(network)["c1:1 c2:2"] == "port down", "the link is down, and not found silent")
        for v in (4, 6):
            assert network.ask("h2", ANY[v]) == ["as3 hello"]
    until(lambda: links(network)["c1:1 c2:2"] == "up", "the link is back", 5)
    for v in (4, 6):
        assert network.ask("h2", ANY[v]) == ["as1 hello"]
    servers, stall = end_transfers(crowds)
    assert servers == [{"as1": 50}, {"as1": 50}, {"as3": 50}, {"as3": 50}]
    assert stall < 1.2  # the longest of 200, with what TCP waits itself; mostly 0.3 to 0.4 s
    all_links_up(network)


@pytest.mark.row("M24", "ten changes of cost move a running flow of 500 packets/s back and forth: no packet is lost")
@in_both_families
def test_a_change_of_cost_loses_no_packet(network: Running, v: int) -> None:
    ping = network.testbed.spawn("h1", ["ping", "-n", "-q", "-i", "0.002", "-c", "2500", AS1[v]])
    for cost in (9, 1) * 5:
        time.sleep(0.2)
        network.call("PATCH", "/v1/topology/links/c1:1", {"cost": cost})
        assert ping.process.poll() is None, "the change comes while packets are sent"
    until(lambda: ping.process.poll() is not None, "all pings are sent")
    (received,) = re.findall(r"2500 packets transmitted, (\d+) received", ping.output())
    assert int(received) == 2500


@pytest.mark.row("M8", "a nearest server drains and returns, again and again: none of 250 new flows goes unanswered")
@in_both_families
def test_draining_a_server_costs_no_new_flow_its_answer(network: Running, v: int) -> None:
    """Half of the site's PRh/k."""
    flows = network.testbed.spawn("h1", program("udp_client.py", ANY[v], PORT, "--flows", 250, "--apart", 0.012))
    for _ in range(4):
        time.sleep(0.2)
        with draining(network, AS1[v]):
            time.sleep(0.2)
            assert flows.process.poll() is None, "the change comes while flows begin"
    until(lambda: flows.process.poll() is not None, "all flows are answered, or given up")
    answers = Counter(flows.output().splitlines())
    assert answers.total() == 250, answers
    assert answers.keys() == {"as1 hello", "as2 hello"}


@pytest.mark.row("M24", "a link that loses all packets but keeps its carrier is gone within 3 s; 200 transfers finish")
def test_a_link_that_dies_silently_is_noticed(network: Running) -> None:
    crowds = begin_transfers(network, seconds=12)
    with deafened(network, ("c1", 1), ("c2", 2)):
        until(lambda: links(network)["c1:1 c2:2"] == "silent", "the link is given up", 3 + SLACK_S)
        assert network.ask("h2", ANY[4]) == ["as3 hello"]
    servers, stall = end_transfers(crowds)
    assert servers == [{"as1": 50}, {"as1": 50}, {"as3": 50}, {"as3": 50}]
    assert stall < 8.0  # three seconds, and TCP's own back-off
    all_links_up(network)


@pytest.mark.row("M24", "a core switch dies with all its rules under 200 transfers, and gets exactly its rules again")
def test_a_switch_that_comes_back_gets_its_rules_again(network: Running) -> None:
    """With as2 alone, c4 is on the way from site 2."""
    with draining(network, "10.21.0.10", "10.23.0.10", "2001:db8:21::10", "2001:db8:23::10"):
        before = rules_of(network, "c4")
        crowds = begin_transfers(network, seconds=10)
        network.testbed.stop_switch("c4")
        assert network.ask("h4", ANY[4]) == ["as2 hello"]
        assert "10.255.0.1" in hops(network.run("h4", "traceroute", "-n", "-q1", "-w2", AS2[4]))  # by c6 and c1
        network.testbed.start_switch("c4")
        all_links_up(network)
        servers, stall = end_transfers(crowds)
        assert servers == [{"as2": 50}] * 4
        assert stall < 3.0
        assert rules_of(network, "c4") == before


@pytest.mark.row("M29", "anycast-sdn topology: links, announcements, catchment, and what if a part were missing")
def test_the_command_shows_the_network_and_what_if(network: Running) -> None:
    shown = network.command("topology").stdout
    assert re.search(r"c1:1–c2:2 +1 +up +yes +yes", shown)
    assert re.search(r"198\.18\.0\.1/32 +arh1 +ars1", shown)
    without = network.command("topology", "--without", "c1-c2", "--without", "10.23.0.10").stdout
    assert "c1:1–c2:2" not in without
    assert re.search(r"198\.18\.0\.1/32 +arh1 +ars2", without)
    assert re.search(r"web from arh1: ars1 → ars2 \(198\.18\.0\.1/32\)", without)
    assert "parts of the fabric that no link connects" in network.command("topology", "--without", "c2").stdout
    refused = network.command("topology", "--without", "c9")
    assert (refused.returncode, "no switch (" in refused.stderr) == (1, True)
    assert network.ask("h1", ANY[4]) == ["as1 hello"]


def hops(output: str) -> list[str]:
    """The address in each line of traceroute's or tracepath's that begins with a hop's number; once each."""
    found = re.findall(r"^ ?\d+\??: +([0-9a-f.:]+) |^ ?\d+  ([0-9a-f.:]+) ", output, re.MULTILINE)
    return list(dict.fromkeys(a or b for a, b in found))


@pytest.mark.row("M23", "traceroute shows every switch on the way, to ANY and to a unicast address")
@in_both_families
def test_traceroute_shows_every_switch(network: Running, v: int) -> None:
    assert hops(network.run("h1", "traceroute", "-n", "-q1", ANY[v])) == TO_ANY[v]
    assert hops(network.run("h1", "traceroute", "-n", "-q1", AS2[v])) == TO_AS2[v]
    assert hops(network.run("h1", "traceroute", "-n", "-q1", "-I", ANY[v])) == TO_ANY[v]


@pytest.mark.row("M23", "tracepath too, and as many hops back as there were forth")
@in_both_families
def test_tracepath_shows_every_switch(network: Running, v: int) -> None:
    for destination, expected in ((ANY[v], TO_ANY[v]), (AS2[v], TO_AS2[v])):
        shown = network.run("h1", "tracepath", "-n", destination)
        assert hops(shown) == expected
        assert f"hops {len(expected)} back {len(expected)}" in shown
        assert "asymm" not in shown


@in_both_families
def test_core_switches_answer_ping(network: Running, v: int) -> None:
    for address in HOPS[v]:
        network.run("h3", "ping", "-n", "-c1", "-W2", address)


def test_hosts_have_no_say_in_which_links_there_are(network: Running) -> None:
    forged = lldp.build(lldp.Probe(0x31, 1, 1 << 40), network.mac("h1"), b"no such key")
    with network.counts("arh1", "lldp_from_host", 3):
        network.send_frames("h1", [forged] * 3)
    assert set(links(network).values()) == {"up"}
