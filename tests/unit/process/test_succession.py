"""What a new leader knows of what the one before has decided."""

from __future__ import annotations

import json
import time

import pytest

from anycast_sdn.cluster.alone import Alone
from anycast_sdn.cluster.notes import LLDP_KEY
from anycast_sdn.control import noted
from anycast_sdn.control.agent_checks import Reported
from anycast_sdn.control.noted import Term
from anycast_sdn.core.checks import AnyCheck, HealthStatus, HttpCheck, TcpCheck
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.health import CheckResult, CheckState, name_of
from anycast_sdn.core.model import Address, AnycastGroup, Prefix, Server, packed, text
from anycast_sdn.core.roles import Side
from anycast_sdn.description import reading
from anycast_sdn.description.model import Port
from anycast_sdn.openflow.features import Features, Tried
from anycast_sdn.process.app import AnycastApp
from tests.unit.process.notes import Board, BoardNotes
from tests.unit.process.test_cluster import ROOT, Member

RING = ROOT / "topologies/ring.yaml"


class Controller(Member):
    """A member with its application, and without switches."""

    def __init__(self, board: Board, name: str) -> None:
        super().__init__()
        self.board, self.name = board, name
        self.app = AnycastApp(reading.load(RING), Groups(), self, notes=BoardNotes(board, name))
        self.discovery = self.app.controller.discovery
        self.end = Port(*self.app.controller.network.links[0].a)

    def leads(self) -> bool:
        return self.board.leader == self.name

    def term(self) -> int:
        return self.board.number

    def take_over(self) -> None:
        self.board.lead(self.name)
        self._changed([])

    def lose(self) -> None:
        self._changed([])

    def cost(self) -> int:
        return self.discovery.at(self.end).link.cost


@pytest.fixture
def board() -> Board:
    return Board()


def test_the_cost_that_an_operator_has_set_is_that_of_the_next_leader(board: Board) -> None:
    first, second = Controller(board, "first"), Controller(board, "second")
    first.take_over()
    before = first.cost()
    first.app.set_cost(first.end, before + 7)
    second.take_over()
    assert second.cost() == before + 7
    first.lose()
    second.app.set_cost(first.end, before)
    first.take_over()
    assert first.cost() == before


def test_a_link_that_had_failed_is_down_for_the_next_leader_until_it_is_confirmed(board: Board) -> None:
    first, second = Controller(board, "first"), Controller(board, "second")
    first.take_over()
    dpid = first.app.controller.by_name[first.end.switch].dpid
    first.app._react(first.app.controller.port_changed(dpid, first.end.number, False, time.monotonic()))
    assert not first.discovery.at(first.end).up
    first.app.succession.note()
    second.take_over()
    link = second.discovery.at(first.end)
    assert (link.up, link.failures) == (False, 1)


def test_all_leaders_sign_lldp_with_one_key(board: Board) -> None:
    first, second = Controller(board, "first"), Controller(board, "second")
    assert first.discovery.key != second.discovery.key
    first.take_over()
    second.take_over()
    assert first.discovery.key == second.discovery.key
    assert board.texts[LLDP_KEY] == first.discovery.key.hex()


def test_who_leads_again_and_nobody_has_led_meanwhile_goes_on_with_what_it_knows(board: Board) -> None:
    first = Controller(board, "first")
    first.take_over()
    first.app.set_cost(first.end, 77)
    board.texts.clear()  # etcd was rebuilt
    board.lead("")
    first.lose()
    first.take_over()
    first.app.succession.note()
    assert first.cost() == 77
    (text,) = (text for key, text in board.texts.items() if key.startswith("links/"))
    assert json.loads(text)["cost"] == 77
    assert board.texts[LLDP_KEY] == first.discovery.key.hex()


