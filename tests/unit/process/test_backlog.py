"""First packets that wait for the controller: in order while it keeps up, the newest first when it does not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.process.backlog import BEHIND_S, MARK, MOST, MOST_AT_ONCE, MOST_TOGETHER, Backlog, Turns, Window


def pop_all(backlog: Backlog[int], now: float) -> list[int]:
    taken = []
    while (item := backlog.pop(now)) is not None:
        taken.append(item)
    return taken


def filled(count: int, now: float = 0.0) -> Backlog[int]:
    backlog = Backlog[int](wait_s=0.5)
    for item in range(count):
        backlog.add(item, now)
    return backlog


def test_whoever_is_served_soon_is_served_in_the_order_of_arrival() -> None:
    assert pop_all(filled(5), now=0.01) == [0, 1, 2, 3, 4]


def test_when_the_oldest_has_waited_long_the_newest_goes_first() -> None:
    assert pop_all(filled(5), now=0.3) == [4, 3, 2, 1, 0]


def test_whoever_has_waited_too_long_is_shed_and_counted() -> None:
    backlog = filled(3)
    backlog.add(99, now=0.4)
    assert pop_all(backlog, now=0.6) == [99]
    assert backlog.shed == 3


def test_there_is_a_bound_also_when_time_stands_still() -> None:
    backlog = filled(MOST + 2)
    assert (len(backlog), backlog.shed) == (MOST, 2)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 0.2)), max_size=200))
def test_everything_is_served_once_or_shed_and_never_served_late(steps: list[tuple[bool, float]]) -> None:
    backlog, now, served, added = Backlog[tuple[int, float]](wait_s=0.5), 0.0, [], 0
    for add, passed in steps:
        now += passed
        if add:
            backlog.add((added, now), now)
            added += 1
        elif item := backlog.pop(now):
            served.append(item[0])
            assert now - item[1] <= 0.5
    assert len(set(served)) == len(served)
    assert len(served) + backlog.shed + len(backlog) == added


# ------------------------------------------------------------------------------ in turn


def waiting(**counts: int) -> Turns[str, tuple[str, int]]:
    turns = Turns[str, tuple[str, int]](wait_s=0.5)
    for key, count in counts.items():
        for number in range(count):
            turns.add(key, (key, number), 0.0)
    return turns


def test_one_of_each_who_waits_is_served_in_turn() -> None:
    assert waiting(a=3, b=1, c=2).pop(10, 0.1) == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("c", 1), ("a", 2)]


def test_a_flood_makes_no_other_wait() -> None:
    turns = waiting(flood=5000)
    turns.pop(16, 0.0)
    turns.add("other", ("other", 0), 0.0)
    assert ("other", 0) in turns.pop(16, 0.0)


def test_a_turn_goes_on_where_the_last_one_ended() -> None:
    turns = waiting(a=2, b=2, c=2)
    assert [key for _ in range(3) for key, _ in turns.pop(2, 0.1)] == ["a", "b", "c", "a", "b", "c"]
    assert not turns


def test_a_flood_sheds_nothing_of_others() -> None:
    turns = waiting(flood=MOST + 100, other=5)
    taken = turns.pop(2 * MOST, 0.1)
    assert [item for item in taken if item[0] == "other"] == [("other", number) for number in range(5)]
    assert turns.shed == 100


def test_who_has_waited_too_long_is_shed_in_turns_too() -> None:
    turns = waiting(a=3, b=3)
    assert turns.pop(10, 0.6) == []
    assert (bool(turns), turns.shed) == (False, 6)


def test_who_is_not_served_for_a_while_does_not_fill_the_memory_and_who_has_few_loses_none() -> None:
    turns = Turns[int, tuple[int, int]](wait_s=0.5)
    turns.add(-1, (-1, 0), 0.0)
    for number in range(100):
        for key in range(MOST_AT_ONCE - 1):
            turns.add(key, (key, number), 0.0)
    taken = turns.pop(1 << 30, 0.4)
    assert len(taken) <= 2 * MOST_TOGETHER
    assert (-1, 0) in taken
    assert (0, 99) in taken, "the newest stay"
    assert len(taken) + turns.shed == 1 + 100 * (MOST_AT_ONCE - 1)
    for number in range(MOST):
        turns.add(0, (0, number), 1.0)
    assert len(turns.pop(1 << 30, 1.0)) == MOST, "there is room again"


def test_a_switch_that_names_ever_new_ports_does_not_fill_the_memory() -> None:
    turns = Turns[int, int](wait_s=0.5)
    for port in range(MOST_AT_ONCE + 10):
        turns.add(port, port, 0.0)
    assert turns.shed == 10
    assert len(turns.pop(MOST_AT_ONCE * 2, 0.1)) == MOST_AT_ONCE


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=200))
def test_everybody_is_served_once_and_in_the_order_of_arrival(steps: list[tuple[str, int]]) -> None:
    turns, served, added = Turns[str, tuple[str, int]](wait_s=0.5), [], 0
    for key, taken in steps:
        turns.add(key, (key, added), 0.0)
        added += 1
        served += turns.pop(taken, 0.0)
    served += turns.pop(1000, 0.0)
    assert len(set(served)) == len(served) == added
    for key in "abc":
        numbers = [number for of, number in served if of == key]
        assert numbers == sorted(numbers)


# ------------------------------------------------------------------------------ what a switch has not worked off


def test_a_switch_that_is_behind_is_sent_no_more_until_it_has_passed() -> None:
    window = Window()
    assert window.sent(MARK, 1.0)
    assert window.sent(MARK, 1.0 + BEHIND_S / 2)
    assert window.is_open(1.0 + BEHIND_S * 0.9), "it is not behind yet"
    assert not window.is_open(1.0 + BEHIND_S * 1.1)
    window.passed()
    assert window.is_open(1.0 + BEHIND_S * 1.1)
    assert not window.is_open(1.0 + BEHIND_S * 2), "there is the second one"


def test_few_messages_cost_no_question() -> None:
    window = Window()
    assert not any(window.sent(3, 0.0) for _ in range(MARK // 3))
    assert window.sent(3, 0.0)
    assert not window.sent(3, 0.0)


@given(st.lists(st.one_of(st.integers(0, 100), st.none()), max_size=300))
def test_once_all_is_answered_it_is_open(steps: list[int | None]) -> None:
    window, owed = Window(), 0
    for now, messages in enumerate(steps):
        if messages is not None:
            owed += window.sent(messages, float(now))
        elif owed:
            window.passed()
            owed -= 1
        assert window.is_open(now + 1.0) is not bool(owed)
