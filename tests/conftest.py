"""Ties tests to the rows of the requirements, M1 to M38, and closes a run with a table of them.

A test on a real network says what it shows:

    @pytest.mark.row("M13", "a new flow's source becomes an address of PRh/k", on="Open vSwitch")

A test may carry several rows.  The table has one line per row and test, with the worst result of the
test's phases, and what the test has measured (``record_property("measured", "p99 12 ms")``).

``--full`` runs tests of load at the sizes that the requirements name, which takes minutes.
"""

from __future__ import annotations

import signal
from collections import defaultdict
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from tabulate import tabulate

# How long an example takes says something of the machine, which others use, and nothing of the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# A shell starts what runs in the background with SIGINT ignored, and so would be what tests start, and end with that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

OUTCOMES = ("passed", "skipped", "failed", "error")  # the later, the worse


class Row(NamedTuple):
    """One line of the table, without its result."""

    number: int
    shown: str
    on: str


def _row(name: str, shown: str, on: str = "Open vSwitch") -> Row:
    """The arguments of the marker → Row; refuses what is no row of the requirements."""
    if name[:1] != "M" or not name[1:].isdecimal() or not 1 <= int(name[1:]) <= 38:
        raise pytest.UsageError(f"no such row: {name}")
    return Row(int(name[1:]), shown, on)


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "loads of the sizes that the requirements name (ab -n 20000, nmap -p1-5000 ...): three minutes more"
    parser.addoption("--full", action="store_true", help=text)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        parameters, case = {}, ""
        if hasattr(item, "callspec"):  # a parametrised test
            parameters = item.callspec.params
            ids = [each for each in item.callspec.id.split("-") if each != parameters.get("engine")]
            case = f" [{'-'.join(ids)}]" if ids else ""
        for marker in item.iter_markers("row"):
            row = _row(*marker.args, **marker.kwargs)
            # How the client edges of a real network carry the method out.
            if parameters.get("engine") == "conntrack" or item.get_closest_marker("with_conntrack"):
                row = row._replace(on=f"{row.on}, conntrack")
            # A plain tuple, which a process of pytest-xdist can send to the one that prints the table.
            item.user_properties.append(("row", tuple(row._replace(shown=row.shown + case))))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    results: dict[Row, str] = {}
    measured: dict[Row, list[str]] = defaultdict(list)
    for outcome in OUTCOMES:
        for report in terminalreporter.getreports(outcome):
            properties = getattr(report, "user_properties", ())
            for row in (Row(*value) for name, value in properties if name == "row"):
                results[row] = outcome
                measured[row] = [value for name, value in properties if name == "measured"]
    if results:
        lines = [
            (f"M{row.number}", "; ".join([row.shown, *measured[row]]), row.on, result)
            for row, result in sorted(results.items())
        ]
        terminalreporter.section("requirements")
        terminalreporter.write_line(tabulate(lines, headers=("row", "what was shown", "on what", "result")))
