"""Selection: which servers the new flows of a group go to, by distance, load and weight (M26).

Theory of operation.

The controller knows, without delay, how many sessions are pinned to each server, and at which server edge the packets
of each client enter the group.  What enters at an edge is its *demand*.  It does not depend on how it is distributed.
So demand is poured over the servers, those of the edge itself first, then the nearest ones, each up to ``spill_at`` of
its capacity; and as nothing of that is fed back, nothing can swing.

Reports of load balance nothing.  They come late, get lost, and may be false, and whoever sends all to the least loaded
server overloads that one next.  A report only corrects how many sessions a server is believed to hold (its *ceiling*),
and only if it says worse than the server's sessions explain.  What is learnt that way is bounded on both sides.

Load never decides whether an edge announces the group: without the announcement, all that enters there would enter at
the next edge, and overload that one.

The outcome is a table of *slots* for each edge, the equal buckets of its select group.  From one table to the next few
slots change: each of them moves a part of all unanswered flows, and a wrong input may not move more than that.
Pinned flows stay where they are whatever the table says; a server beyond its limit is aimed as far below it, so that
new flows make up for the old ones.

``select`` is a function of its arguments, and the order of the candidates does not matter.  Its memory is handed back
to it at the next call: the tables, from which as little as possible is to change, and the ceilings.  When a call
changes nothing in the memory, another one with the same inputs changes nothing either.
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heapreplace
from operator import attrgetter
from typing import NamedTuple, TypeAlias

from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.model import Address, AnycastGroup, Distance, ServerState
from anycast_sdn.core.slots import FEW_SERVERS, MANY, SLOTS, Slots

MAX_STEP = 0.125  # share of the slots of living servers that change at a time
URGENT_STEP = 0.25  # … when a server past its capacity gives some away
STAYS_WITHIN = 0.75  # slots: a server keeps its number of slots while it is so close to its share

WARNING_FACTOR = 0.5  # share of a server with warnings, of what it would get otherwise
LEAST_START = 0.05  # share of a server at the beginning of its slow start
PUSH = 1.0  # a server beyond its limit is aimed so many times as far below it …
LEAST_AIM = 0.5  # … but not below this share of its limit
SLACK = 1.05  # all are overloaded: differences of 5 % stay where they are
UNKNOWN_GROWTH = 1.25  # a server without any known limit takes from other edges up to so many times its sessions

GAIN = 0.5  # how far a ceiling goes towards what a report says
RECOVERY = 1.05  # factor of a ceiling at each report that is cool …
COOL = 0.85  # … which it is below this share of ``spill_at``
EXPLAINED = 1.1  # a load that sessions / capacity explain up to this factor teaches nothing
SATURATED = 0.95  # a load from here on means "at least"
FLOOR = 0.1  # share of its limit by capacity that no report takes from a server

_NOTHING = 1e-9  # share of a demand that rounding may leave
_FULL = 1e-12  # sessions: there is no room for so few

_address_of = attrgetter("address")

Ways: TypeAlias = Mapping[tuple[str, str], float]  # (edge, other edge) → cost of the way; missing: there is none


class Exclusion(enum.Enum):
    """Why a server takes no new flows."""

    DRAINING = "draining"
    DRAINED = "drained"
    DISABLED = "disabled"
    EDGE_DRAINING = "edge_draining"
    EDGE_UNABLE = "edge_unable"
    NO_WEIGHT = "weight_0"
    UNREACHABLE = "unreachable"
    CRITICAL = "critical"


_BY_STATE = {
    ServerState.ACTIVE: None,
    ServerState.DRAINING: Exclusion.DRAINING,
    ServerState.DRAINED: Exclusion.DRAINED,
    ServerState.DISABLED: Exclusion.DISABLED,
}


class Measured(NamedTuple):
    """A report of a server's load that is not stale."""

    load: float  # 0–1, see ``core.load``
    sessions: float  # pinned to it when it was measured
    number: int  # each report counts once


