"""The dialogue in which packets are sent through a switch and come back."""

from __future__ import annotations

import struct

import pytest
from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.openflow.abilities import Ability, Lack
from anycast_sdn.openflow.layout import FIVE_TABLES
from anycast_sdn.openflow.packet_probes import NO_ANSWER, PacketProbe, number_in, packet_probes
from anycast_sdn.openflow.packet_trials import FEW, MOST, PacketTrials
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import OFPP_CONTROLLER
from tests.unit.switch_end import Peer, error, message

NONCE = b"in no other packet"
PROBES = packet_probes(FIVE_TABLES, NONCE)
IN_PORT = struct.pack("!HHHBBI4x2x", 1, 12, 0x8000, 0, 4, OFPP_CONTROLLER)


def packet_in(frame: bytes) -> bytes:
    usual = struct.pack("!IHBBQ", 0xFFFFFFFF, len(frame), 1, 0, 0xFFFFFFFFFFFFFFFF)
    return message(ofp.OFPT_PACKET_IN, usual + IN_PORT + frame)


class Through(Peer):
    """A switch that sends each packet back as it has to be.

    ``lost``: numbers of packets that it does not send back, each with how often; ``refused``: it refuses so many rules;
    ``a_second``: it sends up so many packets a second, None: all; ``late_s``: until it answers anything.
    """

    def __init__(
        self, lost: dict[int, int] | None = None, refused: int = 0, a_second: int | None = None, late_s: float = 0.0
    ) -> None:
        super().__init__()
        self.a_second = self.left = a_second
        self.waiting: list[tuple[float, bytes]] = []
        self.lost = lost or {}
        self.sent_through: list[int] = []
        self.found: list[tuple[Lack, ...]] = []
        self.removed = 0
        PacketTrials(self.connection, NONCE, self.found.append).begin()
        for step in range(160):
            for kind, xid, body in self.sent():
                if kind == ofp.OFPT_FLOW_MOD and refused > 0:
                    refused -= 1
                    self.later(error(ofp.OFPET_BAD_MATCH, ofp.OFPBMC_BAD_FIELD, xid=xid), late_s)
                self.answer(kind, xid, body, late_s)
            while self.waiting and self.waiting[0][0] <= self.now:
                self.say(self.waiting.pop(0)[1])
            self.now += 0.25
            if step % 4 == 3:
                self.left = a_second
            self.connection.tick(self.now)

    def later(self, answer: bytes, late_s: float) -> None:
        self.waiting.append((self.now + late_s, answer))

    def answer(self, kind: int, xid: int, body: bytes, late_s: float) -> None:
        if kind == ofp.OFPT_BARRIER_REQUEST:
            self.later(message(ofp.OFPT_BARRIER_REPLY, b"", xid), late_s)
        elif kind == ofp.OFPT_ECHO_REQUEST:
            self.later(message(ofp.OFPT_ECHO_REPLY, body, xid), late_s)
        elif kind == ofp.OFPT_PACKET_OUT:
            number = number_in(body, NONCE)
            assert number is not None
            self.sent_through.append(number)
            if self.lost.get(number, 0) > 0:
                self.lost[number] -= 1
            elif self.left is None or self.left > 0:
                self.left = None if self.left is None else self.left - 1
                self.later(packet_in(PROBES[number].wanted), late_s)
        elif kind == ofp.OFPT_FLOW_MOD and body[17] == ofp.OFPFC_DELETE:
            self.removed += 1


def number_of(table: Table) -> int:
    """A packet that is changed there."""
    return next(number for number, probe in enumerate(PROBES) if probe.table is table and not probe.plain)


def test_a_switch_that_sends_all_back_is_asked_once_and_lacks_nothing() -> None:
    switch = Through()
    assert switch.found == [()]
    assert sorted(switch.sent_through) == list(range(len(PROBES)))
    assert switch.removed == 1, "the rules are gone again"
    assert switch.listener.names() == [], "nobody else sees these packets"


def test_a_packet_that_was_lost_is_sent_once_more() -> None:
    lost = number_of(Table.ROUTES)
    switch = Through({lost: 1})
    assert switch.found == [()]
    assert switch.sent_through.count(lost) == 2


@pytest.mark.parametrize("a_second", [10, 5, 3])
def test_a_switch_that_limits_what_it_sends_up_is_asked_until_all_is_back(a_second: int) -> None:
    assert Through(a_second=a_second).found == [()]


def test_what_a_switch_that_limits_what_it_sends_up_never_sends_back_is_a_lack() -> None:
    lost = number_of(Table.CLIENT_OUT)
    switch = Through({lost: 99}, a_second=10)
    assert switch.found == [(Lack(Ability.SET_IPV4, 1, NO_ANSWER, Table.CLIENT_OUT),)]
    assert switch.sent_through.count(lost) <= 1 + MOST


def test_of_a_switch_that_sends_up_hardly_anything_no_lack_is_told() -> None:
    switch = Through(a_second=1)
    assert switch.found == [()]
    assert len(switch.sent_through) <= len(PROBES) + MOST * (FEW + 1), "it is not asked for ever"


def test_a_switch_that_does_everything_2_s_late_lacks_nothing() -> None:
    switch = Through(late_s=2.0)
    assert switch.found == [()]
    assert len(switch.sent_through) == len(PROBES), "it is waited for, not asked again"
    shows = Through({number_of(Table.CLIENT_OUT): 99}, late_s=2.0)
    assert shows.found == [(Lack(Ability.SET_IPV4, 1, NO_ANSWER, Table.CLIENT_OUT),)]


def test_a_packet_that_never_comes_back_is_a_lack() -> None:
    switch = Through({number_of(Table.CLIENT_OUT): 9})
    assert switch.found == [(Lack(Ability.SET_IPV4, 1, NO_ANSWER, Table.CLIENT_OUT),)]


def test_a_switch_that_sends_nothing_back_is_not_asked_again() -> None:
    switch = Through(dict.fromkeys(range(len(PROBES)), 9))
    assert switch.found == [()]
    assert len(switch.sent_through) == len(PROBES)


def test_packets_whose_rules_are_refused_are_not_sent() -> None:
    switch = Through(refused=1)
    assert switch.found == [()]
    assert len(switch.sent_through) == len(PROBES) - 1


def test_packets_of_others_are_passed_on_meanwhile() -> None:
    peer = Peer()
    found: list[tuple[Lack, ...]] = []
    PacketTrials(peer.connection, NONCE, found.append).begin()
    barrier = next(xid for kind, xid, _ in peer.sent() if kind == ofp.OFPT_BARRIER_REQUEST)
    peer.say(message(ofp.OFPT_BARRIER_REPLY, b"", barrier))
    probe: PacketProbe = PROBES[0]
    peer.say(packet_in(probe.wanted.replace(NONCE, bytes(len(NONCE)))))
    assert peer.listener.names() == ["packet_in"]
    assert not found
