"""Selecting: which servers take the new flows of each group at each server edge, as ``core.selection`` decides (M26).

It asks for the decision, with what it knows of servers, sessions and distances, and keeps it.

All ANY/n of one group and address family are announced by the same edges, to the same clients.  So their demand is one,
and so are their shares: the rule is called once for each *spread* (group, family), not for each ANY/n.

When a spread is decided anew:
- at once when an event may change who takes new flows: enrolment, health, a server that appears or vanishes, routes;
- every ``INTERVAL_S`` while something in it follows the sessions (a capacity or a report of load is known), a server's
  slow start is not over, or slots have still to move.  Otherwise the spread *rests* and costs nothing.

Rules that it keeps:
- Slots of living servers move at most once in an ``INTERVAL_S``, however many events there are.  In a group without
  capacities, checks and reports there is nothing to be careful of, and a changed enrolment counts at once.
- Intervals of different spreads begin at different times, and decisions are made in slices.
- Sessions and demand are means of up to ``SAMPLES`` counts, the last of them not older than ``SAMPLE_S``.
- Servers that are enrolled when the controller starts have no slow start when they are seen first, and get their slots
  at once.  What switches are found to hold then is the table from which slots move (``connected``).
"""

from __future__ import annotations

import math
import zlib
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias, TypeVar

from anycast_sdn.control.choices import Choices
from anycast_sdn.control.edge_distances import EdgeDistances
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.bindings import BindingTable
from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.due import Due
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.load import LoadReport
from anycast_sdn.core.model import Address, AnycastGroup, Distance, Server
from anycast_sdn.core.roles import Side
from anycast_sdn.core.selection import Candidate, Choice, Measured, Memory, Rule, Selection, announcing, select
from anycast_sdn.core.slots import Slots, Spread
from anycast_sdn.description.model import Network
from anycast_sdn.openflow.judgement import Role

INTERVAL_S = 5.0
SAMPLE_S = 1.0
SAMPLES = 5
AWAITED_S = 60.0  # a server that is seen first so long after it was enrolled, or after the start, begins as any other
SAMPLE_COST = 0.1  # of counting the sessions of a spread, in candidates that are decided about
_Key = TypeVar("_Key")
Changes: TypeAlias = dict[tuple[str, Spread], bool | None]  # an edge's slots → it announces them now, or no longer
NOWHERE = ""  # the edge of a server that is behind none


class _Sample(NamedTuple):
    """How many sessions of a spread are pinned, at one time."""

    of_clients: Mapping[str, int]  # client edge → …
    of_servers: Mapping[Address, int]


class _Report(NamedTuple):
    report: LoadReport
    sessions: int  # of the group that are pinned to the server when the report came


@dataclass(slots=True)
class _Course:
    """A spread over time."""

    selection: Selection
    group: AnycastGroup | None = None
    servers: Sequence[tuple[Server, str]] = ()  # those of the family, and the edge of each
    has_capacities: bool = False  # has one of them?
    has_reports: bool = False  # has one of them reported its load?
    cell: int = -1  # the number of the interval in which slots of living servers have moved last
    since: dict[Address, float] = field(default_factory=dict)  # able server → since when
    inputs: object = None  # of the last decision
    candidates: Sequence[Candidate] = ()
    decided_at: float = 0.0
    was_found: bool = False  # have switches been found to have slots of it?
    moves: bool = True  # may another decision with the same inputs change something?
    demand: Mapping[str, float] = field(default_factory=dict)  # at each edge, as it was decided about last
    samples: deque[_Sample] = field(default_factory=lambda: deque(maxlen=SAMPLES))

    @property
    def is_counted(self) -> bool:
        """Does it depend on sessions?"""
        return self.has_capacities or self.has_reports


