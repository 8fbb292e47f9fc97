"""When something is asked about, and what counts as an answer."""

from __future__ import annotations

import sys

from anycast_sdn.core.inquiries import SLOT_S, Inquiries


def inquiries(per_s: float = 1000, burst: int = 1000) -> Inquiries[int]:
    return Inquiries(per_s, burst, answer_s=2.0)


def test_it_is_asked_at_the_time_that_was_planned_last_and_not_before() -> None:
    made = inquiries()
    made.plan(7, 10.0)
    made.plan(7, 20.0)
    assert list(made.pop(20.0 - SLOT_S, 9)) == []
    assert [key for key, _ in made.pop(20.0 + SLOT_S, 9)] == [7]


def test_a_sooner_time_replaces_a_later_one_and_not_the_reverse() -> None:
    made = inquiries()
    made.plan(7, 10.0)
    made.plan_by(7, 20.0)
    made.plan_by(7, 5.0)
    assert [key for key, _ in made.pop(5.0, 9)] == [7]


def test_without_an_answer_it_is_asked_again() -> None:
    made = inquiries()
    made.plan(7, 1.0)
    assert len(list(made.pop(1.0, 9))) == 1
    assert list(made.pop(2.5, 9)) == []
    assert len(list(made.pop(3.0, 9))) == 1


def test_only_the_answer_to_the_last_inquiry_counts_and_only_once() -> None:
    made = inquiries()
    made.plan(7, 1.0)
    ((_, first),) = made.pop(1.0, 9)
    ((_, second),) = made.pop(3.0, 9)
    assert not made.take_answer(7, first)
    assert made.take_answer(7, second)
    assert not made.take_answer(7, second)


def test_an_answer_that_has_been_overtaken_counts_no_longer() -> None:
    made = inquiries()
    made.plan(7, 1.0)
    ((_, inquiry),) = made.pop(1.0, 9)
    made.overtaken(7)
    assert not made.take_answer(7, inquiry)
    assert len(list(made.pop(3.0, 9))) == 1


def test_what_is_forgotten_is_not_asked_about() -> None:
    made = inquiries()
    made.plan(7, 1.0)
    made.forget(7)
    assert 7 not in made
    assert list(made.pop(9.0, 9)) == []


def test_inquiries_keep_to_their_rate_and_the_oldest_come_first() -> None:
    made = inquiries(per_s=10, burst=5)
    for key in range(20):
        made.plan(key, 1.0 + key)
    assert [key for key, _ in made.pop(30.0, 99)] == [0, 1, 2, 3, 4]
    assert list(made.pop(30.0, 99)) == []
    assert [key for key, _ in made.pop(30.3, 2)] == [5, 6]
    assert [key for key, _ in made.pop(30.3, 99)] == [7]


def test_a_key_costs_little_memory() -> None:
    made = inquiries()
    keys = range(1000, 101_000)
    for key in keys:
        made.plan(key, key / 300)
    places = sys.getsizeof(made._slot_of) + sum(sys.getsizeof(slot.keys) for slot in made._slots.values())
    assert places / len(keys) < 100


def test_nothing_is_kept_of_what_is_forgotten_or_planned_for_another_time() -> None:
    """Short connections: each ends long before it was to be asked about."""
    made = inquiries()
    for key in range(50_000):
        now = key / 1000
        made.plan(key, now + 7440)
        made.plan(key, now + 10)
        if key >= 1000:
            made.forget(key - 1000)
    assert len(made) == 1000
    assert sum(len(slot.keys) for slot in made._slots.values()) <= 2 * 1000
    asked = {key for number in range(20) for key, _ in made.pop(60 + number, 999)}
    assert asked == {*range(49_000, 50_000)}
