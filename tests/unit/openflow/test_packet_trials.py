"""The dialogue in which packets are sent through a switch and come back."""

from __future__ import annotations

import struct

from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.openflow.abilities import Ability, Lack
from anycast_sdn.openflow.layout import FIVE_TABLES
from anycast_sdn.openflow.packet_probes import NO_ANSWER, PacketProbe, number_in, packet_probes
from anycast_sdn.openflow.packet_trials import PacketTrials
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

    ``lost``: numbers of packets that it does not send back, each with how often; ``refused``: it refuses so many rules.
    """

    def __init__(self, lost: dict[int, int] | None = None, refused: int = 0) -> None:
        super().__init__()
        self.lost = lost or {}
        self.sent_through: list[int] = []
        self.found: list[tuple[Lack, ...]] = []
        self.removed = 0
        PacketTrials(self.connection, NONCE, self.found.append).begin()
        for _ in range(40):
            for kind, xid, body in self.sent():
                if kind == ofp.OFPT_FLOW_MOD and refused > 0:
                    refused -= 1
                    self.say(error(ofp.OFPET_BAD_MATCH, ofp.OFPBMC_BAD_FIELD, xid=xid))
                self.answer(kind, xid, body)
            self.now += 0.25
            self.connection.tick(self.now)

    def answer(self, kind: int, xid: int, body: bytes) -> None:
        if kind == ofp.OFPT_BARRIER_REQUEST:
            self.say(message(ofp.OFPT_BARRIER_REPLY, b"", xid))
        elif kind == ofp.OFPT_ECHO_REQUEST:
            self.say(message(ofp.OFPT_ECHO_REPLY, body, xid))
        elif kind == ofp.OFPT_PACKET_OUT:
            number = number_in(body, NONCE)
            assert number is not None
            self.sent_through.append(number)
            if self.lost.get(number, 0) > 0:
                self.lost[number] -= 1
            else:
                self.say(packet_in(PROBES[number].wanted))
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
