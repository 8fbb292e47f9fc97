"""What repeats is said once and then counted."""

from anycast_sdn.process.repeats import MOST, Repeats


def test_the_first_is_said_and_the_others_are_counted() -> None:
    repeats = Repeats()
    assert repeats.is_new("a", "a 1", 0.0)
    assert not any(repeats.is_new("a", f"a {number}", 10.0) for number in range(2, 97))
    assert list(repeats.due(59.9)) == []
    assert list(repeats.due(60.0)) == ["a 96 (… 95 more in the last minute)"]


def test_what_goes_on_is_counted_every_minute() -> None:
    repeats = Repeats()
    repeats.is_new("a", "a", 0.0)
    for minute in (1, 2, 3):
        assert not repeats.is_new("a", "a", 60.0 * minute - 1)
        assert list(repeats.due(60.0 * minute)) == ["a (… 1 more in the last minute)"]


def test_what_was_quiet_for_a_minute_is_said_again() -> None:
    repeats = Repeats()
    assert repeats.is_new("a", "a", 0.0)
    assert list(repeats.due(60.0)) == []
    assert repeats.is_new("a", "a", 61.0)


def test_what_may_be_said_more_often_is() -> None:
    repeats = Repeats()
    assert [repeats.is_new("a", "a", float(second), often=3) for second in range(5)] == [True, True, True, False, False]
    assert list(repeats.due(60.0)) == ["a (… 2 more in the last minute)"]


def test_kinds_are_told_apart() -> None:
    repeats = Repeats()
    assert repeats.is_new(("10.0.0.1", "silent"), "", 0.0)
    assert repeats.is_new(("10.0.0.2", "silent"), "", 0.0)
    assert repeats.is_new(("10.0.0.1", "version"), "", 0.0)


def test_nobody_fills_the_log_by_making_up_kinds() -> None:
    repeats = Repeats()
    said = sum(repeats.is_new(number, f"{number}", 1.0) for number in range(100_000))
    assert said == MOST + 1
    assert list(repeats.due(61.0)) == [f"99999 (… {100_000 - MOST - 1} more of different kinds in the last minute)"]
    assert repeats.is_new("another", "", 61.0)
