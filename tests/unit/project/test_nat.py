"""docs/nat.md: every requirement of the papers is there, with a state, and with tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[3]
PAPER = ROOT / "docs" / "nat.md"
NUMBERS = {
    "4787": [str(number) for number in range(1, 15)],
    "5382": [str(number) for number in range(1, 11)],
    "5508": [str(number) for number in range(1, 12)],
    "6888": [str(number) for number in range(1, 16)],
    "7857": ["2", "2.1", "2.2", *(str(number) for number in range(3, 14))],
}
# Shown by what is not there.
SHOWN_BY_NO_TEST = {("6888", "12")}


class Row(NamedTuple):
    number: str
    asked: str
    state: str
    how: str
    tests: list[str]


def _rows(part: str) -> list[Row]:
    cells = [line.strip("| ").split(" | ") for line in part.splitlines() if re.match(r"\| \d", line)]
    return [
        Row(number, asked, state, how, re.findall(r"`(tests/[^`]+)`", tests))
        for number, asked, state, how, tests, *_ in cells
    ]


_PARTS = re.findall(r"^## [^\n]*RFC (\d+)\n(.*?)(?=^## |\Z)", PAPER.read_text(), re.MULTILINE | re.DOTALL)
TABLES = {rfc: _rows(part) for rfc, part in _PARTS}
ROWS = [(rfc, row) for rfc, rows in TABLES.items() for row in rows]
each_row = pytest.mark.parametrize(("rfc", "row"), ROWS, ids=[f"{rfc} {row.number}" for rfc, row in ROWS])


@cache
def functions_of(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_every_requirement_is_there_once_in_order() -> None:
    assert {rfc: [row.number for row in rows] for rfc, rows in TABLES.items()} == NUMBERS


@each_row
def test_a_row_says_how_strong_the_requirement_is_and_what_becomes_of_it(rfc: str, row: Row) -> None:
    assert re.match(r"(MUST|SHOULD|MAY): ", row.asked)
    assert row.state in ("met", "deviates", "does not apply")
    assert row.how


@each_row
def test_the_tests_that_show_it_exist(rfc: str, row: Row) -> None:
    assert row.tests or row.state != "met" or (rfc, row.number) in SHOWN_BY_NO_TEST
    for test in row.tests:
        file, _, name = test.partition("::")
        assert (ROOT / file).is_file(), test
        assert name == "*" or name in functions_of(ROOT / file), test
