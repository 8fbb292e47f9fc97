"""Enrolments on disk: groups, their prefixes and their servers in one SQLite file.

The rules this file keeps:

- Each public call is one transaction; when it returns, the change is on the disk (WAL, synchronous
  FULL), and a process that dies in the middle leaves the state from before the call.
- One process at a time: the file stays locked while it is open, because a second controller would
  serve from a snapshot that nobody updates.
- *First enrolments* (the groups of the network file) enter a file that has never been initialised,
  in the transaction that initialises it, and never again: what an operator removes over REST does
  not come back at the next start, and a group added to the network file later is not enrolled.
- Every failure is a ``StoreError`` that names the file and says what to do.

Nothing is judged here: whether a group fits the network is ``core.enrolment``'s question.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from anycast_sdn.core.model import (
    Address,
    AnycastGroup,
    ConfigurationError,
    Prefix,
    Server,
    ServerState,
    packed,
    text,
)

SCHEMA_VERSION = 1  # PRAGMA user_version
APPLICATION_ID = 0x414E5943  # "ANYC", PRAGMA application_id: tells our files from other people's
BUSY_TIMEOUT_S = 5.0  # a predecessor that is just ending may hold the lock this long

_SCHEMA = (
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
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


class StoreError(ConfigurationError):
    """The database cannot be read or written."""


class SqliteStore:
    """The enrolments in the file ``path`` (":memory:" for none)."""

    def __init__(self, path: str) -> None:
        """Open and lock the file, create it when absent.  Raises StoreError."""
        self.path = path
        if path != ":memory:" and not Path(path).parent.is_dir():
            raise StoreError(f"{path}: the directory {Path(path).parent} does not exist; create it first")
        with self._failures_named():
            self._db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            with self._failures_named():
                self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
                self.initialised = self._recognise()
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA foreign_keys = ON")
        except StoreError:
            self._db.close()
            raise

    def close(self) -> None:
        self._db.close()

    def initialise(self, groups: Iterable[AnycastGroup]) -> None:
        """Create the tables and enter the first enrolments; only for a file that has none yet."""
        with self._transaction() as db:
            for statement in _SCHEMA:
                db.execute(statement)
            for group in groups:
                self._write_group(group)
                for server in group.servers.values():
                    self._write_server(group.name, server)
        self.initialised = True

    def load(self) -> dict[str, AnycastGroup]:
        """All groups with their servers, by name.  Raises StoreError for content that is not ours."""
        with self._failures_named(ValueError, KeyError):
            prefixes: dict[str, list[Prefix]] = {
                name: [] for (name,) in self._db.execute("SELECT name FROM groups ORDER BY name")
            }
            servers: dict[str, dict[Address, Server]] = {name: {} for name in prefixes}
            for name, prefix in self._db.execute("SELECT group_name, prefix FROM prefixes ORDER BY rowid"):
                prefixes[name].append(Prefix.parse(prefix))
            for name, address, weight, state in self._db.execute(
                "SELECT group_name, address, weight, state FROM servers"
            ):
                server = Server(packed(address), weight, ServerState(state))
                servers[name][server.address] = server
            return {name: AnycastGroup(name, tuple(prefixes[name]), servers[name]) for name in prefixes}

    def save_group(self, group: AnycastGroup) -> None:
        """Create the group or replace its prefixes; its servers are left as they are."""
        with self._transaction():
            self._write_group(group)

    def delete_group(self, name: str) -> None:
        """Remove the group and its servers."""
        with self._transaction() as db:
            db.execute("DELETE FROM groups WHERE name = ?", (name,))

    def save_server(self, group_name: str, server: Server) -> None:
        """Create the server or replace it; the group must be there."""
        with self._transaction():
            self._write_server(group_name, server)

    def delete_server(self, group_name: str, address: Address) -> None:
        with self._transaction() as db:
            key = group_name, text(address)
            db.execute("DELETE FROM servers WHERE group_name = ? AND address = ?", key)

    # -------------------------------------------------------------------------- inside

    def _recognise(self) -> bool:
        """True for one of our files, False for an empty one; raises StoreError for any other."""
        if not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return False
        if self._db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StoreError(f"{self.path}: is a database of another program; give a path of its own")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"{self.path}: has schema version {version}, this release knows {SCHEMA_VERSION}; "
                "use the release that wrote it, or another path"
            )
        return True

    def _write_group(self, group: AnycastGroup) -> None:
        self._db.execute("INSERT OR IGNORE INTO groups VALUES (?)", (group.name,))
        self._db.execute("DELETE FROM prefixes WHERE group_name = ?", (group.name,))
        self._db.executemany(
            "INSERT INTO prefixes VALUES (?, ?)", [(group.name, str(prefix)) for prefix in group.prefixes]
        )

    def _write_server(self, group_name: str, server: Server) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO servers VALUES (?, ?, ?, ?)",
            (group_name, text(server.address), server.weight, server.state.value),
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
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
