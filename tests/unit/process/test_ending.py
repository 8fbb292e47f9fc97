"""A signal that is sent twice at once counts once, as timeout(1) sends it; a later one ends the process."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.running import running

ROOT = Path(__file__).parents[3]
# ``sys.argv[1]``: seconds on the clock between the two signals.
ASKED_TWICE = """
import signal, sys
from anycast_sdn.process import ending
now = 100.0
ending.time.monotonic = lambda: now
asked = ending.Ending()
signal.raise_signal(signal.SIGTERM)
now += float(sys.argv[1])
signal.raise_signal(signal.SIGINT)
print(asked.asked)
"""


@pytest.mark.parametrize(
    ("between", "status", "output"), [("0", 0, "SIGTERM\n"), ("0.05", 0, "SIGTERM\n"), ("0.2", -signal.SIGINT, "")]
)
def test_a_signal_that_is_sent_twice_at_once_counts_once(between: str, status: int, output: str) -> None:
    # A shell may start the tests with SIGINT ignored, and child processes inherit that.
    words = ["env", "--default-signal=INT", sys.executable, "-c", ASKED_TWICE, between]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (status, output)


def test_an_idle_controller_ends_at_once(tmp_path: Path) -> None:
    """Nothing that it does every few seconds, the first time 5 s after the start, is waited for."""
    with running(tmp_path) as controller:
        began = time.monotonic()
        controller.process.terminate()
        assert controller.process.wait(60) == 0
        assert time.monotonic() - began < 3