@dataclass(frozen=True, slots=True)
class Candidate:
    """A server that is enrolled in the group, as it is now."""

    address: Address
    edge: str
    weight: int = 1  # 0–1000; 0: takes no new flows
    capacity: float | None = None  # sessions that mean a load of 1.0
    sessions: float = 0.0  # pinned to it: mean since the last call
    measured: Measured | None = None
    health: HealthStatus = HealthStatus.UNKNOWN
    state: ServerState = ServerState.ACTIVE
    edge_drains: bool = False
    reachable: bool = True  # its edge knows its MAC
    up_s: float = math.inf  # since when it has been able to serve
    edge_able: bool = True  # its switch can be a server edge in this family

    @property
    def excluded(self) -> Exclusion | None:
        """Why it takes no new flows, whatever its health; None: it may take some."""
        if self.state is not ServerState.ACTIVE:
            return _BY_STATE[self.state]
        if self.edge_drains:
            return Exclusion.EDGE_DRAINING
        if not self.edge_able:
            return Exclusion.EDGE_UNABLE
        if not self.weight:
            return Exclusion.NO_WEIGHT
        return None if self.reachable else Exclusion.UNREACHABLE


class Rule(NamedTuple):
    """What a group sets."""

    distance: Distance = Distance.NEAREST
    spill_at: float = 0.8
    min_healthy: int = 0
    slow_start_s: float = 30.0

    @classmethod
    def of(cls, group: AnycastGroup) -> Rule:
        return cls(group.selection.distance, group.selection.spill_at, group.min_healthy, group.slow_start_s)


class Learnt(NamedTuple):
    """What reports have taught about a server."""

    number: int = -1  # of the last report
    sessions: float = 0.0  # that it had then
    ceiling: float = math.inf  # sessions that it can hold at a load of ``spill_at``


@dataclass(frozen=True, slots=True)
class Memory:
    slots: Mapping[str, Slots] = field(default_factory=dict)  # edge → its table
    learnt: Mapping[Address, Learnt] = field(default_factory=dict)


class Standing(NamedTuple):
    """What a server may get; of one that is excluded, nothing."""

    excluded: Exclusion | None = None
    factor: float = 0.0  # of its weight and its limit, by slow start and warnings
    limit: float = 0.0  # sessions that are aimed at at most; infinite: no limit is known
    ceiling: float = math.inf


@dataclass(frozen=True, slots=True)
class Selection:
    shares: Mapping[str, Mapping[Address, float]]  # edge that announces the group → servers of its new flows, sum 1
    standings: Mapping[Address, Standing]  # of all candidates
    memory: Memory

    @property
    def announce(self) -> frozenset[str]:
        return frozenset(self.shares)


class Choice(NamedTuple):
    """A decision as new flows meet it at one server edge: why each server got its share there.  Flows share it."""

    edge: str  # which their packets reach
    at: float  # on the clock of ``now``
    candidates: Sequence[Candidate]
    standings: Mapping[Address, Standing]
    shares: Mapping[Address, float]  # at this edge
    costs: Mapping[str, float]  # edge of a candidate → cost of the way to it; missing: there is none


@dataclass(slots=True)
class _Glass:
    """A server of the pool while demand is poured."""

    address: Address
    edge: str
    weight: float
    room: float
    guests: float = math.inf  # sessions that it takes beyond its share by weight


