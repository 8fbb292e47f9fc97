"""ICMP errors about the packets of flows whose source port the switch has chosen: both sides see their own ports."""

from __future__ import annotations

import pytest

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.model import UDP, FlowKey, packed
from anycast_sdn.engines import icmp_errors
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.frames import L3, parse_icmp_error, transport_checksum

MACS = bytes(6), bytes(6)
FLOWS = [
    Binding(1, FlowKey(packed("10.1.0.10"), packed("198.18.0.1"), UDP, 40000, 53), packed("203.0.113.7"), "web", 0.0,
            packed("10.2.0.10"), translated_port=50000),
    Binding(1, FlowKey(packed("2001:db8:1::10"), packed("2001:db8:a::1"), UDP, 40000, 53), packed("2001:db8:1:f::7"),
            "web", 0.0, packed("2001:db8:2::10"), translated_port=50000),
]  # fmt: skip
in_both_families = pytest.mark.parametrize("flow", FLOWS, ids=["ipv4", "ipv6"])


def error_about(quoted: FlowKey, source: bytes) -> bytes:
    packet = builders.ip_packet(quoted, eth_src=MACS[0], eth_dst=MACS[1], payload=b"what was said")
    return builders.quoting_error(*MACS, source, quoted.source, packet[L3:])


def quoted_by(frame: bytes) -> FlowKey:
    """The packet that an error is about, whose checksum must be right."""
    error = parse_icmp_error(frame)
    quoted = error.quoted
    assert transport_checksum(quoted.source, quoted.destination, UDP, frame[error.quoted_l4 : error.quoted_end]) == 0
    return quoted


@in_both_families
def test_an_error_about_a_clients_packet_quotes_the_port_that_the_client_has(flow: Binding) -> None:
    assert flow.server
    frame = error_about(FlowKey(flow.translated, flow.server, UDP, 50000, 53), flow.server)
    translated = icmp_errors.to_client(frame, parse_icmp_error(frame), flow, [flow.server])
    assert translated
    assert quoted_by(translated) == flow.key


@in_both_families
def test_an_error_about_another_flow_beside_the_same_address_is_not_translated(flow: Binding) -> None:
    assert flow.server
    frame = error_about(FlowKey(flow.translated, flow.server, UDP, 40000, 53), flow.server)
    assert icmp_errors.to_client(frame, parse_icmp_error(frame), flow, [flow.server]) is None


@in_both_families
def test_a_clients_error_about_a_reply_quotes_the_port_that_the_server_has_seen(flow: Binding) -> None:
    assert flow.server
    frame = error_about(flow.key.reverse, flow.key.source)
    translated = icmp_errors.to_server(frame, parse_icmp_error(frame), flow)
    assert translated
    assert quoted_by(translated) == FlowKey(flow.server, flow.translated, UDP, 53, 50000)
