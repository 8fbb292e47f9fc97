"""EtcdCluster: several controllers that agree in etcd who leads, and who is the master of which switch.

Keys, each with the lease of the member that has written it, so that they end with it:

    members/ID     a member: its name, where it is reached, the switches that are connected to it
    leader         ID of the leader
    masters/DPID   ID of the member that may claim the switch; the revision that wrote it is the generation

The rules that it keeps:

- A key that names this member says that it may *ask* the switch; master it is when the switch has said so.
- It stays master, whatever etcd says or does not say, until the switch refuses or another member has the key: standing
  down early would only make a gap.
- A generation is used by one member once: a key that is made again has another.
- Decisions are a function of what the mirror has (``assignment``); each is carried out under the condition that
  the key is as it was.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator

from anycast_sdn import __version__
from anycast_sdn.cluster.assignment import wanted_masters
from anycast_sdn.cluster.cluster import Claim, RoleAnswer
from anycast_sdn.cluster.keys import CANARY, LEADER, MASTERS, MEMBERS, MemberKey
from anycast_sdn.cluster.lease import LEASE_S, Lease
from anycast_sdn.etcd.client import Delete, EtcdError, Is, Operation, Put, Value
from anycast_sdn.etcd.mirror import Mirror

LOG = logging.getLogger(__name__)


class EtcdCluster:
    """``member``: this member's id, which no other process ever has; ``dpids``: all switches of the network."""

    def __init__(self, mirror: Mirror, lease: Lease, member: str, name: str, rest: str, dpids: Collection[int],
                 peer: str = "") -> None:  # fmt: skip
        self._mirror = mirror
        self._lease = lease
        self.member = member
        self._told = MemberKey(name, rest, [], peer, __version__, round(time.time(), 3))
        self._dpids = dpids
        self._connected: set[int] = set()
        self._granted: dict[int, int] = {}  # switches whose master this controller is → by which generation
        self._asked: dict[int, Claim] = {}  # of each connected switch, last
        self._least: dict[int, int] = {}  # a generation that a switch may still accept
        self._changed: Callable[[Collection[int]], None] = lambda dpids: None
        self._beats = 0
        mirror.listen(self._look)

    # ---------------------------------------------------------------- Cluster

    def leads(self) -> bool:
        leader = self._mirror.values.get(LEADER)
        return leader is not None and leader.text == self.member

    def term(self) -> int:
        leader = self._mirror.values.get(LEADER)
        return leader.modified if leader else 0

    def is_master(self, dpid: int) -> bool:
        return dpid in self._granted

    def watch(self, changed: Callable[[Collection[int]], None]) -> None:
        self._changed = changed

    def connected(self, dpid: int) -> None:
        self._connected.add(dpid)
        self._asked.pop(dpid, None)

    def disconnected(self, dpid: int) -> None:
        self._connected.discard(dpid)
        self._granted.pop(dpid, None)
        self._asked.pop(dpid, None)

    def claim(self, dpid: int) -> Claim | None:
        key = self._mirror.values.get(f"{MASTERS}{dpid:016x}")
        claim = Claim(
            key is not None and key.text == self.member, max(key.modified if key else 0, self._least.get(dpid, 0))
        )
        self._asked[dpid] = claim
        return claim

    def answered(self, dpid: int, claim: Claim, answer: RoleAnswer, generation: int = 0) -> None:
        if answer is RoleAnswer.STALE:
            self._least[dpid] = generation + 1
        if claim.master and answer in (RoleAnswer.GRANTED, RoleAnswer.UNSUPPORTED):
            self._granted[dpid] = claim.generation
        else:
            self._granted.pop(dpid, None)

    def refused(self, dpid: int) -> None:
        self._granted.pop(dpid, None)

    # ---------------------------------------------------------------- keys

    def beat(self) -> None:
        """To be called some times a second: renews what this member says, and does what is to be done.  EtcdError."""
        self._lease.feed()
        if not self._lease.number:
            self._lease.begin(self._mirror.etcd.grant(LEASE_S))
        self._beats += 1
        wanted = self._wanted()
        for conditions, operations in wanted:
            self._mirror.etcd.transact(conditions, operations)

    def _wanted(self) -> Iterator[tuple[list[Is], list[Operation]]]:
        values, lease = self._mirror.values, self._lease.number
        path = self._mirror.prefix
        own = self._told._replace(switches=sorted(self._connected)).text()
        yield [], [Put(f"{path}{CANARY}{self.member}", str(self._beats), lease)]
        if (there := values.get(MEMBERS + self.member)) is None or there.text != own or there.lease != lease:
            yield [], [Put(f"{path}{MEMBERS}{self.member}", own, lease)]
        if LEADER not in values:
            yield [Is(path + LEADER, 0)], [Put(path + LEADER, self.member, lease)]
        masters = {int(key[len(MASTERS):], 16): value for key, value in values.items() if key.startswith(MASTERS)}
        wanted = wanted_masters(self._members(), self._leader(), self._dpids)
        for dpid in self._dpids:
            key = f"{path}{MASTERS}{dpid:016x}"
            present = masters.get(dpid)
            if present is None and wanted.get(dpid) == self.member:
                yield [Is(key, 0)], [Put(key, self.member, lease)]
            elif present and present.text == self.member and wanted.get(dpid, self.member) != self.member:
                yield [Is(key, present.modified)], [Delete(key)]

    def _members(self) -> dict[str, MemberKey]:
        return {
            key[len(MEMBERS):]: MemberKey.of(value.text)
            for key, value in self._mirror.values.items()
            if key.startswith(MEMBERS)
        }

    def _leader(self) -> str:
        leader: Value | None = self._mirror.values.get(LEADER)
        return leader.text if leader else ""

    def _look(self, changed: Collection[str]) -> None:
        """etcd has changed: which roles are to be asked for anew?"""
        anew = []
        for key in changed:
            if key.startswith(MASTERS):
                dpid = int(key[len(MASTERS):], 16)
                if dpid in self._connected and key in self._mirror.values:
                    before = self._asked.get(dpid)
                    if self.claim(dpid) != before:
                        anew.append(dpid)
        if anew or LEADER in changed:
            self._changed(anew)
        if LEADER in changed or any(key.startswith((MASTERS, MEMBERS)) for key in changed):
            try:
                self.beat()
            except EtcdError as error:
                LOG.debug("etcd: %s", error)  # the next beat tries again
