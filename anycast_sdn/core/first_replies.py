"""FirstReplies: what becomes of the first packets of new flows at one client edge, in groups that are watched (M33).

A client edge sees who answers, and who refuses: a TCP RST as the first reply, or an ICMP error about the first packet,
comes from a server that says so itself.  Of a first packet that nobody answers it knows only that: which server has got
it is decided by a hash in a switch.  So these are counted for the group, and not for a server.

What has become of a flow is told ``WAIT_S`` after its first packet, of all flows alike: so answered and unanswered
flows of the same time are compared.  A flow without a reply by then counts as unanswered, though one may still come.

No clock; bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.model import Address

WAIT_S = 3.0
MOST_ASKED = 100_000  # flows that wait; further ones are not counted
MOST_TIMES = 200  # of the times to the first reply of one server

Asked = tuple[str, bool]  # (group, IPv6?)


@dataclass(slots=True)
class Replies:
    """Of one server."""

    answered: int = 0
    refused: int = 0
    times: list[float] = field(default_factory=list)  # seconds to the first reply, of some


class Observed(NamedTuple):
    """Since the last look."""

    replies: Mapping[tuple[str, Address], Replies]  # by group and server: to flows of which it is told now
    unanswered: Mapping[Asked, int]  # of those flows
    asked: Set[Asked]  # new flows have begun


@dataclass(slots=True)
class _Flow:
    when: float
    asked: Asked
    server: Address | None = None  # that has replied first
    refused: bool = False
    seconds: float = 0.0


class FirstReplies:
    def __init__(self) -> None:
        self._watched: frozenset[str] = frozenset()
        self._flows: dict[int, _Flow] = {}  # by number, in order of time
        self._asked: set[Asked] = set()

    def watch(self, groups: Collection[str]) -> None:
        """These groups alone."""
        self._watched = frozenset(groups)
        if not groups:  # nobody asks any more
            self._flows.clear()
            self._asked.clear()

    def asked(self, flow: Binding | None, now: float) -> None:
        """The first packet of a new flow is sent to a server."""
        if self._watched and flow and flow.group in self._watched and len(self._flows) < MOST_ASKED:
            asked = flow.group, len(flow.translated) == 16
            self._asked.add(asked)
            self._flows[flow.number] = _Flow(now, asked)

    def replied(self, flow: Binding | None, server: Address, refused: bool, now: float) -> None:
        """The first reply, or a later one, which does not count; ``refused``: it is a refusal."""
        found = self._flows.get(flow.number) if flow and self._flows else None
        if found and found.server is None:
            found.server, found.refused, found.seconds = server, refused, now - found.when

    def pop(self, now: float, most: int = MOST_ASKED) -> Observed:
        """Of up to ``most`` flows."""
        unanswered: Counter[Asked] = Counter()
        replies: dict[tuple[str, Address], Replies] = {}
        asked, self._asked = self._asked, set()
        for _ in range(min(most, len(self._flows))):
            number, flow = next(iter(self._flows.items()))
            if now - flow.when < WAIT_S:
                break
            del self._flows[number]
            if flow.server is None:
                unanswered[flow.asked] += 1
                continue
            of_server = replies.setdefault((flow.asked[0], flow.server), Replies())
            of_server.refused += flow.refused
            of_server.answered += not flow.refused
            if not flow.refused and len(of_server.times) < MOST_TIMES:
                of_server.times.append(flow.seconds)
        return Observed(replies, unanswered, asked)
