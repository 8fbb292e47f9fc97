"""The topology of the network, and what it would be without some of its parts.

It is computed from a copy of the state: nothing in the network changes.  That may take long, so ``turn`` is called,
which lets other green threads run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from anycast_sdn.control.controller import Controller
from anycast_sdn.core.model import NotFound
from anycast_sdn.description.model import Port
from anycast_sdn.views.catchment import paths
from anycast_sdn.views.difference import Difference
from anycast_sdn.views.measured import measured
from anycast_sdn.views.omitted import NOTHING, Omitted
from anycast_sdn.views.routed import Routed
from anycast_sdn.views.snapshot import Snapshot, snapshot
from anycast_sdn.views.turns import with_turns


def topology_view(
    controller: Controller,
    without: Sequence[str],
    now: float,
    turn: Callable[[], None] = lambda: None,
    groups: Sequence[str] = (),
) -> dict[str, object]:
    """Switches, links with cost and state, uplinks, the prefixes that edges announce, and for each service the edge
    that gets each site's traffic (the catchment, see ``Catchment.of``); where flows are really pinned.

    ``without``: what to leave out, see ``Omitted``; empty: the network as it is.  ``groups``: those whose services are
    shown; none: all; the difference is about all.  Raises NotFound.

    The state is that of one moment, except the numbers of flows, which are counted meanwhile.
    """
    if unknown := [name for name in groups if controller.groups.get(name) is None]:
        raise NotFound(f"there is no group {unknown[0]!a}")
    updating = controller.updating()
    state = snapshot(controller, now)
    turn()
    omitted = Omitted.parse(without, state, turn)
    state = state.with_routes(turn)
    routed = Routed.without(omitted, state, turn)
    shown = _shown(state, omitted, routed, groups, turn)
    if omitted == NOTHING:
        difference = Difference()
    else:
        difference = Difference.between(Routed.without(NOTHING, state, turn), routed, omitted, state, turn)
    return {**shown, "measured": measured(state, groups, turn), **difference.as_json(), "updating": updating}


def link_view(controller: Controller, end: Port, now: float) -> dict[str, object]:
    """The link that ends at this port.  Raises NotFound."""
    return controller.discovery.view(controller.discovery.at(end), now)


def _shown(
    state: Snapshot, omitted: Omitted, routed: Routed, names: Sequence[str], turn: Callable[[], None]
) -> dict[str, object]:
    groups = [group for group in map(state.groups.get, names) if group] or state.groups
    hidden = {prefix for group in state.groups if names and group.name not in names for prefix in group.prefixes}
    turn()
    by_edge: dict[str, list[str]] = {}
    for prefix, edges in with_turns(routed.announced.items(), turn):
        for edge in edges if prefix not in hidden else ():
            by_edge.setdefault(edge, []).append(str(prefix))
    services = (prefix for group in groups for prefix in group.prefixes)
    catchment = {str(prefix): routed.catchment.of(prefix) for prefix in with_turns(services, turn)}
    edge_of_uplink = {uplink.name: uplink.edge for uplink in state.uplinks}
    return {
        "switches": [
            {"name": switch.name, "dpid": switch.dpid, "connected": state.connected[switch.name]}
            for switch in state.switches
            if switch.name not in omitted.switches
        ],
        "links": [link.view for link in state.links if not omitted.has(link.ends)],
        "parts": routed.graph.parts(),
        "uplinks": [
            uplink.view
            for uplink in state.uplinks
            if uplink.edge not in omitted.switches and uplink.name not in omitted.uplinks
        ],
        "edges": [{"name": name, "announces": prefixes} for name, prefixes in sorted(by_edge.items())],
        "catchment": catchment,
        "paths": paths(routed.graph, catchment.values(), edge_of_uplink, turn),
    }