def test_who_leads_all_the_time_while_etcd_is_rebuilt_notes_what_it_knows_anew(board: Board) -> None:
    first, second = Controller(board, "first"), Controller(board, "second")
    for member in (first, second):
        server = enrolled(member, HTTP)
    first.take_over()
    first.app.set_cost(first.end, 77)
    down = Reported(name_of(HTTP), CheckResult(False, "503"))
    first.app.controller.health.report("web", server, [down], time.monotonic())
    work(first)
    board.texts.clear()
    first.take_over()  # in the etcd that is there now
    first.app.succession.note()
    second.take_over()
    work(second)
    assert second.cost() == 77
    assert second.app.controller.health.status("web", server) is HealthStatus.CRITICAL
    assert board.texts[LLDP_KEY] == first.discovery.key.hex()


def test_who_has_forgotten_what_it_knew_is_told_when_it_leads_again(board: Board) -> None:
    first = Controller(board, "first")
    first.take_over()
    first.app.set_cost(first.end, 77)
    board.lead("")
    first.lose()
    first.app._begin_anew()
    first.take_over()
    assert first.app.controller.discovery.at(first.end).link.cost == 77


def test_who_forgets_what_it_knew_while_it_leads_is_told_at_once(board: Board) -> None:
    first = Controller(board, "first")
    first.take_over()
    first.app.set_cost(first.end, 77)
    first.app._begin_anew()
    assert first.app.controller.discovery.at(first.end).link.cost == 77
    assert first.app.controller.discovery.key.hex() == board.texts[LLDP_KEY]


TRIED = Tried(("Nicira", "Open vSwitch", "3.1.0", "", ""), Features(fragments=False))


def test_what_a_master_has_tried_out_at_a_switch_is_known_to_the_next_one(board: Board) -> None:
    first, second = Controller(board, "first"), Controller(board, "second")
    first.take_over()
    first.app.succession.note_tried(1, TRIED)
    assert second.app.succession.tried(1) == TRIED
    assert second.app.succession.tried(2) is None
    board.texts["features/0000000000000001"] = '{"description": [], "features": {}}'
    assert second.app.succession.tried(1) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cost": "x"}', "null"])
def test_notes_that_cannot_be_read_are_left_out(board: Board, text: str) -> None:
    keys = ("links/a:1~b", "links/a", "links/c1:1~c2:1", LLDP_KEY, "terms/1")
    board.texts |= dict.fromkeys(keys, text)
    member = Controller(board, "first")
    before = member.cost()
    member.take_over()
    assert member.cost() == before


def test_it_is_known_who_has_led_when(board: Board) -> None:
    first, second = Controller(board, "first"), Controller(board, "second")
    first.take_over()
    second.take_over()
    first.lose()
    first.take_over()
    assert [term.member for term in second.app.succession.terms()] == ["first", "second", "first"]


@pytest.mark.parametrize(
    ("at", "others"),
    [(50, []), (95, ["second"]), (150, ["second"]), (205, ["second", "third"]), (250, ["third"]), (350, [])],
)
def test_it_is_known_whose_logs_are_to_be_asked(board: Board, at: float, others: list[str]) -> None:
    """Clocks of members may differ a little."""
    member = Controller(board, "first")
    leaders = ("second", 100.0), ("third", 200.0), ("first", 300.0)
    for number, (name, began) in enumerate(leaders):
        board.texts[f"terms/{number:016x}"] = noted.term_note(Term(f"{name}-0a0b0c0d", began))
    member.app.succession.notes.member = "first-ffffffff"
    assert member.app.succession.others_leading(at) == others


