"""Select groups have numbers that follow from the groups served, in whatever order these came and went."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.control import group_numbers
from anycast_sdn.control.group_numbers import GroupNumbers
from anycast_sdn.core.slots import Spread

SPREADS = [Spread(f"web-{number}", is_v6=bool(number % 2)) for number in range(8)]


@pytest.fixture(autouse=True, scope="module")
def few_numbers() -> object:
    """Five that spreads may have at first, of sixteen, so that most of them collide, also round the end."""
    patch = pytest.MonkeyPatch()
    patch.setattr(group_numbers, "NUMBERS", 16)
    patch.setattr(group_numbers, "first_number", lambda spread: (12 + int(spread.group[-1]) % 5) % 16)
    yield
    patch.undo()


def numbers(served: list[Spread]) -> dict[Spread, int]:
    made = GroupNumbers()
    for spread in served:
        made.add(spread)
    return {spread: made.get(spread) or 0 for spread in served}


@given(st.permutations(SPREADS), st.sets(st.sampled_from(SPREADS)))
def test_numbers_do_not_depend_on_the_order_of_additions_and_removals(order: list[Spread], gone: set[Spread]) -> None:
    made = GroupNumbers()
    for spread in order:
        made.add(spread)
    for spread in order:
        if spread in gone:
            made.discard(spread)
    left = [spread for spread in SPREADS if spread not in gone]
    assert {spread: made.get(spread) or 0 for spread in left} == numbers(left)
    assert all(made.get(spread) is None for spread in gone)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(SPREADS))))
def test_spreads_that_get_another_number_are_returned_with_the_old_one(history: list[tuple[bool, Spread]]) -> None:
    made = GroupNumbers()
    for comes, spread in history:
        before = {other: made.get(other) for other in SPREADS if other != spread}
        changed = (made.add if comes else made.discard)(spread)
        after = {other: made.get(other) for other in SPREADS if other != spread}
        assert changed == {other: number for other, number in before.items() if number != after[other]}
        held = [made.get(other) for other in SPREADS if made.get(other) is not None]
        assert len(held) == len(set(held))
