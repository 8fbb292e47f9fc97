"""What is set of groups and servers: the same in the network file and over REST, described here alone.

Each class has the names of the fields of a value of ``core.model``, and becomes one (``values``).  What may be left out
has the default of that value.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from anycast_sdn.core import checks, roles
from anycast_sdn.core.model import AnycastGroup, GroupValidity, SelectionSettings, Server
from anycast_sdn.core.model import Lease as ServerLease
from anycast_sdn.description import limits
from anycast_sdn.description.section import Section, Setting, as_in, default_of, list_of, optional, some
from anycast_sdn.description.values import (
    AffinityName,
    DistanceName,
    GroupName,
    IpAddress,
    IpPrefix,
    OnServerLossName,
    Payload,
    Seconds,
    Unfit,
)

Port = Annotated[int, limits.PORT.field]


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


# ------------------------------------------------------------------------------ checks


class Check(Setting):
    """What all checks have."""

    type: str = Field(description="the kind of check")
    interval_s: Annotated[float, limits.INTERVAL.field] = as_in(
        checks.Check, "interval_s", "from one attempt to the next"
    )
    timeout_s: Annotated[float, limits.TIMEOUT.field] | None = optional(
        "an attempt without an answer fails after so long, at most interval_s. Left out: "
        f"{default_of(checks.Check, 'timeout_s'):g}, or interval_s where that is less"
    )
    rise: Annotated[int, limits.RISE.field] = as_in(
        checks.Check, "rise", "so many successes in a row make a failing server pass"
    )
    fall: Annotated[int, limits.FALL.field] = as_in(
        checks.Check, "fall", "so many failures in a row make a passing server fail"
    )

    def value(self) -> Any:
        values = self.values(name for name in type(self).model_fields if name != "type")
        if self.timeout_s is None:
            values["timeout_s"] = min(default_of(checks.Check, "timeout_s"), self.interval_s)
        return self.of(**values)


class IcmpCheck(Check):
    """The server answers an ICMP echo request of the controller, sent from the edge's gateway address."""

    of: ClassVar[type] = checks.IcmpCheck

    type: Literal["icmp"] = Field(description="the kind of check")


class TcpCheck(Check):
    """The server accepts a TCP connection of the controller, from the edge's gateway address; it is reset at once."""

    of: ClassVar[type] = checks.TcpCheck

    type: Literal["tcp"] = Field(description="the kind of check")
    port: Port = Field(description="where it connects")


class UdpCheck(Check):
    """The server answers a datagram of the controller, sent from the edge's gateway address."""

    of: ClassVar[type] = checks.UdpCheck

    type: Literal["udp"] = Field(description="the kind of check")
    port: Port = Field(description="where it is sent to")
    payload: Payload = as_in(checks.UdpCheck, "payload", "what is sent: text, or bytes in hexadecimal after 0x")
    answer: Payload = optional("this has to be in the answer. Left out: any answer passes")
    dns: str = as_in(
        checks.UdpCheck,
        "dns",
        "a name to ask for by DNS, in place of payload and answer; the server has to answer with NOERROR or NXDOMAIN",
    )


class HttpCheck(Check):
    """The agent on the server asks for a path by HTTP, and reports the result."""

    of: ClassVar[type] = checks.HttpCheck

    type: Literal["http"] = Field(description="the kind of check")
    port: Port = as_in(checks.HttpCheck, "port", "where the agent connects")
    path: str = as_in(checks.HttpCheck, "path", "what it asks for")
    expect_status: list[Annotated[int, limits.HTTP_STATUS.field]] = Field(
        default=[], max_length=limits.MAX_STATUSES, description="the statuses that pass; empty: any of 200–399"
    )


