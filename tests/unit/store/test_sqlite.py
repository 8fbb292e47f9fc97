"""SqliteStore: crashes, and files that vanish, cannot be written, or belong to other programs."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from anycast_sdn.core.model import Prefix
from anycast_sdn.store import sqlite
from anycast_sdn.store.sqlite import SqliteStore
from anycast_sdn.store.store import StoreError
from tests.unit.operators import WEB, Operator, network, service

_ENDLESS_CHANGES = """
import sys
from anycast_sdn.core.model import AnycastGroup, Prefix
from anycast_sdn.store.sqlite import SqliteStore
from anycast_sdn.store.store import PutGroup
store = SqliteStore(sys.argv[1])
version = store.open().version
for change in range(4000):
    round, group = divmod(change, 20)
    prefixes = tuple(Prefix.parse(f"198.18.{group}.{round + i}/32") for i in range(40))
    version = store.change(version, [PutGroup(AnycastGroup(f"g{group}", prefixes))])
    print(change, flush=True)
"""


@pytest.mark.parametrize("delay_s", [0.0, 0.01, 0.02, 0.035])
def test_a_killed_process_leaves_no_change_half_done_and_loses_none_that_returned(
    tmp_path: Path, delay_s: float
) -> None:
    path = str(tmp_path / "db")
    with subprocess.Popen([sys.executable, "-c", _ENDLESS_CHANGES, path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay_s)
        process.kill()
        changes = [0, *map(int, process.stdout.read().split())]
    store = SqliteStore(path)
    groups = store.open().groups
    store.close()
    round, group = divmod(changes[-1], 20)
    assert len(groups) >= min(changes[-1] + 1, 20)
    assert groups[f"g{group}"].prefixes[0].network[3] == round
    for found in groups.values():
        octets = [prefix.network[3] for prefix in found.prefixes]
        assert octets == list(range(octets[0], octets[0] + 40))


# ------------------------------------------------------------------------------ the file


def enrolled_in(path: Path) -> set[str]:
    """The groups in a copy of the file alone, as an operator's backup would have them."""
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    store = SqliteStore(str(copy))
    names = set(store.open().groups)
    store.close()
    return names


def test_after_the_end_a_copy_of_the_file_alone_has_all_enrolments(enrolled: Operator) -> None:
    enrolled.store.close()
    assert enrolled_in(Path(enrolled.store.path)) == {"web"}
    assert not Path(f"{enrolled.store.path}-wal").exists()


