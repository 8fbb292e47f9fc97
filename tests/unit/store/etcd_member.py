"""A controller's store in a simulated etcd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from anycast_sdn.core.model import AnycastGroup, Prefix, Server, packed
from anycast_sdn.etcd.mirror import Mirror
from anycast_sdn.etcd.schema import KNOWN
from anycast_sdn.store.etcd import EtcdStore
from anycast_sdn.store.store import (
    Change,
    Stored,
)
from tests.unit.etcd.fake import FakeClient, FakeEtcd, catch_up

PATH = "/anycast-sdn/pair/"
WEB = AnycastGroup("web", (Prefix.parse("198.18.0.1/32"),))
MAIL = AnycastGroup("mail", (Prefix.parse("198.18.0.2/32"),))
ONE, TWO = Server(packed("10.2.0.1"), 1), Server(packed("10.2.0.2"), 2)


class Member:
    """A controller's store; ``told``: what another controller has changed."""

    def __init__(self, etcd: FakeEtcd, client: FakeClient | None = None, known: Sequence[int] = KNOWN) -> None:
        self.etcd = etcd
        self.client = client or etcd.client()
        self.mirror = Mirror(self.client, PATH, etcd.advance, lambda: etcd.now)
        self.store = EtcdStore(self.mirror, "etcd", known)
        self.told: list[Stored] = []
        self.store.watch(self.told.append)

    def opened(self, *first: AnycastGroup) -> Member:
        self.at = self.store.open(first).version
        self.catch_up()
        return self

    def change(self, *changes: Change) -> None:
        self.at = self.store.change(self.at, changes)

    def catch_up(self) -> None:
        """Twice: after a break everything is read anew."""
        for _ in range(2):
            catch_up(self.mirror)
        self.at = self.told[-1].version if self.told and self.told[-1].version > self.at else self.at

    def groups(self) -> dict[str, AnycastGroup]:
        return dict(self.store.open().groups)


def enrolled(group: AnycastGroup, *servers: Server) -> AnycastGroup:
    return replace(group, servers={server.address: server for server in servers})
