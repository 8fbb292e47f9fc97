"""Every IP protocol by the fields that it has, and a first packet that is neither lost nor doubled (M12, M13)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support import (
    ARH1_MAC,
    PORT,
    V4,
    V6,
    WEB,
    Family,
    Running,
    in_both_families,
    is_userspace,
    on_both_engines,
    program,
    rules_alone,
    until,
)

from anycast_sdn.core.model import UDP, FlowKey, packed
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.frames import checksum

pytestmark = on_both_engines

SCTP, GRE, EXPERIMENT = 132, 47, 253
HOP_BY_HOP, FRAGMENT, DESTINATION_OPTIONS = 0, 44, 60  # IPv6 extension headers


@pytest.fixture(scope="module")
def network(figure1: Running) -> Running:
    figure1.enrol("web", WEB, ["10.2.0.10", "2001:db8:2::10"])
    figure1.serve_udp("as2")
    figure1.serve_tcp("as2")
    for protocol in (SCTP, GRE, EXPERIMENT):
        peer = figure1.testbed.spawn("as2", program("raw_peer.py", "serve", protocol))
        until(peer.output, f"the peer for protocol {protocol} is ready")
    return figure1


def flows_of(network: Running, client: str, protocol: str) -> list[tuple[int, int, str, str | None]]:
    """Ports, state and server of this client's flows of a protocol."""
    return [
        (flow["client_port"], flow["service_port"], flow["state"], flow["server"])
        for flow in network.flows(f"client={client}")
        if flow["protocol"] == protocol
    ]


@pytest.mark.row("M12", "a protocol without an entry in any kernel works both ways; its binding has the fields it has")
@pytest.mark.parametrize(
    ("protocol", "name", "ports"),
    [(SCTP, "sctp", (4000, 9000)), (GRE, "47", (0, 0)), (EXPERIMENT, "253", (0, 0))],
    ids=["SCTP", "GRE", "protocol 253"],
)
@in_both_families
def test_raw_protocols_work_both_ways(
    network: Running, family: Family, protocol: int, name: str, ports: tuple[int, int]
) -> None:
    with network.testbed.capture("as2", 0, f"{family.ip} proto {protocol}") as at_server:
        said = network.run("h1", *program("raw_peer.py", "ask", protocol, family.web))
    assert said.splitlines() == [f"answered {text} by {family.web}" for text in ("first", "second")]
    assert flows_of(network, family.h1, name) == [(*ports, "pinned", family.as2)]
    assert len(at_server.packets()) == 4


@pytest.mark.row("M12", "ICMP echo: one binding per host and service address, without ports")
@in_both_families
def test_echoes_of_one_host_are_one_flow(network: Running, family: Family) -> None:
    for _ in range(2):
        network.run("h1", "ping", "-c", "2", "-i", "0.1", "-W", "2", family.web)
    name = "icmpv6" if ":" in family.web else "icmp"
    assert flows_of(network, family.h1, name) == [(0, 0, "pinned", family.as2)]


@pytest.mark.row("M12", "TCP and UDP with the same ports are two flows")
@in_both_families
def test_the_protocol_is_part_of_the_flow(network: Running, family: Family) -> None:
    said = network.run("h2", *program("tcp_client.py", family.web, PORT, "--bytes", 20_000))
    assert said.splitlines()[1] == "20000 bytes, checksum right"
    port = int(said.splitlines()[0].rpartition(" ")[2])
    assert network.ask("h2", family.web, "--source-port", port) == ["as2 hello"]
    assert flows_of(network, family.h2, "tcp") == flows_of(network, family.h2, "udp") == [
        (port, PORT, "pinned", family.as2)
    ]


@pytest.mark.row("M13", "50 packets of a new flow, back to back: one binding, all arrive exactly once")
@in_both_families
def test_a_burst_of_a_new_flow_arrives_whole(network: Running, family: Family) -> None:
    options = ("--source-port", 20100, "--count", 50, "--text", "burst #")
    with network.testbed.capture("as2", 0, f"{family.ip} and udp dst port {PORT}") as at_server:
        answers = network.ask("h1", family.web, *options)
    assert sorted(answers) == sorted(f"as2 burst {number}" for number in range(50))
    arrived = at_server.packets()
    assert sorted(packet.payload[8:] for packet in arrived) == sorted(b"burst %d" % number for number in range(50))
    assert {packet.source for packet in arrived} == {network.flow(family.h1, 20100)["translated"]}


