"""Notices: what operators are told of an election, by what has changed since they were told last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from anycast_sdn.cluster.claims import Kind
from anycast_sdn.cluster.election import BEHIND_S, Election
from anycast_sdn.core.election_events import (
    LeaseLost,
    NameTaken,
    SwitchContested,
    SwitchOutOfReach,
    SwitchStoodDown,
    SwitchUnfenced,
)
from anycast_sdn.core.events import Event

SETTLED_S = 2 * BEHIND_S  # a switch that only others reach: leadership may follow it until then


class Notices:
    """``names``: of switches, by datapath id."""

    def __init__(self, election: Election, names: Mapping[int, str]) -> None:
        self._names = names
        self._election = election
        self._had_lease = False
        self._namesake = ""
        self._unreached_since: dict[int, float] = {}
        self._unreached: set[int] = set()
        self._contested: set[int] = set()
        self._unfenced: set[int] = set()
        self._serving: set[int] = set()  # of these

    def pop(self, now: float) -> Iterator[Event]:
        """What is new."""
        election = self._election
        name = election.told.name
        if self._had_lease and not election.lease:
            yield LeaseLost(name)
        self._had_lease = bool(election.lease)
        if (namesake := election.namesake) != self._namesake:
            self._namesake = namesake
            if namesake:
                yield NameTaken(name, namesake)
        yield from self._pop_unreached(now)
        yield from self._pop_contested(now)
        yield from self._pop_unfenced(now)

    def _pop_unreached(self, now: float) -> Iterator[Event]:
        """Told by the leader, for all."""
        election, view = self._election, self._election.view
        found = election.unreached() if election.leads(now) else {}
        self._unreached_since = {dpid: self._unreached_since.get(dpid, now) for dpid in found}
        self._unreached &= found.keys()
        for dpid, since in self._unreached_since.items():
            if now - since >= SETTLED_S and dpid not in self._unreached:
                self._unreached.add(dpid)
                by = tuple(sorted(view.name(member) for member in found[dpid]))
                yield SwitchOutOfReach(self._name(dpid), view.name(view.leader), by)

    def _pop_contested(self, now: float) -> Iterator[Event]:
        before, self._contested = self._contested, {*self._election.claims.contested(now)}
        for dpid in sorted(self._contested - before):
            yield SwitchContested(self._name(dpid))

    def _pop_unfenced(self, now: float) -> Iterator[Event]:
        claims = self._election.claims
        for dpid in claims.reached(now):
            if claims.kind(dpid) is not Kind.UNFENCED:
                continue
            if dpid not in self._unfenced:
                self._unfenced.add(dpid)
                yield SwitchUnfenced(self._name(dpid))
            serves = claims.is_master(dpid, now)
            if dpid in self._serving and not serves and claims.is_unsure(now):
                yield SwitchStoodDown(self._name(dpid))
            (self._serving.add if serves else self._serving.discard)(dpid)

    def _name(self, dpid: int) -> str:
        return self._names[dpid]
