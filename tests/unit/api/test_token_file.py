"""The file of tokens: replaced as a whole, by one at a time, and refused when others could write it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from anycast_sdn.api import token_file
from anycast_sdn.api.tokens import Token, Tokens, TokensError

PROGRAM = """
import sys
from pathlib import Path
from anycast_sdn.api import token_file, tokens
for number in range(20):
    name = f"{sys.argv[2]}-{number}"
    entry = tokens.Token(name=name, sha256=tokens.sha256_of(name), scopes=("read",))
    token_file.change(Path(sys.argv[1]), lambda present: present.with_entry(entry), create=True)
"""


def add(path: Path, name: str) -> None:
    entry = Token(name=name, certificate=name, scopes=("read",))
    token_file.change(path, lambda present: present.with_entry(entry), create=True)


def names(path: Path) -> list[str]:
    return [entry.name for entry in token_file.read(path)[0]]


def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    before = os.umask(0)
    try:
        add(path, "a")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(path) == ["a"]
    assert os.listdir(tmp_path) == ["tokens"]  # neither locks nor halves are left


def test_programs_that_add_tokens_at_the_same_time_lose_none(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    adding = [subprocess.Popen([sys.executable, "-c", PROGRAM, str(path), which]) for which in "abc"]
    read: list[int] = []
    while any(program.poll() is None for program in adding):
        if path.exists():
            read.append(len(names(path)))  # each time a whole file
    assert [program.wait(60) for program in adding] == [0, 0, 0]
    assert len(names(path)) == 60
    assert read == sorted(read)


def test_a_change_that_fails_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    add(path, "a")
    content = path.read_bytes()
    with pytest.raises(TokensError, match=r"tokens: there is a token of the name a already"):
        add(path, "a")
    with pytest.raises(TokensError, match=r"tokens: there is no token of the name 'b'"):
        token_file.change(path, lambda present: present.without("b"))
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["tokens"]


def test_a_link_to_the_file_stays_one(tmp_path: Path) -> None:
    add(tmp_path / "real", "a")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    add(tmp_path / "link", "b")
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "real") == ["a", "b"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_root_adds_belongs_to_the_owner_of_the_directory_or_of_the_file(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 1234)
    add(tmp_path / "tokens", "a")
    assert (tmp_path / "tokens").stat().st_uid == 1234
    add(tmp_path / "tokens", "b")
    assert (tmp_path / "tokens").stat().st_uid == 1234


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    add(tmp_path / "tokens", "a")
    os.chown(tmp_path / "tokens", 1234, 1234)
    with pytest.raises(TokensError, match="belongs to another user"):
        token_file.read(tmp_path / "tokens")


@pytest.mark.parametrize(("mode", "refused", "warned"), [
    (0o600, False, False), (0o400, False, False), (0o640, False, True), (0o644, False, True),
    (0o660, True, False), (0o602, True, False),
])  # fmt: skip
def test_a_file_that_others_may_write_is_refused_and_one_that_they_may_read_is_warned_of(
    mode: int, refused: bool, warned: bool, tmp_path: Path
) -> None:
    path = tmp_path / "tokens"
    add(path, "a")
    path.chmod(mode)
    if refused:
        with pytest.raises(TokensError, match=f"others may write it, so they could make tokens: chmod 600 {path}"):
            token_file.read(path)
    else:
        assert bool(token_file.read(path)[1]) is warned


def test_what_is_no_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(TokensError, match=f"{tmp_path}: is a directory"):
        token_file.read(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TokensError, match="is no ordinary file"):
        token_file.read(tmp_path / "pipe")
    with pytest.raises(TokensError, match="'anycast-sdn token add' makes it"):
        token_file.read(tmp_path / "absent")
    with pytest.raises(TokensError, match="No such file"):
        add(tmp_path / "absent" / "tokens", "a")


def test_whoever_waits_for_the_lock_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_file, "LOCK_S", 0.1)
    path, held, go_on = tmp_path / "tokens", threading.Event(), threading.Event()

    def change(present: Tokens) -> Tokens:
        held.set()
        assert go_on.wait(10)
        return present

    other = threading.Thread(target=lambda: token_file.change(path, change, create=True))
    other.start()
    try:
        assert held.wait(10)
        with pytest.raises(TokensError, match="locked; try again"):
            add(path, "a")
    finally:
        go_on.set()
        other.join()


def test_tokens_are_beside_the_database() -> None:
    assert token_file.beside("/var/lib/x/enrolments.sqlite") == Path("/var/lib/x/enrolments.tokens")
    assert token_file.beside(":memory:") is None
