"""Flows of a client edge inside the connection tracker: what is known of them, and whether they go on."""

from __future__ import annotations

from scenes import managed, payloads

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.model import UDP, Prefix
from anycast_sdn.core.tracked_address import TrackedLayout
from anycast_sdn.openflow import readback
from anycast_sdn.openflow.frames import source_of
from anycast_sdn.openflow.rules import TCP_ACK
from anycast_sdn.simulation.network import SimulatedNetwork


def flows(net: SimulatedNetwork) -> list[Binding]:
    return list(managed(net, "arh1").engine.flows)


def speak(net: SimulatedNetwork, flow: Binding) -> None:
    """The server of the flow sends something, unasked."""
    host = net.host("as2")
    ports = flow.key.destination_port, flow.key.source_port
    net.send("as2", host.packet(flow.translated, flow.key.protocol, *ports, payload=b"news", tcp_flags=TCP_ACK))
    net.settle()


def serve_all(net: SimulatedNetwork, known: list[Binding]) -> None:
    """The flows go on in both directions, as they were; what the server sends reaches the client first."""
    for flow in known:
        client = "h1" if flow.key.protocol == UDP else "h2"
        before = len(net.host(client).received)
        speak(net, flow)
        assert payloads(net.host(client).received[before:], 8 if flow.key.protocol == UDP else 20) == [b"news"]
        sent = net.host(client).packet(
            flow.key.destination, flow.key.protocol, flow.key.source_port, flow.key.destination_port, tcp_flags=TCP_ACK
        )
        before = len(net.host("as2").received)
        net.send(client, sent)
        net.settle()
        assert source_of(net.host("as2").received[before]) == flow.translated
    assert [flow[:6] for flow in flows(net)] == [flow[:6] for flow in known]


def codes(net: SimulatedNetwork) -> dict[bytes, int]:
    """ANY → its code, by the switch's rules."""
    layouts = {v6: TrackedLayout((Prefix.parse("2001:db8:1::/64" if v6 else "10.1.0.0/24"),), 128 if v6 else 32)
               for v6 in (False, True)}  # fmt: skip
    found = [readback.tracked_service(rule, layouts) for rule in net.switches["arh1"].flows.values()]
    return {service.network: code for service, code in filter(None, found)}


def as_known(flow: Binding) -> tuple[object, ...]:
    """What of a binding outlives a restart of the controller."""
    return (*flow[:4], flow.server)
