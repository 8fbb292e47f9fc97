"""The journal's file: what was written is read again, whatever has happened to it."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from anycast_sdn.store.journal_file import JournalFile

KEPT = 10


def entries(first: int, last: int) -> list[str]:
    entries = ({"id": number, "type": "link.up", "message": "Ünïcode\n"} for number in range(first, last + 1))
    return [json.dumps(entry, ensure_ascii=False) for entry in entries]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "enrolments.events"


def numbers(path: Path) -> list[int]:
    return [entry["id"] for entry in JournalFile(path, KEPT).read()]


def test_where_there_is_no_file_there_are_no_events(path: Path) -> None:
    assert numbers(path) == []
    assert not path.exists()


def test_what_was_appended_is_read_by_the_next_one(path: Path) -> None:
    file = JournalFile(path, KEPT)
    file.append(entries(1, 3))
    file.append(entries(4, 5))
    assert JournalFile(path, KEPT).read() == list(map(json.loads, entries(1, 5)))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_last_ones_are_kept_and_the_file_stays_small(path: Path) -> None:
    file = JournalFile(path, KEPT)
    for number in range(1, 200):
        file.append(entries(number, number))
        assert len(path.read_bytes().splitlines()) <= 2 * KEPT
    assert numbers(path) == list(range(190, 200))


def test_a_later_run_keeps_the_file_small_as_well(path: Path) -> None:
    for run in range(10):
        file = JournalFile(path, KEPT)
        assert len(file.read()) == min(KEPT, 7 * run)
        file.append(entries(7 * run + 1, 7 * run + 7))
    assert len(path.read_bytes().splitlines()) <= 2 * KEPT
    assert numbers(path) == list(range(61, 71))


def test_a_line_that_was_not_written_to_its_end_is_left_out_and_the_next_one_begins_anew(path: Path) -> None:
    JournalFile(path, KEPT).append(entries(1, 3))
    path.write_bytes(path.read_bytes()[:-5])
    file = JournalFile(path, KEPT)
    assert [entry["id"] for entry in file.read()] == [1, 2]
    file.append(entries(4, 4))
    assert numbers(path) == [1, 2, 4]


@pytest.mark.parametrize("line", [
    b"{", b"[]", b"{}", b'{"id": "7", "type": "x"}', b"\xff\xfe", b"null", b"\x00" * 99, b"[" * 100_000,
    b'{"id": true, "type": "x"}', b'{"id": -7, "type": "x"}', b'{"id": 1' + b"0" * 20 + b', "type": "x"}',
    b'{"id": 1' + b"0" * 5000 + b', "type": "x"}', b'{"id": 7, "type": 5}', b'{"id": 7, "type": "x", "groups": 5}',
    b'{"id": 7, "type": "x", "groups": [[]]}', b'{"id": 7, "type": "x", "edge": {}}',
    b'{"id": 7, "type": "x", "message": "\\ud800"}',
])  # fmt: skip
def test_a_line_that_is_not_ours_is_left_out(line: bytes, path: Path) -> None:
    JournalFile(path, KEPT).append(entries(1, 2))
    path.write_bytes(line + b"\n" + path.read_bytes() + line + b"\n")
    assert numbers(path) == [1, 2]


def test_the_numbers_of_what_is_read_grow(path: Path) -> None:
    JournalFile(path, KEPT).append([*entries(1, 3), *entries(2, 2), *entries(5, 6)])
    assert numbers(path) == [1, 2, 3, 5, 6]


def test_a_file_that_has_vanished_is_written_anew(path: Path) -> None:
    file = JournalFile(path, KEPT)
    file.append(entries(1, 2))
    path.unlink()
    file.append(entries(3, 4))
    assert numbers(path) == [3, 4]


def test_where_nothing_can_be_written_the_reason_is_raised_and_later_it_goes_on(path: Path) -> None:
    file = JournalFile(path, KEPT)
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        file.append(entries(1, 2))
    path.rmdir()
    file.append(entries(1, 2))
    assert numbers(path) == [1, 2]


def test_what_could_not_be_written_is_not_there_twice_when_it_is_written_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise OSError(errno.EIO, "the disk")

    file = JournalFile(path, KEPT)
    file.append(entries(1, 2))
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="the disk"):
            file.append(entries(3, 4))
    file.append(entries(3, 4))
    assert numbers(path) == [1, 2, 3, 4]


def test_where_nothing_can_be_written_now_what_is_there_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    JournalFile(path, KEPT).append(entries(1, 3))
    path.write_bytes(path.read_bytes()[:-5])
    file = JournalFile(path, KEPT)

    def read_only(content: bytes) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(file, "_replace", read_only)
        assert [entry["id"] for entry in file.read()] == [1, 2]
    file.append(entries(4, 5))
    assert numbers(path) == [1, 2, 4, 5]
