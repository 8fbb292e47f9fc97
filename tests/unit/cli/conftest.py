"""What the tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.network_files import VALID


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A network file that is right."""
    path = tmp_path / "net.yaml"
    path.write_text(VALID)
    return path
