"""First packets that wait for the controller: in order while it keeps up, the newest first when it does not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.openflow.backlog import MOST, Backlog


def take_all(backlog: Backlog[int], now: float) -> list[int]:
    taken = []
    while (item := backlog.take(now)) is not None:
        taken.append(item)
    return taken


def filled(count: int, now: float = 0.0) -> Backlog[int]:
    backlog = Backlog[int](wait_s=0.5)
    for item in range(count):
        backlog.add(item, now)
    return backlog


def test_whoever_is_served_soon_is_served_in_the_order_of_arrival() -> None:
    assert take_all(filled(5), now=0.01) == [0, 1, 2, 3, 4]


def test_when_the_oldest_has_waited_long_the_newest_goes_first() -> None:
    assert take_all(filled(5), now=0.3) == [4, 3, 2, 1, 0]


def test_whoever_has_waited_too_long_is_shed_and_counted() -> None:
    backlog = filled(3)
    backlog.add(99, now=0.4)
    assert take_all(backlog, now=0.6) == [99]
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
        elif item := backlog.take(now):
            served.append(item[0])
            assert now - item[1] <= 0.5
    assert len(set(served)) == len(served)
    assert len(served) + backlog.shed + len(backlog) == added
