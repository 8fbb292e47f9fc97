"""Mirroring: the leader knows the flows of the switches whose masters are others (``control.mirror``).

Members say to each other, by topic:

    mirror     the leader, of which switches it wants the flows
    mirrored   a master, what flows are: first all of a switch, then those that have changed
    replies    a master, what has become of first packets
    ended      the leader, flows that a master is to end

The rules this file keeps:

- What the leader wants has a number, its *run*, and is said again and again.  A master that hears another run than
  before begins with all flows; lines of a run have numbers, and after one that is missing the leader begins another.
- The leader says how many lines it has taken, and a master does not go far ahead of it.
- A master sends nothing that nobody wants: a leader that has been silent for ``SILENT_S`` wants nothing.
- Lines are small.  They are made, and taken, in slices of some milliseconds; other green threads run between them.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeVar

from os_ken.lib import hub

from anycast_sdn.control import mirror
from anycast_sdn.control.controller import Controller
from anycast_sdn.control.mirror import CLOSE, END, BadBatch
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.control.share import Share
from anycast_sdn.core.bindings import BindingTable
from anycast_sdn.process import garbage
from anycast_sdn.process.faults import isolated
from anycast_sdn.process.sharing import AGAIN_S, SILENT_S, By, Lines, Masters, Sharing

LOG = logging.getLogger(__name__)

MIRROR, MIRRORED, REPLIES, ENDED = "mirror", "mirrored", "replies", "ended"
AT_ONCE = 400  # flows in a line
AHEAD = 25  # lines of a switch that the leader has not taken yet; changes wait, and what changes again is sent once
MOST_WAITING = 5_000  # lines of all masters that are not taken yet; of others all flows are sent anew
STATISTICS_S = 0.5  # how often they are sent
REPLIES_AT_ONCE = 5000  # flows of which it is told: some milliseconds

_Line = TypeVar("_Line")
Run = tuple[int, int]  # the leader's term, and a number


class _Wanted(NamedTuple):
    """By the leader, of this master."""

    generation: int
    run: Run


class _Sent:
    """The flows of a switch, as this master sends them.  ``table``: of the engine, which may be replaced by another."""

    def __init__(self, wanted: _Wanted, table: BindingTable) -> None:
        self.wanted = wanted
        self.table = table
        self.lines = 0
        self.statistics_at = 0.0
        self._after = 0  # all flows up to this number have been sent
        self.is_whole = False
        table.watch(True)

    def changed(self) -> Iterator[list[int]]:
        """The numbers of those that have changed."""
        touched = list(self.table.pop_touched())
        for at in range(0, len(touched), AT_ONCE):
            yield touched[at : at + AT_ONCE]

    def next(self) -> list[int]:
        """The numbers of those that come next, of all that there are."""
        numbers = self.table.numbers_after(self._after, AT_ONCE)
        self._after = numbers[-1] if numbers else self._after
        return numbers


class _Known(NamedTuple):
    """How the leader hears of the flows of a switch."""

    by: By
    run: int
    lines: int  # that it has taken of this run


class Mirroring:
    def __init__(
        self,
        controller: Controller,
        cluster: Masters,
        sharing: Sharing,
        generation: Callable[[int], int],
        lines: Lines,
        react: Callable[[Outcome], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``generation``: by which this member is, or was, the master of a switch."""
        self._controller = controller
        self._cluster = cluster
        self._sharing = sharing
        self._generation = generation
        self._lines = lines
        self._react = react
        self._clock = clock
        self._wanted: dict[int, _Wanted] = {}
        self._taken: dict[int, int] = {}  # how many lines of it the leader has taken
        self._heard_at = 0.0  # when the leader has said what it wants
        self._sent: dict[int, _Sent] = {}
        self._known: dict[int, _Known] = {}
        self._runs = 0
        self._said_at, self._said = 0.0, ""
        self._waiting: deque[tuple[str, str]] = deque()  # lines of masters
        self._comes = hub.Event()
        self._unread: set[tuple[str, str]] = set()  # (member, topic) of lines that could not be read
        lines.listen(MIRROR, partial(self._read, MIRROR, _wanted_in, self._hear_wanted))
        lines.listen(MIRRORED, self._hear_flows)
        lines.listen(REPLIES, partial(self._read, REPLIES, _replies_in, self._hear_replies))
        lines.listen(ENDED, partial(self._read, ENDED, _ended_in, self._hear_ended))

    def _read(
        self, topic: str, read: Callable[[Any], _Line], take: Callable[[str, _Line], None], member: str, text: str
    ) -> None:
        try:
            line = read(json.loads(text))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            self._drop(member, topic, error)
            return
        try:
            take(member, line)
        except BadBatch as error:
            self._drop(member, topic, error)

    def _drop(self, member: str, topic: str, error: Exception) -> None:
        if (member, topic) not in self._unread:
            self._unread.add((member, topic))
            LOG.warning("member %s says of %s what cannot be used, and is ignored: %s", member, topic, error)

    # ---------------------------------------------------------------- a master

    def _hear_wanted(self, member: str, line: tuple[int, dict[int, tuple[str, _Wanted, int]]]) -> None:
        term, wanted = line
        if wanted.keys() <= self._controller.switches.keys() and self._sharing.is_latest(member, term):
            ours = {dpid: each for dpid, each in wanted.items() if each[0] == self._cluster.member}
            self._heard_at = self._clock()
            self._wanted = {dpid: each for dpid, (_, each, _) in ours.items()}
            self._taken = {dpid: lines for dpid, (*_, lines) in ours.items()}

    def send(self) -> None:
        """What has changed.  To be called several times a second, from a green thread of its own."""
        if self._clock() - self._heard_at > SILENT_S:
            self._wanted = {}
        for dpid in [*self._sent.keys() | self._wanted.keys()]:
            self._send(dpid)
        for dpid, switch in self._controller.switches.items():
            if switch.share is Share.FLOWS and switch.described.client_edge:
                self._send_replies(dpid)

    @isolated
    def _send_replies(self, dpid: int) -> None:
        """Whether anybody wants it or not: what waits is not to pile up."""
        replies = self._controller.switches[dpid].engine.first_replies
        if shown := mirror.observed_shown(replies.pop(self._clock(), REPLIES_AT_ONCE)):
            self._lines.publish(REPLIES, json.dumps([format(dpid, "x"), self._generation(dpid), shown]))
            hub.sleep(0)

    @isolated
    def _send(self, dpid: int) -> None:
        sent = self._to_send(dpid)
        if sent is None:
            return
        while self._may_say(dpid, sent):
            for numbers in sent.changed():
                self._say(dpid, sent, numbers)
            if sent.is_whole:
                break
            numbers = sent.next()
            sent.is_whole = not numbers
            self._say(dpid, sent, numbers)
        else:
            return
        if self._clock() - sent.statistics_at >= STATISTICS_S:
            self._say(dpid, sent, [])

    def _may_say(self, dpid: int, sent: _Sent) -> bool:
        return self._to_send(dpid) is sent and sent.lines - self._taken.get(dpid, 0) < AHEAD

    def _to_send(self, dpid: int) -> _Sent | None:
        """None: nothing, now."""
        wanted, sent = self._wanted.get(dpid), self._sent.get(dpid)
        table = self._controller.switches[dpid].engine.flows
        if sent and (sent.table is not table or sent.wanted != wanted):
            sent.table.watch(False)
            del self._sent[dpid]
            sent = None
        if not (wanted and self._is_ours(dpid, wanted.generation)):
            return None
        if sent is None:
            sent = self._sent[dpid] = _Sent(wanted, table)
        return sent

    def _say(self, dpid: int, sent: _Sent, numbers: list[int]) -> None:
        """What these flows are.  Others may run meanwhile."""
        now, statistics = self._clock(), None
        if sent.is_whole and now - sent.statistics_at >= STATISTICS_S:
            sent.statistics_at = now
            statistics = mirror.shown(self._controller.switches[dpid].statistics(now))
        flows = [(number, sent.table.by_number(number)) for number in numbers]
        there, ended = [flow for _, flow in flows if flow], [number for number, flow in flows if flow is None]
        batch = mirror.batch(there, ended, now)
        self._lines.publish(MIRRORED, json.dumps(
            [format(dpid, "x"), sent.wanted.generation, sent.wanted.run, sent.lines, sent.is_whole, statistics, batch]
        ))  # fmt: skip
        sent.lines += 1
        hub.sleep(0)

    def _hear_ended(self, member: str, line: tuple[int, int, int, str, list[int]]) -> None:
        term, dpid, generation, what, numbers = line
        now = self._clock()
        if not (self._sharing.is_latest(member, term) and self._is_ours(dpid, generation)):
            return
        edge = self._controller.switches[dpid].name
        if what == END:
            for each in numbers:
                self._react(self._controller.end_flow(edge, each, now))
        elif what == CLOSE:
            self._react(self._controller.close_flows(edge, numbers, now))

    def _is_ours(self, dpid: int, generation: int) -> bool:
        """Does this member decide on the flows of this switch, by this generation?"""
        switch = self._controller.switches.get(dpid)
        is_ours = switch and switch.share is Share.FLOWS and switch.serves_flows and self._cluster.is_master(dpid)
        return bool(is_ours) and self._generation(dpid) == generation

    # ---------------------------------------------------------------- the leader

    def ask_masters(self) -> None:
        """To do what the controller wants of them now; also called by ``beat``."""
        for dpid, by in self._sharing.managed.items() if self._cluster.leads() else ():
            for what, numbers in self._controller.switches[dpid].mirror.pop_asked():
                said = [self._cluster.term(), format(dpid, "x"), by.generation, what, numbers]
                self._lines.publish(ENDED, json.dumps(said))

    def say_wanted(self) -> None:
        """To be called several times a second."""
        managed = self._sharing.managed if self._cluster.leads() else {}
        for dpid in [dpid for dpid, known in self._known.items() if managed.get(dpid) != known.by]:
            del self._known[dpid]
        for dpid, by in managed.items():
            switch = self._controller.switches[dpid]
            is_client_edge = switch.described.client_edge is not None
            is_begun = dpid in self._known and switch.mirror.is_begun
            if is_client_edge and switch.share is Share.REST and not is_begun:
                self._begin(dpid, by)
        wanted = {
            format(dpid, "x"): [known.by.member, known.by.generation, known.run, known.lines]
            for dpid, known in self._known.items()
        }
        said, now = json.dumps([self._cluster.term(), wanted]), self._clock()
        if (wanted or self._said) and (said != self._said or now - self._said_at >= AGAIN_S):
            self._said, self._said_at = said if wanted else "", now
            self._lines.publish(MIRROR, said)

    def _begin(self, dpid: int, by: By) -> None:
        """Whatever has come of this switch until now: all its flows are wanted."""
        self._runs += 1
        self._known[dpid] = _Known(by, self._runs, 0)
        self._controller.switches[dpid].mirror.begin()

    def _hear_flows(self, member: str, text: str) -> None:
        if self._known and len(self._waiting) < MOST_WAITING:
            self._waiting.append((member, text))
            self._comes.set()

    def _hear_replies(self, member: str, line: tuple[int, int, Any]) -> None:
        dpid, generation, shown = line
        known = self._known.get(dpid)
        if known and (known.by.member, known.by.generation) == (member, generation):
            self._controller.switches[dpid].mirror.observed(shown, self._clock())

    def take_all(self, is_active: Callable[[], bool]) -> None:
        """What masters send, in slices; to be spawned."""
        while is_active():
            self._comes.wait()
            self._comes.clear()
            while self._waiting:
                self.take(*self._waiting.popleft())
                hub.sleep(0)

    def wake(self) -> None:
        """``take_all`` looks whether it is to end."""
        self._comes.set()

    @isolated
    def take(self, member: str, text: str) -> None:
        """A line of a master, perhaps in slices."""
        self._read(MIRRORED, _flows_in, self._take, member, text)

    def _take(self, member: str, said: tuple[int, int, Run, int, bool, Any, Any]) -> None:
        dpid, generation, (term, run), line, is_whole, statistics, batch = said
        known = self._known.get(dpid)
        if not known or (known.by.member, known.by.generation) != (member, generation):
            return
        if (term, run) != (self._cluster.term(), known.run):
            return
        if line != known.lines:
            LOG.debug("member %s: line %d of the flows of a switch is missing; they are sent anew", member, known.lines)
            self._begin(dpid, known.by)
            return
        here, now = self._controller.switches[dpid].mirror, self._clock()
        if not here.is_begun:
            return  # this controller has just ceased to manage the switch
        self._known[dpid] = known._replace(lines=line + 1)
        was_whole = here.is_whole
        garbage.collect_new()
        here.take(batch, now)
        garbage.exempt_new()
        while is_whole and here.is_begun and not here.whole(AT_ONCE):
            hub.sleep(0)
        if statistics:
            here.told(statistics)
        self._react(self._controller.mirrored(dpid, here.is_whole and not was_whole, now))

    def begin_anew(self) -> None:
        """The controller has forgotten what it knew."""
        self._known.clear()
        self._waiting.clear()

    def beat(self) -> None:
        """To be called several times a second, from a green thread of its own."""
        self.say_wanted()
        self.ask_masters()
        self.send()


# ------------------------------------------------------------------------------ lines are read whole, or raise


def _numbers(*values: Any) -> None:
    if any(type(each) is not int for each in values):
        raise ValueError("a number is none")


def _wanted_in(said: Any) -> tuple[int, dict[int, tuple[str, _Wanted, int]]]:
    term, wanted = said
    for _, *numbers in wanted.values():
        _numbers(term, *numbers)
    return term, {
        int(dpid, 16): (to, _Wanted(generation, (term, run)), lines)
        for dpid, (to, generation, run, lines) in wanted.items()
    }


def _ended_in(said: Any) -> tuple[int, int, int, str, list[int]]:
    term, dpid, generation, what, numbers = said
    _numbers(term, generation, *numbers)
    return term, int(dpid, 16), generation, what, numbers


def _replies_in(said: Any) -> tuple[int, int, Any]:
    dpid, generation, shown = said
    _numbers(generation)
    return int(dpid, 16), generation, shown


def _flows_in(said: Any) -> tuple[int, int, Run, int, bool, Any, Any]:
    dpid, generation, (term, run), line, is_whole, statistics, batch = said
    _numbers(generation, term, run, line)
    return int(dpid, 16), generation, (term, run), line, bool(is_whole), statistics, batch
