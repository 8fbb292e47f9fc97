"""Sizes: for how many rules and groups a switch says that it has room (OF 1.3.5 §7.3.5.5, §7.3.5.10).

A hint only: switches announce sizes that they do not have, larger and smaller ones.  0, and numbers that no switch has
room for, say nothing.  Open vSwitch is not asked: its tables grow, and its answer has half a megabyte.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from os_ken.ofproto import ofproto_v1_3 as ofp

MOST = 1 << 24  # more than any switch has room for
_TABLE = struct.Struct("!HB5x32s8x8x4xI")  # length, number, name, …, max_entries: the head of ofp_table_features
_GROUPS = struct.Struct("!8x4I")  # of ofp_group_features: the most of each type
_SELECT = ofp.OFPGT_SELECT


class Sizes(NamedTuple):
    rules: tuple[tuple[int, int], ...] = ()  # (table of the switch, for so many rules), where it says something
    groups: int = 0  # for so many select groups; 0: it does not say

    def of_table(self, table: int) -> int:
        """0: it does not say."""
        return dict(self.rules).get(table, 0)


NOT_SAID = Sizes()


def table_sizes(body: bytes) -> Iterator[tuple[int, int]]:
    """The answer's tables, as far as it can be read."""
    at = 0
    while at + _TABLE.size <= len(body):
        length, table, _, room = _TABLE.unpack_from(body, at)
        if length < _TABLE.size:
            return
        if 0 < room < MOST:
            yield table, room
        at += length


def group_size(body: bytes) -> int:
    if len(body) < _GROUPS.size:
        return 0
    room: int = _GROUPS.unpack_from(body)[_SELECT]
    return room if room < MOST else 0
