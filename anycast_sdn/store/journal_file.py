"""JournalFile: where the journal's entries outlive the process, a line of JSON for each.

The rules this file keeps:

- A line is appended when its event has happened; what was written outlives a killed process, and is on disk when
  ``append`` has returned.
- ``read`` takes whatever is there: a line that is not whole, after a crash, or not ours, is left out, and so is one
  whose number is not greater than all before: the numbers of what is read grow.
- When there are twice as many lines as are kept, a file with the last ones takes its place, in one step.
- A file that has vanished is written anew.

Its methods wait for the disk: callers call them where nobody else has to wait.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

MODE = 0o600
MOST_ID = 10**15  # greater numbers are not ours: clients may not say them

_VALID: list[Callable[[dict[str, Any]], bool]] = [
    lambda entry: type(entry.get("id")) is int and 0 < entry["id"] < MOST_ID,
    lambda entry: isinstance(entry.get("type"), str),
    lambda entry: isinstance(entry.get("edge", ""), str),
    lambda entry: type(entry.get("groups", [])) is list and all(type(name) is str for name in entry.get("groups", [])),
]


class JournalFile:
    """``kept``: how many lines at least."""

    def __init__(self, path: Path, kept: int) -> None:
        self.path = path
        self._kept = kept
        self._lines = 0  # in the file

    def read(self) -> list[dict[str, Any]]:
        """The last ones that are whole, in order; none where there is no file.  Raises OSError."""
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        self._lines = len(lines)
        found = [entry for line in lines[-self._kept - 1 :] if line and (entry := _entry(line))]
        if lines[-1]:  # a part of a line: what follows must begin on a line of its own
            with suppress(OSError):  # what was written can be read, whether or not anything can be written now
                self._replace(b"\n".join(line for line in lines[:-1] if line))
        return _growing(found)[-self._kept :]

    def append(self, entries: Iterable[str]) -> None:
        """Each of them is JSON in one line.  Raises OSError; then none of them has been appended."""
        lines = [entry.encode() for entry in entries]
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)
        size = os.fstat(descriptor).st_size
        try:
            with os.fdopen(descriptor, "ab") as file:
                if size == 0:
                    self._lines = 0
                file.write(self._end_of_part() + b"".join(line + b"\n" for line in lines))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):  # they are appended again, and would be there twice, or in parts
                os.truncate(self.path, size)
            self._lines = 2 * self._kept  # how many it has is not known: ``_shorten`` finds out
            raise
        self._lines += len(lines)
        if self._lines > 2 * self._kept:
            self._shorten()

    def _end_of_part(self) -> bytes:
        """What ends the last line, where that is not whole."""
        with self.path.open("rb") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                return b"" if file.read(1) == b"\n" else b"\n"
        return b""

    def _shorten(self) -> None:
        lines = [line for line in self.path.read_bytes().split(b"\n") if line]
        self._replace(b"\n".join(lines[-self._kept :]))
        self._lines = min(len(lines), self._kept)

    def _replace(self, content: bytes) -> None:
        new = self.path.with_name(f"{self.path.name}.new")
        with suppress(FileNotFoundError):
            new.unlink()
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content + b"\n" if content else b"")
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)


def _entry(line: bytes) -> dict[str, Any] | None:
    """None: it is not an entry, whatever else it is."""
    try:
        entry = json.loads(line)
        json.dumps(entry, ensure_ascii=False).encode()  # half a character can be written as JSON, and not be sent
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and all(is_valid(entry) for is_valid in _VALID) else None


def _growing(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without those whose number is not greater than all before."""
    last, found = 0, []
    for entry in entries:
        if entry["id"] > last:
            last = entry["id"]
            found.append(entry)
    return found
