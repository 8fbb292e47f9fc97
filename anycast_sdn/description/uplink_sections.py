"""The sections of a network file about what lies beyond its switches: uplinks, BGP sessions, the testbed's routers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from anycast_sdn.core.model import Gateway
from anycast_sdn.description import model
from anycast_sdn.description.section import Section, as_in, list_of, optional, some
from anycast_sdn.description.values import (
    AsNumber,
    Community,
    Cost,
    IpAddress,
    IpGateway,
    IpPrefix,
    Mtu,
    Name,
    Password,
    PortNumber,
    Seconds,
)


class BgpMember(Section):
    """What differs in the session of one of several controllers (`run --etcd`)."""

    name: Name = Field(description="of the member: its --member")
    local_address: IpAddress = Field(description="that controller's own address for the session")
    router_id: IpAddress = Field(description="its BGP identifier, an IPv4 address that no other has")
    neighbour: IpAddress | None = optional("the router's address for that session. Left out: the neighbour above")

    def member(self) -> model.BgpMember:
        return model.BgpMember(self.name, self.local_address, self.router_id, self.neighbour)


class Bgp(Section):
    """A BGP session of the controller with the uplink's router, in the edge's name (RFC 4271)."""

    local_as: AsNumber = Field(description="the edge's AS number")
    local_address: IpAddress = Field(
        description="the controller's own address, from which it opens the session itself, not through the edge"
    )
    neighbour: IpAddress = Field(description="the router's address for the session, in the same family")
    neighbour_as: AsNumber = Field(description="the router's AS number, another than the edge's")
    router_id: IpAddress | None = optional(
        "the edge's BGP identifier, an IPv4 address. Left out: the uplink's own IPv4 address"
    )
    med: Annotated[int, Field(ge=1, le=4294967295)] | None = optional(
        "multi-exit discriminator: of several edges with the same AS number, the router prefers the lowest. Left "
        "out: none is sent"
    )
    communities: list[Community] = Field(default=[], max_length=64, description="sent with each route (RFC 1997)")
    hold_s: Annotated[Seconds, Field(ge=10)] = as_in(
        model.BgpSession, "hold_s", "hold time: a session ends when its router has been silent for so long (RFC 4271)"
    )
    ttl: Annotated[int, Field(ge=1, le=255)] = as_in(
        model.BgpSession, "ttl", "TTL of the session's packets; 1: the router is on a link of the controller"
    )
    password: Password | None = optional(
        "signs each TCP segment (RFC 2385); quotes around it if it is all digits. Left out: none"
    )

    members: list[BgpMember] = list_of(
        "of a cluster: each has a session of its own, and the leader's routes have the lowest MED, so that a take-over "
        "needs no new session. Left out: only the leader has one"
    )

    def session(self, addresses: Iterable[Gateway]) -> model.BgpSession:
        own = (gateway.address for gateway in addresses if not gateway.prefix.is_v6)
        return model.BgpSession(
            local_as=self.local_as,
            router_id=self.router_id or next(own, b""),
            local_address=self.local_address,
            neighbour=self.neighbour,
            neighbour_as=self.neighbour_as,
            med=self.med,
            communities=tuple(self.communities),
            hold_s=self.hold_s,
            ttl=self.ttl,
            password=self.password or "",
            members=tuple(member.member() for member in self.members),
        )


class Uplink(Section):
    """An edge's port to an ordinary router, beyond which are networks that the controller does not manage."""

    name: Name = Field(description="its name in other sections, in REST and in the log")
    edge: str = Field(description="the name of its switch")
    port: PortNumber = Field(description="the switch's port; it has no subnet and no link")
    addresses: list[IpGateway] = some("the switch's own address there with the length of its prefix; one per family")
    routers: list[IpAddress] = some("the router's own address on the uplink, at most one per family: the next hops")
    routes: list[IpPrefix] = list_of(
        "static routes: prefixes reached by this uplink; preferred to routes learned by BGP"
    )
    bgp: Bgp | None = optional("given: routes are exchanged with the router by BGP (M8, M23)")
    mtu: Mtu | None = optional("as a link's mtu")

    def uplink(self) -> model.Uplink:
        return model.Uplink(
            name=self.name,
            edge=self.edge,
            port=self.port,
            addresses=tuple(self.addresses),
            routers=tuple(self.routers),
            routes=tuple(self.routes),
            bgp=self.bgp.session(self.addresses) if self.bgp else None,
            mtu=self.mtu or 0,
        )


class LegacyRouter(Section):
    """An ordinary router of the testbed."""

    name: Name = Field(description="its name in Mininet")
    loopbacks: list[IpAddress] = some("one IPv4 address, which is its router id, and at most one IPv6 address")
    uplinks: list[str] = list_of("the names of the uplinks at whose other end it is")

    def router(self) -> model.LegacyRouter:
        return model.LegacyRouter(self.name, tuple(self.loopbacks), tuple(self.uplinks))


class LegacyCable(Section):
    """A cable between two of these routers; OSPF runs over it."""

    ends: list[str] = Field(min_length=2, max_length=2, description="the names of its two routers")
    prefixes: list[IpPrefix] = some("of each, the first end has the first address, the other end the second")
    cost: Cost = as_in(model.LegacyCable, "cost", "OSPF's cost")

    def cable(self) -> model.LegacyCable:
        return model.LegacyCable((self.ends[0], self.ends[1]), tuple(self.prefixes), self.cost)


class LegacyCore(Section):
    """A network of ordinary routers that the Mininet testbed builds with FRR. The controller ignores it."""

    as_number: AsNumber = Field(description="their AS number; each uplink to them has it as its neighbour_as")
    routers: list[LegacyRouter] = some("the routers")
    cables: list[LegacyCable] = list_of("the cables between them")

    def core(self) -> model.LegacyCore:
        routers = tuple(router.router() for router in self.routers)
        return model.LegacyCore(self.as_number, routers, tuple(cable.cable() for cable in self.cables))
