"""LoadReport: which values are refused, and the one number that is made of the others (M26)."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycast_sdn.core.load import FRACTIONS, MAX_SESSIONS, LoadReport


def report(**members: Any) -> LoadReport:
    return LoadReport(**members)


@pytest.mark.parametrize("member", [*FRACTIONS, "sessions", "ttl_s"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.1, -1, 1e30, 10**400, True, "0.5"])
def test_what_is_no_number_or_out_of_range_is_refused_and_named(member: str, value: object) -> None:
    with pytest.raises(ValueError, match=member):
        report(**{member: value})


@pytest.mark.parametrize("member", FRACTIONS)
def test_a_fraction_is_from_0_to_1(member: str) -> None:
    report(**{member: 0}), report(**{member: 1.0})
    with pytest.raises(ValueError, match=member):
        report(**{member: 1.001})


def test_load_is_the_worst_of_cpu_and_network() -> None:
    assert report(cpu=0.3, network=0.7).load(None) == 0.7
    assert report(cpu=0.3).load(None) == 0.3


def test_memory_and_disk_count_only_when_they_are_nearly_full() -> None:
    assert report(cpu=0.3, memory=0.94, disk=0.9).load(None) == 0.3
    assert report(cpu=0.3, memory=0.95).load(None) == 0.95
    assert report(cpu=0.3, disk=0.99).load(None) == 0.99


def test_sessions_count_by_the_capacity_when_they_say_more() -> None:
    assert report(cpu=0.3, sessions=60).load(100) == 0.6
    assert report(cpu=0.7, sessions=60).load(100) == 0.7
    assert report(sessions=MAX_SESSIONS).load(1) == 1.0
    assert report(cpu=0.3, sessions=60).load(None) == 0.3


def test_a_report_without_any_measurement_says_nothing() -> None:
    assert report().load(100) is None
    assert report(sessions=5).load(None) is None
    assert report(memory=0.5, disk=0.5).load(100) is None


def test_a_report_is_stale_after_its_ttl() -> None:
    assert not report(at=100.0, ttl_s=45).is_stale(145.0)
    assert report(at=100.0, ttl_s=45).is_stale(145.1)


fraction = st.none() | st.floats(0, 1)


@settings(deadline=None)
@given(st.none() | st.integers(0, MAX_SESSIONS), fraction, fraction, fraction, fraction, st.none() | st.floats(1, 1e9))
def test_load_is_a_fraction_whatever_is_reported(sessions, cpu, memory, disk, network, capacity):  # type: ignore[no-untyped-def]
    load = report(sessions=sessions, cpu=cpu, memory=memory, disk=disk, network=network).load(capacity)
    assert load is None or 0 <= load <= 1
