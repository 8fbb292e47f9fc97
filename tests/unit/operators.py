"""A small network, and an operator who enrols in it: for the tests of the registry and of the stores."""

from __future__ import annotations

from pathlib import Path

from anycast_sdn.control.registry import Registry
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import AnycastGroup, ConfigurationError, Gateway, Prefix, Server, packed
from anycast_sdn.core.roles import ClientEdgeRole, Side, Subnet
from anycast_sdn.description.model import Network, Switch
from anycast_sdn.store.sqlite import SqliteStore
from anycast_sdn.store.store import Store

WEB = AnycastGroup("web", (Prefix.parse("198.18.0.1/32"), Prefix.parse("2001:db8:ffff::1/128")))
AS2, AS2_V6 = Server(packed("10.2.0.10")), Server(packed("2001:db8:2::10"), weight=5)


def service(name: str, *prefixes: Prefix) -> AnycastGroup:
    return AnycastGroup(name, prefixes)


def network(anycast: str = "198.18.0.0/16", groups: tuple[AnycastGroup, ...] = ()) -> Network:
    role = ClientEdgeRole((Prefix.parse("203.0.113.0/24"),), (Prefix.parse(anycast),))
    return Network(
        name="pair",
        anycast_prefixes=(Prefix.parse(anycast), Prefix.parse("2001:db8:ffff::/48")),
        switches=(Switch("arh1", 1, client_edge=role), Switch("ars2", 2, server_edge=True)),
        links=(),
        subnets=(
            Subnet("clients", "arh1", Side.CLIENT, (Gateway.parse("10.1.0.1/24"),), (1,)),
            Subnet(
                "servers",
                "ars2",
                Side.SERVER,
                (Gateway.parse("10.2.0.1/24"), Gateway.parse("2001:db8:2::1/64")),
                (1,),
            ),
        ),
        groups=groups,
    )


class Operator:
    """A registry on a store, a file mostly, and what the switches got from it."""

    def __init__(self, store: Store | Path, net: Network) -> None:
        self.sent: list[Groups] = []
        self.store: Store = SqliteStore(str(store)) if isinstance(store, Path) else store
        try:
            self.registry = Registry(net, self.store, self.sent.append)
        except ConfigurationError:
            self.store.close()
            raise

    def restarted(self, net: Network | None = None) -> Operator:
        self.store.close()
        return Operator(Path(self.store.path), net or network())
