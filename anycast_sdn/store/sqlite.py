"""SqliteStore: enrolments on disk; groups, their servers and drained edges in one SQLite file.

The rules this file keeps, beside those of ``store.store``:

- A change is one transaction; when it returns, it is on the disk (WAL, synchronous FULL), and a process that
  dies in the middle leaves the state from before the call.
- One process at a time: the file stays locked while it is open.  So no other process changes what is
  stored, and versions are counted in this process only.
- A file of an earlier release is brought up to date when it is opened, in one transaction, and a copy of it is kept for
  that release; a file of a later release is refused.
- *First enrolments* are written in the transaction that makes the tables: what an operator removes over REST does
  not come back at the next start, and a group added to the network file later is not enrolled.
- The log (``-wal``) is written back into the file at start and at the end, so that a copy of the file of a
  controller that does not run is a copy of the enrolments.
- A file that can only be read, on a read-only disk for example, is served and not written.
- A file that vanishes while it is open is written anew.  One that another file has replaced is left alone: nothing
  is written until the old one is back.
- Every failure is a ``StoreError`` that names the file and says what to do.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from anycast_sdn.core.model import Address, AnycastGroup, Drain, Server, packed, text
from anycast_sdn.store import encoding
from anycast_sdn.store.store import (
    Change,
    DeleteGroup,
    DeleteServer,
    DrainEdge,
    Outdated,
    PutGroup,
    PutServer,
    ResumeEdge,
    Stored,
    StoreError,
)

LOG = logging.getLogger(__name__)

APPLICATION_ID = 0x414E5943  # "ANYC", PRAGMA application_id: distinguishes our files from other databases
BUSY_TIMEOUT_S = 5.0  # a predecessor that is just ending may hold the lock this long

# What makes a database of version 0, 1 … one of the next version.  A new file is of version 0; all of them make it.
_STEPS = (
    (
        "CREATE TABLE groups (name TEXT PRIMARY KEY)",
        """CREATE TABLE prefixes (
            group_name TEXT NOT NULL REFERENCES groups ON DELETE CASCADE,
            prefix TEXT NOT NULL,
            UNIQUE (group_name, prefix))""",
        """CREATE TABLE servers (
            group_name TEXT NOT NULL REFERENCES groups ON DELETE CASCADE,
            address TEXT NOT NULL,
            weight INTEGER NOT NULL,
            state TEXT NOT NULL,
            PRIMARY KEY (group_name, address))""",
        f"PRAGMA application_id = {APPLICATION_ID}",
    ),
    (
        "ALTER TABLE groups ADD COLUMN affinity TEXT NOT NULL DEFAULT 'flow'",
        "ALTER TABLE groups ADD COLUMN on_server_loss TEXT NOT NULL DEFAULT 'repin'",
        """CREATE TABLE validity (
            group_name TEXT NOT NULL REFERENCES groups ON DELETE CASCADE,
            name TEXT NOT NULL,
            seconds INTEGER NOT NULL,
            PRIMARY KEY (group_name, name))""",
    ),
    (
        # From now on, all settings are in one JSON text (``store.encoding``): a new setting needs no other table.
        "CREATE TABLE stored_groups (name TEXT PRIMARY KEY, settings TEXT NOT NULL)",
        """INSERT INTO stored_groups SELECT name, json_object(
            'prefixes', (SELECT json_group_array(prefix) FROM (
                SELECT prefix FROM prefixes WHERE group_name = name ORDER BY prefixes.rowid)),
            'affinity', affinity,
            'on_server_loss', on_server_loss,
            'validity', (SELECT json_group_object(v.name, v.seconds) FROM validity v WHERE v.group_name = groups.name)
            ) FROM groups""",
        """CREATE TABLE stored_servers (
            group_name TEXT NOT NULL REFERENCES stored_groups ON DELETE CASCADE,
            address TEXT NOT NULL,
            settings TEXT NOT NULL,
            PRIMARY KEY (group_name, address))""",
        """INSERT INTO stored_servers
            SELECT group_name, address, json_object('weight', weight, 'state', state) FROM servers""",
        "DROP TABLE validity",
        "DROP TABLE prefixes",
        "DROP TABLE servers",
        "DROP TABLE groups",
        "ALTER TABLE stored_groups RENAME TO groups",
        "ALTER TABLE stored_servers RENAME TO servers",
        "CREATE TABLE drained_edges (name TEXT PRIMARY KEY, drain TEXT NOT NULL)",
    ),
)
_NO_EDGES: Mapping[str, Drain] = {}
SCHEMA_VERSION = len(_STEPS)  # PRAGMA user_version


class SqliteStore:
    """The enrolments in the file ``path``: a ``Store``."""

    def __init__(self, path: str) -> None:
        """Lock the file, create it when absent.  Raises StoreError."""
        self.path = path
        self.problem = ""
        self._version = 1  # 1 when the file was opened; each change adds 1
        if not Path(path).parent.is_dir():
            raise StoreError(f"{path}: the directory {Path(path).parent} does not exist; create it first")
        if Path(path).is_dir():
            raise StoreError(f"{path}: is a directory; give the path of a file in it")
        self._read_only = not _can_be_written(path)
        self._connect()

    def open(self, first: Iterable[AnycastGroup] = ()) -> Stored:
        if not self._initialised:
            self._initialise(first)
        return self._load()

    def change(self, at: int, changes: Sequence[Change]) -> int:
        if at != self._version:
            raise Outdated(self._load())
        with self._transaction():
            for change in changes:
                self._write(change)
        self._version += 1
        return self._version

    def watch(self, changed: Callable[[Stored], None]) -> None:
        """No other process can change what is stored: ``changed`` is never called."""

    def close(self) -> None:
        """Write the log back into the file, and close it; a second call does nothing.  Raises StoreError."""
        with self._failures_named(), closing(self._db), suppress(sqlite3.ProgrammingError):  # it is closed
            self._checkpoint()

    def check(self) -> None:
        """To be called regularly: writes a vanished file anew, and sets ``problem``."""
        try:
            self._must_be_in_place()
        except StoreError as error:
            self.problem = str(error)
        else:
            self.problem = ""

    # -------------------------------------------------------------------------- the file

    def _connect(self) -> None:
        with self._failures_named(OSError):
            self._db = _in_memory(self.path) if self._read_only else _database(self.path)
        try:
            with self._failures_named():
                self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
                self._initialised = self._recognise()
                if self._read_only and not self._initialised:
                    raise StoreError(f"{self.path}: holds no enrolments yet and cannot be written; give another path")
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA foreign_keys = ON")
                if self._initialised:
                    self._bring_up_to_date()
                self._checkpoint()
        except StoreError:
            self._db.close()
            raise
        with self._failures_named(OSError):
            self._identity = _identity(self.path)
        if self._read_only:
            LOG.warning("%s: can only be read: what is stored is served, and changes are refused", self.path)

    def _checkpoint(self) -> None:
        if not self._read_only:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _must_be_in_place(self) -> None:
        """Make sure that ``path`` is the open file.  Raises StoreError when nothing may be written."""
        if self._read_only:
            raise StoreError(f"{self.path}: could only be read at start: make it writable and start again")
        with self._failures_named(OSError):
            present = _identity(self.path)
        if present == self._identity:
            return
        if present:
            raise StoreError(
                f"{self.path}: another file stands in its place, and what is enrolled is not in it; put the "
                "old one back, or start the controller again to use the new one"
            )
        self._write_anew()

    def _write_anew(self) -> None:
        """The file has vanished: copy its content, which is still open, into a new one."""
        kept = _database(":memory:")
        with self._failures_named():
            stored = self._load()
            self._db.backup(kept)
            self._db.close()  # first: it deletes the log by its name
        try:
            self._connect()
            self._initialise(stored.groups.values(), stored.edges)
        except StoreError:
            self._db = kept  # for the next attempt
            raise
        kept.close()
        LOG.warning("%s: was removed while it was in use; written anew", self.path)

    # -------------------------------------------------------------------------- inside

    def _recognise(self) -> bool:
        """True for one of our files, False for an empty one; raises StoreError for any other."""
        if not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return False
        if self._db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StoreError(f"{self.path}: is a database of another program; give a path of its own")
        version = self._schema_version()
        if not 1 <= version <= SCHEMA_VERSION:
            raise StoreError(
                f"{self.path}: has schema version {version}, this release reads up to {SCHEMA_VERSION}; "
                "use the release that wrote it, or another path"
            )
        return True

    def _schema_version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _bring_up_to_date(self) -> None:
        """An earlier release may have written the file: it would not read it any more, so it gets a copy."""
        version = self._schema_version()
        if version == SCHEMA_VERSION:
            return
        kept = f"{self.path}.version-{version}"
        if not self._read_only:
            with closing(_database(kept)) as copy:
                self._db.backup(copy)
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._take_steps(version)
        if not self._read_only:
            change = f"brought from schema version {version} to {SCHEMA_VERSION}"
            LOG.info("%s: %s; as it was, it is kept as %s", self.path, change, kept)

    def _take_steps(self, version: int) -> None:
        """All that follow this version, in the transaction of the caller."""
        for step in _STEPS[version:]:
            for statement in step:
                self._db.execute(statement)
        self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _initialise(self, groups: Iterable[AnycastGroup], edges: Mapping[str, Drain] = _NO_EDGES) -> None:
        """Make the tables and enter the first enrolments."""
        with self._transaction():
            self._take_steps(0)
            for group in groups:
                self._write(PutGroup(group))
                for server in group.servers.values():
                    self._write(PutServer(group.name, server))
            for edge, drain in edges.items():
                self._write(DrainEdge(edge, drain))
        self._initialised = True

    def _load(self) -> Stored:
        """All that is stored.  Raises StoreError for content that is not ours."""
        with self._failures_named(ValueError, KeyError, TypeError):
            servers: dict[str, dict[Address, Server]] = {}
            for name, address, settings in self._rows("SELECT group_name, address, settings FROM servers"):
                server = encoding.server(packed(address), settings)
                servers.setdefault(name, {})[server.address] = server
            groups = {
                name: encoding.group(name, settings, servers.pop(name, {}))
                for name, settings in self._rows("SELECT name, settings FROM groups ORDER BY name")
            }
            if servers:
                raise ValueError(f"there are servers of {', '.join(servers)}, but no such group")
            drains = self._rows("SELECT name, drain FROM drained_edges ORDER BY name")
            return Stored(self._version, groups, {edge: encoding.drain(drain) for edge, drain in drains})

    def _rows(self, query: str) -> list[Any]:
        """All at once: a row with content that is not ours leaves no query open."""
        return self._db.execute(query).fetchall()

    def _write(self, change: Change) -> None:
        db = self._db
        match change:
            case PutGroup(group):
                settings = encoding.group_text(group)
                upsert = "INSERT INTO groups VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET settings = ?"
                db.execute(upsert, (group.name, settings, settings))  # a REPLACE would delete its servers
            case DeleteGroup(name):
                db.execute("DELETE FROM groups WHERE name = ?", (name,))
            case PutServer(name, server):
                row = name, text(server.address), encoding.server_text(server)
                db.execute("INSERT OR REPLACE INTO servers VALUES (?, ?, ?)", row)
            case DeleteServer(name, address):
                db.execute("DELETE FROM servers WHERE group_name = ? AND address = ?", (name, text(address)))
            case DrainEdge(edge, drain):
                db.execute("INSERT OR REPLACE INTO drained_edges VALUES (?, ?)", (edge, encoding.drain_text(drain)))
            case ResumeEdge(edge):
                db.execute("DELETE FROM drained_edges WHERE name = ?", (edge,))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._must_be_in_place()
        with self._failures_named(), self._db:  # commits, or rolls back on any exception
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db

    @contextmanager
    def _failures_named(self, *others: type[Exception]) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, *others) as error:  # type: ignore[misc]
            busy = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            advice = (
                "another controller has it open; stop that one or give another path"
                if busy
                else "check the file and its disk; restore it from a copy, or move it away to start afresh"
            )
            raise StoreError(f"{self.path}: the enrolment database failed ({error}); {advice}") from error


def _database(path: str) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)


def _identity(path: str) -> tuple[int, int] | None:
    """Device and inode: a new file of the same name has others; None when there is no file."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def _can_be_written(path: str) -> bool:
    """False for an existing file that can only be read; other errors show when it is opened."""
    try:
        os.close(os.open(path, os.O_RDWR))
    except FileNotFoundError:
        return True
    except OSError as error:
        return error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM)
    return os.access(Path(path).parent, os.W_OK)  # for its log


def _in_memory(path: str) -> sqlite3.Connection:
    """The content of a file that can only be read, with what its log holds: SQLite wants to write to both."""
    memory = _database(":memory:")
    with tempfile.TemporaryDirectory() as directory:
        for file in (path, f"{path}-wal"):
            if os.path.exists(file):
                shutil.copyfile(file, Path(directory, "copy" + file.removeprefix(path)))
        with closing(_database(str(Path(directory, "copy")))) as copy:
            copy.backup(memory)
    return memory
