"""Sharing: a switch whose master decides on the flows of its clients, and the leader on all else.

The leader is connected to the switch as well, and asks it what it holds; what it writes, the master sends.  Members say
to each other, by topic:

    leads    the leader, that it does
    holds    a master, of which switches it has the flows in its memory
    heard    a master, what such a switch has sent that is not about flows
    told     the leader, what the masters have to know of the network (``control.share.Told``)
    taken    a master, which line of these counts for its flows by now
    hosts    the leader, where hosts at a switch are
    writes   the leader, messages for a switch

The rules this file keeps:

- ``holds`` is said again and again, so that whoever becomes the leader, or has lost a line, knows it soon.
- The leader decides on a switch as long as it hears from the master that etcd names, with the generation by which that
  has become the master.  When that ends it is as if the switch had disconnected.
- Each of the two soon knows that it does not hear the other one (``QUIET_S``), and says so: before the leader takes a
  switch, a link or a server for silent because of it.
- Where a stream between the two was broken, lines may be lost: then it is as if the switch had disconnected, and had
  connected anew.
- Lines of the leader have its term.  A master takes them from the latest leader that it has heard of.
- A line that cannot be read is dropped, and logged once (``sharing_lines``).
- A flood of packets at one port does not fill the lines: ``PACKETS_A_BEAT`` of them are passed on, others are shed.
- Where hosts are is said before what is written: a first packet that is sent again meets it.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from anycast_sdn.cluster.cluster import Cluster
from anycast_sdn.cluster.view import Master
from anycast_sdn.control.controller import Controller
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.control.share import Share, Told
from anycast_sdn.openflow.decoding import BadMessage, PacketInMessage
from anycast_sdn.openflow.features import Tried
from anycast_sdn.process import sharing_lines
from anycast_sdn.process.connections import Connections
from anycast_sdn.process.faults import isolated
from anycast_sdn.process.sharing_lines import BadLine, Heard, Held, Hosts, Telling, Writes

LOG = logging.getLogger(__name__)
_Line = TypeVar("_Line")

LEADS, HOLDS, HEARD, TOLD, TAKEN = "leads", "holds", "heard", "told", "taken"
HOSTS, WRITES = "hosts", "writes"
PACKETS_A_BEAT = 100  # of one port
TAKEN_S = 1.0  # what has not been taken after so long is told again as a whole
AGAIN_S = 0.5  # what a master holds is said so often, and its switches are asked whether they answer
OWED_S = 1.0  # a switch that does not answer its master for so long is managed no more
LATE_S = 1.0  # a master that has not said it for so long may not pass on what its switches hear
QUIET_S = 1.5  # a master, or a leader, that has said nothing for so long is not heard
SILENT_S = 3.0  # a master that has not said for so long what it holds counts as gone


class Lines(Protocol):
    """What members of a cluster say to each other."""

    def publish(self, topic: str, text: str) -> None: ...

    def listen(self, topic: str, listener: Callable[[str, str], None]) -> None: ...

    def begun(self, member: str) -> int:
        """How often this one has begun to listen to that member."""


class Masters(Cluster, Protocol):
    @property
    def member(self) -> str:
        """The id of this one."""

    def master(self, dpid: int) -> Master | None:
        """The one that etcd names."""

    def leader(self) -> str:
        """The id of the one that etcd names."""


class By(NamedTuple):
    """How the leader manages a switch."""

    member: str
    generation: int
    begun: tuple[int, int]  # how often the two have begun to listen to each other


class Sharing:
    def __init__(
        self,
        controller: Controller,
        cluster: Masters,
        connections: Connections,
        lines: Lines,
        react: Callable[[Outcome], None],
        listener: Any,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``listener``: is told what switches have sent, as by their connections."""
        self._controller = controller
        self._cluster = cluster
        self._connections = connections
        self._lines = lines
        self._react = react
        self._listener = listener
        self._clock = clock
        self._held: dict[str, tuple[float, dict[int, Held]]] = {}  # member → when it has said so, and what it holds
        self._owing_since: dict[int, float] = {}  # switches that do not answer their masters
        self._managed: dict[int, By] = {}  # switches on which this controller decides, as the leader
        self._said_at, self._said = 0.0, ""
        self._version = 0  # of what is enrolled, as the controller has it
        self._leads_said_at = self._leader_heard_at = -math.inf
        self._told: Told | None = None  # to others; None: they have to be told everything
        self._told_version, self._told_at, self._lines_told = 0, 0.0, 0
        self._taken: dict[str, int] = {}  # member → how many of these lines it has taken, in this term
        self._heard: Told | None = None  # from the leader
        self._heard_line: Telling | None = None  # the last one of these
        self._is_taken = True
        self._term = 0  # of the latest leader that was heard
        # What the master of a switch has to know before what is written there next.
        self.before_writes: list[Callable[[int], None]] = [self.say_hosts]
        self._passed_on: Counter[tuple[int, int]] = Counter()  # packets of (switch, port) since the last beat
        self._unread: set[tuple[str, str]] = set()  # (member, topic) of lines that could not be read
        self._listen(LEADS, sharing_lines.read_leads, self._hear_leads)
        self._listen(HOLDS, sharing_lines.read_holds, self._hear_holds)
        self._listen(HEARD, sharing_lines.read_heard, self._hear_heard)
        self._listen(TOLD, sharing_lines.read_told, self._hear_told)
        self._listen(TAKEN, sharing_lines.read_taken, self._hear_taken)
        self._listen(HOSTS, sharing_lines.read_hosts, self._hear_hosts)
        self._listen(WRITES, sharing_lines.read_writes, self._hear_writes)

    def _listen(self, topic: str, read: Callable[[str], _Line], take: Callable[[str, _Line], None]) -> None:
        def hear(member: str, text: str) -> None:
            try:
                line = read(text)
            except BadLine as error:
                self._drop(member, topic, error)
            else:
                take(member, line)

        self._lines.listen(topic, hear)

    def _drop(self, member: str, topic: str, error: Exception) -> None:
        if (member, topic) not in self._unread:
            self._unread.add((member, topic))
            LOG.warning("member %s says of %s what cannot be used, and is ignored: %s", member, topic, error)

    # ---------------------------------------------------------------- a master

    def beat(self) -> None:
        """To be called several times a second."""
        self._say_that_it_leads()
        self._say_what_is_held()
        self._say_what_was_noticed()
        self._look()
        self._tell()

    def _say_what_is_held(self) -> None:
        held, hears = {}, self._clock() - self._leader_heard_at <= QUIET_S
        for dpid, switch in self._controller.switches.items():
            if switch.share is Share.FLOWS and switch.serves_flows and self._cluster.is_master(dpid):
                begun, tried = self._lines.begun(self._cluster.leader()) if hears else 0, Tried((), switch.features)
                held[dpid] = Held(self._connections.generation(dpid), begun, tried, self._connections.owes(dpid))
        said, now = sharing_lines.holds(held), self._clock()
        if said != self._said or (held and now - self._said_at >= AGAIN_S):
            self._connections.ask(held)
            self._said, self._said_at = said, now
            self._lines.publish(HOLDS, said)

    def _say_what_was_noticed(self) -> None:
        passed_on, self._passed_on = self._passed_on, Counter()
        for (dpid, port), packets in passed_on.items():
            if (shed := packets - PACKETS_A_BEAT) > 0:
                self._controller.switches[dpid].first_packets_refused(port, shed)
                self._react(self._controller.shed(dpid, shed))
        for dpid, switch in self._controller.switches.items():
            if switch.share is Share.FLOWS and (noticed := switch.pop_noticed()):
                self.pass_on(dpid, "noticed", [*noticed.refused.items()], noticed.are_rules_deleted)

    def pass_on(self, dpid: int, event: str, *arguments: Any) -> None:
        """To the leader: what the switch has sent.  ``event``: the name of the listener's method."""
        self._lines.publish(
            HEARD, sharing_lines.heard(dpid, self._connections.generation(dpid), event, *arguments)
        )

    def pass_on_packet(self, dpid: int, event: str, message: PacketInMessage) -> None:
        """As ``pass_on``, if its port has not sent too many since the last beat."""
        port = dpid, message.in_port
        self._passed_on[port] += 1
        if self._passed_on[port] <= PACKETS_A_BEAT:
            self.pass_on(dpid, event, message)

    def is_latest(self, member: str, term: int) -> bool:
        """Is a line of this term by the leader of now?"""
        known = self._cluster.term()
        if term < max(self._term, known) or self._cluster.leads():
            return False
        if term == known and self._cluster.leader() not in ("", member):
            return False  # another one leads in this term
        self._term = term
        return True

    def _hear_leads(self, member: str, term: int) -> None:
        if self.is_latest(member, term):
            was_silent = self._clock() - self._leader_heard_at > QUIET_S
            self._leader_heard_at = self._clock()
            if was_silent:
                self._say_what_is_held()

    def _hear_told(self, member: str, line: Telling) -> None:
        if not self.is_latest(member, line.term):
            return
        last = self._heard_line
        follows = self._heard and last and (last.term, last.number + 1) == (line.term, line.number)
        if line.is_all or follows:
            self._heard, self._heard_line, self._is_taken = line.after(self._heard or Told()), line, False
            self._controller.be_told(self._heard)
            self._take_told()

    def enrolled(self, version: int) -> None:
        """The controller has what is enrolled as of this version."""
        self._version = version
        self._take_told()

    def _take_told(self) -> None:
        """What the leader has told counts when what it has decided it by is known here, too."""
        line = self._heard_line
        if line and not self._is_taken and line.version <= self._version:
            self._is_taken = True
            self._lines.publish(TAKEN, sharing_lines.taken(line.term, line.number))

    def mastered(self) -> None:
        """This member becomes a switch's master, on which the leader tells all anew.

        What it has told before may be out of date: known flows lose no servers by that.
        """
        if self._heard and not self._cluster.leads():
            self._heard, self._heard_line = self._heard._replace(lost=frozenset(), failed=frozenset(), cut={}), None
            self._controller.be_told(self._heard)

    def begin_anew(self) -> None:
        """The controller has forgotten what it was told."""
        if self._heard and not self._cluster.leads():
            self._controller.be_told(self._heard)

    def _hear_hosts(self, member: str, line: Hosts) -> None:
        switch = self._controller.switches.get(line.dpid)
        if switch and switch.share is Share.FLOWS and self.is_latest(member, line.term):
            switch.hosts.told(line.hosts)

    def _hear_writes(self, member: str, line: Writes) -> None:
        switch, channel = self._controller.switches.get(line.dpid), self._connections.channels.get(line.dpid)
        if not (switch and channel and switch.share is Share.FLOWS):
            return
        if self._connections.generation(line.dpid) != line.generation:
            return
        if self.is_latest(member, line.term) and self._cluster.is_master(line.dpid):
            try:
                channel.send_for_another(line.data)
            except BadMessage as error:
                self._drop(member, WRITES, error)

    # ---------------------------------------------------------------- the leader

    def _say_that_it_leads(self) -> None:
        if not self._cluster.leads():
            self._leads_said_at = -math.inf
        elif self._clock() - self._leads_said_at >= AGAIN_S:
            self._leads_said_at = self._clock()
            self._lines.publish(LEADS, str(self._cluster.term()))

    def _hear_holds(self, member: str, held: dict[int, Held]) -> None:
        self._held[member] = self._clock(), held
        self._look()

    def _look(self) -> None:
        """Which switches does this controller manage now?"""
        leads, now = self._cluster.leads(), self._clock()
        self._held = {member: held for member, held in self._held.items() if now - held[0] <= QUIET_S}
        for dpid in self._controller.switches:
            by = self._held_by(dpid) if leads else None
            channel = self._connections.channels.get(dpid)
            if dpid in self._managed and (channel is None or not channel.is_manager):
                del self._managed[dpid]  # it has ended by itself
            if dpid in self._managed and (by is None or self._managed[dpid] != by[0]):
                del self._managed[dpid]
                self._connections.manage_no_more(dpid)
            if by and dpid not in self._managed and channel and not channel.is_master:
                self._managed[dpid], tried = by
                self._told = None
                generation = self._managed[dpid].generation
                self._connections.manage(dpid, partial(self._write, dpid, generation), generation, tried)

    @property
    def managed(self) -> Mapping[int, By]:
        """The switches on which this controller decides, as the leader, and by whom it has their flows decided on."""
        return self._managed

    def owing(self) -> set[str]:
        """Switches (names) that do not answer their masters, or whose masters are silent; see ``Connections.owing``."""
        return {self._controller.switches[dpid].name for dpid in self._managed if self.owes(dpid)}

    def owes(self, dpid: int) -> bool:
        """Does this switch not answer its master, or is that silent?"""
        by = self._managed.get(dpid)
        if by is None:
            return False
        said_at, held = self._held.get(by.member, (-math.inf, {}))
        return self._clock() - said_at > LATE_S or dpid not in held or held[dpid].owes

    def _held_by(self, dpid: int) -> tuple[By, Tried | None] | None:
        master = self._cluster.master(dpid)
        if master is None or master.member == self._cluster.member or master.member not in self._held:
            return None
        there = self._held[master.member][1].get(dpid)
        if there is None or there.generation != master.generation or not there.begun:
            return None
        if not there.owes:
            self._owing_since.pop(dpid, None)
        elif self._clock() - self._owing_since.setdefault(dpid, self._clock()) >= OWED_S:
            return None
        begun = self._lines.begun(master.member), there.begun
        return By(master.member, master.generation, begun), there.tried

    def _write(self, dpid: int, generation: int, data: bytes) -> None:
        for say in self.before_writes:
            say(dpid)
        if data:
            self._lines.publish(WRITES, sharing_lines.writes(self._cluster.term(), dpid, generation, data))

    def say_hosts(self, dpid: int) -> None:
        if hosts := self._controller.switches[dpid].hosts.pop_new():
            self._lines.publish(HOSTS, sharing_lines.hosts(self._cluster.term(), dpid, hosts))

    def _tell(self) -> None:
        if not self._managed:
            self._told = None
            self._heard = None if self._cluster.leads() else self._heard
            return
        for dpid in self._managed:
            self.say_hosts(dpid)
        told, now, before = self._controller.told(), self._clock(), self._told
        if before and self._not_taken() and now - self._told_at > TAKEN_S:
            before = None  # a line may have been lost
        if before is None or told != before or self._version != self._told_version:
            self._lines_told += 1
            self._told, self._told_version, self._told_at, self._heard = told, self._version, now, told
            line = sharing_lines.told(self._cluster.term(), self._lines_told, self._version, told, before)
            self._lines.publish(TOLD, line)

    def tell_now(self) -> Collection[str]:
        """Something has been decided that flows depend on → the switches whose masters have not taken all of it yet."""
        if not self._cluster.leads():
            return ()
        self._tell()
        return self._not_taken()

    def _not_taken(self) -> list[str]:
        late = [dpid for dpid, by in self._managed.items() if self._taken.get(by.member, 0) < self._lines_told]
        return [self._controller.switches[dpid].name for dpid in late]

    def _hear_taken(self, member: str, line: tuple[int, int]) -> None:
        term, number = line
        if self._cluster.leads() and term == self._cluster.term():
            self._taken[member] = number

    def _hear_heard(self, member: str, line: Heard) -> None:
        by = self._managed.get(line.dpid)
        if by and (by.member, by.generation) == (member, line.generation):
            self._take(*line)

    @isolated
    def _take(self, dpid: int, generation: int, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "packet_in":
            cookie, port, frame = arguments[0]
            self._react(self._controller.packet_in(dpid, cookie, port, frame, self._clock()))
        elif event == "noticed":
            self._controller.noticed(dpid, *arguments)
        else:
            getattr(self._listener, event)(dpid, *arguments)
