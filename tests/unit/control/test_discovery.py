"""Links over time: events in, states of links out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from anycast_sdn.control.answering import CHANCE_S
from anycast_sdn.control.discovery import (
    CALM_S,
    DEAD_S,
    LAST_RESORT,
    LONGEST_HOLD_S,
    SEND_S,
    START_S,
    Discovery,
)
from anycast_sdn.control.watched_link import KnownLink
from anycast_sdn.core.model import Prefix
from anycast_sdn.core.network_events import LinkDown
from anycast_sdn.core.roles import Side, Subnet
from anycast_sdn.core.switch_events import SwitchDegraded
from anycast_sdn.description.model import Link, Network, Port, Switch
from anycast_sdn.openflow import lldp
from anycast_sdn.openflow.frames import BadFrame

A, B, C = (Port(name, 1) for name in "abc")
KEY = bytes(16)
TICK_S = 0.25


class Cables:
    """Three switches, a link from a to b in the network file, and wires that may differ from it."""

    def __init__(self, undeclared_links: bool = False, connect: bool = True, lldp: bool = True) -> None:
        self.network = Network(
            "test",
            (Prefix.parse("198.18.0.0/16"),),
            tuple(Switch(name, number) for number, name in enumerate("abc", 1)),
            (Link(A, B, 7),),
            (Subnet("hosts", "c", Side.SERVER, (), (9,)),),
            undeclared_links=undeclared_links,
            lldp=lldp,
        )
        self.discovery = Discovery(self.network, KEY)
        self.wires = {A: B, B: A}
        self.now = 100.0
        self.sent: list[tuple[Port, bytes]] = []
        self.swallowed: set[str] = set()  # switches whose connections swallow what they get
        self.owing: set[str] = set()  # those that owe an answer
        if connect:
            for name in "abc":
                self.discovery.connected(name, self.now)

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK_S)):
            self.now += TICK_S
            self.owing &= self.swallowed
            for dpid, number, frame in self.discovery.tick(self.now, self.owing)[1]:
                end = Port(self.network.switches[dpid - 1].name, number)
                self.sent.append((end, frame))
                if end in self.wires and not self.swallowed & {end.switch, self.wires[end].switch}:
                    self.discovery.hear(self.wires[end], frame, self.now)
            self.owing |= self.swallowed & self.discovery.doubted(self.now).keys()

    def connect_others(self) -> None:
        """Wires from a and b to c."""
        for number, name in enumerate("ab", 2):
            here, there = Port(name, 5), Port("c", number)
            for end, other in ((here, there), (there, here)):
                self.discovery.port_changed(end, True, self.now)
                self.wires[end] = other

    @property
    def state(self) -> str:
        return str(self.view["state"])

    @property
    def view(self) -> dict[str, object]:
        cable = self.discovery.at(A)
        assert cable is not None
        return self.discovery.view(cable, self.now)

    def costs(self) -> list[int]:
        return [link.cost for link in self.discovery.links()]

    def fail_and_return(self) -> None:
        self.discovery.port_changed(A, False, self.now)
        self.discovery.port_changed(A, True, self.now)
        self.pass_time(SEND_S)


@pytest.fixture
def cables() -> Iterator[Cables]:
    made = Cables()
    made.pass_time(2 * SEND_S)
    return made


def test_a_declared_link_works_from_the_start():
    assert Cables(connect=False).costs() == [7]


def test_a_link_whose_ends_hear_each_other_is_confirmed(cables):
    assert (cables.state, cables.view["confirmed"], cables.costs()) == ("up", True, [7])


def test_a_declared_link_that_does_not_exist_is_down_within_three_seconds():
    cables = Cables()
    cables.wires.clear()
    cables.connect_others()  # so that it is known that LLDP comes through
    cables.pass_time(2.5)
    assert cables.costs() == [7]
    cables.pass_time(0.5)
    assert (cables.state, cables.costs()) == ("silent", [])


@pytest.mark.parametrize("deaf", [{A}, {B}, {A, B}], ids=["one way", "the other way", "both ways"])
def test_a_link_that_fails_silently_is_down_within_three_seconds(cables, deaf):
    cables.pass_time(60)
    cables.wires = {end: there for end, there in cables.wires.items() if there not in deaf}
    cables.pass_time(3)
    assert (cables.state, cables.costs()) == ("silent", [])


def test_a_port_without_a_carrier_takes_its_link_down_at_once(cables):
    assert cables.discovery.port_changed(A, False, cables.now)
    assert (cables.state, cables.costs()) == ("port down", [])
    assert not cables.discovery.port_changed(A, False, cables.now)


def test_a_carrier_alone_does_not_bring_a_link_up_again(cables):
    cables.discovery.port_changed(A, False, cables.now)
    cables.pass_time(1)
    cables.wires.clear()
    cables.discovery.port_changed(A, True, cables.now)
    assert (cables.state, cables.costs()) == ("silent", [])
    cables.pass_time(5)
    assert (cables.state, cables.costs()) == ("silent", [])


def test_a_link_that_comes_up_again_is_a_last_resort_for_a_second(cables):
    cables.fail_and_return()
    assert (cables.state, cables.costs()) == ("held back", [7 + LAST_RESORT])
    cables.pass_time(1)
    assert (cables.state, cables.costs()) == ("up", [7])


def test_a_link_that_flaps_is_held_back_twice_as_long_each_time(cables):
    held = []
    for _ in range(8):
        cables.fail_and_return()
        began = cables.now
        while cables.state == "held back":
            cables.pass_time(TICK_S)
        held.append(round(cables.now - began))
    assert held == [1, 2, 4, 8, 16, 32, LONGEST_HOLD_S, LONGEST_HOLD_S]


def test_a_link_that_flaps_for_ever_is_held_back_for_the_longest_hold_at_most(cables):
    for _ in range(1100):  # two to the power of that is more than a float can hold
        cables.fail_and_return()
    assert cables.state == "held back"


def test_failures_long_ago_are_forgotten(cables):
    for _ in range(4):
        cables.fail_and_return()
    cables.pass_time(600)
    cables.fail_and_return()
    cables.pass_time(1)
    assert cables.state == "up"


def test_the_links_of_a_switch_without_a_controller_are_a_last_resort(cables):
    assert cables.discovery.disconnected("b", cables.now)
    cables.pass_time(60)
    assert (cables.state, cables.costs()) == ("switch away", [7 + LAST_RESORT])
    assert not cables.discovery.connected("b", cables.now)
    cables.pass_time(SEND_S)
    assert (cables.state, cables.costs()) == ("up", [7])


def test_a_switch_that_never_connects_makes_its_links_a_last_resort_after_a_while():
    cables = Cables(connect=False)
    cables.discovery.connected("a", cables.now)
    cables.pass_time(START_S)
    assert cables.costs() == [7]
    cables.pass_time(1)
    assert cables.costs() == [7 + LAST_RESORT]


def test_wrong_cabling_is_shown_and_not_used(cables):
    cables.wires = {A: C, C: A}
    cables.discovery.port_changed(C, True, cables.now)
    cables.pass_time(3)
    assert (cables.state, cables.view["cabled_instead"], cables.costs()) == ("silent", {"a:1": "c:1"}, [])
    (_, found) = cables.discovery.watched()
    assert (found.ends, cables.discovery.view(found, cables.now)["state"]) == ((A, C), "not declared")


def test_an_undeclared_link_is_used_where_that_is_allowed():
    cables = Cables(undeclared_links=True)
    cables.wires |= {Port("b", 5): C, C: Port("b", 5)}
    for end in (C, Port("b", 5)):
        cables.discovery.port_changed(end, True, cables.now)
    assert cables.discovery.fabric_ports()["c"] == []
    cables.pass_time(1)
    assert cables.discovery.links() == [Link(A, B, 7), Link(Port("b", 5), C, 1)]
    assert cables.discovery.fabric_ports()["c"] == [1]
    del cables.wires[C]
    cables.pass_time(3)
    assert cables.discovery.links() == [Link(A, B, 7)]


def test_an_undeclared_link_that_is_down_is_forgotten_with_its_failures():
    cables = Cables(undeclared_links=True)
    cables.wires |= {Port("b", 5): C, C: Port("b", 5)}
    for end in (C, Port("b", 5)):
        cables.discovery.port_changed(end, True, cables.now)
    cables.pass_time(1)
    del cables.wires[C]
    cables.pass_time(3)
    assert cables.discovery.fabric_ports()["c"] == [], "its port is a stranger's again"
    assert len(list(cables.discovery.watched())) == 2
    cables.pass_time(CALM_S)
    assert len(list(cables.discovery.watched())) == 1


def test_a_port_that_hears_itself_is_no_link():
    cables = Cables(undeclared_links=True)
    cables.discovery.port_changed(C, True, cables.now)
    cables.pass_time(SEND_S)
    frame = next(frame for end, frame in reversed(cables.sent) if end == C)
    assert refused(cables, C, frame) == "lldp of its own port"
    assert len(list(cables.discovery.watched())) == 1


def test_no_frame_is_sent_to_hosts(cables):
    cables.discovery.port_changed(Port("c", 9), True, cables.now)
    cables.pass_time(2)
    assert {end for end, _ in cables.sent} == {A, B}


def refused(cables: Cables, at: Port, frame: bytes) -> str:
    with pytest.raises(BadFrame) as error:
        cables.discovery.hear(at, frame, cables.now)
    return str(error.value)


def test_a_forged_frame_is_refused(cables):
    frame = lldp.build(lldp.Probe(2, 1, 1 << 40), bytes(6), b"another key")
    assert refused(cables, A, frame) == "lldp digest"


def test_a_replayed_frame_is_refused_wherever_it_comes_in(cables):
    frame = next(frame for end, frame in reversed(cables.sent) if end == A)
    for at in (A, B, C):
        assert refused(cables, at, frame) == "lldp replayed"


def test_a_frame_of_an_old_round_is_refused_even_if_no_port_has_received_it(cables):
    del cables.wires[A]
    cables.pass_time(SEND_S)
    frame = next(frame for end, frame in reversed(cables.sent) if end == A)
    cables.pass_time(4 * SEND_S)
    assert refused(cables, B, frame) == "lldp replayed"


def test_a_replay_cannot_keep_a_dead_link_alive(cables):
    recorded = list(cables.sent)
    cables.wires.clear()
    for _ in range(12):
        cables.pass_time(TICK_S)
        for end, frame in recorded:
            assert refused(cables, B if end == A else A, frame) == "lldp replayed"
    assert cables.state == "silent"


def test_a_frame_from_a_host_port_is_refused(cables):
    cables.discovery.port_changed(C, True, cables.now)
    frame = lldp.build(lldp.Probe(1, 1, cables.discovery._sequence), bytes(6), KEY)
    assert refused(cables, Port("c", 9), frame) == "lldp"


@pytest.mark.parametrize("first", ["a tick", "a port", "a switch that is lost"])
def test_silence_is_excused_after_a_delay_of_the_controller(cables, first):
    """Whatever is heard of first, when we listen again."""
    wires, cables.wires = cables.wires, {}
    cables.pass_time(1)
    cables.now += 30  # the controller stood still
    cables.wires = wires
    if first == "a port":
        cables.discovery.port_changed(C, True, cables.now)
    elif first == "a switch that is lost":
        cables.discovery.disconnected("c", cables.now)
    else:
        cables.discovery.tick(cables.now)
    assert cables.costs() == [7]
    cables.pass_time(1)
    assert cables.state == "up"
    cables.wires = {}
    cables.pass_time(DEAD_S + 3)
    assert cables.state == "silent"


@pytest.mark.parametrize("swallowed", [{"a"}, {"b"}, {"a", "b"}], ids=["one", "the other", "both"])
def test_silence_of_a_switch_that_does_not_answer_says_nothing_about_its_links(cables, swallowed):
    cables.swallowed = swallowed
    cables.pass_time(30)
    assert (cables.state, cables.costs(), cables.view["failures"]) == ("up", [7], 0)
    assert not list(cables.discovery.known()), "nothing is left to the next leader"
    cables.swallowed = set()
    cables.pass_time(3)
    assert (cables.state, cables.view["confirmed"]) == ("up", True)


def test_a_link_that_has_failed_while_its_switch_did_not_answer_is_down_soon_after_that_answers(cables):
    cables.swallowed = {"a"}
    cables.pass_time(5)
    cables.swallowed, cables.wires = set(), {}
    cables.pass_time(CHANCE_S)
    assert cables.state == "up"
    cables.pass_time(2 * TICK_S)
    assert cables.state == "silent"


def test_a_switch_that_answers_late_each_time_does_not_hide_a_link_that_has_failed(cables):
    cables.wires = {}
    for _ in range(4):
        cables.swallowed = cables.owing = {"a"}
        cables.pass_time(TICK_S)
        cables.swallowed = set()
        cables.pass_time(1.5 - TICK_S)
    assert cables.state == "silent"


def test_a_port_without_a_carrier_takes_its_link_down_also_if_the_other_switch_does_not_answer(cables):
    cables.swallowed = {"a"}
    cables.pass_time(2)
    assert cables.discovery.port_changed(B, False, cables.now)
    assert (cables.state, cables.costs()) == ("port down", [])


def test_when_lldp_is_missing_its_switches_are_asked_in_time_whether_they_answer(cables):
    assert cables.discovery.doubted(cables.now) == {}
    cables.wires = {}
    cables.pass_time(1.25)
    assert cables.discovery.doubted(cables.now) == {"a": False, "b": False}
    cables.pass_time(2)
    assert cables.discovery.doubted(cables.now) == {}, "the link is down"


@pytest.mark.parametrize(("swallowed", "unheard"), [({"a"}, {"a"}), ({"a", "b"}, set())], ids=["one", "both"])
def test_a_switch_that_nothing_is_heard_of_is_told_of_if_its_neighbours_answer(cables, swallowed, unheard):
    cables.swallowed = swallowed
    cables.pass_time(1.75)
    assert not any(cables.discovery.doubted(cables.now).values())
    cables.pass_time(1)
    assert {name for name, alone in cables.discovery.doubted(cables.now).items() if alone} == unheard


def test_a_switch_of_which_one_link_is_heard_is_not_taken_for_gone():
    cables = Cables(undeclared_links=True)
    cables.wires |= {Port("b", 5): C, C: Port("b", 5)}
    for end in (C, Port("b", 5)):
        cables.discovery.port_changed(end, True, cables.now)
    cables.pass_time(2)
    del cables.wires[A], cables.wires[B]
    cables.pass_time(2.25)
    cables.discovery.tick(cables.now, {"b"})
    assert cables.discovery.doubted(cables.now) == {"a": False, "b": False}


def speaking(cables: Cables, seconds: float) -> set[Port]:
    cables.sent.clear()
    cables.pass_time(seconds)
    return {end for end, _ in cables.sent}


def test_the_ports_kept_of_a_switch_are_limited_and_a_port_that_goes_makes_room(cables, monkeypatch) -> None:
    monkeypatch.setattr("anycast_sdn.control.discovery.MAX_PORTS_OF_SWITCH", 50)
    for number in range(100, 1100):
        cables.discovery.port_changed(Port("a", number), False, cables.now)
        cables.discovery.port_changed(Port("a", number), True, cables.now)
    first = {end.number for end in speaking(cables, 2) if end.switch == "a"}
    assert first == {1, *range(100, 149)}
    for number in range(100, 149):
        cables.discovery.port_changed(Port("a", number), False, cables.now)
    for number in range(2000, 2010):
        cables.discovery.port_changed(Port("a", number), True, cables.now)
    assert {end.number for end in speaking(cables, 2) if end.switch == "a"} == {1, *range(2000, 2010)}


# ------------------------------------------------------------------------------ another controller leads


def take_over(cables: Cables, *known: KnownLink) -> None:
    cables.discovery.take_over(3, known, cables.now)


def test_a_link_that_has_failed_carries_nothing_before_it_is_confirmed(cables):
    take_over(cables, KnownLink(frozenset((A, B)), 9, True, 1))
    assert cables.costs() == []
    cables.pass_time(SEND_S)
    assert cables.costs() == [9 + LAST_RESORT]
    cables.pass_time(2)
    assert cables.costs() == [9]


def test_a_new_leader_takes_links_that_had_not_failed_as_they_are_in_the_file(cables):
    cables.discovery.set_cost(A, 8)
    cables.discovery.port_changed(A, False, cables.now)
    assert cables.costs() == []
    cables.discovery.port_changed(A, True, cables.now)
    take_over(cables)
    assert cables.costs() == [7]


def test_frames_of_another_leader_prove_nothing_and_are_not_forged():
    cables, other = Cables(), Cables()
    other.pass_time(3)
    take_over(cables)
    for end, frame in other.sent:
        cables.discovery.hear(cables.wires.get(end, C), frame, cables.now)
    assert not cables.view["confirmed"]
    cables.pass_time(SEND_S)
    assert cables.view["confirmed"]


def test_the_cost_of_a_link_that_is_found_later_is_kept_for_it():
    cables = Cables(undeclared_links=True)
    take_over(cables, KnownLink(frozenset((B, C)), 44, False, 0))
    cables.wires = {B: C, C: B}
    for end in (B, C):
        cables.discovery.port_changed(end, True, cables.now)
    cables.pass_time(2 * DEAD_S)
    assert cables.costs() == [44]
    assert KnownLink(frozenset((B, C)), 44, False, 0) in list(cables.discovery.known())


# ------------------------------------------------------------------------------ switches that keep LLDP to themselves


def found(cables: Cables) -> list[str]:
    """The switches of which it is said, since the last call, that LLDP does not come through."""
    return [event.switch for event in cables.discovery.pop_events() if isinstance(event, SwitchDegraded)]


def test_where_no_lldp_has_ever_come_through_links_are_as_declared_and_that_is_said_once():
    cables = Cables()
    cables.wires.clear()
    cables.pass_time(60)
    assert cables.costs() == [7]
    assert (cables.state, cables.view["confirmed"], cables.view["by_ports"]) == ("up", False, True)
    assert found(cables) == ["a", "b"]
    cables.pass_time(60)
    assert found(cables) == []


def test_only_the_switch_that_keeps_lldp_to_itself_is_named():
    cables = Cables()
    cables.wires.clear()
    cables.connect_others()
    del cables.wires[Port("b", 5)], cables.wires[Port("c", 3)]
    cables.pass_time(10)
    assert cables.costs() == [7]
    assert found(cables) == ["b"]


def test_a_switch_that_sends_lldp_and_receives_none_is_such_a_switch_and_its_silence_counts():
    cables = Cables()
    cables.connect_others()
    del cables.wires[A], cables.wires[Port("c", 3)]  # nothing arrives at b
    cables.pass_time(10)
    assert cables.costs() == [7]
    assert found(cables) == ["b"]
    cables.wires.pop(B)  # what b sent has arrived until now
    cables.pass_time(3)
    assert (cables.state, cables.costs()) == ("silent", [])


def test_there_a_port_without_a_carrier_takes_the_link_down_at_once_and_it_comes_back_with_it():
    cables = Cables()
    cables.wires.clear()
    cables.pass_time(10)
    cables.discovery.port_changed(A, False, cables.now)
    assert (cables.state, cables.costs()) == ("port down", [])
    cables.discovery.port_changed(A, True, cables.now)
    cables.pass_time(2)
    assert (cables.state, cables.costs()) == ("up", [7])


def test_there_a_switch_that_is_away_makes_its_links_a_last_resort_as_elsewhere():
    cables = Cables()
    cables.wires.clear()
    cables.pass_time(10)
    cables.discovery.disconnected("b", cables.now)
    assert cables.costs() == [7 + LAST_RESORT]
    cables.discovery.connected("b", cables.now)
    assert cables.costs() == [7]


def test_a_link_that_has_been_confirmed_and_falls_silent_is_taken_down():
    cables = Cables()
    cables.pass_time(2)
    cables.wires.clear()
    cables.pass_time(3)
    assert (cables.state, cables.costs()) == ("silent", [])
    assert found(cables) == []


def test_once_lldp_comes_through_after_all_the_link_is_watched_by_it():
    cables = Cables()
    wires = dict(cables.wires)
    cables.wires.clear()
    cables.pass_time(10)
    cables.wires |= wires
    cables.pass_time(1)
    assert (cables.state, cables.view["confirmed"], cables.view["by_ports"]) == ("up", True, False)
    cables.wires.clear()
    cables.pass_time(3)
    assert (cables.state, cables.costs()) == ("silent", [])


def test_a_port_that_is_cabled_to_another_one_is_none_where_lldp_does_not_come_through():
    cables = Cables()
    cables.wires = {A: C, C: A}  # b hears nothing, and nothing hears b
    cables.pass_time(3)
    assert (cables.state, cables.costs()) == ("silent", [])


def test_without_lldp_nothing_is_sent_and_ports_alone_count():
    cables = Cables(lldp=False)
    cables.wires.clear()
    cables.pass_time(60)
    assert (cables.sent, cables.costs(), found(cables)) == ([], [7], [])
    assert cables.view["by_ports"]
    assert not cables.discovery.doubted(cables.now)
    cables.discovery.port_changed(B, False, cables.now)
    assert cables.costs() == []


# ------------------------------------------------------------------------------ switches that answer late


class LateCables(Cables):
    """What b sends, and what it receives, passes its connection 2 s late."""

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK_S)):
            self.now += TICK_S
            for dpid, number, frame in self.discovery.tick(self.now)[1]:
                end = Port(self.network.switches[dpid - 1].name, number)
                if end in self.wires:
                    self.late.append((self.now + 2.0, self.wires[end], frame))
            while self.late and self.late[0][0] <= self.now:
                _, at, frame = self.late.pop(0)
                with contextlib.suppress(BadFrame):
                    self.discovery.hear(at, frame, self.now)

    def __init__(self) -> None:
        self.late: list[tuple[float, Port, bytes]] = []
        super().__init__()


def test_a_link_of_a_switch_that_answers_two_seconds_late_does_not_flap():
    cables = LateCables()
    cables.discovery.late_s = {"a": 0.0, "b": 2.0, "c": 0.0}.__getitem__
    cables.pass_time(120)
    assert not [event for event in cables.discovery.pop_events() if isinstance(event, LinkDown)]
    assert (cables.state, cables.view["confirmed"]) == ("up", True)
    cables.wires.clear()
    cables.pass_time(7)
    assert (cables.state, cables.costs()) == ("silent", [])
