"""What is shown of each switch, and of each server.

Switches are called edges in what is shown, whatever their role: REST's clients know them by that name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.model import Address, NotFound, text
from anycast_sdn.views.turns import with_turns


def edge_views(
    controller: Controller, now: float, turn: Callable[[], None] = lambda: None
) -> Iterator[dict[str, object]]:
    """Each as it is when it is made; ``turn`` is called now and then, so that others may go on."""
    return (_edge_view(controller, edge, now, turn) for edge in controller.switches.values())


def edge_view(
    controller: Controller, name: str, now: float, turn: Callable[[], None] = lambda: None
) -> dict[str, object]:
    """Raises NotFound."""
    edge = controller.switch(name)
    if edge is None:
        raise NotFound(f"there is no edge {name!a}")
    return _edge_view(controller, edge, now, turn)


def _edge_view(
    controller: Controller, edge: ManagedSwitch, now: float, turn: Callable[[], None]
) -> dict[str, object]:
    hosts = list(edge.neighbours.known())
    always, able = controller.announcements.of(edge.name)
    shown = _without_lists(edge, now)
    turn()
    return {
        **shown,
        "hosts": [
            {"address": text(address), "mac": neighbour.mac.hex(":"), "port": neighbour.port}
            for address, neighbour in with_turns(hosts, turn)
        ],
        "announces": [str(prefix) for prefix in with_turns((*always, *sorted(able)), turn)],
    }


def _without_lists(edge: ManagedSwitch, now: float) -> dict[str, object]:
    roles = ["client edge"] * bool(edge.switch.client_edge) + ["server edge"] * edge.switch.server_edge
    engine, statistics = edge.engine, edge.engine.statistics(now)
    return {
        "name": edge.name,
        "dpid": edge.dpid,
        "roles": roles or ["core"],
        "connected": edge.synchronised,
        "pools": {
            family: {"size": use.size, "leased": use.leased, "resting": use.resting, "free": use.free}
            for family, use in statistics.pools.items()
        },
        "bindings": len(engine.flows),
        "rules": {
            "bindings": engine.flows.rules,
            "other": len(edge.installed),
            "groups": len(edge.installed.groups),
        },
        "drops": {**edge.dropped, **edge.counters, **edge.neighbours.counters},
        "repaired": edge.repairs.total(),
        "last_sweep_s": statistics.last_sweep_s,
    }


def server_status(controller: Controller, address: Address) -> dict[str, object]:
    """The edge that a server stands behind, whether it answers, and how many flows it has."""
    subnet = controller.network.subnet_of(address)
    edge = controller.switch(subnet.edge) if subnet else None
    tables = [edge.engine.flows for edge in controller.switches.values()]
    return {
        "edge": edge.name if edge else None,
        "reachable": bool(edge and edge.neighbours.get(address)),
        "flows": sum(table.pinned_to(address) for table in tables),
    }
