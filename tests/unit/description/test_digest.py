"""Digests: where two network files differ."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest

from anycast_sdn.core.model import Prefix
from anycast_sdn.description import model, reading
from anycast_sdn.description.digest import difference, digests
from anycast_sdn.description.model import Limits, Network

TOPOLOGIES = Path(__file__).parents[3] / "topologies"
FIGURE1 = reading.load(TOPOLOGIES / "figure1.yaml")


def differs(here: Network, there: Network) -> str:
    return difference(digests(here), digests(there))


@pytest.mark.parametrize("file", sorted(TOPOLOGIES.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_same_file_makes_the_same_digests(file: Path) -> None:
    assert differs(reading.load(file), reading.load(file)) == ""


def test_comments_and_first_enrolments_are_no_difference() -> None:
    text = (TOPOLOGIES / "figure1.yaml").read_text()
    assert differs(reading.parse(f"# other\n{text}", "x"), replace(FIGURE1, groups=())) == ""


def test_what_differs_is_named_by_section_and_name() -> None:
    switches, links = FIGURE1.switches, FIGURE1.links
    other = replace(
        FIGURE1,
        switches=(replace(switches[0], ovsdb="tcp:127.0.0.1:6640"), *switches[1:]),
        links=links[1:],
        anycast_prefixes=(Prefix.parse("198.18.0.0/24"),),
        limits=Limits(first_packets=77),
    )
    found = differs(FIGURE1, other)
    link = f"{links[0].a} - {links[0].b}"
    assert found == f"anycast_prefixes; limits (only there); links: {link} (only here); switches: {switches[0].name}"
    assert f"links: {links[0].a} - {links[0].b} (only there)" in differs(other, FIGURE1)


def test_many_differences_are_counted() -> None:
    many = [replace(FIGURE1.switches[0], name=f"s{number}") for number in range(8)]
    found = differs(FIGURE1, replace(FIGURE1, switches=(*FIGURE1.switches, *many)))
    assert found.startswith("switches: s0 (only there), s1 (only there), ")
    assert found.endswith("s4 (only there) and 3 more")


def test_a_setting_that_only_a_later_release_knows_is_no_difference_at_its_default() -> None:
    here = digests(FIGURE1)
    assert "legacy_core" not in here
    assert "limits" not in digests(replace(FIGURE1, limits=Limits()))


def test_secrets_are_no_part_but_of_the_first_schema() -> None:
    network = reading.load(TOPOLOGIES / "legacy-core.yaml")
    at, uplink = next((at, each) for at, each in enumerate(network.uplinks) if each.bgp)
    assert uplink.bgp

    def signed(password: str) -> Network:
        assert uplink.bgp
        uplinks = [*network.uplinks]
        uplinks[at] = replace(uplink, bgp=replace(uplink.bgp, password=password))
        return replace(network, uplinks=tuple(uplinks))

    assert differs(signed("one"), signed("other")) == differs(signed(""), signed("one")) == ""
    one, other = (digests(signed(each), with_secrets=True) for each in ("one", "other"))
    assert difference(one, other) == f"uplinks: {uplink.name}"
    assert digests(signed("")) == digests(signed(""), with_secrets=True) == digests(signed("one"))


def test_every_field_that_is_not_to_be_shown_is_a_secret() -> None:
    hidden = [
        field
        for kind in vars(model).values()
        if is_dataclass(kind)
        for field in fields(kind)
        if field.init and not field.repr
    ]
    assert [field.name for field in hidden if field.metadata.get("secret")] == [field.name for field in hidden]
    assert [field.name for field in hidden] == ["password"]
