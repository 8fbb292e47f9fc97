"""What is shown of each switch, and of each server.

Switches are called edges in what is shown, whatever their role: REST's clients know them by that name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.model import Address, NotFound, text
from anycast_sdn.core.pool_watch import Outlook
from anycast_sdn.views.counters import Counters
from anycast_sdn.views.turns import with_turns


def edge_views(
    controller: Controller, counters: Counters, now: float, turn: Callable[[], None] = lambda: None
) -> Iterator[dict[str, object]]:
    """Each switch in its state when the iterator comes to it; ``turn`` lets other green threads run."""
    return (_switch_view(controller, counters, switch, now, turn) for switch in controller.switches.values())


def edge_view(
    controller: Controller, counters: Counters, name: str, now: float, turn: Callable[[], None] = lambda: None
) -> dict[str, object]:
    """Raises NotFound."""
    switch = controller.switch(name)
    if switch is None:
        raise NotFound(f"there is no edge {name!a}")
    return _switch_view(controller, counters, switch, now, turn)


def _switch_view(
    controller: Controller, counters: Counters, switch: ManagedSwitch, now: float, turn: Callable[[], None]
) -> dict[str, object]:
    hosts = list(switch.neighbours.known())
    always, able = controller.announcements.of(switch.name)
    shown = _without_lists(switch, counters, now)
    turn()
    return {
        **shown,
        "hosts": [
            {"address": text(address), "mac": neighbour.mac.hex(":"), "port": neighbour.port}
            for address, neighbour in with_turns(hosts, turn)
        ],
        "announces": [str(prefix) for prefix in with_turns((*always, *sorted(able)), turn)],
    }


def _without_lists(switch: ManagedSwitch, counters: Counters, now: float) -> dict[str, object]:
    roles = ["client edge"] * bool(switch.described.client_edge) + ["server edge"] * switch.described.server_edge
    engine, statistics = switch.engine, switch.engine.statistics(now)
    return {
        "name": switch.name,
        "dpid": switch.dpid,
        "roles": roles or ["core"],
        "connected": switch.synchronised,
        "pools": {
            family: {
                "size": use.size,
                "leased": use.leased,
                "resting": use.resting,
                "free": use.free,
                **_outlook(statistics.outlooks[family]),
            }
            for family, use in statistics.pools.items()
        },
        "bindings": len(engine.flows),
        "rules": {
            "bindings": engine.flows.rules,
            "other": len(switch.installed),
            "groups": len(switch.installed.groups),
        },
        "drops": {**switch.dropped, **counters.drops[switch.name]},
        "repaired": counters.repairs[switch.name].total(),
        "last_sweep_s": statistics.last_sweep_s,
    }


def _outlook(outlook: Outlook) -> dict[str, object]:
    seconds = outlook.used_up_in_s
    return {"level": outlook.level.name.lower(), "used_up_in_s": None if seconds is None else round(seconds, 1)}


def selection_of(controller: Controller, group_name: str, address: Address) -> dict[str, object]:
    """The load that a server has reported, and its share of the new flows of each server edge."""
    group = controller.groups.get(group_name)
    server = group.servers.get(address) if group else None
    selecting = controller.selecting
    return {
        "load": selecting.load(group_name, server) if server else None,
        "shares": {edge: round(share, 4) for edge, share in selecting.shares_of(group_name, address).items()},
    }


def server_status(controller: Controller, address: Address) -> dict[str, object]:
    """A server's edge, whether the server answers ARP or ND there, and how many flows are pinned to it."""
    subnet = controller.network.subnet_of(address)
    switch = controller.switch(subnet.edge) if subnet else None
    tables = [switch.engine.flows for switch in controller.switches.values()]
    return {
        "edge": switch.name if switch else None,
        "reachable": bool(switch and switch.neighbours.get(address)),
        "flows": sum(table.pinned_to(address) for table in tables),
    }
