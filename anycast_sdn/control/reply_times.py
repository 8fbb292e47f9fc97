"""ReplyTimes: time to the first reply, and loss, of each server; from what clients send anyway.

Client edges count what becomes of first packets (``core.first_replies``).  All of them are asked in turn, and what they
tell is counted for each server.  Nobody knows which servers the unanswered flows were sent to, so these are spread over
the servers by the shares of the decision by which they were sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.first_replies import Marked, Observed
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address
from anycast_sdn.core.selection import Choice
from anycast_sdn.engines.engine import Engine

STEPS = 20  # in which all client edges are asked
MOST = 5000  # flows of one client edge in one step: some milliseconds


@dataclass(slots=True)
class OfServer(Marked):
    """Of a server in one group, since the controller's start."""

    answered: int = 0
    refused: int = 0
    seconds: float = 0.0  # to the first reply, of all that it has answered
    unanswered: float = 0.0  # its part of those that nobody has answered

    def figures(self) -> tuple[float, ...]:
        """(answered, refused, seconds, unanswered)"""
        return self.answered, self.refused, self.seconds, self.unanswered


class ReplyTimes:
    """``switches``: all, by name; ``choice``: see ``Binding.choice``."""

    def __init__(self, switches: Mapping[str, ManagedSwitch], choice: Callable[[int], Choice | None]) -> None:
        self.edges: Mapping[str, Engine] = {
            name: switch.engine for name, switch in switches.items() if switch.described.client_edge
        }
        self._choice = choice
        self._turns = deque(self.edges)
        self.of_servers: dict[str, dict[Address, OfServer]] = {}  # by group and server

    def group_changed(self, name: str, groups: Groups) -> None:
        group = groups.get(name)
        if group is None:
            self.of_servers.pop(name, None)
            for engine in self.edges.values():
                engine.first_replies.forget(name)
        elif known := self.of_servers.get(name):
            self.of_servers[name] = {server: of for server, of in known.items() if server in group.servers}

    def step(self, groups: Groups, now: float) -> Iterator[tuple[str, Observed]]:
        """Ask some client edges → what each of them tells.  To be called about 20 times a second.

        A flood of new flows at one edge is told of as it comes, however many other edges there are.
        """
        for client in self._next():
            observed = self.edges[client].first_replies.pop(now, MOST)
            self._count(observed, groups, now)
            yield client, observed

    def _next(self) -> list[str]:
        """Those whose turn it is, and one that has much to tell."""
        if not self._turns:
            return []
        self._turns.rotate(-1 - len(self._turns) // STEPS)
        turn = [self._turns[number] for number in range(1 + len(self._turns) // STEPS)]
        fullest = max(self.edges, key=lambda name: len(self.edges[name].first_replies))
        has_much = len(self.edges[fullest].first_replies) > MOST
        return [*turn, fullest] if has_much and fullest not in turn else turn

    def _count(self, observed: Observed, groups: Groups, now: float) -> None:
        for (name, server), replies in observed.replies.items():
            if of := self._of(name, server, groups, now):
                of.answered += replies.answered
                of.refused += replies.refused
                of.seconds += replies.seconds
        for asked, flows in observed.unanswered.items():
            choice = self._choice(asked.choice)
            for server, share in choice.shares.items() if choice else ():
                if of := self._of(asked.group, server, groups, now):
                    of.unanswered += flows * share

    def _of(self, name: str, server: Address, groups: Groups, now: float) -> OfServer | None:
        """None: it is not enrolled any more."""
        group = groups.get(name)
        if group is None or server not in group.servers:
            return None
        of = self.of_servers.setdefault(name, {}).setdefault(server, OfServer())
        of.mark(now)
        return of
