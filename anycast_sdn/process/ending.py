"""How the controller's process ends: signal handlers set a flag, and ``process.run`` polls it.

A signal interrupts any green thread at any place, so its handler raises no exception, and only sets the flag.  A second
signal ends the process at once, and so does an orderly end that takes longer than ``END_S``.

Some programs send one signal twice: timeout(1) sends it to its child, and at once to the child's process group.  So a
second signal within ``SAME_S`` of the first is ignored.
"""

from __future__ import annotations

import signal
import time
from types import FrameType

END_S = 10  # seconds from the first signal
SAME_S = 0.1
_TO_END = (signal.SIGTERM, signal.SIGINT)


class Ending:
    """``asked`` and ``hung_up`` are to be polled several times a second."""

    def __init__(self) -> None:
        """Installs the handlers of the process's signals; for the main thread alone."""
        self.asked = ""  # the name of the signal that asked for the end
        self.hung_up = False  # SIGHUP: the terminal was closed, or a reload was asked for
        self._asked_at = 0.0
        for number in _TO_END:
            signal.signal(number, self._ask)
        signal.signal(signal.SIGHUP, self._hang_up)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = signal.Signals(number).name
        self._asked_at = time.monotonic()
        for other in _TO_END:
            signal.signal(other, self._ask_again)
        # The alarm was the gauge's.  Its default action ends the process, even if some work holds the hub.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(END_S)

    def _ask_again(self, number: int, frame: FrameType | None) -> None:
        if time.monotonic() - self._asked_at >= SAME_S:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        self.hung_up = True
