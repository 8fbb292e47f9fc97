"""Losses: which servers are lost, and the flows that are freed because of that (M32).

A server is *away* while no host answers at its address (``Neighbours`` has found it silent, or its port is down), and,
for one client edge, while that has no route to the server's subnet.  It is *lost* when it has been away for more than
``LOST_AFTER_S``.

A server is lost for the flows of one group when it fails that group's checks for long enough (``FailedServers``).

Where no links of the network file join a client edge and a server edge, routers do.  Their routes may be to a shorter
prefix, such as a default route: then there is nothing to see of a subnet that cannot be reached.  So there a subnet is
away only when the edge had a route to just that subnet, and has neither this nor one that covers it.

Rules kept here:
- A server that is back before it is lost keeps all its flows.
- Flows that their group has kept at a lost server are freed when it keeps them no more, or is deleted.
- Removal alone is no loss (M20).  A removed server is watched like an enrolled one for as long as a client edge has
  flows that are pinned to it.
- A lost server stays lost until it is heard, also when it is removed and has no flows any more: late packets of ended
  flows must not bring these back to it.  It is watched until no client edge can remember a flow of it.
- When a server edge disconnects from the controller, its servers are not lost: they have not been found silent.  Those
  that were found so just before, perhaps because of that, have all of the time again when it is back.
- Flows are freed in slices, as servers and routes are examined; flows of a client edge that is away, or is being read
  back, are freed after that.
- None of this state is stored.  After a restart of the controller a server is away as soon as it has left the first
  questions unanswered, and lost ``LOST_AFTER_S`` later; then the flows that were found on the switches are freed.

What happens to a freed flow is decided by the client edge (``core.transitions``).
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import TypeVar

from anycast_sdn.control.failed_servers import FailedServers
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.control.removed_servers import RemovedServers
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.events import Event
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, Prefix
from anycast_sdn.core.roles import Side
from anycast_sdn.core.server_events import ServerLost, ServerReturned
from anycast_sdn.description.model import Network
from anycast_sdn.openflow.reaction import Reaction

LOST_AFTER_S = 3.0
EXAMINED = 500  # pairs of a client edge and a server, or a subnet, in one slice

_Key = TypeVar("_Key", Address, tuple[str, Prefix])
_NextHops = Mapping[str, int]  # switch → its port to a prefix
_NO_NEXT_HOPS: _NextHops = {}


@dataclass(slots=True)
class _Freeing:
    """The flows of one client edge that are pinned to a lost server."""

    left: list[int]  # their numbers
    freed: int = 0


class Losses:
    """``switches``: all, by name; ``next_hops``: to just this prefix, in another mapping when one differs;
    ``has_route``: has this switch a route to this prefix, or to one that covers it?; ``takes_flows``: does this server
    take new flows of this group now?
    """

    def __init__(
        self,
        network: Network,
        switches: Mapping[str, ManagedSwitch],
        next_hops: Callable[[Prefix], _NextHops],
        has_route: Callable[[str, Prefix], bool],
        removed: RemovedServers,
        takes_flows: Callable[[str, Address], bool],
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
        # Those to which they have changed since → before, and when.
        self._rerouted: dict[Prefix, tuple[_NextHops, float]] = {}
        parts = _parts(network)
        # A subnet of servers → the switches from which links lead to it.
        self._joined = {gateway.prefix: parts[each.edge] for each in subnets for gateway in each.gateways}
        self._silent: dict[Address, float] = {}  # away for all client edges, not lost yet → since when, in order
        self._dead: set[Address] = set()  # lost for all client edges
        self._unused: dict[Address, float] = {}  # of these, those without enrolment and flows → when it is forgotten
        roles = [switch.described.client_edge for switch in self._edges.values()]
        self._remembered_s = max((role.quarantine_s for role in roles if role), default=0)  # an ended flow
        self._failed = FailedServers(self._remembered_s, takes_flows)
        # By another controller; None: this one finds what is lost.
        self._told: tuple[Set[Address], Set[tuple[str, Address]], Mapping[str, Set[Prefix]]] | None = None
        self._now = 0.0  # at the last tick
        self._unrouted: dict[tuple[str, Prefix], float] = {}  # (client edge, subnet) without a route → since when
        self._cut: dict[str, set[Prefix]] = {}  # client edge → the subnets whose servers are lost for it
        # Client edges and servers to be examined → their pairs that are left, of an edge and a server; None: all.
        self._to_examine: dict[str | Address, Iterator[tuple[str, Address]] | None] = {}
        self._to_free: OrderedDict[tuple[str, Address], _Freeing] = OrderedDict()  # (client edge, server)
        self._reported: dict[str, set[Address]] = {name: set() for name in self._edges}  # of these, flows were freed

    def is_lost(self, edge: str, server: Address) -> bool:
        """Is this server lost for all flows of this client edge?"""
        cut = self._cut.get(edge)
        return server in self._dead or (cut is not None and self._subnet_of(server) in cut)

    def has_lost(self, edge: str, server: Address, group: str) -> bool:
        """Is this server lost for this client edge's flows of this group?"""
        return self._failed.has_failed(group, server) or self.is_lost(edge, server)

    def _is_lost_for_some(self, edge: str, server: Address) -> bool:
        return bool(self._failed.groups(server)) or self.is_lost(edge, server)

    def _subnet_of(self, server: Address) -> Prefix | None:
        subnet = self._network.subnet_of(server)
        return next((each.prefix for each in subnet.gateways if server in each.prefix), None) if subnet else None

    # ---------------------------------------------------------------- where another controller finds what is lost

    def known(self) -> tuple[Set[Address], Set[tuple[str, Address]], Mapping[str, Set[Prefix]]]:
        """For ``told``."""
        cut = {edge: frozenset(subnets) for edge, subnets in self._cut.items() if subnets}
        return frozenset(self._dead), self._failed.known(), cut

    def told(self, lost: Set[Address], failed: Set[tuple[str, Address]], cut: Mapping[str, Set[Prefix]]) -> None:
        """Another controller finds what is lost: it is this.  The flows here are examined."""
        if (lost, failed, cut) == self._told:
            return
        self._told = lost, failed, cut
        self._dead, self._cut = set(lost), {edge: set(each) for edge, each in cut.items()}
        self._failed.told(failed)
        self._to_examine |= dict.fromkeys(self._edges)

    # ---------------------------------------------------------------- which servers are watched

    def enrolment_changed(self, server: Address) -> None:
        """The server was enrolled, or removed."""
        self._removed.recheck_server(server, {name: edge.engine.flows for name, edge in self._edges.items()})
        self._watch(server)

    def flows_changed(self, edge: str) -> None:
        """A client edge may have its first flow to a removed server, or to a service without a group, or none now."""
        if edge not in self._edges:
            return
        before, switch = set(self._removed), self._edges[edge]
        for server in self._removed.recheck_edge(edge, switch.engine.flows):
            switch.reconciler.recheck_server(server)
        switch.reconciler.recheck_anycast(switch.engine.services_to_recheck)
        for server in before ^ set(self._removed):
            self._watch(server)

    def _watch(self, server: Address) -> None:
        """Others have flows to this server now, or it is enrolled or removed."""
        subnet = self._network.subnet_of(server)
        if subnet is None:
            return
        switch = self._switches[subnet.edge]
        if switch.neighbours.get(server):
            self._is_back(server)  # while it was not watched, that went without notice
        switch.recheck_watch(server, server in self._dead)
        if switch.is_in_use(server):
            self._unused.pop(server, None)
        elif server in self._dead:
            self._unused.setdefault(server, self._now + self._remembered_s)
        else:
            self._forget(server)

    def _forget(self, server: Address) -> None:
        """It is no longer watched: nothing is known of it from now on, and no return of it is reported."""
        self._silent.pop(server, None)
        self._dead.discard(server)
        for reported in self._reported.values():
            reported.discard(server)

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
            self._to_examine[server] = None
            if self._unused.pop(server, None) is not None:
                self._recheck_watch(server)

    def _recheck_watch(self, server: Address) -> None:
        subnet = self._network.subnet_of(server)
        assert subnet is not None
        self._switches[subnet.edge].recheck_watch(server)

    # ---------------------------------------------------------------- which servers fail

    def checked(self, group: str, server: Address, failing: bool, now: float) -> None:
        """By its checks the server is failing for this group, or is not."""
        if self._failed.set_failing(group, server, failing, now):
            self._to_examine[server] = None

    def no_longer_checked(self, group: str, server: Address, now: float) -> None:
        """It was removed from this group."""
        if self._failed.removed(group, server, now):
            self._to_examine[server] = None

    def no_longer_kept(self) -> None:
        """A group no longer keeps its flows at lost servers: servers that are lost already may have some."""
        if self._dead or self._failed or any(self._cut.values()):
            self._to_examine |= dict.fromkeys(self._edges)

    def connected(self, edge: str) -> None:
        """What this switch holds has been read back."""
        self.flows_changed(edge)
        self.flows_found(edge)

    def flows_found(self, edge: str) -> None:
        """Servers of this client edge's flows may be lost."""
        if edge in self._edges:
            self._to_examine[edge] = None

    def tick(self, now: float) -> None:
        """Find the servers that are lost by now."""
        self._now = now
        for server in _pop_first(self._unused, lambda until: until <= now):
            self._forget(server)
            self._recheck_watch(server)
        self._to_examine |= dict.fromkeys(self._failed.tick(now))
        self._hold_silent(now)
        lost = _pop_first(self._silent, lambda since: now - since > LOST_AFTER_S)
        self._dead.update(lost)
        self._to_examine |= dict.fromkeys(lost)
        for subnet, before in self._seen.items():
            hops = self._next_hops(subnet)
            if hops is not before:
                self._seen[subnet] = hops
                self._rerouted.setdefault(subnet, (before, now))
        for edge, subnet in _pop_first(self._unrouted, lambda since: now - since > LOST_AFTER_S):
            if edge in self._joined[subnet] or not self._has_route(edge, subnet):
                self._cut.setdefault(edge, set()).add(subnet)
                self._to_examine[edge] = None

    def _hold_silent(self, now: float) -> None:
        """Servers that cannot be asked now are not lost: their silence begins when they can."""
        away = {name for name, switch in self._switches.items() if not switch.synchronised} if self._silent else set()
        for server in list(self._silent) if away else ():
            subnet = self._network.subnet_of(server)
            if subnet and subnet.edge in away:
                del self._silent[server]
                self._silent[server] = now  # the last one now

    # ---------------------------------------------------------------- work in slices

    def is_busy(self) -> bool:
        """Is there something left, for which ``work`` is to be called?"""
        return bool(self._rerouted or self._to_examine or self._to_free)

    def work(self, groups: Groups, most: int, now: float) -> Outcome:
        """Examine some servers and routes, and free up to ``most`` flows of one client edge and one server."""
        for _ in range(min(len(self._rerouted), 1 + EXAMINED // (1 + len(self._edges)))):
            subnet = next(iter(self._rerouted))
            self._examine_routes(subnet, *self._rerouted.pop(subnet))
        out = Outcome(events=self._examine_some())
        if self._to_free:
            (edge, server), freeing = next(iter(self._to_free.items()))
            reaction = self._free(edge, server, freeing, groups, most, now)
            out.add(Outcome.at(self._edges[edge].dpid, reaction))
        return out

    def _examine_routes(self, subnet: Prefix, before: _NextHops, now: float) -> None:
        hops = self._seen[subnet]
        for edge in self._edges:
            cut = self._cut.get(edge, ())
            if edge in hops:
                self._unrouted.pop((edge, subnet), None)
                if subnet in cut:
                    self._cut[edge].remove(subnet)
                    self._to_examine[edge] = None
            elif subnet not in cut and (edge in before or edge in self._joined[subnet]):
                self._unrouted.setdefault((edge, subnet), now)

    def _examine_some(self) -> list[Event]:
        """→ the servers that can be reached again."""
        events: list[Event] = []
        left = EXAMINED
        while left > 0 and self._to_examine:
            what, pairs = next(iter(self._to_examine.items()))
            pairs = self._to_examine[what] = pairs or self._pairs_of(what)
            some = list(itertools.islice(pairs, left))
            for edge, server in some:
                events += self._examine(edge, server)
            if len(some) < left:
                del self._to_examine[what]
            left -= 1 + len(some)
        return events

    def _pairs_of(self, what: str | Address) -> Iterator[tuple[str, Address]]:
        if isinstance(what, str):
            servers = self._edges[what].engine.flows.pinned_servers() | self._reported[what]
            return ((what, server) for server in sorted(servers))
        return ((edge, what) for edge in self._edges)

    def _examine(self, edge: str, server: Address) -> list[Event]:
        """If the server is lost, queue the flows of this client edge that are pinned to it."""
        flows, reported = self._edges[edge].engine.flows, self._reported[edge]
        if not flows.pinned_to(server) and server not in reported:
            return []
        if not self._is_lost_for_some(edge, server):
            returned = [ServerReturned(edge, server)] if server in reported and not self._is_forgotten(server) else []
            reported.discard(server)
            return [*returned]
        if flows.pinned_to(server) and (edge, server) not in self._to_free:
            self._to_free[edge, server] = _Freeing(flows.of_server(server))
        return []

    def _is_forgotten(self, server: Address) -> bool:
        """Does the leader, who decides what is lost, look for it no more?  Then nobody knows whether it is back."""
        subnet = self._network.subnet_of(server)
        return self._told is not None and not (subnet and self._switches[subnet.edge].is_in_use(server))

    def _free(
        self, edge: str, server: Address, freeing: _Freeing, groups: Groups, most: int, now: float
    ) -> Reaction:
        switch, reaction = self._edges[edge], Reaction()
        goes_on = switch.decides_on_flows and self._is_lost_for_some(edge, server)
        if goes_on:
            some, freeing.left[-most:] = freeing.left[-most:], []
            if not self.is_lost(edge, server):
                some = self._of_groups(edge, some, self._failed.groups(server))
            reaction, freed = switch.engine.lose(some, server, groups, now)
            freeing.freed += freed
            if reaction.changed:
                self.flows_changed(edge)
        if not goes_on or not freeing.left:
            del self._to_free[edge, server]
            if freeing.freed:
                reaction.events.append(ServerLost(edge, server, freeing.freed))
                self._reported[edge].add(server)
                if not self._is_lost_for_some(edge, server):
                    self._to_examine[server] = None  # it has come back meanwhile
        return reaction

    def _of_groups(self, edge: str, numbers: Iterable[int], groups: Collection[str]) -> list[int]:
        """Those of these flows that belong to one of these groups."""
        flows = filter(None, map(self._edges[edge].engine.flows.by_number, numbers))
        return [flow.number for flow in flows if flow.group in groups]


def _parts(network: Network) -> dict[str, set[str]]:
    """Switch → all that links join with it."""
    parts = {switch.name: {switch.name} for switch in network.switches}
    for link in network.links:
        one, other = parts[link.a.switch], parts[link.b.switch]
        if one is not other:
            one |= other
            parts |= dict.fromkeys(other, one)
    return parts


def _pop_first(times: dict[_Key, float], is_due: Callable[[float], bool]) -> list[_Key]:
    """Remove those that are due → these.  ``times`` is in the order of its values."""
    due = list(itertools.takewhile(lambda key: is_due(times[key]), times))
    for key in due:
        del times[key]
    return due
