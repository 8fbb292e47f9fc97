"""The gauge that measures how long the hub was held."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from anycast_sdn.core.controller_events import ControllerStalled
from anycast_sdn.process.stalls import PERIOD_S, WARN_S, Gauge, Stalls


def test_delays_are_kept_for_a_minute_and_the_longest_for_good() -> None:
    stalls = Stalls()
    for late_s, now in ((0.001, 100.0), (0.15, 101.0), (0.03, 130.0)):
        stalls.count(late_s, now)
    assert stalls.view(131.0) == {
        "longest_ms_last_minute": 150.0,
        "stalls_over_20_ms_last_minute": 2,
        "longest_ms": 150.0,
        "stalls_over_20_ms": 2,
    }
    later = stalls.view(175.0)
    assert (later["longest_ms_last_minute"], later["stalls_over_20_ms_last_minute"]) == (30.0, 1)
    assert stalls.view(300.0) | {"longest_ms": 150.0, "stalls_over_20_ms": 2} == stalls.view(300.0)
    assert stalls.view(300.0)["longest_ms_last_minute"] == 0.0


def test_a_long_stall_is_reported_once_a_minute_and_is_counted_between() -> None:
    stalls = Stalls()
    assert [stalls.count(0.3, now) for now in (0.0, 1.0, 59.0, 61.0)] == [True, False, False, True]
    assert (stalls.pop_not_reported(), stalls.pop_not_reported()) == (2, 0)
    assert not stalls.count(WARN_S / 2, 200.0)


def test_the_report_names_the_function_that_held_the_hub() -> None:
    def a_part_that_takes_its_time() -> None:
        until = time.monotonic() + 2 * WARN_S
        while time.monotonic() < until:
            pass

    sleeps = iter([time.sleep, lambda seconds: a_part_that_takes_its_time()])
    reported: list[ControllerStalled] = []
    gauge = Gauge(lambda seconds: next(sleeps)(seconds), reported.append)
    turns = iter([True, True, False])
    gauge.measure_while(lambda: next(turns))
    (event,) = reported
    assert "a_part_that_takes_its_time" in event.where
    assert gauge.stalls.view(time.monotonic())["longest_ms"] >= 1000 * (2 * WARN_S - PERIOD_S) - 1


# A process that does not end after SIGTERM: ``sys.argv[1]`` is "loop", which holds the hub, or anything else.
HELD = """
import os, signal, sys, time
from anycast_sdn.process import ending
from anycast_sdn.core.controller_events import ControllerStalled
from anycast_sdn.process.stalls import Gauge
ending.END_S = 1
asked = ending.Ending()
def sleep(seconds):
    time.sleep(seconds)
    if time.monotonic() > began + 0.05 and not asked.asked:
        os.kill(os.getpid(), signal.SIGTERM)
    while asked.asked and sys.argv[1] == "loop":
        pass
began = time.monotonic()
Gauge(sleep, print).measure_while(lambda: True)
while True:
    time.sleep(0.01)
"""


@pytest.mark.parametrize("how", ["loop", "goes on"])
def test_the_gauge_leaves_the_alarm_that_ends_a_process_which_does_not_end(how: str) -> None:
    root = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", HELD, how], cwd=root, env=environment, timeout=20, check=False)
    assert done.returncode == -signal.SIGALRM
