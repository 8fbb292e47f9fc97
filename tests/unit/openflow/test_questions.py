"""What switches are asked when they connect."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.core.model import packed
from anycast_sdn.engines.flow_sweep import requests
from anycast_sdn.openflow.abilities import Ability
from anycast_sdn.openflow.features import Features, Tried
from anycast_sdn.openflow.layout import THREE_TABLES
from anycast_sdn.openflow.pipeline import ROW, cookie, kind_of
from anycast_sdn.openflow.questions import Introduction, SweepRun
from anycast_sdn.openflow.requests import RulesRequest
from anycast_sdn.openflow.row import Kind, Table
from anycast_sdn.openflow.rules import OFPG_ALL, FinTimeout, FlowRule
from anycast_sdn.openflow.trials import TRIALS
from tests.unit.openflow.test_codec import as_flow_stats
from tests.unit.switch_end import FROM_CONTROLLER, PORT, TO_TABLES, Peer, error, in_trials, message, multipart


def test_each_trial_is_for_a_feature() -> None:
    assert TRIALS.keys() <= {field.name for field in fields(Features)}


def test_rules_of_trials_have_a_cookie_of_their_own_and_a_timeout_only_where_that_is_needed() -> None:
    """Open vSwitch may crash when a rule with fin_timeout and without an idle timeout is removed."""
    for trial in TRIALS.values():
        assert bool(trial.rule.idle_timeout) is any(isinstance(each, FinTimeout) for each in trial.rule.actions)
        assert not trial.rule.notify
        assert kind_of(trial.rule.cookie) is None


def test_extensions_of_open_vswitch_are_tried_only_there() -> None:
    for name, trial in TRIALS.items():
        assert trial.extension or not any(isinstance(action, FinTimeout) for action in trial.rule.actions), name


# ------------------------------------------------------------------------------ the dialogue

SILENT = object()
METER_FEATURES = struct.pack("!IIIBBxx", 1000, 2, 15, 1, 0)
ANSWERS: dict[int, Any] = {  # by the type of the question: a body, SILENT, or None for a refusal
    ofp.OFPMP_PORT_DESC: PORT,
    ofp.OFPMP_DESC: struct.pack("!256s256s256s32s256s", b"Nicira", b"Open vSwitch", b"3.1.0", b"", b""),
    ofp.OFPMP_METER_FEATURES: METER_FEATURES,
    ofp.OFPMP_METER_CONFIG: b"",
    ofp.OFPMP_GROUP_DESC: b"",
    ofp.OFPMP_FLOW: b"",
}
OTHER_SWITCH = {ofp.OFPMP_DESC: bytes(1056)}


class Dialogue(Peer):
    """A switch that answers so when it is introduced; ``trials``: what it says to each trial.

    ``ends``: it takes messages that end a connection of its tracker.
    """

    def __init__(
        self,
        answers: dict[int, Any],
        trials: Any = True,
        known: Features | None = None,
        ends: bool = True,
        tried: Tried | None = None,
    ) -> None:
        super().__init__()
        self.results: list[tuple[Any, ...]] = []
        self.kinds: list[int] = []  # kinds of the messages that came
        self.deleted_groups: list[int] = []
        self._answers = ANSWERS | answers
        self._trials = trials
        self._ends = ends
        self._hides: set[int] = set()  # of these messages it does not report what comes of them
        self.noted: list[Tried] = []
        Introduction(
            self.connection, 1, known, lambda *result: self.results.append(result[1:]), tried, self.noted.append
        ).begin()
        for _ in range(200):
            if not (messages := self.sent()):
                if self.results:
                    break
                self.now += 0.25
                self.connection.tick(self.now)
            for each in messages:
                self._answer(*each)

    def _answer(self, kind: int, xid: int, body: bytes) -> None:
        self.kinds.append(kind)
        if kind == ofp.OFPT_GROUP_MOD:
            command, _, number = struct.unpack_from("!HHI", body)
            self.deleted_groups += [number] * (command == ofp.OFPGC_DELETE)
        if kind == ofp.OFPT_ECHO_REQUEST:
            self.say(message(ofp.OFPT_ECHO_REPLY, body, xid))
        elif kind == ofp.OFPT_BARRIER_REQUEST and self._trials is not SILENT:
            self.say(message(ofp.OFPT_BARRIER_REPLY, b"", xid))
        elif kind == ofp.OFPT_FLOW_MOD and self._trials not in (True, SILENT):
            kind, code = self._trials
            self.say(error(kind, code, xid=xid))
        elif kind in (ofp.OFPT_PACKET_OUT, ofp.OFPT_FLOW_MOD) and kind not in self._hides:
            self.say(in_trials(kind, body))
        elif kind == ofp.OFPT_EXPERIMENTER and not self._ends:
            self.say(error(ofp.OFPET_BAD_REQUEST, ofp.OFPBRC_BAD_EXP_TYPE, xid=xid))
        elif kind == ofp.OFPT_MULTIPART_REQUEST:
            (question,) = struct.unpack_from("!H", body)
            answer = self._answers.get(question)
            if answer is None:
                self.say(error(ofp.OFPET_BAD_REQUEST, ofp.OFPBRC_BAD_MULTIPART, xid=xid))
            elif answer is not SILENT:
                self.say(multipart(question, answer, xid))


@pytest.mark.parametrize("answer", [None, SILENT], ids=["refused", "left unanswered"])
@pytest.mark.parametrize("question", ANSWERS)
def test_a_switch_that_answers_all_but_one_question_is_introduced(question: int, answer: object) -> None:
    dialogue = Dialogue({question: answer})
    ((found, features, ports),) = dialogue.results
    assert found.flows == {}
    assert features.meters is (question not in (ofp.OFPMP_METER_FEATURES, ofp.OFPMP_METER_CONFIG))
    assert ports == ({} if question == ofp.OFPMP_PORT_DESC else {3: True})
    groups_go = OFPG_ALL in dialogue.deleted_groups
    assert groups_go is (question in (ofp.OFPMP_FLOW, ofp.OFPMP_GROUP_DESC))
    rules_are_read = dialogue.kinds[-1] == ofp.OFPT_MULTIPART_REQUEST
    assert rules_are_read is (question != ofp.OFPMP_FLOW)
    assert bool(dialogue.connection.unanswered) is (answer is SILENT)


@pytest.mark.parametrize("answer", [None, SILENT], ids=["refused", "left unanswered"])
def test_a_switch_that_answers_nothing_is_introduced_within_half_a_minute(answer: object) -> None:
    dialogue = Dialogue(dict.fromkeys(ANSWERS, answer), trials=SILENT)
    assert len(dialogue.results) == 1
    assert dialogue.now - 100.0 < 30


def test_no_extension_is_tried_on_a_switch_that_is_not_open_vswitch() -> None:
    dialogue = Dialogue(OTHER_SWITCH)
    ((_, features, _),) = dialogue.results
    assert not features.open_vswitch
    assert not any(getattr(features, name) for name, trial in TRIALS.items() if trial.extension)
    plain = [trial for trial in TRIALS.values() if not trial.extension]
    # One stands behind all trials of what roles need, two behind rules and their packets, two behind what there are
    # fall-backs for, and one behind the rules that are looked for in its list.
    assert dialogue.kinds.count(ofp.OFPT_BARRIER_REQUEST) == len(plain) + 6


FULL, BAD_ACTION = (ofp.OFPET_FLOW_MOD_FAILED, ofp.OFPFMFC_TABLE_FULL), (ofp.OFPET_BAD_ACTION, ofp.OFPBAC_BAD_TYPE)


@pytest.mark.parametrize(
    ("trials", "known", "assumed"),
    [
        (True, None, True), (True, False, True),
        (BAD_ACTION, None, False), (BAD_ACTION, True, False),
        (FULL, None, True), (FULL, True, True), (FULL, False, False),
        (SILENT, None, True), (SILENT, False, False),
    ],
)  # fmt: skip
def test_a_trial_without_a_result_leaves_the_feature_as_known(trials: Any, known: bool | None, assumed: bool) -> None:
    assumed_before: dict[str, Any] = dict.fromkeys(TRIALS, known)
    before = None if known is None else replace(Features(), **assumed_before)
    ((_, features, _),) = Dialogue({}, trials, before).results
    assert {getattr(features, name) for name in TRIALS} == {assumed}


def test_a_switch_that_cannot_end_single_connections_has_no_tracker_for_us() -> None:
    """Open vSwitch before 3.1."""
    ((_, features, _),) = Dialogue({}, ends=False).results
    assert not features.connections
    assert all(getattr(features, name) for name in TRIALS.keys() - {"connections"})


def test_a_switch_that_is_not_open_vswitch_is_sent_no_message_of_its_tracker() -> None:
    dialogue = Dialogue(OTHER_SWITCH)
    assert ofp.OFPT_EXPERIMENTER not in dialogue.kinds
    ((_, features, _),) = dialogue.results
    assert not features.connections


# ------------------------------------------------------------------------------ fragments


class Bouncing(Dialogue):
    """A switch that sends back what it is asked to, with another address and the data as ``change`` makes it."""

    def __init__(self, change: Callable[[bytes], bytes]) -> None:
        self._change = change
        super().__init__({})

    def _answer(self, kind: int, xid: int, body: bytes) -> None:
        super()._answer(kind, xid, body)
        if kind == ofp.OFPT_PACKET_OUT and TO_TABLES not in body:
            frame = body[-98:]  # headers of Ethernet and IPv4, and 64 bytes of data
            frame = frame[:26] + packed("203.0.113.254") + frame[30:34] + self._change(frame[34:])
            usual = struct.pack("!IHBBQ", 0xFFFFFFFF, len(frame), 1, 0, 0xFFFFFFFFFFFFFFFF)
            self.say(message(ofp.OFPT_PACKET_IN, usual + FROM_CONTROLLER + frame))


@pytest.mark.parametrize("spoils", [False, True])
def test_a_switch_that_spoils_a_fragment_is_found_out(spoils: bool) -> None:
    dialogue = Bouncing(lambda data: data[:6] + b"!!" + data[8:] if spoils else data)
    ((_, features, _),) = dialogue.results
    assert features.fragments is not spoils
    assert "packet_in" not in dialogue.listener.names(), "nobody else sees it"


def test_a_switch_that_sends_no_fragment_back_is_taken_to_spoil_them() -> None:
    ((_, features, _),) = Dialogue({}).results
    assert not features.fragments


def test_a_switch_that_cannot_tell_fragments_is_not_asked() -> None:
    dialogue = Dialogue({}, trials=BAD_ACTION)
    ((_, features, _),) = dialogue.results
    assert features.fragments
    assert dialogue.kinds.count(ofp.OFPT_PACKET_OUT) == 1, "the one that is to pass its tables"


# ------------------------------------------------------------------------------ sweeps


class _Counting:
    """A switch that answers every question for counters with all that it has, at once."""

    layout = THREE_TABLES

    def __init__(self) -> None:
        self.tables_asked: set[int] = set()

    def set_xid(self, message: Any) -> int:
        message.set_xid(1)
        return 1

    def ask_in_parts(self, request: Any, part: Any) -> None:
        self.tables_asked.add(request.table_id)
        kinds = (Kind.BINDING_OUT, Kind.BINDING_OUT_UNANSWERED, Kind.BINDING_IN, Kind.ROUTE)
        rules = [FlowRule(ROW[kind].table, 1, (), cookie(kind, number)) for number, kind in enumerate(kinds)]
        with contextlib.suppress(ValueError):
            part(b"".join(map(as_flow_stats, rules)), True)

    def later(self, act: Any) -> None:
        act()


@pytest.mark.parametrize("fails", [True, False])
def test_a_sweep_reads_what_it_asked_for_and_ends_even_if_a_part_of_it_fails(fails: bool) -> None:
    ended: list[list[int]] = []

    numbers: list[int] = []

    def take(request: RulesRequest, counters: Any, asked: float) -> None:
        if request.table is Table.CLIENT_IN and fails:
            raise ValueError("a fault")
        numbers.extend(number for number, _ in counters)

    switch: Any = _Counting()
    SweepRun(switch, requests(10), take, lambda: ended.append(numbers)).proceed()
    assert list(map(sorted, ended)) == [[0, 1] if fails else [0, 1, 2]]
    assert switch.tables_asked == {1}, "of three tables, the client edge's"


# ------------------------------------------------------------------------------ tried by another controller


def test_what_another_controller_has_tried_is_not_tried_again() -> None:
    first = Dialogue({}, trials=BAD_ACTION)
    (tried,) = first.noted
    assert tried.description[1:3] == ("Open vSwitch", "3.1.0")
    second = Dialogue({}, tried=tried)
    assert ofp.OFPT_FLOW_MOD in first.kinds
    assert ofp.OFPT_FLOW_MOD not in second.kinds
    assert second.results[0][1] == first.results[0][1]
    assert not second.noted


def test_another_version_of_a_switch_is_tried_again() -> None:
    other = {ofp.OFPMP_DESC: struct.pack("!256s256s256s32s256s", b"Nicira", b"Open vSwitch", b"3.2.0", b"", b"")}
    (tried,) = Dialogue({}, trials=BAD_ACTION).noted
    again = Dialogue(other, tried=tried)
    assert ofp.OFPT_FLOW_MOD in again.kinds
    assert [each.description[2] for each in again.noted] == ["3.2.0"]


def test_a_switch_that_does_not_describe_itself_is_tried_each_time() -> None:
    silent = Dialogue({ofp.OFPMP_DESC: None}, tried=Tried((), Features()))
    assert not silent.noted


@pytest.mark.parametrize("answer", [None, SILENT], ids=["refused", "left unanswered"])
def test_a_switch_that_does_not_describe_itself_is_no_open_vswitch_whatever_was_there(answer: object) -> None:
    dialogue = Dialogue({ofp.OFPMP_DESC: answer}, known=Features())
    ((_, features, _),) = dialogue.results
    assert not features.open_vswitch
    assert ofp.OFPT_EXPERIMENTER not in dialogue.kinds


@pytest.mark.parametrize("keeps", [False, True])
def test_the_rules_of_a_switch_that_keeps_no_cookies_are_deleted_also_when_it_is_tried_again(keeps: bool) -> None:
    """As ``anycast-sdn switches NAME --probe`` says: its own and those of trials cannot be told from each other."""
    tried = Tried(("",) * 5, Features(open_vswitch=False, tables=254, cookies=keeps))
    dialogue = Dialogue(OTHER_SWITCH, known=tried.features, tried=tried)
    ((_, features, _),) = dialogue.results
    assert features.cookies is keeps
    assert dialogue.kinds.count(ofp.OFPT_FLOW_MOD) == (not keeps)


# ------------------------------------------------------------------------------ abilities


def test_what_a_switch_refuses_of_what_its_roles_need_is_known_with_the_reason() -> None:
    ((_, features, _),) = Dialogue(OTHER_SWITCH, BAD_ACTION).results
    assert {(lack.ability, lack.table) for lack in features.lacks} == {
        (ability, table) for ability in (Ability.MATCH_IPV4, Ability.MATCH_IPV6) for table in range(5)
    }, "the rest rests on these"
    assert {lack.why for lack in features.lacks} == {"bad action, bad type"}


@pytest.mark.parametrize("trials", [True, FULL, SILENT])
def test_a_switch_that_refuses_nothing_for_this_reason_lacks_nothing(trials: Any) -> None:
    ((_, features, _),) = Dialogue(OTHER_SWITCH, trials).results
    assert features.lacks == ()


# ------------------------------------------------------------------------------ rules of other programs


class Occupied(Dialogue):
    """Another program's rule drops all packets, until it is deleted; ``returns``: and then it is back."""

    def __init__(self, returns: bool = False) -> None:
        self._returns = returns
        self._is_occupied = True
        super().__init__({ofp.OFPMP_FLOW: as_flow_stats(FOREIGN)})

    def _answer(self, kind: int, xid: int, body: bytes) -> None:
        drops = kind == ofp.OFPT_PACKET_OUT and self._is_occupied
        self._hides = {ofp.OFPT_PACKET_OUT} if drops else set()
        super()._answer(kind, xid, body)
        if kind == ofp.OFPT_FLOW_MOD and int.from_bytes(body[:8], "big") == FOREIGN.cookie and not self._returns:
            self._is_occupied = False
            self._answers = ANSWERS


FOREIGN = FlowRule(Table.INGRESS, 9999, (), 0x77)


def test_what_a_switch_is_taken_to_lack_because_of_rules_of_other_programs_is_tried_again_without_these() -> None:
    ((found, features, _),) = Occupied().results
    assert features.table_output
    assert found.had_others


def test_rules_of_other_programs_that_come_back_are_not_waited_for() -> None:
    dialogue = Occupied(returns=True)
    ((found, features, _),) = dialogue.results
    assert not features.table_output
    assert found.had_others
    assert len(dialogue.noted) == 2
