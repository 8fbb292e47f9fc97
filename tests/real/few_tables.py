"""A relay that makes Open vSwitch a switch with few tables: it says so, and refuses what other tables would need."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from contextlib import suppress
from typing import Any

from relay import OpenFlowRelay, Relays

_FEATURES_REPLY, _FLOW_MOD, _ERROR = 6, 14, 1
_TABLES_AT, _TABLE_AT, _MATCH_AT = 20, 24, 48  # in a message, OF 1.3.5 §7.3.1 and §7.3.4.2
_ALL = 255
_GOTO = 1
_BAD_INSTRUCTION, _FLOW_MOD_FAILED, _BAD_TABLE = 3, 5, 2


class FewTables(OpenFlowRelay):
    """Between switches and one controller."""

    def __init__(self, relays: Relays, target: int, tables: int) -> None:
        self._tables = tables
        self.refusals: list[bytes] = []  # flow-mods that were answered with an error
        self.tables_used: Counter[int] = Counter()  # flow-mods by table
        super().__init__(relays, target)

    async def _pump(
        self, connection: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_back: bool
    ) -> None:
        try:
            while True:
                head = await reader.readexactly(8)
                kind, length = struct.unpack_from("!xBH", head)
                message = head + await reader.readexactly(length - 8)
                if kind == _FEATURES_REPLY and not is_back:
                    message = message[:_TABLES_AT] + bytes([self._tables]) + message[_TABLES_AT + 1 :]
                refusal = self._refusal(message) if kind == _FLOW_MOD and is_back else None
                if refusal:
                    connection.ends[1].write(refusal)
                    continue
                writer.write(message)
                await writer.drain()
        except asyncio.IncompleteReadError:
            pass
        finally:
            with suppress(OSError):
                writer.close()

    def _refusal(self, message: bytes) -> bytes | None:
        """The error that such a switch answers a flow-mod with."""
        table = message[_TABLE_AT]
        self.tables_used[table] += 1
        goto = _goto(message)
        if table != _ALL and table >= self._tables:
            error = (_FLOW_MOD_FAILED, _BAD_TABLE)
        elif goto is not None and goto >= self._tables:
            error = (_BAD_INSTRUCTION, _BAD_TABLE)
        else:
            return None
        self.refusals.append(message)
        body = struct.pack("!HH", *error) + message[:64]
        return struct.pack("!BBH", 4, _ERROR, 8 + len(body)) + message[4:8] + body


def _goto(message: bytes) -> int | None:
    length = int.from_bytes(message[_MATCH_AT + 2 : _MATCH_AT + 4], "big")
    at = _MATCH_AT + length + -length % 8
    while at + 8 <= len(message):
        kind, length = struct.unpack_from("!HH", message, at)
        if kind == _GOTO:
            return message[at + 4]
        at += max(length, 8)
    return None