def select(
    rule: Rule,
    candidates: Iterable[Candidate],
    demand: Mapping[str, float],
    ways: Ways,
    memory: Memory | None = None,
    *,
    steps: float = 1,
) -> Selection:
    """``demand``: server edge → sessions of all clients whose packets to the group enter there now.

    ``steps``: how far slots of living servers may move.  With 0, only those of servers that have left do: so events
    between two intervals do not add up.
    """
    memory = memory or Memory()
    candidates = sorted(candidates, key=_address_of)
    pool, failing_open = _pool(rule, candidates)
    learnt, factors, limits = {}, {}, {}
    for each in pool:
        top = math.inf if each.capacity is None else rule.spill_at * each.capacity
        known = learn(rule.spill_at, each, top, memory.learnt.get(each.address, Learnt()))
        if each.measured or known.ceiling < math.inf:
            learnt[each.address] = known
        factors[each.address] = _factor(rule, each, failing_open)
        limits[each.address] = factors[each.address] * min(top, known.ceiling)
    want = {edge: max(1.0, demand.get(edge, 0.0)) for edge in sorted({each.edge for each in pool})}
    limited = sum(limits.values()) < math.inf
    limits = _aims(rule, pool, limits, sum(want.values()))
    glasses = [
        _Glass(each.address, each.edge, factors[each.address] * each.weight, limits[each.address],
               math.inf if limits[each.address] < math.inf else UNKNOWN_GROWTH * each.sessions + 1)
        for each in pool
    ]  # fmt: skip
    shares = _distribute(want, glasses, _by_cost(rule, want, ways), limits if limited else None)
    past = {each.address for each in pool if _is_past_capacity(each)}
    homes = {each.address: each.edge for each in pool}
    size = SLOTS if len(candidates) <= FEW_SERVERS else MANY
    slots = {}
    for edge, share in shares.items():
        former = memory.slots.get(edge, ())
        stay = {each for each in set(former) if each in homes and (homes[each] == edge or (edge, homes[each]) in ways)}
        slots[edge] = next_slots(former, share, stay, past, size, steps=steps)
    standings = {
        each.address: Standing(None, factors[each.address], limits[each.address],
                               learnt.get(each.address, Learnt()).ceiling)
        if each.address in limits else Standing(each.excluded or Exclusion.CRITICAL)
        for each in candidates
    }  # fmt: skip
    return Selection(shares, standings, Memory(slots, learnt))


# ---------------------------------------------------------------- who may serve, and how much


def announcing(rule: Rule, candidates: Sequence[Candidate]) -> frozenset[str]:
    """The edges that announce the group, as ``Selection.announce`` will be."""
    return frozenset(each.edge for each in _pool(rule, candidates)[0])


def capacity(rule: Rule, candidates: Sequence[Candidate]) -> float | None:
    """The sessions that mean a load of 1.0 for those that take new flows, together; None: not known of one of them."""
    known = [each.capacity for each in _pool(rule, candidates)[0]]
    return None if None in known else sum(filter(None, known))


def _pool(rule: Rule, candidates: Sequence[Candidate]) -> tuple[list[Candidate], bool]:
    """Who gets new flows → are there critical servers among them, because too few are healthy?  No matter of load."""
    able = [each for each in candidates if not each.excluded]
    healthy = [each for each in able if each.health is not HealthStatus.CRITICAL]
    failing_open = len(healthy) < rule.min_healthy
    return able if failing_open else healthy, failing_open


def _factor(rule: Rule, candidate: Candidate, failing_open: bool) -> float:
    factor = 1.0
    if candidate.up_s < rule.slow_start_s:
        factor = max(LEAST_START, candidate.up_s / rule.slow_start_s)
    if candidate.health is HealthStatus.WARNING and not failing_open:
        factor *= WARNING_FACTOR
    return factor


def _aims(
    rule: Rule, pool: Iterable[Candidate], limits: Mapping[Address, float], wanted: float
) -> dict[Address, float]:
    """The limits after all have been raised alike, to capacity at most, if all are overloaded; less for those beyond.

    So nobody is pushed past its capacity by what enters at another edge.
    """
    total = sum(limits.values())
    raised = min(1 / rule.spill_at, max(1.0, SLACK * wanted / total)) if total > 0 else 1.0
    aims = {}
    for each in pool:
        aim = limits[each.address] * raised
        if each.sessions > aim:
            aim = max(LEAST_AIM * aim, aim - PUSH * (each.sessions - aim))
        aims[each.address] = aim
    return aims


def _is_past_capacity(candidate: Candidate) -> bool:
    return (candidate.capacity is not None and candidate.sessions >= candidate.capacity) or (
        candidate.measured is not None and candidate.measured.load >= 1.0
    )


