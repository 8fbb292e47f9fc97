"""`anycast-sdn trace`: its arguments and its output."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from anycast_sdn.core.model import ICMP, ICMPV6, SCTP, TCP, UDP, ConfigurationError, FlowKey, packed
from anycast_sdn.core.roles import EngineName
from anycast_sdn.description import reading
from anycast_sdn.description.model import Network
from anycast_sdn.simulation.trace import parse_flow, parse_group, trace

TOPOLOGIES = Path(__file__).parents[3] / "topologies"


@cache
def topology(name: str) -> Network:
    return reading.load(TOPOLOGIES / f"{name}.yaml")

H, ANY = packed("10.1.0.10"), packed("198.18.0.1")
H6, ANY6 = packed("2001:db8:1::10"), packed("2001:db8:a::1")
WEB = "web=198.18.0.1/32=10.2.0.10,10.3.0.10"


# ------------------------------------------------------------------------------ what was asked


@pytest.mark.parametrize(
    ("source", "destination", "key"),
    [
        ("10.1.0.10:1234", "198.18.0.1:80/tcp", FlowKey(H, ANY, TCP, 1234, 80)),
        ("10.1.0.10", "198.18.0.1:53/UDP", FlowKey(H, ANY, UDP, 40000, 53)),
        ("10.1.0.10", "198.18.0.1/icmp", FlowKey(H, ANY, ICMP, 0, 0)),
        ("10.1.0.10", "198.18.0.1/47", FlowKey(H, ANY, 47, 0, 0)),
        ("[2001:db8:1::10]:1234", "[2001:db8:a::1]:80/sctp", FlowKey(H6, ANY6, SCTP, 1234, 80)),
        ("2001:db8:1::10", "[2001:db8:a::1]:80/tcp", FlowKey(H6, ANY6, TCP, 40000, 80)),
        ("2001:db8:1::10", "2001:db8:a::1/icmp", FlowKey(H6, ANY6, ICMPV6, 0, 0)),
        ("[2001:db8:1::10]", "[2001:db8:a::1]/icmpv6", FlowKey(H6, ANY6, ICMPV6, 0, 0)),
    ],
)
def test_a_flow_is_written_as_people_write_it(source: str, destination: str, key: FlowKey) -> None:
    assert parse_flow(source, destination) == key


@pytest.mark.parametrize(
    ("source", "destination", "why"),
    [
        ("10.1.0.10", "198.18.0.1:80", "add the protocol"),
        ("10.1.0.10", "198.18.0.1/tcp", r"tcp needs a port, as in 198\.18\.0\.1:80/tcp"),
        ("2001:db8:1::10", "2001:db8:a::1/tcp", r"needs a port, as in \[2001:db8:a::1\]:80/tcp"),
        ("10.1.0.10", "198.18.0.1:80/icmp", "icmp has no ports"),
        ("10.1.0.10:5", "198.18.0.1/47", "47 has no ports"),
        ("10.1.0.10", "2001:db8:a::1/icmp", "not of the same address family"),
        ("10.1.0.10", "198.18.0.1/icmpv6", "needs IPv6"),
        ("10.1.0.10", "198.18.0.1:80/http", "'http' is not a protocol"),
        ("10.1.0.10", "198.18.0.1/256", "'256' is not a protocol"),
        ("10.1.0.300", "198.18.0.1:80/tcp", "10.1.0.300 is not an address"),
        ("h1", "198.18.0.1:80/tcp", "h1 is not an address"),
        ("10.1.0.10:0", "198.18.0.1:80/tcp", "a port is 1-65535"),
        ("10.1.0.10", "198.18.0.1:65536/tcp", "a port is 1-65535"),
        ("10.1.0.10:abc", "198.18.0.1:80/tcp", "is not an address"),
        ("", "/", "is not an address"),
    ],
)
def test_what_cannot_be_understood_is_explained(source: str, destination: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        parse_flow(source, destination)


def test_a_group_may_have_several_prefixes_and_servers() -> None:
    group = parse_group("web=198.18.0.1/32,2001:db8:a::1/128=10.2.0.10,2001:db8:2::10")
    assert group.name == "web"
    assert [str(prefix) for prefix in group.prefixes] == ["198.18.0.1/32", "2001:db8:a::1/128"]
    assert list(group.servers) == [packed("10.2.0.10"), packed("2001:db8:2::10")]


@pytest.mark.parametrize("given", ["web", "web=198.18.0.1/32", "web=198.18.0.1/33=10.2.0.10", "web=198.18.0.1/32=as2"])
def test_a_group_that_cannot_be_understood_is_refused(given: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(given)):
        parse_group(given)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("web=192.0.2.1/32=10.2.0.10", "not within an anycast prefix"),
        ("web=198.18.0.1/32=10.9.0.10", "in no server subnet"),
        ("web=198.18.0.1/32=10.1.0.11", "client subnet"),
        ("Web=198.18.0.1/32=10.2.0.10", "not a group name"),
    ],
)
def test_a_group_that_may_not_be_enrolled_is_refused(given: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        trace(topology("figure1"), "10.1.0.10", "198.18.0.1:80/tcp", [given])


@pytest.mark.parametrize(
    ("source", "why"),
    [("192.0.2.1", "in no subnet of figure1"), ("10.1.0.1", "the gateway of"), ("10.1.0.0", "the network address")],
)
def test_the_source_must_be_a_hosts_address_of_a_subnet(source: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        trace(topology("figure1"), source, "198.18.0.1:80/tcp")


# ------------------------------------------------------------------------------ output


def output(source: str, destination: str, groups: Sequence[str] = (), name: str = "figure1") -> str:
    return trace(topology(name), source, destination, groups)


def test_the_whole_path_is_shown_in_the_documents_notation() -> None:
    text = output("10.1.0.10:40000", "198.18.0.1:80/tcp", [WEB])
    story = re.findall(r"\((\w+ → \w+)\)", text)
    first = ["H → ANY", "PR1X → ANY", "PR1X → AS2", "PR1X → AS2"]  # the last one is the server that receives it
    reply = ["AS2 → PR1X", "ANY → H", "ANY → H"]
    second = ["H → ANY", "PR1X → AS2", "PR1X → AS2"]
    assert story == first + reply + second
    parts = ["FIRST PACKET", "add binding_out_unanswered 1", "FIRST REPLY", "add binding_out 1", "add binding_in 1"]
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)
    assert "controller" not in text.partition("SECOND PACKET")[2].replace("without the controller", "")


def test_a_client_edge_inside_the_tracker_is_shown_with_what_the_tracker_has_found() -> None:
    figure1 = topology("figure1")
    edge, *others = figure1.switches
    assert edge.client_edge
    role = replace(edge.client_edge, engines=(EngineName.CONNTRACK,))
    inside = replace(figure1, switches=(replace(edge, client_edge=role), *others))
    shown = trace(inside, "10.1.0.10:40000", "198.18.0.1:53/udp", ["web=198.18.0.1/32=10.2.0.10"])
    first, reply, second = shown.split("\n\n")[1:]
    zone = r"  tracker +zone \d+: "
    for part, lines in (
        (first, (
            r"10\.1\.0\.10:40000.*\(H → ANY\)", zone + "no connection yet → tracked_out",
            r"controller → arh1: packet-out, and a connection in zone \d+: [0-9.]+ \(H'\) becomes 203\..* \(PR1X\)",
            "arh1, from the controller", zone + "no connection yet, source translated → tracked_out",
            r" +0\..*\(H' → K\)", r" +becomes 203\..*\(PR1X → K\)", r" +203\..*\(PR1X → ANY\)",
            r"as2 receives .*\(PR1X → AS2\)",
        )),
        (reply, (
            r".*reg4 := 10\.2\.0\.10 \(AS2\), ipv4_src := 0\.0\.0\.1 \(K\), connection tracker, zone \d+ → tracked_in",
            zone + "known, a reply, destination translated → tracked_in", r" +becomes .*\(K → H'\)",
            r"  9 pin .*label := 10\.2\.0\.10 \(AS2\).*copy to the controller", r"h1 receives .*\(ANY → H\)",
        )),
        (second, (
            zone + r"known, source translated, label 10\.2\.0\.10 \(AS2\) → tracked_out",
            "  7 tracked_out translated: ipv4_dst := ct_label, again → service", r" +203\..*\(PR1X → AS2\)",
        )),
    ):  # fmt: skip
        for line in lines:
            assert re.search(rf"^.*{line}", part, re.MULTILINE), f"{line}\n{part}"


def test_a_rule_that_sends_a_packet_through_tables_again_is_shown_with_the_packet_as_it_went_there() -> None:
    one_switch = topology("one-switch")
    (edge,) = one_switch.switches
    assert edge.client_edge
    role = replace(edge.client_edge, engines=(EngineName.CONNTRACK,))
    inside = replace(one_switch, switches=(replace(edge, client_edge=role),))
    lines = trace(inside, "10.1.0.10:40000", "198.18.53.1:53/udp").splitlines()
    at = next(number for number, line in enumerate(lines) if "its connection has no label: ipv4_dst := reg4" in line)
    assert lines[at - 1].endswith("7 tracked_out reg8 = 0: reg8 := 1, again → tracked_out")
    assert lines[at + 1].endswith("(PR1X → ANY)")


def test_every_switch_and_table_on_the_path_is_shown() -> None:
    first = output("10.1.0.10:40000", "198.18.0.1:80/tcp", [WEB]).partition("FIRST REPLY")[0]
    assert re.findall(r"^(\w+), (?:port \d+|from the controller)$", first, re.M) == ["arh1", "arh1", "core", "ars2"]
    assert re.findall(r"^  (\d) ", first, re.M) == list("01" "01234" "01234" "012")


def test_a_client_that_the_file_does_not_name_is_assumed() -> None:
    assert "PR1X → AS2" in output("10.1.0.77", "198.18.0.1/icmp", [WEB])


def test_ipv6_and_the_groups_of_the_file() -> None:
    text = output("2001:db8:1::10", "[2001:db8:a::1]:53/udp", name="two-sites")
    assert "AS1 → PR1X" in text
    assert "as1 receives" in text


def test_a_service_without_servers_is_pointed_out() -> None:
    text = output("10.1.0.10", "198.18.0.1:80/tcp")
    assert "no server is enrolled for this anycast address" in text
    assert "--group NAME=198.18.0.1/32=SERVER" in text
    assert "controller: dropped at arh1, counted as no_service" in text
    assert "h1 receives TCP RST: 198.18.0.1:80 → 10.1.0.10:40000/tcp" in text
    assert text.endswith("Refused by the edge.\n") or text.endswith("Refused by the edge.")
    assert "h1 receives ICMP error" in output("10.1.0.10", "198.18.0.1:53/udp")


@pytest.mark.parametrize(
    ("name", "source", "destination", "counter", "why"),
    [
        ("two-sites", "10.4.0.10", "198.19.0.1:80/tcp", "unauthorised", "M6"),
        ("figure1", "10.1.0.10", "203.0.113.7:80/tcp", "unknown_translated", "M16"),
        ("figure1", "10.1.0.10", "192.0.2.1:80/tcp", "no_route", "no route leads there"),
        ("figure1", "10.2.0.10", "198.18.0.1:80/tcp", "unauthorised", "M6"),
    ],
)
def test_a_dropped_packet_says_where_and_why(name: str, source: str, destination: str, counter: str, why: str) -> None:
    text = output(source, destination, name=name)
    assert f"(counted as {counter})" in text
    assert why in text
    assert text.splitlines()[-1].startswith("Not delivered")


def test_plain_unicast_is_shown_too() -> None:
    text = output("10.1.0.10", "10.3.0.10:22/tcp")
    assert "as3 receives" in text
    assert "h1 receives" in text
    assert "SECOND PACKET" not in text


def test_the_gateway_answers() -> None:
    assert output("10.1.0.10", "10.1.0.1/icmp").splitlines()[-1] == "Answered by the edge."


def test_the_same_question_has_the_same_answer() -> None:
    assert output("10.1.0.10", "198.18.0.1:80/tcp", [WEB]) == output("10.1.0.10", "198.18.0.1:80/tcp", [WEB])


# ------------------------------------------------------------------------------ participants


def cast_of(name: str, source: str, destination: str, groups: Sequence[str] = ()) -> list[str]:
    """The lines before the first packet's."""
    return trace(topology(name), source, destination, groups).split("\n\n")[0].splitlines()


