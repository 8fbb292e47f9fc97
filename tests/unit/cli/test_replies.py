"""``replies``: time to the first reply, and loss, as a table."""

from __future__ import annotations

import json
from typing import Any

import pytest

from anycast_sdn.cli import main
from tests.unit.command_line import answering

SITE: dict[str, Any] = {
    "edge": "arh1", "answered": 190, "refused": 2, "unanswered": 8, "unanswered_share": 0.04,
    "first_reply_p50_ms": 2.5, "first_reply_p95_ms": 20.25,
}  # fmt: skip
SERVER: dict[str, Any] = {
    "server": "10.2.0.10", "edge": "ars2", "answered": 0, "refused": 0, "unanswered": 7.5, "unanswered_share": 1.0,
    "first_reply_mean_ms": None,
}  # fmt: skip


def said(capsys: pytest.CaptureFixture[str], answer: Any, *words: str) -> str:
    with answering(200, json.dumps(answer).encode()) as address:
        assert main.main(["replies", "--rest", address, *words]) == 0
    return capsys.readouterr().out


def test_sites_and_servers_have_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, {"replies": [{"group": "web", "sites": [SITE], "servers": [SERVER]}]})
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "web site arh1 190 2 8 (4.0%) p50 2.5 ms, p95 20.2 ms" in lines
    assert "web 10.2.0.10 at ars2 0 0 7.5 (100.0%) mean -" in lines
    assert max(map(len, shown.splitlines())) <= 100


def test_without_new_flows_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = "no new flows in the last minute\n"
    assert said(capsys, {"replies": [{"group": "web", "sites": [], "servers": []}]}) == nothing
    assert said(capsys, {"replies": []}, "--group", "web") == nothing
