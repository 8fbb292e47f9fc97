"""``cluster``: what is printed of what a controller answers, and what it is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from anycast_sdn.cli import main
from anycast_sdn.cluster.overview import SchemaState
from anycast_sdn.cluster.standing import Claimed, Says, Standing
from anycast_sdn.views.cluster import ALONE, cluster_view
from tests.unit.command_line import serving
from tests.unit.views.test_cluster import NAMES, STATE


class Controller:
    """Answers ``shown``, and notes what it was asked."""

    def __init__(self, shown: Any) -> None:
        self._shown = shown
        self.asked: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.asked.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        if environ["REQUEST_METHOD"] == "POST":
            start_response("204 No Content", [])
            return []
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(self._shown).encode()]


def printed(capsys: pytest.CaptureFixture[str], shown: Any, *words: str) -> tuple[int, str, list[str]]:
    controller = Controller(shown)
    with serving(controller) as place:
        status = main.main(["cluster", *words, "--rest", place])
    out, err = capsys.readouterr()
    return status, out + err, controller.asked


def test_the_cluster_is_shown_on_one_screen(capsys: pytest.CaptureFixture[str]) -> None:
    status, text, asked = printed(capsys, cluster_view(replace(STATE, missing=["m2"]), NAMES))
    assert (status, asked) == (0, ["GET /v1/cluster"])
    assert text.startswith("m1 leads (term 6), as m0 at http://127.0.0.1:")
    assert "missing, or not reached: m2" in text
    assert "1 of 2 endpoints healthy" in text
    assert "http://b:2379: Connection refused" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["arh1", "m1", "9", "m1"] in rows
    assert ["ars2", "none", "none"] in rows
    assert "not obeying" not in text


def test_a_switch_that_obeys_another_member_than_etcd_names_stands_out(capsys: pytest.CaptureFixture[str]) -> None:
    standings = {"m0-1": Standing({1: Claimed(Says.GRANTED, 7, 5)}), "m1-2": Standing({1: Claimed(Says.CLAIMED, 9, 6)})}
    _, text, _ = printed(capsys, cluster_view(replace(STATE, standings=standings), NAMES))
    assert "not obeying the member that etcd names: arh1" in text
    rows = [" ".join(line.split()) for line in text.splitlines()]
    at = rows.index("arh1 m1 9 m0 m0: granted (by 7, term 5),")
    assert rows[at + 1] == "m1: claimed (by 9, term 6)"


def test_it_says_that_switches_are_shared_and_which_an_operator_has_moved(capsys: pytest.CaptureFixture[str]) -> None:
    seen = STATE.seen._replace(shared=True, moved={1: "m0"})
    _, text, _ = printed(capsys, cluster_view(replace(STATE, seen=seen), NAMES))
    assert "switches are shared: each is served by its master" in text
    assert ["arh1", "m1", "9", "m0", "m1"] in [line.split() for line in text.splitlines()]


def test_a_controller_of_an_earlier_release_names_masters_alone(capsys: pytest.CaptureFixture[str]) -> None:
    shown = cluster_view(STATE, NAMES)
    shown["switches"] = [{"switch": "arh1", "master": "m1", "generation": 9}]
    _, text, _ = printed(capsys, shown)
    assert ["arh1", "m1", "9", "m1"] in [line.split() for line in text.splitlines()]


def test_it_says_which_members_have_to_be_upgraded_until_the_schema_is_raised(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, text, _ = printed(capsys, cluster_view(replace(STATE, schema=SchemaState(1, 2, ["m1"])), NAMES))
    assert "schema 1: m1 has a release that knows no later one; it is raised to 2 when none has" in text


def test_a_controller_that_is_alone_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    status, text, _ = printed(capsys, dict(ALONE))
    assert status == 0
    assert "is alone: it was started without --etcd" in text


@pytest.mark.parametrize("verb", ["drain", "resume", "lead", "forget"])
def test_members_are_steered(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    status, text, asked = printed(capsys, None, verb, "m1")
    assert (status, asked) == (0, [f"POST /v1/cluster/members/m1/{verb}"])
    assert text.startswith("m1 ")


def test_a_switch_is_moved_to_a_member(capsys: pytest.CaptureFixture[str]) -> None:
    status, text, asked = printed(capsys, None, "move", "arh1", "m1")
    assert (status, asked) == (0, ["POST /v1/cluster/members/m1/switches/arh1"])
    assert text.strip() == "m1 is the master of arh1"
