"""Events of switches: their connections, what they can do, and their rules.  ``switch``: the one where it happened."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

from anycast_sdn.core.events import OfSwitch, Reported, Severity, Subject
from anycast_sdn.core.words import counted, listed


@dataclass(frozen=True, slots=True)
class SwitchConnected(OfSwitch):
    """A switch has connected, what it holds has been read, and all that it lacked has been sent.

    ``flows``: of its clients, now; ``found``, ``wanted``: rules; ``others_removed``: it held rules of other programs;
    ``emptied``: it does not list its rules, so all were deleted.
    """

    type: ClassVar[str] = "switch.connected"

    switch: str
    peer: str
    found: int
    wanted: int
    flows: int = 0
    others_removed: bool = False
    emptied: bool = False

    @property
    def severity(self) -> Severity:
        """info; warning if rules were deleted"""
        return Severity.WARNING if self.others_removed or self.emptied else Severity.INFO

    def sentence(self) -> str:
        flows = f", {counted(self.flows, 'flow')}" if self.flows else ""
        others = "; it held rules of other programs: removed" if self.others_removed else ""
        emptied = "; it does not list its rules: all were deleted" if self.emptied else ""
        rules = f"{self.found} rules found, {self.wanted} wanted"
        return f"switch {self.switch} at {self.peer} is ready: {rules}{flows}{others}{emptied}"


@dataclass(frozen=True, slots=True)
class SwitchLost(OfSwitch):
    """The connection of a switch has ended: it goes on forwarding by the rules that it has.

    ``is_client_edge``: new flows of its clients get no server until it is back.
    """

    type: ClassVar[str] = "switch.lost"
    usual: ClassVar[Severity] = Severity.CRITICAL

    switch: str
    peer: str
    reason: str
    is_client_edge: bool = False

    def sentence(self) -> str:
        new_flows = "; new flows of its clients wait for it" if self.is_client_edge else ""
        return f"switch {self.switch} at {self.peer} is gone: {self.reason}; its rules stay as they are{new_flows}"


@dataclass(frozen=True, slots=True)
class SwitchDegraded(OfSwitch):
    """A switch can do less than the method needs; ``lacks``: a short name of that; ``effect``: what it leads to."""

    type: ClassVar[str] = "switch.degraded"
    usual: ClassVar[Severity] = Severity.WARNING

    switch: str
    lacks: str
    effect: str

    @property
    def kind(self) -> Hashable:
        return self.type, self.switch, self.lacks

    def sentence(self) -> str:
        return f"switch {self.switch} {self.effect}"


@dataclass(frozen=True, slots=True)
class TimeoutsSet(OfSwitch):
    """In the database of a switch, zones of its connection tracker have got the timeouts that its validity says."""

    type: ClassVar[str] = "timeouts.set"

    switch: str
    database: str
    zones: tuple[int, ...]

    def sentence(self) -> str:
        zones = listed([str(zone) for zone in self.zones])
        return f"switch {self.switch}: the zones {zones} of its connection tracker have the timeouts of its validity"


@dataclass(frozen=True, slots=True)
class TimeoutsFailed(OfSwitch):
    """The timeouts of a switch's connection tracker could not be read or set: idle flows may end at other times."""

    type: ClassVar[str] = "timeouts.failed"
    usual: ClassVar[Severity] = Severity.WARNING

    switch: str
    reason: str

    def sentence(self) -> str:
        return f"switch {self.switch}: the timeouts of its connection tracker cannot be set: {self.reason}"


@dataclass(frozen=True, slots=True)
class SwitchMastered(OfSwitch):
    """In a cluster, this controller has become the master of a switch: it reads the switch's rules anew."""

    type: ClassVar[str] = "switch.mastered"

    switch: str

    def sentence(self) -> str:
        return f"switch {self.switch}: this controller is its master now, and reads its rules"


@dataclass(frozen=True, slots=True)
class SwitchManaged(OfSwitch):
    """In a cluster whose switches are shared, the leader decides on a switch, but not on the flows of its clients."""

    type: ClassVar[str] = "switch.managed"

    switch: str

    def sentence(self) -> str:
        return (
            f"switch {self.switch}: another controller is its master, and serves flows; this one, which leads, decides "
            "on all else"
        )


@dataclass(frozen=True, slots=True)
class SwitchReleased(OfSwitch):
    """In a cluster, another controller is the master of a switch now, or is about to be; this one was it.

    ``unsent``: so many messages to the switch had waited to be sent, and were dropped.
    """

    type: ClassVar[str] = "switch.released"

    switch: str
    unsent: int = 0

    def sentence(self) -> str:
        dropped = f"; {counted(self.unsent, 'message')} to it were not sent" if self.unsent else ""
        return f"switch {self.switch}: another controller is its master now, and this one no more{dropped}"


@dataclass(frozen=True, slots=True)
class SwitchesMissing(Reported):
    """Switches of the network file have not been connected for some time; told at doubling intervals."""

    type: ClassVar[str] = "switch.missing"
    usual: ClassVar[Severity] = Severity.WARNING

    switches: tuple[str, ...]  # their names

    @property
    def subject(self) -> Subject:
        return Subject("switch", self.switches[0] if len(self.switches) == 1 else "")

    def sentence(self) -> str:
        return f"still waiting for {counted(len(self.switches), 'switch')}: {listed(self.switches)}"


@dataclass(frozen=True, slots=True)
class SwitchesComplete(Reported):
    """All switches of the network file are connected."""

    type: ClassVar[str] = "switch.complete"

    switches: int

    @property
    def subject(self) -> Subject:
        return Subject("controller", "")

    def sentence(self) -> str:
        return f"{'the switch is' if self.switches == 1 else f'all {self.switches} switches are'} connected"


@dataclass(frozen=True, slots=True)
class ConnectionRefused(Reported):
    """A connection to the OpenFlow port was closed: no switch that is awaited.  ``origin``: an address, or a /64."""

    type: ClassVar[str] = "switch.refused"
    usual: ClassVar[Severity] = Severity.WARNING
    often: ClassVar[int] = 1

    peer: str
    origin: str
    reason: str
    what: str  # the reason, without what differs from one connection to the next

    @property
    def subject(self) -> Subject:
        return Subject("connection", self.peer)

    @property
    def kind(self) -> Hashable:
        return self.type, self.origin, self.what

    def sentence(self) -> str:
        return f"connection from {self.peer} closed: {self.reason}"


# ---------------------------------------------------------------- rules


@dataclass(frozen=True, slots=True)
class RulesRefused(OfSwitch):
    """A switch has refused a rule, a group, a meter or another message: packets that need it are lost."""

    type: ClassVar[str] = "rules.refused"
    usual: ClassVar[Severity] = Severity.CRITICAL

    switch: str
    what: str
    reason: str

    def sentence(self) -> str:
        return f"switch {self.switch} refused {self.what}: {self.reason}"


@dataclass(frozen=True, slots=True)
class RulesPutRight(OfSwitch):
    """Rules of a switch were changed by others, or lost, and have been put right; at most once a minute."""

    type: ClassVar[str] = "rules.repaired"
    usual: ClassVar[Severity] = Severity.WARNING

    switch: str
    missing: int
    wrong: int
    foreign: int
    within_s: int

    def sentence(self) -> str:
        return (
            f"switch {self.switch} did not hold what it should, perhaps changed by others; put right in the last "
            f"{self.within_s} s: {self.missing} missing rules, {self.wrong} wrong ones, {self.foreign} of others"
        )
