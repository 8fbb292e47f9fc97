"""Event streams: each event comes once, what was missed is said, and no listener holds up another one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any

import pytest

from anycast_sdn.api import streams
from anycast_sdn.api.streams import LOOKED_AT, EventStream
from anycast_sdn.core.model import packed
from anycast_sdn.core.network_events import PoolExhausted
from anycast_sdn.core.server_events import ServerEnrolled
from anycast_sdn.views.flow_sample import KEPT as FLOWS_KEPT
from anycast_sdn.views.flow_sample import PER_S, FlowSample
from anycast_sdn.views.journal import KEPT, Entry, Journal
from tests.unit.rest_client import Client
from tests.unit.views.test_flow_sample import changes

ENROLLED = ServerEnrolled("ars2", "web", packed("10.2.0.10"))
EXHAUSTED = PoolExhausted("arh1", "ipv4", 254, 254, 0)
STREAM = {"HTTP_ACCEPT": "text/event-stream"}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PAUSE_S", 0.01)


def everything(_: Entry) -> bool:
    return True


def messages(chunks: Iterator[bytes]) -> Iterator[dict[str, str]]:
    """The fields of each message and of each comment (under ""); events are complete in a chunk."""
    for chunk in chunks:
        for block in chunk.decode().removesuffix("\n\n").split("\n\n"):
            fields = [line.partition(":") for line in block.split("\n")]
            yield {name: value.removeprefix(" ") for name, _, value in fields}


def take(stream: EventStream, number: int) -> list[dict[str, str]]:
    with closing(iter(stream)) as chunks:
        return list(islice(messages(chunks), number))


def journal_of(events: int) -> Journal:
    journal = Journal(lambda: 1_790_000_000.0)
    for _ in range(events):
        journal(ENROLLED)
    return journal


def test_a_stream_begins_with_its_position_and_goes_on_with_each_event() -> None:
    journal = journal_of(3)
    stream = EventStream(journal, everything, None)
    with closing(iter(stream)) as chunks:
        received = messages(chunks)
        assert next(received) == {"retry": "1000", "id": "3"}
        journal(ENROLLED)
        journal(EXHAUSTED)
        first, second = next(received), next(received)
    assert (first["id"], second["id"]) == ("4", "5")
    assert json.loads(second["data"])["type"] == "pool.exhausted"


def test_who_comes_again_gets_what_came_meanwhile_and_nothing_twice() -> None:
    journal = journal_of(2 * LOOKED_AT + 7)
    stream = EventStream(journal, everything, 5)
    stream.end()
    assert [message["id"] for message in take(stream, 10**6)] == [str(id) for id in range(5, 2 * LOOKED_AT + 8)]


def test_events_that_are_not_kept_any_more_are_said_to_be_missed() -> None:
    journal = journal_of(KEPT + 10)
    _, missed, first = take(EventStream(journal, everything, 3), 3)
    assert (missed["event"], missed["id"]) == ("missed", "10")
    assert json.loads(missed["data"]) == {"after": 3, "before": 11, "events": 7}
    assert first["id"] == "11"


def test_a_number_of_another_journal_is_no_reason_to_keep_silent() -> None:
    _, missed, first = take(EventStream(journal_of(2), everything, 4711), 3)
    assert json.loads(missed["data"]) == {"after": 4711, "before": 1, "events": None}
    assert first["id"] == "1"
    _, missed = take(EventStream(journal_of(0), everything, 4711), 2)
    assert json.loads(missed["data"]) == {"after": 4711, "before": 1, "events": None}


def test_who_knows_more_than_a_crashed_controller_has_kept_is_told_so() -> None:
    journal = Journal(before=journal_of(3).after(0))  # of 4 and 5 nothing is kept
    for _ in range(9):
        journal(ENROLLED)
    _, missed, first = take(EventStream(journal, everything, 5), 3)
    assert json.loads(missed["data"]) == {"after": 5, "before": KEPT + 1, "events": None}
    assert first["id"] == str(KEPT + 1)
    assert [message["id"] for message in take(EventStream(journal, everything, 3), 2)] == ["3", str(KEPT + 1)]


def test_whose_events_are_missing_is_said_at_the_beginning_and_when_that_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "KEEPALIVE_S", 0.02)
    silent = ["m1"]
    stream = EventStream(journal_of(3), everything, None, incomplete=lambda: [*silent])
    with closing(iter(stream)) as chunks:
        received = messages(chunks)
        assert next(received)["id"] == "3"
        said = next(received)
        assert (said["event"], json.loads(said["data"])) == ("incomplete", {"members": ["m1"]})
        assert next(received) == {"id": "3"}
        silent.clear()
        said = next(each for each in received if "data" in each)
        assert (said["event"], json.loads(said["data"])) == ("incomplete", {"members": []})


def test_silence_is_broken_by_the_position(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "KEEPALIVE_S", 0.02)
    assert take(EventStream(journal_of(3), lambda entry: False, 0), 3)[1:] == [{"id": "3"}] * 2


def test_only_selected_events_are_sent() -> None:
    journal = journal_of(2)
    journal(EXHAUSTED)
    stream = EventStream(journal, lambda entry: entry.type == "pool.exhausted", 0)
    assert [message["id"] for message in take(stream, 2)] == ["0", "3"]


def test_a_stream_that_is_ended_by_another_thread_sends_what_has_happened() -> None:
    journal = journal_of(0)
    stream = EventStream(journal, everything, None)
    received: list[dict[str, str]] = []
    reader = threading.Thread(target=lambda: received.extend(take(stream, 10**6)), daemon=True)
    reader.start()
    journal(ENROLLED)
    stream.end()
    reader.join(10)
    assert not reader.is_alive()
    assert [message["id"] for message in received][-1] == "1"
    assert not journal._listeners


def test_whoever_listens_for_long_without_reading_costs_nothing_but_a_position() -> None:
    journal = journal_of(0)
    stream = EventStream(journal, everything, None)
    chunks = iter(stream)
    next(chunks)
    for _ in range(3 * KEPT):
        journal(ENROLLED)
    received = messages(chunks)
    assert json.loads(next(received)["data"]) == {"after": 0, "before": 2 * KEPT + 1, "events": 2 * KEPT}
    assert [int(message["id"]) for message in islice(received, KEPT)] == list(range(2 * KEPT + 1, 3 * KEPT + 1))


# ------------------------------------------------------------------------------ flows


def test_events_of_flows_come_without_numbers_and_those_left_out_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LEFT_OUT_S", 0.05)
    journal, sample = journal_of(3), FlowSample(lambda on: None)
    stream = EventStream(journal, lambda entry: entry.type == "flow.opened", None, sample)
    with closing(iter(stream)) as chunks:
        received = messages(chunks)
        next(received)
        sample.take("arh1", changes(PER_S), 10.0, 0.0)
        sample.take("arh1", changes(50), 10.0, 0.0)
        come = list(islice(received, PER_S))
        assert {json.loads(message["data"])["type"] for message in come} == {"flow.opened"}
        assert not any("id" in message for message in come)
        assert next(received) == {"event": "left_out", "data": '{"events": 50}'}
        sample.leave_out(7)
        journal(ENROLLED)
        while (message := next(received)) == {"id": "4"}:
            pass
        assert message == {"event": "left_out", "data": '{"events": 7}'}
    assert not sample._listeners


def test_a_listener_that_is_slower_than_flows_is_told_how_many_it_has_not_got() -> None:
    sample = FlowSample(lambda on: None)
    chunks = iter(EventStream(journal_of(0), everything, None, sample))
    next(chunks)
    for second in range(3 * FLOWS_KEPT // PER_S):
        sample.take("arh1", changes(PER_S), 10.0 + second, 0.0)
    received = list(islice(messages(chunks), FLOWS_KEPT + 1))
    assert received[-1] == {"event": "left_out", "data": f'{{"events": {2 * FLOWS_KEPT}}}'}


# ------------------------------------------------------------------------------ over REST


def test_flows_are_streamed_only_to_those_who_ask_for_them() -> None:
    client = Client(":memory:")
    for query, asks in (("", False), ("?type=link", False), ("?type=flow", True), ("?type=a&type=flow.closed", True)):
        with closing(iter(client.ask("GET", f"/v1/events{query}", **STREAM).app_iter)) as chunks:
            next(chunks)
            assert bool(client.facts.flow_sample._listeners) is asks, query


@pytest.mark.parametrize(
    ("accept", "type"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("text/event-stream", "text/event-stream"),
        ("text/event-stream, */*;q=0.1", "text/event-stream"),
        ("application/json, text/event-stream;q=0.5", "application/json"),
        ("text/html", "application/json"),
        ("\x7f;;", "application/json"),
    ],
)
def test_events_are_json_or_a_stream_as_the_client_prefers(accept: str | None, type: str) -> None:
    environ: dict[str, Any] = {} if accept is None else {"HTTP_ACCEPT": accept}
    response = Client(":memory:").ask("GET", "/v1/events", **environ)
    assert (response.status_code, response.content_type) == (200, type)


def test_the_last_number_is_that_of_the_header_or_of_the_query() -> None:
    client = Client(":memory:")
    for _ in range(9):
        client.facts.journal(ENROLLED)
    for query, environ, position in (
        ("", {}, "9"),
        ("?since=4", {}, "4"),
        ("?since=4", {"HTTP_LAST_EVENT_ID": "7"}, "7"),
    ):
        stream = client.ask("GET", f"/v1/events{query}", **STREAM, **environ).app_iter
        assert take(stream, 1) == [{"retry": "1000", "id": position}]
    assert "Last-Event-ID" in client.refused(400, "GET", "/v1/events", **STREAM, HTTP_LAST_EVENT_ID="x")["detail"]


def test_a_stream_has_the_filters_of_the_list() -> None:
    client = Client(":memory:")
    client.facts.journal(ENROLLED)
    client.facts.journal(EXHAUSTED)
    for query, ids in (("type=pool", ["2"]), ("group=web", ["1"]), ("edge=arh1", ["2"]), ("group=dns", [])):
        stream = client.ask("GET", f"/v1/events?since=0&{query}", **STREAM).app_iter
        stream.end()
        assert [message["id"] for message in take(stream, 10)][1:] == ids
        assert [str(event["id"]) for event in client.get(f"/v1/events?{query}")["events"]] == ids


def test_the_newest_are_those_that_happened_last_also_where_others_have_come_since() -> None:
    """An event of another member may come long after it has happened."""
    client = Client(":memory:")
    client.facts.silent = ["m2"]
    journal, other = client.facts.journal, Journal(lambda: 1_600_000_000.0, member="m1")
    other(ENROLLED)
    for _ in range(2):
        journal(ENROLLED)
    [told] = other.own(1)
    journal.put(told)
    answer = client.get("/v1/events?order=newest")
    assert [event["id"] for event in answer["events"]] == [2, 1, 3]
    assert [event.get("member") for event in answer["events"]] == [None, None, "m1"]
    assert answer["incomplete"] == ["m2"]
    assert [event["id"] for event in client.get("/v1/events?since=1")["events"]] == [2, 3]
