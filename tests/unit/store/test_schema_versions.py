"""SqliteStore: files that other releases have written are brought up to date, or refused and left as they were."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from anycast_sdn.core.model import (
    Affinity,
    AnycastGroup,
    GroupValidity,
    OnServerLoss,
    Prefix,
    Server,
    ServerState,
    packed,
)
from anycast_sdn.store import sqlite
from anycast_sdn.store.sqlite import SCHEMA_VERSION, SqliteStore
from anycast_sdn.store.store import DeleteGroup, PutGroup, PutServer, StoreError
from tests.unit.operators import Operator, network

VERSION_1 = """
    CREATE TABLE groups (name TEXT PRIMARY KEY);
    INSERT INTO groups VALUES ('web'), ('dns'), ('empty');
    CREATE TABLE prefixes (
        group_name TEXT NOT NULL REFERENCES groups ON DELETE CASCADE,
        prefix TEXT NOT NULL,
        UNIQUE (group_name, prefix));
    INSERT INTO prefixes VALUES
        ('web', '198.18.0.1/32'), ('web', '2001:db8:ffff::1/128'),
        ('dns', '198.18.9.0/24'), ('dns', '198.18.8.0/24'),
        ('empty', '198.18.6.0/24');
    CREATE TABLE servers (
        group_name TEXT NOT NULL REFERENCES groups ON DELETE CASCADE,
        address TEXT NOT NULL,
        weight INTEGER NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (group_name, address));
    INSERT INTO servers VALUES
        ('web', '10.2.0.10', 7, 'draining'), ('web', '2001:db8:2::10', 1, 'active'),
        ('dns', '10.2.0.11', 1000, 'active');
    PRAGMA application_id = 1095653699;
    PRAGMA user_version = 1;
"""


def _group(name: str, prefixes: list[str], *servers: Server) -> AnycastGroup:
    return AnycastGroup(name, tuple(map(Prefix.parse, prefixes)), {server.address: server for server in servers})


WEB = _group(
    "web",
    ["198.18.0.1/32", "2001:db8:ffff::1/128"],
    Server(packed("10.2.0.10"), 7, ServerState.DRAINING),
    Server(packed("2001:db8:2::10")),
)
GROUPS = {
    "dns": _group("dns", ["198.18.9.0/24", "198.18.8.0/24"], Server(packed("10.2.0.11"), 1000)),
    "empty": _group("empty", ["198.18.6.0/24"]),
    "web": WEB,
}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file as the release of version 1 leaves it."""
    path = tmp_path / "old"
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.executescript(VERSION_1)
    return path


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as reader:
        return int(reader.execute("PRAGMA user_version").fetchone()[0])


