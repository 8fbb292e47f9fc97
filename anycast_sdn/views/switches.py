"""What is shown of each switch.

Switches are called edges in what is shown, whatever their role: REST's clients know them by that name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.model import NotFound, Prefix, text
from anycast_sdn.core.pool import PoolUse
from anycast_sdn.core.pool_watch import Outlook
from anycast_sdn.core.slots import Spread
from anycast_sdn.views.counters import Counters, together
from anycast_sdn.views.servers import buckets
from anycast_sdn.views.trends import Trends
from anycast_sdn.views.turns import with_turns

MOST_PREFIXES, MOST_SERVERS = 200, 12  # with their buckets; of a prefix, those with the greatest shares


def edge_views(
    controller: Controller, counters: Counters, trends: Trends, now: float, turn: Callable[[], None] = lambda: None
) -> Iterator[dict[str, object]]:
    """Each switch in its state when the iterator comes to it; ``turn`` lets other green threads run."""
    return (_switch_view(controller, counters, trends, switch, now, turn) for switch in controller.switches.values())


def edge_view(
    controller: Controller,
    counters: Counters,
    trends: Trends,
    name: str,
    now: float,
    turn: Callable[[], None] = lambda: None,
) -> dict[str, object]:
    """Raises NotFound."""
    switch = controller.switch(name)
    if switch is None:
        raise NotFound(f"there is no edge {name!a}")
    return _switch_view(controller, counters, trends, switch, now, turn)


def _switch_view(
    controller: Controller,
    counters: Counters,
    trends: Trends,
    switch: ManagedSwitch,
    now: float,
    turn: Callable[[], None],
) -> dict[str, object]:
    hosts = list(switch.neighbours.known())
    always, able = controller.announcements.of(switch.name)
    shown = _without_lists(switch, counters, trends, now)
    turn()
    return {
        **shown,
        "hosts": [
            {"address": text(address), "mac": neighbour.mac.hex(":"), "port": neighbour.port}
            for address, neighbour in with_turns(hosts, turn)
        ],
        "announces": [str(prefix) for prefix in with_turns((*always, *sorted(able)), turn)],
        "buckets": _buckets(controller, switch.name, sorted(able)[:MOST_PREFIXES], turn),
    }


def _buckets(
    controller: Controller, edge: str, services: Iterable[Prefix], turn: Callable[[], None]
) -> dict[str, list[dict[str, object]]]:
    """All prefixes of one group and family have the same."""
    known: dict[Spread, list[dict[str, object]]] = {}
    shown = {}
    for prefix in with_turns(services, turn):
        if group := controller.groups.owner(prefix):
            spread = Spread(group.name, prefix.is_v6)
            if spread not in known:
                known[spread] = buckets(controller, edge, spread, MOST_SERVERS)
            shown[str(prefix)] = known[spread]
    return shown


def _without_lists(switch: ManagedSwitch, counters: Counters, trends: Trends, now: float) -> dict[str, object]:
    role = switch.described.client_edge
    roles = ["client edge"] * bool(switch.described.client_edge) + ["server edge"] * switch.described.server_edge
    engine, statistics = switch.engine, switch.statistics(now)
    drops = together(switch.dropped, counters.drops[switch.name])
    return {
        "name": switch.name,
        "dpid": switch.dpid,
        "roles": roles or ["core"],
        "connected": switch.synchronised,
        "pools": {
            family: _pool(use, statistics.outlooks[family])
            | _trend(trends, switch.name, family, statistics.outlooks[family], now)
            for family, use in statistics.pools.items()
        },
        "bindings": len(engine.flows),
        "rules": {
            "bindings": statistics.rules,
            "other": len(switch.installed),
            "groups": len(switch.installed.groups),
        },
        "engine": engine.shown_as or None,
        "pooling": role.pooling.value if role else None,
        "drops": drops,
        "drops_per_s": trends.drops_per_s(switch.name, drops, now),
        "repaired": counters.repairs[switch.name].total(),
        "last_sweep_s": statistics.last_sweep_s,
    }


def _pool(use: PoolUse, outlook: Outlook) -> dict[str, object]:
    return {
        "size": use.size,
        "leased": use.leased,
        "resting": use.resting,
        "free": use.free,
        "level": outlook.level.name.lower(),
        "used_up_in_s": _rounded(outlook.used_up_in_s),
    }


def _trend(trends: Trends, switch: str, family: str, outlook: Outlook, now: float) -> dict[str, object]:
    trend = trends.of_pool(switch, family, outlook, now)
    return {"trend_per_min": trend.per_min, "exhausted_in_s": _rounded(trend.exhausted_in_s)}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
