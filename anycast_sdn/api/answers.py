"""Answers in JSON, and the turns in which they are put together: nothing holds the hub for long."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

LONGEST_TURN_S = 0.005  # after so long, work on an answer pauses
CHUNK = 1 << 18  # of an answer
AT_ONCE = 100  # items of a list that are written in one piece


class Turn:
    """One request's work on the hub, with pauses in which other green threads run."""

    def __init__(self, pause: Callable[[], None]) -> None:
        self.pause = pause
        self._began = time.monotonic()

    def over(self) -> None:
        """To be called wherever a pause does no harm: pauses if the work has taken longer than ``LONGEST_TURN_S``."""
        if time.monotonic() - self._began > LONGEST_TURN_S:
            self.pause()
            self._began = time.monotonic()


class Written(str):
    """A value that is JSON text already."""


def written(body: dict[str, Any], turn: Turn) -> list[bytes]:
    """The body as JSON, in chunks: a large answer is never one piece."""
    chunks, some, size = [], [], 0
    for piece in _pieces(body, turn):
        some.append(piece)
        size += len(piece)
        if size > CHUNK:
            chunks.append("".join(some).encode())
            some, size = [], 0
    return [*chunks, "".join([*some, "\n"]).encode()]


def _pieces(value: Any, turn: Turn) -> Iterator[str]:
    """The value as JSON, a few items of its lists at a time."""
    if isinstance(value, Written):
        yield value
    elif isinstance(value, list):
        yield "["
        for start in range(0, len(value), AT_ONCE):
            yield ", " if start else ""
            yield from _few(value[start : start + AT_ONCE], turn)
            turn.over()
        yield "]"
    elif _holds_lists(value):
        for index, (name, item) in enumerate(value.items()):
            yield f"{', ' if index else '{'}{json.dumps(name)}: "
            yield from _pieces(item, turn)
            turn.over()
        yield "}"
    else:
        yield json.dumps(value)


def _few(items: list[Any], turn: Turn) -> Iterator[str]:
    if any(map(_holds_lists, items)):
        for index, item in enumerate(items):
            yield ", " if index else ""
            yield from _pieces(item, turn)
    else:
        yield json.dumps(items)[1:-1]


def _holds_lists(value: Any) -> bool:
    """Does it hold lists, or so many members that they are written in parts?"""
    if isinstance(value, dict) and len(value) > AT_ONCE:
        return True
    items = value.values() if isinstance(value, dict) else [value]
    return any(isinstance(item, list | Written) for item in items)
