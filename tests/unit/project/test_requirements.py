"""docs/requirements.md: every M number leads there, and from there to the code and the tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[3]
PAPER = ROOT / "docs" / "requirements.md"
LAST = 38


class Requirement(NamedTuple):
    number: int
    state: str
    where: list[str]  # "module: name", the module below ``anycast_sdn``
    tests: list[str]


def requirements() -> Iterator[Requirement]:
    for number, cells in re.findall(r"^\| M(\d+) \|(.*)\|$", PAPER.read_text(), re.MULTILINE):
        _, state, where, tests = map(str.strip, cells.split(" | "))
        yield Requirement(int(number), state, re.findall(r"`([^`]+)`", where), re.findall(r"`([^`]+)`", tests))


REQUIREMENTS = list(requirements())
claimed = pytest.mark.parametrize(
    "requirement",
    [requirement for requirement in REQUIREMENTS if not requirement.state.startswith("not yet")],
    ids=lambda requirement: f"M{requirement.number}",
)


def rows_in(text: str) -> set[int]:
    """The M numbers that a text names; "M13–M20" and "M13-M20" with all between."""
    found: set[int] = set()
    for first, last in re.findall(r"\bM(\d{1,2})\b(?:[–-]M(\d{1,2})\b)?", text):
        found.update(range(int(first), int(last or first) + 1))
    return found


def names_in(tree: ast.AST) -> Iterator[str]:
    """What a module defines, methods as ``Class.method``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
            if isinstance(node, ast.ClassDef):
                yield from (f"{node.name}.{name}" for name in names_in(node))
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def test_all_rows_are_there_once_in_order() -> None:
    assert [requirement.number for requirement in REQUIREMENTS] == list(range(1, LAST + 1))


def test_a_state_is_one_of_three_and_says_what_is_missing() -> None:
    for _, state, where, tests in REQUIREMENTS:
        assert re.fullmatch(r"yes|in part: .+|not yet(: .+)?", state)
        if state.startswith("not yet"):
            assert not where
            assert not tests


@pytest.mark.parametrize("folder", ["anycast_sdn", "mininet", "tests", "topologies", "docs"])
def test_every_number_that_is_named_is_a_row(folder: str) -> None:
    files = [path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md", ".yaml", ".yml")]
    assert files
    for path in files:
        assert rows_in(path.read_text()) <= set(range(1, LAST + 1)), path


@claimed
def test_what_is_claimed_is_in_the_code(requirement: Requirement) -> None:
    assert requirement.where
    for place in requirement.where:
        module, _, name = place.partition(": ")
        path = ROOT / "anycast_sdn" / (module.replace(".", "/") + ".py")
        assert path.exists(), place
        assert not name or name in set(names_in(ast.parse(path.read_text()))), place


@claimed
def test_what_is_claimed_is_shown_by_tests_that_name_it(requirement: Requirement) -> None:
    assert requirement.tests
    for test in requirement.tests:
        assert (ROOT / test).is_file(), test
        assert requirement.number in rows_in((ROOT / test).read_text()), test
