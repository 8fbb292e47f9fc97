"""Events of the controller itself: its start and end, its health, what it keeps, and who may not ask it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

from anycast_sdn.core.events import OfController, Severity, Subject
from anycast_sdn.core.words import counted


@dataclass(frozen=True, slots=True)
class ControllerStarted(OfController):
    """The controller serves from now on: switches may connect, and REST answers."""

    type: ClassVar[str] = "controller.started"

    version: str
    network: str
    openflow: str
    rest: str
    groups: int
    servers: int
    database: str

    def sentence(self) -> str:
        return (
            f"controller {self.version} has started: network {self.network}; OpenFlow on {self.openflow}, "
            f"REST on {self.rest}; enrolments: {counted(self.groups, 'group')}, {counted(self.servers, 'server')}, "
            f"in {self.database}"
        )


@dataclass(frozen=True, slots=True)
class ControllerStopping(OfController):
    """A signal has asked the controller to end.  Switches keep their rules."""

    type: ClassVar[str] = "controller.stopping"

    signal: str

    def sentence(self) -> str:
        return f"{self.signal}: stopping; switches keep their rules"


@dataclass(frozen=True, slots=True)
class HealthChanged(OfController):
    """The status of ``/healthz`` is another one, for two seconds at least.  ``worst``: some of the reasons."""

    type: ClassVar[str] = "controller.health"

    status: str
    reasons: int
    worst: tuple[str, ...]

    @property
    def severity(self) -> Severity:
        """info for "ok", otherwise warning"""
        return Severity.INFO if self.status == "ok" else Severity.WARNING

    def sentence(self) -> str:
        """Reasons are not repeated: each of them is an event of its own."""
        return f"health: {self.status}" + (f", for {counted(self.reasons, 'reason')}" if self.reasons else "")


@dataclass(frozen=True, slots=True)
class ControllerStalled(OfController):
    """One piece of the controller's work has held up all others for more than 0.2 s; told once a minute."""

    type: ClassVar[str] = "controller.stalled"
    usual: ClassVar[Severity] = Severity.WARNING

    stalled_ms: int
    where: str
    more: int  # since the last such event

    def sentence(self) -> str:
        more = f"; {self.more} more such since the last of these lines" if self.more else ""
        return f"the controller was blocked for {self.stalled_ms} ms by {self.where}{more}"


@dataclass(frozen=True, slots=True)
class AcceptFailed(OfController):
    """Switches cannot connect: a connection could not be accepted, for want of files or memory.  It is tried again."""

    type: ClassVar[str] = "controller.closed"
    usual: ClassVar[Severity] = Severity.CRITICAL

    reason: str

    def sentence(self) -> str:
        return f"cannot take connections of switches: {self.reason}; trying again"


@dataclass(frozen=True, slots=True)
class StoreFailed(OfController):
    """Enrolments cannot be stored: changes are refused, and what is enrolled is served."""

    type: ClassVar[str] = "store.failed"
    usual: ClassVar[Severity] = Severity.CRITICAL

    reason: str

    def sentence(self) -> str:
        return f"enrolments cannot be changed: {self.reason}"


@dataclass(frozen=True, slots=True)
class StoreRecovered(OfController):
    """Enrolments can be stored again."""

    type: ClassVar[str] = "store.recovered"

    def sentence(self) -> str:
        return "enrolments can be changed again"


@dataclass(frozen=True, slots=True)
class JournalFailed(OfController):
    """Events cannot be written to their file: until they can, a crash may lose those since."""

    type: ClassVar[str] = "journal.failed"
    usual: ClassVar[Severity] = Severity.WARNING

    reason: str

    def sentence(self) -> str:
        return f"events are not kept on disk: {self.reason}"


@dataclass(frozen=True, slots=True)
class JournalRecovered(OfController):
    """Events are written to their file again."""

    type: ClassVar[str] = "journal.recovered"

    def sentence(self) -> str:
        return "events are kept on disk again"


