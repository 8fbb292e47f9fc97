"""Long computations call ``turn`` now and then, so that others may go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def with_turns(items: Iterable[Item], turn: Callable[[], None]) -> Iterator[Item]:
    """``turn`` is called after each."""
    for item in items:
        yield item
        turn()
