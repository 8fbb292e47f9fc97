"""How links are watched, as a network file says it."""

from __future__ import annotations

from anycast_sdn.description import reading
from tests.unit.network_files import assert_refused, edited, refusal


def test_links_are_watched_by_lldp_unless_the_file_says_otherwise() -> None:
    assert reading.parse(edited({}), "net.yaml").lldp
    assert not reading.parse(edited({"discovery": {"lldp": False}}), "net.yaml").lldp


def test_undeclared_links_need_lldp_which_finds_them() -> None:
    lines = refusal(edited({"discovery": {"lldp": False, "undeclared_links": True}}))
    assert_refused(lines, "discovery", "undeclared_links needs lldp")
