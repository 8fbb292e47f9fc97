"""How long one piece of work takes: it runs before other green threads may run."""

from __future__ import annotations

import time
from typing import NamedTuple


class Piece(NamedTuple):
    """Seconds by the clock, and seconds of this process on a processor: the machine may have other work."""

    taken: float
    worked: float


class Stopwatch:
    def __init__(self) -> None:
        self._began = time.perf_counter(), time.thread_time()

    def piece(self) -> Piece:
        return Piece(time.perf_counter() - self._began[0], time.thread_time() - self._began[1])


class Held(NamedTuple):
    pieces: list[Piece]

    @property
    def longest(self) -> float:
        return max(piece.taken for piece in self.pieces)

    @property
    def worked(self) -> float:
        return max(piece.worked for piece in self.pieces)
