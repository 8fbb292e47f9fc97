"""Probes: the packets by which a switch checks a server in its own name, and what the answers mean (M33).

A probe goes from the gateway address of the server's subnet to the server, so nothing has to be installed there: it
answers its gateway as any host does.  Its answer carries what nobody can know who has not seen the probe:

* TCP: a random port and a random sequence number, which a SYN/ACK or a RST has to acknowledge;
* UDP: a random port, and in a DNS query a random identifier;
* ICMP: a random identifier, sequence number and payload, which an echo reply has to repeat.

An ICMP error has to quote the probe.  What does not fit is no answer: ``judge`` returns None, and nothing is learned.

Pure functions of frames; when probes are sent, and what follows from the results, is in ``control``.
"""

from __future__ import annotations

from typing import NamedTuple

from anycast_sdn.core.checks import IcmpCheck, TcpCheck, UdpCheck
from anycast_sdn.core.health import CheckResult
from anycast_sdn.core.model import ICMP, ICMPV6, TCP, UDP, Address, FlowKey, Neighbour
from anycast_sdn.core.pool import RandomSource
from anycast_sdn.openflow import builders, frames
from anycast_sdn.openflow.frames import IpPacket
from anycast_sdn.openflow.rules import TCP_ACK, TCP_RST, TCP_SYN

