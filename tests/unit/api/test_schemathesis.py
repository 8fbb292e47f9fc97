"""Schemathesis makes requests from /openapi.json, and finds each answer of a running controller described there.

Thousands of requests, valid and invalid ones, the same in each run; with --full some ten thousand more.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.running import Controller, running

CONFIG = Path(__file__).with_name("schemathesis.toml")
# What there is, for requests that are to reach it.
FOUND = """
[parameters]
group = "web"
address = "10.2.0.10"
edge = "ars2"
switch = "arh1"
end = "arh1:10"

"""


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    with running(tmp_path) as controller:
        yield controller


def answered(controller: Controller, config: str, *options: str) -> int:
    """Runs schemathesis → the number of requests, all of which were answered as they should be."""
    path = controller.folder / "schemathesis.toml"
    path.write_text(config)
    words = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(path)]
    words += ["run", f"{controller.url}/openapi.json", "-H", f"Authorization: Bearer {controller.token}", *options]
    words += ["--generation-deterministic", "--continue-on-failure", "--no-color"]
    words += ["--request-timeout", "60", "--suppress-health-check", "all"]
    done = subprocess.run(words, cwd=controller.folder, capture_output=True, text=True, timeout=1700)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    assert controller.process.poll() is None, controller.log
    assert "Traceback" not in controller.log
    found = re.search(r"(\d+) generated, \1 passed", done.stdout)
    assert found, done.stdout[-2000:]
    return int(found[1])


@pytest.mark.timeout(1800)
def test_every_kind_of_value_is_answered_as_described(controller: Controller, request: pytest.FixtureRequest) -> None:
    full = request.config.getoption("full")
    number = answered(controller, CONFIG.read_text(), "--phases", "coverage,stateful", "-n", "300" if full else "10")
    assert number > 1000


@pytest.mark.timeout(1800)
def test_random_requests_to_what_there_is_are_answered_as_described(
    controller: Controller, request: pytest.FixtureRequest
) -> None:
    full = request.config.getoption("full")
    # In a run, requests are sent operation by operation: what is needed later is not deleted.
    kept = ["--exclude-operation-id", "delete_group", "--exclude-operation-id", "delete_server"]
    many = ["-n", "600" if full else "40"]
    assert answered(controller, FOUND + CONFIG.read_text(), "--phases", "fuzzing", *kept, *many) > 500
