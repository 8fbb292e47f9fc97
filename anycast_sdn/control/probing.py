"""Probing: which check of which server is made when, and what has become of it (M33).

Rules kept here:
- Attempts are spread in time: the first one of each check comes within ``FIRST_WITHIN_S`` at random, and the next ones
  keep that phase.  A step begins or ends ``MOST`` attempts at most, and leaves the rest to the next one.
- An attempt begins when the one before has ended, so a slow server never has two of one check under way.
- The same check of the same server is made once, however many groups ask for it.
- What the controller has missed itself is held against nobody: an attempt fails only in the second step after its time,
  so that what has come in meanwhile is read first; after a longer delay of our own, or of whoever passes on what the
  switch hears, it has no result (``core.lateness``).  While the edge is away, or has no rule yet for the answers, no
  attempt is made, and what was under way has no result.
- A server that does not answer ARP or ND fails its attempts without a packet.

Events in, messages and results out; nothing is sent here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.due import Due
from anycast_sdn.core.health import CheckResult
from anycast_sdn.core.lateness import Lateness
from anycast_sdn.core.model import TCP, Address
from anycast_sdn.core.pool import RandomSource
from anycast_sdn.openflow import frames, probes
from anycast_sdn.openflow.probes import Probe, ProbedCheck
from anycast_sdn.openflow.reaction import Reaction, out_of
from anycast_sdn.openflow.rules import Message

FIRST_WITHIN_S = 1.0
AWAY_S = 0.5  # until it is seen again whether an edge is there
MOST = 100  # attempts in one step: some milliseconds
LATE_S, EXCUSE_S = 0.75, 1.0  # more than this between two steps: the controller was late


class Result(NamedTuple):
    """An attempt has ended."""

    server: Address
    check: ProbedCheck
    result: CheckResult


@dataclass(slots=True)
class _Task:
    """A check of a server."""

    server: Address
    check: ProbedCheck
    gateway: Address
    edge: ManagedSwitch
    began: float = 0.0  # the last attempt
    probe: Probe | None = None  # under way


class Probing:
    """``random``: see ``core.pool``; what it gives must be unpredictable."""

    def __init__(self, random: RandomSource) -> None:
        self._random = random
        self._tasks: dict[int, _Task] = {}
        self._numbers: dict[tuple[Address, ProbedCheck], int] = {}
        self._last_number = 0
        self._due: Due[int] = Due()  # the next attempt, or the end of the one that is under way
        self._under_way: dict[tuple[Address, int, int], int] = {}  # by ``Probe.place``
        self._lateness = Lateness(LATE_S, EXCUSE_S)
        self._stepped_at = 0.0

    # ---------------------------------------------------------------- what is checked

    def add(self, server: Address, check: ProbedCheck, gateway: Address, edge: ManagedSwitch, now: float) -> None:
        """``gateway``: of the server's subnet, at this edge."""
        self._last_number += 1
        self._numbers[server, check] = self._last_number
        self._tasks[self._last_number] = _Task(server, check, gateway, edge)
        spread_s = min(FIRST_WITHIN_S, check.interval_s) * self._random.randrange(1000) / 1000
        self._due.plan(self._last_number, now + spread_s)

    def remove(self, server: Address, check: ProbedCheck) -> None:
        number = self._numbers.pop((server, check))
        self._end(self._tasks.pop(number))
        self._due.cancel(number)

    def repeat(self, server: Address, check: ProbedCheck, after_s: float) -> None:
        """The next attempt is to begin so long after the last one has begun, or in the next step."""
        number = self._numbers[server, check]
        self._due.plan(number, self._tasks[number].began + after_s)

    def edge_is_away(self, edge: ManagedSwitch, now: float) -> None:
        """What is under way there has no result."""
        for number, task in self._tasks.items():
            if task.edge is edge and task.probe:
                self._end(task)
                self._due.plan(number, now + AWAY_S)

    # ---------------------------------------------------------------- attempts

    def step(self, now: float) -> tuple[list[tuple[int, Message]], list[Result]]:
        """Begin and end the attempts that are due → (datapath id, message), and results.

        Each result is to be followed by ``repeat``.  To be called about 20 times a second.
        """
        messages: list[tuple[int, Message]] = []
        results: list[Result] = []
        excused = self._lateness.excuses(now)
        self._lateness.checked(now)
        for _ in range(MOST):
            number = self._due.pop(now)
            if number is None:
                break
            task = self._tasks[number]
            if task.probe:
                results += self._give_up(number, task, excused or task.edge.neighbours.excuses(now), now)
            else:
                begun = self._begin(number, task, now)
                if isinstance(begun, Result):
                    results.append(begun)
                elif begun is not None:
                    messages.append(begun)
        self._stepped_at = now
        return messages, results

    def _begin(self, number: int, task: _Task, now: float) -> tuple[int, Message] | Result | None:
        """→ (datapath id, message), or the result if the server has no known MAC; None: it is not the time for it."""
        there = task.edge.neighbours.get(task.server)
        is_missing = there is None and task.edge.neighbours.is_missing(task.server)
        if not task.edge.hears_answers_of(task.server) or not (there or is_missing):
            self._due.plan(number, now + AWAY_S)
            return None
        task.began = now
        if there is None:
            return Result(task.server, task.check, CheckResult(False, "does not answer ARP or ND"))
        probe = probes.new(task.check, task.gateway, task.server, self._random)
        while probe.place in self._under_way:
            probe = probes.new(task.check, task.gateway, task.server, self._random)
        task.probe = probe
        self._under_way[probe.place] = number
        self._due.plan(number, now + task.check.timeout_s)
        return task.edge.dpid, out_of(there.port, probes.frame_of(probe, task.edge.mac, there))

    def _give_up(self, number: int, task: _Task, excused: bool, now: float) -> list[Result]:
        """There is no answer yet → a result, if that means something."""
        deadline = task.began + task.check.timeout_s
        if self._stepped_at < deadline and not excused:
            self._due.plan(number, now + 1e-6)
            return []
        self._end(task)
        if excused:
            self._due.plan(number, now + task.check.interval_s / 2)
            return []
        return [Result(task.server, task.check, CheckResult(False, f"no answer within {task.check.timeout_s:g} s"))]

    def _end(self, task: _Task) -> None:
        if task.probe:
            del self._under_way[task.probe.place]
            task.probe = None

    def answered(
        self, edge: ManagedSwitch, port: int, frame: bytes, now: float
    ) -> tuple[Reaction, list[Result]] | None:
        """A packet to a gateway address of this edge → what follows if it answers a probe, or would have in time.

        None: it has nothing to do with probes.  Raises BadFrame.
        """
        packet = frames.parse_ip(frame)
        place = probes.place_of(frame, packet)
        if place is None or not edge.serving.is_checked(place[0]):
            return None
        number = self._under_way.get(place)
        task = self._tasks[number] if number is not None else None
        if task is None or task.probe is None or task.edge is not edge:
            return Reaction([*edge.reset_stray(port, frame, now)] if packet.key.protocol == TCP else []), []
        probe, there = task.probe, edge.neighbours.get(task.server)
        if there is None or there.port != port:
            return Reaction(), []
        result = probes.judge(probe, frame, packet)
        if result is None:
            return Reaction(), []
        self._end(task)
        accepted = result.passed and packet.key.protocol == TCP
        messages: list[Message] = [out_of(port, probes.reset_of(probe, edge.mac, there))] if accepted else []
        return Reaction(messages), [Result(task.server, task.check, result)]
