"""Health: what the results of checks say of a server (M33): up or down, since when and why.

Rules kept here:
- The first result of a check counts at once.  Before it the check is unknown.
- ``fall`` failures in a row make a passing check critical, and ``rise`` successes in a row a critical one passing.
  Nothing else damps a check whose results change to and fro.
- A passing check warns from its second failure in a row on.  A single failure is no warning: one lost packet must not
  move flows.
- An attempt that contradicts the status is repeated soon (``next_after_s``), so that a failure is noticed in half of
  the time that ``interval_s`` and ``fall`` alone would take.
- A server has the status of the worst of its checks, and its reason names all checks that have it.

It decides nothing: which servers serve, and what becomes of flows, is decided elsewhere.  No clock; times are seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from anycast_sdn.core.checks import (
    AnyCheck,
    Check,
    HealthStatus,
    HttpCheck,
    IcmpCheck,
    PassiveCheck,
    TcpCheck,
    UdpCheck,
)

SOONEST_S = 0.25  # between the beginnings of two attempts of a check
MAX_OUTPUT = 200  # characters
NO_RESULT = "no result yet"

# A server with a check that has no result is unknown, unless another check says worse: it may be down.
_BADNESS = {HealthStatus.PASSING: 0, HealthStatus.UNKNOWN: 1, HealthStatus.WARNING: 2, HealthStatus.CRITICAL: 3}


class CheckState(NamedTuple):
    """One check of one server."""

    status: HealthStatus = HealthStatus.UNKNOWN
    since: float = 0.0  # when the status became this one
    output: str = NO_RESULT  # of the last attempt that says what the status says, or that contradicts it
    contradicting: int = 0  # results in a row that contradict the status


class CheckResult(NamedTuple):
    """What an attempt has shown.  ``output``: why, for people."""

    passed: bool
    output: str


class ServerHealth(NamedTuple):
    """What all checks of a server say together."""

    status: HealthStatus
    since: float
    reason: str = ""  # "" while it is passing


def counted(state: CheckState, result: CheckResult, check: Check, now: float) -> CheckState:
    """The state of a check after one more result."""
    good, bad = HealthStatus.PASSING, HealthStatus.CRITICAL
    status, since, _, contradicting = state
    output = _printable(result.output[:MAX_OUTPUT])
    said = good if result.passed else bad
    if status is HealthStatus.UNKNOWN:
        return CheckState(said, now, output)
    if (status is bad) is not result.passed:
        return CheckState(said, since if status is said else now, output)
    contradicting += 1
    if contradicting >= (check.rise if result.passed else check.fall):
        return CheckState(said, now, output)
    if status is good and contradicting > 1:
        return CheckState(HealthStatus.WARNING, now, output, contradicting)
    return state._replace(output=state.output if result.passed else output, contradicting=contradicting)


def _printable(output: str) -> str:
    """What others say goes into the log, where a line must stay one."""
    return output if output.isprintable() else "".join(each if each.isprintable() else " " for each in output)


def is_doubtful(state: CheckState) -> bool:
    """Has the last result contradicted the status?"""
    return state.contradicting > 0


def next_after_s(state: CheckState, check: Check) -> float:
    """From the beginning of the last attempt to that of the next one."""
    return max(SOONEST_S, check.interval_s / 2) if is_doubtful(state) else check.interval_s


def worst(checks: Iterable[tuple[str, CheckState]]) -> ServerHealth:
    """What named checks of one server say together.  ``since``: when the first of the worst ones became so."""
    named = list(checks)
    if not named:
        return ServerHealth(HealthStatus.UNKNOWN, 0.0, NO_RESULT)
    status = max((state.status for _, state in named), key=lambda each: _BADNESS[each])
    such = [(name, state) for name, state in named if state.status is status]
    if status is HealthStatus.PASSING:
        return ServerHealth(status, max(state.since for _, state in such))
    return ServerHealth(
        status, min(state.since for _, state in such), "; ".join(f"{name}: {state.output}" for name, state in such)
    )


# ------------------------------------------------------------------------------ names


class CheckName(NamedTuple):
    """A check, as it is shown."""

    type: str
    port: int | None = None
    detail: str = ""  # what tells it from others of its type and port

    def __str__(self) -> str:
        return " ".join(filter(None, (self.type, str(self.port or ""), self.detail)))


def name_of(check: AnyCheck) -> CheckName:
    match check:
        case TcpCheck():
            return CheckName("tcp", check.port)
        case UdpCheck():
            return CheckName("udp", check.port, f"dns {check.dns}" if check.dns else "")
        case HttpCheck():
            return CheckName("http", check.port, check.path)
        case IcmpCheck():
            return CheckName("icmp")
        case PassiveCheck():
            return CheckName("passive")
