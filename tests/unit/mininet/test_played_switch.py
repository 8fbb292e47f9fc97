"""What the proxy in front of Open vSwitch does with the bytes of a controller and of Open vSwitch."""

from __future__ import annotations

import struct

import openflow_wire as wire
import pytest
from os_ken.ofproto import ofproto_v1_3 as ofp
from os_ken.ofproto.ofproto_protocol import ProtocolDesc
from played_switch import Answer, PlayedSwitch

from anycast_sdn.description.profile import (
    ERRORS,
    OUT_OF_GROUPS,
    TABLE_FULL,
    Elements,
    Kind,
    OpenFlowError,
    Place,
    Profile,
    error_of,
)
from anycast_sdn.openflow import builders, codec
from anycast_sdn.openflow.ability_trials import ability_trials
from anycast_sdn.openflow.layout import FIVE_TABLES
from anycast_sdn.openflow.rules import (
    OFPP_TABLE,
    AddFlow,
    Barrier,
    Bucket,
    DecTtl,
    DeleteCookie,
    DeleteFlow,
    EndConnection,
    Field,
    FinTimeout,
    FlowRule,
    GroupRule,
    Message,
    MeterRule,
    Output,
    PacketOut,
    PopVlan,
    ReportExpired,
    SetField,
    SetGroup,
    SetMeter,
    ToGroup,
    match,
)
from anycast_sdn.openflow.trials import TRIALS
from anycast_sdn.simulation import profile as profiles

_RULE = FlowRule(
    3, 40, match(Field("eth_type", 0x0800), Field("ipv4_dst", bytes((10, 0, 0, 0)), bytes((255, 255, 255, 0)))), 7,
    (SetField("eth_src", bytes(6)), DecTtl(), Output(2)), goto=4, meter=9, idle_timeout=30, notify=True,
)  # fmt: skip
_MESSAGES: list[Message] = [
    AddFlow(_RULE),
    DeleteFlow(_RULE),
    AddFlow(FlowRule(0, 1, (), 1, (PopVlan(), FinTimeout(3), ToGroup(5)), idle_timeout=1, hard_timeout=9)),
    SetGroup(GroupRule(5, (Bucket(1, (SetField("ipv6_dst", bytes(16)), DecTtl(), Output(1))),)), exists=False),
    SetMeter(MeterRule(1, 10, 10), exists=False),
    PacketOut(bytes(60), 1, (Output(OFPP_TABLE),)),
    ReportExpired(True),
    Barrier(4),
    EndConnection(1, bytes(4), bytes(4), 6, 1, 1),
    *(message for trial in TRIALS.values() for message in trial.messages),
    *(message for trial in ability_trials() for message in trial.messages),
]


class _Datapath(ProtocolDesc):  # type: ignore[misc]
    """Gives every message a transaction id of its own."""

    _last = 0

    def set_xid(self, message: object) -> None:
        self._last += 1
        message.set_xid(self._last)  # type: ignore[attr-defined]


_DATAPATH = _Datapath(version=ofp.OFP_VERSION)


def _bytes(message: Message) -> bytes:
    return codec.encoder(FIVE_TABLES).encode(_DATAPATH, [message])


@pytest.mark.parametrize("message", _MESSAGES, ids=lambda message: type(message).__name__)
def test_the_bytes_of_a_message_have_the_elements_of_its_value(message: Message) -> None:
    found: set[tuple[Kind, str, Place]] = set()

    def note(kind: Kind, name: str, place: Place) -> bool:
        found.add((kind, name, place))
        return True

    whole = _bytes(message)
    assert wire.kept(whole, note) == whole
    assert found == {(*element, place) for element, place in profiles.elements(message)}


def _refused(answer: Answer) -> OpenFlowError:
    assert not answer.passed
    assert answer.back[1] == wire.ERROR
    return OpenFlowError(*struct.unpack_from("!HH", answer.back, 8))


