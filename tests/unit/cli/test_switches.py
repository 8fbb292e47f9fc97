"""``switches``: what is printed of a controller's answer."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from anycast_sdn.cli import main
from tests.unit.command_line import answering, complaint
from tests.unit.rest_client import REPORT


def printed(capsys: pytest.CaptureFixture[str], answer: Any, *words: str) -> str:
    with answering(200, json.dumps(answer).encode()) as address:
        assert main.main(["switches", *words, "--rest", address]) == 0
    return capsys.readouterr().out


def test_each_switch_has_a_row_and_what_it_cannot_be_is_said_below(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, row, empty, sentence = printed(capsys, {"switches": [REPORT]}).splitlines()
    assert re.split(r"\s{2,}", row) == ["arh1", "Acme 9, 1.0", "yes", "3", "IPv4 only", "(no)", "yes", "meters"]
    assert not empty
    assert sentence == "arh1 cannot be a client edge for IPv6"  # that of a role that it does not have is left out


def test_of_a_named_switch_all_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, REPORT, "arh1") == """\
arh1 (Acme 9, 1.0), datapath id 0x1, connected from 192.0.2.1:40000

  cannot be a client edge for IPv6
  can be a core
  cannot be a server edge (the network file does not give it this role)

It goes without:
  has no meters

It has 3 tables; used as 0 ingress, 1 client out and client in, 2 service and routes.
It says that it has room for 1,024 rules in table 0, 32 groups.
It needs, besides the rules of flows: 20 in table 0, 10 in table 1.
It holds 6 rules of flows, 30 other rules and 1 group of the controller.
"""


def test_that_it_confirms_nothing_is_said_by_its_roles_and_other_silence_for_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    silent = printed(capsys, REPORT | {"unanswered": ["confirmation", "meters"]}, "arh1")
    assert "It does not answer when asked for its meters: that is taken as not there." in silent
    assert "It does not answer" not in printed(capsys, REPORT | {"unanswered": ["confirmation"]}, "arh1")


def test_what_a_switch_can_be_that_has_never_connected_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = dict.fromkeys(REPORT["description"])
    away = REPORT | {"address": None, "connected": False, "description": nothing, "tables": None, "layout": None,
                     "room": None, "roles": [], "without": []}  # fmt: skip
    out = printed(capsys, away, "arh1")
    assert out.startswith("arh1, datapath id 0x1, not connected\n")
    assert "not known: it has not connected" in out
    assert printed(capsys, {"switches": [away]}).count("not known") == 3


def test_what_a_switch_says_of_itself_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    nasty = REPORT | {"description": REPORT["description"] | {"hardware": "\x1b[2Jx"}}
    assert "\x1b" not in printed(capsys, nasty, "arh1") + printed(capsys, {"switches": [nasty]})


def test_with_json_the_answer_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(printed(capsys, REPORT, "arh1", "--json")) == REPORT
    assert json.loads(printed(capsys, {"switches": [REPORT]}, "--json")) == {"switches": [REPORT]}


def test_which_switch_is_to_be_tried_again_has_to_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["switches", "--probe"]) == 2
    assert capsys.readouterr().err == "anycast-sdn switches: --probe needs the NAME of a switch\n"


def test_a_switch_that_is_not_in_the_network_file_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(404, b'{"detail": "there is no switch \'x\'"}') as address:
        assert complaint(capsys, "switches", "x", "--rest", address) == "there is no switch 'x'"
