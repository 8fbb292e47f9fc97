"""Life: how enrolled servers come and go: drains of servers and of edges, and leases (M33).

Theory.  The store has the intention: a server is DRAINING with its ``Drain``, an edge is drained.  This module follows
it.  Whatever changes an enrolment, be it an operator, another controller or this module itself: ``enrolled`` gets what
is enrolled then, and finds by comparison which drains begin, change and end.  So an operation survives a restart with
its server, and there is one place that ends it.

A drain of a server is over when its last flow has ended: no client edge has a flow that is pinned to the server in this
group.  The controller knows all of them, except for

- flows that no server has answered yet: this one may have their first packet.  As long as there are such flows, a drain
  takes ``GRACE_S`` at least.  An answer that comes later still pins its flow, as long as the server is enrolled.
- client edges that have not connected since the controller's start: nothing is over before their flows are known;
- packets that are on their way to its edge: switches have still to install other rules, or routers at uplinks to learn
  that the edge announces the service no more.  These are waited for, for ``SETTLED_S`` at most.

At the deadline it is over whatever is left.  The flows that are left go on, or are closed, as the drain says: in
slices, and then ``LINGER_S`` pass in which the server of a closed connection still gets its RST.  Then the server is
DRAINED, or removed; an edge stays as it is until it is resumed.

A drained edge takes no new flows for the servers behind it.  It goes on being a client edge: the clients at its own
ports have no other one.

State: this module owns drains, leases and operations.  It decides, with time as an argument; its caller stores, closes
flows and sends.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple, TypeAlias

from anycast_sdn.control.enrolment_changes import group_events, server_changes
from anycast_sdn.control.leases import Enrolment, Leases
from anycast_sdn.control.operations import Kind, Operation, Operations, State
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.bindings import BindingTable
from anycast_sdn.core.events import Event
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import (
    Address,
    AfterDrain,
    AnycastGroup,
    AtDeadline,
    Drain,
    Lease,
    NotFound,
    Server,
    ServerState,
    text,
)
from anycast_sdn.core.pool import RandomSource
from anycast_sdn.core.server_events import (
    EdgeDraining,
    EdgeResumed,
    LeaseExpired,
    LeaseRenewed,
    OperationEnded,
    ServerChanged,
    ServerDrained,
    ServerDraining,
    ServerEnrolled,
    ServerRemoved,
)
from anycast_sdn.core.words import counted, listed
from anycast_sdn.description.model import Network

GRACE_S = 5.0  # an unanswered flow may be answered by a draining server for so long
SETTLED_S = 10.0  # from the beginning until no new flow can reach the server any more, at the latest
LINGER_S = 2.0  # from the end of the last flow that was ended until the server may be removed
EXAMINED = 400  # drains that are looked at in one call; …
COUNTED = 10  # … counting the flows of so many servers takes as long as that
LEASES = 250  # that end in one call
ENDED = 64  # flows that are ended in one call
NO_GROUPS = Groups()


class Moment(NamedTuple):
    now: float  # s, of a clock that never jumps
    wall: float  # s since the epoch


Changed: TypeAlias = Callable[[Server], Server | None]  # None: remove it


@dataclass(slots=True)
class Todo:
    """What is to be done now."""

    flows: tuple[str, list[int]] = ("", [])  # a client edge, and flows there to be closed
    changes: dict[Enrolment, Changed] = field(default_factory=dict)  # to be stored together
    leases: dict[Enrolment, bool | None] = field(default_factory=dict)  # → held; None: there is none
    events: list[Event] = field(default_factory=list)


@dataclass(slots=True)
class _Draining:
    """A drain that runs.  Of a server: ``servers`` has both of its addresses; of an edge it is empty."""

    drain: Drain
    edge: str
    began: float
    servers: set[Enrolment] = field(default_factory=set)
    until: float | None = None  # the deadline
    counting: Iterator[ManagedSwitch] | None = None  # client edges whose flows are still to be counted
    counted: int = 0
    ending: Iterator[tuple[str, list[int]]] | None = None
    lingers_until: float | None = None  # all that was left has been ended
    is_over: bool = False  # and the server's next state is being stored
    left: str = ""  # what was left then

    def set(self, drain: Drain, at: Moment, by_another: bool) -> None:
        """The drain is this one from now on, with another deadline perhaps.

        ``by_another``: another controller has begun it, whose clock says nothing here: its deadline counts from now.
        """
        self.drain = drain
        self.until, self.ending, self.lingers_until, self.is_over = None, None, None, False
        if drain.deadline_s is not None:  # the clock of the wall may have been set since the drain began
            passed = 0.0 if by_another else max(0.0, at.wall - drain.began_at)
            self.until = at.now + max(0.0, drain.deadline_s - passed)


@dataclass(slots=True)
class _Looked:
    """What is the same for all drains that are looked at in one call."""

    unknown: list[str]  # client edges whose flows are not known yet
    unanswered: bool | None = None  # is there a flow that no server has answered yet?
    settled: dict[str, bool] = field(default_factory=dict)  # by edge


class Life:
    """``switches``: all, in any order; ``random``: for the ids of operations; ``is_settled``: do packets of new flows
    reach this edge only because of what it announces now?"""

    def __init__(
        self,
        network: Network,
        switches: Iterable[ManagedSwitch],
        random: RandomSource,
        is_settled: Callable[[str], bool],
    ) -> None:
        self._network = network
        self._clients = [switch for switch in switches if switch.described.client_edge]
        self._prefixes = {
            switch.name: [gateway.prefix for subnet in network.subnets_of(switch.name) for gateway in subnet.gateways]
            for switch in network.switches
        }
        self._random = random
        self._is_settled = is_settled
        self.operations = Operations()
        self.leases = Leases()
        self._groups = NO_GROUPS
        self._edges: Mapping[str, Drain] = {}
        self._drains: dict[str, _Draining] = {}  # by operation, in the order in which they are examined
        self._by_another = False  # another controller has decided what is enrolled now
        self._looked_at = _Looked([])
        self._waiting = Todo()  # what has followed from changes of enrolments

    def begin_anew(self, switches: Iterable[ManagedSwitch]) -> None:
        """The controller has forgotten what it knew of switches and servers; ``switches``: as they are now."""
        self._clients = [switch for switch in switches if switch.described.client_edge]
        for draining in self._drains.values():
            draining.counting = None
        for group in self._groups:
            for address, server in group.servers.items():
                if server.lease:
                    enrolment = group.name, address
                    self._waiting.leases[enrolment] = not self.leases.is_expired(enrolment)

    # ---------------------------------------------------------------- what is asked for

    def draining(
        self,
        server: Server,
        wall: float,
        deadline_s: float | None = None,
        then: AfterDrain = AfterDrain.KEEP,
        at_deadline: AtDeadline = AtDeadline.END,
    ) -> Server:
        """The server, as it is stored when it is to be drained.  A drain that runs gets another deadline."""
        present = server.drain if server.state is ServerState.DRAINING else None
        drain = Drain(self._id(present), wall, deadline_s, then, at_deadline)
        return replace(server, state=ServerState.DRAINING, drain=drain)

    def draining_edge(
        self,
        present: Drain | None,
        wall: float,
        deadline_s: float | None = None,
        at_deadline: AtDeadline = AtDeadline.END,
    ) -> Drain:
        """The drain of an edge, as it is stored."""
        return Drain(self._id(present), wall, deadline_s, AfterDrain.KEEP, at_deadline)

    def _id(self, present: Drain | None) -> str:
        if present and self.operations.is_running(present.operation):
            return present.operation
        return f"{self._random.randrange(1 << 64):016x}"

    def renew(self, group: str, address: Address, now: float) -> None:
        """The server, with both its addresses, has renewed its lease.  Raises NotFound."""
        enrolments = [each for each in self._both(group, address) if self.leases.of(each)]
        if not enrolments:
            raise NotFound(f"{text(address)} has no lease in group {group}: set one first")
        for enrolment in enrolments:
            if self.leases.renew(enrolment, now):
                self._waiting.events.append(LeaseRenewed(self._edge_of(enrolment[1]), *enrolment))
                self._waiting.leases[enrolment] = True

    def _both(self, group: str, address: Address) -> list[Enrolment]:
        known = self._groups.get(group)
        server = known.servers.get(address) if known else None
        return [(group, each) for each in (address, server.twin if server else None) if each]

    # ---------------------------------------------------------------- what is enrolled

    def take_over(self, ended: Iterable[Operation], expired: Collection[Enrolment], at: Moment) -> None:
        """This controller decides from now on.  ``ended``: by the one before; ``expired``: leases.

        Nothing ends too early: leases that are held begin anew, and so does the time in which packets may be on their
        way to a server that is drained.
        """
        for operation in sorted(ended, key=lambda each: each.ended or 0.0):
            draining = self._drains.get(operation.id)
            if draining is None or not draining.servers:  # an edge stays drained when its drain has ended
                self._drains.pop(operation.id, None)
                self.operations.recall(operation)
        for draining in self._drains.values():
            draining.began = at.now
            draining.counting, draining.ending, draining.lingers_until, draining.is_over = None, None, None, False
        for group in self._groups:
            for address, server in group.servers.items():
                if server.lease:
                    self._begin_lease((group.name, address), server.lease, expired, at)

    def _begin_lease(self, enrolment: Enrolment, lease: Lease, expired: Collection[Enrolment], at: Moment) -> None:
        self.leases.set(enrolment, lease, at.now)
        if enrolment in expired:
            self.leases.expire(enrolment, at.now)
        self._waiting.leases[enrolment] = enrolment not in expired

    def enrolled(
        self, groups: Groups, edges: Mapping[str, Drain], at: Moment, *, begins: bool = False, by_another: bool = False
    ) -> None:
        """Enrolments are these from now on.

        ``begins``: the controller starts; ``by_another``: another one decides and reports.  Then there are no events.
        """
        self._by_another = by_another
        before, self._groups = self._groups, groups
        events: list[Event] = []
        for name in {**dict.fromkeys(before.names()), **dict.fromkeys(groups.names())}:
            old, new = before.get(name), groups.get(name)
            if old is not new:
                events += self._group_changed(name, old, new, at)
        events += self._edges_changed(edges, at)
        if not (begins or by_another):
            self._waiting.events += events

    def _group_changed(
        self, name: str, old: AnycastGroup | None, new: AnycastGroup | None, at: Moment
    ) -> Iterator[Event]:
        was, now = old.servers if old else {}, new.servers if new else {}
        yield from group_events(name, old, new)
        if was is now:
            return
        for address in {**was, **now}:
            before, after = was.get(address), now.get(address)
            if before is not after and before != after:
                yield from self._server_changed((name, address), before, after, at)

    def _server_changed(
        self, enrolment: Enrolment, before: Server | None, after: Server | None, at: Moment
    ) -> Iterator[Event]:
        edge = self._edge_of(enrolment[1])
        old, new = before.lease if before else None, after.lease if after else None
        if old != new:
            self.leases.set(enrolment, new, at.now)
            self._waiting.leases[enrolment] = True if new else None
        if after is None:
            if enrolment[0] in self._groups.names():  # otherwise its group is removed, which says it
                yield ServerRemoved(edge, *enrolment)
        elif before is None:
            yield ServerEnrolled(edge, *enrolment)
        elif changes := tuple(server_changes(before, after)):
            yield ServerChanged(edge, *enrolment, changes)
        was, drain = before.drain if before else None, after.drain if after else None
        if was and (drain is None or drain.operation != was.operation):
            yield from self._leave(was.operation, enrolment, after, at)
        if drain and drain != was:
            self._join(drain, enrolment, edge, at)
            yield ServerDraining(edge, *enrolment, drain.operation, drain.deadline_s)
        elif after and after.state is ServerState.DRAINING and drain is None:  # its state alone was set
            self._waiting.changes[enrolment] = partial(self._given_a_drain, at.wall)
        if after and after.state is ServerState.DRAINED and before and before.state is ServerState.DRAINING:
            yield ServerDrained(edge, *enrolment)

    def _given_a_drain(self, wall: float, server: Server) -> Server:
        without = server.state is ServerState.DRAINING and server.drain is None
        return self.draining(server, wall) if without else server

    def _edge_of(self, address: Address) -> str:
        subnet = self._network.subnet_of(address)
        return subnet.edge if subnet else ""

    def _edges_changed(self, edges: Mapping[str, Drain], at: Moment) -> Iterator[Event]:
        before, self._edges = self._edges, edges
        for edge in sorted(before.keys() | edges.keys()):
            was, drain = before.get(edge), edges.get(edge)
            if was == drain or edge not in self._prefixes:
                continue
            if was and (drain is None or drain.operation != was.operation) and was.operation in self._drains:
                yield self._end(was.operation, State.FAILED, at, "the edge was resumed")
            if drain is None:
                yield EdgeResumed(edge)
            else:
                self._join(drain, None, edge, at)
                yield EdgeDraining(edge, drain.operation, drain.deadline_s)

    # ---------------------------------------------------------------- drains begin, change and end

    def _join(self, drain: Drain, enrolment: Enrolment | None, edge: str, at: Moment) -> None:
        """The server, or else the edge, is drained so from now on."""
        draining = self._drains.get(drain.operation)
        if draining is None:
            draining = self._drains[drain.operation] = _Draining(drain, edge, at.now)
        if enrolment:
            draining.servers.add(enrolment)
        draining.set(drain, at, self._by_another)
        addresses = tuple(sorted((address for _, address in draining.servers), key=lambda each: (len(each), each)))
        kind = Kind.DRAIN_SERVER if enrolment else Kind.DRAIN_EDGE
        operation = Operation(drain.operation, kind, edge, drain.began_at, enrolment[0] if enrolment else "", addresses)
        if self.operations.is_running(drain.operation):
            running = self.operations.get(drain.operation)
            operation = replace(
                operation, began=running.began, flows_at_start=running.flows_at_start, flows_left=running.flows_left
            )
        deadline = None if drain.deadline_s is None else drain.began_at + drain.deadline_s
        self.operations.put(replace(operation, deadline=deadline))

    def _leave(self, id: str, enrolment: Enrolment, after: Server | None, at: Moment) -> Iterator[Event]:
        """The server's drain is no longer this one; ``after``: the server as it is now."""
        draining = self._drains.get(id)
        if draining is None:
            return
        draining.servers.discard(enrolment)
        if draining.servers:
            return  # its other address is changed likewise
        expected = ServerState.DRAINED if draining.drain.then is AfterDrain.KEEP else None
        if (draining.is_over or self._by_another) and (after.state if after else None) is expected:
            yield self._end(id, State.SUCCEEDED, at, draining.left)
        else:
            reason = f"the server was set to {after.state.value}" if after else "the server was removed"
            yield self._end(id, State.FAILED, at, reason)

    def _end(self, id: str, state: State, at: Moment, reason: str) -> Event:
        del self._drains[id]
        ended = self.operations.end(id, state, at.wall, reason)
        return OperationEnded(ended.edge, ended.group, id, ended.what, state is State.SUCCEEDED, reason)

    # ---------------------------------------------------------------- time, and work in slices

    def is_busy(self) -> bool:
        """Is there something to do at once, for which ``tick`` is to be called again?"""
        return any(draining.ending for draining in self._drains.values())

    def tick(self, at: Moment) -> Todo:
        """What is to be done now.  To be called several times a second, and again while it ``is_busy``."""
        todo, self._waiting = self._waiting, Todo()
        self._end_leases(todo, at)
        self._looked_at = _Looked([switch.name for switch in self._clients if not switch.knows_flows])
        left = float(EXAMINED)
        for id, draining in list(self._drains.items()):
            if left <= 0:
                break
            self._drains[id] = self._drains.pop(id)  # the others come first, next time
            left -= self._look(draining, todo, at)
        return todo

    def _end_leases(self, todo: Todo, at: Moment) -> None:
        due = self.leases.tick(at.now, LEASES)
        for enrolment in due.expired:
            lease = self.leases.of(enrolment)
            todo.leases[enrolment] = False
            removed_in_s = lease.deregister_after_s if lease else None
            todo.events.append(LeaseExpired(self._edge_of(enrolment[1]), *enrolment, removed_in_s))
        for enrolment in due.to_remove:
            todo.changes[enrolment] = partial(self._unless_renewed, enrolment)

    def _unless_renewed(self, enrolment: Enrolment, server: Server) -> Server | None:
        return None if self.leases.is_expired(enrolment) else server

    def _look(self, draining: _Draining, todo: Todo, at: Moment) -> float:
        """Is this drain over?  → what that costs, in drains."""
        if draining.ending and not todo.flows[1]:
            todo.flows = next(draining.ending, ("", []))
            if not todo.flows[0]:
                draining.ending, draining.lingers_until = None, at.now + LINGER_S
        if draining.ending:
            return 1
        cost = self._count(draining)
        if draining.counting:
            return cost  # there is more to count
        unknown = self._looked_at.unknown
        flows = draining.counted
        waits = f"the flows of {listed(unknown, 3)} are not known yet" if unknown else ""
        if not flows and not unknown and self._is_on_the_way(draining, at.now - draining.began):
            waits = "packets of new flows may still be on their way"
        operation = self.operations.get(draining.drain.operation)
        at_start = flows if operation.flows_at_start is None else operation.flows_at_start
        self.operations.put(replace(operation, flows_at_start=at_start, flows_left=flows, reason=waits))
        if draining.until is not None and at.now >= draining.until:
            if flows and draining.drain.at_deadline is AtDeadline.END and draining.lingers_until is None:
                draining.ending = self._left_flows(draining)
            elif draining.lingers_until is None or at.now >= draining.lingers_until:
                left = f"{counted(flows, 'flow')} went on at the deadline" if flows else ""
                self._over(draining, "; ".join(filter(None, (left, waits if unknown else ""))), todo, at)
        elif not flows and not waits:
            self._over(draining, "", todo, at)
        return cost

    def _is_on_the_way(self, draining: _Draining, passed_s: float) -> bool:
        """May a new flow still reach the server?"""
        if passed_s < GRACE_S and self._unanswered():
            return True
        if passed_s < SETTLED_S and draining.edge not in self._looked_at.settled:
            self._looked_at.settled[draining.edge] = self._is_settled(draining.edge)
        return passed_s < SETTLED_S and not self._looked_at.settled[draining.edge]

    def _unanswered(self) -> bool:
        """Is there a flow that no server has answered yet?"""
        known = self._looked_at
        if known.unanswered is None:
            known.unanswered = any(len(each.engine.flows) > each.engine.flows.pinned() for each in self._clients)
        return known.unanswered

    def _over(self, draining: _Draining, left: str, todo: Todo, at: Moment) -> None:
        draining.is_over, draining.left = True, left
        id = draining.drain.operation
        if not draining.servers:
            todo.events.append(self._end(id, State.SUCCEEDED, at, left))
        for enrolment in draining.servers:
            todo.changes[enrolment] = partial(_after, draining.drain)

    # ---------------------------------------------------------------- flows of a drain

    def _count(self, draining: _Draining) -> float:
        """Count some of its flows → what that costs; all are counted when ``counting`` is None."""
        if draining.counting is None:
            draining.counting, draining.counted = iter(self._clients), 0
        cost = 1.0
        for switch in draining.counting:
            table = switch.engine.flows
            if draining.servers:
                draining.counted += sum(table.in_group(group).get(server, 0) for group, server in draining.servers)
                cost += len(draining.servers) / COUNTED
            else:
                servers = self._behind(draining.edge, table)
                draining.counted += sum(map(table.pinned_to, servers))
                cost += (1 + len(servers)) / COUNTED
            if cost >= EXAMINED:
                return cost
        draining.counting = None
        return cost

    def _behind(self, edge: str, table: BindingTable) -> list[Address]:
        """The servers behind this edge that have flows in the table, enrolled or not."""
        prefixes = self._prefixes[edge]
        return [server for server in table.pinned_servers() if any(server in prefix for prefix in prefixes)]

    def _left_flows(self, draining: _Draining) -> Iterator[tuple[str, list[int]]]:
        """All that are left, a few of one client edge at a time."""
        for switch in self._clients:
            table = switch.engine.flows
            for server in [server for _, server in draining.servers] or self._behind(draining.edge, table):
                groups = {group for group, _ in draining.servers}
                numbers = table.of_server(server)
                while numbers:
                    some, numbers[-ENDED:] = numbers[-ENDED:], []
                    flows = filter(None, map(table.by_number, some))
                    of_it = (flow for flow in flows if flow.server == server)
                    if ours := [flow.number for flow in of_it if not groups or flow.group in groups]:
                        yield switch.name, ours


def _after(drain: Drain, server: Server) -> Server | None:
    """The server after this drain; unchanged, if something else has been decided about it."""
    if server.drain != drain:
        return server
    return None if drain.then is AfterDrain.REMOVE else replace(server, state=ServerState.DRAINED, drain=None)
