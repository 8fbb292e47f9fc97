"""How the controller's process ends: signal handlers set a flag, and ``process.run`` looks at it.

A signal interrupts any green thread at any place, so its handler raises nothing, and only sets the flag.  A second
signal ends the process at once, and so does an orderly end that takes longer than ``END_S``.

Some programs send one signal twice: timeout(1) to its child, and at once to the process group that the child is in.
So what comes within ``SAME_S`` of the first is the first.
"""

from __future__ import annotations

import signal
import time
from types import FrameType

END_S = 10  # seconds from the first signal
SAME_S = 0.1
_TO_END = (signal.SIGTERM, signal.SIGINT)


class Ending:
    """``asked`` and ``hung_up`` are to be looked at several times a second."""

    def __init__(self) -> None:
        """Takes the process's signals over; for the main thread alone."""
        self.asked = ""  # the name of the signal that asked for the end
        self.hung_up = False  # SIGHUP: a terminal is gone, or somebody expects a reload
        self._asked_at = 0.0
        for number in _TO_END:
            signal.signal(number, self._ask)
        signal.signal(signal.SIGHUP, self._hang_up)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = signal.Signals(number).name
        self._asked_at = time.monotonic()
        for other in _TO_END:
            signal.signal(other, self._ask_again)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # was the gauge's; ends the process even if the hub is held
        signal.alarm(END_S)  # it ends a process that does not end

    def _ask_again(self, number: int, frame: FrameType | None) -> None:
        if time.monotonic() - self._asked_at >= SAME_S:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        self.hung_up = True
