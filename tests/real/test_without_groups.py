"""A server edge without select groups, on Open vSwitch behind the proxy that plays it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from played import playing, roles
from support import Family, Running, in_both_families


@pytest.fixture(scope="module")
def without_groups(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The nearest server edge of figure 1 refuses select groups."""
    with playing(tmp_path_factory.mktemp("groups"), ars2="extreme-s-series") as network:
        yield network
        assert "Traceback" not in network.controller.log(), network.controller.log()


@pytest.mark.row("M38", "a server edge without select groups: one server for each service, chosen by the controller")
@in_both_families
def test_a_server_edge_without_select_groups_serves_by_a_plain_rule(without_groups: Running, family: Family) -> None:
    assert {answer.split()[0] for answer in without_groups.ask("h1", family.web, "--flows", 8)} == {"as2"}


def test_a_server_edge_without_select_groups_is_able_and_says_how(without_groups: Running) -> None:
    edge = roles(without_groups, "ars2")["server edge"]
    assert edge["families"] == ["ipv4", "ipv6"]
    assert edge["sentence"].endswith(
        "it cannot spread flows by a select group (group-mod failed, bad type): all new flows of a service go to one "
        "server here, which the controller chooses"
    )
    assert "refused" not in without_groups.controller.log()
