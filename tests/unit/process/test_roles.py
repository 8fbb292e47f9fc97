"""Who may write to a switch is what the switch itself says: controllers and switches with roles, without sockets."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection
from pathlib import Path

import pytest
from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.cluster.cluster import Claim, RoleAnswer, Turn
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.switch_events import SwitchLost, SwitchMastered, SwitchReleased
from anycast_sdn.description import reading
from anycast_sdn.openflow.connection import Connection
from anycast_sdn.openflow.rules import AddFlow
from anycast_sdn.process import connections
from anycast_sdn.process.app import AnycastApp
from tests.unit.openflow.test_codec import as_flow_stats
from tests.unit.switch_end import HELLO, RULE, error, features, in_trials, message, multipart

ARH1, ARS2 = 1, 2
FIGURE1 = Path(__file__).parents[3] / "topologies" / "figure1.yaml"
WRITES = (ofp.OFPT_FLOW_MOD, ofp.OFPT_GROUP_MOD, ofp.OFPT_METER_MOD, ofp.OFPT_PACKET_OUT)
STALE = ofp.OFPET_ROLE_REQUEST_FAILED, ofp.OFPRRFC_STALE
IS_SLAVE = ofp.OFPET_BAD_REQUEST, ofp.OFPBRC_IS_SLAVE


class Member:
    """A ``Cluster`` that says what the test wants it to say."""

    def __init__(self) -> None:
        self.claims: dict[int, Claim] = {}
        self.granted: set[int] = set()
        self.answers: list[tuple[RoleAnswer, int]] = []
        self.leader = False
        self.terms = 1
        self._changed: Callable[[Collection[int]], None]

    def leads(self) -> bool:
        return self.leader

    def term(self) -> int:
        return self.terms

    def is_master(self, dpid: int) -> bool:
        return dpid in self.granted

    def watch(self, changed: Callable[[Collection[int]], None]) -> None:
        self._changed = changed

    def connected(self, dpid: int) -> None: ...

    def disconnected(self, dpid: int) -> None:
        self.granted.discard(dpid)

    def claim(self, dpid: int) -> Claim:
        return self.claims.get(dpid, Claim(False, 0))

    def answered(self, dpid: int, claim: Claim, answer: RoleAnswer, generation: int = 0) -> Turn:
        self.answers.append((answer, generation))
        was_master = self.refused(dpid)
        if claim.master and answer in (RoleAnswer.GRANTED, RoleAnswer.UNSUPPORTED):
            self.granted.add(dpid)
            return Turn.BEGUN
        if answer is RoleAnswer.STALE and claim.master:
            self.claims[dpid] = Claim(True, generation + 1)
            self.ask_again(dpid)
        return Turn.ENDED if was_master else Turn.NONE

    def refused(self, dpid: int) -> bool:
        was_master = dpid in self.granted
        self.granted.discard(dpid)
        return was_master

    def ask_again(self, dpid: int = ARH1) -> None:
        self._changed([dpid])

    def become_master(self, generation: int, dpid: int = ARH1) -> None:
        self.leader = True
        self.claims[dpid] = Claim(True, generation)
        self._changed([dpid])

    def become_slave(self, dpid: int = ARH1) -> None:
        self.leader = False
        self.claims[dpid] = Claim(False, 0)
        self._changed([dpid])


class Switch:
    """It has one rule, of a flow that no controller knows, and roles as Open vSwitch has them."""

    def __init__(self, dpid: int = ARH1, *, has_roles: bool = True) -> None:
        self.dpid = dpid
        self.has_roles = has_roles
        self.generation: int | None = None
        self.master: End | None = None
        self.is_silent = False
        self.tells_generation = True


class End(Connection):
    """The connection of one controller to a switch."""

    def __init__(self, app: AnycastApp, switch: Switch) -> None:
        super().__init__(app, "192.0.2.1:40000", lambda: None)
        self.switch = switch
        self.taken: list[int] = []  # kinds of writes that were accepted, …
        self.refused = 0  # … and how many were not
        self.asked: list[int] = []  # kinds of all messages
        self.role = ofp.OFPCR_ROLE_EQUAL
        self._soon: list[tuple[int, Callable[[], None]]] = []
        self.say(HELLO)
        self.say(features(switch.dpid))
        self.unsent.clear() if self.awaits_admission else None

    def later(self, act: Callable[[], None]) -> None:
        self._soon.append((self.session, act))

    def say(self, data: bytes) -> None:
        self.receive(data)
        while self.handle(64):
            pass

    def answer(self) -> None:
        """Process all messages of the controller, and what follows."""
        while self.unsent or self._soon:
            data = bytes(self.unsent)
            self.unsent.clear()
            while data:
                _, kind, length, xid = struct.unpack_from("!BBHI", data)
                self._process(kind, xid, data[:length])
                data = data[length:]
            soon, self._soon = self._soon, []
            for session, act in soon:
                if session == self.session:
                    act()

    def _process(self, kind: int, xid: int, data: bytes) -> None:
        self.asked.append(kind)
        is_slave = self.role == ofp.OFPCR_ROLE_SLAVE or (
            self.switch.master is not None and self.switch.master is not self and self.role == ofp.OFPCR_ROLE_MASTER
        )
        if kind in WRITES:
            if is_slave:
                self.refused += 1
                self.say(error(*IS_SLAVE, data, xid))
            else:
                self.taken.append(kind)
                self.say(in_trials(kind, data[8:], every_packet=True))
        elif kind == ofp.OFPT_ROLE_REQUEST and not self.switch.is_silent:
            self._take_role(xid, *struct.unpack_from("!I4xQ", data, 8))
        elif kind == ofp.OFPT_MULTIPART_REQUEST:
            self._list(int.from_bytes(data[8:10], "big"), xid)
        elif kind == ofp.OFPT_BARRIER_REQUEST:
            self.say(message(ofp.OFPT_BARRIER_REPLY, xid=xid))
        elif kind == ofp.OFPT_ECHO_REQUEST:
            self.say(message(ofp.OFPT_ECHO_REPLY, data[8:], xid))

    def _take_role(self, xid: int, role: int, generation: int) -> None:
        switch = self.switch
        if role == ofp.OFPCR_ROLE_NOCHANGE and not switch.tells_generation:
            self.say(error(ofp.OFPET_ROLE_REQUEST_FAILED, ofp.OFPRRFC_BAD_ROLE, xid=xid))
            return
        if not switch.has_roles:
            self.say(error(ofp.OFPET_BAD_REQUEST, ofp.OFPBRC_BAD_TYPE, xid=xid))
            return
        if role in (ofp.OFPCR_ROLE_MASTER, ofp.OFPCR_ROLE_SLAVE):
            if switch.generation is not None and (generation - switch.generation) % (1 << 64) >= 1 << 63:
                self.say(error(*STALE, xid=xid))
                return
            switch.generation = generation
            self.role = role
            if role == ofp.OFPCR_ROLE_MASTER:
                switch.master = self
        now = self.role if self.role != ofp.OFPCR_ROLE_MASTER or switch.master is self else ofp.OFPCR_ROLE_SLAVE
        known = (1 << 64) - 1 if switch.generation is None else switch.generation
        self.say(message(ofp.OFPT_ROLE_REPLY, struct.pack("!I4xQ", now, known), xid))

    def _list(self, kind: int, xid: int) -> None:
        bodies = {ofp.OFPMP_DESC: bytes(1056), ofp.OFPMP_METER_FEATURES: bytes(16), ofp.OFPMP_FLOW: as_flow_stats(RULE)}
        self.say(multipart(kind, bodies.get(kind, b""), xid))


class Controller:
    """One of several, and what it reports."""

    def __init__(self) -> None:
        self.cluster = Member()
        self.app = AnycastApp(reading.load(FIGURE1), Groups(), self.cluster)  # type: ignore[arg-type]
        self.later: list[Callable[[], object]] = []
        self.app.connections._later = lambda seconds, act: self.later.append(act)
        self.following: list[Callable[[], object]] = []
        self.app.connections._ahead._later = lambda seconds, act: self.following.append(act)
        self.told: list[object] = []
        self.app._subscribers = (self.told.append,)

    def connect(self, switch: Switch) -> End:
        return End(self.app, switch)

    def work(self, *ends: End) -> None:
        """Until nothing is left to do."""
        busy = True
        while busy:
            for end in ends:
                end.answer()
            busy = self.app.controller.is_busy()
            if busy:
                self.app._slice()

    def events(self, of: type) -> list[object]:
        return [each for each in self.told if isinstance(each, of)]


def test_nothing_is_written_before_the_switch_says_master() -> None:
    one, switch = Controller(), Switch()
    one.cluster.claims[ARH1] = Claim(True, 5)
    one.cluster.leader = True
    switch.is_silent = True
    end = one.connect(switch)
    one.work(end)
    assert set(end.asked) <= {ofp.OFPT_FEATURES_REQUEST, ofp.OFPT_HELLO, ofp.OFPT_ROLE_REQUEST}
    switch.is_silent = False
    for _ in range(20):
        end.tick(end._ticked + 0.25 if end._ticked is not None else 0.0)
        end.answer()
    assert [answer for answer, _ in one.cluster.answers] == [RoleAnswer.SILENT]
    one.cluster.ask_again()
    one.work(end)
    assert len(end.taken) >= len(one.app.controller.switches[ARH1].installed) > 0
    assert len(one.events(SwitchMastered)) == 1
    assert end.refused == 0


def test_a_slave_asks_for_reports_of_removed_rules_and_what_the_switch_is() -> None:
    one, switch = Controller(), Switch()
    end = one.connect(switch)
    one.work(end)
    assert [kind for kind in end.asked if kind not in (ofp.OFPT_HELLO, ofp.OFPT_FEATURES_REQUEST)] == [
        ofp.OFPT_ROLE_REQUEST, ofp.OFPT_ROLE_REQUEST, ofp.OFPT_SET_ASYNC, ofp.OFPT_MULTIPART_REQUEST
    ]  # fmt: skip
    assert not one.app.controller.switches[ARH1].ever_synchronised


def test_a_slave_does_not_outbid_the_master_to_be() -> None:
    one, switch = Controller(), Switch()
    switch.generation = 100
    end = one.connect(switch)
    one.work(end)
    assert switch.generation == 100
    assert end.role == ofp.OFPCR_ROLE_SLAVE


def taken_over() -> tuple[Controller, Controller, End, End]:
    """The first one was the master, and the second one has become it without its knowledge."""
    first, second, switch = Controller(), Controller(), Switch()
    ends = first.connect(switch), second.connect(switch)
    for controller, end in zip((first, second), ends, strict=True):
        controller.work(end)
    first.cluster.become_master(5)
    first.work(ends[0])
    second.cluster.become_master(6)
    second.work(ends[1])
    return first, second, *ends


def test_a_master_whose_first_word_is_refused_is_slave_at_once() -> None:
    first, _, end, other = taken_over()
    written = len(end.taken)
    old = first.app.controller.switches[ARH1]
    first.cluster.leader = False
    end.send([AddFlow(RULE)] * 50)
    end.answer()
    assert (end.refused, len(end.taken)) == (50, written)
    assert [event.sentence() for event in first.events(SwitchReleased)] == [  # type: ignore[attr-defined]
        "switch arh1: another controller is its master now, and this one no more"
    ]
    assert not first.cluster.granted
    assert not old.synchronised
    assert first.app.controller.switches[ARH1] is not old  # it has forgotten what it knew
    first.app._tick()
    first.work(end)
    assert end.refused == 50
    assert not other.refused


def test_a_master_that_is_replaced_in_etcd_lays_down_before_the_switch_says_so() -> None:
    first, _, end, _ = taken_over()
    end.send([AddFlow(RULE)] * 50)
    first.cluster.become_slave()
    first.work(end)
    assert end.refused == 0
    assert first.events(SwitchReleased) == [SwitchReleased("arh1", 50)]


def test_what_it_gets_back_after_another_one_had_it_is_read_as_after_a_restart() -> None:
    first, second, end, other = taken_over()  # nobody has noticed anything
    old, read = first.app.controller.switches[ARH1], end.asked.count(ofp.OFPT_MULTIPART_REQUEST)
    first.cluster.become_master(7)
    first.work(end)
    assert first.app.controller.switches[ARH1] is not old
    assert end.asked.count(ofp.OFPT_MULTIPART_REQUEST) >= 2 * (read - 1) + 1 > 1  # one of them it asks as a slave
    assert first.app.controller.switches[ARH1].synchronised
    other.send([AddFlow(RULE)])
    other.answer()
    assert len(second.events(SwitchReleased)) == 1


def test_another_generation_alone_changes_nothing() -> None:
    one, switch = Controller(), Switch()
    end = one.connect(switch)
    one.work(end)
    one.cluster.become_master(5)
    one.work(end)
    managed, asked = one.app.controller.switches[ARH1], len(end.asked)
    one.cluster.become_master(9)
    one.work(end)
    assert one.app.controller.switches[ARH1] is managed
    assert end.asked[asked:] == [ofp.OFPT_ROLE_REQUEST] * 2


@pytest.mark.parametrize("other_was_master", [False, True])
def test_a_switch_that_comes_back_is_known_if_nobody_else_had_it(other_was_master: bool) -> None:
    one, switch = Controller(), Switch()
    one.cluster.claims[ARH1] = Claim(True, 5)
    one.cluster.leader = True
    end = one.connect(switch)
    one.work(end)
    managed = one.app.controller.switches[ARH1]
    end.close("cut")
    assert len(one.events(SwitchLost)) == 1
    if other_was_master:
        other = Controller()
        other.cluster.claims[ARH1] = Claim(True, 6)
        other.work(other.connect(switch))
        one.cluster.claims[ARH1] = Claim(True, 7)
    again = one.connect(switch)
    one.work(again)
    assert (one.app.controller.switches[ARH1] is not managed) is other_was_master
    assert one.app.controller.switches[ARH1].synchronised


@pytest.mark.parametrize("others_led", [False, True])
def test_what_is_known_of_a_switch_that_was_started_anew_is_put_back_if_nobody_else_has_led(others_led: bool) -> None:
    one, switch = Controller(), Switch()
    one.cluster.claims[ARH1] = Claim(True, 5)
    one.cluster.leader = True
    end = one.connect(switch)
    one.work(end)
    managed = one.app.controller.switches[ARH1]
    end.close("restarted")
    switch.generation = switch.master = None
    one.cluster.claims[ARH1] = Claim(True, 6)
    one.cluster.terms += others_led
    one.work(one.connect(switch))
    assert (one.app.controller.switches[ARH1] is managed) is not others_led


def test_a_stale_claim_is_repeated_with_what_the_cluster_says_then() -> None:
    one, switch = Controller(), Switch()
    switch.generation = 1000
    end = one.connect(switch)
    one.work(end)
    one.cluster.become_master(5)
    one.work(end)
    assert one.cluster.answers[-2:] == [(RoleAnswer.STALE, 1000), (RoleAnswer.GRANTED, 1000)]
    assert (switch.generation, one.cluster.granted) == (1001, {ARH1})


def test_a_switch_that_does_not_tell_its_generation_is_read_anew_whenever_it_is_gained() -> None:
    one, switch = Controller(), Switch()
    switch.tells_generation = False
    end = one.connect(switch)
    one.work(end)
    assert end.role == ofp.OFPCR_ROLE_SLAVE
    one.cluster.become_master(5)
    one.work(end)
    managed = one.app.controller.switches[ARH1]
    assert managed.synchronised
    one.cluster.become_slave()
    one.work(end)
    one.cluster.become_master(6)
    one.work(end)
    assert one.app.controller.switches[ARH1] is not managed
    assert one.app.controller.switches[ARH1].synchronised


def test_a_switch_without_roles_is_served_as_by_a_single_controller() -> None:
    one, switch = Controller(), Switch(has_roles=False)
    end = one.connect(switch)
    one.work(end)
    assert not end.taken
    one.cluster.become_master(5)
    one.work(end)
    assert end.taken
    assert one.app.controller.switches[ARH1].synchronised


def test_only_the_last_claim_counts() -> None:
    one, switch = Controller(), Switch()
    end = one.connect(switch)
    one.work(end)
    one.cluster.become_master(5)
    one.cluster.become_slave()
    one.work(end)
    assert not end.taken
    assert not one.cluster.granted
    assert end.role == ofp.OFPCR_ROLE_SLAVE


def test_a_slave_whose_switch_is_gone_does_not_say_that_it_is_lost() -> None:
    one, switch = Controller(), Switch()
    end = one.connect(switch)
    one.work(end)
    end.close("cut")
    assert not one.events(SwitchLost)


def test_a_follower_is_well_as_long_as_it_could_take_over() -> None:
    one = Controller()
    switches = {dpid: Switch(dpid) for dpid in one.app.controller.switches}
    ends = [one.connect(switch) for switch in switches.values()]
    one.work(*ends)
    assert (one.app.health(100.0)["status"], one.app.health(100.0)["reasons"]) == ("ok", [])
    assert all(each["connected"] for each in one.app.health(100.0)["switches"].values())
    ends[0].close("cut")
    shown = one.app.health(200.0)
    assert shown["status"] == "degraded"
    assert [(each["code"], each["severity"]) for each in shown["reasons"]] == [("switch.unreached", "warning")]
    assert [each["connected"] for each in shown["switches"].values()] == [False, True, True, True]


def test_long_introductions_are_no_matter_of_slaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "INTRODUCTION_S", 0.0)
    one, switch = Controller(), Switch()
    end = one.connect(switch)
    one.app.connections.end_long_introductions(1e9)
    assert not end.is_closed
