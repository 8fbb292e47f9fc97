"""The index of one closed file of the binding log: which flows had an address, with their times, in SQLite beside it.

With an index a search does not need the file, so that is compressed then, to a tenth.

A closed file never changes, so its index is made once, from the file alone, and is made again where it is missing.  It
appears as a whole, by a rename.  Whatever is wrong with one, the file itself is searched instead.
"""

from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from anycast_sdn.core.model import Address
from anycast_sdn.store.bindings import records
from anycast_sdn.store.bindings.files import INDEX, PACKED, beside, earlier, is_packed, whole_lines
from anycast_sdn.store.bindings.held import Fold, Gap, Held, gap_of
from anycast_sdn.store.bindings.records import CLOSED, Record

SLICE = 1000  # lines that are read, or flows that are stored, before others have their turn: some 5 ms
PIECE = 1 << 17  # bytes that are compressed at once: some 5 ms
LEVEL = 4  # of compression
_FORM = 2
_COLUMNS = [name for name in Record._fields if name != "event"]
_MADE = f"""
    CREATE TABLE held (ended INTEGER, {', '.join(f'"{name}"' for name in _COLUMNS)});
    CREATE TABLE gap (since INTEGER, until INTEGER, reason TEXT, missing INTEGER);
    PRAGMA user_version = {_FORM};
"""
_PUT = f"INSERT INTO held VALUES ({', '.join('?' * (1 + len(_COLUMNS)))})"
_FOUND = f"SELECT ended, {', '.join(f'{chr(34)}{name}{chr(34)}' for name in _COLUMNS)} FROM held WHERE translated = ?"


def build(file: Path) -> None:
    """Raises OSError, sqlite3.Error."""
    for _ in steps(file):
        pass


def steps(file: Path) -> Iterator[None]:
    """As ``build``, a slice at a time."""
    return _made(beside(file, INDEX), partial(_make, file))


def pack(file: Path) -> Iterator[None]:
    """Compress the file, a slice at a time."""
    yield from _made(beside(file, PACKED), partial(_compress, file))
    file.unlink()


def _made(wanted: Path, make: Callable[[Path], Iterator[None]]) -> Iterator[None]:
    """It appears as a whole, or not at all."""
    made = wanted.with_name(f"{wanted.name}.new")
    made.unlink(missing_ok=True)
    try:
        yield from make(made)
        made.rename(wanted)
    finally:
        made.unlink(missing_ok=True)


def _compress(file: Path, made: Path) -> Iterator[None]:
    with file.open("rb") as source, gzip.open(made, "wb", compresslevel=LEVEL) as packed:
        while some := source.read(PIECE):
            packed.write(some)
            yield


def _make(file: Path, made: Path) -> Iterator[None]:
    fold, gaps = Fold(), list[Gap]()
    lines = whole_lines(file)
    while some := list(islice(lines, SLICE)):
        for text in some:
            if (found := records.read(text)) is None:
                continue
            if record := records.record_of(found):
                fold.take(record)
            elif gap := gap_of(found):
                gaps.append(gap)
        yield
    with closing(sqlite3.connect(made, isolation_level=None)) as database:
        # It need not survive a crash before it has its name.
        database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _MADE)
        database.executemany("INSERT INTO gap VALUES (?, ?, ?, ?)", gaps)
        held = iter(sorted(fold.all(), key=lambda each: each.flow.translated))
        while some_held := list(islice(held, SLICE)):
            database.execute("BEGIN")
            database.executemany(_PUT, map(_row, some_held))
            database.execute("COMMIT")
            yield
        database.execute("CREATE INDEX by_address ON held (translated)")


def _row(held: Held) -> tuple[object, ...]:
    return held.ended, *held.flow[1:]


def held_by(file: Path, translated: Address) -> list[Held] | None:
    """None: there is no index that can be used."""
    rows = _asked(file, _FOUND, translated)
    if rows is None:
        return None
    return [Held(Record(CLOSED if ended is not None else records.OPENED, *flow), ended) for ended, *flow in rows]


def gaps_of(file: Path) -> list[Gap] | None:
    """As ``held_by``."""
    rows = _asked(file, "SELECT * FROM gap")
    return None if rows is None else [Gap(*row) for row in rows]


def _asked(file: Path, question: str, *values: object) -> list[Any] | None:
    path = beside(file, INDEX)
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            if database.execute("PRAGMA user_version").fetchone() != (_FORM,):
                return None
            return database.execute(question, values).fetchall()
    except sqlite3.Error:
        return None


class Maker:
    """Makes the indexes of all closed files, and compresses them, step by step; the latest file first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._steps: Iterator[None] = iter(())
        self._done: set[Path] = set()  # also those that could not be made
        self._looks = True

    def look(self) -> None:
        """Another file may have been closed."""
        self._looks = True

    def step(self) -> bool:
        """→ is there more to do?"""
        try:
            next(self._steps)
        except StopIteration:
            return self._begin()
        except (OSError, sqlite3.Error, OverflowError):
            self._steps = iter(())  # of this file: it is searched without
        return True

    def _begin(self) -> bool:
        if not self._looks:
            return False
        for file in reversed(earlier(self._path).values()):
            if file not in self._done:
                self._done.add(file)
                self._steps = _index_and_pack(file)
                return True
        self._looks = False
        return False


def _index_and_pack(file: Path) -> Iterator[None]:
    if not beside(file, INDEX).exists():
        yield from steps(file)
    if not is_packed(file):
        yield from pack(file)
