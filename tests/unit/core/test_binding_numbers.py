"""Which numbers bindings get, also where several controllers give them in turn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.core.binding_numbers import COUNT_BITS, RANGES, BindingNumbers

MOST = 1 << 40  # there is room for so many in a cookie


def test_a_single_controller_counts_from_the_largest_number_that_it_finds() -> None:
    numbers = BindingNumbers(int)
    assert [numbers.next(), numbers.next()] == [1, 2]
    for found in (7, 3, 250 << COUNT_BITS):
        numbers.found(found)
    assert numbers.next() == (250 << COUNT_BITS) + 1


def test_each_term_has_numbers_of_its_own() -> None:
    for term in (1, 255, 256, 1000):
        numbers = BindingNumbers(lambda term=term: term)
        assert numbers.next() == ((term % 256) << COUNT_BITS) + 1


@given(st.integers(1, 1 << 63), st.sets(st.integers(1, MOST - 1), max_size=20))
def test_no_number_is_in_a_range_of_bindings_that_were_found(term: int, found: set[int]) -> None:
    numbers = BindingNumbers(lambda: term)
    for each in found:
        numbers.found(each)
    given_out = [numbers.next() for _ in range(3)]
    assert not {each >> COUNT_BITS for each in given_out} & {each >> COUNT_BITS for each in found}
    assert all(0 < each < MOST for each in given_out)


def test_a_binding_that_is_known_again_later_takes_no_other_ones_number() -> None:
    numbers = BindingNumbers(lambda: 5)
    first = numbers.next()
    numbers.found((9 << COUNT_BITS) + 100)
    numbers.found(first + 10)
    assert numbers.next() == first + 11


def test_where_all_ranges_are_in_use_it_goes_on_behind_the_largest_number() -> None:
    numbers = BindingNumbers(lambda: 5)
    for place in range(RANGES):
        numbers.found((place << COUNT_BITS) + 1)
    assert numbers.next() == (255 << COUNT_BITS) + 2