@pytest.mark.parametrize(
    ("refused", "kind", "name", "message"),
    [
        (Elements(match=("ipv4_dst",)), "match", "ipv4_dst", AddFlow(_RULE)),
        (Elements(masks=("ipv4_dst",)), "masks", "ipv4_dst", DeleteFlow(_RULE)),
        (Elements(set=("eth_src",)), "set", "eth_src", AddFlow(_RULE)),
        (Elements(actions=("dec_nw_ttl",)), "actions", "dec_nw_ttl", AddFlow(_RULE)),
        (Elements(instructions=("meter",)), "instructions", "meter", AddFlow(_RULE)),
        (Elements(flags=("send_flow_rem",)), "flags", "send_flow_rem", AddFlow(_RULE)),
        (Elements(timeouts=("idle",)), "timeouts", "idle", AddFlow(_RULE)),
        (Elements(bucket_actions=("set_field",)), "bucket_actions", "set_field", _MESSAGES[3]),
        (Elements(groups=("select",)), "groups", "select", _MESSAGES[3]),
        (Elements(ports=("table",)), "ports", "table", _MESSAGES[5]),
        (Elements(messages=("meter_mod",)), "messages", "meter_mod", _MESSAGES[4]),
        (Elements(messages=("experimenter",)), "messages", "experimenter", _MESSAGES[8]),
    ],
)
def test_each_kind_is_refused_with_its_error(refused: Elements, kind: Kind, name: str, message: Message) -> None:
    data = _bytes(message)
    answer = PlayedSwitch(Profile(refuse=(refused,), quoted=8)).from_controller(data)
    assert _refused(answer) == error_of(kind, name)
    assert wire.xid_of(answer.back) == wire.xid_of(data)
    assert answer.back[12:] == data[:8]


def test_a_profile_that_says_nothing_passes_everything_as_it_is() -> None:
    played = PlayedSwitch(Profile())
    for message in _MESSAGES:
        data = _bytes(message)
        assert played.from_controller(data) == Answer(data)


def test_tables_that_the_switch_does_not_have_are_refused() -> None:
    assert _refused(PlayedSwitch(Profile(tables=3)).from_controller(_bytes(AddFlow(_RULE)))) == ERRORS["tables"]
    goto = PlayedSwitch(Profile(tables=4)).from_controller(_bytes(AddFlow(_RULE)))
    assert _refused(goto) == OpenFlowError(3, 2)
    assert PlayedSwitch(Profile(tables=5)).from_controller(_bytes(AddFlow(_RULE))).passed


def test_tables_may_have_other_numbers() -> None:
    played = PlayedSwitch(Profile(tables=2, numbered=(3, 4)))
    assert played.from_controller(_bytes(AddFlow(_RULE))).passed
    assert _refused(played.from_controller(_bytes(AddFlow(FlowRule(0, 1, (), 1))))) == ERRORS["tables"]


def test_features_tell_as_many_tables_as_the_profile_has() -> None:
    reply = wire.HEADER.pack(4, wire.FEATURES_REPLY, 32, 1) + struct.pack("!QIBB2xII", 1, 0, 254, 0, 0x4F, 0)
    assert PlayedSwitch(Profile(tables=3)).from_switch(reply)[20] == 3


def _stats(rule_message: bytes) -> bytes:
    """Open vSwitch lists the rule of a flow-mod: as it got it."""
    flow = wire.read_flow_mod(rule_message)
    match_and_more = rule_message[48:]
    entry = struct.pack(
        "!HBxIIHHHH4xQQQ", 48 + len(match_and_more), flow.table, 0, 0, flow.priority, flow.idle_timeout,
        flow.hard_timeout, flow.flags, flow.cookie, 5, 500,
    ) + match_and_more  # fmt: skip
    body = struct.pack("!HH4x", 1, 0) + entry
    return wire.HEADER.pack(4, wire.MULTIPART_REPLY, 8 + len(body), 1) + body


