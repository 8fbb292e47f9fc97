"""What is kept for each flow: there may be a million."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from anycast_sdn.core.client_edge import ClientEdge
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import TCP, AnycastGroup, FlowKey, Prefix, Server, packed
from anycast_sdn.core.roles import ClientEdgeRole, Pooling

ROLE = ClientEdgeRole(
    (Prefix.parse("100.64.0.0/10"), Prefix.parse("2001:db8:f::/64")),
    (Prefix.parse("198.18.0.0/16"), Prefix.parse("2001:db8:a::/48")),
    pooling=Pooling.FLOW,
)
ENDS = {  # H, ANY, ASg, by family
    False: ("10.1.0.10", "198.18.0.1", "10.2.0.10"),
    True: ("2001:db8:1::10", "2001:db8:a::1", "2001:db8:2::10"),
}
FLOWS = 5000
MOST = 900  # bytes for each; engines keep some more


def fill(edge: ClientEdge, v6: bool) -> None:
    """Pinned flows of one client.  Each packet has bytes of its own."""
    client, anycast, server = map(packed, ENDS[v6])
    groups = Groups({"web": AnycastGroup("web", (Prefix.host(anycast),), {server: Server(server)})})
    for number in range(FLOWS):
        now, port = number / 1000, 10_000 + number
        key = FlowKey(bytes([*client]), bytes([*anycast]), TCP, port, 443)
        flow = edge.client_packet(key, groups, now, port=1, syn=True).binding
        assert flow
        edge.reply(FlowKey(bytes([*server]), flow.translated, TCP, 443, port), groups, now + 0.001)
    assert edge.bindings.pinned() == FLOWS


@pytest.mark.parametrize("v6", [False, True])
def test_a_pinned_flow_takes_a_bounded_amount_of_memory(v6: bool) -> None:
    edge = ClientEdge(ROLE, random.Random(1))
    tracemalloc.start()
    fill(edge, v6)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < MOST * FLOWS


def test_flows_of_one_client_have_its_address_and_those_of_service_and_server_as_one_object() -> None:
    edge = ClientEdge(ROLE, random.Random(1))
    fill(edge, v6=False)
    flows = list(edge.bindings)
    assert len({id(flow.key.source) for flow in flows}) == 1
    assert len({id(flow.key.destination) for flow in flows}) == 1
    assert len({id(flow.server) for flow in flows}) == 1
    assert len({id(holder.pair) for flow in flows if (holder := edge.bindings.holders.of(flow.translated))}) == 1
