"""``store``: enrolments from one store to another, through a file."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from anycast_sdn.cli import main
from anycast_sdn.core.model import AnycastGroup, Drain, Prefix, Server, packed
from anycast_sdn.store.sqlite import SqliteStore
from anycast_sdn.store.store import DrainEdge, PutGroup, PutServer, Stored
from tests.unit.command_line import complaint

FILE = str(Path(__file__).parents[3] / "topologies" / "figure1.yaml")
WEB = AnycastGroup("web", (Prefix.parse("198.18.0.1/32"), Prefix.parse("2001:db8:a::1/128")))
AS2 = Server(packed("10.2.0.10"), 7)


@pytest.fixture
def database(tmp_path: Path) -> str:
    """With a group, its server and a drained edge."""
    path = str(tmp_path / "enrolments.sqlite")
    store = SqliteStore(path)
    store.change(store.open().version, [PutGroup(WEB), PutServer("web", AS2), DrainEdge("ars2", Drain("d1", 1.7e9))])
    store.close()
    return path


@pytest.fixture
def exported(database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = tmp_path / "enrolments.json"
    assert main.main(["store", "export", FILE, "--database", database, "--output", str(path)]) == 0
    assert capsys.readouterr().err == f"{path}: 1 group and 1 server\n"
    return path


def stored(database: str) -> Stored:
    store = SqliteStore(database)
    try:
        return store.open()
    finally:
        store.close()


def enter(*words: str) -> int:
    return main.main(["store", "import", FILE, *words])


def test_what_was_exported_is_enrolled_in_another_database(database: str, exported: Path, tmp_path: Path) -> None:
    other = str(tmp_path / "other.sqlite")
    assert enter(str(exported), "--database", other) == 0
    assert stored(other)[1:] == stored(database)[1:] == (
        {"web": replace(WEB, servers={AS2.address: AS2})}, {"ars2": Drain("d1", 1.7e9)}
    )  # fmt: skip
    assert enter(str(exported), "--database", other) == 0  # the same, once more


def test_it_goes_through_a_pipe(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main.main(["store", "export", FILE, "--database", database]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(capsys.readouterr().out))
    other = str(tmp_path / "other.sqlite")
    assert enter("-", "--database", other) == 0
    assert stored(other)[1:] == stored(database)[1:]


def test_what_is_enrolled_is_replaced_only_when_that_is_said(
    database: str, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = SqliteStore(database)
    mail = replace(WEB, name="mail", prefixes=WEB.prefixes[:1])
    store.change(store.open().version, [PutGroup(replace(WEB, prefixes=WEB.prefixes[1:])), PutGroup(mail)])
    store.close()
    before = stored(database)
    said = complaint(capsys, "store", "import", FILE, str(exported), "--database", database)
    assert said == f"{database}: has 2 groups and 1 server already; --replace replaces all of that"
    assert stored(database) == before
    assert enter(str(exported), "--database", database, "--replace") == 0
    assert stored(database).groups == {"web": replace(WEB, servers={AS2.address: AS2})}


def change(**members: object) -> Callable[[dict[str, object]], object]:
    return lambda found: found.update(members)


def server(address: str, **settings: object) -> Callable[[dict[str, object]], object]:
    return lambda found: found["groups"]["web"]["servers"].update({address: settings})  # type: ignore[index]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (change(format="x"), "is not what 'anycast-sdn store export' writes"),
        (change(version=2), "has version 2, this release reads 1: use the release that wrote it"),
        (change(network="ring"), "has the enrolments of the network 'ring', and this one is figure1"),
        (change(groups=[]), "has no groups"),
        (change(groups={"web": 1}), "group web: is not an object"),
        (change(groups={"web": {"prefixes": ["x"]}}), "group web: prefixes.0"),
        (change(groups={"web": {"prefixes": ["192.0.2.1/32"]}}), "group web: 192.0.2.1/32 is not within an anycast"),
        (change(groups={name: {"prefixes": ["198.18.0.1/32"]} for name in ("a", "b")}),
         "group b: 198.18.0.1/32 overlaps 198.18.0.1/32 of group a"),
        (change(edges={"ars9": {"operation": "d", "began_at": 1}}), "edges: there is no server edge 'ars9'"),
        (change(edges={"ars2": {"later": 1}}), "edge ars2: operation"),
        (server("10.1.0.10"), "group web, server 10.1.0.10: 10.1.0.10 is in"),
        (server("10.2.0.11", weight=-1), "group web, server 10.2.0.11: weight"),
        (server("x"), "group web, server x:"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_nothing_is_changed(
    changed: Callable[[dict[str, object]], object],
    reason: str,
    exported: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = json.loads(exported.read_text())
    changed(content)
    exported.write_text(json.dumps(content))
    other = tmp_path / "other.sqlite"
    said = complaint(capsys, "store", "import", FILE, str(exported), "--database", str(other))
    assert said.startswith(f"{exported}: {reason}")
    assert not other.exists()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"format": 1, "format": 2}', "[" * 100_000])
def test_what_is_not_an_export_is_refused(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file := tmp_path / "file").write_text(content)
    said = complaint(capsys, "store", "import", FILE, str(file), "--database", str(tmp_path / "other.sqlite"))
    assert said.startswith(f"{file}: is not")
    assert not (tmp_path / "other.sqlite").exists()


def test_an_export_overwrites_no_file_and_needs_a_database(
    database: str, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = complaint(capsys, "store", "export", FILE, "--database", database, "--output", str(exported))
    assert said == f"{exported}: is there already; give another path"
    missing = str(tmp_path / "missing")
    assert complaint(capsys, "store", "export", FILE, "--database", missing) == f"{missing}: there is no such file"
    assert not Path(missing).exists()


def test_a_database_that_is_in_use_is_left_alone(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    store = SqliteStore(database)
    store.open()
    assert "another controller has it open" in complaint(capsys, "store", "export", FILE, "--database", database)
    store.close()


def test_an_etcd_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    said = complaint(capsys, "store", "network", FILE, "--etcd", "http://127.0.0.1:1")
    assert said == "etcd cannot be read: http://127.0.0.1:1: Connection refused (--etcd)"
