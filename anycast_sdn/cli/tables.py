"""Rows as text in columns, as far as possible not wider than ``WIDTH``.

Where they would be, cells of several words go on in the next lines of their columns.  A cell may also have lines of its
own.  Words are never divided: they may have to be copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from textwrap import wrap
from typing import Any

WIDTH = 100
FEW = 2000  # rows of more are not made narrower: somebody searches them, or a program reads them


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows with the same keys, at least one; numbers to the right.  200,000 rows take about a second."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    cells = [[name, *("" if value is None else str(value) for value in values)] for name, values in columns.items()]
    few = len(rows) <= FEW
    widths = _widths(cells) if few else [max(map(len, column)) for column in cells]
    numbers = [all(type(value) is int for value in values) for values in columns.values()]
    line = "  ".join(f"%{'' if number else '-'}{width}s" for number, width in zip(numbers, widths, strict=True))
    if few:
        header, *body = ("\n".join(_lines(line, row, widths)) for row in zip(*cells, strict=True))
    else:
        header, *body = ((line % row).rstrip() for row in zip(*cells, strict=True))
    return "\n".join((header, "  ".join("-" * width for width in widths), *body))


def _lines(line: str, row: Sequence[str], widths: Sequence[int]) -> list[str]:
    wrapped = [_wrapped(cell, width) for cell, width in zip(row, widths, strict=True)]
    return [(line % cells).rstrip() for cells in zip_longest(*wrapped, fillvalue="")]


def _wrapped(cell: str, width: int) -> list[str]:
    if len(cell) <= width and "\n" not in cell:
        return [cell]
    return [part for line in cell.split("\n")
            for part in wrap(line, width, break_long_words=False, break_on_hyphens=False) or [""]]  # fmt: skip


def _widths(cells: Sequence[Sequence[str]]) -> list[int]:
    """Each column as wide as it would be, as long as all fit; or else the widest ones narrower."""
    widths = [max(len(line) for cell in column for line in cell.split("\n")) for column in cells]
    least = [max(len(word) for cell in column for word in cell.split() or [""]) for column in cells]
    for _ in range(sum(widths) + 2 * (len(widths) - 1) - WIDTH):
        at = max(range(len(widths)), key=lambda each: (widths[each] > least[each], widths[each]))
        if widths[at] <= least[at]:
            break
        widths[at] -= 1
    return widths


def yes_or_no(value: object) -> str:
    return "yes" if value else "no"