class Selecting:
    """``switches``: all, by name; ``health``: of a server in a group; ``groups_of``: the groups of a server."""

    def __init__(
        self,
        network: Network,
        switches: Mapping[str, ManagedSwitch],
        distances: EdgeDistances,
        health: Callable[[str, Address], HealthStatus],
        groups_of: Callable[[Address], Sequence[str]],
        choices: Choices,
    ) -> None:
        self._network = network
        self._switches = switches
        self._distances = distances
        self._health = health
        self._groups_of = groups_of
        self._choices = choices
        self._clients: list[tuple[str, BindingTable]] = [
            (name, switch.engine.flows) for name, switch in switches.items() if switch.described.client_edge
        ]
        self._courses: dict[Spread, _Course] = {}
        self._found: dict[Spread, dict[str, Slots]] = {}  # see ``connected``
        self._reports: dict[tuple[str, Address], _Report] = {}  # by group and server
        self._reported = 0  # how many reports have come
        self._due: OrderedDict[Spread, bool] = OrderedDict()  # → is an event the reason?
        self._wakes: Due[Spread] = Due()  # to count its sessions, or to step
        self._changed: Changes = {}
        self._drained_edges: frozenset[str] = frozenset()
        self._now = 0.0
        # (group, server) that were not seen since the enrolment → until when they are awaited
        self._awaited: dict[tuple[str, Address], float] = {}

    # ---------------------------------------------------------------- what is decided

    def slots(self, edge: str, group: AnycastGroup, is_v6: bool) -> Slots:
        """The slots of the group at a server edge; none: it does not announce the group."""
        spread = Spread(group.name, is_v6)
        course = self._courses.get(spread)
        if course is None or course.group is not group or self._due.get(spread):
            course = self._decide(spread, group)
            self._due.pop(spread, None)
        return course.selection.memory.slots.get(edge, ())

    def choice(self, client: str, group: str, is_v6: bool) -> Choice | None:
        """By which new flows of this client edge get their servers now; None: they get nowhere."""
        course = self._courses.get(Spread(group, is_v6))
        edges = course.selection.announce if course else frozenset()
        entries = self._distances.entries(client, edges, is_v6)
        if course is None or not entries:
            return None
        edge, ways = entries[0], self._distances.ways(edges, is_v6)
        costs = {other: cost for (one, other), cost in ways.items() if one == edge}
        selection = course.selection
        return Choice(edge, course.decided_at, course.candidates, selection.standings, selection.shares[edge], costs)

    def selection(self, spread: Spread) -> Selection | None:
        course = self._courses.get(spread)
        return course.selection if course else None

    def candidates(self) -> dict[Spread, Sequence[Candidate]]:
        """Of all spreads, as they were decided about last."""
        return {spread: course.candidates for spread, course in self._courses.items()}

    def takes_flows(self, group: str, server: Address) -> bool:
        """Does this server take new flows of this group, as it was decided last?"""
        selection = self.selection(Spread(group, len(server) == 16))
        standing = selection.standings.get(server) if selection else None
        return standing is not None and standing.excluded is None and standing.factor > 0

    def candidates_of(self, spread: Spread) -> Sequence[Candidate]:
        """Those that were decided about last."""
        course = self._courses.get(spread)
        return course.candidates if course else ()

    def report(self, group: str, server: Address) -> LoadReport | None:
        """The server's last report of its load; it may be stale.  None: there is none."""
        known = self._reports.get((group, server))
        return known.report if known else None

    def shares_of(self, group: str, server: Address) -> Mapping[str, float]:
        """Server edges → the share of their new flows that this server gets."""
        selection = self.selection(Spread(group, len(server) == 16))
        by_edge = selection.shares.items() if selection else ()
        return {edge: share for edge, shares in by_edge if (share := shares.get(server, 0.0)) > 0}

    def shares(self, client: str, group: str, is_v6: bool) -> Mapping[Address, float]:
        """Of new flows that come from this client edge, for each server; empty: nobody serves them."""
        selection = self.selection(Spread(group, is_v6))
        if selection is None:
            return {}
        entries = self._distances.entries(client, selection.announce, is_v6)
        slots = [server for entry in entries for server in selection.memory.slots.get(entry, ())]
        return {server: count / len(slots) for server, count in Counter(slots).items()}

    # ---------------------------------------------------------------- what may change it

    def drain_edges(self, names: Collection[str]) -> list[str]:
        """Servers behind these edges, and behind no others, take no new flows → the edges where that changes.

        The groups of the servers there are to be rechecked.
        """
        changed = self._drained_edges.symmetric_difference(names)
        self._drained_edges = frozenset(names)
        return sorted(changed)

    def start(self, groups: Groups) -> None:
        """The controller starts: their servers have been serving, or begin together.  They are awaited."""
        enrolled = ((group.name, server) for group in groups for server in group.servers)
        self._awaited = dict.fromkeys(enrolled, math.inf)  # until the clock begins

    def recheck(self, group: str, is_v6: bool | None = None) -> None:
        """Other servers of the group may take new flows than before; None: in both families."""
        for family in (False, True) if is_v6 is None else (is_v6,):
            self._due[Spread(group, family)] = True

    def enrolment_changed(self, name: str, group: AnycastGroup | None) -> None:
        """The group is another one than before; None: it is deleted."""
        for is_v6 in (False, True):
            spread = Spread(name, is_v6)
            course = self._courses.get(spread)
            for server, _ in course.servers if course else ():
                if name not in self._groups_of(server.address):
                    self._reports.pop((name, server.address), None)
            if group is None:
                self._choices.decided(name, is_v6)
                self._courses.pop(spread, None)
                self._found.pop(spread, None)
                self._due.pop(spread, None)
        if group is not None:
            self.recheck(name)

    def links_changed(self) -> None:
        """Distances count only for groups that may spill to other edges."""
        self._distances.changed()
        self._choices.forget_all()
        for spread, course in self._courses.items():
            is_any = course.group is not None and course.group.selection.distance is Distance.ANY
            if course.is_counted or course.moves or is_any:
                self._due[spread] = True

    def connected(self, edge: str, found: Mapping[Spread, Slots]) -> None:
        """A switch has connected, with its sessions.  At the start of the controller, slots move from those that it is
        ``found`` to have."""
        self._distances.changed()
        for course in self._courses.values():
            course.samples.clear()
        for spread, slots in found.items():
            self._found.setdefault(spread, {})[edge] = slots
            self._due[spread] = True

    def reported(
        self, server: Address, report: LoadReport, now: float, counts_in: Callable[[str], bool] = lambda group: True
    ) -> None:
        """The server's load is reported, by somebody whose word counts in these of its groups."""
        names = list(filter(counts_in, self._groups_of(server)))
        if not names:
            return
        self._reported += 1
        report = replace(report, at=now, number=self._reported)
        for name in names:
            sessions = sum(flows.in_group(name).get(server, 0) for _, flows in self._clients)
            self._reports[name, server] = _Report(report, sessions)
            spread = Spread(name, len(server) == 16)
            course = self._courses.get(spread)
            if course and not course.has_reports:
                course.has_reports = True
                self._wake(spread, course, now)

    # ---------------------------------------------------------------- time, and work in slices

    def tick(self, now: float) -> None:
        self._now = now
        self._awaited = {each: min(end, now + AWAITED_S) for each, end in self._awaited.items() if now < end}
        while spread := self._wakes.pop(now):
            if spread in self._courses:
                self._due.setdefault(spread, False)

    def is_busy(self) -> bool:
        return bool(self._due or self._changed)

    def is_behind(self) -> bool:
        """Have events been for which something is still to be decided?"""
        return any(self._due.values())

    def work(self, groups: Groups, most: int, now: float) -> Changes:
        """Decide what is due, about up to ``most`` servers → all slots that are others now."""
        self._now = now
        left = float(most)
        while self._due and left > 0:
            spread, is_event = self._due.popitem(last=False)
            group = groups.get(spread.group)
            if group is None:
                self._choices.decided(*spread)
                self._courses.pop(spread, None)
                continue
            left -= self._look(spread, group, is_event)
        changed, self._changed = self._changed, {}
        return changed

    def _look(self, spread: Spread, group: AnycastGroup, is_event: bool) -> float:
        """Sample the sessions of a spread, and decide if it is time → what it has cost."""
        course = self._courses.get(spread)
        if course and course.is_counted:
            course.samples.append(self._count(spread))
        if is_event or course is None or course.group is not group or course.cell < _cell(spread, self._now):
            course = self._decide(spread, group)
            return len(course.servers) + len(course.selection.shares) ** 2 / 8 + 1
        self._wake(spread, course, self._now)
        return SAMPLE_COST * (1 + len(self._clients) / 10)

    def _wake(self, spread: Spread, course: _Course, now: float) -> None:
        """Set when its time comes next: to count, or, if nothing is to be counted, to step."""
        step = SAMPLE_S if course.is_counted else INTERVAL_S
        self._wakes.plan(spread, (math.floor((now + _phase(spread)) / step + 1e-6) + 1) * step - _phase(spread))

    # ---------------------------------------------------------------- a decision

    def _decide(self, spread: Spread, group: AnycastGroup) -> _Course:
        course = self._courses.get(spread)
        if course is None:
            course = self._courses[spread] = _Course(Selection({}, {}, Memory()))
        cell = _cell(spread, self._now)
        steps = 1.0 if cell > course.cell else 0.0
        if course.group is not group:
            was_plain = not course.is_counted
            new = self._enrol(course, group, spread.is_v6)
            if was_plain and not course.is_counted and not group.checks:
                steps = math.inf
                for server in new:  # at the start, those of the controller are awaited already
                    self._awaited.setdefault((group.name, server), self._now + AWAITED_S)
        rule = Rule.of(group)
        candidates = self._candidates(spread, course)
        found = self._found.pop(spread, {})
        course.was_found |= bool(found)
        if self._appear(group.name, candidates) and not course.was_found:
            steps = math.inf
        elif course.is_counted and any(self._switches[name].unseen for name, _ in self._clients):
            steps = 0.0  # sessions are not known yet
        self._select(spread, course, rule, candidates, found, steps)
        course.cell = cell
        starts = any(self._now - since < rule.slow_start_s for since in course.since.values())
        if course.is_counted or starts or course.moves:
            self._wake(spread, course, self._now)
        return course

    def _select(
        self, spread: Spread, course: _Course, rule: Rule, candidates: Sequence[Candidate],
        found: Mapping[str, Slots], steps: float,
    ) -> None:  # fmt: skip
        memory = before = course.selection.memory
        if found:
            memory = Memory({**memory.slots, **found}, memory.learnt)
        edges = announcing(rule, candidates)
        demand = self._demand(course, edges, spread.is_v6) if course.is_counted else {}
        ways = self._distances.ways(edges, spread.is_v6)
        inputs = (rule, candidates, demand, ways)
        if memory is before and inputs == course.inputs and not course.moves:
            return
        course.inputs, course.demand, course.candidates = inputs, demand, candidates
        course.decided_at = self._now
        self._choices.decided(*spread)
        course.selection = select(rule, candidates, demand, ways, memory, steps=steps)
        learnt = course.selection.memory.learnt
        course.has_reports = bool(learnt) or any(each.measured for each in candidates)
        slots = course.selection.memory.slots
        course.moves = steps < 1 or course.selection.memory != memory
        for edge in before.slots.keys() | slots.keys():
            if before.slots.get(edge) != slots.get(edge):
                begins_or_ends = edge not in before.slots or edge not in slots
                known = self._changed.get((edge, spread))
                self._changed[edge, spread] = edge in slots if begins_or_ends or known is not None else None

    def _enrol(self, course: _Course, group: AnycastGroup, is_v6: bool) -> set[Address]:
        """The group is another one → the servers that are new in it."""
        former = {server.address for server, _ in course.servers}
        course.group = group
        course.servers = [
            (server, self._edge_of(address))
            for address, server in group.servers.items()
            if (len(address) == 16) is is_v6
        ]
        enrolled = {server.address for server, _ in course.servers}
        course.since = {address: since for address, since in course.since.items() if address in enrolled}
        course.moves = True
        course.has_capacities = any(server.capacity is not None for server, _ in course.servers)
        course.has_reports |= any((group.name, address) in self._reports for address in enrolled)
        return enrolled - former

    def _edge_of(self, server: Address) -> str:
        subnet = self._network.subnet_of(server)
        if subnet is None or subnet.side is not Side.SERVER or not self._switches[subnet.edge].described.server_edge:
            return NOWHERE
        return subnet.edge

    def _candidates(self, spread: Spread, course: _Course) -> list[Candidate]:
        sessions = self._sessions(spread, course) if course.is_counted else {}
        candidates = []
        for server, edge in course.servers:
            address = server.address
            candidate = Candidate(
                address, edge, server.weight, self._capacity(spread, server, edge), sessions.get(address, 0.0),
                self._measured(spread.group, server), self._health(spread.group, address), server.state,
                edge in self._drained_edges,
                edge_able=edge == NOWHERE or self._switches[edge].abilities.can(Role.SERVER_EDGE, spread.is_v6),
                reachable=edge != NOWHERE and self._switches[edge].may_be_there(address),
            )  # fmt: skip
            candidates.append(self._aged(spread.group, candidate, course))
        return candidates

    def _capacity(self, spread: Spread, server: Server, edge: str) -> float | None:
        """What of the server's capacity is the group's: of several groups, each has the part of its demand there.

        Their sessions are not subtracted from one another's capacity: each would react to the other, and swing.
        """
        if server.capacity is None:
            return None
        names = self._groups_of(server.address)
        if len(names) < 2:
            return server.capacity
        courses = (self._courses.get(Spread(name, spread.is_v6)) for name in names)
        demands = [1 + each.demand.get(edge, 0.0) for each in courses if each and each.has_capacities]
        own = 1 + self._courses[spread].demand.get(edge, 0.0)
        return max(1.0, server.capacity * own / max(own, sum(demands)))

    def _measured(self, group: str, server: Server) -> Measured | None:
        """The last report, unless it is stale or says nothing."""
        known = self._reports.get((group, server.address))
        if known is None or known.report.is_stale(self._now):
            return None
        load = known.report.load(server.capacity)
        return None if load is None else Measured(load, known.sessions, known.report.number)

    def _aged(self, group: str, candidate: Candidate, course: _Course) -> Candidate:
        """With the time since which it has been able to serve."""
        address = candidate.address
        if candidate.excluded or candidate.health is HealthStatus.CRITICAL:
            course.since.pop(address, None)
            return candidate
        since = course.since.setdefault(address, -math.inf if (group, address) in self._awaited else self._now)
        return candidate if since == -math.inf else replace(candidate, up_s=self._now - since)

    def _appear(self, group: str, candidates: Iterable[Candidate]) -> bool:
        """Note which of the group's awaited servers are there now → are there any?"""
        if not self._awaited:
            return False
        there = {(group, each.address) for each in candidates if (group, each.address) in self._awaited
                 and each.reachable and not self._switches[each.edge].unseen}  # fmt: skip
        for each in there:
            del self._awaited[each]
        return bool(there)

    # ---------------------------------------------------------------- sessions, demand, distances

    def _count(self, spread: Spread) -> _Sample:
        of_clients: dict[str, int] = {}
        of_servers: dict[Address, int] = {}
        for edge, flows in self._clients:
            for server, count in flows.in_group(spread.group).items():
                if (len(server) == 16) is spread.is_v6:
                    of_clients[edge] = of_clients.get(edge, 0) + count
                    of_servers[server] = of_servers.get(server, 0) + count
        return _Sample(of_clients, of_servers)

    def _sessions(self, spread: Spread, course: _Course) -> Mapping[Address, float]:
        if not course.samples:
            course.samples.append(self._count(spread))
        return _mean([sample.of_servers for sample in course.samples])

    def _demand(self, course: _Course, edges: frozenset[str], is_v6: bool) -> dict[str, float]:
        """Server edge → sessions of the clients whose packets to the group reach it."""
        demand = dict.fromkeys(edges, 0.0)
        for client, sessions in _mean([sample.of_clients for sample in course.samples]).items():
            entries = self._distances.entries(client, edges, is_v6)
            for entry in entries:
                demand[entry] += sessions / len(entries)
        return demand


def _phase(spread: Spread) -> float:
    """By how much its intervals begin earlier than those of others, 0–``INTERVAL_S``."""
    return zlib.crc32(str(spread).encode()) % 1000 / 1000 * INTERVAL_S


def _cell(spread: Spread, now: float) -> int:
    return math.floor((now + _phase(spread)) / INTERVAL_S + 1e-6)


def _mean(samples: Sequence[Mapping[_Key, int]]) -> dict[_Key, float]:
    total: dict[_Key, float] = {}
    for sample in samples:
        for key, count in sample.items():
            total[key] = total.get(key, 0.0) + count
    return {key: count / len(samples) for key, count in total.items()}
