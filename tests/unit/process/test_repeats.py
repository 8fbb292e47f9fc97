"""A line that repeats is logged once, and then counted."""

from anycast_sdn.process.repeats import MAX_KINDS, Repeats


def test_the_first_line_is_logged_and_the_others_are_counted() -> None:
    repeats = Repeats()
    assert repeats.count("a", "a 1", 0.0)
    assert not any(repeats.count("a", f"a {number}", 10.0) for number in range(2, 97))
    assert repeats.pop_due(59.9) == []
    assert repeats.pop_due(60.0) == ["a 96 (… 95 more in the last minute)"]


def test_a_line_that_goes_on_is_counted_every_minute() -> None:
    repeats = Repeats()
    repeats.count("a", "a", 0.0)
    for minute in (1, 2, 3):
        assert not repeats.count("a", "a", 60.0 * minute - 1)
        assert repeats.pop_due(60.0 * minute) == ["a (… 1 more in the last minute)"]


def test_a_line_is_logged_again_after_a_minute_without_it() -> None:
    repeats = Repeats()
    assert repeats.count("a", "a", 0.0)
    assert repeats.pop_due(60.0) == []
    assert repeats.count("a", "a", 61.0)


def test_lines_may_be_logged_several_times_a_minute() -> None:
    repeats = Repeats()
    assert [repeats.count("a", "a", float(second), often=3) for second in range(5)] == [True, True, True, False, False]
    assert repeats.pop_due(60.0) == ["a (… 2 more in the last minute)"]


def test_kinds_are_counted_separately() -> None:
    repeats = Repeats()
    assert repeats.count(("10.0.0.1", "silent"), "", 0.0)
    assert repeats.count(("10.0.0.2", "silent"), "", 0.0)
    assert repeats.count(("10.0.0.1", "version"), "", 0.0)


def test_ever_new_kinds_do_not_fill_the_log() -> None:
    repeats = Repeats()
    logged = sum(repeats.count(number, f"{number}", 1.0) for number in range(100_000))
    assert logged == MAX_KINDS + 1
    assert repeats.pop_due(61.0) == [f"99999 (… {100_000 - MAX_KINDS - 1} more of different kinds in the last minute)"]
    assert repeats.count("another", "", 61.0)
