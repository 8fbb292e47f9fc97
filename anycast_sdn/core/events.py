"""Events: frozen values that decisions return beside the messages to switches.

The code that decides returns events, and does not depend on their use.  Counters, logs and records are subscribers:
they get each event after the messages have been sent, and a fault in one of them affects neither the messages nor the
other subscribers.  ``switch`` is the name of the switch where it happened.

An event is frozen and has only plain values.  How a new one is added: CONTRIBUTING.md.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.model import Address


class Drop(enum.Enum):
    """Why the controller let a packet, or a frame of ARP or neighbour discovery, go no further.

    The values are the names of counters; ``views.counters`` has what each of them means for an operator.
    """

    # Clients' packets to a service, and servers' replies.
    NO_SERVICE = "no_service"  # no group covers the service address, or it has no active server
    NO_ABLE_EDGE = "no_able_edge"  # it has, but none of them can be reached now: the client may try again
    POOL_EMPTY = "pool_empty"
    CLIENT_FULL = "client_full"  # this client has as many bindings as one may have
    PORT_FULL = "port_full"  # the clients at this host port have as many as they may have together
    NO_BINDING = "no_binding"  # M16
    SERVER_LOST = "server_lost"  # of a TCP connection that lost its server: its ends are sent a RST
    STRANGER = "stranger_reply"  # M17
    LOOPED = "looped"  # it came back from the switch's tables again, or no flow is known whose rule it could have met
    UNSUPPORTED_PROTOCOL = "unsupported_protocol"
    UNSUPPORTED_ICMP = "icmp_unsupported"
    WAITED_TOO_LONG = "shed"  # the controller is overloaded

    # ARP and neighbour discovery, and packets to hosts.
    MAC_MISMATCH = "arp_mac_mismatch"
    FALSE_CLAIM = "false_claims"
    FALSE_MOVE = "false_move"
    FOREIGN_QUESTION = "foreign_questions"
    TOO_MANY_HOSTS = "too_many_hosts"
    UNKNOWN_SOURCE = "unknown_source"
    UNRESOLVABLE = "unresolvable"
    WAITING_OVERFLOW = "waiting_overflow"

    # Any packet.
    TOO_LARGE = "too_large"
    TTL_EXPIRED = "ttl_expired"
    UNEXPECTED = "unexpected_packet_in"


class Fault(enum.Enum):
    """How a rule, group or meter of a switch differed from the wanted one."""

    MISSING = "missing"
    WRONG = "wrong"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class PacketsDropped:
    switch: str
    reason: Drop
    packets: int = 1


@dataclass(frozen=True, slots=True)
class FrameMalformed:
    """A frame was dropped, for one of ``openflow.frames.REASONS``."""

    switch: str
    reason: str


@dataclass(frozen=True, slots=True)
class RuleRefused:
    """The switch has refused a rule, a group or a meter.  ``binding``: the number of the rule's binding, or 0."""

    switch: str
    binding: int = 0


@dataclass(frozen=True, slots=True)
class RulesRepaired:
    """The audit, or a report of the switch, has found rules, groups or meters with this fault; they are repaired."""

    switch: str
    fault: Fault
    rules: int


@dataclass(frozen=True, slots=True)
class BindingNotAdopted:
    """After a restart the switch has rules of a binding that its client edge cannot have."""

    switch: str
    binding: int


@dataclass(frozen=True, slots=True)
class PortsHeldBack:
    """Too many first packets of so many more ports were refused: their rate is limited for a while."""

    switch: str
    ports: int


@dataclass(frozen=True, slots=True)
class ChangeUnconfirmed:
    """The switch has not confirmed a change of routes in time; the others do not wait for it any longer."""

    switch: str


@dataclass(frozen=True, slots=True)
class ServerLost:
    """A server has been unreachable for too long: the flows of this client edge that it served are freed (M32)."""

    switch: str
    server: Address
    flows: int


