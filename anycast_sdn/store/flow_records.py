"""Records of flows that no switch can tell of (``core.kept_flows``): how they are written to a file, or sent to others.

A record says how a flow is now, or that it has ended, or that one of its connections has begun, or that an address was
set aside for a flow to come (``Engine.set_aside``).  The latest of a number, or of an address, counts.  Records are in
frames, each with its length and a checksum:

    N  the form and the names of edges, in JSON: records have numbers of these.  All that is open follows.
    R  records
    W  that was all that was open; from now on records say what has changed.  Only where frames are sent.
    B  nothing has happened for some time.  Likewise.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from struct import Struct, error
from typing import NamedTuple

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.kept_flows import KeptConnection, KeptFlow
from anycast_sdn.core.model import Address, FlowKey

NAMES, RECORDS, WHOLE, BEAT = b"N", b"R", b"W", b"B"

_FRAME = Struct("!II")  # length, checksum
_FORM = 1
_LONGEST = 1 << 20  # bytes in a frame; ours have less than a tenth of that
# Kind, number of the edge, of the flow; then since when, port, protocol, both ports, port beside PR1X; then addresses.
_ENDED, _V4, _V4_PINNED, _V6, _V6_PINNED, _CONNECTION, _ASIDE, _ASIDE_V6 = range(8)
_HEAD, _END, _FLOW = Struct("!BHQ"), Struct("!BHQ"), Struct("!BHQdIHHHH")
_SINCE = Struct("!BHQd")  # the beginning of ``_FLOW``
_CONNECTION_OF = Struct("!BHQHHH?")  # as a ``KeptConnection``
_ADDRESSES = {
    _V4: Struct("4s4s4s"), _V4_PINNED: Struct("4s4s4s4s"), _V6: Struct("16s16s16s"), _V6_PINNED: Struct("16s16s16s16s")
}  # fmt: skip
_SIZES = {kind: _FLOW.size + addresses.size for kind, addresses in _ADDRESSES.items()} | {
    _ENDED: _END.size, _CONNECTION: _CONNECTION_OF.size, _ASIDE: _HEAD.size + 4, _ASIDE_V6: _HEAD.size + 16
}  # fmt: skip
_PROTOCOL_AT = 23  # in the record of a flow: protocol and both ports


class BadRecords(ValueError):
    """A frame is whole, but not one of ours."""


# ------------------------------------------------------------------------------ to write


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


def aside(edge: int, address: Address) -> bytes:
    return _HEAD.pack(_ASIDE_V6 if len(address) == 16 else _ASIDE, edge, 0) + address


def framed(kind: bytes, content: bytes = b"") -> bytes:
    content = kind + content
    return _FRAME.pack(len(content), zlib.crc32(content)) + content


def names_frame(edges: Sequence[str]) -> bytes:
    return framed(NAMES, json.dumps({"form": _FORM, "edges": list(edges)}).encode())


# ------------------------------------------------------------------------------ to read


def frames(content: bytes | bytearray) -> Iterator[tuple[bytes, int]]:
    """(what is in it, where it ends) of each that is whole, up to the first that is not."""
    at = 0
    while len(content) - at >= _FRAME.size:
        length, checksum = _FRAME.unpack_from(content, at)
        frame = bytes(content[at + _FRAME.size : at + _FRAME.size + length])
        if not frame or len(frame) < length or zlib.crc32(frame) != checksum:
            return
        at += _FRAME.size + length
        yield frame, at


def is_damaged(content: bytes | bytearray) -> bool:
    """Can what begins here never become a frame, whatever follows?"""
    if len(content) < _FRAME.size:
        return False
    length, _ = _FRAME.unpack_from(content)
    return not 0 < length <= _LONGEST or len(content) >= _FRAME.size + length


def moved(frame: bytes, seconds: float) -> bytes:
    """The same, with times that are so much later: of another clock.  Raises BadRecords."""

    def move(found: bytearray, at: int) -> None:
        if found[at] in _ADDRESSES:
            *head, since = _SINCE.unpack_from(found, at)
            _SINCE.pack_into(found, at, *head, since + seconds)

    return _changed(frame, move)


def renumbered(frame: bytes, number: int) -> bytes:
    """The same, with records of the edge with this number.  Raises BadRecords."""

    def renumber(found: bytearray, at: int) -> None:
        found[at + 1 : at + 3] = number.to_bytes(2, "big")

    return _changed(frame, renumber)


def _changed(frame: bytes, change: Callable[[bytearray, int], None]) -> bytes:
    """``change``: of the record that begins there."""
    if frame[:1] != RECORDS:
        return frame
    found = bytearray(frame)
    at = 1
    try:
        while at < len(found):
            size = _SIZES[found[at]]
            change(found, at)
            at += size
    except (error, KeyError, IndexError) as problem:
        raise BadRecords("records of another form") from problem
    return bytes(found)


class _Edge(NamedTuple):
    flows: dict[int, bytes]  # number → its latest record
    connections: dict[int, dict[bytes, None]]  # likewise, those of its connections
    aside: dict[Address, bytes]


class OpenFlows:
    """What is open, by frames that say so: the latest records, and not more of each flow than these bytes."""

    def __init__(self) -> None:
        self.edges: list[str] = []
        self._found: list[_Edge] = []

    def __len__(self) -> int:
        return sum(len(edge.flows) for edge in self._found)

    @classmethod
    def none(cls, edges: Sequence[str]) -> OpenFlows:
        """No flow of these edges is open."""
        made = cls()
        made.edges = list(edges)
        made._found = [_Edge({}, {}, {}) for _ in edges]
        return made

    def take(self, frame: bytes, of: str = "") -> dict[str, list[Address]]:
        """→ PR1X of the flows that have ended, by edge.  ``of``: there are records of this edge alone.

        Raises BadRecords.
        """
        ended: dict[str, list[Address]] = {}
        try:
            if frame[:1] == NAMES:
                self.edges = _names(frame[1:])
                self._found = [_Edge({}, {}, {}) for _ in self.edges]
            elif frame[:1] == RECORDS:
                self._take_records(frame, ended, self.edges.index(of) if of else None)
        except (ValueError, TypeError, error, IndexError, KeyError) as problem:
            raise BadRecords("records of another form") from problem
        return ended

    def _take_records(self, frame: bytes, ended: dict[str, list[Address]], only: int | None) -> None:
        at = 1
        while at < len(frame):
            kind, edge, number = _HEAD.unpack_from(frame, at)
            if only is not None and edge != only:
                raise ValueError("edge")
            record = frame[at : at + _SIZES[kind]]
            if len(record) < _SIZES[kind]:
                raise ValueError("truncated")
            at += len(record)
            flows, connections, aside = self._found[edge]
            if kind == _ENDED:
                if flow := flows.pop(number, b""):
                    ended.setdefault(self.edges[edge], []).append(_translated(flow))
                connections.pop(number, None)
            elif kind == _CONNECTION:
                if number in flows:
                    connections.setdefault(number, {})[record] = None
            elif kind in (_ASIDE, _ASIDE_V6):
                aside[record[_HEAD.size :]] = record
            else:
                aside.pop(_translated(record), None)
                if number in connections and _key_of(flows[number]) != _key_of(record):
                    del connections[number]  # numbers are given again after a restart
                flows[number] = record

    def of(self, edge: str, leave_out: Callable[[int], object] = lambda number: None) -> Iterator[KeptFlow]:
        """Those of an edge, as they are now.  ``leave_out``: is true of numbers of flows that are not wanted."""
        if edge in self.edges:
            flows, connections, _ = self._found[self.edges.index(edge)]
            for number, record in list(flows.items()):
                if leave_out(number):
                    continue
                yield _flow(record, connections.get(number, ()))

    def aside(self, edge: str) -> list[Address]:
        """Which addresses of an edge are set aside."""
        return list(self._found[self.edges.index(edge)].aside) if edge in self.edges else []

    def records(self, edge: str, at_once: int) -> Iterator[bytes]:
        """All of one edge, in parts of so many flows, each numbered as it is among ``edges``."""
        flows, connections, aside = self._found[self.edges.index(edge)]
        numbers = list(flows)
        for at in range(0, len(numbers), at_once):
            some = [number for number in numbers[at : at + at_once] if number in flows]
            yield b"".join(b"".join((flows[number], *connections.get(number, ()))) for number in some)
        yield b"".join(aside.values())

    def among(self, edges: Sequence[str]) -> OpenFlows:
        """The same, with records that have the numbers of these edges; flows of other edges are left out."""
        if list(edges) == self.edges:
            return self
        other = OpenFlows.none(edges)
        for edge in edges:
            other.replace(edge, self)
        return other

    def replace(self, edge: str, other: OpenFlows) -> None:
        """Of this edge that is open from now on which is in ``other``, where the edge may have another number."""
        number = self.edges.index(edge)
        if edge not in other.edges:
            self._found[number] = _Edge({}, {}, {})
        elif other.edges.index(edge) == number:
            self._found[number] = other._found[number]
        else:
            self._found[number] = _renumbered(other._found[other.edges.index(edge)], number)

    def forget(self, edge: str) -> None:
        if edge in self.edges:
            self._found[self.edges.index(edge)] = _Edge({}, {}, {})


def _names(text: bytes) -> list[str]:
    told = json.loads(text)
    names = told["edges"]
    if told["form"] != _FORM or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("form")
    return names


def _renumbered(found: _Edge, number: int) -> _Edge:
    return _Edge(
        {each: _numbered(record, number) for each, record in found.flows.items()},
        {
            each: {_numbered(record, number): None for record in records}
            for each, records in found.connections.items()
        },
        {each: _numbered(record, number) for each, record in found.aside.items()},
    )  # fmt: skip


def _numbered(record: bytes, edge: int) -> bytes:
    return record[:1] + edge.to_bytes(2, "big") + record[3:]


def _translated(record: bytes) -> bytes:
    width = 16 if record[0] in (_V6, _V6_PINNED) else 4
    return record[_FLOW.size + 2 * width : _FLOW.size + 3 * width]


def _key_of(record: bytes) -> tuple[bytes, bytes]:
    width = 16 if record[0] in (_V6, _V6_PINNED) else 4
    return record[_PROTOCOL_AT : _PROTOCOL_AT + 6], record[_FLOW.size : _FLOW.size + 2 * width]


def _flow(record: bytes, connections: Sequence[bytes] | dict[bytes, None]) -> KeptFlow:
    kind, _, number, since, port, protocol, first, second, there = _FLOW.unpack_from(record)
    client, service, translated, *pinned = _ADDRESSES[kind].unpack_from(record, _FLOW.size)
    server: Address | None = pinned[0] if pinned else None
    key = FlowKey(client, service, protocol, first, second)
    known = tuple(KeptConnection._make(_CONNECTION_OF.unpack(each)[2:]) for each in connections)
    return KeptFlow(number, key, translated, server, since, port, there, known)
