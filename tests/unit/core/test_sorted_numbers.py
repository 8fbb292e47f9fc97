"""SortedNumbers behaves as a sorted set, and its chunks stay small."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.core import sorted_numbers
from anycast_sdn.core.sorted_numbers import SortedNumbers


@given(
    steps=st.lists(st.integers(1, 120), max_size=300),
    asked=st.integers(0, 130),
    limit=st.integers(1, 50),
)
def test_numbers_come_in_order_from_any_place(steps: list[int], asked: int, limit: int) -> None:
    whole, sorted_numbers.CHUNK = sorted_numbers.CHUNK, 8
    try:
        numbers, model = SortedNumbers(), set()
        for number in steps:
            if number in model:
                numbers.remove(number)
            else:
                numbers.add(number)
            model ^= {number}
        assert numbers.after(asked, limit) == sorted(n for n in model if n > asked)[:limit]
        assert numbers.after(0, 1000) == sorted(model)
        assert numbers.before(asked, limit) == sorted((n for n in model if n < asked), reverse=True)[:limit]
        assert numbers.before(1000, 1000) == sorted(model, reverse=True)
        assert all(len(chunk) <= 8 for chunk in numbers._chunks)
    finally:
        sorted_numbers.CHUNK = whole


def test_after_many_removals_few_chunks_are_left() -> None:
    numbers = SortedNumbers()
    for number in range(1, 100_001):
        numbers.add(number)
    for number in range(1, 100_001):
        if number % 100:
            numbers.remove(number)
    assert numbers.after(0, 2000) == list(range(100, 100_001, 100))
    assert len(numbers._chunks) < 20
