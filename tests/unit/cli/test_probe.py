"""``probe``: what is printed of a report, and what its exit status says."""

from __future__ import annotations

import argparse
import io
import sys
from typing import Any

import pytest

from anycast_sdn.cli.options import datapath_id
from anycast_sdn.cli.probe import LACKS, _tell, status, written
from tests.unit.rest_client import REPORT

HELD = {"rules": 5, "groups": 1, "meters": 0, "unread": [], "different": []}


def report(**held: Any) -> Any:
    return REPORT | {"rules": None, "held": HELD | held}


def last_line(report: Any) -> str:
    return written(report).splitlines()[-1]


def test_that_the_switch_is_as_it_was_is_said() -> None:
    assert last_line(report()) == "What it held is as before: 5 rules, 1 group and 0 meters."


def test_what_has_changed_meanwhile_is_said() -> None:
    changed = last_line(report(different=["1 rule missing", "1 group changed"]))
    assert changed == "While it was examined, what it holds has changed: 1 rule missing, 1 group changed."


def test_what_it_does_not_list_is_said_also_where_something_else_has_changed() -> None:
    both = written(report(different=["1 group changed"], unread=["rules"], rules=None)).splitlines()[-2:]
    assert ["has changed: 1 group changed" in both[0], "its rules are as before is not known" in both[1]] == [True] * 2


def test_what_the_switch_does_not_list_is_not_claimed_to_be_as_before() -> None:
    assert last_line(report(unread=["rules"])) == "Whether its rules are as before is not known: it does not list them."


def test_the_exit_status_says_whether_a_role_lacks_anything() -> None:
    able = [role | {"families": ["ipv4", "ipv6"]} for role in REPORT["roles"]]
    assert status(report()) == LACKS == 3
    assert status(report() | {"roles": able}) == 0


def test_the_exit_status_does_not_say_that_a_switch_can_be_what_was_not_found_out() -> None:
    doubted = [role | {"families": ["ipv4", "ipv6"], "doubt": "it does not confirm what it is sent"}
               for role in REPORT["roles"]]  # fmt: skip
    assert status(report() | {"roles": doubted}) == LACKS


def test_what_a_switch_shows_of_itself_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    _tell("the certificate of \x1b[2Jarh1\nswitch 2 has connected")
    assert capsys.readouterr().err == "the certificate of \ufffd[2Jarh1\ufffdswitch 2 has connected\n"


def test_a_terminal_that_is_gone_keeps_nothing_from_being_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing to it fails with EIO."""

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stderr", Gone())
    _tell("removing what is there of trials")


@pytest.mark.parametrize("text", ["26", "0x1a", "000000000000001a", "00:00:00:00:00:00:00:1a"])
def test_a_datapath_id_is_written_as_people_and_switches_do(text: str) -> None:
    assert datapath_id(text) == 26


@pytest.mark.parametrize("text", ["", "x", "-1", "0x1ffffffffffffffff"])
def test_what_is_no_datapath_id_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a datapath id"):
        datapath_id(text)
