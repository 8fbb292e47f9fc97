"""Events: frozen values that decisions return beside the messages to switches.

The code that decides returns events, and does not depend on their use.  Counters, logs and records are subscribers:
they get each event after the messages have been sent, and a fault in one of them affects neither the messages nor the
other subscribers.  ``switch`` is the name of the switch where it happened.

An event is frozen and has only plain values.  How a new one is added: CONTRIBUTING.md.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeAlias


class Drop(enum.Enum):
    """Why the controller let a packet, or a frame of ARP or neighbour discovery, go no further.

    The values are the names of counters; ``views.counters`` has what each of them means for an operator.
    """

    # Clients' packets to a service, and servers' replies.
    NO_SERVICE = "no_service"  # no group covers the service address, or it has no active server
    NO_ABLE_EDGE = "no_able_edge"  # it has, but none of them can be reached now: the client may try again
    SWITCH_UNABLE = "switch_unable"  # the client's switch cannot carry out flows of this family or protocol
    POOL_EMPTY = "pool_empty"
    CLIENT_FULL = "client_full"  # this client has as many bindings as one may have
    PORT_FULL = "port_full"  # the clients at this host port have as many as they may have together
    NO_BINDING = "no_binding"  # M16
    SERVER_LOST = "server_lost"  # of a TCP connection that lost its server: its ends are sent a RST
    STRANGER = "stranger_reply"  # M17
    LOOPED = "looped"  # it came back from the switch's tables again, or no flow is known whose rule it could have met
    UNSUPPORTED_PROTOCOL = "unsupported_protocol"
    UNSUPPORTED_ICMP = "icmp_unsupported"
    BEYOND_LIMIT = "beyond_limit"  # its switch has no meter that would have dropped it
    WAITED_TOO_LONG = "shed"  # the controller is overloaded
    UNREPORTED = "unreported"  # a copy that tells of a flow which the switch has begun by itself

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


class Severity(enum.Enum):
    """How much an event matters to an operator; as levels of the log: INFO, WARNING, ERROR."""

    INFO = "info"
    WARNING = "warning"  # to be looked at
    CRITICAL = "critical"  # service, or a part of it, is affected now


class Subject(NamedTuple):
    """The thing that an event is about."""

    kind: str  # "switch", "link", "server", "group", "pool", "uplink", "flow", "operation", "connection", "controller"
    name: str


class Reported:
    """An event that operators are told of: one line of the log, one event of the stream, a line of docs/events.md.

    Its fields are the members of ``data`` in JSON.  The first line of its docstring says what has happened.
    """

    __slots__ = ()

    type: ClassVar[str]  # its stable name, such as "server.enrolled"
    usual: ClassVar[Severity] = Severity.INFO  # its severity, where ``severity`` says nothing else
    often: ClassVar[int] = 5  # so many of one kind are told one by one in a minute, the others together

    @property
    def severity(self) -> Severity:
        """Where it is not always the usual one, docs/events.md prints what stands here."""
        return self.usual

    @property
    def subject(self) -> Subject:
        raise NotImplementedError

    @property
    def at_switch(self) -> str:
        """The switch that it concerns, "" if there is none."""
        return getattr(self, "switch", "")

    @property
    def of_groups(self) -> Sequence[str]:
        """The groups that it concerns."""
        group = getattr(self, "group", "")
        return [group] if group else []

    @property
    def kind(self) -> Hashable:
        """Events of one kind are repetitions: the log counts them when there are many."""
        return self.type, self.subject

    def sentence(self) -> str:
        """What has happened, for an operator; "": another event says it."""
        raise NotImplementedError


class OfSwitch(Reported):
    __slots__ = ()

    switch: str

    @property
    def subject(self) -> Subject:
        return Subject("switch", self.switch)


class OfMember(Reported):
    """About a controller of a cluster."""

    __slots__ = ()

    member: str

    @property
    def subject(self) -> Subject:
        return Subject("member", self.member)


class OfController(Reported):
    """About this controller."""

    __slots__ = ()

    @property
    def subject(self) -> Subject:
        return Subject("controller", "")


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


CountedEvent: TypeAlias = (
    PacketsDropped
    | FrameMalformed
    | RuleRefused
    | RulesRepaired
    | BindingNotAdopted
    | PortsHeldBack
    | ChangeUnconfirmed
)
# Reported ones are declared by what they are about: ``server_events``, ``network_events``.
Event: TypeAlias = CountedEvent | Reported


def repaired(switch: str, faults: Iterable[Fault]) -> list[Event]:
    """One event for each kind of fault; ``faults``: that of each rule."""
    return [RulesRepaired(switch, fault, rules) for fault, rules in Counter(faults).items()]


def dropped(switch: str, drops: Iterable[Drop]) -> list[Event]:
    """One event for each reason; ``drops``: one for each packet."""
    return [PacketsDropped(switch, reason, packets) for reason, packets in Counter(drops).items()]
