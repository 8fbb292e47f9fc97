"""Engine: how one switch carries the method out for its clients.

A switch has one engine.  What is specific to one way (rules for each flow, their cookies, counters and timeouts, how
they are read back) stays behind this interface, and no caller asks which engine it has:
``FlowRules`` installs a pair of rules for each binding, ``Conntrack`` has a connection of Open vSwitch's tracker for
each, and ``NoClientEdge`` is the engine of a switch without clients.  ``ChosenEngine`` stands for one of several, by
what the switch is able to do.

An engine returns messages for its switch, and events, and sends nothing.  What it has to know of its switch it asks for
by requests (``Sweep``, ``Audit``): the caller carries them out and hands over the answers, and does not know what they
are for.  Work that can be large goes in slices.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from anycast_sdn.core.bindings import Binding, BindingTable
from anycast_sdn.core.first_replies import FirstReplies
from anycast_sdn.core.flow_events import EndedBy, FlowRecord
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.kept_flows import FlowChanges, KeptConnection, KeptFlow
from anycast_sdn.core.model import Address, Neighbour, Prefix
from anycast_sdn.core.pool import PoolUse
from anycast_sdn.core.pool_watch import Outlook
from anycast_sdn.core.roles import Subnet
from anycast_sdn.core.switch_ranges import RangeUse
from anycast_sdn.engines.service_codes import ServiceCodes
from anycast_sdn.openflow.answers import Answers
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.flow_monitor import Update
from anycast_sdn.openflow.reaction import Reaction
from anycast_sdn.openflow.requests import RulesRequest
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import FlowRule, Message, RuleKey

PacketHandler: TypeAlias = Callable[[int, bytes, Groups, float], Reaction]  # port, frame, groups, now; raises BadFrame


class Surroundings(NamedTuple):
    """What an engine has to know of the switch that it works at."""

    name: str  # the switch's
    subnets: Sequence[Subnet]  # at its ports, those of uplinks among them
    anycast: Sequence[Prefix]  # the network's ANY/m
    answers: Answers
    is_enrolled: Callable[[Address], bool]  # is this server in any group?


class Statistics(NamedTuple):
    pools: Mapping[str, PoolUse] = {}  # by family: "ipv4", "ipv6"
    outlooks: Mapping[str, Outlook] = {}  # by family: how long they will last
    last_sweep_s: float | None = None  # how long it took to read all counters
    opened: int = 0  # bindings that began with a packet, since the controller's start
    closed: Mapping[EndedBy, int] = {}  # how many have ended, and why
    rules: int = 0  # that the switch holds for single flows, as far as is known
    switch_allocates: bool = False  # are the pools only for clients that are bound as a whole?
    ranges: Mapping[str, RangeUse] = {}  # by family: out of which the switch chooses for all others


class Shortcoming(NamedTuple):
    """The switch cannot do what the network file wants of it."""

    lacks: str  # a short name
    sentence: str  # what it cannot do, and what becomes of its clients' flows; its subject is the switch
    is_served: bool  # are flows of its clients served nevertheless?
    remedy: str = ""  # what to write in the network file


class Reading(Protocol):
    """What a switch which has connected is found to hold of flows (M20).  ``take`` all rules, then call ``step``."""

    def take(self, rule: FlowRule) -> bool:
        """Is this a rule of a flow?  Then it is taken."""

    def rule_removed(self, cookie: int) -> None:
        """The switch has reported that a rule was removed, after it has reported what it holds."""

    def step(self, groups: Groups, now: float, hosts: Mapping[Address, Neighbour]) -> Reaction | None:
        """A slice of what follows; None when all is done.  ``hosts``: their places, by the switch's rules."""

    @property
    def knows_flows(self) -> bool:
        """Are all flows of the switch known already?  Then new ones may begin, while the rest is compared."""
        return False


class Following(Protocol):
    """The flows of a switch while another controller is its master: see ``engines.followed_rules``."""

    def take(self, update: Update) -> None: ...

    def listed(self) -> None: ...

    @property
    def has_more(self) -> bool: ...

    @property
    def is_complete(self) -> bool: ...

    def step(self, groups: Groups, now: float) -> None: ...

    def begin_reading(self, features: Features) -> Reading: ...

    def forget(self, now: float) -> bool: ...


