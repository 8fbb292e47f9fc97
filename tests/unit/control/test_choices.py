"""Choices: flows share them, and the oldest are forgotten (M29)."""

from __future__ import annotations

from anycast_sdn.control.choices import Choices
from anycast_sdn.core.model import packed
from anycast_sdn.core.selection import Candidate, Choice, Standing

SERVER = packed("10.2.0.10")


def choice(edge: str, share: float = 1.0, candidates: int = 1) -> Choice:
    return Choice(edge, 0.0, [Candidate(SERVER, edge)] * candidates, {SERVER: Standing()}, {SERVER: share}, {})


class Deciding:
    """Client edges a1, a2, … reach the server edge a; ``asked`` counts how often it was asked."""

    def __init__(self) -> None:
        self.share, self.asked, self.candidates = 1.0, 0, 1
        self.choices = Choices(self._now)

    def _now(self, client: str, group: str, is_v6: bool) -> Choice | None:
        self.asked += 1
        return choice(client[0], self.share, self.candidates) if group == "web" else None


def test_client_edges_that_reach_the_same_server_edge_share_a_choice():
    deciding = Deciding()
    first, second, other = (deciding.choices.number(client, "web", False) for client in ("a1", "a2", "b1"))
    assert first == second != other
    found = deciding.choices.get(other)
    assert found is not None
    assert found.edge == "b"


def test_a_decision_is_looked_up_once():
    deciding = Deciding()
    assert {deciding.choices.number("a1", "web", False) for _ in range(10)} == {1}
    assert deciding.asked == 1


def test_a_new_decision_is_another_choice_and_the_former_one_stays():
    deciding = Deciding()
    before = deciding.choices.number("a1", "web", False)
    deciding.share = 0.5
    assert deciding.choices.number("a1", "web", False) == before
    deciding.choices.decided("web", False)
    after = deciding.choices.number("a1", "web", False)
    shares = [dict(found.shares) for found in map(deciding.choices.get, (before, after)) if found]
    assert shares == [{SERVER: 1.0}, {SERVER: 0.5}]


def test_where_nothing_can_be_reached_there_is_no_choice():
    deciding = Deciding()
    assert deciding.choices.number("a1", "nothing", False) == 0
    assert deciding.choices.get(0) is None


def test_the_oldest_choices_are_forgotten(monkeypatch):
    monkeypatch.setattr("anycast_sdn.control.choices.CHOICES_KEPT", 100)
    deciding = Deciding()
    deciding.candidates = 40
    numbers = []
    for step in range(5):
        deciding.share = step / 10
        numbers.append(deciding.choices.number("a1", "web", False))
        deciding.choices.forget_all()
    assert [deciding.choices.get(number) is not None for number in numbers] == [False, False, False, True, True]


def test_other_controllers_are_told_the_numbers_of_their_client_edges_some_at_a_time():
    deciding = Deciding()
    choices, groups = deciding.choices, [("web", False), ("web", True), ("dns", False)]

    def told(most: int = 100, clients: tuple[str, ...] = ("a1", "b1")):
        return choices.for_others(clients, lambda: groups, most)

    assert len(told(most=1)) == 1
    now = told()
    assert now == {whose: {each: choices.number(each, *whose) for each in ("a1", "b1")} for whose in groups[:2]}
    asked = deciding.asked
    assert told() is now
    assert deciding.asked == asked
    deciding.share = 0.5
    choices.decided("web", True)
    later = told()
    assert later is not now
    assert later["web", False] == now["web", False]
    assert later["web", True] == {each: choices.number(each, "web", True) for each in ("a1", "b1")}
    choices.forget_all()
    later = told()
    assert later == {whose: {each: choices.number(each, *whose) for each in ("a1", "b1")} for whose in groups[:2]}
    assert told(clients=("b1",)) == {whose: {"b1": later[whose]["b1"]} for whose in groups[:2]}
    assert not told(clients=())