def test_what_is_ignored_is_left_out_of_the_rule_and_but_for_timeouts_listed_as_it_was_sent() -> None:
    ignored = Elements(actions=("dec_nw_ttl",), timeouts=("idle",), flags=("send_flow_rem",), instructions=("meter",))
    played = PlayedSwitch(Profile(ignore=(ignored,)))
    sent = _bytes(AddFlow(_RULE))
    passed = played.from_controller(sent).passed
    assert passed[12:] == _bytes(
        AddFlow(FlowRule(3, 40, _RULE.match, 7, (_RULE.actions[0], _RULE.actions[2]), goto=4))
    )[12:]  # fmt: skip
    listed = _stats(sent)
    at_idle = 16 + 14  # behind the headers of the reply
    assert listed[at_idle : at_idle + 2] != bytes(2)
    assert played.from_switch(_stats(passed)) == listed[:at_idle] + bytes(2) + listed[at_idle + 2 :]


def test_ignored_requests_are_swallowed() -> None:
    played = PlayedSwitch(Profile(ignore=(Elements(messages=("barrier_request",), multipart=("table_features",)),)))
    assert played.from_controller(_bytes(Barrier(4))) == Answer()
    request = wire.HEADER.pack(4, wire.MULTIPART_REQUEST, 16, 1) + struct.pack("!HH4x", 12, 0)
    assert played.from_controller(request) == Answer()


def test_the_connection_ends_where_the_profile_says_so() -> None:
    played = PlayedSwitch(Profile(close=(Elements(actions=("experimenter",)),)))
    assert played.from_controller(_bytes(_MESSAGES[2])) == Answer(closes=True)


def test_a_table_takes_no_more_rules_than_it_has_room_for_and_changes_of_those_that_it_has() -> None:
    played = PlayedSwitch(Profile(rules=1))
    assert played.adds_to(_bytes(AddFlow(_RULE))) == 3
    assert played.from_controller(_bytes(AddFlow(_RULE))).passed
    assert played.adds_to(_bytes(AddFlow(_RULE))) is None
    assert played.from_controller(_bytes(AddFlow(_RULE))).passed
    other = _bytes(AddFlow(FlowRule(3, 41, _RULE.match, 7)))
    assert _refused(played.from_controller(other)) == TABLE_FULL
    tables = struct.pack("!HH4x", 3, 0) + struct.pack("!B3xIQQ", 3, 0, 0, 0)
    played.note_held(wire.HEADER.pack(4, wire.MULTIPART_REPLY, 8 + len(tables), 1) + tables)
    assert played.from_controller(other).passed, "Open vSwitch has said that the table is empty"


def test_all_tables_together_have_the_room_that_the_profile_says() -> None:
    played = PlayedSwitch(Profile(all_rules=1))
    assert played.adds_to(_bytes(AddFlow(_RULE))) == 3
    assert played.from_controller(_bytes(AddFlow(_RULE))).passed
    assert _refused(played.from_controller(_bytes(AddFlow(FlowRule(1, 41, _RULE.match, 7))))) == TABLE_FULL


def test_groups_have_the_room_that_the_profile_says() -> None:
    played = PlayedSwitch(Profile(groups=1))
    assert played.from_controller(_bytes(_MESSAGES[3])).passed
    other = SetGroup(GroupRule(6, ()), exists=False)
    assert _refused(played.from_controller(_bytes(other))) == OUT_OF_GROUPS


def test_errors_of_open_vswitch_quote_what_the_controller_has_sent() -> None:
    played = PlayedSwitch(Profile(ignore=(Elements(actions=("dec_nw_ttl",)),), quoted=20))
    sent = _bytes(AddFlow(_RULE))
    passed = played.from_controller(sent).passed
    assert played.from_switch(wire.error(passed, OpenFlowError(5, 1), 64))[12:] == sent[:20]