@dataclass(frozen=True, slots=True)
class ServerReturned:
    """A server that this client edge had lost can be reached again."""

    switch: str
    server: Address


@dataclass(frozen=True, slots=True)
class ServerHealthChanged:
    """The health of a server behind this server edge has changed in these groups.  ``reason``: "" when it passes."""

    switch: str
    server: Address
    groups: tuple[str, ...]
    before: HealthStatus
    after: HealthStatus
    reason: str


@dataclass(frozen=True, slots=True)
class PoolLow:
    """A pool of translation addresses may soon be exhausted, see ``core.pool_watch``.

    ``left`` of ``size`` addresses could be leased; ``used_up_in_s``: at the rate of the last seconds, if it falls.
    """

    switch: str
    family: str  # "ipv4", "ipv6"
    left: int
    size: int
    used_up_in_s: float | None


@dataclass(frozen=True, slots=True)
class PoolExhausted:
    """A pool of translation addresses has no address for a new flow, or had none for one that came."""

    switch: str
    family: str
    size: int
    leased: int
    resting: int


@dataclass(frozen=True, slots=True)
class ServerEnrolled:
    """``switch``: the edge that the server is behind, here and in the following."""

    switch: str
    group: str
    server: Address


@dataclass(frozen=True, slots=True)
class ServerChanged:
    """Settings of an enrolled server are others: each as "weight 1 → 5"."""

    switch: str
    group: str
    server: Address
    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServerRemoved:
    """The server is no longer enrolled in the group."""

    switch: str
    group: str
    server: Address


@dataclass(frozen=True, slots=True)
class ServerDraining:
    """The server takes no new flows any more.  ``operation``: "" where nobody waits for the end."""

    switch: str
    group: str
    server: Address
    operation: str
    deadline_s: float | None


@dataclass(frozen=True, slots=True)
class ServerDrained:
    """The last flow of a draining server has ended, or its drain is over."""

    switch: str
    group: str
    server: Address


@dataclass(frozen=True, slots=True)
class LeaseExpired:
    """The server's enrolment was not renewed in time.  ``removed_in_s``: None: it stays enrolled."""

    switch: str
    group: str
    server: Address
    removed_in_s: float | None


@dataclass(frozen=True, slots=True)
class LeaseRenewed:
    """A lease that had expired is held again."""

    switch: str
    group: str
    server: Address


@dataclass(frozen=True, slots=True)
class EdgeDraining:
    """The servers behind this edge take no new flows any more."""

    switch: str
    operation: str
    deadline_s: float | None


@dataclass(frozen=True, slots=True)
class EdgeResumed:
    """They take new flows again."""

    switch: str


@dataclass(frozen=True, slots=True)
class OperationEnded:
    """A drain of a server in a group, or of an edge, is over.  ``reason``: why it has failed, or what is left."""

    switch: str
    group: str  # "": of an edge
    operation: str
    what: str  # such as "drain of 10.2.0.10 in group web"
    succeeded: bool
    reason: str


LifeEvent: TypeAlias = (
    ServerEnrolled
    | ServerChanged
    | ServerRemoved
    | ServerDraining
    | ServerDrained
    | LeaseExpired
    | LeaseRenewed
    | EdgeDraining
    | EdgeResumed
    | OperationEnded
)
CountedEvent: TypeAlias = (
    PacketsDropped
    | FrameMalformed
    | RuleRefused
    | RulesRepaired
    | BindingNotAdopted
    | PortsHeldBack
    | ChangeUnconfirmed
    | ServerLost
    | ServerReturned
)
# Of the others, two tell that a level is reached, which /healthz shows as long as it lasts.
Event: TypeAlias = CountedEvent | PoolLow | PoolExhausted | ServerHealthChanged | LifeEvent


def repaired(switch: str, faults: Iterable[Fault]) -> list[Event]:
    """One event for each kind of fault; ``faults``: that of each rule."""
    return [RulesRepaired(switch, fault, rules) for fault, rules in Counter(faults).items()]