def learn(spill_at: float, candidate: Candidate, top: float, before: Learnt) -> Learnt:
    """What is known about a server after its latest report; ``top``: its limit by its capacity."""
    measured = candidate.measured
    if measured is None or measured.number == before.number:  # nothing new: what was learnt is held
        return before
    load, held, ceiling = measured.load, measured.sessions, before.ceiling
    now = min(ceiling, top)
    if now == math.inf:
        now = max(1.0, held)  # where learning begins when nothing is known
    if candidate.capacity is not None and load <= EXPLAINED * held / candidate.capacity:
        hot = False
    else:
        hot = load > spill_at or load >= SATURATED
    if hot and load >= SATURATED:
        # How much too much it is, is not known.  Not while the server is on its way down to its ceiling.
        drains = held > 1.1 * now and held < before.sessions
        ceiling = now if drains else now * (1 - GAIN * (1 - spill_at / load))
    elif hot:
        ceiling = now + min(0.0, GAIN * (held * spill_at / load - now))
    elif load < COOL * spill_at and ceiling < math.inf:
        ceiling = ceiling * RECOVERY + 0.5
        if ceiling >= (4 * held + 100 if top == math.inf else top):
            ceiling = math.inf
    if ceiling < math.inf:
        ceiling = max(ceiling, 1.0, 0.0 if top == math.inf else FLOOR * top)
    return Learnt(measured.number, held, ceiling)


# ---------------------------------------------------------------- demand is poured


def _by_cost(rule: Rule, want: Mapping[str, float], ways: Ways) -> Iterator[tuple[float, dict[str, list[str]]]]:
    """Costs, in ascending order → (cost, edge → the edges that are so far from it).  With ``ANY`` all are alike.

    Where nothing is to be spilled, only the first of them is asked for: pairs of edges may be very many.
    """
    others = [pair for pair in ways if pair[0] != pair[1] and pair[0] in want and pair[1] in want]
    is_any = rule.distance is Distance.ANY
    own = {edge: [edge] for edge in want}
    found: dict[float, dict[str, list[str]]] = {}
    for edge, other in others:
        if is_any or not ways[edge, other]:
            own[edge].append(other)
    yield 0.0, own
    for edge, other in () if is_any else others:
        if cost := ways[edge, other]:
            found.setdefault(cost, {}).setdefault(edge, []).append(other)
    for cost, far in sorted(found.items()):
        yield cost, dict(sorted(far.items()))


def _distribute(
    want: Mapping[str, float],
    glasses: Iterable[_Glass],
    by_cost: Iterable[tuple[float, Mapping[str, Iterable[str]]]],
    limits: Mapping[Address, float] | None,
) -> dict[str, dict[Address, float]]:
    """The shares of each edge's demand.  ``limits``: None if some server has no limit."""
    at: dict[str, list[_Glass]] = {edge: [] for edge in want}
    for glass in glasses:
        at[glass.edge].append(glass)
    got: dict[str, dict[Address, float]] = {edge: {} for edge in want}
    left = dict(want)
    open_ = dict(at)  # those that are not full
    for cost, edges in by_cost:
        for edge, others in edges.items():
            if left[edge] <= _NOTHING * want[edge]:
                continue
            there = [glass for other in others for glass in open_[other]]
            if not there:
                continue
            there.sort(key=_address_of)
            whole = sum(glass.weight for glass in there) if cost == 0 else math.inf
            rooms = [min(glass.room, max(glass.guests, want[edge] * glass.weight / whole)) for glass in there]
            poured = pour(left[edge], [glass.weight for glass in there], rooms)
            for glass, amount in zip(there, poured, strict=True):
                got[edge][glass.address] = got[edge].get(glass.address, 0.0) + amount
                glass.room -= amount
                glass.guests -= amount
                left[edge] -= amount
            if cost:
                open_ |= {other: list(filter(_has_room, open_[other])) for other in others}
        if not cost:  # of these, full ones have counted with their weights
            open_ = {edge: list(filter(_has_room, own)) for edge, own in at.items()}
        if not any(open_.values()) or all(left[edge] <= _NOTHING * want[edge] for edge in want):
            break
    for edge in want:
        if left[edge] > _NOTHING * want[edge]:  # nobody else can take it
            own = at[edge]
            by = [limits[glass.address] if limits else glass.weight for glass in own]
            for glass, amount in zip(own, pour(left[edge], by, [math.inf] * len(own)), strict=True):
                got[edge][glass.address] = got[edge].get(glass.address, 0.0) + amount
    return {
        edge: {address: amount / want[edge] for address, amount in each.items() if amount > 0}
        for edge, each in got.items()
    }


