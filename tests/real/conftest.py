"""Real networks for the tests of this folder: Mininet, Open vSwitch and the controller as a process.

Without root or Open vSwitch these tests are skipped, and the reason is shown; where CI=true, they fail.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest
from support import TOPOLOGIES, Running, Turn, need_testbed, running

LOG_CHARACTERS = 8000  # of the controller's log, shown with a failed test
_ALONE = pytest.StashKey[bool]()


@pytest.fixture(scope="session", autouse=True)
def _able() -> None:
    need_testbed()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A testbed serves a whole module: one test that needs the machine for itself decides for all that run with it."""
    for item in items:
        if item.get_closest_marker("alone"):
            module = item.getparent(pytest.Module)
            assert module
            module.stash[_ALONE] = True
    items[:] = [item for item in items if not (_tracks(item) and item.get_closest_marker("rules_alone"))]


def _tracks(item: pytest.Item) -> bool:
    return hasattr(item, "callspec") and item.callspec.params.get("engine") == "conntrack"


@pytest.fixture(scope="module", autouse=True)
def _turn(request: pytest.FixtureRequest) -> Iterator[None]:
    Turn.alone = request.node.stash.get(_ALONE, False)
    yield
    Turn.alone = False


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest) -> str:
    """The engine of client edges, see ``support.on_both_engines``; "": as the network file says."""
    return str(getattr(request, "param", ""))


@pytest.fixture(scope="module")
def figure1(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """topologies/figure1.yaml; nothing is enrolled yet (``figure1.enrol``)."""
    with running(TOPOLOGIES / "figure1.yaml", tmp_path_factory.mktemp("figure1"), engine=engine) as network:
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
