"""Watching: what has become of the cluster from one look at it to the next; no clock and no I/O here.

The rules it keeps:

- The first look tells nothing: what is there was there before.
- A member is missing when its process is gone without having said that it leaves, to others or in etcd, until one of
  its name is there, or an operator says that it is not to be missed.
- etcd is away when it has not answered for ``AWAY_S``: while it elects a leader of its own, nobody has to know.  So it
  is when it takes nothing, because its quota is used up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from anycast_sdn.cluster.overview import Overview
from anycast_sdn.core.cluster_events import EtcdBack, EtcdLost, LeaderChanged, MemberJoined, MemberLeft, MemberLost
from anycast_sdn.core.events import Event

AWAY_S = 2.5


class Watching:
    """``own``: the id of this member."""

    def __init__(self, own: str) -> None:
        self._own = own
        self._before: Overview | None = None
        self._last_leader = ""
        self._silent_since: float | None = None
        self.missing: dict[str, float] = {}  # names of members → since when
        self.leaderless_since: float | None = None
        self.etcd_away_since: float | None = None
        self.takeovers = 0  # how often this member has begun to lead after another one

    def look(
        self, seen: Overview, problem: str, left: Collection[str], ended: Collection[str], now: float
    ) -> list[Event]:
        """``problem``: why etcd is not read, or takes nothing.

        ``left``: ids of members that have said that they leave; ``ended``: of those whose process has ended for sure.
        """
        events = [*self._of_members(seen, left, ended, now), *self._of_leader(seen, now), *self._of_etcd(problem, now)]
        self._before = seen
        return events

    def forget(self, name: str) -> None:
        self.missing.pop(name, None)

    def _of_members(
        self, seen: Overview, left: Collection[str], ended: Collection[str], now: float
    ) -> Iterator[Event]:
        if self._before is None:
            return
        before = self._before.members
        for id, member in before.items():
            if id not in seen.members and id != self._own:
                if id in left or member.told.leaving:
                    yield MemberLeft(member.name, id)
                else:
                    self.missing[member.name] = now
                    yield MemberLost(member.name, id, id in ended)
        for id, member in seen.members.items():
            if id not in before and id != self._own:
                yield MemberJoined(member.name, id, member.told.rest, member.told.release)
        for member in seen.members.values():
            self.missing.pop(member.name, None)

    def _of_leader(self, seen: Overview, now: float) -> Iterator[Event]:
        if not seen.leader:
            self.leaderless_since = now if self.leaderless_since is None else self.leaderless_since
            return
        self.leaderless_since = None
        if seen.leader != self._last_leader:
            if self._last_leader and seen.leader == self._own:
                self.takeovers += 1
            if self._before is not None:
                yield LeaderChanged(seen.name(seen.leader), seen.term)
            self._last_leader = seen.leader

    def _of_etcd(self, problem: str, now: float) -> Iterator[Event]:
        if not problem:
            if self.etcd_away_since is not None:
                yield EtcdBack(round(now - self.etcd_away_since, 1))
            self._silent_since = self.etcd_away_since = None
            return
        self._silent_since = now if self._silent_since is None else self._silent_since
        if self.etcd_away_since is None and now - self._silent_since >= AWAY_S:
            self.etcd_away_since = self._silent_since
            yield EtcdLost(problem)
