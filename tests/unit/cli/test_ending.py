"""``flows end``: which flows are ended, and what is said."""

from __future__ import annotations

import json

import pytest

from anycast_sdn.cli import main
from tests.unit.command_line import answering, complaint


def test_it_says_how_many_flows_have_ended(capsys: pytest.CaptureFixture[str]) -> None:
    for ended, said in ((0, "ended 0 flows\n"), (1, "ended 1 flow\n"), (12, "ended 12 flows\n")):
        with answering(200, json.dumps({"ended": ended}).encode()) as address:
            assert main.main(["flows", "--rest", address, "end", "--server", "10.2.0.10"]) == 0
        assert capsys.readouterr().out == said


def test_a_dry_run_counts_and_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(200, b'{"flows": [{}, {}]}') as address:
        assert main.main(["flows", "end", "--rest", address, "--group", "web", "--dry-run"]) == 0
        assert main.main(["flows", "end", "--rest", address, "--group", "web", "--dry-run", "--json"]) == 0
    assert capsys.readouterr().out == 'would end 2 flows\n{"would_end": 2}\n'


def test_without_a_filter_it_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["flows", "end"], ["flows", "end", "--dry-run"]):
        with pytest.raises(SystemExit) as ended:
            main.main(words)
        assert ended.value.code == 2
        assert "this would end every flow" in capsys.readouterr().err


def test_filters_count_before_and_behind_the_word_end(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask(address: str, path: str, *_: object) -> dict[str, int]:
        asked.append(path)
        return {"ended": 0}

    monkeypatch.setattr("anycast_sdn.cli.client.ask", ask)
    main.main(["flows", "--group", "web", "end", "--client", "10.1.0.10"])
    main.main(["flows", "end", "--group", "", "--client", "10.1.0.10"])
    assert asked == ["/v1/flows?group=web&client=10.1.0.10", "/v1/flows?group=&client=10.1.0.10"]


def test_the_controllers_refusal_is_reported_in_its_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(400, b'{"detail": "no such state"}') as address:
        assert complaint(capsys, "flows", "end", "--rest", address, "--state", "x") == "no such state"


@pytest.mark.parametrize("body", [b'{"ended": "all"}', b"[]", b"1"])
def test_another_program_that_answers_is_reported_as_no_controller(
    body: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(200, body) as address:
        reported = complaint(capsys, "flows", "end", "--rest", address, "--group", "web")
    assert reported == f"what answers at http://{address} is no controller"
