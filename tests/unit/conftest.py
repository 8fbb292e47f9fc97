"""What unit tests share: an operator's registry on a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.operators import AS2, WEB, Operator, network


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    operator = Operator(tmp_path / "enrolments.db", network())
    yield operator
    operator.store.close()


@pytest.fixture
def enrolled(operator: Operator) -> Operator:
    operator.registry.put_group(WEB)
    operator.registry.put_server("web", AS2)
    operator.sent.clear()
    return operator
