"""FlowFile: where flows are kept that no switch can tell of after a restart (``core.kept_flows``), beside the database.

The rules this file keeps:

- Records are appended in frames (``flow_records``).  ``read`` takes all frames up to the first that is not whole:
  after a crash, that is the last one.
- What is written outlives a killed process.  It does not outlive a power cut, in which switches lose their connections
  as well, and so it does not wait for the disk.
- A file with all flows that there are takes the place of one with many obsolete records, in one step, and while that is
  made both get what happens meanwhile.

Its methods that write wait for the disk: callers call them where nobody else has to wait.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from anycast_sdn.core.kept_flows import KeptFlow
from anycast_sdn.store.flow_records import RECORDS, BadRecords, OpenFlows, framed, frames, names_frame

MODE = 0o600  # clients' addresses are personal data
MOST_OBSOLETE = 16 << 20  # bytes of records beyond those of the flows that there were when the file began


class Flows(NamedTuple):
    """What was found.  ``damage``: what cannot be read, in words; "": all can be."""

    by_edge: dict[str, dict[int, KeptFlow]]
    damage: str = ""


class FlowFile:
    def __init__(self, path: Path) -> None:
        self.path = path
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
        frame = framed(RECORDS, records)
        if self._file is not None:
            _write(self._file, frame)
        if self._next is not None:
            _write(self._next, frame)
        self._size += len(frame)

    def begin(self, edges: Sequence[str]) -> None:
        """Another file begins; what is appended from now on gets there as well.  Records have numbers of ``edges``."""
        self._close(self._next)
        self._next = os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, MODE)
        os.fchmod(self._next, MODE)
        _write(self._next, names_frame(edges))

    def carry(self, records: bytes) -> None:
        """To the file that has begun alone."""
        assert self._next is not None
        _write(self._next, framed(RECORDS, records))

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


def _write(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def read(path: Path) -> Flows:
    """Those that the file has; none where there is none.  Raises OSError."""
    found, damage = read_open(path)
    return Flows({name: {flow.number: flow for flow in found.of(name)} for name in found.edges}, damage)


def read_open(path: Path) -> tuple[OpenFlows, str]:
    """→ (as records, what cannot be read).  Raises OSError."""
    found, read_to = OpenFlows(), 0
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return found, ""
    with suppress(BadRecords):
        for frame, end in frames(content):
            found.take(frame)
            read_to = end
    rest = len(content) - read_to
    return found, f"{rest} bytes after the first {read_to} are not as they were written" if rest else ""
