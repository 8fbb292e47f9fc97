"""Registry and store together: what is refused, what is kept, and what a crash leaves behind."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from anycast_sdn.control import registry as registry_module
from anycast_sdn.control.registry import InvalidWeight, LimitReached, NotFound, Registry
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import AnycastGroup, ConfigurationError, Gateway, Prefix, Server, ServerState, packed
from anycast_sdn.core.roles import ClientEdgeRole, Side, Subnet
from anycast_sdn.description import enrolment
from anycast_sdn.description.model import Network, Switch
from anycast_sdn.store import sqlite
from anycast_sdn.store.sqlite import SqliteStore, StoreError

WEB = AnycastGroup("web", (Prefix.parse("198.18.0.1/32"), Prefix.parse("2001:db8:ffff::1/128")))
AS2, AS2_V6 = Server(packed("10.2.0.10")), Server(packed("2001:db8:2::10"), weight=5)


def network(anycast: str = "198.18.0.0/16", groups: tuple[AnycastGroup, ...] = ()) -> Network:
    role = ClientEdgeRole((Prefix.parse("203.0.113.0/24"),), (Prefix.parse(anycast),))
    return Network(
        name="pair",
        anycast_prefixes=(Prefix.parse(anycast), Prefix.parse("2001:db8:ffff::/48")),
        switches=(Switch("arh1", 1, client_edge=role), Switch("ars2", 2, server_edge=True)),
        links=(),
        subnets=(
            Subnet("clients", "arh1", Side.CLIENT, (Gateway.parse("10.1.0.1/24"),), (1,)),
            Subnet(
                "servers",
                "ars2",
                Side.SERVER,
                (Gateway.parse("10.2.0.1/24"), Gateway.parse("2001:db8:2::1/64")),
                (1,),
            ),
        ),
        groups=groups,
    )


class Operator:
    """A registry on a file, and what it told the switches."""

    def __init__(self, path: Path, net: Network) -> None:
        self.sent: list[Groups] = []
        self.store = SqliteStore(str(path))
        try:
            self.registry = Registry(net, self.store, self.sent.append)
        except ConfigurationError:
            self.store.close()
            raise

    def restarted(self, net: Network | None = None) -> Operator:
        self.store.close()
        return Operator(Path(self.store.path), net or network())


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    operator = Operator(tmp_path / "enrolments.db", network())
    yield operator
    operator.store.close()


@pytest.fixture
def enrolled(operator: Operator) -> Operator:
    operator.registry.put_group("web", WEB.prefixes)
    operator.registry.put_server("web", AS2)
    operator.sent.clear()
    return operator


# ------------------------------------------------------------------------------ changes


def test_a_new_group_and_its_server_are_in_the_snapshot_that_the_switches_get(operator: Operator) -> None:
    assert operator.registry.put_group("web", WEB.prefixes) == (WEB, True)
    assert operator.registry.put_server("web", AS2) == (AS2, True)
    assert len(operator.sent) == 2
    assert operator.sent[-1] is operator.registry.groups
    expected = AnycastGroup("web", WEB.prefixes, {AS2.address: AS2})
    assert operator.sent[-1].covering(packed("198.18.0.1")) == expected


def test_putting_what_is_there_writes_nothing_and_tells_nobody(enrolled: Operator) -> None:
    before = enrolled.registry.groups
    enrolled.store.close()  # a write would now fail
    assert enrolled.registry.put_group("web", WEB.prefixes)[1] is False
    assert enrolled.registry.put_server("web", AS2) == (AS2, False)
    assert enrolled.registry.groups is before
    assert enrolled.sent == []


def test_a_change_leaves_the_earlier_snapshot_as_it_was(enrolled: Operator) -> None:
    before = enrolled.registry.groups
    draining = Server(AS2.address, 7, ServerState.DRAINING)
    assert enrolled.registry.put_server("web", draining) == (draining, False)
    assert before.get("web").servers == {AS2.address: AS2}  # type: ignore[union-attr]
    assert enrolled.registry.server("web", AS2.address) == draining


def test_a_groups_prefixes_change_while_it_keeps_its_servers(enrolled: Operator) -> None:
    group, created = enrolled.registry.put_group("web", [Prefix.parse("198.18.7.0/24")])
    assert not created
    assert group.servers == {AS2.address: AS2}
    assert enrolled.registry.groups.covering(packed("198.18.0.1")) is None


def test_a_groups_prefixes_cannot_lose_the_family_of_one_of_its_servers(enrolled: Operator) -> None:
    with pytest.raises(enrolment.WrongFamily):
        enrolled.registry.put_group("web", [Prefix.parse("2001:db8:ffff::1/128")])
    assert enrolled.registry.group("web").prefixes == WEB.prefixes
    assert enrolled.sent == []


def test_deleting_a_server_leaves_the_others_and_deleting_a_group_takes_them_along(
    enrolled: Operator,
) -> None:
    enrolled.registry.put_server("web", AS2_V6)
    enrolled.registry.delete_server("web", AS2.address)
    assert enrolled.registry.group("web").servers == {AS2_V6.address: AS2_V6}
    enrolled.registry.delete_group("web")
    assert len(enrolled.sent[-1]) == 0
    enrolled.registry.put_group("web", WEB.prefixes)
    assert enrolled.restarted().registry.group("web").servers == {}


@pytest.mark.parametrize(
    ("server", "error"),
    [
        ("10.1.0.10", enrolment.ServerInClientSubnet),  # M5
        ("192.0.2.1", enrolment.ServerOutsideEdges),
        ("10.2.0.1", enrolment.NotAHostAddress),
    ],
)
def test_a_refused_server_is_neither_stored_nor_sent(
    enrolled: Operator, server: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        enrolled.registry.put_server("web", Server(packed(server)))
    assert enrolled.sent == []
    assert enrolled.restarted().registry.group("web").servers == {AS2.address: AS2}


@pytest.mark.parametrize("weight", [0, -1, 1001])
def test_a_weight_outside_its_range_is_refused(enrolled: Operator, weight: int) -> None:
    with pytest.raises(InvalidWeight):
        enrolled.registry.put_server("web", Server(AS2.address, weight))


def test_a_group_that_overlaps_another_is_refused(enrolled: Operator) -> None:
    with pytest.raises(enrolment.Overlap):
        enrolled.registry.put_group("dns", [Prefix.parse("198.18.0.0/24")])


def test_what_does_not_exist_cannot_be_removed_or_served(enrolled: Operator) -> None:
    registry = enrolled.registry
    for change in (
        lambda: registry.delete_group("dns"),
        lambda: registry.delete_server("dns", AS2.address),
        lambda: registry.delete_server("web", AS2_V6.address),
        lambda: registry.put_server("dns", AS2),
    ):
        with pytest.raises(NotFound):
            change()
    assert enrolled.sent == []


def test_the_limits_hold_for_new_entries_only(enrolled: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "MAX_GROUPS", 1)
    monkeypatch.setattr(registry_module, "MAX_SERVERS", 1)
    with pytest.raises(LimitReached):
        enrolled.registry.put_group("dns", [Prefix.parse("198.18.0.2/32")])
    with pytest.raises(LimitReached):
        enrolled.registry.put_server("web", AS2_V6)
    enrolled.registry.put_server("web", Server(AS2.address, 2))
    enrolled.registry.put_group("web", [Prefix.parse("198.18.0.2/32")])


def test_what_could_not_be_stored_is_neither_in_the_snapshot_nor_sent(enrolled: Operator) -> None:
    enrolled.store.close()
    before = enrolled.registry.groups
    for change in (
        lambda: enrolled.registry.put_server("web", AS2_V6),
        lambda: enrolled.registry.delete_server("web", AS2.address),
        lambda: enrolled.registry.put_group("dns", [Prefix.parse("198.18.0.2/32")]),
        lambda: enrolled.registry.delete_group("web"),
    ):
        with pytest.raises(StoreError, match=r"enrolments\.db"):
            change()
    assert enrolled.registry.groups is before
    assert enrolled.sent == []


# ------------------------------------------------------------------------------ restarts


def test_everything_enrolled_is_there_after_a_restart(enrolled: Operator) -> None:
    enrolled.registry.put_server("web", Server(AS2_V6.address, 9, ServerState.DRAINING))
    enrolled.registry.put_group("dns", [Prefix.parse("198.18.9.0/24"), Prefix.parse("198.18.8.0/24")])
    before = list(enrolled.registry.groups)
    again = enrolled.restarted()
    assert sorted(before, key=lambda group: group.name) == list(again.registry.groups)
    assert again.sent == []


def test_the_network_files_groups_enter_a_fresh_database_only(tmp_path: Path) -> None:
    first = network(groups=(AnycastGroup("web", WEB.prefixes, {AS2.address: AS2}),))
    operator = Operator(tmp_path / "db", first)
    assert operator.registry.group("web").servers == {AS2.address: AS2}
    operator.registry.delete_group("web")
    assert len(operator.restarted(first).registry.groups) == 0


def test_a_stored_group_that_a_changed_network_file_excludes_is_named_at_start(enrolled: Operator) -> None:
    with pytest.raises(ConfigurationError, match=r"enrolments\.db: group web.*does not fit the network pair"):
        enrolled.restarted(network(anycast="198.19.0.0/16"))


_ENDLESS_CHANGES = """
import sys
from anycast_sdn.core.model import AnycastGroup, Prefix
from anycast_sdn.store.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
store.initialise(())
for change in range(4000):
    round, group = divmod(change, 20)
    prefixes = tuple(Prefix.parse(f"198.18.{group}.{round + i}/32") for i in range(40))
    store.save_group(AnycastGroup(f"g{group}", prefixes))
    print(change, flush=True)
