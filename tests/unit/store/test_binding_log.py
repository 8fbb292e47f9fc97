"""The binding log: its files, what it says of itself, and what is found in it."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from anycast_sdn.core.model import WHOLE, Address, packed
from anycast_sdn.store.bindings import index, records, writer
from anycast_sdn.store.bindings import log as binding_log
from anycast_sdn.store.bindings.files import DAY, INDEX, Files, all_files, beside, earlier, is_packed
from anycast_sdn.store.bindings.log import BindingLog
from anycast_sdn.store.bindings.messages import Frames
from anycast_sdn.store.bindings.records import ADOPTED, CLOSED, OPENED, PINNED, UNSEEN, Record
from anycast_sdn.store.bindings.search import Found, search

T0 = 1_750_000_000_000  # ms
H, H2, ANY, AS2, P, Q = map(
    packed, ("10.1.0.10", "10.1.0.11", "198.18.0.1", "10.2.0.10", "203.0.113.7", "203.0.113.8")
)


def record(event: str, when: int, number: int = 1, **changes: Any) -> Record:
    opened = Record(event, T0 + when, "arh1", number, "web", H, 40000, ANY, 53, 17, P, None, T0 + when)
    return opened._replace(**changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bindings.jsonl"


class Log:
    """A log that is written with times after ``T0``; ``size``: of its files."""

    def __init__(self, path: Path, now: int = 0, size: int = 1 << 20, days: float = 90) -> None:
        self.path = path
        self.files = Files(path, days, size)
        self.log = BindingLog(self.files, T0 + now)

    def take(self, *told: Record, now: int = 0) -> None:
        for each in told:
            self.log.flow(each)
        self.log.write(T0 + now if now else told[-1].when)

    def who(self, at: int, address: Address = P, port: int | None = None) -> Found:
        self.log.write(T0 + at)
        return search(self.path, address, T0 + at, port)

    def lines(self) -> list[dict[str, Any]]:
        return [found for file in all_files(self.path).values() for text in file.read_bytes().splitlines()
                if (found := records.read(text))]  # fmt: skip

    def crash(self) -> None:
        self.files.close()


@pytest.fixture
def log(path: Path) -> Log:
    return Log(path)


# ---------------------------------------------------------------- lines


@pytest.mark.parametrize("changes", [
    {},
    {"server": AS2, "ended_by": "idle"},
    {"protocol": WHOLE, "client_port": 0, "service_port": 0},
    {"protocol": 1, "client_port": 0, "service_port": 0},
    {"client": packed("2001:db8::1"), "service": packed("2001:db8::2"), "translated": packed("2001:db8::3"),
     "server": packed("2001:db8::4")},
    {"group": ""},
    {"translated_port": 700},
])  # fmt: skip
def test_a_record_is_read_as_it_was_written(changes: dict[str, Any]) -> None:
    written = record(OPENED, 0, **changes)
    found = records.read(records.line(written))
    assert found
    assert records.record_of(found) == written


def test_lines_have_the_elements_of_rfc_8158() -> None:
    found = records.read(records.line(record(OPENED, 0)))
    assert found == {
        "time": "2025-06-15T15:06:40.000Z", "event": "opened", "natEvent": 4, "edge": "arh1", "number": 1,
        "group": "web", "sourceIPv4Address": "10.1.0.10", "postNATSourceIPv4Address": "203.0.113.7",
        "destinationIPv4Address": "198.18.0.1", "protocolIdentifier": 17, "sourceTransportPort": 40000,
        "destinationTransportPort": 53,
    }  # fmt: skip


def test_a_client_that_is_bound_as_a_whole_is_an_address_binding() -> None:
    found = records.read(records.line(record(CLOSED, 0, protocol=WHOLE, client_port=0, service_port=0)))
    assert found
    assert found["natEvent"] == 15
    assert "protocolIdentifier" not in found


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b'{"event": "opened"}', b"\xff\n"])
def test_what_is_no_line_is_not_read(text: bytes) -> None:
    assert records.read(text) is None


# ---------------------------------------------------------------- who had it


def test_a_flow_has_its_address_from_its_beginning_to_its_end(log: Log) -> None:
    log.take(record(OPENED, 1000), record(PINNED, 1005, server=AS2), record(CLOSED, 9000, ended_by="idle"))
    assert [len(log.who(at).held) for at in (999, 1000, 5000, 9000, 9001)] == [0, 1, 1, 1, 0]
    (shown,) = log.who(5000).shown()["bindings"]
    assert shown["from"].endswith("41.000Z")
    assert shown["to"].endswith("49.000Z")
    assert (shown["client"], shown["ended_by"], shown["protocol"]) == ("10.1.0.10", "idle", "udp")


def test_an_open_flow_has_no_end(log: Log) -> None:
    log.take(record(OPENED, 1000), record(PINNED, 1005, server=AS2))
    (shown,) = log.who(5000).shown()["bindings"]
    assert (shown["to"], shown["server"]) == (None, "10.2.0.10")


def test_one_address_is_not_taken_for_a_longer_one(log: Log) -> None:
    log.take(record(OPENED, 1000, translated=packed("203.0.113.70")))
    assert not log.who(2000).held


def test_an_address_is_told_by_who_had_it_and_not_by_who_was_reached(log: Log) -> None:
    log.take(record(OPENED, 1000))
    assert not log.who(2000, ANY).held
    assert not log.who(2000, H).held


def test_flows_that_share_an_address_are_told_apart_by_their_port(log: Log) -> None:
    log.take(record(OPENED, 1000), record(OPENED, 1001, number=2, client_port=40001))
    assert [each.flow.number for each in log.who(2000).held] == [2, 1]
    assert [each.flow.number for each in log.who(2000, port=40000).held] == [1]


def test_a_flow_is_found_by_the_port_that_its_switch_has_chosen(log: Log) -> None:
    log.take(record(OPENED, 0, translated_port=700))
    assert [len(log.who(1, port=port).held) for port in (700, 40000)] == [1, 0]


def test_the_ends_of_many_flows_that_share_an_address_are_found_together(path: Path) -> None:
    log = Log(path, size=20_000)
    for number in range(1, 501):
        log.take(record(OPENED, number, number, client_port=number))
    for number in range(1, 501):
        log.take(record(CLOSED, 10_000 + number, number, client_port=number, ended_by="idle"))
    assert len(all_files(path)) > 4
    assert {each.ended for each in log.who(5000).held} == {T0 + 10_000 + number for number in range(1, 501)}


def test_nothing_is_known_of_before_the_log(log: Log) -> None:
    assert (log.who(-1).held, log.who(-1).begins) == ([], T0)


# ---------------------------------------------------------------- files


def test_each_file_begins_with_what_is_open(path: Path) -> None:
    log = Log(path, size=1000)
    log.take(record(OPENED, 1000))
    for number in range(2, 40):
        log.take(record(OPENED, 1000 * number, number, translated=Q))
        log.take(record(CLOSED, 1000 * number + 1, number, translated=Q))
    log.take(record(CLOSED, 50_000, ended_by="idle"))
    assert len(all_files(path)) > 5
    assert [len(log.who(at).held) for at in (999, 1000, 20_000, 49_000, 50_001)] == [0, 1, 1, 1, 0]
    found = log.who(20_000).held[0]
    assert (found.flow.since, found.ended) == (T0 + 1000, T0 + 50_000)


def test_a_flow_whose_record_came_when_the_next_file_had_begun_is_found_all_the_same(path: Path) -> None:
    log = Log(path, size=1)
    log.take(record(OPENED, 1000, 2, translated=Q), record(CLOSED, 2000, 2, translated=Q), now=6100)
    assert max(all_files(path)) == T0 + 6100
    log.files._most = 1 << 20
    log.take(record(OPENED, 6050), now=6110)
    assert [len(log.who(at).held) for at in (6049, 6060, 6120)] == [0, 1, 1]


def test_a_file_is_closed_after_a_day_and_deleted_after_its_time(path: Path) -> None:
    log = Log(path, days=2)
    for day in range(6):
        log.take(record(OPENED, day * DAY + 5000, number=day + 1))
    assert list(all_files(path)) == [T0 + day * DAY + (5000 if day else 0) for day in range(2, 6)]
    assert log.who(2 * DAY + 6000).held
    assert log.who(DAY).begins == T0 + 2 * DAY + 5000


def test_a_line_that_was_cut_off_is_removed(path: Path) -> None:
    log = Log(path)
    log.take(record(OPENED, 1000), record(OPENED, 1001, 2, client_port=1))
    log.crash()
    os.truncate(path, path.stat().st_size - 10)
    log = Log(path, 5000)
    log.take(record(OPENED, 6000, 3, client_port=2))
    assert [each.flow.number for each in log.who(7000).held] == [3, 1]
    assert all(text.endswith(b"}") for text in path.read_bytes().splitlines())


def test_an_unreadable_line_loses_nothing_else(path: Path) -> None:
    log = Log(path)
    log.take(record(OPENED, 1000))
    log.crash()
    path.write_bytes(path.read_bytes() + b'{"time": 3, "event": "opened"\n\xff\n')
    log = Log(path, 5000)
    assert log.who(6000).held


def test_two_cannot_write_one_log(path: Path, log: Log) -> None:
    with pytest.raises(BlockingIOError):
        Files(path, 90)


# ---------------------------------------------------------------- restarts and gaps


def test_a_flow_that_is_adopted_goes_on(path: Path, log: Log) -> None:
    log.take(record(OPENED, 1000), record(PINNED, 1001, server=AS2))
    log.log.stop(T0 + 2000)
    log = Log(path, 5000)
    log.take(record(ADOPTED, 6000, server=AS2))
    log.log.settled("arh1", T0 + 6001)
    (found,) = log.who(7000).held
    assert (found.flow.since, found.ended, found.flow.event) == (T0 + 1000, None, ADOPTED)


def test_a_flow_that_is_not_adopted_has_ended_unseen(path: Path, log: Log) -> None:
    log.take(record(OPENED, 1000), record(OPENED, 1000, 2, translated=Q))
    log.crash()
    log = Log(path, 5000)
    log.take(record(ADOPTED, 6000, 2, translated=Q))
    log.log.settled("arh1", T0 + 6001)
    assert not log.who(7000).held
    assert log.who(7000, Q).held
    found = log.who(3000)
    assert found.held[0].flow.ended_by == UNSEEN
    (gap,) = found.gaps
    assert (gap.since, gap.until, gap.reason) == (T0 + 1000, T0 + 5000, "nothing was written: the log was not closed")


def test_a_number_that_is_given_again_is_of_another_flow(path: Path, log: Log) -> None:
    log.take(record(OPENED, 1000))
    log.crash()
    log = Log(path, 5000)
    log.take(record(OPENED, 6000, client=H2, translated=Q))
    assert not log.who(7000).held
    assert log.who(7000, Q).held


def test_an_orderly_stop_is_a_gap_until_the_next_start(path: Path, log: Log) -> None:
    log.take(record(OPENED, 1000))
    log.log.stop(T0 + 2000)
    (gap,) = search(path, P, T0 + 3000).gaps
    assert (gap.since, gap.reason) == (T0 + 2000, "the controller is stopped")
    again = Log(path, 5000)
    assert [gap.reason for gap in again.who(3000).gaps] == ["the controller was stopped"]
    assert not again.who(5001).gaps


def test_a_gap_after_the_death_of_the_controller_says_so(path: Path, log: Log) -> None:
    log.take(record(OPENED, 1000))
    log.log.stop(T0 + 2000, "the controller ended without notice")
    assert [gap.reason for gap in Log(path, 5000).who(3000).gaps] == ["the controller ended without notice"]


def test_a_flow_that_is_told_again_is_written_once(log: Log) -> None:
    log.take(record(OPENED, 1000), record(OPENED, 1000))
    assert [each["event"] for each in log.lines()] == ["file", "start", "opened"]


def test_after_a_loss_what_is_told_again_is_open(log: Log) -> None:
    log.take(record(OPENED, 1000), record(OPENED, 1000, 2, translated=Q))
    log.log.lost(17, T0 + 1500, T0 + 2000, "the controller was faster than the log")
    log.log.doubt("arh1")
    log.take(record(ADOPTED, 3000, 2, translated=Q))
    log.log.settled("arh1", T0 + 3001)
    assert not log.who(4000).held
    (gap,) = log.who(1700, Q).gaps
    assert (gap.missing, log.log.missing) == (17, 17)


def test_a_full_disk_is_said_and_what_did_not_fit_is_counted(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(lines: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log.take(record(OPENED, 1000))
    with monkeypatch.context() as patch:
        patch.setattr(log.files, "append", full)
        patch.setattr(binding_log, "MOST_PENDING", 1000)
        log.take(*(record(OPENED, 2000 + number, number, client_port=number) for number in range(2, 102)))
        assert log.log.problem == "No space left on device"
    log.log.write(T0 + 5000)
    assert log.log.problem == ""
    found = log.who(6000)
    assert len(found.held) == 101
    (gap,) = log.who(3000).gaps
    assert gap.missing == log.log.missing > 90


def test_a_file_whose_beginning_did_not_fit_begins_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(path, size=300)
    append, calls = log.files.append, []

    def full_at_the_second(lines: bytes) -> None:
        calls.append(lines)
        if len(calls) == 3:  # the record; the line that begins the file; what is open
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(lines)

    monkeypatch.setattr(log.files, "append", full_at_the_second)
    log.take(record(OPENED, 1000))
    assert log.log.problem
    log.log.write(T0 + 2000)
    assert not log.log.problem
    assert log.who(3000).held


# ---------------------------------------------------------------- indexes


@pytest.fixture
def long_log(path: Path) -> Log:
    """Many files, a flow that lives through all of them, and a gap."""
    log = Log(path, size=2000)
    log.take(record(OPENED, 1000))
    for number in range(2, 60):
        log.take(record(OPENED, 1000 * number, number, translated=Q, client_port=number))
        log.take(record(CLOSED, 1000 * number + 1, number, translated=Q, client_port=number, ended_by="idle"))
        if number == 30:
            log.log.lost(3, T0 + 29_000, T0 + 30_500, "the controller was faster than the log")
    log.take(record(CLOSED, 70_000, ended_by="idle"))
    return log


def answers(path: Path) -> list[dict[str, Any]]:
    return [search(path, address, T0 + at).shown() for address in (P, Q) for at in range(500, 71_000, 500)]


def test_an_index_finds_what_is_found_without(long_log: Log) -> None:
    without = answers(long_log.path)
    maker = index.Maker(long_log.path)
    while maker.step():
        pass
    closed = earlier(long_log.path).values()
    assert all(map(is_packed, closed))
    assert all(beside(file, INDEX).exists() for file in closed)
    assert len(closed) > 5
    assert answers(long_log.path) == without


def test_an_index_that_is_spoiled_is_not_used(long_log: Log) -> None:
    without = answers(long_log.path)
    for file in earlier(long_log.path).values():
        index.build(file)
        beside(file, INDEX).write_bytes(b"spoiled" * 1000)
    assert answers(long_log.path) == without


def test_an_index_is_made_for_each_file_that_is_closed(path: Path) -> None:
    log, maker = Log(path, size=300), index.Maker(path)
    for number in range(1, 4):
        log.take(record(OPENED, 1000 * number, number))
        if log.log.pop_closed_file():
            maker.look()
        while maker.step():
            pass
        assert all(beside(file, INDEX).exists() for file in earlier(path).values())
    assert len(earlier(path)) >= 2


def test_an_index_is_deleted_with_its_file(path: Path) -> None:
    log = Log(path, days=2)
    for day in range(6):
        log.take(record(OPENED, day * DAY + 5000, number=day + 1))
        for file in earlier(path).values():
            index.build(file)
    log.take(record(OPENED, 6 * DAY + 5000, number=9))
    assert {each.name.removesuffix(".index") for each in path.parent.iterdir()} == {
        file.name for file in all_files(path).values()
    }


def test_a_compressed_file_is_read_without_its_index(long_log: Log) -> None:
    without = answers(long_log.path)
    for file in earlier(long_log.path).values():
        for _ in index.pack(file):
            pass
    assert all(map(is_packed, earlier(long_log.path).values()))
    assert answers(long_log.path) == without


def test_a_file_that_is_being_compressed_is_whole_until_then(long_log: Log) -> None:
    without = answers(long_log.path)
    file = next(iter(earlier(long_log.path).values()))
    steps = index.pack(file)
    next(steps)
    assert answers(long_log.path) == without
    del steps
    assert not list(file.parent.glob("*.new"))


def test_a_log_goes_on_after_a_file_that_is_compressed(path: Path) -> None:
    log = Log(path)
    log.take(record(OPENED, 1000))
    log.crash()
    path.rename(path.with_name(f"{path.name}.{T0}"))
    for _ in index.pack(path.with_name(f"{path.name}.{T0}")):
        pass
    assert Log(path, 5000).who(6000).held


# ---------------------------------------------------------------- what others do to the files

_WHOLE = records.line(record(OPENED, 1000)).decode()


@pytest.mark.parametrize("damaged", [
    '{"time":5,"event":"opened"}\n',
    '{"time":"yesterday","event":"stop"}\n',
    '{"time":"9999-12-31T23:59:59-23:00","event":"stop"}\n',
    '{"time":"2025-06-15T15:06:40Z","event":{}}\n',
    _WHOLE[:50] + _WHOLE,
    _WHOLE.replace('"number":1', '"number":[1]'),
    _WHOLE.replace('"number":1', '"number":1e3'),
    _WHOLE.replace('"number":1', f'"number":{1 << 64}'),
    _WHOLE.replace('"edge":"arh1"', '"edge":{}'),
    _WHOLE.replace("40000", '"x"'),
    _WHOLE.replace("203.0.113.7", "::1"),
    "\0" * 300 + "\n",
    "[" * 100_000 + "\n",
])  # fmt: skip
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_damaged_line_costs_itself_and_is_a_gap(path: Path, damaged: str, place: int) -> None:
    Log(path).crash()
    other = records.line(record(OPENED, 1000, number=2, translated=Q)).decode()
    lines = [*path.read_text().splitlines(keepends=True)[:1], other]
    lines.insert(place, damaged)
    path.write_text("".join(lines))
    log = Log(path, now=20_000)
    log.log.write(T0 + 20_000)
    assert [each.flow.number for each in log.who(30_000, Q).held] == [2]
    assert not log.who(30_000, P).held
    assert [gap["reason"] for gap in log.lines() if "damaged" in gap.get("reason", "")], log.lines()
    log.log._begin_file(T0 + 40_000)
    maker = index.Maker(path)
    while maker.step():
        pass
    assert [each.flow.number for each in log.who(30_000, Q).held] == [2]
    assert all(file.name.endswith(".gz") and beside(file, INDEX).exists() for file in earlier(path).values())


@pytest.mark.parametrize("damage", [
    lambda content: content[: len(content) // 2],
    lambda content: content[:-9] + b"x" * 9,
    lambda _: b"",
    lambda _: b"text",
])  # fmt: skip
@pytest.mark.parametrize("is_latest", [True, False])
def test_a_damaged_compressed_file_is_a_gap_and_stops_nothing(path: Path, damage: Any, is_latest: bool) -> None:
    log = Log(path)
    log.take(record(OPENED, 1000))
    log.log._begin_file(T0 + 2000)
    maker = index.Maker(path)
    while maker.step():
        pass
    log.crash()
    (packed_file,) = earlier(path).values()
    packed_file.write_bytes(damage(packed_file.read_bytes()))
    beside(packed_file, INDEX).unlink()
    if is_latest:
        path.unlink()
    log = Log(path, now=3000)
    log.take(record(OPENED, 4000, number=2, translated=Q))
    assert [each.flow.number for each in log.who(5000, Q).held] == [2]
    if not is_latest:
        assert [gap.reason for gap in log.who(1500).gaps] == [f"{packed_file.name} is damaged"]
    maker = index.Maker(path)
    while maker.step():
        pass


def test_a_file_that_is_removed_while_it_is_written_begins_again_with_what_is_open(log: Log) -> None:
    log.take(record(OPENED, 1000))
    log.path.unlink()
    log.take(record(OPENED, 2000, number=2, translated=Q))
    assert [each.flow.number for each in log.who(3000).held] == [1]
    assert [each.flow.number for each in log.who(3000, Q).held] == [2]
    assert "the file was removed or replaced" in [line.get("reason") for line in log.lines()]
    assert not log.log.problem


def test_a_file_that_is_moved_and_replaced_is_kept(log: Log) -> None:
    log.take(record(OPENED, 1000))
    log.path.rename(log.path.with_name("moved"))
    log.path.write_text("something else\n")
    log.take(record(OPENED, 2000, number=2, translated=Q))
    assert [each.flow.number for each in log.who(3000, Q).held] == [2]
    assert [file.read_text() for file in earlier(log.path).values()] == ["something else\n"]


def test_after_the_clock_was_set_back_what_is_written_is_found(path: Path) -> None:
    log = Log(path, now=30 * DAY)
    log.take(record(OPENED, 30 * DAY, number=1, translated=Q))
    log.crash()
    log = Log(path, now=0)
    log.take(record(OPENED, 1000, number=2))
    assert [each.flow.number for each in log.who(2000).held] == [2]
    assert list(all_files(path).values())[-1] == path


def test_a_file_that_could_not_be_begun_is_begun_later(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    log.take(record(OPENED, 1000))
    log.path.unlink()

    def full(lines: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(log.files, "append", full)
        log.take(record(OPENED, 2000, number=2, translated=Q))
        assert log.log.problem == "No space left on device"
    log.log.write(T0 + 3000)
    assert not log.log.problem
    first, carried, *_ = log.lines()
    assert (first["event"], carried["event"]) == ("file", "carried")
    assert "the file was removed or replaced" in [line.get("reason") for line in log.lines()]
    assert [each.flow.number for each in log.who(4000).held] == [1]


def test_while_nothing_can_be_written_an_answer_says_so(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    log.take(record(OPENED, 1000))

    def full(lines: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    ours, its = socket.socketpair()
    now = T0 + 60_000
    monkeypatch.setattr(writer, "now_ms", lambda: now)
    with ours, its:
        asked = writer.Writer(log.path, log.log, its)
        with monkeypatch.context() as patch:
            patch.setattr(log.files, "append", full)
            log.take(record(OPENED, 2000, number=2, translated=Q))
            asked._answer(1, Q, now, None)
            asked._answer(2, P, T0 + 900, None)
        asked._answer(3, Q, now, None)
        answers = [found for _, _, found, _ in Frames().take(ours.recv(1 << 16))]
    assert [[gap["reason"] for gap in each["gaps"]] for each in answers] == [
        ["records wait to be written: No space left on device"], [], [],
    ]  # fmt: skip
    assert len(answers[2]["bindings"]) == 1
