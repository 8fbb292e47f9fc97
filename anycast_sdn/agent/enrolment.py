"""One server's enrolment, as a machine without clock and I/O: which request is next, and what its answer means.

    UNKNOWN → (looked up) → ABSENT → (enrolled) ────┐
       │                                            ├→ ENROLLED → LEAVING → DRAINING → ENDED
       └───────── FOUND → (as it should be) ────────┘      │
       ▲                                                   │
       └───────── the controller has forgotten it ─────────┘

The rules this file keeps:

- There is one request at a time: ``next`` says which, ``answered`` takes what came of it → lines for the log.
- What an operator has set stays: weight and capacity are given at the first enrolment only, and ``disabled`` is never
  changed.  ``draining`` and ``drained`` end when an agent starts, because then the server is ready.
- Renewals come before everything else.  Reports that could not be sent are not kept: newer ones replace them.
- Without an answer, the pause grows from 1 s to ``MOST_PAUSE_S``, with jitter, so that many agents do not come at once.
- A request that is refused before the first enrolment ends the agent (``Hopeless``); later it is logged once.
- A server with two addresses is enrolled, renewed and drained by the first one, and its load, which is that of both, is
  reported there, too.  Results of checks are reported for each.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anycast_sdn.agent.agent_line import AgentLine
from anycast_sdn.agent.messages import Answer, Request
from anycast_sdn.core.model import AnycastError
from anycast_sdn.core.words import counted

FIRST_PAUSE_S = 1.0
MOST_PAUSE_S = 30.0
RENEWALS = 3  # in the time of a lease, so that two may be lost
LOOK_AT_GROUP_S = 60.0  # its checks may change
FRESH_S = 1.0  # what was shown of the server is as it is now
CHANGE_AGAIN_S = 60.0  # after a change that was refused
WAIT_S = 1.0  # between two questions whether the drain is over
GIVE_UP_S = 60.0  # so long without an answer, a drain is not waited for any more
MAX_WEIGHT = 1000


class Hopeless(AnycastError):
    """The server cannot be enrolled like this."""


@dataclass(frozen=True, slots=True)
class Settings:
    group: str
    addresses: tuple[str, ...]  # of the server, one of each family
    weight: int | None = None  # of a server that is not enrolled yet; None: the controller's default
    capacity: int | None = None
    ttl_s: float = 30.0
    deregister_after_s: float | None = None
    drain_deadline_s: float = 300.0
    remove: bool = False  # when it is drained

    @property
    def lease(self) -> dict[str, float]:
        lease = {"ttl_s": self.ttl_s}
        return lease if self.deregister_after_s is None else lease | {"deregister_after_s": self.deregister_after_s}

    @property
    def renew_every_s(self) -> float:
        return self.ttl_s / RENEWALS


class Phase(enum.Enum):
    UNKNOWN = "unknown"
    ABSENT = "absent"
    FOUND = "found"  # enrolled, but drained by a former agent, or with one of its addresses alone
    ENROLLED = "enrolled"
    LEAVING = "leaving"  # asked to end
    DRAINING = "draining"
    ENDED = "ended"


class Step(enum.Enum):
    """What a request is for."""

    LOOK_UP = enum.auto()
    ENROL = enum.auto()
    PUT_RIGHT = enum.auto()
    RENEW = enum.auto()
    READ_GROUP = enum.auto()
    CHANGE = enum.auto()
    REPORT = enum.auto()
    LOOK_AGAIN = enum.auto()  # before a change or a drain: an operator may have disabled it
    DRAIN = enum.auto()
    WAIT = enum.auto()
    REMOVE = enum.auto()


_SHOW_THE_SERVER = (Step.LOOK_UP, Step.ENROL, Step.PUT_RIGHT, Step.CHANGE, Step.LOOK_AGAIN, Step.WAIT)
_FORGOTTEN = (Step.RENEW, Step.LOOK_AGAIN, Step.DRAIN, Step.WAIT, Step.REMOVE)  # 404 to these: it is enrolled no more
_AT_ONCE_AGAIN = (Step.LOOK_UP, Step.ENROL, Step.RENEW, Step.LOOK_AGAIN)


class Enrolment:
    """``chance`` → a random number from 0 to 1."""

    def __init__(self, settings: Settings, chance: Callable[[], float]) -> None:
        self._settings = settings
        self._chance = chance
        self._group = f"/v1/groups/{settings.group}"
        self._path = f"{self._group}/servers/{settings.addresses[0]}"
        self._phase = Phase.UNKNOWN
        self._was_enrolled = False  # by this agent, however long ago
        self._asked: tuple[Step, Request] | None = None  # the request under way
        self._not_before = 0.0
        self._failures = 0
        self._silent_since: float | None = None
        self._renew_at = self._read_group_at = 0.0
        self._server: Mapping[str, Any] = {}  # as the controller has last shown it
        self._seen_at = 0.0
        self._line = AgentLine()
        self._drained_by_line = False
        self._reports: dict[str, Request] = {}  # path → not sent yet
        self._refused: dict[str, str] = {}  # a request's method and path → why it was refused, which is logged
        self._refused_changes: tuple[dict[str, Any], float] = {}, 0.0  # and until when they are not asked for again
        self._leave_by: float | None = None  # not asked to end yet
        self.group_checks: Sequence[Mapping[str, Any]] = ()  # of type http, as the group has them
        self.failure = ""  # why the server could not be drained, in the end

    # -------------------------------------------------------------------------- what the server's programs say

    def leave(self, now: float) -> None:
        """Drain it, then end; what this agent has not enrolled, it does not drain."""
        self._leave_by = now + self._settings.drain_deadline_s

    def report_load(self, load: Mapping[str, float]) -> None:
        self._report("load", dict(load), self._settings.addresses[0])

    def report_checks(self, results: Sequence[Mapping[str, Any]], address: str | None = None) -> None:
        """Of one of its addresses, or of each."""
        self._report("checks", {"checks": list(results)}, address)

    def begin_anew(self, address: str | None) -> None:
        """Checks of this address, or of each, are made no longer: what was reported counts no more."""
        for each in self._settings.addresses if address is None else (address,):
            path = f"{self._group}/servers/{each}/checks"
            self._reports.pop(path, None)
            self._reports[f"{path} anew"] = _no_checks(path)

    def _report(self, what: str, body: Any, address: str | None = None) -> None:
        for each in self._settings.addresses if address is None else (address,):
            path = f"{self._group}/servers/{each}/{what}"
            if what == "checks" and path in self._reports:  # the results of others go with these
                results = {_name(result): result for result in self._reports[path].body["checks"] + body["checks"]}
                body = {"checks": list(results.values())}
            self._reports[path] = Request("PUT", path, body)

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
        return self._phase in (Phase.ENROLLED, Phase.LEAVING, Phase.DRAINING)

    @property
    def _leaves(self) -> bool:
        return self._phase in (Phase.LEAVING, Phase.DRAINING, Phase.ENDED)

    def next(self, now: float) -> Request | None:
        """The request to send now, if there is one; its answer has to be given to ``answered``."""
        if self._asked is not None:
            return None
        if self._leave_by is not None and not self._leaves:
            self._phase = Phase.LEAVING if self._phase is Phase.ENROLLED else Phase.ENDED
        if now < self._not_before or self.has_ended:
            return None
        step = self._step(now)
        if step is None:
            return None
        request = self._reports.pop(next(iter(self._reports))) if step is Step.REPORT else self._request(step, now)
        self._asked = step, request
        return request

    def _step(self, now: float) -> Step | None:
        match self._phase:
            case Phase.UNKNOWN:
                return Step.LOOK_UP
            case Phase.ABSENT:
                return Step.ENROL
            case Phase.FOUND:
                return Step.PUT_RIGHT
        if now >= self._renew_at:
            return Step.RENEW
        if self._phase is Phase.LEAVING:
            return Step.DRAIN if self._is_fresh(now) else Step.LOOK_AGAIN
        if self._reports:
            return Step.REPORT
        if self._phase is Phase.DRAINING:
            return Step.REMOVE if self._is_to_be_removed(now) else Step.WAIT
        refused, until = self._refused_changes
        if (changes := self._changes()) and (changes != refused or now >= until):
            return Step.CHANGE if self._is_fresh(now) else Step.LOOK_AGAIN
        if self._line != AgentLine() and now - self._seen_at >= self._settings.renew_every_s:
            return Step.LOOK_AGAIN  # an operator may have changed what the line speaks of
        return Step.READ_GROUP if now >= self._read_group_at else None

    def _is_fresh(self, now: float) -> bool:
        return now - self._seen_at < FRESH_S

    def _is_to_be_removed(self, now: float) -> bool:
        """By this agent, because no drain does it."""
        has_ended = not self._server.get("flows") or not self._left_s(now)
        return self._settings.remove and self._server.get("state") == "disabled" and has_ended

    def _left_s(self, now: float) -> float:
        """Until the deadline of the drain."""
        return round(max((self._leave_by or now) - now, 0.0), 1)

    def _request(self, step: Step, now: float) -> Request:
        settings, wanted = self._settings, dict[str, Any]()
        match step:
            case Step.LOOK_UP | Step.LOOK_AGAIN | Step.WAIT:
                return Request("GET", self._path)
            case Step.ENROL:
                both = list(settings.addresses) if len(settings.addresses) > 1 else None
                wanted |= {"weight": settings.weight, "capacity": settings.capacity, "lease": settings.lease,
                           "addresses": both}  # fmt: skip
                given = {name: value for name, value in wanted.items() if value is not None}
                return Request("PUT", self._path, given, anew=True)
            case Step.PUT_RIGHT:
                return Request("PATCH", self._path, self._wrong())
            case Step.RENEW:
                return Request("PUT", f"{self._path}/lease", settings.lease)
            case Step.READ_GROUP:
                return Request("GET", self._group)
            case Step.CHANGE:
                return Request("PATCH", self._path, self._changes())
            case Step.DRAIN:
                wanted |= {"deadline_s": self._left_s(now), "then": "remove" if settings.remove else "keep"}
                return Request("POST", f"{self._path}/drain", wanted)
            case Step.REMOVE:
                return Request("DELETE", self._path)
            case Step.REPORT:
                raise AssertionError("reports are requests already")

    def _changes(self) -> dict[str, Any]:
        """What the agent-check line wants otherwise than the controller has it."""
        wanted: dict[str, Any] = {}
        state = self._server.get("state")
        if self._line.is_draining and state == "active":
            wanted["state"] = "draining"
        if self._line.is_draining is False and self._drained_by_line and state in ("draining", "drained"):
            wanted["state"] = "active"
        if (percent := self._line.percent) is not None:
            weight = 1 if self._settings.weight is None else self._settings.weight
            wanted["weight"] = min(MAX_WEIGHT, max(round(weight * percent / 100), 1 if percent else 0))
        if self._line.max_connections is not None:
            wanted["capacity"] = self._line.max_connections
        return {name: value for name, value in wanted.items() if self._server.get(name) != value}

    # -------------------------------------------------------------------------- answers

    def answered(self, answer: Answer, now: float) -> list[str]:
        """The answer to the last request → what has changed, in sentences.  Raises Hopeless."""
        assert self._asked is not None
        (step, request), self._asked = self._asked, None
        if answer.is_done and step in _SHOW_THE_SERVER and not _is_server(answer.body):
            answer = Answer(0, reason="what answers is no controller")
        if not answer.is_done and not answer.is_refused:
            return self._unanswered(answer.reason, now)
        self._failures = 0
        lines = [] if self._silent_since is None else ["the controller answers again"]
        self._silent_since = None
        if answer.is_done:
            if self._refused.pop(request.name, None):
                lines.append(f"{request.name} is accepted again")
            return lines + self._done(step, answer, now)
        return lines + self._not_done(step, request, answer, now)

    def _unanswered(self, reason: str, now: float) -> list[str]:
        self._failures += 1
        pause_s = min(FIRST_PAUSE_S * 2 ** min(self._failures - 1, 10), MOST_PAUSE_S, self._settings.renew_every_s)
        self._pause(pause_s, now)
        if self._silent_since is None:
            self._silent_since = now
            return [f"{reason}; trying again"]
        if self._leaves and now - self._silent_since > GIVE_UP_S:
            self._phase, self.failure = Phase.ENDED, f"not known to be drained: {reason}"
        return []

    def _pause(self, seconds: float, now: float) -> None:
        self._not_before = now + seconds * (0.5 + self._chance() / 2)

    def _not_done(self, step: Step, request: Request, answer: Answer, now: float) -> list[str]:
        if answer.status == 404 and step is Step.LOOK_UP:
            self._phase = Phase.ABSENT
            return []
        if answer.status == 412 and step is Step.ENROL:  # somebody else has just done it
            self._phase = Phase.UNKNOWN
            return []
        if answer.status == 404 and step in _FORGOTTEN:
            if self._phase is Phase.ENROLLED:
                self._phase = Phase.UNKNOWN
                return ["the controller has forgotten it: it is enrolled again"]
            self._phase = Phase.ENDED
            return ["it is drained, and removed" if step is Step.WAIT else "it is enrolled no more"]
        if not self._was_enrolled:
            raise Hopeless(f"{self._settings.addresses[0]} cannot be enrolled in group {self._settings.group}: "
                           f"{answer.reason}")  # fmt: skip
        match step:
            case Step.CHANGE:
                self._refused_changes = self._changes(), now + CHANGE_AGAIN_S
            case Step.READ_GROUP:
                self._read_group_at = now + LOOK_AT_GROUP_S
            case Step.DRAIN | Step.WAIT | Step.REMOVE:
                self._phase, self.failure = Phase.ENDED, f"not drained: {answer.reason}"
        if step in _AT_ONCE_AGAIN:
            self._pause(min(MOST_PAUSE_S, self._settings.renew_every_s), now)
        known, self._refused[request.name] = self._refused.get(request.name), answer.reason
        return [] if known == answer.reason else [f"{request.name} is refused: {answer.reason}"]

    def _done(self, step: Step, answer: Answer, now: float) -> list[str]:
        before = self._server
        if step in _SHOW_THE_SERVER:
            self._server, self._seen_at = answer.body, now
        state = self._server.get("state")
        match step:
            case Step.LOOK_UP if self._wrong():
                self._phase = Phase.FOUND
            case Step.LOOK_UP | Step.ENROL | Step.PUT_RIGHT:
                if not self._was_enrolled:  # what a former agent has reported counts no more
                    paths = [f"{self._group}/servers/{each}/checks" for each in self._settings.addresses]
                    self._reports = {f"{path} anew": _no_checks(path) for path in paths} | self._reports
                self._phase, self._was_enrolled = Phase.ENROLLED, True
                self._renew_at = now if step is not Step.ENROL else now + self._settings.renew_every_s
                return [self._enrolled(step, before)]
            case Step.RENEW:
                self._renew_at = now + self._settings.renew_every_s
            case Step.READ_GROUP:
                self._read_group_at = now + LOOK_AT_GROUP_S
                checks = answer.body.get("checks", ()) if isinstance(answer.body, dict) else ()
                self.group_checks = [check for check in checks if check.get("type") == "http"]
            case Step.CHANGE:
                self._drained_by_line = state in ("draining", "drained")
                return [f"{name} is {self._server.get(name)} now, as its agent check says"
                        for name in ("state", "weight", "capacity")
                        if before.get(name) != self._server.get(name)]  # fmt: skip
            case Step.LOOK_AGAIN if self._leaves and state == "disabled":  # it takes no new flows anyway, and stays so
                self._phase = Phase.DRAINING
                return self._waited(now)
            case Step.DRAIN:
                self._phase = Phase.DRAINING
                self._not_before = now + WAIT_S / 10
                return [f"it is draining: {self._flows_left} left"]
            case Step.WAIT:
                return self._waited(now)
            case Step.REMOVE:
                self._phase = Phase.ENDED
                return ["it is removed"]
        return []

    def _wrong(self) -> dict[str, Any]:
        """What is to be otherwise of a server that is enrolled when the agent finds it."""
        wrong: dict[str, Any] = {}
        if self._server.get("state") in ("draining", "drained") and not self._was_enrolled:
            wrong["state"] = "active"
        if not set(self._settings.addresses) <= set(self._server.get("addresses", ())):
            wrong["addresses"] = list(self._settings.addresses)
        return wrong

    def _enrolled(self, step: Step, before: Mapping[str, Any]) -> str:
        what = {Step.LOOK_UP: "was enrolled already", Step.ENROL: "is enrolled", Step.PUT_RIGHT: "has both addresses"}
        if step is Step.PUT_RIGHT and before.get("state") != self._server.get("state"):
            what[step] = "takes new flows again"
        disabled = "; an operator has disabled it" if self._server.get("state") == "disabled" else ""
        return f"it {what[step]} in group {self._settings.group}{disabled}"

    @property
    def _flows_left(self) -> str:
        return counted(self._server.get("flows", 0), "flow")

    def _waited(self, now: float) -> list[str]:
        """Is the drain over, now that the server has been looked at?"""
        state = self._server.get("state")
        if state == "draining" or (state == "disabled" and self._server.get("flows") and self._left_s(now)):
            self._not_before = now + WAIT_S
        elif state == "drained" or (state == "disabled" and not self._settings.remove):
            self._phase = Phase.ENDED
            return ["it is drained" if state == "drained" else f"it is disabled: {self._flows_left} left"]
        elif state != "disabled":
            self._phase, self.failure = Phase.ENDED, f"not drained: the server was set to {state}"
        return []


def _is_server(body: Any) -> bool:
    return isinstance(body, dict) and {"address", "addresses", "state", "flows"} <= body.keys()


def _no_checks(path: str) -> Request:
    return Request("PUT", path, {"checks": []})


def _name(result: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(result.get(member) for member in ("type", "port", "detail"))
