"""One enrolled address, as a machine without clock and I/O: which request is next, and what its answer means.

    unknown → (looked up) → absent → (enrolled) ┐
       │                                        ├→ enrolled → draining → ended
       └──────────── (found; active again) ─────┘       │
       ▲                                                │
       └──────────── the controller has forgotten it ───┘

The rules this file keeps:

- There is one request at a time: ``next`` says which, ``answered`` takes what came of it → lines for the log.
- What an operator has set stays: weight and capacity are given at the first enrolment only, and ``disabled`` is never
  changed.  ``draining`` and ``drained`` end when an agent starts, because then the server is ready.
- Renewals come before everything else.  Reports that could not be sent are not kept: newer ones replace them.
- Without an answer, the pause grows from 1 s to ``most_pause_s``, with jitter, so that many agents do not come at once.
- A request that is refused before the first enrolment ends the agent (``Hopeless``); later it is logged once.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from anycast_sdn.agent.agent_line import AgentLine
from anycast_sdn.agent.messages import Answer, Request
from anycast_sdn.core.model import AnycastError
from anycast_sdn.core.words import counted

FIRST_PAUSE_S = 1.0
MOST_PAUSE_S = 30.0
RENEWALS = 3  # in the time of a lease, so that two may be lost
WAIT_S = 5.0  # the longest wait in one question for the end of a drain: renewals go on between
GIVE_UP_S = 60.0  # so long without an answer, a drain is not waited for any more
MAX_WEIGHT = 1000


class Hopeless(AnycastError):
    """The server cannot be enrolled like this."""


@dataclass(frozen=True, slots=True)
class Settings:
    group: str
    weight: int | None = None  # of a server that is not enrolled yet; None: the controller's default
    capacity: int | None = None
    ttl_s: float = 30.0
    deregister_after_s: float | None = None
    drain_deadline_s: float | None = 300.0
    remove: bool = False  # when it is drained


class Phase(enum.Enum):
    UNKNOWN = "unknown"
    ABSENT = "absent"
    INACTIVE = "inactive"  # enrolled, drained by a former agent
    ENROLLED = "enrolled"
    DRAINING = "draining"
    ENDED = "ended"


class Step(enum.Enum):
    """What a request is for."""

    LOOK_UP = enum.auto()
    ENROL = enum.auto()
    ACTIVATE = enum.auto()
    RENEW = enum.auto()
    CHANGE = enum.auto()
    REPORT_LOAD = enum.auto()
    DRAIN = enum.auto()
    WAIT = enum.auto()
    REMOVE = enum.auto()


class Enrolment:
    """``chance`` → a random number from 0 to 1."""

    def __init__(self, settings: Settings, address: str, chance: Callable[[], float]) -> None:
        self.address = address
        self._settings = settings
        self._chance = chance
        self._path = f"/v1/groups/{settings.group}/servers/{address}"
        self._phase = Phase.UNKNOWN
        self._was_enrolled = False  # by this agent, however long ago
        self._leaves = False
        self._asked: Step | None = None  # the request under way
        self._not_before = 0.0
        self._failures = 0
        self._silent_since: float | None = None
        self._renewed_at = 0.0
        self._server: Mapping[str, Any] = {}  # as the controller has last shown it
        self._line = AgentLine()
        self._drained_by_line = False
        self._load: Mapping[str, float] | None = None  # not sent yet
        self._refusals: dict[Step, str] = {}  # logged already
        self._refused_changes: dict[str, Any] = {}
        self.failure = ""  # why the server could not be drained, in the end

    # -------------------------------------------------------------------------- what the server's programs say

    def leave(self) -> None:
        """Drain it, then end; what this agent has not enrolled, it does not drain."""
        self._leaves = True
        if not self._was_enrolled:
            self._phase = Phase.ENDED

    def report_load(self, load: Mapping[str, float]) -> None:
        self._load = load

    def report_line(self, line: AgentLine) -> None:
        """What the line does not speak of stays as it was."""
        spoken = {name: value for name, value in line._asdict().items() if value not in (None, "")}
        self._line = self._line._replace(**spoken)

    # -------------------------------------------------------------------------- requests

    @property
    def has_ended(self) -> bool:
        return self._phase is Phase.ENDED

    @property
    def is_enrolled(self) -> bool:
        return self._phase in (Phase.ENROLLED, Phase.DRAINING)

    def next(self, now: float) -> Request | None:
        """The request to send now, if there is one; its answer has to be given to ``answered``."""
        if self._asked is not None or now < self._not_before or self.has_ended:
            return None
        self._asked = self._step(now)
        return None if self._asked is None else self._request(self._asked)

    def _step(self, now: float) -> Step | None:
        match self._phase:
            case Phase.UNKNOWN:
                return Step.LOOK_UP
            case Phase.ABSENT:
                return Step.ENROL
            case Phase.INACTIVE:
                return Step.ACTIVATE
        if now >= self._renewed_at + self._renew_every_s:
            return Step.RENEW
        if self._leaves and self._phase is Phase.ENROLLED:
            return Step.DRAIN
        if self._load is not None:
            return Step.REPORT_LOAD
        if not self._leaves and self._changes() not in ({}, self._refused_changes):
            return Step.CHANGE
        if self._phase is Phase.DRAINING:
            return Step.WAIT if self._server.get("flows") or not self._settings.remove else Step.REMOVE
        return None

    def _request(self, step: Step) -> Request:
        match step:
            case Step.LOOK_UP | Step.RENEW | Step.WAIT:
                return Request("GET", self._path)
            case Step.ENROL:
                wanted = {"weight": self._settings.weight, "capacity": self._settings.capacity}
                given = {name: value for name, value in wanted.items() if value is not None}
                return Request("PUT", self._path, given)
            case Step.ACTIVATE:
                return Request("PATCH", self._path, {"state": "active"})
            case Step.CHANGE:
                return Request("PATCH", self._path, self._changes())
            case Step.REPORT_LOAD:
                load, self._load = self._load, None
                return Request("PUT", f"{self._path}/load", load)
            case Step.DRAIN:
                return Request("PATCH", self._path, {"state": "draining"})
            case Step.REMOVE:
                return Request("DELETE", self._path)

    def _changes(self) -> dict[str, Any]:
        """What the agent-check line wants otherwise than the controller has it."""
        wanted: dict[str, Any] = {}
        state = self._server.get("state")
        if self._line.is_draining and state == "active":
            wanted["state"] = "draining"
        if self._line.is_draining is False and self._drained_by_line and state in ("draining", "drained"):
            wanted["state"] = "active"
        if (percent := self._line.percent) is not None:
            weight = self._settings.weight or 1
            wanted["weight"] = min(MAX_WEIGHT, max(round(weight * percent / 100), 1 if percent else 0))
        if self._line.max_connections is not None:
            wanted["capacity"] = self._line.max_connections
        return {name: value for name, value in wanted.items() if self._server.get(name) != value}

    @property
    def _renew_every_s(self) -> float:
        return self._settings.ttl_s / RENEWALS

    # -------------------------------------------------------------------------- answers

    def answered(self, answer: Answer, now: float) -> list[str]:
        """The answer to the last request → what has changed, in sentences.  Raises Hopeless."""
        step, self._asked = self._asked, None
        assert step is not None
        if not answer.is_done and not answer.is_refused:
            return self._unanswered(answer.reason, now)
        self._failures = 0
        lines = [] if self._silent_since is None else ["the controller answers again"]
        self._silent_since = None
        return lines + (self._done(step, answer, now) if answer.is_done else self._refused(step, answer, now))

    def _unanswered(self, reason: str, now: float) -> list[str]:
        self._failures += 1
        pause_s = min(FIRST_PAUSE_S * 2 ** min(self._failures - 1, 10), MOST_PAUSE_S, self._renew_every_s)
        self._not_before = now + pause_s * (0.5 + self._chance() / 2)
        if self._silent_since is None:
            self._silent_since = now
            return [f"{reason}; trying again"]
        if self._leaves and now - self._silent_since > GIVE_UP_S:
            self._phase, self.failure = Phase.ENDED, f"not known to be drained: {reason}"
        return []

    def _refused(self, step: Step, answer: Answer, now: float) -> list[str]:
        if answer.status == 404 and step in (Step.LOOK_UP, Step.RENEW, Step.WAIT, Step.REMOVE):
            return self._not_there(step)
        if not self._was_enrolled:
            raise Hopeless(f"{self.address} cannot be enrolled in group {self._settings.group}: {answer.reason}")
        if step is Step.CHANGE:
            self._refused_changes = self._changes()
        if step in (Step.DRAIN, Step.REMOVE):
            self._phase, self.failure = Phase.ENDED, f"not drained: {answer.reason}"
        if step in (Step.LOOK_UP, Step.ENROL, Step.RENEW, Step.WAIT):  # these would come again at once
            self._not_before = now + min(MOST_PAUSE_S, self._renew_every_s) * (0.5 + self._chance() / 2)
        if self._refusals.get(step) == answer.reason:
            return []
        self._refusals[step] = answer.reason
        return [f"refused: {answer.reason}"]

    def _not_there(self, step: Step) -> list[str]:
        if step is Step.LOOK_UP:
            self._phase = Phase.ABSENT
            return []
        if self._leaves:
            self._phase = Phase.ENDED
            return ["it is enrolled no more"]
        self._phase = Phase.UNKNOWN
        return ["the controller has forgotten it: it is enrolled again"]

    def _done(self, step: Step, answer: Answer, now: float) -> list[str]:
        self._refusals.pop(step, None)
        before, lines = self._server, []
        if step in (Step.LOOK_UP, Step.ENROL, Step.ACTIVATE, Step.RENEW, Step.CHANGE, Step.DRAIN, Step.WAIT):
            self._server = answer.body if isinstance(answer.body, dict) else {}
        state = self._server.get("state")
        match step:
            case Step.LOOK_UP if state in ("draining", "drained") and not self._was_enrolled:
                self._phase = Phase.INACTIVE
            case Step.LOOK_UP | Step.ENROL | Step.ACTIVATE:
                self._phase, self._renewed_at, self._was_enrolled = Phase.ENROLLED, now, True
                lines = [self._enrolled(step)]
            case Step.RENEW:
                self._renewed_at = now
                if before.get("state") != state and not self._leaves:
                    lines = [f"it is {state} now"]
            case Step.CHANGE:
                lines = [f"{name} is {self._server[name]} now, as its agent check says"
                         for name in sorted(self._server) if before.get(name) != self._server[name]
                         and name in ("state", "weight", "capacity")]  # fmt: skip
                self._drained_by_line = state == "draining" if "state" in self._server else False
            case Step.DRAIN | Step.WAIT:
                self._phase = Phase.DRAINING
                if step is Step.DRAIN:
                    lines = [f"it is draining: {counted(self._server.get('flows', 0), 'flow')} left"]
                if self._server.get("flows"):
                    self._not_before = now + 1.0
                elif not self._settings.remove:
                    self._phase = Phase.ENDED
                    lines.append("it is drained")
            case Step.REMOVE:
                self._phase = Phase.ENDED
                lines = ["it is removed"]
        return lines

    def _enrolled(self, step: Step) -> str:
        what = {Step.LOOK_UP: "was enrolled already", Step.ENROL: "is enrolled", Step.ACTIVATE: "takes new flows again"}
        disabled = "; an operator has disabled it" if self._server.get("state") == "disabled" else ""
        return f"it {what[step]} in group {self._settings.group}{disabled}"
