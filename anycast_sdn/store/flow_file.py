"""FlowFile: where flows are kept that no switch can tell of after a restart (``core.kept_flows``), beside the database.

The rules this file keeps:

- Records are appended in frames, each with its length and a checksum.  ``read`` takes all frames up to the first that
  is not whole: after a crash, that is the last one.
- What is written outlives a killed process.  It does not outlive a power cut, in which switches lose their connections
  as well, and so it does not wait for the disk.
- A record says how a flow is now, or that it has ended.  The latest of a number counts.
- A file with all flows that there are takes the place of one with many obsolete records, in one step, and while that is
  made both get what happens meanwhile.

Its methods that write wait for the disk: callers call them where nobody else has to wait.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from struct import Struct, error
from typing import NamedTuple

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.kept_flows import KeptConnection, KeptFlow
from anycast_sdn.core.model import Address, FlowKey

MODE = 0o600  # clients' addresses are personal data
MOST_OBSOLETE = 16 << 20  # bytes of records beyond those of the flows that there were when the file began

_FRAME = Struct("!II")  # length, checksum
_NAMES, _RECORDS = b"N", b"R"  # what a frame has: the form and the names of edges, in JSON; records
_FORM = 1
# Kind, number of the edge, of the flow; then since when, port, protocol, both ports, port beside PR1X; then addresses.
_ENDED, _V4, _V4_PINNED, _V6, _V6_PINNED, _CONNECTION = range(6)
_END, _FLOW = Struct("!BHQ"), Struct("!BHQdIHHHH")
_CONNECTION_OF = Struct("!BHQHHH?")  # as a ``KeptConnection``
_ADDRESSES = {
    _V4: Struct("4s4s4s"), _V4_PINNED: Struct("4s4s4s4s"), _V6: Struct("16s16s16s"), _V6_PINNED: Struct("16s16s16s16s")
}  # fmt: skip


class Flows(NamedTuple):
    """What was found.  ``damage``: what cannot be read, in words; "": all can be."""

    by_edge: dict[str, dict[int, KeptFlow]]
    damage: str = ""


def packed(edge: int, flow: Binding, to_epoch: float) -> bytes:
    """``edge``: its number among the names; ``to_epoch``: see ``Engine.remember``."""
    number, key, translated, _, since, server, *_, port, there = flow
    source, destination, protocol, first, second = key
    kind = (_V6 if len(source) == 16 else _V4) + (server is not None)
    head = _FLOW.pack(kind, edge, number, since + to_epoch, port, protocol, first, second, there)
    return b"".join((head, source, destination, translated, server or b""))


def begun(edge: int, connection: KeptConnection) -> bytes:
    return _CONNECTION_OF.pack(_CONNECTION, edge, *connection)


def ended(edge: int, number: int) -> bytes:
    return _END.pack(_ENDED, edge, number)


class FlowFile:
    """``edges``: the names that records have numbers of."""

    def __init__(self, path: Path, edges: Sequence[str]) -> None:
        self.path = path
        self._edges = edges
        self._new = path.with_name(f"{path.name}.new")
        self._file: int | None = None  # descriptors
        self._next: int | None = None
        self._size = self._first_size = 0

    @property
    def is_due(self) -> bool:
        """Is it time to begin another one?"""
        return self._size - 2 * self._first_size >= MOST_OBSOLETE

    # ---------------------------------------------------------------- to write; each raises OSError

    def append(self, records: bytes) -> None:
        frame = _framed(_RECORDS + records)
        if self._file is not None:
            _write(self._file, frame)
        if self._next is not None:
            _write(self._next, frame)
        self._size += len(frame)

    def begin(self) -> None:
        """Another file begins; what is appended from now on gets there as well."""
        self._close(self._next)
        self._next = os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, MODE)
        os.fchmod(self._next, MODE)
        names = json.dumps({"form": _FORM, "edges": list(self._edges)}).encode()
        _write(self._next, _framed(_NAMES + names))

    def carry(self, records: bytes) -> None:
        """To the file that has begun alone."""
        assert self._next is not None
        _write(self._next, _framed(_RECORDS + records))

    def take_over(self) -> None:
        """The file that has begun has all flows."""
        assert self._next is not None
        os.replace(self._new, self.path)
        self._close(self._file)
        self._file, self._next = self._next, None
        self._size = self._first_size = os.fstat(self._file).st_size

    def give_up(self) -> None:
        """After an error: nothing more is written until another file has taken over."""
        for descriptor in (self._file, self._next):
            with suppress(OSError):
                self._close(descriptor)
        self._file = self._next = None

    def _close(self, descriptor: int | None) -> None:
        if descriptor is not None:
            os.close(descriptor)


def _framed(content: bytes) -> bytes:
    return _FRAME.pack(len(content), zlib.crc32(content)) + content


def _write(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


# ------------------------------------------------------------------------------ to read


def read(path: Path) -> Flows:
    """Those that the file has; none where there is none.  Raises OSError."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Flows({})
    found: list[_Edge] = []
    names: list[str] = []
    read_to = 0
    try:
        for frame, end in _frames(content):
            if frame[:1] == _NAMES:
                names = _names(frame[1:])
                found = [_Edge({}, {}) for _ in names]
            elif frame[:1] == _RECORDS:
                _take(frame, found)
            read_to = end
    except (ValueError, TypeError, error, IndexError, KeyError):
        pass  # a frame that is whole, but not one of ours
    rest = len(content) - read_to
    damage = f"{rest} bytes after the first {read_to} are not as they were written" if rest else ""
    return Flows({name: edge.whole() for name, edge in zip(names, found, strict=True)}, damage)


