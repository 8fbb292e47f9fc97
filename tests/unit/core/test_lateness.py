"""Lateness: silence is excused after a pause between two checks, and only then."""

from anycast_sdn.core.lateness import Lateness


def checked(*times: float) -> Lateness:
    lateness = Lateness(limit_s=1, excuse_s=3)
    for now in times:
        lateness.checked(now)
    return lateness


def test_checks_that_run_in_time_excuse_no_silence() -> None:
    assert not checked(10, 10.5, 11).excuses(11.5)


def test_the_first_check_is_not_late() -> None:
    assert not checked().excuses(1000)


def test_silence_is_excused_as_soon_as_a_check_is_late_and_for_a_while_afterwards() -> None:
    assert checked(10).excuses(12)
    late = checked(10, 12)
    assert [late.excuses(now) for now in (12, 12.9)] == [True, True]
    for now in (13, 14, 15):
        late.checked(now)
    assert not late.excuses(15)


def test_a_question_changes_nothing() -> None:
    lateness = checked(10)
    assert lateness.excuses(12)
    lateness.checked(10.5)
    assert not lateness.excuses(11)


def test_pauses_do_not_count_as_listening() -> None:
    assert checked(10, 10.5, 20, 20.5).listening_s == 0.5 + 1 + 0.5
