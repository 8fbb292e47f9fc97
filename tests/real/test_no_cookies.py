"""Real Open vSwitch that plays switches without cookies, behind the testbed's proxy: they serve as others do (M38)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from played import playing, roles
from support import Family, Running, in_both_families, until


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One of each role."""
    names = ("arh1", "core", "ars2")
    with playing(tmp_path_factory.mktemp("no-cookies"), **dict.fromkeys(names, "{wrong: [cookies]}")) as network:
        network.wait_for_servers("web")
        yield network


@pytest.mark.row("M38", "switches that keep no cookies, in each role: UDP of both families")
@in_both_families
def test_clients_are_served(forgetful: Running, family: Family) -> None:
    words = ("--source-port", 20801, "--count", 5, "--text", "request #", "--seconds", 0.3, "--wait", 10)
    answers = forgetful.ask("h1", family.web, *words)
    assert [answer.split()[0] for answer in answers] == ["as2"] * 5
    assert forgetful.flow(family.h1, 20801)["server"] is not None


def test_what_is_done_instead_is_said(forgetful: Running) -> None:
    for name in ("arh1", "core", "ars2"):
        said = roles(forgetful, name)["core"]["sentence"]
        assert "can be a core; it keeps no cookies: the controller knows its rules by their matches" in said


def test_what_others_change_is_put_right_and_nothing_else_is_taken_for_wrong(forgetful: Running) -> None:
    ofctl, log = forgetful.testbed.ofctl, forgetful.controller.log
    ofctl("del-flows", "ars2", "--strict", "table=0,priority=750,dl_type=0x88cc")
    ofctl("add-flow", "ars2", "table=4,priority=7,ip,nw_dst=192.0.2.1,actions=drop")
    until(lambda: "switch ars2 did not hold what it should" in log(), "what others have changed is found", timeout_s=30)
    until(lambda: "nw_dst=192.0.2.1" not in ofctl("dump-flows", "ars2"), "the rule of others is removed", timeout_s=30)
    assert "dl_type=0x88cc" in ofctl("dump-flows", "ars2")
    assert "switch arh1 did not hold" not in log()
    assert "switch core did not hold" not in log()
