"""core.health counts results of checks: what rise and fall mean, and that the worst check counts (M33)."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.core.checks import Check, HealthStatus
from anycast_sdn.core.health import (
    MAX_OUTPUT,
    SOONEST_S,
    CheckResult,
    CheckState,
    counted,
    is_doubtful,
    next_after_s,
    worst,
)

PASSING, WARNING, CRITICAL, UNKNOWN = (
    HealthStatus.PASSING, HealthStatus.WARNING, HealthStatus.CRITICAL, HealthStatus.UNKNOWN
)  # fmt: skip
GOOD, BAD = CheckResult(True, "accepts connections"), CheckResult(False, "connection refused")
checks = st.builds(
    Check, rise=st.integers(1, 5), fall=st.integers(1, 5), interval_s=st.sampled_from([0.5, 1.0, 5.0, 60.0])
)


def after(results: list[bool], check: Check) -> list[CheckState]:
    """The states after each of these results, a second apart."""
    states, state = [], CheckState()
    for now, passed in enumerate(results, 1):
        state = counted(state, GOOD if passed else BAD, check, float(now))
        states.append(state)
    return states


@pytest.mark.parametrize("passed", [True, False])
def test_the_first_result_counts_at_once(passed: bool) -> None:
    (state,) = after([passed], Check(rise=9, fall=9))
    assert state.status is (PASSING if passed else CRITICAL)
    assert state.since == 1.0


def test_as_many_failures_in_a_row_as_fall_make_it_critical_and_the_second_warns() -> None:
    states = after([True, True, False, False, False, False], Check(fall=3))
    assert [state.status for state in states] == [PASSING, PASSING, PASSING, WARNING, CRITICAL, CRITICAL]
    assert [state.since for state in states] == [1, 1, 1, 4, 5, 5]
    assert states[2].output == BAD.output, "the last failure is shown, though it still passes"


def test_as_many_successes_in_a_row_as_rise_make_it_passing_and_until_then_it_is_critical() -> None:
    states = after([False, True, False, True, True], Check(rise=2))
    assert [state.status for state in states] == [CRITICAL, CRITICAL, CRITICAL, CRITICAL, PASSING]
    assert states[3].output == BAD.output, "why it is still critical"


def test_a_single_success_ends_a_warning() -> None:
    assert [state.status for state in after([True, False, False, True], Check(fall=3))][-2:] == [WARNING, PASSING]


@given(st.lists(st.booleans(), min_size=1, max_size=60), checks)
def test_it_is_critical_after_fall_failures_and_passing_after_rise_successes(results: list[bool], check: Check) -> None:
    states = after(results, check)
    runs = [len(list(same)) for _, same in groupby(results)]
    at = 0
    for run in runs:
        passed = results[at]
        enough = check.rise if passed else check.fall
        for length in range(1, run + 1):
            status = states[at + length - 1].status
            if length >= enough or at == 0:
                assert status is (PASSING if passed else CRITICAL)
        at += run


@given(st.lists(st.booleans(), min_size=1, max_size=60), checks)
def test_the_status_changes_only_by_a_run_of_results_that_say_so(results: list[bool], check: Check) -> None:
    states = after(results, check)
    for at in range(1, len(results)):
        before, now = states[at - 1], states[at]
        if now.status is CRITICAL and before.status is not CRITICAL:
            assert not any(results[at + 1 - check.fall : at + 1])
        if before.status is CRITICAL and now.status is not CRITICAL:
            assert all(results[at + 1 - check.rise : at + 1])
            assert now.status is PASSING
        if now.status is WARNING:
            assert results[at - 1 : at + 1] == [False, False]
        assert (now.since == before.since) is (now.status is before.status)


@given(st.lists(st.booleans(), min_size=1, max_size=60), checks)
def test_the_count_of_contradicting_results_is_bounded(results: list[bool], check: Check) -> None:
    for result, state in zip(results, after(results, check), strict=True):
        assert state.contradicting < max(check.rise, check.fall)
        assert is_doubtful(state) is (result is (state.status is CRITICAL))


@given(st.booleans(), checks)
def test_an_attempt_that_contradicts_is_repeated_sooner(contradicts: bool, check: Check) -> None:
    state = CheckState(PASSING, 1.0, "", int(contradicts))
    wait = next_after_s(state, check)
    assert SOONEST_S <= wait <= check.interval_s
    assert (wait < check.interval_s) is contradicts


def test_the_time_to_notice_is_the_interval_and_half_of_it_for_each_further_failure() -> None:
    check, state, now = Check(interval_s=5.0, fall=3), CheckState(PASSING, 0.0), 5.0
    while (state := counted(state, BAD, check, now)).status is not CRITICAL:
        now += next_after_s(state, check)
    assert now == 10.0


def test_a_long_output_is_cut() -> None:
    assert len(counted(CheckState(), CheckResult(False, "x" * 10_000), Check(), 1.0).output) == MAX_OUTPUT


# ------------------------------------------------------------------------------ of a server

ORDER = [PASSING, UNKNOWN, WARNING, CRITICAL]
states = st.builds(
    CheckState, st.sampled_from(ORDER), st.floats(0, 100, allow_nan=False), st.sampled_from(["fine", "refused"])
)


@given(st.lists(states, max_size=6))
def test_a_server_has_the_status_of_its_worst_check(found: list[CheckState]) -> None:
    health = worst((f"c{number}", state) for number, state in enumerate(found))
    assert health.status is (max((state.status for state in found), key=ORDER.index) if found else UNKNOWN)
    if found:
        such = {state.since for state in found if state.status is health.status}
        assert health.since in such
    assert (health.reason == "") is (health.status is PASSING)


def test_the_reason_names_all_checks_that_are_as_bad() -> None:
    health = worst([
        ("arp", CheckState(PASSING, 1.0, "answers")),
        ("tcp 80", CheckState(CRITICAL, 7.0, "connection refused")),
        ("icmp", CheckState(WARNING, 3.0, "no answer within 2 s")),
        ("http 80 /", CheckState(CRITICAL, 5.0, "503")),
    ])  # fmt: skip
    assert health == (CRITICAL, 5.0, "tcp 80: connection refused; http 80 /: 503")
