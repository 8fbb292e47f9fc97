"""What must hold for client edges with the engine ``conntrack``: part of ``checks``.

A client, its subnet and the service address together fit into one address (``core.tracked_address``), so that there is
room for a bounded number of service addresses; how many are enrolled is checked by ``enrolment``.  No two switches of a
file share a zone of the connection tracker: their bridges may be in one Open vSwitch.
"""

from __future__ import annotations

from collections.abc import Iterator

from anycast_sdn.core.roles import ClientEdgeRole
from anycast_sdn.core.tracked_address import LEAST_SERVICES, layout_of
from anycast_sdn.description.model import Network
from anycast_sdn.description.problems import Problem


def problems(network: Network) -> Iterator[Problem]:
    for index, name, role in _edges(network):
        path = f"switches[{index}].client_edge"
        for v6 in (False, True):
            yield from _room_problems(network, name, role, v6, path)
    yield from _zone_problems(network)


def _edges(network: Network) -> Iterator[tuple[int, str, ClientEdgeRole]]:
    """(index, name, role) of the client edges that may be inside the connection tracker."""
    for index, switch in enumerate(network.switches):
        if switch.client_edge and switch.client_edge.wants_conntrack:
            yield index, switch.name, switch.client_edge


def _room_problems(network: Network, name: str, role: ClientEdgeRole, v6: bool, path: str) -> Iterator[Problem]:
    layout, family = layout_of(role, network.subnets_of(name), v6), "IPv6" if v6 else "IPv4"
    if not layout.subnets or layout.services >= LEAST_SERVICES:
        return
    needed, of_services = layout.subnet_bits + layout.host_bits, LEAST_SERVICES.bit_length()
    of_subnets = f" and {layout.subnet_bits} for the number of their subnet" if layout.subnet_bits else ""
    reason = (
        f"{name} needs {needed + of_services} bits in {family}, and an address has {layout.width}: {layout.host_bits} "
        f"for the clients of the largest subnet{of_subnets}, and {of_services} for {LEAST_SERVICES} service addresses"
    )
    yield Problem(f"{path}.engine", f"{reason}. Take smaller subnets, or engine: rules")


def _zone_problems(network: Network) -> Iterator[Problem]:
    before: list[tuple[str, range]] = []
    for index, name, role in _edges(network):
        path, zones = f"switches[{index}].client_edge.conntrack.zone", role.conntrack.zones
        if zones[-1] > 65535:
            yield Problem(path, f"{name} has none left, {zones[0]} is too large: write one that is free")
        for other, taken in before:
            if zones[0] in taken or taken[0] in zones:
                reason = f"{name} uses the zones {zones[0]} to {zones[-1]}, and {other} {taken[0]} to {taken[-1]}"
                yield Problem(path, f"{reason}: write one that is at least {len(zones)} away from all others")
        before.append((name, zones))
