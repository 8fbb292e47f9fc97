"""``token``: a token is printed once, and nothing else ever shows it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from anycast_sdn.api import token_file
from anycast_sdn.cli import main
from tests.unit.command_line import complaint


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "tokens")


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main.main(["token", *words]) == 0
    return capsys.readouterr().out


def test_a_token_is_printed_once_and_its_sha256_kept(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    secret = printed(capsys, "add", "ci", "--scope", "read", "--scope", "enrol:web", "--file", file).strip()
    assert re.fullmatch(r"asdn_[0-9A-Za-z_-]{43}", secret)
    assert secret not in Path(file).read_text()
    known, _ = token_file.read(Path(file))
    found = known.of_secret(secret)
    assert found
    assert (found.name, found.scopes) == ("ci", ("enrol:web", "read"))
    for words in (("list",), ("list", "--json")):
        shown = printed(capsys, *words, "--file", file)
        assert "ci" in shown
        assert secret not in shown
        assert str(found.sha256) not in shown


def test_a_list_names_all_but_what_is_secret(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, "add", "web1", "--scope", "enrol:web", "--server", "10.2.0.10", "--server", "2001:DB8:2:0::10",
            "--expires", "2099-01-31", "--file", file)  # fmt: skip
    printed(capsys, "add", "tls", "--scope", "read", "--certificate", "agent.example", "--file", file)
    _, _, first, second = printed(capsys, "list", "--file", file).splitlines()
    assert first.split() == ["web1", "enrol:web", "10.2.0.10", "2001:db8:2::10", "token", "2099-01-31", "00:00"]
    assert second.split() == ["tls", "read", "certificate", "agent.example", "never"]
    one, other = json.loads(printed(capsys, "list", "--file", file, "--json"))["tokens"]
    assert (one["servers"], one["expires"]) == (["10.2.0.10", "2001:db8:2::10"], "2099-01-31T00:00:00Z")
    assert other["certificate"] == "agent.example"


def test_a_token_is_revoked_by_its_name(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    secret = printed(capsys, "add", "ci", "--scope", "read", "--file", file).strip()
    assert complaint(capsys, "token", "revoke", "c", "--file", file) == f"{file}: there is no token of the name 'c'"
    assert secret not in complaint(capsys, "token", "revoke", secret, "--file", file)
    printed(capsys, "revoke", "ci", "--file", file)
    assert printed(capsys, "list", "--file", file) == "no tokens\n"


def test_tokens_are_beside_the_database_unless_a_file_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    printed(capsys, "add", "ci", "--scope", "read")
    printed(capsys, "add", "ci", "--scope", "read", "--database", "other.sqlite")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["anycast-sdn.tokens", "other.tokens"]
    reported = complaint(capsys, "token", "add", "ci", "--scope", "read", "--database", ":memory:")
    assert "say --file PATH" in reported


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("a b", "--scope", "read"), "name: "),
        (("", "--scope", "read"), "name: "),
        (("x", "--scope", "root"), "scopes.0: "),
        (("x", "--scope", "enrol:"), "scopes.0: "),
        (("x", "--scope", "read", "--server", "10.2.0.10"), "enrol:GROUP can be bound to servers"),
        (("x", "--scope", "admin", "--scope", "enrol:web", "--server", "10.2.0.10"), "cannot be bound"),
        (("x", "--scope", "read", "--burst", "0"), "burst: "),
        (("x", "--scope", "read", "--requests-per-s", "nan"), "requests_per_s: "),
    ],
)
def test_what_makes_no_token_is_refused_and_nothing_is_written(
    words: tuple[str, ...], reason: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reason in complaint(capsys, "token", "add", *words, "--file", file)
    assert not Path(file).exists()


@pytest.mark.parametrize("words", [
    ("--scope", "read", "--server", "web1"), ("--scope", "read", "--expires", "soon"), (),
    ("--scope", "read", "--expires", "0h"), ("--scope", "read", "--expires", "9999-12-31T23:59:59-14:00"),
    ("--scope", "read", "--expires", "2001-01-31"), ("--scope", "read", "--file", "a", "--database", "b"),
])  # fmt: skip
def test_wrong_usage_is_refused(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["token", "add", "x", *words])
    assert ended.value.code == 2


def test_a_list_without_a_file_says_how_there_is_one(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "'anycast-sdn token add' makes it" in complaint(capsys, "token", "list", "--file", file)
