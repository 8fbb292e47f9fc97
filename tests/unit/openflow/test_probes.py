"""openflow.probes: what probes look like, and which packets answer them (M33)."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.core.checks import IcmpCheck, TcpCheck, UdpCheck
from anycast_sdn.core.model import ICMP, TCP, UDP, Neighbour, packed
from anycast_sdn.openflow import builders, frames, probes
from anycast_sdn.openflow.builders import Unreachable
from anycast_sdn.openflow.frames import BadFrame, parse_ip
from anycast_sdn.openflow.probes import Probe, ProbedCheck
from anycast_sdn.openflow.rules import TCP_ACK, TCP_RST, TCP_SYN

MAC, SERVER_MAC = bytes.fromhex("02ac00000002"), bytes.fromhex("060000000001")
THERE = Neighbour(SERVER_MAC, 1)
GATEWAY = {False: packed("10.2.0.1"), True: packed("2001:db8:2::1")}
SERVER = {False: packed("10.2.0.10"), True: packed("2001:db8:2::10")}
TCP80, HELLO, DNS, PING = (
    TcpCheck(port=80), UdpCheck(port=7, payload=b"hello"), UdpCheck(port=53, dns="www.example.org"), IcmpCheck()
)  # fmt: skip
EVERY = pytest.mark.parametrize("check", [TCP80, HELLO, DNS, PING], ids=["tcp", "udp", "dns", "icmp"])
IN_BOTH = pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])


def probe_of(check: ProbedCheck, v6: bool, seed: int = 1) -> tuple[Probe, bytes]:
    probe = probes.new(check, GATEWAY[v6], SERVER[v6], Random(seed))
    return probe, probes.frame_of(probe, MAC, THERE)


def answer(frame: bytes, **options: object) -> bytes:
    """What the server sends back, with these options of ``builders.ip_packet``."""
    packet = parse_ip(frame)
    return builders.ip_packet(packet.key.reverse, eth_src=SERVER_MAC, eth_dst=MAC, **options)  # type: ignore[arg-type]


@IN_BOTH
@EVERY
def test_a_probe_is_a_packet_from_the_gateway_with_right_checksums(check: ProbedCheck, v6: bool) -> None:
    probe, frame = probe_of(check, v6)
    packet = parse_ip(frame)
    assert (packet.eth_src, packet.eth_dst) == (MAC, SERVER_MAC)
    assert packet.key == probe.key
    assert (packet.key.source, packet.key.destination) == (GATEWAY[v6], SERVER[v6])
    assert frames.transport_checksum(*packet.key[:3], frame[packet.l4 : packet.end]) == 0


@IN_BOTH
@EVERY
def test_two_probes_differ_in_what_nobody_can_know(check: ProbedCheck, v6: bool) -> None:
    seen = {(probe.place, probe.nonce) for probe, _ in (probe_of(check, v6, seed) for seed in range(200))}
    assert len(seen) == 200


@IN_BOTH
@EVERY
def test_an_answer_is_found_by_the_place_of_its_probe(check: ProbedCheck, v6: bool) -> None:
    probe, frame = probe_of(check, v6)
    packet = parse_ip(frame)
    reply = builders.echo_reply(frame, SERVER_MAC) if check is PING else answer(frame)
    assert probes.place_of(reply, parse_ip(reply)) == probe.place
    error = builders.unreachable(frame, SERVER_MAC, packet.key.destination, Unreachable.PORT)
    assert error
    assert probes.place_of(error, parse_ip(error)) == probe.place
    result = probes.judge(probe, error, parse_ip(error))
    assert result
    assert (result.passed, result.output) == (False, "port unreachable")


@IN_BOTH
@pytest.mark.parametrize(
    ("flags", "off", "says"),
    [
        (TCP_SYN | TCP_ACK, 0, "accepts connections"),
        (TCP_RST | TCP_ACK, 0, "connection refused"),
        (TCP_SYN | TCP_ACK, 1, None),
        (TCP_RST | TCP_ACK, 1, None),
        (TCP_RST, 0, None),
        (TCP_SYN, 0, None),
        (TCP_ACK, 0, None),
    ],
)
def test_only_what_acknowledges_the_syn_is_an_answer(flags: int, off: int, says: str | None, v6: bool) -> None:
    probe, frame = probe_of(TCP80, v6)
    reply = answer(frame, tcp_flags=flags, acknowledged=(probe.nonce + 1 + off) % (1 << 32))
    result = probes.judge(probe, reply, parse_ip(reply))
    assert (result.output if result else None) == says


@IN_BOTH
def test_a_reset_ends_the_connection_that_the_server_has_accepted(v6: bool) -> None:
    probe, _ = probe_of(TCP80, v6)
    reset = probes.reset_of(probe, MAC, THERE)
    packet = parse_ip(reset)
    assert packet.key == probe.key
    assert reset[packet.l4 + 13] == TCP_RST
    assert int.from_bytes(reset[packet.l4 + 4 : packet.l4 + 8], "big") == (probe.nonce + 1) % (1 << 32)


def test_a_dns_query_asks_for_the_name() -> None:
    probe, _ = probe_of(DNS, False)
    assert probe.payload[2:] == bytes.fromhex("01000001000000000000") + b"\3www\7example\3org\0" + b"\0\1\0\1"
    root = probes.new(UdpCheck(port=53, dns="."), GATEWAY[False], SERVER[False], Random(1))
    assert root.payload[12:] == b"\0\0\1\0\1"


@IN_BOTH
@pytest.mark.parametrize(("said", "says"), [
    (b"\x81\x80", "NOERROR"), (b"\x81\x83", "NXDOMAIN"), (b"\x81\x82", "SERVFAIL"), (b"\x81\x85", "REFUSED"),
    (b"\x01\x80", None),  # a query
])  # fmt: skip
def test_answers_of_dns_are_judged_by_their_code(said: bytes, says: str | None, v6: bool) -> None:
    probe, frame = probe_of(DNS, v6)
    reply = answer(frame, payload=probe.payload[:2] + said + probe.payload[4:])
    result = probes.judge(probe, reply, parse_ip(reply))
    assert (result.output if result else None) == says
    other = answer(frame, payload=bytes((probe.payload[0] ^ 1, probe.payload[1])) + said + probe.payload[4:])
    assert probes.judge(probe, other, parse_ip(other)) is None
    short = answer(frame, payload=probe.payload[:2] + said)
    assert probes.judge(probe, short, parse_ip(short)) is None


@IN_BOTH
@EVERY
def test_an_error_that_quotes_another_packet_is_no_answer(check: ProbedCheck, v6: bool) -> None:
    probe, _ = probe_of(check, v6)
    for seed in range(2, 12):
        other, _ = probe_of(check, v6, seed)
        same_place = other._replace(key=probe.key) if check is TCP80 else other  # another sequence number
        guess = probes.frame_of(same_place, MAC, THERE)
        error = builders.unreachable(guess, SERVER_MAC, SERVER[v6], Unreachable.PORT)
        assert error
        assert probes.judge(probe, error, parse_ip(error)) is None


@IN_BOTH
@EVERY
def test_a_wrong_checksum_is_no_answer(check: ProbedCheck, v6: bool) -> None:
    probe, frame = probe_of(check, v6)
    good = builders.echo_reply(frame, SERVER_MAC) if check is PING else answer(frame, acknowledged=probe.nonce + 1)
    packet = parse_ip(good)
    at = packet.l4 + {TCP: 16, UDP: 6}.get(packet.key.protocol, 2)
    bad = good[:at] + bytes((good[at] ^ 0x55,)) + good[at + 1 :]
    with pytest.raises(BadFrame, match="checksum"):
        probes.judge(probe, bad, packet)


@given(st.data(), st.sampled_from([TCP80, HELLO, DNS, PING]), st.booleans())
def test_spoiled_answers_raise_nothing_but_bad_frame(data: st.DataObject, check: ProbedCheck, v6: bool) -> None:
    probe, frame = probe_of(check, v6)
    error = builders.unreachable(frame, SERVER_MAC, SERVER[v6], Unreachable.PORT)
    good = builders.echo_reply(frame, SERVER_MAC) if check is PING else answer(frame)
    reply = data.draw(st.sampled_from([answer(frame), good, error or b""]))
    spoiled = bytearray(reply[: data.draw(st.integers(0, len(reply)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if spoiled:
            spoiled[data.draw(st.integers(0, len(spoiled) - 1))] = data.draw(st.integers(0, 255))
    try:
        packet = parse_ip(bytes(spoiled))
        probes.place_of(bytes(spoiled), packet)
        probes.judge(probe, bytes(spoiled), packet)
    except BadFrame:
        pass


def test_echo_requests_answer_nothing() -> None:
    _, frame = probe_of(PING, False)
    back = answer(frame, icmp_type=8)
    assert parse_ip(back).key.protocol == ICMP
    assert probes.place_of(back, parse_ip(back)) is None
