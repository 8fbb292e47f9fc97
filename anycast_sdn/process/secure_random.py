"""SecureRandom: where the process takes random numbers from, for all that asks for a ``RandomSource``."""

from __future__ import annotations

import os
import struct


class SecureRandom:
    """Unpredictable numbers, by few system calls: ``random.SystemRandom`` makes one for each number."""

    def __init__(self) -> None:
        self._numbers: list[int] = []

    def randrange(self, stop: int, /) -> int:
        """Each number has 16 bytes, so the bias of a choice out of 2⁶⁴ is below 2⁻⁶⁴."""
        if not self._numbers:
            self._numbers = [int.from_bytes(number, "big") for (number,) in struct.iter_unpack("16s", os.urandom(4096))]
        return self._numbers.pop() % stop