def test_a_file_of_version_1_is_brought_up_to_date_with_all_that_is_in_it(
    old: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        with closing(SqliteStore(str(old))) as store:
            assert store.open([_group("first", ["198.18.1.0/24"])]).groups == GROUPS
        with closing(SqliteStore(str(old))) as store:
            assert store.open().groups == GROUPS
    (record,) = caplog.records
    assert record.message == f"{old}: brought from schema version 1 to 3; as it was, it is kept as {old}.version-1"
    assert version_of(old) == SCHEMA_VERSION
    Operator(old, network()).store.close()  # and all of it fits the network


# What version 2 has added, in a file of version 1.
VERSION_2 = """
    ALTER TABLE groups ADD COLUMN affinity TEXT NOT NULL DEFAULT 'flow';
    ALTER TABLE groups ADD COLUMN on_server_loss TEXT NOT NULL DEFAULT 'repin';
    UPDATE groups SET affinity = 'client' WHERE name = 'dns';
    UPDATE groups SET on_server_loss = 'keep' WHERE name = 'web';
    CREATE TABLE validity (
        group_name TEXT NOT NULL REFERENCES groups ON DELETE CASCADE,
        name TEXT NOT NULL,
        seconds INTEGER NOT NULL,
        PRIMARY KEY (group_name, name));
    INSERT INTO validity VALUES ('dns', 'udp_s', 10), ('dns', 'unanswered_s', 65535);
    PRAGMA user_version = 2;
"""


def test_a_file_of_version_2_is_brought_up_to_date_with_all_that_is_in_it(old: Path) -> None:
    with closing(sqlite3.connect(old)) as writer:
        writer.executescript(VERSION_2)
    dns = replace(GROUPS["dns"], affinity=Affinity.CLIENT, validity=GroupValidity(udp_s=10, unanswered_s=65535))
    with closing(SqliteStore(str(old))) as store:
        stored = store.open()
    assert stored.groups == {
        "dns": dns, "empty": GROUPS["empty"], "web": replace(WEB, on_server_loss=OnServerLoss.KEEP),
    }  # fmt: skip
    assert stored.edges == {}
    assert version_of(old.with_name("old.version-2")) == 2


def test_a_setting_that_a_later_release_has_written_is_refused(old: Path) -> None:
    SqliteStore(str(old)).close()
    with closing(sqlite3.connect(old)) as writer:
        writer.execute("""UPDATE servers SET settings = '{"weight": 1, "colour": "red"}'""")
        writer.commit()
    with closing(SqliteStore(str(old))) as store, pytest.raises(StoreError, match=r"old: .*colour"):
        store.open()


def test_the_old_release_finds_a_copy_of_the_file_as_it_was(old: Path) -> None:
    old.with_name("old.version-1").write_bytes(b"")  # of an attempt for which there was no room
    with closing(sqlite3.connect(old)) as reader:
        content = list(reader.iterdump())
    with closing(SqliteStore(str(old))) as store:
        store.change(store.open().version, [DeleteGroup("web")])
    with closing(sqlite3.connect(old.with_name("old.version-1"))) as reader:
        assert list(reader.iterdump()) == content
        assert reader.execute("PRAGMA application_id").fetchone() == (sqlite.APPLICATION_ID,)
    assert version_of(old.with_name("old.version-1")) == 1


def test_where_there_is_no_room_for_a_copy_nothing_is_changed_and_the_file_is_named(old: Path) -> None:
    old.with_name("old.version-1").mkdir()
    with pytest.raises(StoreError, match="old: the enrolment database failed"):
        SqliteStore(str(old))
    assert version_of(old) == 1


def test_what_was_enrolled_earlier_can_be_changed_and_removed(old: Path) -> None:
    changed = AnycastGroup(
        "web", WEB.prefixes[:1], WEB.servers, Affinity.CLIENT, OnServerLoss.KEEP, GroupValidity(udp_s=10, tcp_s=60)
    )
    with closing(SqliteStore(str(old))) as store:
        at = store.change(store.open().version, [PutGroup(changed), DeleteGroup("dns")])
        at = store.change(at, [PutGroup(AnycastGroup("dns", GROUPS["dns"].prefixes, validity=GroupValidity(icmp_s=5)))])
        store.change(at, [DeleteGroup("dns"), PutServer("empty", Server(packed("10.2.0.12")))])
    with closing(SqliteStore(str(old))) as store:
        groups = store.open().groups
    assert groups == {"web": changed, "empty": _group("empty", ["198.18.6.0/24"], Server(packed("10.2.0.12")))}
    with closing(sqlite3.connect(old)) as reader:
        assert reader.execute("SELECT group_name, address FROM servers ORDER BY 1, 2").fetchall() == [
            ("empty", "10.2.0.12"), ("web", "10.2.0.10"), ("web", "2001:db8:2::10"),
        ]  # fmt: skip


def test_a_new_file_has_the_tables_of_one_that_was_brought_up_to_date(old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    tables = []
    for path in (old, new):
        with closing(SqliteStore(str(path))) as store:
            store.open()
        with closing(sqlite3.connect(path)) as reader:
            statements = reader.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
            tables.append([(name, " ".join((statement or "").split())) for name, statement in statements])
    assert tables[0] == tables[1]


def test_a_log_that_a_crash_has_left_to_an_old_file_is_brought_up_to_date_with_it(old: Path, tmp_path: Path) -> None:
    crashed = tmp_path / "crashed"
    with closing(sqlite3.connect(old)) as writer:
        writer.execute("INSERT INTO groups VALUES ('late')")
        writer.commit()
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{old}{suffix}", f"{crashed}{suffix}")
    with closing(SqliteStore(str(crashed))) as store:
        assert store.open().groups.keys() == {*GROUPS, "late"}


_DIES = """
import os, sys
from anycast_sdn.store.sqlite import SqliteStore
take = SqliteStore._take_steps
SqliteStore._take_steps = lambda store, version: (take(store, version), os._exit(7))
SqliteStore(sys.argv[1])
"""


def test_a_process_that_dies_on_the_way_leaves_the_file_for_the_next_one(old: Path) -> None:
    died = subprocess.run([sys.executable, "-c", _DIES, str(old)], cwd=Path(__file__).parents[3], timeout=60)
    assert died.returncode == 7
    assert version_of(old) == 1
    with closing(SqliteStore(str(old))) as store:
        assert store.open().groups == GROUPS


def test_a_step_that_fails_leaves_the_file_as_it_was_and_names_it(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = sqlite._STEPS
    monkeypatch.setattr(sqlite, "_STEPS", (steps[0], (*steps[1], "INSERT INTO validity VALUES ('nobody', 'udp_s', 1)")))
    with pytest.raises(StoreError, match=r"old: the enrolment database failed .*FOREIGN KEY"):
        SqliteStore(str(old))
    assert version_of(old) == 1
    monkeypatch.undo()
    with closing(SqliteStore(str(old))) as store:
        assert store.open().groups == GROUPS


def test_an_old_file_that_can_only_be_read_is_served_and_left_as_it_was(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = old.read_bytes()
    monkeypatch.setattr(sqlite, "_can_be_written", lambda path: False)
    with closing(SqliteStore(str(old))) as store:
        stored = store.open()
        assert stored.groups == GROUPS
        with pytest.raises(StoreError, match="could only be read at start"):
            store.change(stored.version, [DeleteGroup("web")])
    assert old.read_bytes() == content
    assert [path.name for path in old.parent.iterdir()] == ["old"]


def test_an_old_file_that_vanishes_is_written_anew_in_the_present_version(old: Path) -> None:
    with closing(SqliteStore(str(old))) as store:
        changed = AnycastGroup("web", WEB.prefixes, WEB.servers, Affinity.CLIENT, validity=GroupValidity(udp_s=10))
        store.change(store.open().version, [PutGroup(changed)])
        old.unlink()
        store.check()
        assert store.open().groups == GROUPS | {"web": changed}
    assert version_of(old) == SCHEMA_VERSION


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 2**31 - 1, 0, -1])
def test_a_file_of_a_version_that_is_not_known_is_refused_and_left_as_it_was(old: Path, version: int) -> None:
    with closing(sqlite3.connect(old)) as writer:
        writer.execute(f"PRAGMA user_version = {version}")
    content = old.read_bytes()
    with pytest.raises(StoreError, match=f"old: has schema version {version}, this release reads up to 3; use the"):
        SqliteStore(str(old))
    assert old.read_bytes() == content
