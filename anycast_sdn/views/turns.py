"""Long computations call ``turn`` now and then: it lets other green threads run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def with_turns(items: Iterable[Item], turn: Callable[[], None]) -> Iterator[Item]:
    """The items; ``turn`` is called after each of them."""
    for item in items:
        yield item
        turn()
