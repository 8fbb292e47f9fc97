"""A controller in a cluster: what runs beside it, and in which order it begins and ends.

Imported where there is ``--etcd`` only: a controller that is alone knows nothing of all this.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Collection
from functools import partial

from eventlet import patcher
from os_ken.lib import hub

from anycast_sdn.api.server import Application
from anycast_sdn.cluster.agreement import Agreement
from anycast_sdn.cluster.etcd_cluster import EtcdCluster
from anycast_sdn.cluster.etcd_notes import EtcdNotes
from anycast_sdn.cluster.lease import Lease
from anycast_sdn.cluster.steering import CannotSteer
from anycast_sdn.core.events import Event
from anycast_sdn.core.model import ConfigurationError, NotFound
from anycast_sdn.description.model import Network
from anycast_sdn.etcd.client import Etcd, EtcdError
from anycast_sdn.etcd.mirror import Mirror
from anycast_sdn.process.app import AnycastApp
from anycast_sdn.process.cluster_watch import ClusterWatch
from anycast_sdn.process.deployment import Deployment, EtcdOptions
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
    etcd = Etcd(options.endpoints, options.tls)
    sockets, threads = patcher.original("socket"), patcher.original("threading")
    lease = Lease(lambda: Etcd(options.endpoints, options.tls, sockets.create_connection, threads.Lock()))
    mirror = Mirror(etcd, f"/anycast-sdn/{network.name}/", hub.sleep)
    agreement = Agreement(mirror, network)
    try:
        mirror.load()
        agreement.join()
    except EtcdError as error:
        raise ConfigurationError(f"etcd cannot be read: {error} (--etcd)") from error
    store = EtcdStore(mirror, f"etcd {', '.join(options.endpoints)}")
    member = f"{options.member}-{secrets.token_hex(4)}"
    peers = Peers(PeerOptions(options.peer or usual_place(options.endpoints), options.tls), mirror, member)
    names = {switch.dpid: switch.name for switch in network.switches}
    cluster = EtcdCluster(mirror, lease, member, options.member, rest, names, peers.url)
    cluster.join(hub.sleep)
    watch = ClusterWatch(peers, mirror, agreement)
    notes = EtcdNotes(mirror, member)
    ended, woken = threading.Event(), threading.Event()
    cluster.wake = woken.set

    @isolated
    def beat() -> None:
        try:
            cluster.beat()
        except EtcdError as error:
            LOG.debug("etcd: %s", error)
            ended.wait(AGAIN_S)

    def beat_all() -> None:
        while not ended.is_set():
            woken.wait(BEAT_S)
            woken.clear()
            beat()

    def write_notes() -> None:
        write = isolated(notes.flush)
        while not ended.wait(NOTES_S):
            write()

    def start() -> None:
        hub.spawn(mirror.run)
        hub.spawn(beat_all)
        hub.spawn(write_notes)

    def stop() -> None:
        ended.set()
        isolated(notes.flush)()
        watch.stop()
        peers.stop()
        mirror.stop()
        lease.stop()
        try:
            etcd.revoke(lease.number)
        except EtcdError as error:
            LOG.warning("the lease of this member could not be given back: %s", error)

    def serve(own: Application, report: Callable[[Event], None]) -> Application:
        cluster.report = report
        watch.start(report)
        return peers.serve(own, cluster.leads, report)

    def keep_flows(app: AnycastApp) -> FlowKeeper | None:
        return share(database, app, cluster.leads, peers)

    leave = partial(_leave, cluster, names)
    return Deployment(store, cluster, notes, start, leave, stop, watch.state, cluster, serve, keep_flows)


def _leave(cluster: EtcdCluster, switches: Collection[int]) -> None:
    """Another member takes over, if there is one; returns when it may."""
    try:
        cluster.drain(cluster.member)
    except (CannotSteer, NotFound, EtcdError) as error:
        LOG.info("no other member takes over: %s", error)
        return
    deadline = time.monotonic() + LEAVE_S
    while any(map(cluster.is_master, switches)) and time.monotonic() < deadline:
        hub.sleep(LEFT_S / 10)
    hub.sleep(LEFT_S)  # what it has done last is told
