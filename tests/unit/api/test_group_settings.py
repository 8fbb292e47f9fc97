"""A group's settings over REST: set, shown, sent back, changed one by one, and refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anycast_sdn.core.model import Affinity, GroupValidity, OnServerLoss
from anycast_sdn.store.memory import MemoryStore
from tests.unit.rest_client import Client

PREFIXES = ["198.18.0.1/32", "2001:db8:ffff::1/128"]
DEFAULTS = {
    **{"affinity": "flow", "on_server_loss": "repin", "validity": {}, "checks": [], "min_healthy": 0},
    **{"slow_start_s": 30.0, "selection": {"distance": "nearest", "spill_at": 0.8}},
}
EVERY_SECOND = {"interval_s": 1.0, "timeout_s": 0.5, "rise": 3, "fall": 1}
OTHERS = {
    **{"affinity": "client", "on_server_loss": "keep", "validity": {"udp_s": 10, "unanswered_s": 2}},
    "checks": [
        {"type": "icmp", **EVERY_SECOND},
        {"type": "tcp", "port": 80, **EVERY_SECOND},
        {"type": "udp", "port": 53, "payload": "", "dns": "example.net", **EVERY_SECOND},
        {"type": "udp", "port": 7, "payload": "PING", "answer": "0x00ff", "dns": "", **EVERY_SECOND},
        {"type": "http", "port": 8080, "path": "/up", "expect_status": [200, 204], **EVERY_SECOND},
        {"type": "passive", "max_unanswered": 0.25, "max_first_reply_s": 2.0, **EVERY_SECOND},
    ],
    **{"min_healthy": 2, "slow_start_s": 0.0, "selection": {"distance": "any", "spill_at": 0.5}},
}
WEB = "/v1/groups/web"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    client = Client(str(tmp_path / "db"))
    client.ask("POST", "/v1/groups", {"name": "web", "prefixes": PREFIXES})
    client.ask("POST", f"{WEB}/servers", {"address": "10.2.0.10"})
    yield client
    client.store.close()


def settings(client: Client, group: str = "web") -> dict[str, Any]:
    shown = client.get(f"/v1/groups/{group}")
    return {name: shown[name] for name in DEFAULTS}


def test_a_new_group_has_the_settings_that_it_was_given_and_else_the_defaults(client: Client) -> None:
    given = client.ask("POST", "/v1/groups", {"name": "dns", "prefixes": ["198.18.0.53/32"], **OTHERS})
    assert given.status_code == 201
    assert {name: given.json[name] for name in OTHERS} == settings(client, "dns") == OTHERS
    assert settings(client) == DEFAULTS


def test_settings_that_are_set_reach_the_controller_and_the_disk(client: Client) -> None:
    assert client.ask("PUT", WEB, {"prefixes": PREFIXES, **OTHERS}).status_code == 200
    group = client.sent[-1].get("web")
    assert group is not None
    assert (group.affinity, group.on_server_loss) == (Affinity.CLIENT, OnServerLoss.KEEP)
    assert group.validity == GroupValidity(udp_s=10, unanswered_s=2)
    assert client.store.open().groups["web"] == group
    assert len(group.servers) == 1


@pytest.mark.parametrize("wanted", [DEFAULTS, OTHERS], ids=["defaults", "others"])
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_what_get_shows_can_be_sent_back_and_changes_nothing(client: Client, method: str, wanted: Any) -> None:
    client.ask("PUT", WEB, {"prefixes": PREFIXES, **wanted})
    shown, sent = client.get(WEB), len(client.sent)
    assert client.ask(method, WEB, shown).json == shown
    assert len(client.sent) == sent


def test_put_of_a_part_gives_the_others_their_defaults(client: Client) -> None:
    client.ask("PUT", WEB, {"prefixes": PREFIXES, **OTHERS})
    client.ask("PUT", WEB, {"prefixes": PREFIXES, "affinity": "client", "validity": {"tcp_s": 60}})
    assert settings(client) == DEFAULTS | {"affinity": "client", "validity": {"tcp_s": 60}}


@pytest.mark.parametrize("name", OTHERS)
def test_patch_changes_what_it_names_and_nothing_else(client: Client, name: str) -> None:
    before = client.get(WEB)
    assert client.ask("PATCH", WEB, {name: OTHERS[name]}).json == before | {name: OTHERS[name]}
    assert client.ask("PATCH", WEB, {}).json == before | {name: OTHERS[name]}
    assert client.ask("PATCH", WEB, {name: DEFAULTS[name]}).json == before


def test_patch_changes_prefixes_and_keeps_settings_and_servers(client: Client) -> None:
    before = client.ask("PUT", WEB, {"prefixes": PREFIXES, **OTHERS}).json
    assert client.ask("PATCH", WEB, {"prefixes": PREFIXES[:1]}).json == before | {"prefixes": PREFIXES[:1]}
    assert client.refused(422, "PATCH", WEB, {"prefixes": ["192.0.2.1/32"]})["field"] == "prefixes[0]"
    assert client.refused(422, "PATCH", WEB, {"prefixes": PREFIXES[1:]})["type"].endswith("wrong-family")


@pytest.mark.parametrize(
    ("field", "value", "detail"),
    [
        ("affinity", "sticky", '"sticky" is not flow or client'),
        ("affinity", "CLIENT", '"CLIENT" is not flow or client'),
        ("affinity", None, 'null is not flow or client'),
        ("affinity", ["flow"], '["flow"] is not flow or client'),
        ("affinity", {"flow": 1}, 'is not flow or client'),
        ("affinity", True, 'true is not flow or client'),
        ("on_server_loss", "Keep", '"Keep" is not repin or keep'),
        ("on_server_loss", 0, '0 is not repin or keep'),
        ("validity", None, "null is not an object"),
        ("validity", 10, "10 is not an object"),
        ("validity", [], "[] is not an object"),
        ("validity.udp_s", {"udp_s": None}, "must be a valid whole number, not null"),
        ("validity.udp_s", {"tcp_s": 5, "udp_s": "10"}, 'must be a valid whole number, not "10"'),
        ("validity.udp_s", {"udp_s": 1.5}, "must be a valid whole number, not 1.5"),
        ("validity.udp_s", {"udp_s": True}, "must be a valid whole number, not true"),
        ("validity.udp_s", {"udp_s": 0}, "must be greater than or equal to 1, not 0"),
        ("validity.tcp_closed_s", {"tcp_closed_s": -1}, "must be greater than or equal to 1, not -1"),
        ("validity.other_s", {"other_s": 65536}, "must be less than or equal to 65535, not 65536"),
        ("validity.udp", {"udp": 10}, 'there is "tcp_s", "tcp_closing_s", "tcp_closed_s", "udp_s"'),
        ("validity.UDP_S", {"UDP_S": 10}, '"udp_s"'),
        ("Affinity", "client", '"affinity"'),
        ("pooling", "auto", "is not known here"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_and_says_what_can(
    client: Client, field: str, value: Any, detail: str
) -> None:
    member = field.partition(".")[0]
    for method, path, body in (
        ("PUT", WEB, {"prefixes": PREFIXES, member: value}),
        ("PATCH", WEB, {member: value}),
        ("POST", "/v1/groups", {"name": "dns", "prefixes": ["198.18.0.53/32"], member: value}),
    ):
        problem = client.refused(422, method, path, body)
        assert problem["field"] == field
        assert detail in problem["detail"]
    assert settings(client) == DEFAULTS


def test_a_whole_number_may_be_written_in_any_way(client: Client) -> None:
    body = b'{"validity": {"udp_s": 1e1, "tcp_s": 600.0}}'
    assert client.ask("PATCH", WEB, body).json["validity"] == {"tcp_s": 600, "udp_s": 10}


def test_patch_of_a_group_keeps_what_another_controller_has_changed_meanwhile() -> None:
    here = Client(":memory:")
    here.ask("PUT", WEB, {"prefixes": PREFIXES})
    assert isinstance(here.store, MemoryStore)
    here.store.watch(lambda stored: None)  # deaf: it learns of others' changes only when it makes one itself
    there = Client(":memory:", shared=here.store)
    there.ask("PATCH", WEB, {"affinity": "client", "prefixes": PREFIXES[:1]})
    there.ask("POST", f"{WEB}/servers", {"address": "10.2.0.10"})
    changed = here.ask("PATCH", WEB, {"on_server_loss": "keep"}).json
    assert changed == there.get(WEB)
    assert (changed["affinity"], changed["prefixes"], changed["on_server_loss"]) == ("client", PREFIXES[:1], "keep")
    assert len(changed["servers"]) == 1


def test_patch_of_a_group_that_another_controller_has_removed_is_answered_with_404() -> None:
    here = Client(":memory:")
    here.ask("PUT", WEB, {"prefixes": PREFIXES})
    assert isinstance(here.store, MemoryStore)
    here.store.watch(lambda stored: None)
    Client(":memory:", shared=here.store).ask("DELETE", WEB)
    assert here.ask("PATCH", WEB, {"on_server_loss": "keep"}).status_code == 404
