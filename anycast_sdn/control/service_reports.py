"""ServiceReports: what operators are told of services: which edges announce them, and where clients' packets get.

All ANY/n of one group and address family (a *spread*) are announced by the same edges, so events are about spreads: a
group with thousands of prefixes is one event.  Where a site's packets get is looked at anew when announcements or links
have changed, some spreads at a time; sites and groups whose packets have moved alike are one event.

Rules kept here:

- Nothing is told until all switches have been seen, or are no longer waited for, and then ``SETTLED_S`` more: servers
  are found in this time.  What is so then, is known.
- What is told is what has changed since it was told last, not every change in between.
- That packets to a service get somewhere for the first time is not told: ``EdgeAnnounced`` says it.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from anycast_sdn.control.selecting import Selecting
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.events import Event
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, AnycastGroup, Distance, Prefix
from anycast_sdn.core.network_events import RouterAnswers, RouterSilent
from anycast_sdn.core.roles import Side
from anycast_sdn.core.service_events import (
    MOST_GROUPS,
    SHOWN_PREFIXES,
    CatchmentChanged,
    EdgeAnnounced,
    EdgeSpilling,
    EdgeWithdrawn,
)
from anycast_sdn.core.slots import Spread
from anycast_sdn.description.model import Network
from anycast_sdn.fabric.graph import Graph

SETTLED_S = 1.0
SPILL_STEP = 0.1  # of all new flows
AT_ONCE = 100  # events of what has moved


class _Place(NamedTuple):
    """Where packets get: an edge, or "uplink NAME"; None: nowhere.  ``cost``: of the way through the fabric."""

    name: str | None
    cost: int | None


NOWHERE = _Place(None, None)


class _Site(NamedTuple):
    name: str
    services: tuple[Prefix, ...]  # what its clients may use (M6)


class _Moved(NamedTuple):
    site: str
    before: _Place
    after: _Place


class _Services:
    """Those that have moved alike."""

    def __init__(self) -> None:
        self.groups: dict[str, None] = {}
        self.prefixes: list[str] = []
        self.count = 0

    def add(self, group: str, prefixes: Iterable[Prefix], count: int) -> None:
        if len(self.groups) < MOST_GROUPS:
            self.groups[group] = None
        shown = (str(prefix) for prefix in prefixes)
        self.prefixes += [prefix for prefix, _ in zip(shown, range(SHOWN_PREFIXES - len(self.prefixes)), strict=False)]
        self.count += count


class ServiceReports:
    """``switches``: all, by name; ``covering``: the routed prefixes that cover this one, the longest first;
    ``destinations``: the switches to the nearest of which packets to such a prefix are routed; ``announcers``: those of
    them that announce it.
    """

    def __init__(
        self,
        network: Network,
        switches: Mapping[str, ManagedSwitch],
        selecting: Selecting,
        graph: Graph,
        covering: Callable[[Prefix], Iterable[Prefix]],
        destinations: Callable[[Prefix], frozenset[str]],
        announcers: Callable[[Prefix], frozenset[str]],
    ) -> None:
        self._network = network
        self._switches = switches
        self._selecting = selecting
        self._graph = graph
        self._covering = covering
        self._destinations = destinations
        self._announcers = announcers
        self._sites = list(_sites(switches))
        self._ready_at: float | None = None
        self._ready = False
        self._announced: set[tuple[str, Spread]] = set()  # as it was told last, or has been so from the start
        self._spilled: dict[tuple[str, Spread], float] = {}  # likewise → the share that goes on to other edges
        self._places: dict[Spread, dict[str, _Place]] = {}  # likewise; site → where its packets get
        self._lost: set[tuple[Spread, str]] = set()  # (spread, site) that get nowhere, where that was told
        self._to_look_at: OrderedDict[Spread, None] = OrderedDict()
        self._nearest: dict[tuple[str, frozenset[str]], _Place] = {}  # a cache, as long as links stay
        self._moved: dict[_Moved, _Services] = {}
        self._routers: set[Address] = set()  # that answer

    def spilling(self) -> Iterator[tuple[str, Spread, float]]:
        """Edges whose servers are full, and the share of their new flows of a spread that goes to other edges."""
        return ((edge, spread, share) for (edge, spread), share in self._spilled.items() if share)

    # ---------------------------------------------------------------- what has changed

    def links_changed(self) -> None:
        self._nearest.clear()
        self._to_look_at |= dict.fromkeys(self._places)

    def destinations_changed(self, prefixes: Iterable[Prefix], groups: Groups) -> None:
        """Packets to these prefixes may be routed to other switches."""
        for prefix in prefixes:
            if group := groups.owner(prefix):
                self._to_look_at[Spread(group.name, prefix.is_v6)] = None
            elif any(prefix.covers(anycast) or anycast.covers(prefix) for anycast in self._network.anycast_prefixes):
                self._to_look_at |= dict.fromkeys(self._places)  # a route by an uplink

    def slots_changed(self, edge: str, spread: Spread, group: AnycastGroup | None) -> list[Event]:
        """Other servers than before take this edge's new flows of the spread; None: the group is deleted."""
        selection = self._selecting.selection(spread)
        announcing = selection.announce if selection and group else frozenset()
        was, self_announces = (edge, spread) in self._announced, edge in announcing
        (self._announced.add if self_announces else self._announced.discard)((edge, spread))
        events: list[Event] = []
        if group is None:
            self._forget(spread)
        elif self_announces is not was:
            what = edge, group.name, *_shown(group, spread.is_v6)
            left = tuple(sorted(announcing))
            events.append(EdgeAnnounced(*what) if self_announces else EdgeWithdrawn(*what, left))
        if group and self_announces:
            events += self._spills(edge, spread, group)
        else:
            self._spilled.pop((edge, spread), None)
        return events if self._ready else []

    def _spills(self, edge: str, spread: Spread, group: AnycastGroup) -> list[Event]:
        if group.selection.distance is not Distance.NEAREST:
            return []  # it has others take a part all the time
        selection = self._selecting.selection(spread)
        slots = selection.memory.slots.get(edge, ()) if selection else ()
        others = [place for place in map(self._network.subnet_of, slots) if place is None or place.edge != edge]
        share, told = len(others) / max(1, len(slots)), self._spilled.get((edge, spread), 0.0)
        if abs(share - told) < SPILL_STEP and bool(share) is bool(told):
            return []
        self._spilled[edge, spread] = share
        to = tuple(sorted({place.edge for place in others if place}))
        return [EdgeSpilling(edge, group.name, *_shown(group, spread.is_v6), round(share, 3), to)]

    def _forget(self, spread: Spread) -> None:
        self._places.pop(spread, None)
        self._to_look_at.pop(spread, None)
        self._lost = {each for each in self._lost if each[0] != spread}

    def router_noticed(self, switch: ManagedSwitch, address: Address, is_there: bool) -> list[Event]:
        """It has been found to answer ARP or ND, or not to; whatever is no router is ignored."""
        if is_there is (address in self._routers):
            return []
        uplinks = [uplink.name for uplink in switch.uplinks if address in uplink.routers]
        if not uplinks:
            return []
        (self._routers.add if is_there else self._routers.discard)(address)
        return [(RouterAnswers if is_there else RouterSilent)(switch.name, uplinks[0], address)]

    # ---------------------------------------------------------------- time, and work in slices

    def tick(self, now: float, groups: Groups) -> None:
        if self._ready:
            return
        if any(switch.unseen for switch in self._switches.values()):
            self._ready_at = None
        elif self._ready_at is None:
            self._ready_at = now + SETTLED_S
        elif now >= self._ready_at:
            self._ready = True
            spreads = (Spread(group.name, prefix.is_v6) for group in groups for prefix in group.prefixes)
            self._to_look_at |= dict.fromkeys(spreads)

    def is_busy(self) -> bool:
        """Is there something left, for which ``work`` is to be called?"""
        return self._ready and bool(self._to_look_at or self._moved)

    def work(self, groups: Groups, most: int) -> list[Event]:
        """Look at ``most`` spreads → what has moved, when all have been looked at."""
        if not self._ready:
            return []
        for _ in range(min(most, len(self._to_look_at))):
            spread, _ = self._to_look_at.popitem(last=False)
            if group := groups.get(spread.group):
                self._look(spread, group)
            else:
                self._forget(spread)
        return [] if self._to_look_at else [*self._tell_some()]

    def _tell_some(self) -> Iterator[Event]:
        for (site, before, after), services in list(itertools.islice(self._moved.items(), AT_ONCE)):
            del self._moved[_Moved(site, before, after)]
            yield CatchmentChanged(
                site, tuple(services.groups), tuple(services.prefixes), services.count,
                before.name, after.name, before.cost, after.cost,
            )  # fmt: skip

    def _look(self, spread: Spread, group: AnycastGroup) -> None:
        prefixes = [prefix for prefix in group.prefixes if prefix.is_v6 is spread.is_v6]
        if not prefixes:
            self._forget(spread)
            return
        known = self._places.get(spread, {})
        self._places[spread] = self._now(prefixes)
        for site, after in self._places[spread].items():
            before = known.get(site, NOWHERE)
            if before.name == after.name:
                continue
            if after.name is None:
                self._lost.add((spread, site))
            elif (spread, site) in self._lost:
                self._lost.discard((spread, site))
            elif before.name is None:
                continue  # it is served for the first time
            self._moved.setdefault(_Moved(site, before, after), _Services()).add(group.name, prefixes, len(prefixes))

    def _now(self, prefixes: list[Prefix]) -> dict[str, _Place]:
        """Site → where its packets to these prefixes get; only sites that may use one of them."""
        places: dict[str, _Place] = {}
        for site in self._sites:
            mine = next((prefix for prefix in prefixes if any(prefix.overlaps(may) for may in site.services)), None)
            if mine is not None:
                places[site.name] = self._place(site.name, mine)
        return places

    def _place(self, site: str, service: Prefix) -> _Place:
        for covering in self._covering(service):
            destinations = self._destinations(covering)
            place = self._nearest_of(site, destinations)
            if place.name is None:
                continue
            if place.name in self._announcers(covering):
                return place
            return _Place(self._uplink(place.name, covering), place.cost)
        return NOWHERE

    def _nearest_of(self, site: str, edges: frozenset[str]) -> _Place:
        place = self._nearest.get((site, edges))
        if place is None:
            nearest = self._graph.nearest(site, edges)
            cost = None if nearest is None else self._graph.distances(nearest)[site]
            place = self._nearest[site, edges] = _Place(nearest, cost)
        return place

    def _uplink(self, name: str, prefix: Prefix) -> str:
        """By which packets go on from this switch; its own name where they do not, while it withdraws a service."""
        switch = self._switches[name]
        router = switch.egress.selected.get(prefix)
        names = [uplink.name for uplink in switch.uplinks if router and uplink.port == router.port]
        return f"uplink {names[0]}" if names else name


def _sites(switches: Mapping[str, ManagedSwitch]) -> Iterator[_Site]:
    for name, switch in sorted(switches.items()):
        role = switch.described.client_edge
        clients = [subnet for subnet in switch.subnets if subnet.side is Side.CLIENT]
        if role and clients:
            yield _Site(name, tuple(prefix for subnet in clients for prefix in subnet.allowed(role)))


def _shown(group: AnycastGroup, is_v6: bool) -> tuple[tuple[str, ...], int]:
    """The first of its prefixes in this family, and how many it has."""
    prefixes = [prefix for prefix in group.prefixes if prefix.is_v6 is is_v6]
    return tuple(map(str, prefixes[:SHOWN_PREFIXES])), len(prefixes)
