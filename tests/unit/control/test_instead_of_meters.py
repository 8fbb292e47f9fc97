"""A switch without meters: the controller drops what they would have dropped."""

from __future__ import annotations

import pytest

from anycast_sdn.control.instead_of_meters import InsteadOfMeters
from anycast_sdn.core.model import UDP, FlowKey, packed
from anycast_sdn.description.model import Limits
from anycast_sdn.openflow import builders, meters
from anycast_sdn.openflow.row import Kind

LIMITS = Limits(first_packets=100, first_replies=100, neighbours=100, icmp_errors=100)
BURST = 50


def limited() -> InsteadOfMeters:
    """With ports 1 and 2 to hosts, and 10 to another switch."""
    return InsteadOfMeters(lambda: meters.rules(LIMITS, 2, 1), [1, 2], lambda: [10])


def frame(source: str = "10.1.0.10") -> bytes:
    key = FlowKey(packed(source), packed("198.18.0.1"), UDP, 40000, 53)
    return builders.ip_packet(key, eth_src=bytes(6), eth_dst=bytes(6))


def passed(one: InsteadOfMeters, kind: Kind, port: int, packet: bytes, packets: int = 100, now: float = 0.0) -> int:
    return sum(one.lets_pass(kind, port, packet, now) for _ in range(packets))


@pytest.mark.parametrize("kind", [Kind.FIRST_PACKET, Kind.ARP, Kind.GATEWAY_HERE])
def test_each_port_has_a_limit_of_its_own(kind: Kind) -> None:
    one = limited()
    assert passed(one, kind, 1, frame()) == BURST
    assert passed(one, kind, 1, frame()) == 0
    assert passed(one, kind, 2, frame()) == BURST


def test_a_limit_lets_packets_pass_at_its_rate() -> None:
    one = limited()
    passed(one, Kind.FIRST_PACKET, 1, frame())
    assert passed(one, Kind.FIRST_PACKET, 1, frame(), now=0.2) == 20


def test_each_sender_of_replies_has_a_limit_of_its_own() -> None:
    one = limited()
    assert passed(one, Kind.FIRST_REPLY, 3, frame("10.2.0.10")) == BURST
    assert passed(one, Kind.FIRST_REPLY, 3, frame("10.2.0.11")) == BURST
    assert passed(one, Kind.ICMP_ERROR, 3, frame("10.2.0.10")) == BURST
    assert passed(one, Kind.ICMP_ERROR, 3, bytes(14)) == BURST, "a frame without a sender"


def test_after_a_change_other_limits_hold() -> None:
    one = limited()
    passed(one, Kind.FIRST_PACKET, 1, frame())
    one.renew()
    assert passed(one, Kind.FIRST_PACKET, 1, frame()) == BURST
