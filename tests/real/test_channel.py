"""Hostile bytes: on the OpenFlow port, and in frames of hosts.  The controller serves on, undisturbed (M1, M29)."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from support import ARH1_MAC, ARS2_MAC, V4, V6, WEB, Family, Running, until

from anycast_sdn.core.model import ICMP, ICMPV6, TCP, UDP, FlowKey, packed
from anycast_sdn.openflow import builders

HELLO = struct.pack("!BBHI", 4, 0, 8, 1)
FEATURES = struct.pack("!BBHIQIBB2xII", 4, 6, 32, 2, 0xDEAD, 0, 254, 0, 0, 0)  # of a switch that no file names


@pytest.fixture(scope="module")
def network(figure1: Running) -> Running:
    figure1.enrol("web", WEB, [V4.as2, V6.as2])
    figure1.serve_udp("as2")
    return figure1


@contextmanager
def undisturbed(network: Running) -> Iterator[None]:
    """A flow goes on, new flows are served, and no switch was lost, during the block and after it."""
    flows = []
    for family in (V4, V6):
        assert network.ask("h2", family.web, "--source-port", 21201) == ["as2 hello"]
        flows.append(network.flow(family.h2, 21201))
    yield
    for family in (V4, V6):
        assert network.ask("h2", family.web, "--source-port", 21201, "--count", 5) == ["as2 hello"] * 5
        assert network.ask("h2", family.web) == ["as2 hello"]
    assert [network.flow(family.h2, 21201) for family in (V4, V6)] == flows
    assert network.call("GET", "/healthz")["status"] == "ok"
    assert "is gone" not in network.controller.log()


def connect(network: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", network.controller.openflow_port), timeout=10)


def is_closed(connection: socket.socket) -> bool:
    """Reads what the controller says until it ends the connection; False when it does not within 10 s."""
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


# ------------------------------------------------------------------------------ the OpenFlow port

MESSAGES = {
    "garbage": b"GET / HTTP/1.1\r\nHost: controller\r\n\r\n",
    "length 0": struct.pack("!BBHI", 4, 0, 0, 1),
    "length 7": struct.pack("!BBHI", 4, 0, 7, 1) * 4,
    "OpenFlow 1.0": struct.pack("!BBHI", 1, 0, 8, 1),
    "wrong version later": HELLO + struct.pack("!BBHI", 1, 5, 8, 2),
    "unknown type": HELLO + struct.pack("!BBHI", 4, 99, 8, 2),
    "features reply too short": HELLO + struct.pack("!BBHI", 4, 6, 8, 2),
    "unknown switch": HELLO + FEATURES + struct.pack("!BBHIHHI", 4, 19, 16, 3, 13, 0, 0),
    "multipart reply cut short": HELLO + FEATURES + struct.pack("!BBHIH", 4, 19, 10, 3, 13),
    "port of no length": HELLO + FEATURES + struct.pack("!BBHIHHI", 4, 19, 20, 3, 13, 0, 0) + bytes(4),
    "error cut short": HELLO + struct.pack("!BBHI", 4, 1, 8, 2),
}


@pytest.mark.row("M29", "bad OpenFlow messages end their own connection; the switches' stay")
@pytest.mark.parametrize("sent", MESSAGES.values(), ids=MESSAGES)
def test_a_bad_message_ends_its_connection(network: Running, sent: bytes) -> None:
    with connect(network) as connection, undisturbed(network):
        connection.sendall(sent)
        assert is_closed(connection)


@pytest.mark.row("M29", "a HELLO with an element of no length does no harm")
@pytest.mark.row("M29", "a peer that never finishes a message, or announces 64 KiB, or says nothing, does no harm")
@pytest.mark.parametrize(
    "sent",
    [b"", HELLO, HELLO[:5], HELLO + struct.pack("!BBHI", 4, 10, 65535, 2) + bytes(1000),
     struct.pack("!BBHIHH", 4, 0, 12, 1, 1, 0)],
    ids=["silent", "only a HELLO", "half a header", "huge length", "HELLO element of no length"],
)  # fmt: skip
def test_an_unfinished_peer_disturbs_nobody(network: Running, sent: bytes) -> None:
    with connect(network) as connection, undisturbed(network):
        connection.sendall(sent)


@pytest.mark.row("M29", "200 idle connections: the switches are served, and so is one that connects then")
def test_idle_connections_disturb_nobody(network: Running) -> None:
    with ExitStack() as stack, undisturbed(network):
        for _ in range(200):
            stack.enter_context(connect(network))
        late = stack.enter_context(connect(network))
        late.sendall(HELLO)
        answer = late.recv(8)
        assert answer[:2] == HELLO[:2]


@pytest.mark.row("M29", "300 random byte strings, with and without a plausible beginning")
def test_random_bytes_disturb_nobody(network: Running) -> None:
    noise = random.Random(1)
    with undisturbed(network):
        for _ in range(300):
            kind, length = noise.randrange(32), noise.randrange(8, 64)
            begin = noise.choice([b"", HELLO, HELLO + FEATURES, HELLO + struct.pack("!BBHI", 4, kind, length, 2)])
            with connect(network) as connection:
                connection.sendall(begin + noise.randbytes(noise.randrange(200)))


# ------------------------------------------------------------------------------ frames of hosts


def plausible(source: Family, sender: str, destination: str, mac: bytes, edge: bytes) -> list[bytes]:
    """One frame of each kind that an edge looks into, from a host to its edge."""
    ends = packed(sender), packed(destination)
    echo = ICMPV6 if len(ends[0]) == 16 else ICMP
    macs = {"eth_src": mac, "eth_dst": edge}
    error = {4: (3,), 16: (1, 2)}[len(ends[0])]
    quoted = builders.ip_packet(FlowKey(ends[1], ends[0], UDP, 7000, 20000), **macs)[14:]
    frames = [
        builders.ip_packet(FlowKey(*ends, UDP, 20000, 7000), payload=b"quiet", **macs),
        builders.ip_packet(FlowKey(*ends, TCP, 20000, 7000), **macs),
        builders.ip_packet(FlowKey(*ends, echo, 0, 0), payload=b"x" * 16, **macs),
        builders.ip_packet(FlowKey(*ends, 253, 0, 0), payload=b"x" * 16, **macs),
        *(builders.ip_packet(FlowKey(*ends, echo, 0, 0), icmp_type=kind, payload=quoted, **macs) for kind in error),
    ]
    if len(ends[0]) == 4:
        return [*frames, builders.arp_request(mac, ends[0], packed(source.gateway))]
    options = builders.ip_packet(FlowKey(*ends, 0, 0, 0), payload=bytes([60, 0, 1, 4] + [0] * 4) * 12, **macs)
    all_nodes = bytes.fromhex("333300000001"), packed("ff02::1")
    return [
        *frames,
        options,
        builders.neighbour_solicitation(mac, ends[0], packed(source.gateway)),
        builders.neighbour_advertisement(mac, ends[0], ends[0], *all_nodes, solicited=False),
    ]


def spoilt(frames: list[bytes], noise: random.Random, count: int) -> list[bytes]:
    """Frames cut short, or with a few bytes changed behind the Ethernet header."""
    out = []
    for number in range(count):
        frame = bytearray(frames[number % len(frames)])
        if noise.random() < 0.3:
            del frame[noise.randrange(14, len(frame)) :]
        else:
            for _ in range(noise.randrange(1, 4)):
                frame[noise.randrange(14, len(frame))] = noise.choice([0, 1, 0xFF, noise.randrange(256)])
        out.append(bytes(frame))
    return out


@pytest.mark.row("M1", "thousands of malformed frames of a client: dropped, counted by reason; others notice nothing")
@pytest.mark.row("M1", "the same from an enrolled server, to addresses of PRh/k")
def test_malformed_frames_disturb_nobody(network: Running) -> None:
    """IPv4 goes to an address without a group, because what survives the damage must not use up a /24."""
    noise = random.Random(2)
    h1, as2 = network.mac("h1"), network.mac("as2")
    client = plausible(V4, V4.h1, "198.18.200.1", h1, ARH1_MAC) + plausible(V6, V6.h1, V6.web, h1, ARH1_MAC)
    server = []
    for family in (V4, V6):
        assert network.ask("h2", family.web, "--source-port", 21202) == ["as2 hello"]
        pinned = network.flow(family.h2, 21202)["translated"]
        server += plausible(family, family.as2, pinned, as2, ARS2_MAC)
    with undisturbed(network):
        network.send_frames("h1", spoilt(client, noise, 4000))
        network.send_frames("as2", spoilt(server, noise, 4000))
    counted = network.edge("arh1")["drops"]
    reasons = {name for name, count in counted.items() if name.startswith("bad_frame") and count}
    assert len(reasons) >= 5, counted
    until(lambda: network.call("GET", "/healthz")["status"] == "ok", "the controller is well")