@dataclass(frozen=True, slots=True)
class FlowsNotKept(OfController):
    """Flows of client edges with the engine conntrack are not kept on disk: a restart would not know those since."""

    type: ClassVar[str] = "flows.not_kept"
    usual: ClassVar[Severity] = Severity.WARNING

    reason: str

    def sentence(self) -> str:
        return f"flows in connection trackers are not kept on disk: {self.reason}"


@dataclass(frozen=True, slots=True)
class FlowsKept(OfController):
    """Flows of client edges with the engine conntrack are kept on disk again."""

    type: ClassVar[str] = "flows.kept"

    def sentence(self) -> str:
        return "flows in connection trackers are kept on disk again"


@dataclass(frozen=True, slots=True)
class FlowsNotRead(OfController):
    """What was kept of flows cannot be read, or not to its end: those that are missing are not known any more."""

    type: ClassVar[str] = "flows.not_read"
    usual: ClassVar[Severity] = Severity.WARNING

    file: str
    reason: str

    def sentence(self) -> str:
        return f"flows that were in connection trackers cannot all be read from {self.file}: {self.reason}"


@dataclass(frozen=True, slots=True)
class BindingLogFailed(OfController):
    """The binding log is not written: who has which translation address is not recorded for now."""

    type: ClassVar[str] = "binding_log.failed"
    usual: ClassVar[Severity] = Severity.CRITICAL

    file: str
    reason: str

    def sentence(self) -> str:
        return f"the binding log {self.file} is not written: {self.reason}"


@dataclass(frozen=True, slots=True)
class BindingLogRecovered(OfController):
    """The binding log is written again.  ``missing``: how many records it has lost since the controller's start."""

    type: ClassVar[str] = "binding_log.recovered"

    file: str
    missing: int

    def sentence(self) -> str:
        lost = f"; it has lost {counted(self.missing, 'record')} since the start" if self.missing else ""
        return f"the binding log {self.file} is written again{lost}"


@dataclass(frozen=True, slots=True)
class RestRefused(OfController):
    """REST clients had no valid token; told once a minute.  ``refused``: requests, since the last such event."""

    type: ClassVar[str] = "rest.refused"
    usual: ClassVar[Severity] = Severity.WARNING

    peer: str
    reason: str
    refused: int

    @property
    def subject(self) -> Subject:
        return Subject("connection", self.peer)

    def sentence(self) -> str:
        return f"REST: {self.peer}: {self.reason} (refused since the last such line: {self.refused})"


@dataclass(frozen=True, slots=True)
class RestCrowded(OfController):
    """REST has more connections than it may have: those whose clients were waited for longest were closed."""

    type: ClassVar[str] = "rest.crowded"
    usual: ClassVar[Severity] = Severity.WARNING

    reason: str
    closed: int

    @property
    def kind(self) -> Hashable:
        return self.type

    def sentence(self) -> str:
        return f"REST: {self.reason}: the slowest ones were closed to make room for others ({self.closed})"


@dataclass(frozen=True, slots=True)
class SwitchTlsReloaded(OfController):
    """SIGHUP: the certificate for switches, its key and their CAs were read again.  ``problem``: why they could not."""

    type: ClassVar[str] = "openflow.reloaded"

    problem: str = ""

    @property
    def severity(self) -> Severity:
        """info; critical if something could not be read"""
        return Severity.CRITICAL if self.problem else Severity.INFO

    def sentence(self) -> str:
        problem = f"{self.problem}; TLS for switches goes on with what it had"
        return f"SIGHUP: {problem if self.problem else 'read again what TLS for switches needs'}"


@dataclass(frozen=True, slots=True)
class RestReloaded(OfController):
    """SIGHUP: tokens and certificates were read again.  ``problems``: what stays as it was, and why."""

    type: ClassVar[str] = "rest.reloaded"

    problems: tuple[str, ...]

    @property
    def severity(self) -> Severity:
        """info; critical if something could not be read"""
        return Severity.CRITICAL if self.problems else Severity.INFO

    def sentence(self) -> str:
        problems = "".join(f"; {problem}" for problem in self.problems)
        done = "read again what REST needs: tokens, certificates; the network file is read at start only"
        return f"SIGHUP: {done}{problems}"
