"""control.counters describes just what the code counts (M34)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from anycast_sdn.control import counters
from anycast_sdn.core.client_edge import Drop
from anycast_sdn.openflow.frames import REASONS
from anycast_sdn.openflow.pipeline import DROPS

PACKAGE = Path(counters.__file__).parents[1]


def counted_names(tree: ast.AST) -> Iterator[str]:
    """Every string under which a module counts: ``….counters["name"] += 1`` and ``self._drop("name")``."""
    for node in ast.walk(tree):
        key: ast.expr | None = None
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name | ast.Attribute):
            name = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            key = node.slice if name.endswith("counters") else None
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "_drop":
            key = node.args[0]
        for part in ast.walk(key) if key else ():
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.value


def names_in_code() -> set[str]:
    """All counters, wherever they are declared."""
    found = {*DROPS.values(), *(drop.value for drop in Drop)}
    for path in PACKAGE.rglob("*.py"):
        found |= set(counted_names(ast.parse(path.read_text())))
    found.discard(counters.BAD_FRAME)  # the beginning of those that follow
    return found | {counters.BAD_FRAME + reason for reason in REASONS}


def test_every_counter_says_what_it_means() -> None:
    assert not names_in_code() - counters.COUNTERS.keys()


def test_nothing_is_described_that_is_not_counted() -> None:
    assert not counters.COUNTERS.keys() - names_in_code()


def test_a_name_that_is_counted_is_found_however_it_is_written() -> None:
    code = """
self.counters["a"] += 1
edge.counters["b"] = waiting.shed
self._counters[f"c: {error}"] += 1
return self._drop("d")
return self._drop(f"e: {error}")
other["f"] += 1
"""
    assert set(counted_names(ast.parse(code))) == {"a", "b", "c: ", "d", "e: "}


def test_meanings_are_sentences_and_no_name_is_told_twice() -> None:
    parts = (counters.IN_THE_SWITCH, counters.OF_FLOWS, counters.OF_HOSTS, counters.OF_SWITCHES, counters.OF_FRAMES)
    assert len(counters.COUNTERS) == sum(map(len, parts))
    for name, meaning in counters.COUNTERS.items():
        for text in meaning:
            assert text[0].isupper() or text.startswith("`"), name
            assert text.endswith((".", "?")), name
            assert "|" not in text, f"{name}: a table's cell"
