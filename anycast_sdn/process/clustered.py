"""A controller in a cluster: what runs beside it, and in which order it begins and ends.

Imported where there is ``--etcd`` only: a controller that is alone knows nothing of all this.
"""

from __future__ import annotations

import ipaddress
import logging
import secrets
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from eventlet import patcher
from os_ken.lib import hub

from anycast_sdn.api.server import Application
from anycast_sdn.cluster.agreement import Agreement
from anycast_sdn.cluster.etcd_cluster import EtcdCluster
from anycast_sdn.cluster.etcd_notes import EtcdNotes
from anycast_sdn.cluster.lease import Lease
from anycast_sdn.cluster.raising import Raising
from anycast_sdn.core.events import Event
from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.core.words import listed
from anycast_sdn.description.model import Network
from anycast_sdn.etcd.client import Etcd, EtcdError
from anycast_sdn.etcd.mirror import Mirror
from anycast_sdn.process.app import AnycastApp
from anycast_sdn.process.cluster_watch import ClusterWatch
from anycast_sdn.process.deployment import Deployment, EtcdOptions
from anycast_sdn.process.event_sharing import SharedEvents, SharedFlowEvents
from anycast_sdn.process.faults import isolated
from anycast_sdn.process.flow_keeper import FlowKeeper
from anycast_sdn.process.peers import PeerOptions, Peers, usual_place
from anycast_sdn.process.shared_flows import share
from anycast_sdn.store.etcd import EtcdStore

LOG = logging.getLogger(__name__)

BEAT_S = 0.2
AGAIN_S = 0.1  # after an error
NOTES_S = 0.2
LEAVE_S = 2.0  # in which another member takes over, at the end of this one
LEFT_S = 0.2


def in_etcd(options: EtcdOptions, network: Network, rest: str, database: str) -> Deployment:
    """Raises ConfigurationError."""
    clustered = Clustered(options, network, rest, database)
    return Deployment(
        clustered.store, clustered.cluster, clustered.notes, clustered.start, clustered.leave, clustered.stop,
        clustered.watch.state, clustered.cluster, clustered.serve, clustered.keep_flows, clustered.share_events,
    )  # fmt: skip


class Clustered:
    """One member, with its name in etcd.  What its parts are is said where ``Deployment`` has them."""

    def __init__(self, options: EtcdOptions, network: Network, rest: str, database: str) -> None:
        """Raises ConfigurationError."""
        self._database = database
        self._etcd = Etcd(options.endpoints, options.tls, user=options.user)
        sockets, threads = patcher.original("socket"), patcher.original("threading")
        connect = sockets.create_connection
        self._lease = Lease(lambda: Etcd(options.endpoints, options.tls, connect, threads.Lock(), options.user))
        self._mirror = Mirror(self._etcd, f"/anycast-sdn/{network.name}/", hub.sleep)
        agreement = Agreement(self._mirror, network)
        member = f"{options.member}-{secrets.token_hex(4)}"
        raising = Raising(self._mirror, agreement, member, network.name)
        try:
            self._mirror.load()
            raising.must_be_known()
            agreement.join()
        except EtcdError as error:
            raise ConfigurationError(f"etcd cannot be read: {error} (--etcd)") from error
        _warn_of(options, self._etcd)
        self.store = EtcdStore(self._mirror, f"etcd {', '.join(options.endpoints)}")
        place = options.peer or usual_place(options.endpoints)
        self._peers = Peers(PeerOptions(place, options.tls, options.advertised), self._mirror, member)
        self._switches = {switch.dpid: switch.name for switch in network.switches}
        self.cluster = EtcdCluster(
            self._mirror, self._lease, member, options.member, rest, self._switches, self._peers.url
        )
        self.cluster.join(hub.sleep)
        raising.must_be_known()  # from now on it is not raised beyond what this one knows
        self.cluster.hear(lambda: self._peers.reached)
        self.watch = ClusterWatch(self._peers, self._mirror, agreement, self.cluster, raising)
        self.notes = EtcdNotes(self._mirror, member)
        self._ended, self._woken = threading.Event(), threading.Event()
        self.cluster.wake = self._woken.set

    # ---------------------------------------------------------------- from the beginning to the end

    def serve(self, own: Application, report: Callable[[Event], None]) -> Application:
        self.cluster.report = report
        self.watch.start(report)
        return self._peers.serve(own, self.cluster.leads, report)

    def keep_flows(self, app: AnycastApp) -> FlowKeeper | None:
        app.share(self._peers, self.cluster)
        return share(self._database, app, self.cluster, self._peers)

    def share_events(self, app: AnycastApp) -> None:
        SharedEvents(app.journal, self._peers, app.report, lambda id: self._peers.overview.name(id))
        SharedFlowEvents(app.streamed_flows, self._peers)

    def start(self) -> None:
        hub.spawn(self._mirror.run)
        hub.spawn(self._beat_all)
        hub.spawn(self._write_notes)

    def leave(self) -> None:
        """Another member takes over, if there is one; returns when it may."""
        cluster = self.cluster
        try:
            cluster.drain(cluster.member)
        except ConfigurationError as error:
            LOG.info("no other member takes over: %s", error)
            return
        deadline = time.monotonic() + LEAVE_S
        while any(map(cluster.is_master, self._switches)) and time.monotonic() < deadline:
            hub.sleep(LEFT_S / 10)
        hub.sleep(LEFT_S)  # what it has done last is told

    def stop(self) -> None:
        self._ended.set()
        self._flush_notes()
        self.watch.stop()
        self._peers.stop()
        self._mirror.stop()
        self._lease.stop()
        try:
            self.cluster.tell_leaving()
            self._etcd.revoke(self._lease.number)
        except EtcdError as error:
            LOG.warning("the lease of this member could not be given back: %s", error)

    # ---------------------------------------------------------------- green threads

    def _beat_all(self) -> None:
        while not self._ended.is_set():
            self._woken.wait(BEAT_S)
            self._woken.clear()
            self._beat()

    @isolated
    def _beat(self) -> None:
        try:
            self.cluster.beat()
        except EtcdError as error:
            LOG.debug("etcd: %s", error)  # ``ClusterWatch`` tells of it when it lasts
            self._ended.wait(AGAIN_S)

    def _write_notes(self) -> None:
        while not self._ended.wait(NOTES_S):
            self._flush_notes()

    @isolated
    def _flush_notes(self) -> None:
        self.notes.flush()


def _warn_of(options: EtcdOptions, etcd: Etcd) -> None:
    """What is not as safe as it may look."""
    if options.user and not etcd.has_asked_for_user:
        LOG.warning("etcd asks nobody for a user, so whoever reaches it may change all of it: --etcd-user has no "
                    "effect before 'etcdctl auth enable'")  # fmt: skip
    plain = [each for each in options.endpoints if each.startswith("http:") and not _is_here(each)]
    if options.user and plain:
        LOG.warning("the password of --etcd-user is not encrypted on its way to %s: use https", listed(plain))


def _is_here(url: str) -> bool:
    """Is it on this machine?"""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