@pytest.mark.row("M13", "a burst to a server that never answers arrives whole, too")
@in_both_families
def test_a_burst_without_answers_arrives_whole(network: Running, family: Family) -> None:
    options = ("--source-port", 20101, "--count", 50, "--text", "quiet #", "--answers", 0)
    with network.testbed.capture("as2", 0, f"{family.ip} and udp dst port {PORT}") as at_server:
        network.ask("h1", family.web, *options)
        at_server.wait_for(50, lambda packet: b"quiet" in packet.payload)
        assert network.ask("h2", family.web) == ["as2 hello"]  # had anything been doubled, it would be here by now
    arrived = [packet.payload[8:] for packet in at_server.packets()]
    assert sorted(arrived) == sorted([b"hello", *(b"quiet %d" % number for number in range(50))])


@pytest.mark.row("M13", "TCP connects at once: one SYN, no retransmission, for 20 connections in a row")
@in_both_families
def test_a_connection_needs_one_syn(network: Running, family: Family) -> None:
    flag = "tcp[tcpflags] & tcp-syn != 0" if family.ip == "ip" else "ip6[53] & 2 != 0"
    with network.testbed.capture("h1", 0, f"{family.ip} and tcp and {flag}") as syns:
        for _ in range(20):
            network.run("h1", *program("tcp_client.py", family.web, PORT, "--bytes", 1))
    ends = [packet.key for packet in syns.packets()]
    assert len(ends) == len(set(ends)) == 40  # 20 SYNs of the client, 20 SYN-ACKs of the server


def udp_frame(network: Running, family: Family, source_port: int) -> bytes:
    key = FlowKey(packed(family.h1), packed(family.web), UDP, source_port, PORT)
    return builders.ip_packet(key, eth_src=network.mac("h1"), eth_dst=ARH1_MAC, payload=b"quiet one")


def with_options(frame: bytes) -> bytes:
    """An IPv4 packet with four bytes of options: no operation, end of list."""
    header = bytearray(frame[14:34])
    header[0] = 0x46
    header[2:4] = (int.from_bytes(header[2:4], "big") + 4).to_bytes(2, "big")
    header[10:12] = bytes(2)
    header += b"\1\1\1\0"
    header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
    return frame[:14] + bytes(header) + frame[34:]


def without_checksum(frame: bytes) -> bytes:
    """IPv4: the sender of a UDP datagram may leave its checksum out."""
    return frame[:40] + bytes(2) + frame[42:]


def with_extension(kind: int) -> Callable[[bytes], bytes]:
    """An IPv6 packet with one extension header of 8 bytes, all options padding; or an atomic fragment."""

    def change(frame: bytes) -> bytes:
        length = int.from_bytes(frame[18:20], "big") + 8
        body = bytes(6) if kind == FRAGMENT else bytes([1, 4, 0, 0, 0, 0])
        header = frame[:18] + length.to_bytes(2, "big") + bytes([kind]) + frame[21:54]
        return header + bytes([UDP, 0]) + body + frame[54:]

    return change


UNUSUAL: list[tuple[Family, Callable[[bytes], bytes]]] = [
    (V4, with_options),
    (V4, without_checksum),
    (V4, lambda frame: frame + bytes(30)),
    (V6, with_extension(HOP_BY_HOP)),
    (V6, with_extension(DESTINATION_OPTIONS)),
    (V6, with_extension(FRAGMENT)),
    (V6, lambda frame: frame + bytes(30)),
]
NAMES = ["IPv4 options", "no UDP checksum", "IPv4 padded", "hop-by-hop options", "destination options",
         "atomic fragment", "IPv6 padded"]  # fmt: skip
