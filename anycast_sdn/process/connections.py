"""Connections: which switches are connected, which are admitted, and how a connected switch becomes ready.

A switch that has sent its datapath id (``identified``) is asked for its features and its rules (``Introduction``); the
rules are read back in slices; then it is ready.  A switch has one connection: a second one replaces the first only if
the first is dead.

Where there are several controllers, it is asked first to take this one as its master (``roles``).  Rules kept here:

- Nothing is sent to a switch that would change it before it has answered that this controller is its master; after that
  until it refuses something, or etcd names another one.  ``Connection`` is the gate.
- What is known of a switch is as of the generation by which this controller was its master.  As long as the switch has
  the same one nobody else has been its master.  Otherwise all that is known may be out of date, of the network as of
  this switch: the controller begins anew (``forget``), and adopts what it finds, as after a restart.
- A controller that neither leads nor is the master of a switch begins anew at once, so that it knows nothing when it
  gets one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial

from anycast_sdn.cluster.cluster import Claim, Cluster, RoleAnswer, Turn
from anycast_sdn.control.controller import Controller
from anycast_sdn.control.outcome import Outbox, Outcome
from anycast_sdn.control.reading_back import ReadingBack
from anycast_sdn.control.share import Share
from anycast_sdn.core.switch_events import (
    SwitchConnected,
    SwitchDegraded,
    SwitchLost,
    SwitchManaged,
    SwitchMastered,
    SwitchReleased,
)
from anycast_sdn.engines.engine import Following
from anycast_sdn.openflow.channel import Channel
from anycast_sdn.openflow.features import Features, Tried
from anycast_sdn.openflow.pending import silence
from anycast_sdn.openflow.questions import Introduction
from anycast_sdn.openflow.rules import Message, ReportExpired
from anycast_sdn.openflow.tables import Tables
from anycast_sdn.process import garbage, roles
from anycast_sdn.process.admission import Admission
from anycast_sdn.process.faults import isolated
from anycast_sdn.process.mastered import Mastered, was_only_master
from anycast_sdn.process.postponed import Postponed
from anycast_sdn.process.read_ahead import ReadAhead
from anycast_sdn.process.ready_switches import Found, ready_events
from anycast_sdn.process.released import Released
from anycast_sdn.process.resyncs import Resyncs
from anycast_sdn.process.roles import Answered

BETWEEN_S = 6.0  # a connected switch that has no master for so long counts as away
INTRODUCTION_S = 120.0  # in which a switch must answer all requests at connect


class Connections:
    """``react``: carries out what an event has led to (``AnycastApp``); ``ready``: called when a switch has become
    ready; ``later``: calls a function after so many seconds; ``released``: called when this controller is a switch's
    master no more; ``begin_anew``: lets the controller forget what it knows; ``tried``, ``note_tried``: what has been
    tried out at switches, by whoever was their master.
    """

    def __init__(
        self,
        controller: Controller,
        cluster: Cluster,
        react: Callable[[Outcome], None],
        ready: Callable[[], None],
        later: Callable[[float, Callable[[], object]], object],
        released: Callable[[int, bool], None] = lambda dpid, keeps: None,
        begin_anew: Callable[[Collection[int], Collection[int]], None] = lambda kept, followed: None,
        tried: Callable[[int], Tried | None] = lambda dpid: None,
        note_tried: Callable[[int, Tried], None] = lambda dpid, tried: None,
    ) -> None:
        self._controller = controller
        self._cluster = cluster
        self._react = react
        self._ready = ready
        self._later = later
        self._released = released
        self._begin_anew = begin_anew
        self._tried = tried
        self._note_tried = note_tried
        self._witnesses: set[Channel] = set()  # over which a switch was connected while it had another master
        self._ahead = ReadAhead(controller, later)
        self.released = Released()
        self.mastered: Callable[[], None] = lambda: None  # called before a switch is read whose master this one is now
        self.shares = False  # may others be masters of switches on which this controller decides, as the leader?
        self.channels: dict[int, Channel] = {}  # datapath id → the connection of an admitted switch
        self.identified = Admission(controller, lambda dpid: self.channels.get(dpid), self._admit).identified
        self._between: dict[int, float] = {}  # datapath id → since when it has no master, or a new one is not ready
        self._asked: dict[int, Claim] = {}  # what connected switches were asked for last
        self._mastered: dict[int, Mastered] = {}  # datapath id → as this controller was its master last
        self._introducing: dict[Channel, float] = {}  # → since when
        self._to_introduce_again: set[Channel] = set()  # of these
        self._postponed = Postponed(controller)
        self._begin = self._postponed.begin
        self._comparing: dict[Channel, Found] = {}  # switches that have not been sent all wanted rules yet
        self._resyncs = Resyncs(lambda dpid: self.channels.get(dpid), later)
        self.resync_later = self._resyncs.resync_later

    def __contains__(self, dpid: int) -> bool:
        return dpid in self.channels

    def __iter__(self) -> Iterator[int]:
        return iter(self.channels)

    @property
    def serves_any(self) -> bool:
        """Is this controller the master of any switch?"""
        return any(switch.is_master for switch in self.channels.values())

    @property
    def decides(self) -> bool:
        """Does this controller decide on the network: as the leader, or as a master where there is no other one?"""
        return self._cluster.leads() or (self.serves_any and self._share is Share.ALL)

    def generation(self, dpid: int) -> int:
        """By which this controller has become the switch's master last; 0: it never was."""
        mastered = self._mastered.get(dpid)
        return mastered.generation if mastered else 0

    def name(self, dpid: int) -> str:
        return self._controller.switches[dpid].name

    def send(self, out: Outbox) -> None:
        """To those of the switches that are connected and of which this controller is the master."""
        for dpid, messages in out.items():
            switch = self.channels.get(dpid)
            if switch and (self._cluster.is_master(dpid) or (self.shares and switch.is_manager)):
                self._send_to(switch, messages)
        if self._comparing:
            self._report_ready_switches()
        self._postponed.begin_due(self._introducing)

    @isolated
    def _send_to(self, switch: Channel, messages: list[Message]) -> None:
        switch.send(messages)

    def owing(self) -> set[str]:
        """The switches that owe an answer, or cannot be asked, by name."""
        return {
            self.name(dpid) for dpid, switch in self.channels.items() if switch.owes_answer or dpid in self._between
        }

    def owes(self, dpid: int) -> bool:
        switch = self.channels.get(dpid)
        return switch is not None and switch.owes_answer

    def is_heard(self, dpid: int) -> bool:
        """Has it answered all that it was asked before the last tick?"""
        switch = self.channels.get(dpid)
        return switch is None or not switch.is_silent

    def ask(self, dpids: Iterable[int]) -> None:
        """Whether these answer; see ``owing``."""
        for switch in filter(None, map(self.channels.get, dpids)):
            switch.doubt(unheard=False)

    def doubt(self, doubted: Mapping[str, bool]) -> None:
        """See ``Discovery.doubted``: these are asked whether they answer."""
        for name, unheard in doubted.items():
            if switch := self.channels.get(self._controller.by_name[name].dpid):
                switch.doubt(unheard)

    # ---------------------------------------------------------------- roles

    def _admit(self, switch: Channel) -> None:
        switch.admit(self.name(switch.id), self._controller.switches[switch.id].described.keeps_ttl)
        self.channels[switch.id] = switch
        self._cluster.connected(switch.id)
        if claim := self._cluster.claim(switch.id):
            switch.become_slave()  # until it says otherwise
            self._ask_role(switch, claim)
        else:
            self._introduce(switch)

    def take_role(self, dpid: int) -> None:
        """In a cluster: this switch is to be asked for another role."""
        switch, claim = self.channels.get(dpid), self._cluster.claim(dpid)
        if claim is None:
            self.synchronise(dpid)
        elif switch:
            self._ask_role(switch, claim)

    def _ask_role(self, switch: Channel, claim: Claim) -> None:
        if not claim.master:
            self._lay_down(switch)
        self._asked[switch.id] = claim
        roles.ask(switch, claim, partial(self._take_answer, switch, claim))

    @isolated
    def _take_answer(self, switch: Channel, claim: Claim, answered: Answered) -> None:
        if self.channels.get(switch.id) is not switch or self._asked.get(switch.id) is not claim:
            return  # it has been asked for something else since
        turn = self._cluster.answered(switch.id, claim, answered.answer, answered.generation or 0)
        if turn in (Turn.BEGUN, Turn.KEPT):
            self._granted(switch, claim, answered, turn)
        elif turn is Turn.ENDED:
            self._lay_down(switch)
        if not claim.master and answered.answer in (RoleAnswer.GRANTED, RoleAnswer.UNSUPPORTED):
            if claim.generation:  # it has another master
                self._witnesses.add(switch)
            switch.send([ReportExpired(False)])  # of other reports it gets those that are for a slave
            self._ahead.begin(switch)

    def _granted(self, switch: Channel, claim: Claim, answered: Answered, turn: Turn) -> None:
        last, now = self._mastered.get(switch.id), Mastered(claim.generation, self._cluster.term())
        self._mastered[switch.id] = now
        is_known = last is not None and was_only_master(last, now, answered, turn)
        managed = self._controller.switches[switch.id]
        if not is_known and managed.ever_synchronised and managed.share is not Share.REST:
            self._doubt(switch, last)
        if switch.is_master:
            return  # by another generation
        self.manage_no_more(switch.id)
        self._take_up(switch)

    def _doubt(self, switch: Channel, last: Mastered | None) -> None:
        """Another one has been the switch's master since: has it decided for the network, or on the flows there?"""
        has_led = self._cluster.leads() and last is not None and last.term == self._cluster.term()
        if self.shares and (has_led or self._share is Share.FLOWS):
            self._controller.switches[switch.id].doubt_flows()
        else:
            self.forget()

    def _take_up(self, switch: Channel) -> None:
        """This controller is the switch's master: it knows nothing of it, or all as before."""
        switch.become_master()
        self.mastered()
        self._react(Outcome(events=[SwitchMastered(self.name(switch.id))]))
        self._ahead.take_over(switch, partial(self._introduce, switch))

    # ---------------------------------------------------------------- switches whose flows have another master

    def manage(self, dpid: int, pass_on: Callable[[bytes], None], generation: int, tried: Tried | None) -> None:
        """As the leader: decide on all of this switch but its flows, which its master does, who sends what is written.

        ``tried``: by the master.
        """
        switch = self.channels[dpid]
        self._ahead.end(switch)
        switch.become_manager(pass_on)
        self._react(Outcome(events=[SwitchManaged(self.name(dpid))]))
        self._introducing[switch] = time.monotonic()
        managed = self._controller.switches[dpid]
        known = managed.features if managed.ever_synchronised else None
        done = partial(self._introduced, None, share=Share.REST, term=generation)
        self._begin(Introduction(switch, managed.meters, known, done, tried, flows=False), switch)

    def manage_no_more(self, dpid: int) -> None:
        """Its master has gone, or this controller becomes it."""
        switch = self.channels.get(dpid)
        if switch is None or not switch.is_manager:
            return
        self._stop(switch)
        self._leave(switch)
        switch.send([ReportExpired(False)])
        if not (self._cluster.leads() or self.serves_any):
            self.forget()
        self._ahead.begin(switch)

    def look_at_shares(self) -> None:
        """This controller may lead now, or lead no more: it decides on more, or less, of its switches."""
        if not self.shares:
            return
        wanted, switches = self._share, self._controller.switches
        masters = [switches[dpid] for dpid, switch in self.channels.items() if switch.is_master]
        has_obeyed = self._controller.obeys and self._cluster.leads()
        # Where it is not known yet what is decided there, that is seen to when it is.
        known = [each for each in masters if each.reading or each.synchronised or each.decides_on_flows]
        if has_obeyed or any(each.share is not wanted for each in known):
            self.forget(keeping=True)

    @property
    def _share(self) -> Share:
        """Of the switches whose master this controller is."""
        return Share.FLOWS if self.shares and not self._cluster.leads() else Share.ALL

    def is_slave(self, dpid: int) -> None:
        """The switch has refused a write of ours."""
        switch = self.channels.get(dpid)
        if switch and switch.is_master:
            self._cluster.refused(dpid)
            self._lay_down(switch)

    def _lay_down(self, switch: Channel) -> None:
        """This controller is the switch's master no more."""
        if not switch.is_master:
            return
        unsent = self._stop(switch)
        self._react(Outcome(events=[SwitchReleased(self.name(switch.id), unsent)]))
        self._leave(switch)
        self.forget_as_follower()

    def _leave(self, switch: Channel) -> None:
        """Another controller becomes the switch's master, or this one, after another.

        For the leader it is there meanwhile: it forwards packets as before, and its links are as they were.
        """
        now, managed = time.monotonic(), self._controller.switches[switch.id]
        if self.shares and self._cluster.leads():
            self._between.setdefault(switch.id, now)
            self._react(self._controller.released(switch.id, now))
        else:
            self._react(self._controller.disconnected(switch.id, now))
        if managed.share is Share.FLOWS or (managed.share is Share.REST and not self._cluster.leads()):
            managed.let_go()

    @isolated
    def end_long_changes(self, now: float) -> None:
        """A switch for which no master is found counts as away."""
        for dpid in [dpid for dpid, since in self._between.items() if now - since > BETWEEN_S]:
            del self._between[dpid]
            self._react(self._controller.away(dpid, now))

    def _stop(self, switch: Channel) -> int:
        """Whatever is going on with this switch ends, without an effect → how many messages were not sent."""
        unsent = switch.become_slave()
        self._introducing.pop(switch, None)
        self._to_introduce_again.discard(switch)
        self._comparing.pop(switch, None)
        self._resyncs.end(switch)
        self._released(switch.id, False)
        return unsent

    def forget_as_follower(self) -> None:
        """Forget what is known, if this controller decides nothing."""
        decides = self._cluster.leads() or self.serves_any
        if not decides and any(switch.ever_synchronised for switch in self._controller.switches.values()):
            self.forget()

    def forget(self, keeping: bool = False) -> None:
        """What is known may be out of date: the controller begins anew, and reads the switches whose master it is.

        ``keeping``: but for their flows, on which it has decided all the time, and for those that it follows: this is
        when it needs them, because it becomes the master of switches of the leader before it.
        """
        masters = [switch for switch in self.channels.values() if switch.is_master]
        kept = [switch.id for switch in masters if keeping and self._keeps_flows(switch)]
        followed = self._ahead.followed() if keeping else frozenset()
        for switch in self.channels.values():
            if switch.id in kept:
                self._comparing.pop(switch, None)
                self._released(switch.id, True)
            elif switch.is_master or switch.is_manager:
                self._stop(switch)
        for dpid, managed in self._controller.switches.items():
            if dpid not in kept and dpid not in followed:
                self.released.keep(dpid, managed.engine.resting())
        self._between.clear()
        self._begin_anew(kept, followed)
        self._ahead.begin_anew(followed)
        for switch in masters:
            if switch.id not in kept:
                self._take_up(switch)
            elif self._share is Share.ALL:
                self._introduce_the_rest(switch)

    def _keeps_flows(self, switch: Channel) -> bool:
        return self._controller.switches[switch.id].decides_on_flows and switch not in self._introducing

    def _introduce_the_rest(self, switch: Channel) -> None:
        """This controller has decided on its flows, and decides on all else as well from now on."""
        self._introducing[switch] = time.monotonic()
        managed = self._controller.switches[switch.id]
        done, note = partial(self._introduced, None), partial(self._note_tried, switch.id)
        tried = self._tried(switch.id)
        self._begin(Introduction(switch, managed.meters, managed.features, done, tried, note, flows=False), switch)

    def _introduce(self, switch: Channel, followed: Following | None = None) -> None:
        """``followed``: what it holds of flows is known."""
        self._introducing[switch] = time.monotonic()
        self.unanswered(switch.id, frozenset())
        managed = self._controller.switches[switch.id]
        known = managed.features if managed.ever_synchronised else None
        # Since the connection was made it is the same switch.  One that has connected anew may be another.
        tried = self._tried(switch.id) if switch in self._witnesses else None
        note = partial(self._note_tried, switch.id)
        done = partial(self._introduced, followed)
        self._begin(Introduction(switch, managed.meters, known, done, tried, note, flows=followed is None), switch)

    def disconnected(self, switch: Channel) -> None:
        if switch.is_master or switch.is_manager:
            described = self._controller.switches[switch.id].described
            is_client_edge = switch.is_master and described.client_edge is not None
            self._react(Outcome(events=[SwitchLost(self.name(switch.id), switch.peer, switch.reason, is_client_edge)]))
        self._ahead.end(switch)
        self._introducing.pop(switch, None)
        self._to_introduce_again.discard(switch)
        self._comparing.pop(switch, None)
        self._resyncs.end(switch)
        self._witnesses.discard(switch)
        if self.channels.get(switch.id) is switch:
            del self.channels[switch.id]
            self._asked.pop(switch.id, None)
            self._cluster.disconnected(switch.id)
            is_between = self._between.pop(switch.id, None) is not None
            if switch.is_master or switch.is_manager or is_between:
                self._react(self._controller.disconnected(switch.id, time.monotonic()))
                self.forget_as_follower()

    @isolated
    def synchronise(self, dpid: int) -> None:
        """This controller has become the switch's master: what the switch holds is read, as when it connects.

        Its former master has changed it, and what this controller would have sent meanwhile was not sent.
        """
        switch = self.channels.get(dpid)
        if switch is None:
            return
        self._react(Outcome(events=[SwitchMastered(self.name(dpid))]))
        self.introduce_again(switch)

    def introduce_again(self, switch: Channel, *, forwards: bool = False) -> None:
        """What it can do is tried, and what it holds is read, as when it connects.

        ``forwards``: it goes on with all its rules meanwhile, and its links are as they were.
        """
        if switch in self._introducing:
            self._to_introduce_again.add(switch)
            return
        self._comparing.pop(switch, None)
        leave = self._controller.released if forwards else self._controller.disconnected
        self._react(leave(switch.id, time.monotonic()))
        self._introduce(switch)

    # ---------------------------------------------------------------- features and rules of a switch

    def unanswered(self, dpid: int, questions: frozenset[str]) -> None:
        switch = self._controller.switches[dpid]
        for what in sorted(switch.note_unanswered(questions)):
            effect = f"{silence(what)}; going on without"
            self._react(Outcome(events=[SwitchDegraded(switch.name, what, effect)]))

    @isolated
    def end_long_introductions(self, now: float) -> None:
        for switch in [switch for switch, since in self._introducing.items() if now - since > INTRODUCTION_S]:
            switch.close(f"it has not sent its features and rules within {INTRODUCTION_S:.0f} s")

    def _introduced(
        self,
        followed: Following | None,
        switch: Channel,
        found: Tables,
        features: Features,
        ports: dict[int, bool],
        share: Share | None = None,
        term: int = 0,
    ) -> None:
        """``share``: None: as of a master; ``term``: of a switch that has another master."""
        if self._introducing.pop(switch, None) is None:
            return
        if switch in self._to_introduce_again:
            self._to_introduce_again.discard(switch)
            self._introduce(switch)
            return
        term = term or self.generation(switch.id)
        followed = None if found.unlisted else followed
        self._controller.begin_reading(switch.id, found, features, term, followed, share or self._share)
        self._controller.rest(switch.id, self.released.pop(switch.id), time.monotonic())
        seen = Found(len(found.flows), found.had_others, found.unlisted)
        self._read_on(switch, self._controller.switches[switch.id].reading, seen, ports)

    def _read_on(self, switch: Channel, reading: ReadingBack | None, found: Found, ports: dict[int, bool]) -> None:
        """Read back the rules of the switch, a slice at a time; other green threads run between slices.

        This ends when the switch disconnects, or when another reading begins.
        """
        current = self.channels.get(switch.id) is switch and self._controller.switches[switch.id].reading is reading
        if current and not self._read_slice(switch, reading, found, ports):
            switch.close("internal error while its rules were read back")

    @isolated
    def _read_slice(self, switch: Channel, reading: ReadingBack | None, found: Found, ports: dict[int, bool]) -> None:
        out = self._controller.read_on(switch.id, time.monotonic())
        garbage.exempt_new()  # bindings
        if out is None:
            self._end_reading(switch, found, ports)
        else:
            self._react(out)
            if self._controller.switches[switch.id].serves_flows:
                self._ready()
            switch.later(partial(self._read_on, switch, reading, found, ports))

    def _end_reading(self, switch: Channel, found: Found, ports: dict[int, bool]) -> None:
        self._react(self._controller.end_reading(switch.id, ports, time.monotonic()))
        garbage.exempt_new()  # all its rules
        self._between.pop(switch.id, None)
        self._ready()
        managed = self._controller.switches[switch.id]
        if managed.share is Share.FLOWS:
            rules = managed.engine.statistics(time.monotonic()).rules
            flows = len(managed.engine.flows)
            self._react(Outcome(events=[SwitchConnected(managed.name, switch.peer, found.rules, rules, flows)]))
        else:
            self._comparing[switch] = found

    def _report_ready_switches(self) -> None:
        """A switch that has connected is ready when all wanted rules have been sent to it."""
        ready = [
            switch for switch in self._comparing
            if not self._controller.switches[switch.id].reconciler.has_more_to_compare
        ]  # fmt: skip
        # All at once, because whoever carries out an outcome sends, and so comes back here.
        events = [
            event for switch in ready
            for event in ready_events(self._controller.switches[switch.id], switch.peer, self._comparing.pop(switch))
        ]  # fmt: skip
        if events:
            self._react(Outcome(events=events))
