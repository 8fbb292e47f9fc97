"""Losses: which servers are lost, and the flows that are freed because of that (M32).

A server is *away* while no host answers at its address (``Neighbours`` has found it silent, or its port is down), and,
for one client edge, while that has no route to the server's subnet.  It is *lost* when it has been away for more than
``LOST_AFTER_S``.

Where no links of the network file join a client edge and a server edge, routers do.  Their routes may be to a shorter
prefix, such as a default route: then there is nothing to see of a subnet that cannot be reached.  So there a subnet is
away only when the edge had a route to just that subnet, and has neither this nor one that covers it.

Rules kept here:
- A server that is back before it is lost keeps all its flows.
- Flows that their group has kept at a lost server are freed when it keeps them no more, or is deleted.
- Removal alone is no loss (M20).  A removed server is watched like an enrolled one for as long as a client edge has
  flows that are pinned to it.
- When a server edge disconnects from the controller, its servers are not lost: they have not been found silent.
- Flows are freed in slices; those of a client edge that is away, or is being read back, after that.
- None of this state is stored.  After a restart of the controller a server is away as soon as it has left the first
  questions unanswered, and lost ``LOST_AFTER_S`` later; then the flows that were found on the switches are freed.

What happens to a freed flow is decided by the client edge (``core.transitions``).
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from anycast_sdn.control.removed_servers import RemovedServers
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.events import Event, ServerLost, ServerReturned
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, Prefix
from anycast_sdn.core.roles import Side
from anycast_sdn.description.model import Network
from anycast_sdn.openflow.reaction import Reaction

LOST_AFTER_S = 3.0

_Away = TypeVar("_Away", Address, tuple[str, Prefix])
_NextHops = Mapping[str, int]  # switch → its port to a prefix
_NO_NEXT_HOPS: _NextHops = {}


@dataclass(slots=True)
class _Freeing:
    """The flows of one client edge that are pinned to a lost server."""

    left: list[int]  # their numbers
    freed: int = 0


class Losses:
    """``switches``: all, by name; ``next_hops``: to just this prefix, in another mapping when one differs;
    ``has_route``: has this switch a route to this prefix, or to one that covers it?
    """

    def __init__(
        self,
        network: Network,
        switches: Mapping[str, ManagedSwitch],
        next_hops: Callable[[Prefix], _NextHops],
        has_route: Callable[[str, Prefix], bool],
        removed: RemovedServers,
    ) -> None:
        self._network = network
        self._switches = switches
        self._edges = {name: switch for name, switch in switches.items() if switch.described.client_edge}
        self._next_hops = next_hops
        self._has_route = has_route
        self._removed = removed
        subnets = [subnet for subnet in network.subnets if subnet.side is Side.SERVER]
        # A subnet of servers → the next hops to it when they were examined.
        self._seen = {gateway.prefix: _NO_NEXT_HOPS for subnet in subnets for gateway in subnet.gateways}
        parts = _parts(network)
        # A subnet of servers → the switches from which links lead to it.
        self._joined = {gateway.prefix: parts[each.edge] for each in subnets for gateway in each.gateways}
        self._silent: dict[Address, float] = {}  # away for all client edges, not lost yet → since when, in order
        self._dead: set[Address] = set()  # lost for all client edges
        self._unrouted: dict[tuple[str, Prefix], float] = {}  # (client edge, subnet) without a route → since when
        self._cut: dict[str, set[Prefix]] = {}  # client edge → the subnets whose servers are lost for it
        self._to_examine: dict[str, None] = {}  # client edges that may have flows to lost servers
        self._to_free: OrderedDict[tuple[str, Address], _Freeing] = OrderedDict()  # (client edge, server)
        self._reported: set[tuple[str, Address]] = set()  # (client edge, server): of these, flows were freed
        self._some_returned = False  # may some of these not be lost any more?

    def is_lost(self, edge: str, server: Address) -> bool:
        """Is this server lost for this client edge?"""
        cut = self._cut.get(edge)
        return server in self._dead or (cut is not None and self._subnet_of(server) in cut)

    def _subnet_of(self, server: Address) -> Prefix | None:
        subnet = self._network.subnet_of(server)
        return next((each.prefix for each in subnet.gateways if server in each.prefix), None) if subnet else None

    # ---------------------------------------------------------------- which servers are watched

    def enrolment_changed(self, server: Address) -> None:
        """The server was enrolled, or removed."""
        self._removed.recheck_server(server, {name: edge.engine.flows for name, edge in self._edges.items()})
        self._watch(server)

    def flows_changed(self, edge: str) -> None:
        """A client edge may have its first flow to a removed server, or no longer any."""
        if edge not in self._edges:
            return
        before, switch = set(self._removed), self._edges[edge]
        for server in self._removed.recheck_edge(edge, switch.engine.flows):
            switch.reconciler.recheck_server(server)
        for server in before ^ set(self._removed):
            self._watch(server)

    def _watch(self, server: Address) -> None:
        """Others have flows to this server now, or it is enrolled or removed.  While it was not watched, it may have
        come back without notice."""
        subnet = self._network.subnet_of(server)
        if subnet is None:
            return
        switch = self._switches[subnet.edge]
        switch.recheck_watch(server)
        if switch.neighbours.get(server) or not switch.neighbours.is_watched(server):
            self._is_back(server)

    # ---------------------------------------------------------------- which servers are away

    def noticed(self, server: Address, is_there: bool, now: float) -> None:
        """A server has been found to answer in its subnet, or not to."""
        if is_there:
            self._is_back(server)
        elif server not in self._dead and self._subnet_of(server):
            self._silent.setdefault(server, now)

    def _is_back(self, server: Address) -> None:
        self._silent.pop(server, None)
        if server in self._dead:
            self._dead.remove(server)
            self._some_returned = True

    def no_longer_kept(self) -> None:
        """A group no longer keeps its flows at lost servers: servers that are lost already may have some."""
        if self._dead or any(self._cut.values()):
            self._to_examine |= dict.fromkeys(self._edges)

    def connected(self, edge: str) -> None:
        """What this switch holds has been read back."""
        self.flows_changed(edge)
        if edge in self._edges:
            self._to_examine[edge] = None

    def tick(self, now: float) -> list[Event]:
        """Find the servers that are lost by now → the events of servers that can be reached again."""
        for server in _pop_due(self._silent, now):
            self._dead.add(server)
            self._to_examine |= dict.fromkeys(self._edges)
        self._examine_routes(now)
        for edge, subnet in _pop_due(self._unrouted, now):
            if edge in self._joined[subnet] or not self._has_route(edge, subnet):
                self._cut.setdefault(edge, set()).add(subnet)
                self._to_examine[edge] = None
        return [*self._pop_returned()] if self._some_returned else []

    def _examine_routes(self, now: float) -> None:
        for subnet, before in self._seen.items():
            hops = self._next_hops(subnet)
            if hops is before:
                continue
            self._seen[subnet] = hops
            for edge in self._edges:
                cut = self._cut.get(edge, set())
                if edge in hops:
                    self._unrouted.pop((edge, subnet), None)
                    self._some_returned |= subnet in cut
                    cut.discard(subnet)
                elif subnet not in cut and (edge in before or edge in self._joined[subnet]):
                    self._unrouted.setdefault((edge, subnet), now)

    def _pop_returned(self) -> Iterator[Event]:
        self._some_returned = False
        for edge, server in sorted(self._reported):
            if not self.is_lost(edge, server):
                self._reported.remove((edge, server))
                yield ServerReturned(edge, server)

    # ---------------------------------------------------------------- whose flows are freed

    def is_busy(self) -> bool:
        """Are there flows to be freed, for which ``work`` is to be called?"""
        return bool(self._to_examine or self._to_free)

    def work(self, groups: Groups, most: int, now: float) -> tuple[ManagedSwitch, Reaction] | None:
        """Free up to ``most`` flows of one client edge and one server → what follows there; None: nothing yet."""
        if self._to_examine:
            edge, _ = self._to_examine.popitem()
            self._examine(edge)
            return None
        if not self._to_free:
            return None
        (edge, server), freeing = next(iter(self._to_free.items()))
        switch, reaction = self._edges[edge], Reaction()
        goes_on = switch.synchronised and self.is_lost(edge, server)
        if goes_on:
            some, freeing.left[-most:] = freeing.left[-most:], []
            reaction, freed = switch.engine.lose(some, server, groups, now)
            freeing.freed += freed
            if reaction.changed:
                self.flows_changed(edge)
        if not goes_on or not freeing.left:
            del self._to_free[edge, server]
            if freeing.freed:
                reaction.events.append(ServerLost(edge, server, freeing.freed))
                self._reported.add((edge, server))
        return switch, reaction

    def _examine(self, edge: str) -> None:
        """Queue the flows of this client edge that are pinned to servers that are lost for it."""
        flows = self._edges[edge].engine.flows
        for server in flows.pinned_servers() if self._dead or self._cut.get(edge) else ():
            if self.is_lost(edge, server) and (edge, server) not in self._to_free:
                self._to_free[edge, server] = _Freeing(flows.of_server(server))


def _parts(network: Network) -> dict[str, set[str]]:
    """Switch → all that links join with it."""
    parts = {switch.name: {switch.name} for switch in network.switches}
    for link in network.links:
        one, other = parts[link.a.switch], parts[link.b.switch]
        if one is not other:
            one |= other
            parts |= dict.fromkeys(other, one)
    return parts


def _pop_due(away: dict[_Away, float], now: float) -> list[_Away]:
    """Remove those that are lost by now → these.  ``away`` is in the order in which they went away."""
    due = list(itertools.takewhile(lambda key: now - away[key] > LOST_AFTER_S, away))
    for key in due:
        del away[key]
    return due
