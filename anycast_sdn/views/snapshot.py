"""Snapshot: the state of the network at one moment.  It is copied in milliseconds, and what takes long is computed from
the copy: nothing in the network changes by that, and nothing in the copy when the network does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.bindings import BindingTable
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Prefix, text
from anycast_sdn.core.pool import PoolUse
from anycast_sdn.core.selection import Candidate
from anycast_sdn.core.slots import Spread
from anycast_sdn.description.model import Link, Network, Port, Uplink
from anycast_sdn.views.turns import with_turns

Ends = tuple[Port, Port]


class _Link(NamedTuple):
    ends: Ends
    usable: Link | None  # as ``Discovery.usable``
    view: dict[str, object]


class _Uplink(NamedTuple):
    edge: str
    name: str
    view: dict[str, object]


class Snapshot(NamedTuple):
    """Values that do not change, except ``flows``; of ``switches``, only what the network file says of them is used."""

    network: Network
    switches: tuple[ManagedSwitch, ...]
    connected: dict[str, bool]  # switch →
    links: list[_Link]
    uplinks: list[_Uplink]
    by_uplink: dict[str, Iterable[tuple[Prefix, str]]]  # edge → (prefix, the uplink that reaches it)
    announced: dict[Prefix, frozenset[str]]
    groups: Groups
    candidates: dict[Spread, Sequence[Candidate]]  # the servers that were decided about last
    pools: dict[str, Mapping[str, PoolUse]]  # client edge → family →
    flows: dict[str, BindingTable]  # of each client edge, not as they were at that moment, but as they are

    def with_routes(self, turn: Callable[[], None]) -> Snapshot:
        """The same, with iterators over routes replaced by lists."""
        return self._replace(by_uplink={name: list(with_turns(each, turn)) for name, each in self.by_uplink.items()})


def snapshot(controller: Controller, now: float) -> Snapshot:
    """Takes a few milliseconds."""
    switches, discovery = tuple(controller.switches.values()), controller.discovery
    return Snapshot(
        controller.network,
        switches,
        {switch.name: switch.synchronised for switch in switches},
        [_Link(watched.ends, next(iter(discovery.usable((watched,))), None), discovery.view(watched, now))
         for watched in discovery.watched()],
        [_Uplink(switch.name, uplink.name, _uplink_view(switch, uplink))
         for switch in switches for uplink in switch.uplinks],
        {switch.name: switch.egress.by_uplink() for switch in switches if switch.uplinks},
        dict(controller.announcements.announcers),
        controller.groups,
        controller.selecting.candidates(),
        {switch.name: switch.statistics(now).pools for switch in switches if switch.described.client_edge},
        {switch.name: switch.engine.flows for switch in switches if switch.described.client_edge},
    )  # fmt: skip


def _uplink_view(switch: ManagedSwitch, uplink: Uplink) -> dict[str, object]:
    return {
        "name": uplink.name,
        "port": str(Port(uplink.edge, uplink.port)),
        "mtu": uplink.mtu or None,
        "routers": [
            {"address": text(router), "reachable": switch.neighbours.get(router) is not None}
            for router in uplink.routers
        ],
        "routes": sum(router.port == uplink.port for router in switch.egress.selected.values()),
    }
