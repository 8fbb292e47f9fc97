"""Passive: what clients' own packets say of servers (M33); nothing is sent for it.

Client edges count which servers answer new flows, which refuse them, and how many flows of a group nobody answers
(``core.first_replies``).  Nobody knows which servers the unanswered ones were sent to, so they are spread over the
slots of the server edge that such packets reached then.  What follows from that, for a server's share of bad flows,

    (refused + its part of the unanswered) / (that + answered):

- A server that answers nothing has 1.
- A server that answers everything never has more than 1/2, however bad the others are: what it has answered is its part
  of all flows, and its part of the unanswered ones is not more.  So with the default limit it is never blamed.
- A server that is alone at its edge has just the share of its flows that is bad.

It means nothing for groups whose servers hand flows over to one another: who answers there is not who was asked.

Few flows prove nothing: there is a result when ``LEAST_FLOWS`` have been seen.  A server that has become critical gets
no new flows, so nothing can show that it is well again: after ``PROBATION_S`` it is unknown, and is tried again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median

from anycast_sdn.core.checks import PassiveCheck
from anycast_sdn.core.first_replies import MOST_TIMES, WAIT_S, FirstReplies, Observed
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.health import CheckResult
from anycast_sdn.core.model import Address

LEAST_FLOWS = 10
PROBATION_S = 60.0
_TOLD_AFTER_S = WAIT_S + 2.0  # after this long at the latest, what has become of a flow is told


@dataclass(slots=True)
class _Window:
    """Flows of a server in a group since its last result."""

    answered: int = 0
    bad: float = 0.0
    times: list[float] = field(default_factory=list)


class Passive:
    """``edges``: what each client edge sees; ``shares``: of a client edge's new flows of a group, in one family, by
    server.
    """

    def __init__(
        self, edges: Iterable[FirstReplies], shares: Callable[[str, str, bool], Mapping[Address, float]]
    ) -> None:
        self._edges = list(edges)
        self._shares = shares
        self._checks: dict[str, PassiveCheck] = {}  # by group
        self._windows: dict[str, dict[Address, _Window]] = {}  # by group and server
        self._judged_at: dict[str, float] = {}  # group → its last results
        # (client edge, group, IPv6?) → when, and the shares of new flows; while such flows may be told of
        self._history: dict[tuple[str, str, bool], deque[tuple[float, Mapping[Address, float]]]] = {}

    def group_changed(self, name: str, groups: Groups) -> None:
        group = groups.get(name)
        check = next((each for each in group.checks if isinstance(each, PassiveCheck)), None) if group else None
        if check == self._checks.get(name):
            return
        if check:
            self._checks[name] = check
        else:
            del self._checks[name]
            self._judged_at.pop(name, None)
            self._windows.pop(name, None)
        for edge in self._edges:
            edge.watch(self._checks.keys())

    def check_of(self, group: str) -> PassiveCheck | None:
        return self._checks.get(group)

    def step(
        self, told: Iterable[tuple[str, Observed]], groups: Groups, now: float
    ) -> list[tuple[str, Address, PassiveCheck, CheckResult]]:
        """``told``: by some client edges since the last step → results, by group and server."""
        if not self._checks:
            return []
        for client, observed in told:
            self._collect(client, observed, now)
        self._forget_old_shares(now)
        due = [name for name, check in self._checks.items() if now >= self._judged_at.get(name, 0.0) + check.interval_s]
        self._judged_at |= dict.fromkeys(due, now)
        return [result for name in due for result in self._judge(name, groups)]

    def _collect(self, client: str, observed: Observed, now: float) -> None:
        for (group, server), replies in observed.replies.items():
            if group in self._checks:
                window = self._window(group, server)
                window.answered += replies.answered
                window.bad += replies.refused
                window.times += replies.times[: MOST_TIMES - len(window.times)]
        for group, is_v6, _ in sorted(observed.asked):
            shares = now, self._shares(client, group, is_v6)
            self._history.setdefault((client, group, is_v6), deque()).append(shares)
        for (group, is_v6, _), count in observed.unanswered.items():
            for server, share in self._shares_then(client, group, is_v6, now).items():
                self._window(group, server).bad += count * share

    def _window(self, group: str, server: Address) -> _Window:
        return self._windows.setdefault(group, {}).setdefault(server, _Window())

    def _forget_old_shares(self, now: float) -> None:
        old = [place for place, history in self._history.items() if history[-1][0] < now - _TOLD_AFTER_S]
        for place in old:
            del self._history[place]

    def _shares_then(self, client: str, group: str, is_v6: bool, now: float) -> Mapping[Address, float]:
        """When the flows began that are told of now: a server that has left since is still to blame for its part."""
        history = self._history.get((client, group, is_v6))
        if not history:
            return {}
        while len(history) > 1 and history[1][0] <= now - _TOLD_AFTER_S:
            history.popleft()
        return history[0][1]

    def _judge(self, name: str, groups: Groups) -> Iterator[tuple[str, Address, PassiveCheck, CheckResult]]:
        """What was seen of servers that are not enrolled any more is forgotten."""
        group, check = groups.get(name), self._checks[name]
        windows, left = self._windows.pop(name, {}), dict[Address, _Window]()
        for server, window in windows.items():
            if group is None or server not in group.servers:
                continue
            if window.bad + window.answered >= LEAST_FLOWS:
                yield name, server, check, _judged(window, check)
            else:
                left[server] = window
        if left:
            self._windows[name] = left


def _judged(window: _Window, check: PassiveCheck) -> CheckResult:
    flows = window.bad + window.answered
    seen = f"{window.answered} of about {flows:.0f} new flows answered"
    if window.bad / flows > check.max_unanswered:
        return CheckResult(False, seen)
    middle = median(window.times) if window.times else 0.0
    said = f"{seen}, the first reply after {1000 * middle:.0f} ms"
    return CheckResult(check.max_first_reply_s is None or middle <= check.max_first_reply_s, said)