SPOILED = rules_alone("userspace Open vSwitch's tracker does not correct its checksum")
CASES = [
    pytest.param(number, id=name, marks=[SPOILED] if name == "atomic fragment" else [])
    for number, name in enumerate(NAMES)
]


@pytest.mark.row("M12", "unusual but valid packets: one binding, every packet once")
@pytest.mark.parametrize("case", CASES)
def test_unusual_packets_are_flows_like_others(network: Running, case: int) -> None:
    family, change = UNUSUAL[case]
    frame = change(udp_frame(network, family, 20110 + case))
    with network.testbed.capture("as2", 0, f"{family.ip} and not icmp6") as at_server:
        network.send_frames("h1", [frame] * 3)
        at_server.wait_for(3, lambda packet: b"quiet one" in packet.frame)
        assert network.ask("h2", family.web) == ["as2 hello"]  # had anything been doubled, it would be here by now
    arrived = [packet.frame for packet in at_server.packets() if b"quiet one" in packet.frame]
    assert len(arrived) == 3
    assert packed(network.flow(family.h1, 20110 + case)["translated"]) in arrived[0]


@rules_alone("the tracker puts them together first: test_fragments.py")
@pytest.mark.row("M12", "fragments carry no ports, so they cannot be told apart: dropped, counted, and refused at once")
@in_both_families
def test_fragments_are_dropped_and_counted(network: Running, family: Family) -> None:
    spoils = family is V4 and is_userspace()  # the second fragment is not sent to the controller, but dropped at once
    before = network.drops("arh1", "spoiled_fragment")
    with network.counts("arh1", "bad_frame: fragment", 1 if spoils else 2):
        said = network.ask("h1", family.web, "--source-port", 20102, "--text", "x" * 2000)
    assert said == ["error EHOSTUNREACH" if family is V4 else "error EACCES"]  # prohibited
    assert network.drops("arh1", "spoiled_fragment") == before + spoils
    assert network.ask("h1", family.web, "--source-port", 20103) == ["as2 hello"]


@pytest.mark.row("M12", "IPv4 fragments of a protocol without ports are translated, also the later ones")
def test_fragments_of_a_protocol_without_ports_arrive(network: Running) -> None:
    network.run("h2", *program("raw_peer.py", "ask", GRE, V4.web))
    (flow,) = [flow for flow in network.flows(f"client={V4.h2}") if flow["protocol"] == str(GRE)]
    whole = builders.ip_packet(
        FlowKey(packed(V4.h2), packed(V4.web), GRE, 0, 0), eth_src=network.mac("h2"), eth_dst=ARH1_MAC,
        payload=b"\0\0\x88\xb5" + b"part" * 400)  # fmt: skip
    parts = [in_part(whole, 0x2000, whole[34:1434]), in_part(whole, 175, whole[1434:])]
    with network.testbed.capture("as2", 0, f"ip proto {GRE} and dst host {V4.as2}") as at_server:
        network.send_frames("h2", parts)
        arrived = at_server.wait_for(2)
    assert [packet.frame[34:50] for packet in arrived] == [part[34:50] for part in parts]
    assert {packet.source for packet in arrived} == {flow["translated"]}


def in_part(whole: bytes, field: int, payload: bytes) -> bytes:
    """A fragment of an IPv4 packet without options, with these flags and offset."""
    header = whole[14:16] + (20 + len(payload)).to_bytes(2, "big") + b"\0\7" + field.to_bytes(2, "big")
    header += whole[22:24] + bytes(2) + whole[26:34]
    return whole[:14] + header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + payload


@pytest.mark.row("M12", "UDP-Lite, whose checksum no switch mends: refused at once, and as before by unicast")
@in_both_families
def test_udp_lite_is_refused(network: Running, family: Family) -> None:
    with network.counts("arh1", "unsupported_protocol"):
        said = network.ask("h1", family.web, "--protocol", 136, "--source-port", 20120)
    assert said == ["error ENOPROTOOPT" if family is V4 else "error EACCES"]
    with network.testbed.capture("as2", 0, f"{family.ip} proto 136") as at_server:
        network.ask("h1", family.as2, "--protocol", 136, "--answers", 0)
        assert at_server.wait_for(1)
