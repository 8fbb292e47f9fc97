"""Real Open vSwitch that plays switches with one table, or with small ones, behind the testbed's proxy (M38)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from played import playing, roles
from support import Family, Running, in_both_families


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The core has one table, and the nearer server edge has not room enough in its tables."""
    profiles = {"core": "{tables: 1, rules: 2000, refuse: [{instructions: [goto_table]}]}", "ars2": "{rules: 30}"}
    with playing(tmp_path_factory.mktemp("small"), **profiles) as network:
        yield network


@in_both_families
def test_flows_pass_a_core_with_one_table_to_the_edge_that_has_room(small: Running, family: Family) -> None:
    assert {answer.split()[0] for answer in small.ask("h1", family.web, "--flows", 8)} == {"as3"}


def test_the_core_holds_all_that_it_needs_in_its_table(small: Running) -> None:
    report = small.call("GET", "/v1/switches/core")
    assert roles(small, "core")["core"]["sentence"].startswith("can be a core")
    assert set(report["layout"].values()) == {0}
    ((table,),) = [report["room"]["tables"]]
    assert table == {"table": 0, "needs": report["rules"]["other"], "says": 2000}
    assert "cannot hold rules in two tables (it has one)" in roles(small, "core")["server edge"]["sentence"]


def test_the_edge_without_room_says_what_it_needs_and_announces_nothing(small: Running) -> None:
    report = small.call("GET", "/v1/switches/ars2")
    needs = report["room"]["tables"][0]["needs"]
    assert needs > 30
    sentence = roles(small, "ars2")["server edge"]["sentence"]
    assert f"it cannot hold all rules that it needs (table 0: needs {needs}, has 30)" in sentence
    assert "service addresses are not announced here" in sentence
    health = small.controller.rest("GET", "/healthz").body
    assert health["status"] == "degraded"
    assert any(f"needs {needs}, has 30" in str(reason) for reason in health["reasons"]), health
