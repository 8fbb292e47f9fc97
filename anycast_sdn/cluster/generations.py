"""Generations: numbers of 64 bits that wrap; which one is later is a signed distance (OF 1.3.5 §6.3.6)."""

from __future__ import annotations

_ALL = 1 << 64


def generation(offset: int, revision: int) -> int:
    return (offset + revision) % _ALL


def distance(earlier: int, later: int) -> int:
    """Negative where ``later`` is not; a switch takes a claim whose distance from the one before is not negative."""
    return (later - earlier + (_ALL >> 1)) % _ALL - (_ALL >> 1)


def later_of(one: int, other: int) -> int:
    return other if distance(one, other) > 0 else one