def test_servers_that_the_file_does_not_name_are_called_asg() -> None:
    lines = cast_of("figure1", "10.1.0.10", "198.18.0.1:80/tcp", groups=("web=198.18.0.1/32=10.2.0.77,10.3.0.10",))
    assert lines == [
        "H    10.1.0.10, at arh1:1",
        "ANY  198.18.0.1, group web",
        "ASg  10.2.0.77, at ars2:1",
        "AS3  10.3.0.10, at ars3:1",
    ]


def test_several_of_them_are_numbered() -> None:
    given = "web=2001:db8:a::1/128=2001:db8:2::77,2001:db8:3::77"
    lines = cast_of("figure1", "2001:db8:1::10", "[2001:db8:a::1]:80/tcp", groups=(given,))
    assert lines[2:] == ["ASg1  2001:db8:2::77, at ars2:1", "ASg2  2001:db8:3::77, at ars3:1"]


def test_no_name_runs_into_its_address_however_long_it_is() -> None:
    network = topology("one-switch")
    hosts = tuple(replace(host, name=f"a-host-of-long-name-{host.name}") for host in network.hosts)
    long = replace(network, hosts=hosts)
    lines = trace(long, "10.1.0.10", "198.18.0.1:80/tcp").split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines] == ["H", "ANY", "A-HOST-OF-LONG-NAME-S1", "A-HOST-OF-LONG-NAME-S2"]
    assert [line.split()[1].rstrip(",") for line in lines] == ["10.1.0.10", "198.18.0.1", "10.2.0.10", "10.2.0.11"]
    assert len({len(line) - len(line[line.index(" ") :].lstrip()) for line in lines}) == 1


def test_a_host_does_not_receive_what_is_for_another_at_its_port() -> None:
    text = trace(topology("figure1"), "10.1.0.10", "198.18.0.1:80/tcp", ["web=198.18.0.1/32=10.2.0.77"])
    assert "10.2.0.77 receives" in text
    assert "as2 receives" not in text