def test_every_third_rule_that_replaces_one_deletes_it() -> None:
    played = PlayedSwitch(Profile(wrong=("replacing",)))
    commands = [wire.read_flow_mod(played.from_controller(_bytes(AddFlow(_RULE))).passed).command for _ in range(5)]
    assert commands == [wire.ADD, wire.ADD, wire.ADD, wire.DELETE_STRICT, wire.ADD]


_FRAME_AT = 42  # in what this makes


def _packet_in(frame: bytes) -> bytes:
    in_port = struct.pack("!HHHBBI4x", 1, 12, 0x8000, 0, 4, 1)
    body = struct.pack("!IHBBQ", 0xFFFFFFFF, len(frame), 1, 0, 7) + in_port + bytes(2) + frame
    return wire.HEADER.pack(4, wire.PACKET_IN, 8 + len(body), 0) + body


def test_lldp_can_be_swallowed_and_nothing_else() -> None:
    played = PlayedSwitch(Profile(wrong=("lldp",)))
    arp = _packet_in(builders.arp_request(bytes(6), bytes(4), bytes(4)))
    assert played.from_switch(arp) == arp
    assert not played.from_switch(_packet_in(bytes(12) + b"\x88\xcc" + bytes(40)))


def test_checksums_of_icmpv6_can_be_wrong_in_what_comes_to_the_controller() -> None:
    played = PlayedSwitch(Profile(wrong=("icmpv6_checksum",)))
    right = _packet_in(builders.neighbour_solicitation(bytes(6), bytes(15) + b"\1", bytes(16)))
    wrong = played.from_switch(right)
    different = [place for place, (a, b) in enumerate(zip(right, wrong, strict=True)) if a != b]
    assert different == [_FRAME_AT + 56, _FRAME_AT + 57]


def test_statistics_and_cookies_can_be_missing() -> None:
    played = PlayedSwitch(Profile(wrong=("statistics", "cookies")))
    passed = played.from_controller(_bytes(AddFlow(_RULE))).passed
    assert wire.read_flow_mod(passed).cookie == 0
    listed = played.from_switch(_stats(passed))
    assert struct.unpack_from("!QQQ", listed, 16 + 24) == (0, 0, 0)


def test_the_switch_describes_itself_as_its_profile_says() -> None:
    body = struct.pack("!HH4x", 0, 0) + b"Nicira, Inc.".ljust(256, b"\0") * 3 + bytes(288)
    reply = wire.HEADER.pack(4, wire.MULTIPART_REPLY, 8 + len(body), 1) + body
    said = PlayedSwitch(Profile(manufacturer="HPE", hardware="3810M", software="16")).from_switch(reply)
    assert len(said) == len(reply)
    assert [said[16 + at : 16 + at + 256].rstrip(b"\0") for at in (0, 256, 512)] == [b"HPE", b"3810M", b"16"]


@pytest.mark.parametrize("table", [3, 0xFF])
def test_a_rule_that_is_put_again_after_its_cookie_was_deleted_replaces_none(table: int) -> None:
    """So that a switch that loses every third rule that replaces another does not lose it."""
    played = PlayedSwitch(Profile(wrong=("replacing",)))
    delete = bytearray(_bytes(DeleteCookie(7)))
    delete[24] = table
    for _ in range(4):
        add = _bytes(AddFlow(_RULE))
        assert played.from_controller(add).passed == add
        assert played.from_controller(bytes(delete)).passed == bytes(delete)


def test_a_cookie_of_other_rules_deletes_none() -> None:
    played = PlayedSwitch(Profile(wrong=("replacing",)))
    passed = []
    for _ in range(4):
        add = _bytes(AddFlow(_RULE))
        passed.append(played.from_controller(add).passed == add)
        played.from_controller(_bytes(DeleteCookie(8)))
    assert passed == [True, True, True, False]