@pytest.mark.parametrize("ahead", [3600, -3600])
def test_whose_logs_are_to_be_asked_is_known_whatever_the_clocks_of_other_leaders_say(
    board: Board, ahead: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = Controller(board, "first")
    notes = member.app.succession.notes
    for number, (name, began, clock) in enumerate([("first", 0, 0), ("second", 7200, ahead), ("first", 9000, 0)]):
        board.texts[f"terms/{number:016x}"] = noted.term_note(Term(f"{name}-0a0b0c0d", began + clock))
        monkeypatch.setattr(time, "time", lambda began=began: float(began))
        notes.tell()
    notes.member = "first-0a0b0c0d"
    assert [member.app.succession.others_leading(at) for at in (3000, 8000, 12610)] == [[], ["second"], []]


# ------------------------------------------------------------------------------ health of servers

HTTP, TCP = HttpCheck(port=80, rise=1, fall=1), TcpCheck(port=443)


def test_a_controller_that_is_alone_has_nobody_elses_logs_to_ask() -> None:
    app = AnycastApp(reading.load(RING), Groups(), Alone())
    assert app.succession.others_leading(1e9) == []


def enrolled(member: Controller, *checks: AnyCheck) -> Address:
    network = member.app.controller.network
    subnet = next(subnet for subnet in network.subnets if subnet.side is Side.SERVER)
    server = Prefix(subnet.gateways[0].prefix.network[:3] + b"\x0a", 32).network
    group = AnycastGroup("web", (Prefix.host(packed("198.18.0.1")),), {server: Server(server)}, checks=checks)
    member.app._react(member.app.controller.set_groups(Groups({"web": group}), time.monotonic()))
    work(member)
    return server


def work(member: Controller) -> None:
    while member.app.controller.is_busy():
        member.app._react(member.app.controller.work(time.monotonic()))
    member.app.succession.note()


def test_a_server_that_was_critical_is_so_for_the_next_leader_and_its_flows_stay_where_they_are(board: Board) -> None:
    first, second = Controller(board, "first"), Controller(board, "second")
    for member in (first, second):
        server = enrolled(member, HTTP)
    first.take_over()
    down = Reported(name_of(HTTP), CheckResult(False, "503"))
    first.app.controller.health.report("web", server, [down], time.monotonic())
    work(first)
    assert first.app.controller.health.status("web", server) is HealthStatus.CRITICAL
    second.take_over()
    work(second)
    assert second.app.controller.health.status("web", server) is HealthStatus.CRITICAL
    up = Reported(name_of(HTTP), CheckResult(True, "200"))
    second.app.controller.health.report("web", server, [up], time.monotonic())
    work(second)
    assert second.app.controller.health.status("web", server) is not HealthStatus.CRITICAL
    assert not [key for key in board.texts if key.startswith("health/")]


@pytest.mark.parametrize("begun", [True, False])
def test_a_check_that_the_controller_makes_is_critical_for_the_next_leader_until_it_passes(
    board: Board, begun: bool
) -> None:
    second = Controller(board, "second")
    if begun:
        server = enrolled(second, TCP)
    else:
        server = enrolled(Controller(Board(), "other"), TCP)
        group = AnycastGroup("web", (Prefix.host(packed("198.18.0.1")),), {server: Server(server)}, checks=(TCP,))
        second.app.controller.groups = Groups({"web": group})
        second.app.controller.health.groups_changed(Groups(), second.app.controller.groups)
    states = [(name_of(TCP), CheckState(HealthStatus.CRITICAL, 0.0, "refused"))]
    note = noted.health_note(states)
    assert note
    board.texts["health/" + noted.health_key(("web", server))] = note
    second.take_over()
    work(second)
    health = second.app.controller.health.of("web", server)
    assert (health.status, health.reason) == (HealthStatus.CRITICAL, "tcp 443: refused")


def test_what_is_noted_of_a_server_goes_with_it(board: Board) -> None:
    member = Controller(board, "first")
    server = enrolled(member, HTTP)
    member.take_over()
    down = Reported(name_of(HTTP), CheckResult(False, "503"))
    member.app.controller.health.report("web", server, [down], time.monotonic())
    work(member)
    assert [key for key in board.texts if key.startswith("health/")] == [f"health/web/{text(server)}"]
    member.app._react(member.app.controller.set_groups(Groups(), time.monotonic()))
    work(member)
    assert not [key for key in board.texts if key.startswith("health/")]


def test_who_notes_nothing_keeps_nothing_to_be_noted(board: Board) -> None:
    member = Controller(board, "first")
    for _ in range(3):
        enrolled(member, HTTP)
        member.app._react(member.app.controller.set_groups(Groups(), time.monotonic()))
        work(member)
    assert not member.app.controller.health.pop_unnoted()
