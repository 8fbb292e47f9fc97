"""Real networks for the tests of this folder: Mininet, Open vSwitch and the controller as a process.

Without root or Open vSwitch these tests are skipped, and the reason is shown; where CI=true, they fail.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest
from support import TOPOLOGIES, Running, need_testbed, running

LOG_CHARACTERS = 8000  # of the controller's log, shown with a failed test


@pytest.fixture(scope="session", autouse=True)
def _able() -> None:
    need_testbed()


@pytest.fixture(scope="module")
def figure1(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """topologies/figure1.yaml; nothing is enrolled yet (``figure1.enrol``)."""
    with running(TOPOLOGIES / "figure1.yaml", tmp_path_factory.mktemp("figure1")) as network:
        yield network


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the controller's log to the report of a failed test."""
    report = yield
    for value in item.funcargs.values() if report.failed else ():
        if isinstance(value, Running):
            report.sections.append(("controller", value.controller.log()[-LOG_CHARACTERS:]))
    return report
