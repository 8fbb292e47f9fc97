"""Routed: where packets go in a network, as it is, or as it would be without some of its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.model import Prefix
from anycast_sdn.core.prefixes import PrefixSet
from anycast_sdn.core.roles import Side
from anycast_sdn.core.selection import Rule, announcing
from anycast_sdn.fabric.egress import own_prefixes
from anycast_sdn.fabric.graph import Graph
from anycast_sdn.views.catchment import UPLINK, Catchment
from anycast_sdn.views.omitted import Omitted
from anycast_sdn.views.snapshot import Snapshot
from anycast_sdn.views.turns import with_turns

_Announced = Mapping[Prefix, frozenset[str]]  # prefix → the edges that announce it


class Routed(NamedTuple):
    graph: Graph  # of the usable links
    announced: _Announced
    catchment: Catchment

    @classmethod
    def without(cls, omitted: Omitted, snapshot: Snapshot, turn: Callable[[], None]) -> Routed:
        left = [switch for switch in snapshot.switches if switch.name not in omitted.switches]
        usable = (link.usable for link in snapshot.links if link.usable and not omitted.has(link.ends))
        graph = Graph((switch.name for switch in left), usable)
        turn()
        announced = _announced_without(omitted, snapshot, turn)
        for name in sorted(frozenset[str]().union(*set(announced.values()))):
            graph.distances(name)
            turn()
        reachable = _reachable(graph, snapshot.by_uplink, announced, omitted, turn)
        return cls(graph, announced, Catchment(graph, _sites(left), reachable))


def _sites(switches: Iterable[ManagedSwitch]) -> list[ManagedSwitch]:
    sites = [switch for switch in switches if any(subnet.side is Side.CLIENT for subnet in switch.subnets)]
    return sorted(sites, key=lambda switch: switch.name)


def _announced_without(omitted: Omitted, snapshot: Snapshot, turn: Callable[[], None]) -> dict[Prefix, frozenset[str]]:
    """Prefix → the edges that would announce it without the omitted parts."""
    announced = dict(snapshot.announced)
    if omitted.switches:
        announced = {prefix: names - omitted.switches for prefix, names in with_turns(announced.items(), turn)}
    for spread, candidates in with_turns(snapshot.candidates.items() if omitted.has_servers else (), turn):
        left = omitted.left(candidates)
        group = snapshot.groups.get(spread.group)
        if group is None or len(left) == len(candidates):
            continue
        able = announcing(Rule.of(group), left)
        announced |= {prefix: able for prefix in group.prefixes if prefix.is_v6 is spread.is_v6}
    return {prefix: names for prefix, names in announced.items() if names}


def _reachable(
    graph: Graph,
    by_uplink: Mapping[str, Iterable[tuple[Prefix, str]]],
    announced: _Announced,
    omitted: Omitted,
    turn: Callable[[], None],
) -> dict[Prefix, dict[str, str]]:
    """Prefix → edge → where packets go on from there: its own name, or "uplink UPLINK"."""
    reachable = {prefix: {name: name for name in names} for prefix, names in with_turns(announced.items(), turn)}
    for name, prefixes in by_uplink.items():
        if name in omitted.switches:
            continue
        own = PrefixSet(own_prefixes(announced, graph.distances(name)))
        for prefix, uplink in with_turns(prefixes, turn):
            if uplink not in omitted.uplinks and not own.covers(prefix):
                reachable.setdefault(prefix, {})[name] = UPLINK + uplink
    return reachable
