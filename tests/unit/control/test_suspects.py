"""What is to be looked at: each once, and again when it is suspected again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.control.suspects import Suspects
from anycast_sdn.core.model import Prefix

A, B, C = (Prefix.parse(f"198.18.0.{number}/32") for number in range(3))


def test_each_is_taken_once_one_switch_after_the_other() -> None:
    suspects = Suspects()
    suspects.add(1, {A: None, B: None})
    suspects.add(2, {A: None})
    suspects.add(1, {B: None, C: None})
    assert suspects.pop(2) == [(1, A), (1, B)]
    assert set(suspects.switches()) == {1, 2}
    assert suspects.pop(9) == [(1, C), (2, A)]
    assert not suspects
    assert not suspects.switches()
    assert suspects.pop(9) == []


def test_what_is_suspected_again_after_it_was_taken_is_taken_again() -> None:
    suspects = Suspects()
    suspects.add(1, {A: None, B: None})
    assert suspects.pop(1) == [(1, A)]
    suspects.add(1, {A: None})
    assert suspects.pop(9) == [(1, B), (1, A)]


def test_nothing_is_no_suspect() -> None:
    suspects = Suspects()
    suspects.add(1, {})
    assert not suspects
    assert not suspects.switches()


@given(st.lists(st.tuples(st.integers(1, 3), st.sets(st.sampled_from([A, B, C])), st.integers(0, 3))))
def test_whatever_is_suspected_is_taken_after_that(history: list[tuple[int, set[Prefix], int]]) -> None:
    suspects, left = Suspects(), set()
    for dpid, prefixes, most in history:
        suspects.add(dpid, dict.fromkeys(prefixes))
        left |= {(dpid, prefix) for prefix in prefixes}
        assert {dpid for dpid, _ in left} <= set(suspects.switches())
        taken = suspects.pop(most)
        assert len(taken) <= most
        left -= {each for each in taken if each[1] not in suspects._waiting.get(each[0], ())}
    taken = []
    while suspects:
        taken += suspects.pop(2)
    assert left <= set(taken)
