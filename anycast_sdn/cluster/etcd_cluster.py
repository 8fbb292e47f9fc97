"""EtcdCluster: several controllers that agree in etcd who leads, and who is the master of which switch.

``Election`` decides; here it is carried out.  The rules that it keeps:

- A key that names this member says that it may *ask* the switch; master it is when the switch has said so.
- It stays master, whatever etcd says or does not say, until the switch refuses or another member has the key: standing
  down early would only make a gap.
- The mirror is told by etcd in the middle of a watch: then only memory is looked at, and switches are asked.  All
  requests to etcd are made by one green thread, in ``beat``, which ``wake`` calls when something has changed.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence, Set

from anycast_sdn import __version__
from anycast_sdn.cluster.cluster import Claim, RoleAnswer, Turn
from anycast_sdn.cluster.election import Election, Transaction
from anycast_sdn.cluster.keys import CANARY, MemberKey
from anycast_sdn.cluster.lease import LEASE_S, Lease
from anycast_sdn.cluster.notices import Notices
from anycast_sdn.cluster.standing import Claimed
from anycast_sdn.cluster.steering import CannotSteer, ClusterUnreachable
from anycast_sdn.cluster.view import Master
from anycast_sdn.core.cluster_events import MemberForgotten
from anycast_sdn.core.events import Event
from anycast_sdn.core.model import ConfigurationError, NotFound
from anycast_sdn.core.words import listed
from anycast_sdn.etcd.client import EtcdError
from anycast_sdn.etcd.mirror import Mirror
from anycast_sdn.etcd.schema import KNOWN

LOG = logging.getLogger(__name__)

CANARY_S = 0.5
CAUGHT_UP_S = 1.0  # the mirror has so much time to show what was written
JOIN_S = 5.0  # a namesake that has ended is gone from etcd after this at the latest
JOIN_STEP_S = 0.2
START_S = 30.0  # from the end of ``join`` to the first ``beat``, at most: enrolments are read, and much is built
TRIES = 5  # of what an operator asks for, while others change the same


class EtcdCluster:
    """``member``: this member's id, which no other process ever has; ``switches``: the names of all, by datapath id;
    ``wake``: has ``beat`` called soon; ``report``: is told what has happened; ``missed``: the names of members that any
    member misses; ``problem``: why etcd has not taken what this member has last written, "" if it has; ``known``: the
    schemas of its release.
    """

    def __init__(
        self,
        mirror: Mirror,
        lease: Lease,
        member: str,
        name: str,
        rest: str,
        switches: Mapping[int, str],
        peer: str = "",
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[int], int] = secrets.randbits,
        known: Sequence[int] = KNOWN,
    ) -> None:
        self._mirror = mirror
        self._lease = lease
        self.member = member
        self._clock = clock
        told = MemberKey(name, rest, [], peer, __version__, round(time.time(), 3), known)
        self._election = Election(mirror.prefix, member, told, switches, random(32))
        self._claims = self._election.claims
        self._notices = Notices(self._election, switches)
        self._switches = dict(switches)
        self._changed: Callable[[Collection[int]], None] = lambda dpids: None
        self.wake: Callable[[], None] = lambda: None
        self.report: Callable[[Event], None] = lambda event: None
        self.missed: Callable[[], Collection[str]] = list
        self.problem = ""
        self._led: int | None = None  # the term in which this member leads
        self._canaries = 0
        self._canary_at = -CANARY_S
        self._written = 0  # revision of the last write …
        self._written_at = -CAUGHT_UP_S
        self._look(list(mirror.values))
        mirror.listen(self._look)

    # ---------------------------------------------------------------- Cluster

    def leads(self) -> bool:
        return self._election.leads(self._clock())

    def term(self) -> int:
        return self._election.term()

    def is_master(self, dpid: int) -> bool:
        return self._claims.is_master(dpid, self._clock())

    def watch(self, changed: Callable[[Collection[int]], None]) -> None:
        self._changed = changed

    def connected(self, dpid: int) -> None:
        self._claims.connected(dpid, self._clock())
        self.wake()

    def disconnected(self, dpid: int) -> None:
        self._claims.disconnected(dpid)
        self.wake()

    def claim(self, dpid: int) -> Claim | None:
        return self._claims.claim(dpid)

    def answered(self, dpid: int, claim: Claim, answer: RoleAnswer, generation: int = 0) -> Turn:
        turn = self._claims.answered(dpid, claim, answer, generation, self._clock())
        self.wake()
        return turn

    def refused(self, dpid: int) -> bool:
        return self._claims.refused(dpid, self._clock())

    def claimed(self) -> dict[int, Claimed]:
        """What this member says of itself: see ``cluster.standing``."""
        return self._claims.claimed(self._clock())

    def hear(self, heard: Callable[[], Set[str]]) -> None:
        """``heard``: the ids of the other members whose processes are heard of now."""
        self._election.heard = heard

    def master(self, dpid: int) -> Master | None:
        """The one that etcd names."""
        return self._election.view.master(dpid)

    def leader(self) -> str:
        """Its id, as etcd names it; "": nobody leads."""
        return self._election.view.leader

    def contested(self) -> list[int]:
        """Switches that a controller claims, too, which is not in this etcd."""
        return self._claims.contested(self._clock())

    # ---------------------------------------------------------------- etcd

    def _look(self, changed: Collection[str]) -> None:
        """etcd has changed."""
        values = self._mirror.values
        self._election.see({key: values.get(key) for key in changed}, self._mirror.revision, self._clock())
        self._ask()
        if any(not key.startswith(CANARY) for key in changed):
            self.wake()

    def _ask(self) -> None:
        due, led, self._led = self._claims.due(self._clock()), self._led, self.term() if self.leads() else None
        if due or led != self._led:
            self._changed(due)

    def beat(self) -> None:
        """To be called some times a second, and soon after ``wake``, by one green thread.  Raises EtcdError."""
        try:
            self._beat()
        except EtcdError as error:
            self.problem = str(error)
            raise

    def _beat(self) -> None:
        now = self._clock()
        self._lease.feed()
        self._election.lease = self._lease.number = self._election.lease and self._lease.number
        self._election.look(now)
        for event in self._notices.pop(now):
            self.report(event)
        self._ask()
        if not self._lease.number:
            self._lease.begin(self._mirror.etcd.grant(LEASE_S))
            self._election.lease = self._lease.number
        if now - self._canary_at >= CANARY_S:
            self._canaries += 1
            self._canary_at = now
            # Nothing is decided by it, so what is to be decided does not wait until the mirror has it.
            self._mirror.etcd.transact(*self._election.send_canary(str(self._canaries), now))
            self.problem = ""
        if self._mirror.revision >= self._written or now - self._written_at >= CAUGHT_UP_S:
            for each in list(self._election.transactions(now)):
                self._carry_out(each)

    def _carry_out(self, transaction: Transaction) -> bool:
        """Raises EtcdError."""
        done = self._mirror.etcd.transact(*transaction)
        if done.succeeded:
            self._written, self._written_at = done.revision, self._clock()
        return done.succeeded

    def join(self, pause: Callable[[float], None]) -> None:
        """Before anything else: have this member's name.  Raises ConfigurationError while another process has it."""
        deadline = self._clock() + JOIN_S
        while True:
            try:
                self._mirror.load()
                self.beat()
                self._mirror.load()
            except EtcdError as error:
                if self._clock() > deadline:
                    raise ConfigurationError(f"etcd does not take this member: {error} (--etcd)") from error
            self._election.look(self._clock())
            if self._election.is_member:
                self._lease.feed(START_S)
                return
            if self._clock() > deadline:
                break
            pause(JOIN_STEP_S)
        other = self._election.namesake
        told = self._election.view.members.get(other)
        at = f", its REST API at {told.rest}" if told else ""
        name = self._election.told.name
        raise ConfigurationError(f"--member {name}: a controller of this name runs ({other}{at}): choose another name")

    # ---------------------------------------------------------------- by an operator (``Steering``)

    def lead(self, name: str) -> None:
        self._ask_etcd(lambda: self._election.lead(self._id(name), self._clock()))

    def drain(self, name: str) -> None:
        self._ask_etcd(lambda: self._election.drain(self._id(name), self._clock()))

    def share(self, on: bool) -> None:
        self._ask_etcd(lambda: self._election.share(on))

    def move(self, switch: str, name: str) -> None:
        dpids = [dpid for dpid, each in self._switches.items() if each == switch]
        if not dpids:
            there = ", ".join(sorted(self._switches.values()))
            raise NotFound(f"no switch {switch} in the network file: there are {there}")
        self._ask_etcd(lambda: self._election.move(dpids[0], self._id(name)))

    def tell_leaving(self) -> None:
        """The last thing that it does, before its lease is given back.  Raises EtcdError."""
        self._carry_out(self._election.leaving())

    def resume(self, name: str) -> None:
        self._ask_etcd(lambda: self._election.resume(self._id(name)))

    def forget(self, name: str) -> None:
        if name not in (missed := self.missed()):
            there = f"those that are: {listed(sorted(missed))}" if missed else "none is"
            if all(told.name != name for told in self._election.view.members.values()):
                raise NotFound(f"no member {name} is missing; {there}")
        self._ask_etcd(lambda: self._election.forget(name))
        self.report(MemberForgotten(name))

    def _ask_etcd(self, make: Callable[[], Transaction]) -> None:
        try:
            for _ in range(TRIES):
                if self._carry_out(make()):
                    return
                self._mirror.load()
        except EtcdError as error:
            raise ClusterUnreachable(f"etcd: {error}") from error
        raise CannotSteer("others change the cluster at the same time: try again")

    def _id(self, name: str) -> str:
        """Of the member of this name, or id.  Raises NotFound."""
        members = self._election.view.members
        for id, told in members.items():
            if name in (id, told.name):
                return id
        names = ", ".join(sorted(told.name for told in members.values()))
        raise NotFound(f"no member {name}: there are {names}")