class Sweep(Protocol):
    """The counters of all flows' rules are read once (M19).

    Carry out the ``requests``, ``take`` each part of an answer, then call ``end_some`` until the sweep ``is_over``.
    """

    @property
    def requests(self) -> Sequence[RulesRequest]: ...

    def take(self, request: RulesRequest, counters: Iterable[tuple[int, int]], asked: float, now: float) -> None:
        """(number, packets) of the rules in a part of an answer; ``asked``: when the request was sent."""

    def end_some(self, most: int, now: float) -> Reaction:
        """End those of ``most`` flows that are idle."""

    @property
    def is_over(self) -> bool: ...


class Audit(Protocol):
    """Compares the rules of flows with what the switch is found to hold, while it is connected (M20).

    A look: the requests of ``begin_look``, or of ``begin_reported``; for each of them ``begin`` when it is sent,
    ``take`` what is answered, and ``end`` until there is no more.
    """

    def begin_look(self, thorough: bool) -> list[RulesRequest]:
        """``thorough``: at the rules of all flows, and not of some."""

    def begin_reported(self) -> list[RulesRequest]:
        """Begin a look at rules that were reported as modified."""

    def begin(self, request: RulesRequest) -> None:
        """The switch is asked now."""

    def take(self, request: RulesRequest, rules: Iterable[FlowRule]) -> None: ...

    def end(self, request: RulesRequest, most: int) -> tuple[Reaction, bool]:
        """All has been taken → what corrects the rules of ``most`` flows, and are there more flows?"""

    def recheck(self, cookies: Iterable[int]) -> None:
        """Rules with these cookies were reported as modified by another program."""

    @property
    def has_reported(self) -> bool:
        """Were rules reported as modified, and has no look at them begun yet?"""

    def was_reported(self, request: RulesRequest) -> bool:
        """Is this asked because rules were reported as modified?"""

    @property
    def is_doubtful(self) -> bool:
        """Was something missed that the next look has to confirm?"""


