"""FlowSample: all events of flows while there are few, and an even part of them while there are many."""

from __future__ import annotations

import json

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.flow_events import Change, FlowChange
from anycast_sdn.core.model import FlowKey
from anycast_sdn.views.flow_sample import KEPT, PER_S, FlowSample

KEY = FlowKey(b"\n\1\0\n", b"\xc6\x12\0\1", 17, 40000, 53)


def changes(count: int, first: int = 1) -> list[FlowChange]:
    return [
        FlowChange(Change.OPENED, Binding(number, KEY, b"\xcb\0\x71\1", "web", 0.0), 9.5)
        for number in range(first, first + count)
    ]


def listened_to() -> FlowSample:
    sample = FlowSample(lambda on: None)
    sample.listen(lambda entry: None)
    return sample


def test_flows_are_watched_while_somebody_listens() -> None:
    watched: list[bool] = []
    sample = FlowSample(watched.append)
    ends = [sample.listen(lambda entry: None) for _ in range(2)]
    for end in ends:
        assert watched == [True]
        end()
    assert watched == [True, False]


def test_an_event_has_its_time_and_no_number_of_the_journal() -> None:
    sample = listened_to()
    sample.take("arh1", changes(1), now=10.0, wall=1_790_000_000.5)
    [entry] = sample.after(0)
    shown = json.loads(entry.json)
    assert (entry.type, entry.at_switch, entry.of_groups) == ("flow.opened", "arh1", ("web",))
    assert (shown["type"], shown["at"]) == ("flow.opened", "2026-09-21T14:13:20.000Z")
    assert shown["subject"] == {"kind": "flow", "name": "arh1/1"}
    assert "id" not in shown


def test_beyond_a_rate_an_even_part_is_taken_and_the_others_are_counted() -> None:
    sample = listened_to()
    sample.take("arh1", changes(30), 10.0, 0.0)
    assert (sample.last_id, sample.left_out) == (30, 0)
    sample.take("arh1", changes(10_000), 11.0, 0.0)
    assert (sample.last_id, sample.left_out) == (30 + PER_S, 10_000 - PER_S)
    numbers = [int(json.loads(entry.json)["subject"]["name"].split("/")[1]) for entry in sample.after(30)]
    assert numbers == list(range(1, 10_000, 10_000 // PER_S))
    sample.take("arh1", changes(50), 11.0, 0.0)
    assert (sample.last_id, sample.left_out) == (30 + PER_S, 10_050 - PER_S)


def test_the_oldest_are_forgotten() -> None:
    sample = listened_to()
    for second in range(KEPT // PER_S + 1):
        sample.take("arh1", changes(PER_S), 10.0 + second, 0.0)
    assert [entry.id for entry in sample.after(0)] == list(range(PER_S + 1, PER_S + KEPT + 1))