def _has_room(glass: _Glass) -> bool:
    return glass.room > _FULL


def pour(amount: float, weights: Sequence[float], rooms: Sequence[float]) -> list[float]:
    """``amount`` in proportion to ``weights``; what one has no room for goes to the others, as far as they have."""
    poured = [0.0] * len(weights)
    open_ = [at for at, room in enumerate(rooms) if weights[at] > 0 and room > _FULL]
    while open_ and amount > _FULL:
        unit = amount / sum(weights[at] for at in open_)
        full = [at for at in open_ if rooms[at] - poured[at] <= unit * weights[at]]
        if not full:
            for at in open_:
                poured[at] += unit * weights[at]
            break
        for at in full:
            amount -= rooms[at] - poured[at]
            poured[at] = rooms[at]
        open_ = [at for at in open_ if at not in full]
    return poured


# ---------------------------------------------------------------- shares become slots


def next_slots(
    slots: Sequence[Address],
    shares: Mapping[Address, float],
    stay: Collection[Address],
    past: Collection[Address],
    size: int,
    *,
    steps: float = 1,
) -> Slots:
    """The table after ``slots``.  ``past``: servers past their capacity.

    Servers that do not ``stay``, because they are not in the pool or cannot be reached, lose their slots at once,
    others at most a step.
    """
    before = Counter(slots) if len(slots) == size else Counter[Address]()
    goal = apportion(shares, before, size)
    if not before:
        return tuple(address for address, count in goal.items() for _ in range(count))
    surplus = {address: count - goal.get(address, 0) for address, count in before.items()}
    surplus = {address: count for address, count in surplus.items() if count > 0}
    step = max(1, round(size * (MAX_STEP if surplus.keys().isdisjoint(past) else URGENT_STEP)))
    gives = _given(surplus, stay, past, int(min(steps * step, size)))
    lack = {address: count - before[address] for address, count in goal.items() if count > before[address]}
    table = list(slots)
    for at, address in enumerate(slots):
        if gives.get(address):
            gives[address] -= 1
            table[at] = taker = max(lack, key=lambda each: (lack[each], each))
            lack[taker] -= 1
    return tuple(table)


def _given(
    surplus: Mapping[Address, int], stay: Collection[Address], past: Collection[Address], step: int
) -> dict[Address, int]:
    """How many slots each server gives away now: those past their capacity first, then those with most to give."""
    gives = {address: 0 if address in stay else count for address, count in surplus.items()}
    left = {address: count for address, count in surplus.items() if address in stay}
    for _ in range(min(step, sum(left.values()))):
        giver = max(left, key=lambda each: (each in past, left[each], each))
        gives[giver] += 1
        left[giver] -= 1
        if not left[giver]:
            del left[giver]
    return gives


def apportion(shares: Mapping[Address, float], before: Mapping[Address, int], size: int) -> dict[Address, int]:
    """Whole slots for shares, ``size`` in all: by largest remainder; who is close to its share keeps its number."""
    exact = {address: share * size for address, share in sorted(shares.items())}
    counts = {
        address: before[address] if address in before and abs(before[address] - share) < STAYS_WITHIN
        else math.floor(share + _NOTHING)
        for address, share in exact.items()
    }  # fmt: skip
    total = sum(counts.values())
    by_lack = [(counts[address] - share, address) for address, share in exact.items()] if total < size else []
    heapify(by_lack)
    for _ in range(total, size):
        _, address = by_lack[0]
        counts[address] += 1
        heapreplace(by_lack, (counts[address] - exact[address], address))
    for _ in range(size, total):
        counts[max((each for each in counts if counts[each]), key=lambda each: (counts[each] - exact[each], each))] -= 1
    return {address: count for address, count in counts.items() if count}
