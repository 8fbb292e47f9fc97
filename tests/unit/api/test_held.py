"""GET /v1/bindings/history: who had a translation address."""

from __future__ import annotations

import pytest

from anycast_sdn.core.model import packed
from tests.unit.rest_client import Client


@pytest.fixture
def client() -> Client:
    return Client(":memory:")


PATH = "/v1/bindings/history?translated=203.0.113.7"


def test_the_binding_log_is_asked(client: Client) -> None:
    assert client.get(f"{PATH}&at=5m&port=40000")["retention_days"] == 90
    assert client.facts.asked == (packed("203.0.113.7"), "5m", 40000)


@pytest.mark.parametrize(("query", "field"), [
    ("translated=203.0.113.7", "at"), ("at=now", "translated"), ("translated=x&at=now", "translated"),
    ("translated=203.0.113.7&at=yesterday", "at"), ("translated=203.0.113.7&at=now&port=0", "port"),
])  # fmt: skip
def test_a_wrong_question_is_refused(client: Client, query: str, field: str) -> None:
    answer = client.ask("GET", f"/v1/bindings/history?{query}")
    assert (answer.status_code, answer.json["field"]) == (400, field)


def test_without_a_log_there_is_nothing_to_find(client: Client) -> None:
    client.facts.no_log = True
    assert client.ask("GET", f"{PATH}&at=now").status_code == 404


def test_a_log_that_cannot_be_searched_is_unavailable(client: Client) -> None:
    client.facts.log_problem = "its writer has ended"
    answer = client.ask("GET", f"{PATH}&at=now")
    assert answer.status_code == 503
    assert answer.json["detail"] == "the binding log cannot be searched: its writer has ended"
