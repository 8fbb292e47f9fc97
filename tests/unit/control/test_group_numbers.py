"""Select groups have numbers that follow from the prefixes served, in whatever order these came and went."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.control import group_numbers
from anycast_sdn.control.group_numbers import GroupNumbers
from anycast_sdn.core.model import Prefix

PREFIXES = [Prefix.parse(f"198.18.0.{number}/32") for number in range(8)]


@pytest.fixture(autouse=True, scope="module")
def few_numbers() -> object:
    """Five that prefixes may have at first, of sixteen, so that most of them collide, also round the end."""
    patch = pytest.MonkeyPatch()
    patch.setattr(group_numbers, "NUMBERS", 16)
    patch.setattr(group_numbers, "first_number", lambda prefix: (12 + prefix.network[3] % 5) % 16)
    yield
    patch.undo()


def numbers(served: list[Prefix]) -> dict[Prefix, int]:
    made = GroupNumbers()
    for prefix in served:
        made.add(prefix)
    return {prefix: made.get(prefix) or 0 for prefix in served}


@given(st.permutations(PREFIXES), st.sets(st.sampled_from(PREFIXES)))
def test_numbers_do_not_depend_on_the_order_of_additions_and_removals(order: list[Prefix], gone: set[Prefix]) -> None:
    made = GroupNumbers()
    for prefix in order:
        made.add(prefix)
    for prefix in order:
        if prefix in gone:
            made.discard(prefix)
    left = [prefix for prefix in PREFIXES if prefix not in gone]
    assert {prefix: made.get(prefix) or 0 for prefix in left} == numbers(left)
    assert all(made.get(prefix) is None for prefix in gone)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(PREFIXES))))
def test_prefixes_that_get_another_number_are_returned_with_the_old_one(history: list[tuple[bool, Prefix]]) -> None:
    made = GroupNumbers()
    for comes, prefix in history:
        before = {other: made.get(other) for other in PREFIXES if other != prefix}
        changed = (made.add if comes else made.discard)(prefix)
        after = {other: made.get(other) for other in PREFIXES if other != prefix}
        assert changed == {other: number for other, number in before.items() if number != after[other]}
        held = [made.get(other) for other in PREFIXES if made.get(other) is not None]
        assert len(held) == len(set(held))
