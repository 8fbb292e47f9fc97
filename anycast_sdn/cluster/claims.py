"""Claims: what each connected switch was asked for, what it has said, and whether this member is its master.

The rules that it keeps:

- A switch is asked for MASTER only with the generation of a key that names this member, for SLAVE otherwise.
- Master it is when the switch says so, until the switch refuses or says that it is slave: etcd alone ends nothing.
- A switch that calls a generation stale has seen a later one.  It is never outbid from here: the key is written anew
  first (``stale``), and that only succeeds for the member that the switch belongs to.  Where that has to be done again
  and again, a controller claims the switch that is not in this etcd (``contested``).
- What fails is asked again after a pause that doubles.  A switch that says nothing is given up for a while.
- A switch without roles takes writes from everybody, so it is no fence.  Its master stops on its own when it has not
  seen for ``SURE_S`` what etcd has; the next one begins ``HANDED_OVER_S`` after it has got the key.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from anycast_sdn.cluster.cluster import Claim, RoleAnswer, Turn
from anycast_sdn.cluster.generations import distance, later_of
from anycast_sdn.cluster.standing import Claimed, Says
from anycast_sdn.cluster.view import View

PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
MUTE_S = 4.0  # a switch that has not answered its master-to-be for so long is given up …
GIVEN_UP_S = 10.0  # … for so long
STEADY_S = 60.0  # when nothing has failed for so long, pauses are short again
OUTBID_TIMES = 3  # an etcd that was rebuilt or restored makes one of them
OUTBID_S = 5 * LONGEST_PAUSE_S  # between two of them at most
SURE_S = 2.0
HANDED_OVER_S = 2.5

_SAYS = {
    None: Says.CLAIMED,
    RoleAnswer.GRANTED: Says.REFUSED,  # where it is not the master all the same: a write was refused since
    RoleAnswer.STALE: Says.REFUSED,
    RoleAnswer.SILENT: Says.SILENT,
    RoleAnswer.UNSUPPORTED: Says.CLAIMED,  # the master before it has some time left
}


class Kind(Enum):
    """Has the switch roles?"""

    UNKNOWN = auto()
    FENCED = auto()
    UNFENCED = auto()


class Stale(NamedTuple):
    """The key that was written at this revision is too early; the switch has seen this generation."""

    modified: int
    generation: int


@dataclass
class _Switch:
    asked: Claim | None = None
    answer: RoleAnswer | None = None  # to that
    kind: Kind = Kind.UNKNOWN
    asked_term: int = 0  # the leader's then
    serves: bool = False  # this member is its master
    granted: Claimed | None = None  # by which it is
    line: int = 0  # the last write of the key since which nobody else has had it, counted from when it began to serve
    key: int = 0  # the revision of the key that names this member, or 0
    key_at: float = 0.0  # when that was seen
    own: int | None = None  # generation, as the switch has told
    stale: Stale | None = None
    outbid: int = 0  # how often its key has been written anew because of that, lately
    outbid_at: float = -math.inf
    again_at: float = math.inf
    failures: int = 0
    failed_at: float = -math.inf
    mute_since: float = math.inf
    given_up_until: float = -math.inf


class Claims:
    """Of ``member``.  ``sure_at``: what etcd had then is known here (by this machine's clock)."""

    def __init__(self, member: str, view: View) -> None:
        self._member = member
        self._view = view
        self._switches: dict[int, _Switch] = {}
        self.sure_at = -math.inf

    def connected(self, dpid: int, now: float) -> None:
        self._switches[dpid] = _Switch()
        self.look(dpid, now)

    def disconnected(self, dpid: int) -> None:
        self._switches.pop(dpid, None)

    def reached(self, now: float) -> list[int]:
        """Switches that are connected, and answer."""
        return sorted(dpid for dpid, switch in self._switches.items() if switch.given_up_until <= now)

    def is_master(self, dpid: int, now: float) -> bool:
        switch = self._switches.get(dpid)
        if switch is None or not switch.serves:
            return False
        return switch.kind is not Kind.UNFENCED or self._may_serve_unfenced(dpid, now)

    def serves_any(self, now: float) -> bool:
        return any(self.is_master(dpid, now) for dpid in self._switches)

    def claimed(self, now: float) -> dict[int, Claimed]:
        """The switches (datapath ids) that were asked to take this member as their master, and what they have said."""
        found = {dpid: self._claimed(dpid, switch, now) for dpid, switch in self._switches.items()}
        return {dpid: claimed for dpid, claimed in found.items() if claimed}

    def _claimed(self, dpid: int, switch: _Switch, now: float) -> Claimed | None:
        if switch.granted and self.is_master(dpid, now):
            return switch.granted
        if switch.asked is None or not switch.asked.master:
            return None
        return Claimed(_SAYS[switch.answer], switch.asked.generation, switch.asked_term)

    def is_given_up(self, dpid: int, now: float) -> bool:
        switch = self._switches.get(dpid)
        return switch is not None and switch.given_up_until > now

    def kind(self, dpid: int) -> Kind:
        switch = self._switches.get(dpid)
        return switch.kind if switch else Kind.UNKNOWN

    def is_unsure(self, now: float) -> bool:
        """Has it not been seen for too long what etcd has?"""
        return now - self.sure_at >= SURE_S

    def _may_serve_unfenced(self, dpid: int, now: float) -> bool:
        master = self._view.master(dpid)
        return master is not None and master.member == self._member and not self.is_unsure(now)

    # ---------------------------------------------------------------- what etcd has

    def look(self, dpid: int, now: float) -> None:
        """The switch's keys may have changed."""
        switch = self._switches.get(dpid)
        if switch is None:
            return
        master = self._view.master(dpid)
        if master is None or master.member != self._member:
            switch.key = 0
            if master:
                switch.line = 0
        elif master.modified != switch.key:
            unbroken = switch.line and self._view.held(dpid).after == switch.line
            switch.line = master.modified if unbroken else 0
            if switch.stale and switch.stale.modified == switch.key:
                switch.outbid = 1 + (switch.outbid if now - switch.outbid_at <= OUTBID_S else 0)
                switch.outbid_at = now
            switch.key, switch.key_at = master.modified, now
            switch.mute_since = math.inf

    def rebuilt(self) -> None:
        """Revisions have gone back: who had what between is not known."""
        for switch in self._switches.values():
            switch.line = 0

    def stale(self, now: float) -> Iterator[tuple[int, Stale]]:
        """Switches whose keys have to be written anew, so that their generations are later."""
        for dpid, switch in self._switches.items():
            if switch.stale and switch.stale.modified == switch.key and switch.again_at <= now:
                yield dpid, switch.stale

    def contested(self, now: float) -> list[int]:
        """Switches that have seen later generations again and again: somebody else's, of another etcd."""
        return [
            dpid for dpid, switch in self._switches.items()
            if switch.outbid >= OUTBID_TIMES and now - switch.outbid_at <= OUTBID_S
        ]  # fmt: skip

    # ---------------------------------------------------------------- asking

    def _wanted(self, dpid: int, switch: _Switch) -> Claim:
        master = self._view.master(dpid)
        if master and master.member == self._member:
            return Claim(True, master.generation)
        if master is None and switch.serves and switch.asked and self._stays(switch):
            return switch.asked
        generation = self._view.generation(dpid)
        return Claim(False, generation if switch.own is None else later_of(generation, switch.own))

    def _stays(self, switch: _Switch) -> bool:
        """It has lost its key, and nobody has it: does it serve on?"""
        return switch.kind is not Kind.UNFENCED and self._view.leader in ("", self._member)

    def due(self, now: float) -> list[int]:
        """Switches that are to be asked now."""
        return [dpid for dpid, switch in self._switches.items() if switch.asked and self._is_due(dpid, switch, now)]

    def _is_due(self, dpid: int, switch: _Switch, now: float) -> bool:
        wanted, asked = self._wanted(dpid, switch), switch.asked
        assert asked
        if wanted.master or asked.master:
            changed = wanted != asked if wanted.master else True
        else:  # as a slave it needs no other generation, unless the switch has not taken this one
            changed = switch.answer is RoleAnswer.STALE and wanted != asked
        if changed:
            return True
        if switch.serves and not self.is_master(dpid, now):
            return switch.answer is not None
        return switch.again_at <= now and not switch.stale

    def claim(self, dpid: int) -> Claim:
        """What to ask for now; it counts as asked."""
        switch = self._switches.setdefault(dpid, _Switch())
        claim = switch.asked = self._wanted(dpid, switch)
        switch.asked_term = self._view.term
        switch.answer, switch.again_at, switch.stale = None, math.inf, None
        return claim

    # ---------------------------------------------------------------- answers

    def answered(self, dpid: int, claim: Claim, answer: RoleAnswer, generation: int, now: float) -> Turn:
        switch = self._switches.get(dpid)
        if switch is None:
            return Turn.NONE
        is_latest = claim == switch.asked
        if is_latest:
            switch.answer = answer
        match answer:
            case RoleAnswer.GRANTED:
                switch.kind = Kind.FENCED
                switch.mute_since = math.inf
                return self._granted(switch, claim, is_latest)
            case RoleAnswer.UNSUPPORTED:
                switch.kind = Kind.UNFENCED
                switch.mute_since = math.inf
                return self._unfenced(dpid, switch, claim, is_latest, now)
            case RoleAnswer.STALE:
                switch.kind = Kind.FENCED
                switch.mute_since = math.inf
                self._told_stale(switch, claim, generation, now)
            case RoleAnswer.SILENT:
                self._told_nothing(switch, now)
        return Turn.NONE

    def _granted(self, switch: _Switch, claim: Claim, is_latest: bool) -> Turn:
        if not claim.master:
            return self._end(switch)
        if not is_latest:  # it is asked for something else already
            return Turn.NONE
        return self._begin(switch)

    def _unfenced(self, dpid: int, switch: _Switch, claim: Claim, is_latest: bool, now: float) -> Turn:
        if not claim.master:
            return self._end(switch)
        if not is_latest:
            return Turn.NONE
        if not self._may_serve_unfenced(dpid, now):
            switch.again_at = now + PAUSE_S
            return self._end(switch)
        is_kept = switch.serves and switch.line == switch.key
        if not is_kept and now - switch.key_at < HANDED_OVER_S:
            switch.again_at = switch.key_at + HANDED_OVER_S
            return self._end(switch)
        return self._begin(switch)

    def _begin(self, switch: _Switch) -> Turn:
        is_kept = switch.serves and switch.line == switch.key
        switch.serves, switch.line = True, switch.key
        assert switch.asked
        switch.granted = Claimed(Says.GRANTED, switch.asked.generation, switch.asked_term)
        return Turn.KEPT if is_kept else Turn.BEGUN

    def _end(self, switch: _Switch) -> Turn:
        served, switch.serves, switch.line, switch.granted = switch.serves, False, 0, None
        return Turn.ENDED if served else Turn.NONE

    def _told_stale(self, switch: _Switch, claim: Claim, generation: int, now: float) -> None:
        pause = self._pause_after_failure(switch, now)
        switch.own, switch.line = generation, 0
        switch.again_at = now + pause
        if claim.master and distance(claim.generation, generation) > 0:
            switch.stale = Stale(switch.key, generation)

    def _told_nothing(self, switch: _Switch, now: float) -> None:
        switch.again_at = now + max(self._pause_after_failure(switch, now), PAUSE_S)
        switch.mute_since = min(switch.mute_since, now)
        if now - switch.mute_since >= MUTE_S:
            switch.given_up_until = now + GIVEN_UP_S
            switch.mute_since = math.inf

    def refused(self, dpid: int, now: float) -> bool:
        """Another one is its master → whether this member was, until now."""
        switch = self._switches.get(dpid)
        if switch is None:
            return False
        switch.again_at = now + max(self._pause_after_failure(switch, now), PAUSE_S)
        return self._end(switch) is Turn.ENDED

    def _pause_after_failure(self, switch: _Switch, now: float) -> float:
        if now - switch.failed_at > STEADY_S:
            switch.failures = 0
        switch.failures, switch.failed_at = switch.failures + 1, now
        doublings = min(switch.failures - 2, 8)
        return float(min(PAUSE_S * 2**doublings, LONGEST_PAUSE_S)) if doublings >= 0 else 0.0
