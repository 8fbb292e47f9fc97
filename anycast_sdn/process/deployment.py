"""Deployment: one controller, or several that agree in etcd.  Nobody else asks which.

``Deployment`` is what ``run`` needs of either: the store, the cluster, and what has to run beside them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anycast_sdn.api.server import Application
from anycast_sdn.cluster.alone import Alone
from anycast_sdn.cluster.cluster import Cluster
from anycast_sdn.cluster.notes import NoNotes, Notes
from anycast_sdn.cluster.steering import NoSteering, Steering
from anycast_sdn.core.events import Event
from anycast_sdn.etcd.client import Tls
from anycast_sdn.etcd.users import User
from anycast_sdn.process.app import AnycastApp
from anycast_sdn.process.flow_keeper import FlowKeeper, known_again
from anycast_sdn.store.memory import MemoryStore
from anycast_sdn.store.sqlite import SqliteStore
from anycast_sdn.store.store import Store
from anycast_sdn.views.cluster import ClusterState


@dataclass(frozen=True)
class EtcdOptions:
    """What the command line says."""

    endpoints: Sequence[str]
    member: str
    tls: Tls
    user: User | None = None
    peer: tuple[str, int] | None = None  # where it listens for other members; None: see ``peers.usual_place``
    advertised: tuple[str, int] | None = None  # where they connect; None: there


@dataclass(frozen=True)
class Deployment:
    store: Store
    cluster: Cluster
    notes: Notes
    start: Callable[[], None]
    leave: Callable[[], None]  # another controller, if there is one, takes over, while this one still runs
    stop: Callable[[], None]
    state: Callable[[], ClusterState | None]  # of the cluster; None: this controller is alone
    steering: Steering
    serve: Callable[[Application, Callable[[Event], None]], Application]  # REST of this controller → what clients get
    keep_flows: Callable[[AnycastApp], FlowKeeper | None]  # of connection trackers: for the next start, other members
    share_events: Callable[[AnycastApp], None]  # with other members


def alone(database: str) -> Deployment:
    store = MemoryStore() if database == ":memory:" else SqliteStore(str(Path(database).absolute()))
    return Deployment(
        store, Alone(), NoNotes(), _nothing, _nothing, _nothing, _nothing, NoSteering(), lambda own, report: own,
        lambda app: known_again(database, app.controller, app.report), lambda app: None,
    )  # fmt: skip


def _nothing() -> None:
    pass


def default_member() -> str:
    return socket.gethostname().partition(".")[0] or "member"
