"""What switches say that they have room for, and what is made of nonsense."""

from __future__ import annotations

import struct

import pytest

from anycast_sdn.openflow.sizes import Sizes, group_size, table_sizes


def table(number: int, room: int, properties: bytes = b"") -> bytes:
    head = struct.pack("!HB5x32s8x8x4xI", 64 + len(properties), number, b"a table", room)
    return head + properties


def test_each_table_says_its_own() -> None:
    body = table(0, 1024, bytes(16)) + table(3, 480) + table(4, 2_000_000, bytes(8))
    assert [*table_sizes(body)] == [(0, 1024), (3, 480), (4, 2_000_000)]
    assert Sizes(((0, 1024),)).of_table(0) == 1024
    assert Sizes(((0, 1024),)).of_table(1) == 0


@pytest.mark.parametrize("room", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_nothing_and_more_than_any_switch_has_say_nothing(room: int) -> None:
    assert [*table_sizes(table(0, room))] == []
    assert group_size(struct.pack("!8x4I16x", 1, room, 2, 3)) == 0


def test_groups_are_counted_by_those_of_type_select() -> None:
    assert group_size(struct.pack("!8x4I16x", 1, 32, 2, 3)) == 32


@pytest.mark.parametrize("body", [b"", b"\0" * 63, b"\0" * 64, struct.pack("!H62x", 3), table(0, 5)[:40]])
def test_what_cannot_be_read_says_nothing(body: bytes) -> None:
    assert [*table_sizes(body)] == []
    assert group_size(body[:10]) == 0
