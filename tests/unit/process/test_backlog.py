"""First packets that wait for the controller: in order while the controller keeps up, else the newest first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.process.backlog import (
    BEHIND_S,
    MAX_BACKLOGS,
    MAX_ITEMS,
    MAX_TOGETHER,
    PROBE_AFTER,
    Backlog,
    RoundRobin,
    Window,
)


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


def test_items_that_have_waited_a_short_time_are_served_in_the_order_of_arrival() -> None:
    assert pop_all(filled(5), now=0.01) == [0, 1, 2, 3, 4]


def test_when_the_oldest_has_waited_long_the_newest_is_served_first() -> None:
    assert pop_all(filled(5), now=0.3) == [4, 3, 2, 1, 0]


def test_items_that_have_waited_too_long_are_shed_and_counted() -> None:
    backlog = filled(3)
    backlog.add(99, now=0.4)
    assert pop_all(backlog, now=0.6) == [99]
    assert backlog.shed == 3


def test_a_backlog_is_bounded_also_when_all_items_arrive_at_once() -> None:
    backlog = filled(MAX_ITEMS + 2)
    assert (len(backlog), backlog.shed) == (MAX_ITEMS, 2)


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


def waiting(**counts: int) -> RoundRobin[str, tuple[str, int]]:
    queues = RoundRobin[str, tuple[str, int]](wait_s=0.5)
    for key, count in counts.items():
        for number in range(count):
            queues.add(key, (key, number), 0.0)
    return queues


def test_one_item_of_each_backlog_is_served_in_turn() -> None:
    assert waiting(a=3, b=1, c=2).pop(10, 0.1) == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("c", 1), ("a", 2)]


def test_a_flood_does_not_delay_other_backlogs() -> None:
    queues = waiting(flood=5000)
    queues.pop(16, 0.0)
    queues.add("other", ("other", 0), 0.0)
    assert ("other", 0) in queues.pop(16, 0.0)


def test_a_turn_goes_on_where_the_last_one_ended() -> None:
    queues = waiting(a=2, b=2, c=2)
    assert [key for _ in range(3) for key, _ in queues.pop(2, 0.1)] == ["a", "b", "c", "a", "b", "c"]
    assert not queues


def test_a_flood_sheds_no_items_of_other_backlogs() -> None:
    queues = waiting(flood=MAX_ITEMS + 100, other=5)
    taken = queues.pop(2 * MAX_ITEMS, 0.1)
    assert [item for item in taken if item[0] == "other"] == [("other", number) for number in range(5)]
    assert queues.shed == 100


def test_items_that_have_waited_too_long_are_shed_from_all_backlogs() -> None:
    queues = waiting(a=3, b=3)
    assert queues.pop(10, 0.6) == []
    assert (bool(queues), queues.shed) == (False, 6)


def test_memory_is_bounded_while_nothing_is_served_and_a_short_backlog_loses_no_item() -> None:
    queues = RoundRobin[int, tuple[int, int]](wait_s=0.5)
    queues.add(-1, (-1, 0), 0.0)
    for number in range(100):
        for key in range(MAX_BACKLOGS - 1):
            queues.add(key, (key, number), 0.0)
    taken = queues.pop(1 << 30, 0.4)
    assert len(taken) <= 2 * MAX_TOGETHER
    assert (-1, 0) in taken
    assert (0, 99) in taken, "the newest items stay"
    assert len(taken) + queues.shed == 1 + 100 * (MAX_BACKLOGS - 1)
    for number in range(MAX_ITEMS):
        queues.add(0, (0, number), 1.0)
    assert len(queues.pop(1 << 30, 1.0)) == MAX_ITEMS, "there is room again"


def test_memory_is_bounded_when_a_switch_names_ever_new_ports() -> None:
    queues = RoundRobin[int, int](wait_s=0.5)
    for port in range(MAX_BACKLOGS + 10):
        queues.add(port, port, 0.0)
    assert queues.shed == 10
    assert len(queues.pop(MAX_BACKLOGS * 2, 0.1)) == MAX_BACKLOGS


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=200))
def test_each_item_is_served_once_and_each_backlog_in_the_order_of_arrival(steps: list[tuple[str, int]]) -> None:
    queues, served, added = RoundRobin[str, tuple[str, int]](wait_s=0.5), [], 0
    for key, taken in steps:
        queues.add(key, (key, added), 0.0)
        added += 1
        served += queues.pop(taken, 0.0)
    served += queues.pop(1000, 0.0)
    assert len(set(served)) == len(served) == added
    for key in "abc":
        numbers = [number for of, number in served if of == key]
        assert numbers == sorted(numbers)


# ------------------------------------------------------------------------------ what a switch has not processed yet


def test_the_window_of_a_switch_that_is_behind_is_closed_until_it_has_answered_its_probes() -> None:
    window = Window()
    assert window.count_sent(PROBE_AFTER, 1.0)
    assert window.count_sent(PROBE_AFTER, 1.0 + BEHIND_S / 2)
    assert window.is_open(1.0 + BEHIND_S * 0.9), "the switch is not behind yet"
    assert not window.is_open(1.0 + BEHIND_S * 1.1)
    window.probe_ended()
    assert window.is_open(1.0 + BEHIND_S * 1.1)
    assert not window.is_open(1.0 + BEHIND_S * 2), "the second probe is unanswered"


def test_few_messages_lead_to_no_probe() -> None:
    window = Window()
    assert not any(window.count_sent(3, 0.0) for _ in range(PROBE_AFTER // 3))
    assert window.count_sent(3, 0.0)
    assert not window.count_sent(3, 0.0)


@given(st.lists(st.one_of(st.integers(0, 100), st.none()), max_size=300))
def test_a_window_is_open_when_all_probes_are_answered(steps: list[int | None]) -> None:
    window, unanswered = Window(), 0
    for now, messages in enumerate(steps):
        if messages is not None:
            unanswered += window.count_sent(messages, float(now))
        elif unanswered:
            window.probe_ended()
            unanswered -= 1
        assert window.is_open(now + 1.0) is not bool(unanswered)
