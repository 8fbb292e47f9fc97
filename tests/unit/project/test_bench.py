"""The benchmark's run: no table's failure, nor what it leaves behind, is another's."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("mininet.net")  # its tables need the testbed; our folder of that name is no package
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "bench"))
    monkeypatch.syspath_prepend(str(ROOT / "mininet"))
    return importlib.import_module("bench")


def test_a_table_that_fails_is_named_and_the_others_go_on(bench: Any, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "results.json"
    seen = []

    def leaves_a_database(options: Any) -> dict[str, Any]:
        database = options.directory / "anycast.db"
        assert not database.exists(), "another table's"
        database.touch()
        seen.append(json.loads(file.read_text()) if file.exists() else {})
        return {"rows": [len(seen)]}

    def fails(options: Any) -> dict[str, Any]:
        raise RuntimeError("no switch")

    tables = {"first": leaves_a_database, "second": fails, "third": leaves_a_database}
    failed = bench.measure(tables, bench.Options(1, True, tmp_path), file, {"machine": {}})
    assert failed == ["second"]
    assert "the table second failed" in capsys.readouterr().err
    assert seen[1]["first"] == {"rows": [1]}, "it was written before the next began"
    results = json.loads(file.read_text())
    assert results["second"] == {"failed": "RuntimeError: no switch"}
    assert results["third"] == {"rows": [2]}
