"""Difference: what would change without some parts of the network (M29).

- A *move*: the packets of a site to a service would go to another edge, or to none.
- A flow *loses its server* where the server, or the site itself, is left out, or no path from the site to the server's
  subnet is left, as ``control.losses`` judges: a route to just that subnet counts, and, where no links of the network
  file join the two, any route.
- Where all servers of a group have a capacity, those that are left hold the sessions of all.
- A TCP connection in progress that loses its server is opened anew by its client, and leases another address, while
  the former one rests.  Other flows keep theirs.

Rows are merged: those of a group, family and site that move alike are one, whatever prefixes they are about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.model import TCP, Address, AnycastGroup, OnServerLoss, Prefix, text
from anycast_sdn.core.roles import Pooling
from anycast_sdn.core.selection import Rule, capacity
from anycast_sdn.core.words import listed
from anycast_sdn.description.model import Network
from anycast_sdn.views.catchment import UNAUTHORISED, Goals
from anycast_sdn.views.measured import family
from anycast_sdn.views.omitted import Omitted
from anycast_sdn.views.routed import Routed
from anycast_sdn.views.snapshot import Snapshot
from anycast_sdn.views.turns import with_turns

MOST_ROWS = 1000  # of those that are shown; the totals count all
MOST_REASONS = 3  # in one note

_Turn: TypeAlias = Callable[[], None]
_FlowsOf: TypeAlias = tuple[str, str, str]  # group, family, site


class Row(NamedTuple):
    group: str
    prefix: str | None  # the first that moves so; None: the group is deleted, and has flows still
    prefixes: int  # how many move so
    site: str
    before: str | None  # where its packets go now, as in the catchment; None: nowhere
    after: str | None
    flows: int  # of the group, family and site, in one of its rows
    note: str  # why flows lose their server

    @property
    def gravity(self) -> tuple[object, ...]:
        return -self.flows, self.after is not None, self.group, self.site, self.prefix or ""

    def as_json(self) -> dict[str, Any]:
        return {
            "group": self.group,
            "prefix": self.prefix,
            "prefixes": self.prefixes,
            "site": self.site,
            "from": self.before,
            "to": self.after,
            "flows_losing_server": self.flows,
            "note": self.note,
        }


@dataclass
class Difference:
    rows: list[Row] = field(default_factory=list)
    moves: int = 0
    flows: int = 0
    left_out: int = 0  # rows
    loads: list[dict[str, Any]] = field(default_factory=list)
    pools: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def between(cls, before: Routed, after: Routed, omitted: Omitted, state: Snapshot, turn: _Turn) -> Difference:
        """``before``: the network as it is; ``after``: without what is omitted."""
        difference = cls()
        lost = _Lost.find(before, after, omitted, state, turn)
        for group in state.groups:
            for row in _rows(group, before, after, lost, turn):
                difference._add(row)
        for (name, of, site), count in with_turns(lost.flows.items(), turn):
            if state.groups.get(name) is None:
                note = lost.note((name, of, site))
                difference._add(Row(name, None, 0, site, None, None, count, note))
        difference._cut()
        difference.rows.sort(key=lambda row: (row.group, row.site, row.prefix or ""))
        difference.loads = _loads(omitted, state, turn)
        difference.pools = _pools(lost.connections, omitted, state)
        return difference

    def _add(self, row: Row) -> None:
        self.rows.append(row)
        self.moves += row.before != row.after
        self.flows += row.flows
        if len(self.rows) >= 2 * MOST_ROWS:
            self._cut()

    def _cut(self) -> None:
        """Only the gravest stay."""
        if len(self.rows) > MOST_ROWS:
            self.rows.sort(key=lambda row: row.gravity)
            self.left_out += len(self.rows) - MOST_ROWS
            del self.rows[MOST_ROWS:]

    def as_json(self) -> dict[str, object]:
        return {
            "difference": [row.as_json() for row in self.rows],
            "difference_totals": {
                "moves": self.moves, "flows_losing_server": self.flows, "rows_left_out": self.left_out,
            },
            "loads": self.loads,
            "pools": self.pools,
        }  # fmt: skip


# ---------------------------------------------------------------- what moves


def _rows(group: AnycastGroup, before: Routed, after: Routed, lost: _Lost, turn: _Turn) -> Iterable[Row]:
    """Those of a group: what moves, and where no more than flows would be lost."""
    moved: dict[tuple[str, str, str | None, str | None], list[Prefix]] = {}
    first: dict[str, Prefix] = {}  # family →
    for prefix in with_turns(group.prefixes, turn):
        of = family(prefix.network)
        first.setdefault(of, prefix)
        for site, was, is_now in _moves(before.catchment.of(prefix), after.catchment.of(prefix)):
            moved.setdefault((of, site, was, is_now), []).append(prefix)
    told: set[tuple[str, str]] = set()
    for (of, site, was, is_now), prefixes in moved.items():
        flows_of = group.name, of, site
        flows = 0 if (of, site) in told else lost.flows[flows_of]
        told.add((of, site))
        note = lost.note(flows_of) if flows else "" if site in after.graph else _left_out(site)
        yield Row(group.name, str(prefixes[0]), len(prefixes), site, was, is_now, flows, note)
    for of, prefix in first.items():
        goals = before.catchment.of(prefix)
        for site in lost.sites:
            if (of, site) not in told and (flows := lost.flows[group.name, of, site]):
                goal = goals.get(site)
                yield Row(group.name, str(prefix), 0, site, goal, goal, flows, lost.note((group.name, of, site)))


def _moves(before: Goals, after: Goals) -> list[tuple[str, str | None, str | None]]:
    """(site, goal before, goal after) where they differ; a site that is not there any more has none."""
    if before is after:
        return []
    both = ((site, goal, after.get(site)) for site, goal in before.items())
    return [(site, was, is_now) for site, was, is_now in both if was != is_now and was != UNAUTHORISED]


def _left_out(name: str) -> str:
    return f"{name} is left out"


# ---------------------------------------------------------------- flows


class _Lost:
    """The flows that lose their server, as counted."""

    def __init__(self) -> None:
        self.flows: Counter[_FlowsOf] = Counter()
        self.connections: Counter[tuple[str, str]] = Counter()  # site, family → TCP connections that are opened anew
        self.sites: dict[str, None] = {}  # that have such flows
        self._reasons: dict[_FlowsOf, dict[str, None]] = {}

    def note(self, flows: _FlowsOf) -> str:
        return listed(self._reasons.get(flows, {}), MOST_REASONS, "; ")

    @classmethod
    def find(cls, before: Routed, after: Routed, omitted: Omitted, state: Snapshot, turn: _Turn) -> _Lost:
        lost = cls()
        ways = _Ways(before, after, state.network)
        keeping = {group.name for group in state.groups if group.on_server_loss is OnServerLoss.KEEP}
        for site, flows in sorted(state.flows.items()):
            for server in with_turns(flows.pinned_servers(), turn):
                if reason := _reason(site, server, omitted, ways):
                    for number in with_turns(flows.of_server(server), turn):
                        if binding := flows.by_number(number):
                            lost._count(site, binding, reason, keeping)
        return lost

    def _count(self, site: str, binding: Binding, reason: str, keeping: Collection[str]) -> None:
        of = family(binding.translated)
        flows_of = binding.group, of, site
        self.flows[flows_of] += 1
        self.sites[site] = None
        reasons = self._reasons.setdefault(flows_of, {})
        reasons[reason] = None
        if binding.group in keeping:
            reasons["on_server_loss is keep: they wait for it"] = None
        elif binding.key.protocol == TCP and not binding.closing:
            self.connections[site, of] += 1


def _reason(site: str, server: Address, omitted: Omitted, ways: _Ways) -> str:
    """Why flows of this site lose this server; empty: they do not."""
    if site in omitted.switches:
        return _left_out(site)
    if server in omitted.servers:
        return _left_out(text(server))
    edge, goes_on = ways.to(site, server)
    if edge in omitted.switches:
        return _left_out(edge)
    return "" if goes_on else f"no path to {edge}"


class _Ways:
    """Do packets that reach servers from sites go on to reach them?"""

    def __init__(self, before: Routed, after: Routed, network: Network) -> None:
        self._before = before
        self._after = after
        self._network = network
        self._joined: Mapping[str, str] = _parts(network)
        self._known: dict[tuple[str, Prefix], bool] = {}

    def to(self, site: str, server: Address) -> tuple[str, bool]:
        """→ the edge of the server; empty: not known."""
        subnet = self._network.subnet_of(server)
        if subnet is None:
            return "", True
        prefix = next(own.prefix for own in subnet.gateways if server in own.prefix)
        if (site, prefix) not in self._known:
            self._known[site, prefix] = self._goes_on(site, prefix, self._joined[site] == self._joined[subnet.edge])
        return subnet.edge, self._known[site, prefix]

    def _goes_on(self, site: str, prefix: Prefix, joined: bool) -> bool:
        before, after = self._before.catchment, self._after.catchment
        if not before.reaches_itself(site, prefix) or after.reaches_itself(site, prefix):
            return True
        return not joined and after.reaches(site, prefix)


def _parts(network: Network) -> dict[str, str]:
    """Switch → a switch that stands for all that the links of the network file join with it."""
    part = {switch.name: switch.name for switch in network.switches}

    def root(name: str) -> str:
        while part[name] != name:
            part[name] = name = part[part[name]]
        return name

    for link in network.links:
        part[root(link.a.switch)] = root(link.b.switch)
    return {name: root(name) for name in part}


# ---------------------------------------------------------------- loads, and pools


def _loads(omitted: Omitted, state: Snapshot, turn: _Turn) -> list[dict[str, Any]]:
    """Of the groups that lose servers, and have some left that all have a capacity; the highest, if too many."""
    found: list[dict[str, Any]] = []
    for spread, candidates in with_turns(state.candidates.items() if omitted.has_servers else (), turn):
        group, left = state.groups.get(spread.group), omitted.left(candidates)
        if group is None or len(left) == len(candidates):
            continue
        rule = Rule.of(group)
        if can_hold := capacity(rule, left):
            pinned = with_turns((flows.in_group(group.name) for flows in state.flows.values()), turn)
            sessions = sum(counts.get(each.address, 0) for counts in pinned for each in candidates)
            found.append({
                "group": group.name,
                "family": "ipv6" if spread.is_v6 else "ipv4",
                "sessions": sessions,
                "capacity": round(can_hold),
                "load": round(sessions / can_hold, 3),
                "limit": rule.spill_at,
            })  # fmt: skip
        if len(found) >= 2 * MOST_ROWS:
            _keep_highest(found)
    _keep_highest(found)
    return sorted(found, key=lambda row: (row["group"], row["family"]))


def _keep_highest(loads: list[dict[str, Any]]) -> None:
    loads.sort(key=lambda row: -row["load"])
    del loads[MOST_ROWS:]


def _pools(connections: Mapping[tuple[str, str], int], omitted: Omitted, state: Snapshot) -> list[dict[str, Any]]:
    """The pools from which connections that are opened anew lease addresses."""
    by_name = {switch.name: switch for switch in state.switches}
    shown = []
    for (site, of), count in sorted(connections.items()):
        role = by_name[site].described.client_edge
        if site in omitted.switches or role is None or role.pooling is Pooling.PAIRED:
            continue
        free = state.pools[site][of].free
        shown.append({"edge": site, "family": of, "free": free, "new_connections": count, "fills": count > free})
    return shown
