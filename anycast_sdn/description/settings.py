"""What is set of groups and servers: the same in the network file and over REST, described here alone.

Each class has the names of the fields of a value of ``core.model``, and becomes one (``values``).  What may be left out
has the default of that value.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from anycast_sdn.core import roles
from anycast_sdn.core.model import AnycastGroup, GroupValidity, Server
from anycast_sdn.description.section import Section, Setting, as_in, optional, some
from anycast_sdn.description.values import AffinityName, GroupName, IpAddress, IpPrefix, OnServerLossName, Seconds


class Validity(Section):
    """How long a binding may be idle in both directions before it ends (M13, M19)."""

    tcp_s: Seconds = as_in(roles.Validity, "tcp_s", "a TCP connection in progress (RFC 5382 REQ-5)")
    tcp_closing_s: Seconds = as_in(
        roles.Validity, "tcp_closing_s", "a TCP connection that one side has closed (RFC 5382 REQ-5)"
    )
    tcp_closed_s: Seconds = as_in(
        roles.Validity,
        "tcp_closed_s",
        "a TCP connection that both sides have closed, on switches that can match TCP flags (Open vSwitch)",
    )
    udp_s: Seconds = as_in(roles.Validity, "udp_s", "UDP (RFC 4787 REQ-5)")
    icmp_s: Seconds = as_in(roles.Validity, "icmp_s", "ICMP and ICMPv6 echo (RFC 5508 REQ-2)")
    other_s: Seconds = as_in(roles.Validity, "other_s", "every other IP protocol")
    unanswered_s: Seconds = as_in(roles.Validity, "unanswered_s", "a flow that no server has answered yet")

    def validity(self) -> roles.Validity:
        return roles.Validity(**self.model_dump())


def _of_the_edge(field: str) -> Any:
    """A key of ``Validity`` that may be left out."""
    return optional(str(Validity.model_fields[field].description))


class ServiceValidity(Setting):
    """How long a binding of this group's flows may be idle, where that is not as the client edge's validity says."""

    of: ClassVar[type] = GroupValidity

    tcp_s: Seconds = _of_the_edge("tcp_s")
    tcp_closing_s: Seconds = _of_the_edge("tcp_closing_s")
    tcp_closed_s: Seconds = _of_the_edge("tcp_closed_s")
    udp_s: Seconds = _of_the_edge("udp_s")
    icmp_s: Seconds = _of_the_edge("icmp_s")
    other_s: Seconds = _of_the_edge("other_s")
    unanswered_s: Seconds = _of_the_edge("unanswered_s")

    @model_serializer(mode="wrap")
    def _those_that_are_set(self, serialised: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]
        return {name: value for name, value in serialised(self).items() if value is not None}


class GroupNamed(Section):
    """A group's name."""

    name: GroupName = Field(description="its name in REST")


class GroupSettings(Section):
    """What is set of a group: the fields of ``AnycastGroup`` but its name and its servers."""

    prefixes: list[IpPrefix] = some("ANY/n: its service addresses, each within one of the anycast_prefixes (M2)")
    affinity: AffinityName = as_in(
        AnycastGroup,
        "affinity",
        "what is bound to the server that answers first: flow, each flow by its five fields; client, a client with "
        "everything that it sends to a service address, for services that consist of several flows (M31)",
    )
    on_server_loss: OnServerLossName = as_in(
        AnycastGroup,
        "on_server_loss",
        "what becomes of flows whose server is lost: repin, another server may answer them, and TCP connections are "
        "reset; keep, they stay bound to it until they are idle (M32)",
    )
    validity: ServiceValidity = Field(
        default_factory=ServiceValidity,
        description="how long a binding may be idle, for new flows of this group. Left out: as the client edge says",
    )


class ServerAddress(Section):
    """Which server it is."""

    address: IpAddress = Field(description="its own unicast address, in a server subnet (M4)")


class ServerSettings(Section):
    """What is set of a server, in the network file and over REST."""

    weight: Annotated[int, Field(ge=1, le=1000)] = as_in(
        Server, "weight", "its share of new flows among the group's servers behind the same edge (M10, M26)"
    )
