"""``who``: what is printed of the binding log, asked of a controller or read in its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anycast_sdn.cli import main
from anycast_sdn.core.model import packed
from anycast_sdn.store.bindings.files import Files
from anycast_sdn.store.bindings.log import BindingLog
from anycast_sdn.store.bindings.records import CLOSED, OPENED, PINNED, Record
from tests.unit.command_line import answering, complaint

T0 = 1_750_000_000_000  # 2025-06-15T15:06:40Z
HELD = {
    "translated": "203.0.113.7", "from": "2025-06-15T15:06:40.000Z", "to": None, "edge": "arh1", "number": 3,
    "group": "web", "client": "10.1.0.10", "client_port": 40000, "service": "198.18.0.1", "service_port": 443,
    "protocol": "tcp", "server": "10.2.0.10", "ended_by": None,
}  # fmt: skip
ANSWER = {"at": "2025-06-15T15:07:00.000Z", "bindings": [HELD], "gaps": [], "begins": "2025-06-01T00:00:00.000Z"}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "bindings.jsonl"
    written = BindingLog(Files(path, 90), T0)
    opened = Record(OPENED, T0, "arh1", 3, "web", packed("10.1.0.10"), 40000, packed("198.18.0.1"), 443, 6,
                    packed("203.0.113.7"), None, T0)  # fmt: skip
    pinned = opened._replace(event=PINNED, server=packed("10.2.0.10"))
    written.flow(opened)
    written.flow(pinned)
    written.flow(pinned._replace(event=CLOSED, when=T0 + 60_000, ended_by="closed"))
    written.stop(T0 + 90_000)
    return path


def test_it_says_whose_logs_are_to_be_asked_besides(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(200, json.dumps(ANSWER | {"incomplete": ["m1", "m2"]}).encode()) as address:
        assert main.main(["who", "203.0.113.7", "--rest", address]) == 0
    assert "other members of the cluster may have served flows then: ask m1, m2, too" in capsys.readouterr().out


def test_the_answer_of_a_controller_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(200, json.dumps(ANSWER).encode()) as address:
        assert main.main(["who", "203.0.113.7", "--at", "-5m", "--port", "40000", "--rest", address]) == 0
    assert capsys.readouterr().out == (
        "203.0.113.7 at 2025-06-15T15:07:00.000Z:\n\n"
        "  client   10.1.0.10:40000\n"
        "  service  198.18.0.1:443/tcp, group web\n"
        "  server   10.2.0.10\n"
        "  edge     arh1, flow 3\n"
        "  from     2025-06-15T15:06:40.000Z\n"
        "  to       it still has it\n"
    )


def test_a_gap_and_the_beginning_of_the_log_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    gap = {"from": "2025-06-15T15:00:00.000Z", "to": "2025-06-15T15:08:00.000Z", "reason": "stopped", "missing": 3}
    answer = ANSWER | {"bindings": [], "gaps": [gap], "begins": "2025-06-16T00:00:00.000Z"}
    with answering(200, json.dumps(answer).encode()) as address:
        assert main.main(["who", "203.0.113.7", "--rest", address]) == 0
    printed = capsys.readouterr().out
    assert "nobody had it, as far as the log knows" in printed
    assert "gap in the log from 2025-06-15T15:00:00.000Z to 2025-06-15T15:08:00.000Z: 3 records are missing" in printed
    assert "the log begins at 2025-06-16T00:00:00.000Z" in printed


def test_files_are_read_without_a_controller(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["who", "203.0.113.7", "--at", "2025-06-15 15:07", "--log", str(log)]) == 0
    printed = capsys.readouterr().out
    assert "client   10.1.0.10:40000" in printed
    assert "to       2025-06-15T15:07:40.000Z, closed by both ends" in printed


def test_json_is_the_same_from_files(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["who", "203.0.113.7", "--at", "2025-06-15T15:08:00Z", "--log", str(log), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer.keys() == ANSWER.keys()
    assert answer["bindings"] == []


def test_a_missing_log_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "nowhere.jsonl"
    assert complaint(capsys, "who", "203.0.113.7", "--log", str(path)) == f"{path}: there is no such binding log"


@pytest.mark.parametrize("words", [["x"], ["203.0.113.7", "--at", "yesterday"], ["203.0.113.7", "--port", "x"]])
def test_wrong_usage_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["who", *words])
    assert ended.value.code == 2
