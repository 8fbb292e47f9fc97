"""Answers in JSON, and the turns in which they are put together: nothing holds the hub for long."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

LONGEST_TURN_S = 0.005  # after so long, work on an answer pauses
CHUNK = 1 << 18  # of an answer
AT_ONCE = 50  # items of a list that are written in one piece, if each of them is small:
SMALL = 100  # single values in an object, or in a list


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
    elif _is_small(value):
        yield json.dumps(value)
    elif isinstance(value, list):
        yield "["
        for start in range(0, len(value), AT_ONCE):
            yield ", " if start else ""
            yield from _few(value[start : start + AT_ONCE], turn)
            turn.over()
        yield "]"
    else:
        for index, (name, item) in enumerate(value.items()):
            yield f"{', ' if index else '{'}{json.dumps(name)}: "
            yield from _pieces(item, turn)
            turn.over()
        yield "}"


def _few(items: list[Any], turn: Turn) -> Iterator[str]:
    if all(map(_is_small, items)):
        yield json.dumps(items)[1:-1]
    else:
        for index, item in enumerate(items):
            yield ", " if index else ""
            yield from _pieces(item, turn)


def _is_small(value: Any) -> bool:
    return _left(value, SMALL) > 0


def _left(value: Any, budget: int) -> int:
    """What is left of the budget when each single value in this one has cost 1."""
    if isinstance(value, Written):
        return 0
    if not isinstance(value, dict | list):
        return budget - 1
    for item in value.values() if isinstance(value, dict) else value:
        if budget <= 0:
            break
        budget = _left(item, budget)
    return budget
