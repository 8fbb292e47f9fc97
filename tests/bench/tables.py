"""What all tables share: options, the spread of repeated measurements, printing."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tabulate import tabulate


@dataclass(frozen=True, slots=True)
class Options:
    """``directory``: for files of this run; it is removed afterwards.  ``design``: see ``holds``; ``engines``: names
    in ``contenders.ENGINES``.
    """

    rounds: int
    quick: bool
    directory: Path
    design: bool = False
    engines: tuple[str, ...] = ("rules",)


class Spread(NamedTuple):
    """Repeated measurements of one thing: their median, and from the least to the most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        values = list(values)
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{_figure(self.median)} ({_figure(self.least)}–{_figure(self.most)})"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def progress(text: str) -> None:
    """Progress, apart from the tables."""
    print(text, file=sys.stderr, flush=True)


def show(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    text = [{name: str(value) for name, value in row.items()} for row in rows]
    print(f"\n{title}\n\n{tabulate(text, headers='keys', disable_numparse=True)}\n", flush=True)