FIRST_PORT, PORTS = 49152, 16384  # the dynamic ports (RFC 6335 §6): a gateway address uses them for probes alone
DNS_PASSES = frozenset((0, 3))  # NOERROR, NXDOMAIN: the server knows its answer
_DNS_ERRORS = {1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED", 6: "YXDOMAIN", 9: "NOTAUTH"}
_DNS_A, _DNS_IN = 1, 1
_NONCE = 16  # bytes of payload in an echo request

ProbedCheck = IcmpCheck | TcpCheck | UdpCheck

# (type, code) of ICMP and of ICMPv6 errors about a probe.
_ERRORS = {
    False: {(3, 0): "network unreachable", (3, 1): "host unreachable", (3, 2): "protocol unreachable",
            (3, 3): "port unreachable", (3, 9): "administratively prohibited", (3, 10): "administratively prohibited",
            (3, 13): "administratively prohibited"},
    True: {(1, 0): "no route", (1, 1): "administratively prohibited", (1, 3): "address unreachable",
           (1, 4): "port unreachable"},
}  # fmt: skip


class Probe(NamedTuple):
    """One attempt of a check, which is under way."""

    check: ProbedCheck
    key: FlowKey  # from the gateway to the server
    nonce: int  # TCP: the sequence number; ICMP: identifier and sequence number; DNS: the query's identifier
    payload: bytes = b""

    @property
    def place(self) -> tuple[Address, int, int]:
        """Where its answer is recognised: the server, the protocol, and our port or identifier.

        No two probes that are under way have the same.
        """
        return self.key.destination, self.key.protocol, self.key.source_port or self.nonce >> 16


def new(check: ProbedCheck, gateway: Address, server: Address, random: RandomSource) -> Probe:
    """A probe whose answer cannot be guessed."""
    port = FIRST_PORT + random.randrange(PORTS)
    match check:
        case TcpCheck():
            return Probe(check, FlowKey(gateway, server, TCP, port, check.port), random.randrange(1 << 32))
        case UdpCheck():
            identifier = random.randrange(1 << 16)
            payload = _dns_query(identifier, check.dns) if check.dns else check.payload
            return Probe(check, FlowKey(gateway, server, UDP, port, check.port), identifier, payload)
        case IcmpCheck():
            protocol = ICMPV6 if len(server) == 16 else ICMP
            payload = random.randrange(1 << 8 * _NONCE).to_bytes(_NONCE, "big")
            return Probe(check, FlowKey(gateway, server, protocol, 0, 0), random.randrange(1 << 32), payload)


def frame_of(probe: Probe, mac: bytes, server: Neighbour) -> bytes:
    """``mac``: the switch's own."""
    identifier, sequence = divmod(probe.nonce, 1 << 16)
    return builders.ip_packet(
        probe.key,
        eth_src=mac,
        eth_dst=server.mac,
        payload=probe.payload,
        tcp_flags=TCP_SYN,
        identifier=identifier,
        sequence=probe.nonce if probe.key.protocol == TCP else sequence,
    )


def reset_of(probe: Probe, mac: bytes, server: Neighbour) -> bytes:
    """The RST that ends a connection which the server has accepted: it has never been handed to the program."""
    sequence = (probe.nonce + 1) % (1 << 32)
    return builders.ip_packet(
        probe.key, eth_src=mac, eth_dst=server.mac, tcp_flags=TCP_RST, sequence=sequence
    )


# ------------------------------------------------------------------------------ answers


def place_of(frame: bytes, packet: IpPacket) -> tuple[Address, int, int] | None:
    """The ``place`` of the probe that this packet may answer; None: it answers none, whatever it is.  Raises BadFrame.

    Of an ICMP error, that of the packet which it quotes.
    """
    server, _, protocol, _, port = packet.key
    if packet.is_icmp_error:
        error = frames.parse_icmp_error(frame)
        quoted = error.quoted
        number = quoted.source_port or int.from_bytes(frame[error.quoted_l4 + 4 : error.quoted_l4 + 6], "big")
        return quoted.destination, quoted.protocol, number
    if packet.icmp_type >= 0:
        is_reply = packet.icmp_type == frames.ECHO_REPLY[protocol]
        return (server, protocol, int.from_bytes(frame[packet.l4 + 4 : packet.l4 + 6], "big")) if is_reply else None
    return (server, protocol, port) if protocol in (TCP, UDP) and port >= FIRST_PORT else None


def judge(probe: Probe, frame: bytes, packet: IpPacket) -> CheckResult | None:
    """What this packet, found by ``place_of``, says of the server; None: it is no answer to the probe.

    Raises BadFrame.
    """
    if packet.is_icmp_error:
        return _judge_error(probe, frame)
    if packet.key != probe.key.reverse:
        return None
    segment = frame[packet.l4 : packet.end]
    unsummed = packet.key.protocol == UDP and segment[6:8] == b"\0\0" and len(packet.key.source) == 4
    whole = not packet.more_fragments
    if whole and not unsummed and frames.transport_checksum(*packet.key[:3], segment):
        raise frames.BadFrame("checksum")
    if packet.key.protocol == TCP:
        return _judge_tcp(probe, segment)
    if packet.key.protocol == UDP:
        return _judge_udp(probe, segment[8:])
    same = segment[4:8] == probe.nonce.to_bytes(4, "big") and segment[8:] == probe.payload
    return CheckResult(True, "answers ping") if same else None


def _judge_tcp(probe: Probe, segment: bytes) -> CheckResult | None:
    flags = segment[13] & (TCP_SYN | TCP_ACK | TCP_RST)
    acknowledged = int.from_bytes(segment[8:12], "big")
    if not flags & TCP_ACK or acknowledged != (probe.nonce + 1) % (1 << 32):
        return None
    if flags & TCP_RST:
        return CheckResult(False, "connection refused")
    return CheckResult(True, "accepts connections") if flags & TCP_SYN else None


def _judge_udp(probe: Probe, answer: bytes) -> CheckResult | None:
    check = probe.check
    assert isinstance(check, UdpCheck)
    if check.dns:
        return _judge_dns(probe, answer)
    if check.answer is not None and check.answer not in answer:
        return CheckResult(False, f"another answer than expected: {answer[:32]!r}")
    return CheckResult(True, "answers")


def _judge_error(probe: Probe, frame: bytes) -> CheckResult | None:
    error = frames.parse_icmp_error(frame)
    if error.quoted != probe.key:
        return None
    # Eight bytes of the probe are quoted at least: the sequence number, the echo's, or UDP's length and checksum.
    quoted = frame[error.quoted_l4 + 4 : error.quoted_l4 + 8]
    sent = frame_of(probe, bytes(6), Neighbour(bytes(6), 0))
    packet = frames.parse_ip(sent)
    if quoted != sent[packet.l4 + 4 : packet.l4 + 8]:
        return None
    v6 = len(error.source) == 16
    what = _ERRORS[v6].get((error.type, error.code), f"{'ICMPv6' if v6 else 'ICMP'} {error.type}, {error.code}")
    return CheckResult(False, what)


# ------------------------------------------------------------------------------ DNS (RFC 1035 §4.1)


def _dns_query(identifier: int, name: str) -> bytes:
    """A recursive query for the A records of a name."""
    labels = [label.encode("ascii") for label in name.rstrip(".").split(".") if label]
    question = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    header = identifier.to_bytes(2, "big") + b"\x01\0" + b"\0\x01" + bytes(6)
    return header + question + _DNS_A.to_bytes(2, "big") + _DNS_IN.to_bytes(2, "big")


def _judge_dns(probe: Probe, answer: bytes) -> CheckResult | None:
    if len(answer) < 12 or answer[:2] != probe.payload[:2] or not answer[2] & 0x80:
        return None
    code = answer[3] & 0x0F
    if code in DNS_PASSES:
        return CheckResult(True, "NXDOMAIN" if code else "NOERROR")
    return CheckResult(False, _DNS_ERRORS.get(code, f"DNS error {code}"))
