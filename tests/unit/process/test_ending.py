"""The end: a signal that comes twice at once is one, as timeout(1) sends it; one that comes later ends the process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

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
    ("between", "status", "said"), [("0", 0, "SIGTERM\n"), ("0.05", 0, "SIGTERM\n"), ("0.2", -signal.SIGINT, "")]
)
def test_a_signal_that_is_sent_twice_at_once_asks_once(between: str, status: int, said: str) -> None:
    # Whoever runs tests in the background may have them ignore interrupts, and they would hand that down.
    words = ["env", "--default-signal=INT", sys.executable, "-c", ASKED_TWICE, between]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (status, said)
