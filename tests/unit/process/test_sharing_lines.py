"""What members say to each other of shared switches is read as it was said, or not at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.control.share import Told
from anycast_sdn.core.model import Neighbour, Prefix, packed
from anycast_sdn.openflow.decoding import PacketInMessage
from anycast_sdn.openflow.features import Features, Tried
from anycast_sdn.process import sharing_lines as lines
from anycast_sdn.process.sharing_lines import BadLine, Heard, Held, Hosts, Writes

READERS = (lines.read_holds, lines.read_heard, lines.read_told, lines.read_hosts, lines.read_writes)
TOLD = Told(
    frozenset((Prefix.parse("198.18.0.0/24"), Prefix.parse("2001:db8:a::/64"))),
    frozenset((packed("10.2.0.10"),)),
    frozenset((("web", packed("2001:db8:2::10")),)),
    {"arh1": frozenset((Prefix.parse("10.2.0.0/24"),))},
    {("web", True): {"arh1": 3, "arh2": 0}},
)
HOSTS = {packed("10.1.0.10"): Neighbour(b"\x06\0\0\0\0\x01", 3), packed("2001:db8:1::10"): None}
EVENTS: tuple[tuple[Any, ...], ...] = (
    ("packet_in", PacketInMessage(1 << 63, 3, b"\0\xff")),
    ("ttl_expired", PacketInMessage(0, 3, b"")),
    ("rule_removed", 5, True, False),
    ("rule_refused", 5, True, "table full"),
    ("group_refused", 7),
    ("port_changed", 4, False),
    ("confirmed", 9),
    ("rules_modified", [1, 1 << 63]),
)


def test_what_is_said_is_read() -> None:
    held = {1: Held(5, 2, Tried(("a",), Features(meters=False))), 1 << 63: Held(1, 0, None, owes=True)}
    assert lines.read_holds(lines.holds(held)) == held
    assert lines.read_told(lines.told(3, 1, 8, TOLD)).after(Told()) == TOLD
    assert lines.read_hosts(lines.hosts(3, 1, HOSTS)) == Hosts(3, 1, HOSTS)
    assert lines.read_writes(lines.writes(3, 1, 9, b"\0\x01")) == Writes(3, 1, 9, b"\0\x01")
    for event, *arguments in EVENTS:
        assert lines.read_heard(lines.heard(1, 2, event, *arguments)) == Heard(1, 2, event, tuple(arguments))
    noticed = lines.heard(1, 2, "noticed", [(3, 40)], True)
    assert lines.read_heard(noticed) == Heard(1, 2, "noticed", ({3: 40}, True))


def test_what_differs_is_told_alone() -> None:
    more = Prefix.parse("198.18.7.0/24")
    now = TOLD._replace(announced=(TOLD.announced | {more}) - {Prefix.parse("198.18.0.0/24")}, lost=frozenset())
    line = lines.told(3, 2, 8, now, TOLD)
    assert "choices" not in line
    assert lines.read_told(line).after(TOLD) == now
    same = lines.read_told(lines.told(3, 3, 9, now, now)).after(now)
    assert same == now
    assert same.announced is now.announced
    assert lines.read_told(lines.told(3, 4, 9, Told(), now)).after(now) == Told()
    assert lines.read_told(lines.told(3, 4, 9, TOLD)).after(now) == TOLD


def test_of_choices_those_that_are_others_are_told() -> None:
    before = TOLD._replace(choices={("web", True): {"arh1": 3}, ("dns", True): {"arh1": 4}, ("old", True): {"arh1": 5}})
    now = before._replace(choices={("web", True): {"arh1": 3}, ("dns", True): {"arh1": 9}, ("new", True): {"arh1": 6}})
    line = lines.told(3, 2, 8, now, before)
    assert "web" not in line
    assert lines.read_told(line).after(before) == now
    assert "choices" not in lines.told(3, 2, 8, before, before._replace(choices=dict(before.choices)))


@pytest.mark.parametrize(
    "line",
    [
        '["1", 2, "disconnected", 1]',
        '["1", 2, "__init__"]',
        '["1", 2, "port_changed", 4]',
        '["1", 2, "port_changed", 4, true, 1]',
        '["1", 2, "port_changed", "4", true]',
        '["1", 2, "port_changed", 4, 1]',
        '["1", 2, "port_changed", 4294967296, true]',
        '["1", true, "port_changed", 4, true]',
        '["1", -2, "port_changed", 4, true]',
        '["1", 1e9, "port_changed", 4, true]',
        '["-1", 2, "port_changed", 4, true]',
        '["1", 2, ["port_changed"], 4, true]',
        '["1", 2, "packet_in", 4, 1, "0"]',
        '["1", 2, "noticed", 4, true]',
        "NaN",
        "[" * 100_000,
        "9" * 5000,
    ],
)
def test_an_event_that_no_switch_can_have_sent_is_none(line: str) -> None:
    with pytest.raises(BadLine):
        lines.read_heard(line)


@given(st.sampled_from(READERS), st.text() | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
).map(json.dumps))  # fmt: skip
def test_whatever_comes_is_read_or_refused(read: Any, text: str) -> None:
    try:
        read(text)
    except BadLine:
        return


@given(st.sampled_from((
    (lines.read_holds, lines.holds({1: Held(5, 2, None)})),
    (lines.read_told, lines.told(3, 1, 8, TOLD)),
    (lines.read_hosts, lines.hosts(3, 1, HOSTS)),
    (lines.read_writes, lines.writes(3, 1, 9, b"abc")),
    *((lines.read_heard, lines.heard(1, 2, event, *arguments)) for event, *arguments in EVENTS),
)), st.data())  # fmt: skip
def test_a_line_that_was_changed_on_its_way_is_read_or_refused(said: Any, data: st.DataObject) -> None:
    read, line = said
    at = data.draw(st.integers(0, len(line) - 1))
    to = data.draw(st.integers(at, len(line)))
    try:
        read(line[:at] + data.draw(st.text(max_size=3)) + line[to:])
    except BadLine:
        return
