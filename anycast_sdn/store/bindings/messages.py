"""What the controller and the process that writes the binding log say to each other, by a pair of sockets.

A frame is its length in four bytes, and one object as ``marshal`` writes it: a list of messages, each a tuple that
begins with its name.  ``marshal`` is fast; both ends are of one version of Python, as one starts the other.
"""

from __future__ import annotations

import marshal
import struct
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

Message: TypeAlias = tuple[Any, ...]

# To the writer: records of flows begin with their event, and others with
TELL = "tell"  # event, time, members: what is not about a flow
LOST = "lost"  # count, since, time, reason
DOUBT = "doubt"  # edge
SETTLED = "settled"  # edge, time
HANDED = "handed"  # edge, time: another controller serves it
ASK = "ask"  # number, translated, at, port or None
END = "end"  # time: the controller stops
# To the controller
STATE = "state"  # problem, missing: at the start, and when it changes
ANSWER = "answer"  # number, found, error

_LENGTH = struct.Struct("!I")


class Unavailable(Exception):
    """The binding log cannot be searched now.  Its message says why."""


def framed(messages: Sequence[Message]) -> bytes:
    packed = marshal.dumps(list(messages))
    return _LENGTH.pack(len(packed)) + packed


class Frames:
    """Of what is received, piece by piece."""

    def __init__(self) -> None:
        self._received = bytearray()

    def take(self, piece: bytes) -> Iterator[Message]:
        self._received += piece
        at = 0
        while len(self._received) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._received, at)
            if len(self._received) - at < _LENGTH.size + length:
                break
            at += _LENGTH.size
            yield from marshal.loads(memoryview(self._received)[at : at + length].tobytes())
            at += length
        del self._received[:at]