def _frames(content: bytes) -> Iterator[tuple[bytes, int]]:
    """(what is in it, where it ends) of each that is whole."""
    at = 0
    while len(content) - at >= _FRAME.size:
        length, checksum = _FRAME.unpack_from(content, at)
        frame = content[at + _FRAME.size : at + _FRAME.size + length]
        if not frame or len(frame) < length or zlib.crc32(frame) != checksum:
            return
        at += _FRAME.size + length
        yield frame, at


def _names(text: bytes) -> list[str]:
    told = json.loads(text)
    names = told["edges"]
    if told["form"] != _FORM or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("form")
    return names


class _Edge(NamedTuple):
    flows: dict[int, KeptFlow]
    connections: dict[int, list[KeptConnection]]

    def whole(self) -> dict[int, KeptFlow]:
        for number, connections in self.connections.items():
            self.flows[number] = self.flows[number]._replace(connections=tuple(dict.fromkeys(connections)))
        return self.flows


def _take(frame: bytes, found: list[_Edge]) -> None:
    at = 1
    while at < len(frame):
        kind = frame[at]
        if kind == _ENDED:
            _, edge, number = _END.unpack_from(frame, at)
            found[edge].flows.pop(number, None)
            found[edge].connections.pop(number, None)
            at += _END.size
            continue
        if kind == _CONNECTION:
            _, edge, *rest = _CONNECTION_OF.unpack_from(frame, at)
            connection = KeptConnection._make(rest)
            if connection.number in found[edge].flows:
                found[edge].connections.setdefault(connection.number, []).append(connection)
            at += _CONNECTION_OF.size
            continue
        _, edge, number, since, port, protocol, first, second, there = _FLOW.unpack_from(frame, at)
        at += _FLOW.size
        client, service, translated, *pinned = _ADDRESSES[kind].unpack_from(frame, at)
        at += _ADDRESSES[kind].size
        server: Address | None = pinned[0] if pinned else None
        key = FlowKey(client, service, protocol, first, second)
        flows, connections = found[edge]
        if number in flows and flows[number].key != key:
            connections.pop(number, None)  # numbers are given again after a restart
        flows[number] = KeptFlow(number, key, translated, server, since, port, there)