class Engine(Protocol):
    first_replies: FirstReplies  # what becomes of first packets: ``control.ReplyTimes`` pops it
    flow_changes: FlowChanges  # of bindings: to be watched and popped by who keeps them
    flow_record: FlowRecord  # what becomes of flows: to be watched and popped by those who ask for it

    @property
    def shown_as(self) -> str:
        """In the network file's words, for operators; "": no clients are served."""

    # ---------------------------------------------------------------- what is shown

    @property
    def flows(self) -> BindingTable:
        """All bindings; to be read only."""

    def validity_s(self, flow: Binding) -> int:
        """How long the flow may be idle, in seconds."""

    def statistics(self, now: float) -> Statistics: ...

    @property
    def shortcoming(self) -> Shortcoming | None:
        """What the switch was found not to be able to do when it connected last; None: nothing."""

    # ---------------------------------------------------------------- what the switch should hold, besides flows

    def wanted_rules(self) -> Iterable[FlowRule]:
        """The rules for clients' and servers' packets that belong to no single flow or server."""

    def places_of_server(self, server: Address, groups: Groups) -> Iterable[tuple[RuleKey, FlowRule | None]]:
        """Where the rules for one server are to be compared, and the rule that should be there; None: none.

        They are wanted while it is enrolled or has flows here (M17, M20).  Records what is wanted now.
        """

    def places_of_service(self, service: Prefix, groups: Groups) -> Iterable[tuple[RuleKey, FlowRule | None]]:
        """As ``places_of_server``, for an ANY/n: wanted while a group has it, or flows here have its addresses."""

    @property
    def services(self) -> Iterable[Prefix]:
        """The ANY/n that it has rules for."""

    @property
    def services_to_recheck(self) -> Iterable[Prefix]:
        """Those of ``services`` that neither a group nor flows have any more, or that flows have again."""
        return ()

    @property
    def codes(self) -> ServiceCodes | None:
        """By which the switch's connections know services; who gives them is to be said before ``begin_reading``."""
        return None

    @property
    def zone_timeouts(self) -> Mapping[int, Mapping[str, int]]:
        """Zone of the switch's connection tracker → how long connections may be idle there (``tracker_timeouts``).

        Empty where there are none.  They are set by OVSDB, and not by rules.
        """

    @property
    def tracks_fragments(self) -> bool:
        """Does the switch's tracker translate fragments of UDP over IPv4, which the switch would spoil otherwise?"""

    @property
    def may_report(self) -> bool:
        """May rules of its copy packets to the controller to report flows, so that meters for them are needed?

        It is the same at every connection of the switch.
        """
        return False

    # ---------------------------------------------------------------- events

    @property
    def packet_handlers(self) -> Mapping[Kind, PacketHandler]:
        """Kind of rule → what handles the packets that such rules send to the controller.

        They and ``checked_kinds`` may be others after ``begin_reading``.
        """

    @property
    def checked_kinds(self) -> Collection[Kind]:
        """Those of packets that may begin a flow: they are handled only if their source is known at their port."""

    def rule_removed(self, cookie: int, deleted: bool, unused: bool, now: float) -> Reaction:
        """``deleted``: the rule did not expire; ``unused``: no packet has matched it."""

    def rule_refused(self, number: int, now: float) -> Reaction:
        """The switch has refused a rule of this flow."""

    def tick(self, now: float, most: int) -> tuple[Reaction, bool]:
        """What time brings, for up to ``most`` flows, several times a second → is there more to do now?"""

    def retire(self) -> Sequence[Message]:
        """The controller ends in an orderly way: what the switch has to know for the time without one."""

    def end(self, number: int, now: float) -> Reaction:
        """An operator ends a flow."""

    def close(self, numbers: Iterable[int], now: float) -> Reaction:
        """An operator takes these flows away from their servers: their clients, if they go on, begin anew with others.

        Where both ends can be told so, as in TCP, each is told as soon as one of them sends something.
        """

    def lose(self, numbers: Iterable[int], server: Address, groups: Groups, now: float) -> tuple[Reaction, int]:
        """A server is lost: unpin those of these flows that are pinned to it (M32) → how many."""

    def forget_flows(self) -> None:
        """Another controller has decided on them since: nothing is known of them, as at the controller's start."""

    # ---------------------------------------------------------------- what is asked of the switch

    @property
    def needs_keeping(self) -> bool:
        """Can the switch not tell of its flows after a restart of the controller?  Then somebody else has to keep them.

        It is the same at every connection of the switch.
        """
        return False

    def kept_connections(self, flow: Binding) -> Iterable[KeptConnection]:
        """What has to be kept beside the flow itself."""

    def remember(self, flows: Iterable[KeptFlow], groups: Groups, to_epoch: float, now: float) -> int:
        """Flows that were there when the controller ended are known again, until the switch says otherwise → how many.

        At the controller's start.  ``to_epoch``: what makes ``now`` a time of day.
        """

    def set_aside(self) -> Sequence[Address]:
        """Choose which PR1X the next flows get → those that were not set aside before.

        To be called several times a second, where others have to know them before flows have them.
        """
        return ()

    @property
    def aside(self) -> Sequence[Address]:
        return ()

    def keep_back(self, addresses: Iterable[Address], now: float) -> None:
        """Another controller that has ended has set these aside: for minutes no new flow gets one if others are left.

        A flow that has begun just before its end, and that nobody knows, may have it for longer.  The switch tells the
        two apart then, by their ports, or refuses the second one, which gets another address.
        """
        return

    def resting(self) -> Iterable[tuple[Address, float]]:
        """The translation addresses that rest, each with the time of its release."""
        return ()

    def rest(self, released: Iterable[tuple[Address, float]], now: float) -> None:
        """These were released while another controller was master of the switch.  Before what it holds is read."""
        return None

    def begin_reading(self, features: Features, *, begins: bool, wiped: bool) -> Reading:
        """The switch has connected, and what it holds is read next.

        ``begins``: for the first time since the controller was started.  ``wiped``: it has lost all its rules, as in a
        power cut, or never had any.
        """

    def follow(self, read: Callable[[bytes], Sequence[FlowRule]]) -> Following | None:
        """Another controller is the switch's master: know its flows all the same, by what the switch tells.

        ``read``: entries of flow statistics → their rules.  None where that is not possible.
        """
        return None

    def begin_sweep(self, now: float) -> Sweep | None:
        """Begin to read counters, if that is due.  The next sweep is due only after the end of this one."""

    @property
    def audit(self) -> Audit: ...
