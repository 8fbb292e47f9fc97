"""The files of the binding log: one that is written, and earlier ones beside it.

FILE is written.  When it has grown to ``SIZE``, or is a day old, it is renamed to FILE.*when it began*, and another one
begins.  Later it is compressed (``index``).  The rules this file keeps:

- Each file stands for itself: it begins with all flows that are open then.  So the file that was written at a time
  says who held an address, and no earlier one is needed.
- Records are only appended.  A line that a crash has cut off is removed at the next start.
- What is not in the log is said by the log: a gap, with its reason and the number of records that are missing.
- After ``days`` a file is deleted.
- Nobody is trusted with the files: ``Damaged`` tells of one, and FILE may be taken away while it is written.
- The clock may be set back: a file that begins more than a minute in the future ends.

Everything raises OSError.  Who writes is alone: FILE is locked.
"""

from __future__ import annotations

import errno
import fcntl
import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from anycast_sdn.store.bindings.records import FILE, milliseconds, other_line, read

SIZE = 64 << 20  # bytes of a file, beyond the flows that were open when it began
MINUTE, DAY = 60_000, 86_400_000  # ms
LONGEST_LINE = 4096
MODE = 0o640  # clients' addresses are personal data
INDEX, PACKED = ".index", ".gz"
_FORM = 1  # of the lines


class Damaged(OSError):
    """A file that cannot be read to its end."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EIO, f"{path.name} is damaged")


def earlier(path: Path) -> dict[int, Path]:
    """When each file beside FILE began → the file, in order."""
    found = {}
    for each in path.parent.glob(f"{path.name}.*"):
        stamp = each.name.removeprefix(f"{path.name}.").removesuffix(PACKED)
        if stamp.isdigit() and (int(stamp) not in found or not is_packed(each)):
            found[int(stamp)] = each
    return dict(sorted(found.items()))


def all_files(path: Path) -> dict[int, Path]:
    """As ``earlier``, with FILE itself at the end, if it is there."""
    found = earlier(path)
    if (began := beginning(path)) is not None:
        found[began] = path
    return found


def beginning(path: Path) -> int | None:
    """When this file began; None: there is none, or it is empty."""
    try:
        with path.open("rb") as file:
            first = read(file.readline(LONGEST_LINE))
        return milliseconds(first["time"]) if first else None
    except OSError:
        return None


def is_packed(file: Path) -> bool:
    return file.name.endswith(PACKED)


def beside(file: Path, ending: str) -> Path:
    """What belongs to a closed file, such as its index; ``file``: compressed or not."""
    return file.with_name(file.name.removesuffix(PACKED) + ending)


def whole_lines(path: Path) -> Iterator[bytes]:
    """All lines but one that was cut off.  Raises Damaged after those that can be read."""
    with gzip.open(path, "rb") if is_packed(path) else path.open("rb") as file:
        try:
            if is_packed(path) and not file.peek(1):
                raise Damaged(path)
            for text in file:
                if text.endswith(b"\n"):
                    yield text
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise Damaged(path) from error


def until_damage(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Those that can be read."""
    with suppress(Damaged):
        yield from lines


class Files:
    """To write.  ``days``: how long files are kept."""

    def __init__(self, path: Path, days: float, size: int = SIZE) -> None:
        self._path = path
        self._days = days
        self._most = size
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, MODE)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._size = self._cut_off_rest()
        self._began = beginning(path) or 0
        self._head = self._carried = 0  # bytes at the beginning of the file: the first line, what was open
        self._dirty = False

    def _cut_off_rest(self) -> int:
        """Remove a last line that has no end → the size of the file."""
        size = os.fstat(self._descriptor).st_size
        end = size
        while end and (block := os.pread(self._descriptor, min(end, 4096), max(0, end - 4096))):
            if (newline := block.rfind(b"\n")) >= 0:
                end = end - len(block) + newline + 1
                break
            end -= len(block)
        if end < size:
            os.ftruncate(self._descriptor, end)
        return end

    @property
    def is_empty(self) -> bool:
        return not self._size

    @property
    def latest(self) -> Path | None:
        """The one with the last records."""
        if not self.is_empty:
            return self._path
        return next(reversed(earlier(self._path).values()), None)

    def is_full(self, now: int) -> bool:
        return self._size - self._carried >= max(self._most, self._carried) or not -MINUTE <= now - self._began < DAY

    @property
    def was_removed(self) -> bool:
        """Is what is written no longer FILE?"""
        try:
            return not os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except FileNotFoundError:
            return True

    @property
    def began(self) -> int:
        return self._began

    def begin(self, now: int) -> None:
        """Begin another file, unless this one is empty: then it is the one that begins."""
        if not self.is_empty or self.was_removed:
            others, stamp = earlier(self._path), beginning(self._path) or self._began
            while stamp in others:
                stamp += 1
            with suppress(FileNotFoundError):
                os.rename(self._path, self._path.with_name(f"{self._path.name}.{stamp}"))
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, MODE)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.sync()
            os.close(self._descriptor)
            self._descriptor, self._size = descriptor, 0
        self._began = now
        self.append(other_line(FILE, now, form=_FORM))
        self._carried = 0
        self._head = self._size

    def rewind(self) -> None:
        """The file has nothing but its first line again."""
        os.ftruncate(self._descriptor, self._head)
        self._size = self._head

    def carried(self) -> None:
        """All that has been appended to this file until now was carried over."""
        self._carried = self._size

    def append(self, lines: bytes) -> None:
        """All or nothing."""
        view = memoryview(lines)
        done = 0
        try:
            while done < len(view):
                done += os.write(self._descriptor, view[done:])
        except OSError:
            if done:
                os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(lines)
        self._dirty = True

    def sync(self) -> None:
        if self._dirty:
            os.fsync(self._descriptor)
            self._dirty = False

    def delete_old(self, now: int) -> None:
        """The files whose last records are older than ``days``."""
        files = earlier(self._path)
        for file, end in zip(files.values(), [*files, self._began][1:], strict=True):
            if now - end > self._days * DAY:
                for ending in ("", PACKED, INDEX):
                    beside(file, ending).unlink(missing_ok=True)

    def close(self) -> None:
        try:
            self.sync()
        finally:
            os.close(self._descriptor)
