"""Numbers, lists and addresses in the words of messages to the operator."""

from __future__ import annotations

from collections.abc import Collection, Iterable

MOST_NAMES = 12  # of a list in one message
FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6"}  # as members of JSON name them → as people do


def counted(number: int, thing: str) -> str:
    """ "1 link", "2 links", "0 switches"."""
    if number == 1:
        return f"1 {thing}"
    return f"{number} {thing}{'es' if thing.endswith(('ch', 's', 'x')) else 's'}"


def listed(names: Collection[str], most: int = MOST_NAMES, separator: str = ", ") -> str:
    """ "a, b, c and 4 more"."""
    shown = separator.join(list(names)[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def some(names: Iterable[str], most: int = MOST_NAMES) -> str:
    """ "a, b, c, 4 more", sorted; "there is none" of none."""
    names = sorted(names)
    more = [f"{len(names) - most} more"] if len(names) > most else []
    return ", ".join(names[:most] + more) or "there is none"


def address(host: str, port: int) -> str:
    """Where something listens, as the command line takes it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
