"""Numbers and lists as a sentence has them."""

from __future__ import annotations

from collections.abc import Collection

MOST_NAMES = 12  # of a list in a sentence


def counted(number: int, thing: str) -> str:
    """"1 link", "2 links", "0 switches"."""
    if number == 1:
        return f"1 {thing}"
    return f"{number} {thing}{'es' if thing.endswith(('ch', 's', 'x')) else 's'}"


def listed(names: Collection[str], most: int = MOST_NAMES, separator: str = ", ") -> str:
    """"a, b, c and 4 more"."""
    shown = separator.join(list(names)[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
