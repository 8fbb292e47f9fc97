"""How long a switch is waited for."""

from __future__ import annotations

from anycast_sdn.fabric.patience import LONGEST_S, MOST_AWAITED, USUAL_S, Patience


def taking(*seconds: float) -> Patience:
    """Of a switch that took so long, one answer after the other."""
    patience = Patience()
    for number, took in enumerate(seconds, 1):
        patience.sent(number, "a", 100.0)
        patience.answered("a", number, 100.0 + took)
    return patience


def test_a_switch_that_answers_promptly_is_waited_for_as_usual() -> None:
    assert (taking(0.01).of("a"), taking(0.01).late_s("a")) == (USUAL_S, 0.0)
    assert taking(0.01).of("b") == USUAL_S


def test_one_that_is_slow_is_waited_for_twice_as_long_as_it_took_and_not_for_ever() -> None:
    assert (taking(2.0).of("a"), taking(2.0).late_s("a")) == (4.0, 2.0)
    assert (taking(60.0).of("a"), taking(60.0).late_s("a")) == (LONGEST_S, LONGEST_S)


def test_the_longest_time_counts_less_with_each_later_answer() -> None:
    assert 2.0 < taking(2.0, 0.01).of("a") < 4.0
    assert taking(2.0, *[0.01] * 20).late_s("a") == 0.0


def test_one_that_does_not_answer_at_all_is_waited_for_as_usual() -> None:
    patience = Patience()
    for number in range(2 * MOST_AWAITED):
        patience.sent(number, "a", 100.0)
    assert patience.of("a") == USUAL_S
    patience.answered("a", 1, 200.0)  # too old to be remembered
    patience.answered("b", 2 * MOST_AWAITED - 1, 200.0)  # not its number
    assert (patience.of("a"), patience.of("b")) == (USUAL_S, USUAL_S)
