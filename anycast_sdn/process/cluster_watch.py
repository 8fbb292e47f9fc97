"""ClusterWatch: looks at the cluster, tells what has become of it, and how it is now.

Each member tells the others what it says of itself (``Standing``), when that has changed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from functools import partial

from os_ken.lib import hub

from anycast_sdn.cluster.agreement import Agreement
from anycast_sdn.cluster.etcd_cluster import EtcdCluster
from anycast_sdn.cluster.keys import FORGOTTEN, LEADER, MEMBERS
from anycast_sdn.cluster.raising import Raising
from anycast_sdn.cluster.standing import Standing
from anycast_sdn.cluster.watching import Watching
from anycast_sdn.core.events import Event
from anycast_sdn.etcd.client import EtcdError
from anycast_sdn.etcd.mirror import Mirror
from anycast_sdn.process.faults import isolated
from anycast_sdn.process.peers import Peers
from anycast_sdn.views.cluster import ClusterState

LOG = logging.getLogger(__name__)

LOOK_S = 0.5
STANDING = "standing"  # what a member says of itself
ENDPOINTS_S = 3.0  # between two looks at the endpoints of etcd


class ClusterWatch:
    def __init__(
        self, peers: Peers, mirror: Mirror, agreement: Agreement, cluster: EtcdCluster, raising: Raising
    ) -> None:
        self._peers = peers
        self._cluster = cluster
        self._agreement = agreement
        self._raising = raising
        self._mirror = mirror
        self._watching = Watching(peers.own)
        self._said: Standing | None = None  # of itself
        self._heard: dict[str, Standing] = {}  # by the ids of others
        peers.missed = cluster.missed = self._missed
        self._endpoints = dict.fromkeys(mirror.etcd.endpoints, "")
        self._is_active = True

    def start(self, report: Callable[[Event], None]) -> None:
        """``report`` gets the events."""

        @isolated
        def look() -> None:
            peers, now = self._peers, time.monotonic()
            for event in self._watching.look(peers.overview, self._problem, peers.left, peers.ended, now):
                report(event)
            self._tell()

        def changed(keys: Collection[str]) -> None:
            if any(key == LEADER or key.startswith(MEMBERS) for key in keys):
                look()
            for key in keys:
                if key.startswith(FORGOTTEN) and key in self._mirror.values:
                    self._watching.forget(key.removeprefix(FORGOTTEN))

        self._peers.greet(STANDING, lambda: [self._standing().text()])
        self._peers.listen(STANDING, self._hear)
        look()
        self._mirror.listen(changed)
        hub.spawn(self._every, LOOK_S, look)
        hub.spawn(self._every, ENDPOINTS_S, isolated(self._look_at_endpoints))
        hub.spawn(self._every, LOOK_S, isolated(partial(self._raise, report)))

    def _standing(self) -> Standing:
        return Standing(self._cluster.claimed(), [*self._watching.missing])

    def _tell(self) -> None:
        if (standing := self._standing()) != self._said:
            self._said = standing
            self._peers.publish(STANDING, standing.text())

    def _missed(self) -> set[str]:
        """The names of members that any member misses: one that was started since does not know of all."""
        return {name for standing in self._standings().values() for name in standing.missing}

    def _standings(self) -> dict[str, Standing]:
        """Of this member, and of those that are heard."""
        heard = {id: standing for id, standing in self._heard.items() if id in self._peers.reached}
        return {**heard, self._peers.own: self._standing()}

    def _hear(self, id: str, text: str) -> None:
        self._heard = {each: standing for each, standing in self._heard.items() if each in self._peers.reached}
        self._heard[id] = Standing.of(text)

    def stop(self) -> None:
        self._is_active = False

    def state(self) -> ClusterState:
        now, watching, peers = time.monotonic(), self._watching, self._peers
        return ClusterState(
            own=peers.own,
            seen=peers.overview,
            reached=peers.reached,
            standings=self._standings(),
            missing=[*watching.missing],
            leaderless_s=None if watching.leaderless_since is None else now - watching.leaderless_since,
            etcd_away_s=None if watching.etcd_away_since is None else now - watching.etcd_away_since,
            problem=self._problem,
            full=bool(self._mirror.etcd.full),
            revision=self._mirror.revision,
            behind_s=max(0.0, now - self._mirror.heard_at),
            endpoints=dict(self._endpoints),
            takeovers=watching.takeovers,
            network=self._agreement.differs,
            contested=self._cluster.contested(),
            schema=self._raising.state(),
        )

    @property
    def _problem(self) -> str:
        """Why etcd is of no use; it may be read, and take nothing (its disk, or quota, is full)."""
        return self._mirror.etcd.full or self._mirror.problem or self._cluster.problem

    def _raise(self, report: Callable[[Event], None]) -> None:
        try:
            if raised := self._raising.look(self._watching.missing, time.monotonic()):
                report(raised)
        except EtcdError as error:
            LOG.debug("etcd: %s", error)  # tried again; under the same conditions, it is done once

    def _look_at_endpoints(self) -> None:
        for endpoint in self._endpoints:
            self._endpoints[endpoint] = self._mirror.etcd.problem_of(endpoint)

    def _every(self, seconds: float, act: Callable[[], None]) -> None:
        while self._is_active:
            act()
            hub.sleep(seconds)
