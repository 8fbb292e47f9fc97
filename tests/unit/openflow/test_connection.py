"""One connection's bytes in and events out: every kind of message in every state, and every deadline."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.openflow import codec, connection, decoding, pending
from anycast_sdn.openflow.connection import Connection
from anycast_sdn.openflow.rules import AddFlow, Barrier, GroupRule, Message, MeterRule, SetGroup, SetMeter
from anycast_sdn.openflow.states import IGNORED, TAKEN, State
from tests.unit.switch_end import (
    DPID,
    HELLO,
    PACKET_IN,
    PORT,
    RULE,
    WELL_FORMED,
    Peer,
    Recorder,
    error,
    features,
    message,
    multipart,
)

OPEN_STATES = [State.HELLO, State.FEATURES, State.IDENTIFIED, State.ADMITTED]


class TestEveryKindInEveryState:
    @pytest.mark.parametrize("state", OPEN_STATES)
    @pytest.mark.parametrize("kind", range(31))
    def test_a_message_is_handled_or_ignored_or_ends_the_connection(self, kind: int, state: State) -> None:
        peer = Peer(state)
        peer.say(WELL_FORMED.get(kind, message(kind, bytes(32))))
        unasked = (kind, state) == (ofp.OFPT_MULTIPART_REPLY, State.ADMITTED)
        stays = not unasked and (state in TAKEN.get(kind, ()) or state in IGNORED.get(kind, ()))
        assert peer.connection.is_closed is not stays

    @pytest.mark.parametrize("state", OPEN_STATES[:-1])
    @given(said=st.lists(st.sampled_from(sorted(WELL_FORMED.values())), max_size=6))
    def test_a_switch_that_is_not_admitted_causes_no_events(self, state: State, said: list[bytes]) -> None:
        peer = Peer(state)
        peer.listener.admits = False
        peer.say(b"".join(said))
        assert peer.listener.heard == []

    @given(st.lists(st.sampled_from(sorted(WELL_FORMED.values())), max_size=12), st.data())
    def test_it_makes_no_difference_how_the_stream_is_split(self, said: list[bytes], data: st.DataObject) -> None:
        whole, cut = Peer(State.HELLO), Peer(State.HELLO)
        whole.listener.admits = cut.listener.admits = True
        stream = b"".join([HELLO, features(), *said])
        whole.say(stream)
        while stream:
            length = data.draw(st.integers(1, 100))
            if not cut.connection.is_closed:
                cut.say(stream[:length])
            stream = stream[length:]
        assert cut.listener.names() == whole.listener.names()
        assert cut.connection.state is whole.connection.state
        assert cut.connection.reason == whole.connection.reason

    @given(
        st.sampled_from(OPEN_STATES),
        st.lists(
            st.one_of(
                st.binary(max_size=80),
                st.sampled_from(sorted(WELL_FORMED.values())),
                st.builds(message, st.integers(0, 40), st.binary(max_size=120), st.integers(0, 40)),
                st.builds(multipart, st.integers(0, 15), st.binary(max_size=120), st.integers(1, 8), st.booleans()),
                st.builds(error, st.integers(0, 14), st.integers(0, 14), st.binary(max_size=80), st.integers(0, 8)),
            ),
            max_size=8,
        ),
    )
    def test_no_bytes_raise_anything_but_bad_message(self, state: State, said: list[bytes]) -> None:
        peer = Peer(state)
        for request in (codec.port_request, codec.flow_stats_request, codec.description_request):
            if peer.connection.is_admitted:
                peer.ask(request)
        for data in said:
            if not peer.connection.is_closed:
                peer.say(data)
        peer.wait(10)
        assert peer.connection.is_closed or peer.connection.is_admitted

    def test_an_error_of_our_own_loses_one_message_only(self) -> None:
        peer = Peer()
        faults = iter([ZeroDivisionError()])

        def packet_in(dpid: int, packet: decoding.PacketInMessage) -> None:
            for fault in faults:
                raise fault
            peer.listener.heard.append(("packet_in", dpid))

        setattr(peer.listener, "packet_in", packet_in)  # noqa: B010
        peer.say(PACKET_IN * 2)
        assert peer.listener.heard == [("packet_in", DPID)]


class TestHandshake:
    def test_our_hello_can_be_decoded_as_text(self) -> None:
        """Mininet decodes the first bytes of a remote controller as UTF-8."""
        peer = Connection(Recorder(), "10.0.0.9:1234", lambda: None)
        assert bytes(peer.unsent).decode()
        assert peer.unsent[:4] == b"\x04\x00\x00\x08"

    @pytest.mark.parametrize(
        ("version", "elements", "agreed"),
        [
            (4, b"", True),
            (5, b"", True),
            (6, b"", True),
            (4, struct.pack("!HHI", 1, 8, 0b10000), True),
            (6, struct.pack("!HHI", 1, 8, 0b1010010), True),
            (4, struct.pack("!HHI", 9, 6, 0) [:6] + bytes(2) + struct.pack("!HHI", 1, 8, 0b10000), True),
            (4, struct.pack("!HHII", 1, 12, 0b10000, 0), True),
            (0, b"", False),
            (1, b"", False),
            (2, b"", False),
            (3, b"", False),
            (7, b"", False),
            (99, b"", False),
            (255, b"", False),
            (5, struct.pack("!HHI", 1, 8, 0b100000), False),
            (4, struct.pack("!HHI", 1, 8, 0), False),
            (1, struct.pack("!HHI", 1, 8, 0b10010), False),
        ],
    )  # fmt: skip
    def test_a_version_is_agreed_on_or_refused_with_a_reason(self, version: int, elements: bytes, agreed: bool) -> None:
        peer = Peer(State.HELLO)
        peer.say(message(ofp.OFPT_HELLO, elements, version=version))
        ((kind, _, body),) = peer.sent()
        if agreed:
            assert (kind, peer.connection.state) == (ofp.OFPT_FEATURES_REQUEST, State.FEATURES)
        else:
            assert (kind, body[:4]) == (ofp.OFPT_ERROR, struct.pack("!HH", 0, 0))
            assert peer.connection.is_closed
            assert "set the switch to OpenFlow 1.3" in peer.connection.reason

    @pytest.mark.parametrize("elements", [struct.pack("!HH", 1, length) for length in (0, 1, 3, 9, 65535)])
    def test_a_hello_with_a_malformed_element_ends_the_connection(self, elements: bytes) -> None:
        peer = Peer(State.HELLO)
        peer.say(message(ofp.OFPT_HELLO, elements))
        assert peer.connection.is_closed

    @pytest.mark.parametrize("state", OPEN_STATES[:-1])
    def test_a_switch_that_sends_no_datapath_id_is_disconnected_after_five_seconds(self, state: State) -> None:
        peer = Peer(state)
        peer.wait(4.5)
        assert not peer.connection.is_closed
        peer.wait(0.75)
        assert "not sent its datapath id" in peer.connection.reason

    def test_echoes_are_answered_and_do_not_extend_the_handshake(self) -> None:
        peer = Peer(State.FEATURES)
        for _ in range(18):
            peer.say(message(ofp.OFPT_ECHO_REQUEST, b"x", 77))
            assert peer.sent() == [(ofp.OFPT_ECHO_REPLY, 77, b"x")]
            peer.wait(0.25)
        peer.wait(0.75)
        assert peer.connection.is_closed

    def test_a_stranger_that_reads_no_answers_is_disconnected_before_they_fill_the_memory(self) -> None:
        peer = Peer(State.FEATURES)
        for _ in range(3):
            peer.say(message(ofp.OFPT_ECHO_REQUEST, bytes(30000)))
        assert peer.connection.reason == "it does not read what it is sent"
        assert not peer.connection.unsent

    def test_delays_of_our_own_do_not_count_as_silence(self) -> None:
        peer = Peer(State.HELLO)
        peer.wait(60, step=20)
        assert not peer.connection.is_closed

    def test_an_auxiliary_connection_is_closed_without_events(self) -> None:
        peer = Peer(State.FEATURES)
        peer.listener.admits = True
        peer.say(features(auxiliary=1))
        assert peer.connection.is_closed
        assert peer.listener.heard == []

    def test_an_error_about_our_first_messages_is_given_as_the_reason_of_the_end(self) -> None:
        peer = Peer(State.FEATURES)
        peer.say(error(0, 0, b"incompatible"))
        assert "error type 0 code 0" in peer.connection.reason


class TestQuestions:
    def test_an_answer_in_parts_is_delivered_in_one_piece(self) -> None:
        peer = Peer()
        xid, answers = peer.ask()
        peer.say(multipart(ofp.OFPMP_PORT_DESC, b"a", xid, more=True) + multipart(ofp.OFPMP_PORT_DESC, b"b", xid))
        assert answers == [b"ab"]

    def test_an_answer_of_another_kind_ends_the_connection(self) -> None:
        peer = Peer()
        xid, answers = peer.ask()
        peer.say(multipart(ofp.OFPMP_FLOW, bytes(64), xid))
        assert (peer.connection.is_closed, answers) == (True, [])

    def test_an_error_is_an_answer(self) -> None:
        peer = Peer()
        xid, answers = peer.ask()
        peer.say(error(1, 2, xid=xid))
        assert answers == [None]
        assert not peer.connection.unanswered

    def test_a_missing_answer_counts_as_an_error_and_is_reported_until_there_is_one(self) -> None:
        peer = Peer()
        xid, answers = peer.ask()
        peer.wait(2.5)
        assert answers == []
        peer.wait(0.75)
        assert answers == [None]
        assert peer.listener.heard == [("unanswered", DPID, frozenset({"ports"}))]
        peer.say(multipart(ofp.OFPMP_PORT_DESC, PORT, xid))  # late
        assert (answers, peer.connection.is_closed) == ([None], False)
        xid, answers = peer.ask()
        peer.say(multipart(ofp.OFPMP_PORT_DESC, PORT, xid))
        assert answers == [PORT]
        assert peer.listener.heard[1:] == [("unanswered", DPID, frozenset())]

    def test_a_long_answer_may_take_long_as_long_as_parts_arrive(self) -> None:
        peer = Peer()
        xid, answers = peer.ask(codec.flow_stats_request)
        for _ in range(5):
            peer.wait(2)
            peer.say(multipart(ofp.OFPMP_FLOW, b"x", xid, more=True))
        peer.say(multipart(ofp.OFPMP_FLOW, b"y", xid))
        assert answers == [b"xxxxxy"]

    @pytest.mark.parametrize("part", [b"", bytes(60000)], ids=["of nothing", "of much"])
    def test_an_endless_answer_ends_the_connection(self, part: bytes) -> None:
        peer = Peer()
        xid, _ = peer.ask(codec.description_request)
        for _ in range(1 + (1 << 12) // pending.PART):
            if not peer.connection.is_closed:
                peer.say(multipart(ofp.OFPMP_DESC, part, xid, more=True))
        assert "too long" in peer.connection.reason

    @pytest.mark.parametrize(
        ("answer", "result"),
        [
            ([], True),
            ([(ofp.OFPET_BAD_ACTION, ofp.OFPBAC_BAD_TYPE)], False),
            ([(ofp.OFPET_FLOW_MOD_FAILED, ofp.OFPFMFC_TABLE_FULL)], None),
        ],
        ids=["yes", "no", "does not say"],
    )
    def test_a_trial_has_one_result(self, answer: list[tuple[int, int]], result: bool | None) -> None:
        peer = Peer()
        attempt, barrier, results = peer.try_out()
        peer.say(b"".join(error(*each, xid=attempt) for each in answer) + message(ofp.OFPT_BARRIER_REPLY, xid=barrier))
        assert results == [result]
        assert peer.listener.heard == []

    def test_a_trial_without_a_barrier_reply_has_an_unknown_result(self) -> None:
        peer = Peer()
        _, barrier, results = peer.try_out()
        peer.wait(3.25)
        peer.say(message(ofp.OFPT_BARRIER_REPLY, xid=barrier))
        assert results == [None]
        assert peer.connection.unanswered == {"confirmation"}

    def test_after_the_end_no_callback_is_called_and_nothing_is_kept(self) -> None:
        peer = Peer()
        xid, answers = peer.ask(codec.flow_stats_request)
        _, _, results = peer.try_out()
        peer.say(multipart(ofp.OFPMP_FLOW, bytes(1000), xid, more=True) + PACKET_IN[:-1])
        peer.connection.close("enough")
        peer.wait(5, echoes=False)
        assert (answers, results) == ([], [])
        owed = peer.connection._pending
        assert not any((owed._questions, owed._trials, owed._barriers, owed._probes, peer.connection._received))
        peer.connection.ask(codec.port_request(peer.connection), answers.append)
        peer.connection.send([Barrier(1)])
        assert peer.sent() == []


PACKET_OUT = message(ofp.OFPT_PACKET_OUT, bytes(56), xid=0)


class TestAdmitted:
    def test_its_messages_become_events(self) -> None:
        peer = Peer()
        peer.say(PACKET_IN + WELL_FORMED[ofp.OFPT_PORT_STATUS] + WELL_FORMED[ofp.OFPT_BARRIER_REPLY])
        assert [(name, *rest[:2]) for name, *rest in peer.listener.heard] == [
            ("packet_in", DPID, (7, 3, bytes(60))), ("port_changed", DPID, 3), ("confirmed", DPID, 9),
        ]  # fmt: skip

    def test_a_refused_rule_is_identified_by_what_the_error_quotes(self) -> None:
        peer = Peer()
        peer.say(error(5, 1, peer.encode(AddFlow(RULE))[:64]))
        assert peer.listener.heard == [("rule_refused", DPID, RULE.cookie, True, "table full")]

    @pytest.mark.parametrize(
        ("change", "kind", "reason", "said"),
        [
            (
                SetGroup(GroupRule(7, ()), exists=False),
                ofp.OFPET_GROUP_MOD_FAILED,
                ofp.OFPGMFC_OUT_OF_GROUPS,
                "no room for groups",
            ),
            (
                SetMeter(MeterRule(7, 1, 1), exists=False),
                ofp.OFPET_METER_MOD_FAILED,
                ofp.OFPMMFC_OUT_OF_METERS,
                "no room for meters",
            ),
        ],
    )
    def test_a_refused_group_or_meter_is_reported_too(self, change: Message, kind: int, reason: int, said: str) -> None:
        peer = Peer()
        peer.say(error(kind, reason, peer.encode(change)[:64]))
        assert peer.listener.heard == [("rule_refused", DPID, 0, True, said)]

    @pytest.mark.parametrize(
        ("code", "concerns_buckets"),
        [(ofp.OFPGMFC_OUT_OF_BUCKETS, True), (ofp.OFPGMFC_INVALID_GROUP, True), (ofp.OFPGMFC_UNKNOWN_GROUP, False)],
    )
    def test_a_group_that_is_refused_because_of_its_buckets_is_named(self, code: int, concerns_buckets: bool) -> None:
        peer = Peer()
        peer.say(error(ofp.OFPET_GROUP_MOD_FAILED, code, peer.encode(SetGroup(GroupRule(7, ()), exists=False))))
        assert peer.listener.heard[1:] == [("group_refused", DPID, 7)] * concerns_buckets

    def test_other_errors_are_reported_once_for_each_type_and_code(self) -> None:
        peer = Peer()
        for _ in range(50):
            peer.say(error(ofp.OFPET_BAD_ACTION, ofp.OFPBAC_BAD_OUT_PORT, PACKET_OUT))
        assert peer.listener.names() == ["message_refused"]
        for code in range(1000):
            peer.say(error(0x1234, code, PACKET_OUT))
        assert peer.listener.names() == ["message_refused"] * connection.MOST_REFUSALS
        assert not peer.connection.is_closed

    def test_a_silent_switch_is_disconnected_within_six_seconds(self) -> None:
        peer = Peer()
        peer.wait(4.5, echoes=False)
        assert not peer.connection.is_closed
        peer.wait(1.5, echoes=False)
        assert peer.listener.names() == ["disconnected"]
        assert "echo" in peer.connection.reason

    def test_a_switch_whose_echo_replies_queue_behind_a_long_answer_stays_until_it_falls_silent(self) -> None:
        peer = Peer()
        xid, _ = peer.ask(codec.flow_stats_request)
        for _ in range(20):
            peer.wait(1, echoes=False)
            peer.say(multipart(ofp.OFPMP_FLOW, b"", xid, more=True))
        assert not peer.connection.is_closed
        peer.wait(6, echoes=False)
        assert "echo" in peer.connection.reason

    def test_it_owes_an_answer_soon_after_it_is_doubted_and_until_it_answers(self) -> None:
        peer = Peer()
        peer.wait(2)
        peer.connection.doubt(unheard=False)
        assert not peer.connection.owes_answer
        peer.wait(0.5, echoes=False)
        assert peer.connection.owes_answer
        peer.connection.doubt(unheard=True)
        assert not peer.connection.is_closed
        peer.wait(1, echoes=True)
        assert not peer.connection.owes_answer

    @pytest.mark.parametrize(("unheard", "says"), [(True, b""), (True, PACKET_IN), (False, b"")])
    def test_a_switch_that_says_nothing_and_that_nothing_is_heard_of_is_disconnected_sooner(
        self, unheard: bool, says: bytes
    ) -> None:
        peer = Peer()
        peer.wait(2)
        peer.connection.doubt(unheard=False)
        for _ in range(8):
            if says:
                peer.say(says)
            peer.wait(0.25, echoes=False)
        peer.connection.doubt(unheard)
        assert peer.connection.is_closed is (unheard and not says)

    def test_unsolicited_echo_replies_are_no_sign_of_life(self) -> None:
        peer = Peer()
        for _ in range(24):
            peer.wait(0.25, echoes=False)
            if not peer.connection.is_closed:
                peer.say(message(ofp.OFPT_ECHO_REPLY, xid=12345))
        assert peer.connection.is_closed

    def test_a_switch_that_answers_echoes_stays_connected(self) -> None:
        peer = Peer()
        peer.wait(60)
        assert not peer.connection.is_closed

    @pytest.mark.parametrize("answers", [True, False])
    def test_a_probe_finds_out_whether_the_switch_is_alive(self, answers: bool) -> None:
        peer = Peer()
        alive: list[bool] = []
        peer.connection.probe(alive.append)
        peer.wait(2.25, echoes=answers)
        assert alive == [answers]

    def test_a_probe_is_answered_when_the_connection_ends(self) -> None:
        peer = Peer()
        alive: list[bool] = []
        peer.connection.probe(alive.append)
        peer.connection.close("enough")
        peer.connection.probe(alive.append)
        assert alive == [False, False]

    def test_a_switch_that_reads_nothing_is_disconnected(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connection, "MAX_UNSENT", 100000)
        peer = Peer()
        for _ in range(2):
            peer.connection.send([AddFlow(RULE)] * 900)
        assert peer.connection.reason == "it does not read what it is sent"


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level("CRITICAL"):
        yield


def changes(*updates: bytes) -> bytes:
    return multipart(ofp.OFPMP_EXPERIMENTER, struct.pack("!II", 0x4F4E4600, 1870) + b"".join(updates))


class TestRulesThatOthersModify:
    OWN = struct.pack("!HHI", 8, 3, 77)
    OTHERS = struct.pack("!HHHHHHHBxQHH4x", 32, 2, 0, 100, 0, 0, 4, 1, 0xABC, 1, 4)

    def test_they_are_reported_where_the_switch_was_asked_to(self) -> None:
        peer = Peer(State.ADMITTED)
        peer.connection.monitors.watch(peer.connection)
        ((_, _, body),) = [each for each in peer.sent() if each[0] == ofp.OFPT_MULTIPART_REQUEST]
        assert struct.unpack_from("!H6xII", body) == (ofp.OFPMP_EXPERIMENTER, 0x4F4E4600, 1870)
        peer.say(changes() + changes(self.OWN) + changes(self.OTHERS, self.OWN, self.OTHERS))
        assert peer.listener.heard == [("rules_modified", DPID, [0xABC, 0xABC])]

    @pytest.mark.parametrize("cut", [1, 7, 9, 23, 31])
    def test_a_truncated_notification_ends_the_connection(self, cut: int) -> None:
        peer = Peer(State.ADMITTED)
        peer.connection.monitors.watch(peer.connection)
        peer.say(changes(self.OTHERS[:cut]))
        assert peer.connection.is_closed

    def test_a_notification_that_was_not_asked_for_ends_the_connection(self) -> None:
        peer = Peer(State.ADMITTED)
        peer.say(changes(self.OTHERS))
        assert peer.connection.is_closed

    def test_a_switch_that_does_not_support_it_stays_connected_and_nothing_is_logged(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        peer = Peer(State.ADMITTED)
        peer.connection.monitors.watch(peer.connection)
        ((_, xid, body),) = [each for each in peer.sent() if each[0] == ofp.OFPT_MULTIPART_REQUEST]
        peer.say(error(ofp.OFPET_BAD_REQUEST, ofp.OFPBRC_BAD_MULTIPART, message(ofp.OFPT_MULTIPART_REQUEST, body), xid))
        assert peer.connection.is_admitted
        assert not caplog.records