class PassiveCheck(Check):
    """Enough of the server's new flows get a first reply, and in time; nothing is sent."""

    of: ClassVar[type] = checks.PassiveCheck

    type: Literal["passive"] = Field(description="the kind of check")
    max_unanswered: Annotated[float, limits.MAX_UNANSWERED.field] = as_in(
        checks.PassiveCheck, "max_unanswered", "the share of first packets that may stay without a reply"
    )
    max_first_reply_s: Annotated[float, limits.FIRST_REPLY.field] = optional(
        "the median time to the first reply may be so long. Left out: no limit"
    )


AnyCheck = Annotated[IcmpCheck | TcpCheck | UdpCheck | HttpCheck | PassiveCheck, Field(discriminator="type")]


# ------------------------------------------------------------------------------ groups


class Selection(Setting):
    """Which servers get new flows (M26)."""

    of: ClassVar[type] = SelectionSettings

    distance: DistanceName = as_in(
        SelectionSettings,
        "distance",
        "nearest, the nearest servers, and others for what these cannot take; any, all servers alike",
    )
    spill_at: Annotated[float, limits.SPILL_AT.field] = as_in(
        SelectionSettings, "spill_at", "the share of a server's capacity from which on others get its new flows"
    )


class Service(Section):
    """A group's name, and the addresses that it serves."""

    name: GroupName = Field(description="its name in REST")
    prefixes: list[IpPrefix] = some("ANY/n: its service addresses, each within one of the anycast_prefixes (M2)")


class GroupSettings(Section):
    """What is set of a group: the fields of ``AnycastGroup`` but its name, prefixes and servers."""

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
    checks: Annotated[list[AnyCheck], Field(max_length=limits.MAX_CHECKS)] = list_of(
        "how its servers are watched (M33). ARP and ND are watched always"
    )
    min_healthy: Annotated[int, limits.MIN_HEALTHY.field] = as_in(
        AnycastGroup,
        "min_healthy",
        "with fewer healthy servers than this, all servers that can be reached take new flows, healthy or not; 0: "
        "without a healthy server, the service is withdrawn",
    )
    slow_start_s: Annotated[float, limits.SLOW_START.field] = as_in(
        AnycastGroup, "slow_start_s", "a server that comes back gets its share gradually, over so long"
    )
    selection: Selection = Field(default_factory=Selection, description="which servers get new flows")


# ------------------------------------------------------------------------------ servers


class Lease(Setting):
    """The server's enrolment has to be renewed over REST (M33)."""

    of: ClassVar[type] = ServerLease

    ttl_s: Annotated[float, limits.TTL.field] = Field(
        description="without a renewal for so long, the server is critical"
    )
    deregister_after_s: Annotated[float, limits.DEREGISTER_AFTER.field] = optional(
        "so long after that, it is removed. Left out: it stays enrolled"
    )


class ServerAddress(Section):
    """Which server it is."""

    address: IpAddress = Field(description="its own unicast address, in a server subnet (M4)")


class NamedServer(Section):
    """Which server it is, by one address or by both."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["address"]}, {"required": ["addresses"]}]})

    address: IpAddress = optional(str(ServerAddress.model_fields["address"].description))
    addresses: Annotated[list[IpAddress], Field(min_length=2, max_length=2)] = optional(
        "in place of address: both addresses of a server that has IPv4 and IPv6. It is one enrolment: weight, state, "
        "drain, lease and load are those of both"
    )

    @model_validator(mode="after")
    def _has_its_address(self) -> NamedServer:
        if (self.address is None) == (self.addresses is None):
            raise Unfit("address", "needs either address or addresses: write one of them")
        return self


class ServerSettings(Section):
    """What is set of a server, in the network file and over REST."""

    weight: Annotated[int, limits.WEIGHT.field] = as_in(
        Server,
        "weight",
        "its share of new flows among the group's servers behind the same edge (M10, M26); 0: it takes none",
    )
    capacity: Annotated[int, limits.CAPACITY.field] | None = optional(
        "how many sessions it can serve at once: these mean a load of 1. Left out: not known"
    )
    lease: Lease | None = optional("given: its enrolment has to be renewed")