def test_what_a_crash_left_in_the_log_is_in_the_file_after_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with subprocess.Popen([sys.executable, "-c", _ENDLESS_CHANGES, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    assert Path(f"{path}-wal").stat().st_size, "the log was written back already: this shows nothing"
    store = SqliteStore(str(path))
    assert enrolled_in(path) >= {"g0"}
    store.close()


def test_a_file_that_vanishes_is_written_anew_with_all_that_was_in_it(enrolled: Operator) -> None:
    path = Path(enrolled.store.path)
    path.unlink()
    enrolled.store.check()
    enrolled.registry.put_group(service("dns", Prefix.parse("198.18.0.53/32")))
    assert enrolled.store.problem == ""
    enrolled.store.close()
    assert enrolled_in(path) == {"web", "dns"}


def test_a_change_right_after_the_file_has_vanished_is_not_lost(enrolled: Operator) -> None:
    path = Path(enrolled.store.path)
    path.unlink()
    enrolled.registry.put_group(service("dns", Prefix.parse("198.18.0.53/32")))
    enrolled.store.close()
    assert enrolled_in(path) == {"web", "dns"}


def test_nothing_is_written_while_the_directory_is_gone_and_all_is_when_it_is_back(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    directory.mkdir()
    operator = Operator(directory / "db", network())
    operator.registry.put_group(WEB)
    shutil.rmtree(directory)
    for _ in range(2):
        operator.store.check()
        assert "enrolment database failed" in operator.store.problem
        with pytest.raises(StoreError):
            operator.registry.put_group(service("dns", Prefix.parse("198.18.0.53/32")))
    directory.mkdir()
    operator.store.check()
    assert operator.store.problem == ""
    operator.store.close()
    assert enrolled_in(directory / "db") == {"web"}


def test_a_directory_that_a_file_has_replaced_is_named_and_does_not_end_the_controller(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    directory.mkdir()
    operator = Operator(directory / "db", network())
    shutil.rmtree(directory)
    directory.write_text("not a directory")
    operator.store.check()
    assert str(directory / "db") in operator.store.problem
    with pytest.raises(StoreError):
        operator.registry.put_group(WEB)
    operator.store.close()


def test_a_file_that_replaces_the_open_one_is_left_alone_until_the_old_one_is_back(enrolled: Operator) -> None:
    path = Path(enrolled.store.path)
    path.rename(path.with_name("away"))
    path.write_bytes(b"another program's")
    enrolled.store.check()
    assert "another file stands in its place" in enrolled.store.problem
    with pytest.raises(StoreError, match="another file stands in its place"):
        enrolled.registry.put_group(service("dns", Prefix.parse("198.18.0.53/32")))
    assert path.read_bytes() == b"another program's"
    path.with_name("away").rename(path)
    enrolled.store.check()
    assert enrolled.store.problem == ""
    enrolled.registry.put_group(service("dns", Prefix.parse("198.18.0.53/32")))


_READ_ONLY = """
import sys
from anycast_sdn.core.model import AnycastGroup, Prefix
from anycast_sdn.store.sqlite import SqliteStore
from anycast_sdn.store.store import PutGroup, StoreError
store = SqliteStore(sys.argv[1])
stored = store.open()
print(*sorted(stored.groups))
try:
    store.change(stored.version, [PutGroup(AnycastGroup("dns", (Prefix.parse("198.18.0.53/32"),)))])
except StoreError as error:
    print(error)
store.check()
print(bool(store.problem))
store.close()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
@pytest.mark.parametrize("crashed", [False, True], ids=["closed", "with a log left by a crash"])
def test_on_a_read_only_disk_what_is_stored_is_served_and_nothing_else(enrolled: Operator, crashed: bool) -> None:
    path = Path(enrolled.store.path)
    if crashed:
        saved = {file.name: file.read_bytes() for file in path.parent.iterdir()}
        enrolled.store.close()
        for name, content in saved.items():
            path.with_name(name).write_bytes(content)
        assert path.with_name(f"{path.name}-wal").stat().st_size
    enrolled.store.close()
    mount = f"mount --bind {path.parent} {path.parent} && mount -o remount,bind,ro {path.parent}"
    words = ["unshare", "-m", "sh", "-c", f'{mount} && exec "$0" -c "$1" "$2"', sys.executable, _READ_ONLY, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done
    names, refusal, problem = done.stdout.splitlines()
    assert names == "web"
    assert "could only be read at start" in refusal
    assert problem == "True"


# ------------------------------------------------------------------------------ files that do not work


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is a directory; give the path of a file in it"):
        SqliteStore(str(tmp_path))
    with pytest.raises(StoreError, match=r"the directory .*absent does not exist"):
        SqliteStore(str(tmp_path / "absent" / "db"))


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"/db: .*move it away"):
        SqliteStore(str(path))
    assert path.read_bytes() == content


def test_another_programs_database_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE groups (name TEXT)")
    other.close()
    content = path.read_bytes()
    with pytest.raises(StoreError, match="another program"):
        SqliteStore(str(path))
    assert path.read_bytes() == content


def _edit(operator: Operator, statement: str) -> str:
    operator.store.close()
    with sqlite3.connect(operator.store.path) as other:
        other.execute(statement)
    other.close()
    return operator.store.path


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE servers SET address = 'nonsense'",
        "UPDATE servers SET settings = json_set(settings, '$.state', 'asleep')",
        "UPDATE servers SET settings = json_set(settings, '$.weight', 'heavy')",
        "UPDATE servers SET settings = json_set(settings, '$.twin', '10.2.0.300')",
        "UPDATE servers SET group_name = 'nobody'",
        "UPDATE groups SET settings = json_set(settings, '$.affinity', 'Client')",
        "UPDATE groups SET settings = json_set(settings, '$.on_server_loss', '')",
        "UPDATE groups SET settings = json_set(settings, '$.validity.udp', 10)",
        "UPDATE groups SET settings = json_set(settings, '$.validity.udp_s', 'long')",
        "UPDATE groups SET settings = json_set(settings, '$.checks[0]', json_object('type', 'tcp'))",
        "UPDATE groups SET settings = json_set(settings, '$.prefixes[0]', '198.18.0.1/8')",
        "UPDATE groups SET settings = '{'",
        "INSERT INTO drained_edges VALUES ('ars2', 'yes')",
    ],
)
def test_edited_content_that_is_invalid_is_refused(enrolled: Operator, statement: str) -> None:
    store = SqliteStore(_edit(enrolled, statement))
    with pytest.raises(StoreError, match=r"enrolments\.db"):
        store.open()


def test_a_second_controller_cannot_open_the_same_database(
    enrolled: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.05)
    with pytest.raises(StoreError, match="another controller has it open"):
        SqliteStore(enrolled.store.path)
