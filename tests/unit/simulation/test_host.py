"""Tests of SimulatedHost: what it does not answer."""

from __future__ import annotations

import pytest

from anycast_sdn.core.model import ICMP, UDP, FlowKey, packed
from anycast_sdn.description.model import Port
from anycast_sdn.openflow.builders import ip_packet
from anycast_sdn.simulation.host import SimulatedHost

MAC, OWN = b"\6\0\0\0\0\1", packed("10.2.0.10")


def answers(source: str, protocol: int) -> list[bytes]:
    server = SimulatedHost("h1", Port("s1", 1), MAC, [OWN], serves=True)
    ports = (40000, 53) if protocol == UDP else (0, 0)
    frame = ip_packet(FlowKey(packed(source), OWN, protocol, *ports), eth_src=b"\2\0\0\0\0\1", eth_dst=MAC)
    return list(server.receive(frame))


@pytest.mark.parametrize("protocol", [UDP, ICMP, 47])
@pytest.mark.parametrize("forged", ["10.2.0.10", "224.0.0.5", "0.0.0.0"])
def test_a_packet_whose_source_is_its_own_address_or_names_no_host_gets_no_answer(forged: str, protocol: int) -> None:
    assert not answers(forged, protocol)
    assert answers("10.1.0.10", protocol)
