"""AgentChecks: results of checks that servers' agents make themselves, and report (M33).

Rules kept here:
- A result counts as the group says of an ``http`` check of its name, or else as ``Check`` says by default.
- Results expire: a check that is not reported for ``EXPIRES`` intervals has failed, because its agent is dead, or
  cannot be heard.  One that was never reported is not known here, so that it is unknown.
- A check that its group no longer asks for is forgotten: nobody reports it any more.
- A server has ``MOST`` of them in one group at most; further ones are ignored.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from anycast_sdn.core.checks import Check
from anycast_sdn.core.due import Due
from anycast_sdn.core.health import CheckName, CheckResult, CheckState, counted, name_of
from anycast_sdn.core.model import Address, AnycastGroup

EXPIRES = 3  # intervals without a report
MOST = 16

_BY_DEFAULT = Check()
_AT_ONCE = Check(rise=1, fall=1)
_NONE: Mapping[CheckName, CheckState] = {}


class Reported(NamedTuple):
    """A result of a check that the server's agent has made."""

    name: CheckName
    result: CheckResult
    interval_s: float | None = None  # how often it is made; None: as the group says of it, or by default


@dataclass(slots=True)
class _OfServer:
    """Of a server in one group."""

    states: dict[CheckName, CheckState] = field(default_factory=dict)
    heard: dict[CheckName, tuple[float, float]] = field(default_factory=dict)  # when, and how long that counts


class AgentChecks:
    def __init__(self) -> None:
        self._servers: dict[tuple[str, Address], _OfServer] = {}  # by group and server
        self._expiries: Due[tuple[str, Address]] = Due()  # of servers: not later than that of their next check

    def of(self, group: str, server: Address) -> Mapping[CheckName, CheckState]:
        found = self._servers.get((group, server))
        return found.states if found else _NONE

    def forget(self, group: str, server: Address) -> None:
        self._servers.pop((group, server), None)
        self._expiries.cancel((group, server))

    def forget_checks(self, group: str, server: Address, names: Collection[CheckName]) -> None:
        if of_server := self._servers.get((group, server)):
            for name in names:
                of_server.states.pop(name, None)
                of_server.heard.pop(name, None)

    def report(self, group: AnycastGroup, server: Address, results: Sequence[Reported], now: float) -> None:
        """``results``: none forgets what was reported before."""
        of_server = self._servers.setdefault((group.name, server), _OfServer())
        if not results:
            of_server.states.clear()
            of_server.heard.clear()
        for name, result, interval_s in results:
            if name not in of_server.states and len(of_server.states) >= MOST:
                continue
            check = next((check for check in group.checks if name_of(check) == name), _BY_DEFAULT)
            of_server.states[name] = counted(of_server.states.get(name, CheckState()), result, check, now)
            of_server.heard[name] = now, EXPIRES * (interval_s or check.interval_s)
            self._expiries.plan_by((group.name, server), sum(of_server.heard[name]))

    def recall(self, group: AnycastGroup, server: Address, name: CheckName, state: CheckState, now: float) -> None:
        """Another controller has heard of this check; its next report is awaited as if it had come now."""
        of_server = self._servers.setdefault((group.name, server), _OfServer())
        if name in of_server.states or len(of_server.states) >= MOST:
            return
        check = next((check for check in group.checks if name_of(check) == name), _BY_DEFAULT)
        of_server.states[name] = state
        of_server.heard[name] = now, EXPIRES * check.interval_s
        self._expiries.plan_by((group.name, server), sum(of_server.heard[name]))

    def expire(self, now: float) -> list[tuple[str, Address]]:
        """Let checks fail that are not reported any more → of which servers, by group."""
        expired = []
        while (enrolment := self._expiries.pop(now)) is not None:
            of_server = self._servers[enrolment]
            for name, (when, counts_s) in list(of_server.heard.items()):
                if when + counts_s > now:
                    self._expiries.plan_by(enrolment, when + counts_s)
                    continue
                del of_server.heard[name]
                silent = CheckResult(False, f"not reported for {counts_s:g} s")
                of_server.states[name] = counted(of_server.states[name], silent, _AT_ONCE, now)
                expired.append(enrolment)
        return expired
