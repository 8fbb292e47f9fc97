"""The JSON Schema and the reference of the network file agree with the reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from anycast_sdn.description import reference, text
from tests.unit.network_files import EDGE, GONE, VALID, edited, with_uplink

ROOT = Path(__file__).parents[3]


@pytest.fixture
def errors() -> Any:
    """A network file's text → what an editor with our schema would mark."""
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(reference.json_schema())
    validator = jsonschema.Draft202012Validator(reference.json_schema())
    return lambda content: [error.message for error in validator.iter_errors(text.read(content).values)]


@pytest.mark.parametrize("path", sorted((ROOT / "topologies").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_editor_marks_nothing_in_the_topologies(path: Path, errors: Any) -> None:
    assert errors(path.read_text()) == []


def test_an_editor_marks_nothing_in_a_file_with_uplinks(errors: Any) -> None:
    assert errors(VALID) == []
    assert errors(edited({"groups[0].affinity": "client", "groups[0].validity": {"udp_s": 5}})) == []
    assert errors(edited({f"{EDGE}.engine": ["conntrack", "rules"], f"{EDGE}.conntrack": {"reserve": "1/4"}})) == []
    more = {"uplinks__0__bgp__communities": ["65001:100"], "uplinks__0__bgp__password": "open-sesame"}
    assert errors(with_uplink(**more)) == []


@pytest.mark.parametrize("written", ["26", "0x1a", "000000000000001a", "00:00:00:00:00:00:00:1a"])
def test_an_editor_takes_a_datapath_id_in_all_its_forms(written: str, errors: Any) -> None:
    assert errors(VALID.replace("dpid: 1\n", f"dpid: {written}\n")) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("nmae", "x"),
        ("name", GONE),
        ("switches", []),
        ("switches[1].role", "core"),
        ("switches[1].dpid", GONE),
        ("switches[1].dpid", 0),
        ("switches[1].dpid", "00:00:00:00:00:01"),
        ("switches[1].name", "4core"),
        ("switches[2].server_edge", "yes"),
        ("switches[0].client_edge", ""),
        (f"{EDGE}.quarantine_s", -1),
        (f"{EDGE}.quarantine_min_s", 65536),
        (f"{EDGE}.pooling", "shared"),
        (f"{EDGE}.expiry", "never"),
        (f"{EDGE}.engine", "iptables"),
        (f"{EDGE}.conntrack", {"reserve": "1/3"}),
        (f"{EDGE}.validity", {"udp": 5}),
        (f"{EDGE}.validity", {"udp_s": 0}),
        ("links[0].ends", ["west:10"]),
        ("links[0].ends[0]", "west"),
        ("links[0].cost", 0),
        ("links[0].mtu", 65521),
        ("subnets[0].side", "left"),
        ("subnets[0].gateways", ["10.1.0.1"]),
        ("hosts[0].addresses[0]", 167837706),
        ("groups[0].name", "Web"),
        ("groups[0].affinity", "Client"),
        ("groups[0].on_server_loss", True),
        ("groups[0].validity", {"udp": 5}),
        ("groups[0].validity", {"udp_s": 65536}),
        ("limits", {"arp": 5}),
    ],
)
def test_an_editor_marks_what_has_the_wrong_form(path: str, value: Any, errors: Any) -> None:
    assert errors(edited({path: value}))


def keys(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    sections = {"": schema, **schema["$defs"]}
    return [(f"{at}.{name}", key) for at, section in sections.items() for name, key in section["properties"].items()]


def test_every_key_is_explained() -> None:
    assert not [name for name, key in keys(reference.json_schema()) if not key.get("description")]


def test_no_key_may_be_null() -> None:
    """The format has no null: a key without a value is a mistake."""
    assert not [name for name, key in keys(reference.json_schema()) if "null" in str(key)]


def test_units_ranges_and_defaults_stand_in_the_reference() -> None:
    shown = reference.as_markdown()
    assert "| `udp_s` | whole number 1–65535, seconds | `300` | UDP (RFC 4787 REQ-5) |" in shown
    assert "| `edge` | text | required | the name of its switch |" in shown
    assert "| `expiry` | `idle_timeout` or `sweep` or `auto` | `auto` |" in shown
    assert "| `affinity` | `flow` or `client` | `flow` |" in shown
    assert "| `validity` | [`groups[].validity`](#groupsvalidity) |" in shown
