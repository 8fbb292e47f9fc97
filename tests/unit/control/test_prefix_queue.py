"""Pairs that wait to be examined: each once, and again when it is added again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.control.prefix_queue import PrefixQueue
from anycast_sdn.core.model import Prefix

A, B, C = (Prefix.parse(f"198.18.0.{number}/32") for number in range(3))


def test_each_pair_is_taken_once_one_switch_after_the_other() -> None:
    queue = PrefixQueue()
    queue.add(1, {A: None, B: None})
    queue.add(2, {A: None})
    queue.add(1, {B: None, C: None})
    assert queue.pop(2) == [(1, A), (1, B)]
    assert set(queue.switches()) == {1, 2}
    assert queue.pop(9) == [(1, C), (2, A)]
    assert not queue
    assert not queue.switches()
    assert queue.pop(9) == []


def test_a_pair_that_is_added_again_after_it_was_taken_is_taken_again() -> None:
    queue = PrefixQueue()
    queue.add(1, {A: None, B: None})
    assert queue.pop(1) == [(1, A)]
    queue.add(1, {A: None})
    assert queue.pop(9) == [(1, B), (1, A)]


def test_a_switch_without_prefixes_is_not_queued() -> None:
    queue = PrefixQueue()
    queue.add(1, {})
    assert not queue
    assert not queue.switches()


@given(st.lists(st.tuples(st.integers(1, 3), st.sets(st.sampled_from([A, B, C])), st.integers(0, 3))))
def test_each_pair_is_taken_after_it_was_added(history: list[tuple[int, set[Prefix], int]]) -> None:
    queue, left = PrefixQueue(), set()
    for dpid, prefixes, most in history:
        queue.add(dpid, dict.fromkeys(prefixes))
        left |= {(dpid, prefix) for prefix in prefixes}
        assert {dpid for dpid, _ in left} <= set(queue.switches())
        taken = queue.pop(most)
        assert len(taken) <= most
        left -= {each for each in taken if each[1] not in queue._waiting.get(each[0], ())}
    taken = []
    while queue:
        taken += queue.pop(2)
    assert left <= set(taken)
