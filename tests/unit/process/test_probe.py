"""``probe``'s dialogue with one switch, and its end: what is there of trials is removed, or said."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.openflow.states import State
from anycast_sdn.process import probe
from anycast_sdn.process.probe import Waiting
from tests.unit.switch_end import PORT, Peer, in_trials, message, multipart

MODS_AT_ONCE = 2  # in one step of the probe: a switch that takes 40 rules a second
LISTED = {ofp.OFPMP_PORT_DESC: PORT, ofp.OFPMP_METER_FEATURES: bytes(16), ofp.OFPMP_DESC: bytes(1056)}


class SlowSwitch:
    """What it has not handled when its connection ends it never does.  ``mute``: it confirms and lists nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, mute: bool = False) -> None:
        self.told: list[str] = []
        self.rules: set[bytes] = set()
        self.waiting = Waiting(self.told.append, None)
        self._mute = mute
        self._unread: list[tuple[int, int, bytes]] = []
        self._peer = Peer(State.IDENTIFIED)
        self.connection = self._peer.connection
        self.connection._listener = self.waiting
        monkeypatch.setattr(probe.hub, "sleep", self.step)
        self.waiting.identified(self.connection)  # type: ignore[arg-type]

    @property
    def dialogue(self) -> Any:
        return self.waiting.dialogue

    def step(self, seconds: float = probe.STEP_S) -> None:
        self._unread += self._peer.sent()
        mods = 0
        while self._unread and mods < MODS_AT_ONCE and not self.connection.is_closed:
            kind, xid, body = self._unread.pop(0)
            mods += kind in (ofp.OFPT_FLOW_MOD, ofp.OFPT_GROUP_MOD)
            self._peer.say(self._answer(kind, xid, body))
        self._peer.now += seconds
        self.connection.tick(self._peer.now)

    def _answer(self, kind: int, xid: int, body: bytes) -> bytes:
        if kind == ofp.OFPT_ECHO_REQUEST:
            return message(ofp.OFPT_ECHO_REPLY, body, xid)
        if kind == ofp.OFPT_FLOW_MOD:
            place = body[16:17] + body[22:24] + body[40:48]
            (self.rules.add if body[17] == ofp.OFPFC_ADD else self.rules.discard)(place)
        if self._mute:
            return b""
        if kind == ofp.OFPT_BARRIER_REQUEST:
            return message(ofp.OFPT_BARRIER_REPLY, b"", xid)
        if kind == ofp.OFPT_MULTIPART_REQUEST:
            asked = int.from_bytes(body[:2], "big")
            return multipart(asked, LISTED.get(asked, b""), xid)
        return in_trials(kind, body)

    def until(self, reached: Callable[[], object]) -> None:
        for _ in range(4000):
            if reached():
                return
            self.step()
        raise AssertionError(self.told)


def test_at_ctrl_c_it_waits_until_a_slow_switch_has_removed_all_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    switch = SlowSwitch(monkeypatch)
    switch.until(lambda: len(switch.rules) > 10 and switch._unread)
    probe._clean_up(switch.dialogue)
    assert switch.rules == set()
    assert switch.dialogue.is_clean
    assert "removing what is there of trials" in switch.told[-1]


def test_a_switch_that_goes_away_meanwhile_may_keep_rules_of_trials_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    switch = SlowSwitch(monkeypatch)
    switch.until(lambda: len(switch.rules) > 10)
    switch.connection.close("it has closed the connection")
    assert "it has closed the connection, while the controller was trying what it accepts" in switch.waiting.failed
    probe._clean_up(switch.dialogue)
    said = " ".join(switch.told)
    assert "removing" not in said
    assert "rules (cookies that begin with 0xa17cff) and groups" in switch.told[-1]
    assert switch.told[-1].endswith("of trials may be left at the switch")


def test_a_switch_that_confirms_nothing_may_keep_rules_of_trials_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    switch = SlowSwitch(monkeypatch, mute=True)
    switch.until(lambda: switch.rules)
    probe._clean_up(switch.dialogue)
    assert "may be left at the switch" in switch.told[-1]


def test_of_a_switch_at_which_nothing_was_tried_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    switch = SlowSwitch(monkeypatch)
    told = [*switch.told]
    probe._clean_up(switch.dialogue)
    assert switch.told == told


def test_trials_are_removed_for_certain_before_what_it_holds_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a switch may answer first, and delete them then."""
    switch = SlowSwitch(monkeypatch)
    switch.until(lambda: switch.dialogue.stage == "reading again what it holds")
    assert switch.rules == set()
    switch.until(lambda: switch.dialogue.report)
    assert switch.dialogue.report["held"] == {"rules": 0, "groups": 0, "meters": 0, "unread": [], "different": []}


def test_of_what_a_switch_does_not_list_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    switch = SlowSwitch(monkeypatch, mute=True)
    switch.until(lambda: switch.dialogue.report)
    said = " ".join(switch.told)
    assert "it does not list its rules" in said
    assert "they stay as they are" not in said
    assert "its own rules would take packets" not in said
    held = switch.dialogue.report["held"]
    assert held == {"rules": None, "groups": None, "meters": None, "unread": ["groups", "meters", "rules"],
                    "different": []}  # fmt: skip
    doubts = [role["doubt"] for role in switch.dialogue.report["roles"]]
    assert doubts == ["it does not confirm what it is sent, and has only not refused it"] * 3


def test_it_ends_with_the_terminal_that_it_was_started_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe.hub, "sleep", lambda seconds: pytest.fail("it goes on"))
    ending: Any = SimpleNamespace(asked="", hung_up=True)
    assert probe._result(ending, Waiting(lambda words: None, None), None) is None