"""


@pytest.mark.parametrize("delay_s", [0.0, 0.01, 0.02, 0.035])
def test_a_killed_process_leaves_every_change_whole_and_loses_none_that_returned(
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
    groups = store.load()
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
    names = set(store.load())
    store.close()
    return names


def test_after_the_end_a_copy_of_the_file_alone_is_a_copy_of_the_enrolments(enrolled: Operator) -> None:
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
    enrolled.registry.put_group("dns", [Prefix.parse("198.18.0.53/32")])
    assert enrolled.store.problem == ""
    enrolled.store.close()
    assert enrolled_in(path) == {"web", "dns"}


def test_a_change_right_after_the_file_has_vanished_is_not_lost(enrolled: Operator) -> None:
    path = Path(enrolled.store.path)
    path.unlink()
    enrolled.registry.put_group("dns", [Prefix.parse("198.18.0.53/32")])
    enrolled.store.close()
    assert enrolled_in(path) == {"web", "dns"}


def test_nothing_is_written_while_the_directory_is_gone_and_all_is_when_it_is_back(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    directory.mkdir()
    operator = Operator(directory / "db", network())
    operator.registry.put_group("web", WEB.prefixes)
    shutil.rmtree(directory)
    for _ in range(2):
        operator.store.check()
        assert "enrolment database failed" in operator.store.problem
        with pytest.raises(StoreError):
            operator.registry.put_group("dns", [Prefix.parse("198.18.0.53/32")])
    directory.mkdir()
    operator.store.check()
    assert operator.store.problem == ""
    operator.store.close()
    assert enrolled_in(directory / "db") == {"web"}


def test_a_directory_in_whose_place_something_else_stands_is_named_and_ends_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    directory.mkdir()
    operator = Operator(directory / "db", network())
    shutil.rmtree(directory)
    directory.write_text("not a directory")
    operator.store.check()
    assert str(directory / "db") in operator.store.problem
    with pytest.raises(StoreError):
        operator.registry.put_group("web", WEB.prefixes)
    operator.store.close()


def test_a_file_put_in_the_place_of_the_open_one_is_left_alone_until_the_old_one_is_back(enrolled: Operator) -> None:
    path = Path(enrolled.store.path)
    path.rename(path.with_name("away"))
    path.write_bytes(b"somebody else's")
    enrolled.store.check()
    assert "another file stands in its place" in enrolled.store.problem
    with pytest.raises(StoreError, match="another file stands in its place"):
        enrolled.registry.put_group("dns", [Prefix.parse("198.18.0.53/32")])
    assert path.read_bytes() == b"somebody else's"
    path.with_name("away").rename(path)
    enrolled.store.check()
    assert enrolled.store.problem == ""
    enrolled.registry.put_group("dns", [Prefix.parse("198.18.0.53/32")])


_READ_ONLY = """
import sys
from anycast_sdn.core.model import AnycastGroup, Prefix
from anycast_sdn.store.sqlite import SqliteStore, StoreError
store = SqliteStore(sys.argv[1])
print(*sorted(store.load()))
try:
    store.save_group(AnycastGroup("dns", (Prefix.parse("198.18.0.53/32"),)))
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


def test_a_database_of_a_newer_release_is_refused(enrolled: Operator) -> None:
    with pytest.raises(StoreError, match="schema version 2, this release knows 1"):
        SqliteStore(_edit(enrolled, "PRAGMA user_version = 2"))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE servers SET address = 'nonsense'",
        "UPDATE servers SET state = 'asleep'",
        "UPDATE servers SET group_name = 'nobody'",
        "UPDATE prefixes SET prefix = '198.18.0.1/8' WHERE prefix LIKE '198%'",
    ],
)
def test_edited_content_that_makes_no_sense_is_refused(enrolled: Operator, statement: str) -> None:
    store = SqliteStore(_edit(enrolled, statement))
    with pytest.raises(StoreError, match=r"enrolments\.db"):
        store.load()


def test_a_second_controller_cannot_open_the_same_database(
    enrolled: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.05)
    with pytest.raises(StoreError, match="another controller has it open"):
        SqliteStore(enrolled.store.path)
