"""Catchment: which edge gets each site's packets to a service, as routes are computed, and on which path.

All is computed from values that do not change, so other green threads may run meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.model import Prefix
from anycast_sdn.core.prefixes import PrefixSet
from anycast_sdn.core.roles import Side
from anycast_sdn.fabric.graph import Graph
from anycast_sdn.views.turns import with_turns

UNAUTHORISED = "unauthorised"  # the site may not use the service (M6)
UPLINK = "uplink "
Goals: TypeAlias = Mapping[str, str | None]  # site → an edge, "uplink UPLINK", None or ``UNAUTHORISED``
_NOWHERE: Mapping[str, str] = {}


class Catchment:
    """Where the packets of sites go.  ``reachable``: prefix → edge → where packets go on from there: its own name, or
    "uplink UPLINK".
    """

    def __init__(
        self, graph: Graph, sites: Sequence[ManagedSwitch], reachable: Mapping[Prefix, Mapping[str, str]]
    ) -> None:
        self._graph = graph
        self._reachable = reachable
        self._prefixes = PrefixSet(reachable)
        # The services that sites may use (None: the site is no client edge) → these sites.
        self._sites: dict[tuple[Prefix, ...] | None, list[str]] = {}
        for site in sites:
            role = site.described.client_edge
            clients = [subnet for subnet in site.subnets if subnet.side is Side.CLIENT]
            may = tuple(prefix for subnet in clients for prefix in subnet.allowed(role)) if role else None
            self._sites.setdefault(may, []).append(site.name)
        self._names = [site.name for site in sites]
        self._known: dict[object, Goals] = {}

    def of(self, service: Prefix) -> Goals:
        """Site → the edge for the longest prefix with a reachable edge; None: no edge is reachable.

        "unauthorised" where the site may not use the service.  Services with the same result share it.
        """
        hops = self._hops(service)
        may = tuple(
            services is None or any(service.overlaps(authorised) for authorised in services) for services in self._sites
        )
        if (hops, may) not in self._known:
            goals: dict[str, str | None] = {}
            for names, allowed in zip(self._sites.values(), may, strict=True):
                goals |= {name: self._goal(name, hops) if allowed else UNAUTHORISED for name in names}
            self._known[hops, may] = {name: goals[name] for name in self._names}
        return self._known[hops, may]

    def reaches(self, site: str, prefix: Prefix) -> bool:
        """Do packets of the site reach a prefix, by whatever route?"""
        return self._goal(site, self._hops(prefix)) is not None

    def reaches_itself(self, site: str, prefix: Prefix) -> bool:
        """As ``reaches``, by a route to just this prefix?"""
        return self._graph.nearest(site, self._reachable.get(prefix, _NOWHERE)) is not None

    def _hops(self, prefix: Prefix) -> tuple[tuple[tuple[str, str], ...], ...]:
        return tuple(tuple(self._reachable[covering].items()) for covering in self._prefixes.covering(prefix))

    def _goal(self, site: str, hops: Iterable[tuple[tuple[str, str], ...]]) -> str | None:
        for goals in map(dict, hops):
            if edge := self._graph.nearest(site, goals):
                return goals[edge]
        return None


def paths(
    graph: Graph, catchments: Iterable[Goals], edge_of_uplink: Mapping[str, str], turn: Callable[[], None]
) -> dict[str, dict[str, list[str]]]:
    """Site → where some of its packets go → the switches on the way there, the site and the last one included.

    Every switch on the way selects the same edge: it is nearer to it, and of equally near ones all prefer the same.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for goals in with_turns({id(each): each for each in catchments}.values(), turn):
        for site, goal in goals.items():
            if goal and goal != UNAUTHORISED and goal not in found.setdefault(site, {}):
                edge = edge_of_uplink[goal.removeprefix(UPLINK)] if goal.startswith(UPLINK) else goal
                found[site][goal] = path(graph, site, edge)
                turn()
    return {site: dict(sorted(to.items())) for site, to in sorted(found.items()) if to}


def path(graph: Graph, switch: str, edge: str) -> list[str]:
    """The switches on the way to an edge, which must be reachable."""
    passed = [switch]
    while passed[-1] != edge:
        following = graph.neighbour(passed[-1], graph.port_towards(passed[-1], edge))
        assert following is not None
        passed.append(following)
    return passed
