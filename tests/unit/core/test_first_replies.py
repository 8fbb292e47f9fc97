from __future__ import annotations

from dataclasses import dataclass

from anycast_sdn.core.first_replies import MINUTE_S, Marked


@dataclass(slots=True)
class Count(Marked):
    value: int = 0

    def figures(self) -> tuple[float, ...]:
        return (self.value,)

    def add(self, number: int, minute: float) -> None:
        self.mark(minute * MINUTE_S)
        self.value += number


def test_recent_is_what_was_counted_in_this_minute_and_the_one_before() -> None:
    count = Count()
    count.add(1, 10.1)
    count.add(10, 10.9)
    count.add(100, 11.5)
    recent = {minute: count.recent(minute * MINUTE_S) for minute in (11.5, 11.99, 12.0, 12.9, 13.0, 99.0)}
    assert recent == {11.5: (111,), 11.99: (111,), 12.0: (100,), 12.9: (100,), 13.0: (0,), 99.0: (0,)}


def test_after_a_pause_what_was_before_it_is_not_recent() -> None:
    count = Count()
    count.add(1, 10.5)
    count.add(10, 20.5)
    assert count.recent(20.5 * MINUTE_S) == (10,)
    count.add(100, 21.5)
    assert count.recent(21.5 * MINUTE_S) == (110,)


def test_what_was_never_counted_is_nothing() -> None:
    assert Count().recent(5 * MINUTE_S) == (0,)
