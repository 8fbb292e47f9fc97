"""The simulated connection tracker by itself: what is found, what ends, what is translated."""

from __future__ import annotations

import pytest

from anycast_sdn.core.model import ICMP, TCP, UDP, FlowKey, packed
from anycast_sdn.openflow.rules import (
    CT_DNAT,
    CT_ESTABLISHED,
    CT_INVALID,
    CT_NEW,
    CT_RELATED,
    CT_REPLY,
    CT_SNAT,
    CT_TRACKED,
    TCP_ACK,
    TCP_FIN,
    TCP_RST,
    TCP_SYN,
    Nat,
    Track,
)
from anycast_sdn.simulation.tracker import NOTHING, SWEEP_S, Found, Timeouts, Tracked, Tracker, reversed_key

ZONE = 4
INSIDE, PEER, PR1X, OTHER, SERVER = map(packed, ("0.1.0.10", "0.0.0.1", "203.0.113.9", "203.0.113.10", "10.2.0.10"))
LABEL = SERVER.rjust(16, b"\0")
OUT = FlowKey(INSIDE, PEER, TCP, 40000, 80)
IN = FlowKey(PEER, PR1X, TCP, 80, 40000)
LOOK_UP = Track(ZONE, 7, translate=True)
BEGIN = Track(ZONE, 7, commit=True, nat=Nat(True, PR1X, PR1X))
SYN_ACK = TCP_SYN | TCP_ACK
OUTWARD, INWARD = CT_TRACKED | CT_ESTABLISHED | CT_SNAT, CT_TRACKED | CT_ESTABLISHED | CT_REPLY | CT_DNAT
NEW, INVALID = CT_TRACKED | CT_NEW, CT_TRACKED | CT_INVALID


class Flow:
    """Packets of one flow through a tracker, one a second."""

    def __init__(self, protocol: int = TCP, tracker: Tracker | None = None) -> None:
        self.tracker = tracker or Tracker()
        self.protocol = protocol
        self.now = 0.0

    def client(self, flags: int = 0, action: Track = LOOK_UP, after_s: float = 1.0) -> Found:
        return self._packet(OUT, flags, action, after_s)

    def server(self, flags: int = 0, action: Track = LOOK_UP, after_s: float = 1.0) -> Found:
        return self._packet(IN, flags, action, after_s)

    def _packet(self, key: FlowKey, flags: int, action: Track, after_s: float) -> Found:
        self.now += after_s
        return self.tracker.track(Tracked(key._replace(protocol=self.protocol), flags), action, NOTHING, self.now)

    def open(self) -> Flow:
        self.client(TCP_SYN, BEGIN)
        self.server(SYN_ACK)
        self.client(TCP_ACK)
        return self

    def lasts(self, seconds: float) -> bool:
        """Is the connection there for so long, and no longer?"""
        there = len(self.tracker.connections(ZONE, self.now + seconds - 0.1))
        return bool(there) and not self.tracker.connections(ZONE, self.now + seconds)


def test_a_packet_of_no_connection_is_new_and_stays_as_it_is() -> None:
    assert Flow().client(TCP_SYN) == Found(ZONE, NEW, first=OUT)


def test_a_committed_connection_is_translated_in_both_directions() -> None:
    flow = Flow()
    begun = flow.client(TCP_SYN, BEGIN)
    assert (begun.state, begun.becomes) == (NEW | CT_SNAT, reversed_key(IN))
    answered = flow.server(SYN_ACK)
    assert (answered.state, answered.becomes) == (INWARD, reversed_key(OUT))
    assert flow.client(TCP_ACK).state == OUTWARD


def test_only_the_two_keys_of_a_connection_find_it() -> None:
    flow = Flow().open()
    for key in (reversed_key(OUT), reversed_key(IN), OUT._replace(destination=OTHER), IN._replace(destination=OTHER)):
        assert flow.tracker.track(Tracked(key, TCP_ACK), LOOK_UP, NOTHING, flow.now).state == NEW
    assert flow.tracker.track(Tracked(OUT, TCP_ACK), Track(ZONE + 1, 7), NOTHING, flow.now).state == NEW


def test_a_commit_on_a_known_connection_sets_its_label_only() -> None:
    flow = Flow().open()
    elsewhere = Track(ZONE, commit=True, nat=Nat(True, OTHER, OTHER), label=LABEL)
    found = flow.server(TCP_ACK, elsewhere)
    assert (found.label, found.becomes) == (LABEL, reversed_key(OUT))
    assert flow.client(TCP_ACK).becomes == reversed_key(IN)
    assert [connection.label for connection in flow.tracker.connections(ZONE, flow.now)] == [LABEL]


def test_a_translated_packet_is_found_again_in_its_zone_whatever_its_addresses_are_now() -> None:
    flow = Flow().open()
    first = flow.server(TCP_ACK)
    assert first.becomes
    pin = Track(ZONE, commit=True, label=LABEL)
    for key in (first.becomes, FlowKey(SERVER, OTHER, TCP, 80, 40000)):
        found = flow.tracker.track(Tracked(key, TCP_ACK), pin, first, flow.now)
        assert (found.label, found.becomes) == (LABEL, None)
    assert len(flow.tracker.connections(ZONE, flow.now)) == 1


@pytest.mark.parametrize("flags", [SYN_ACK, 0, TCP_FIN, TCP_SYN | TCP_FIN, TCP_SYN | TCP_RST])
def test_tcp_cannot_begin_with_these_flags(flags: int) -> None:
    assert Flow().client(flags, BEGIN).state == INVALID


@pytest.mark.parametrize("flags", [TCP_SYN, TCP_ACK, TCP_RST, TCP_FIN | TCP_ACK])
def test_tcp_can_be_picked_up_with_these_flags(flags: int) -> None:
    assert Flow().client(flags, BEGIN).state == NEW | CT_SNAT


def test_an_invalid_packet_of_a_known_connection_is_translated_and_keeps_it_no_longer() -> None:
    flow = Flow().open()
    assert flow.client(TCP_FIN).state == INVALID | CT_SNAT
    assert flow.lasts(Timeouts().tcp_established - 1)


def test_the_timeout_of_tcp_follows_its_state() -> None:
    flow = Flow()
    limits = Timeouts()
    flow.client(TCP_SYN, BEGIN)
    assert flow.lasts(limits.tcp_syn_sent)
    flow.server(SYN_ACK)
    assert flow.lasts(limits.tcp_syn_recv)
    flow.client(TCP_ACK)
    assert flow.lasts(limits.tcp_established)
    flow.client(TCP_FIN | TCP_ACK)
    assert flow.lasts(limits.tcp_fin_wait)
    flow.server(TCP_FIN | TCP_ACK)
    assert flow.lasts(limits.tcp_time_wait)
    flow.client(TCP_ACK)
    assert flow.lasts(limits.tcp_close)


def test_a_reset_closes_tcp() -> None:
    flow = Flow().open()
    flow.server(TCP_RST)
    assert flow.lasts(Timeouts().tcp_close)


def test_either_direction_keeps_a_connection_and_the_zone_may_have_its_own_timeouts() -> None:
    tracker = Tracker()
    tracker.timeouts[ZONE] = Timeouts(udp_first=10, udp_single=20, udp_multiple=300)
    flow = Flow(UDP, tracker)
    flow.client(action=BEGIN)
    assert flow.lasts(10)
    assert flow.client(after_s=9).state == NEW | CT_SNAT  # unanswered
    assert flow.lasts(20)
    assert flow.server(after_s=19).state == INWARD
    assert flow.client(after_s=299).state == OUTWARD
    assert flow.server(after_s=299).state == INWARD
    assert flow.client(after_s=300).state == NEW


def test_an_error_about_a_connection_is_related_and_does_not_keep_it() -> None:
    flow = Flow().open()
    about_out, about_in = (Tracked(key, related=True) for key in (IN, OUT))
    found = flow.tracker.track(about_out, LOOK_UP, NOTHING, flow.now + 9)
    assert (found.state, found.becomes) == (CT_TRACKED | CT_RELATED | CT_REPLY | CT_DNAT, reversed_key(OUT))
    found = flow.tracker.track(about_in, LOOK_UP, NOTHING, flow.now + 9)
    assert (found.state, found.becomes) == (CT_TRACKED | CT_RELATED | CT_SNAT, reversed_key(IN))
    assert flow.lasts(Timeouts().tcp_established)
    unknown = Tracked(IN._replace(destination_port=1), related=True)
    assert flow.tracker.track(unknown, BEGIN, NOTHING, flow.now).state == INVALID


def test_a_connection_that_is_ended_is_gone_at_once() -> None:
    flow = Flow().open()
    assert not flow.tracker.end(ZONE, IN, flow.now)
    assert flow.tracker.end(ZONE, OUT, flow.now)
    assert not flow.tracker.end(ZONE, OUT, flow.now)
    assert flow.server(TCP_ACK).state == NEW
    assert flow.client(TCP_SYN, BEGIN).becomes == reversed_key(IN)


def test_what_has_ended_by_itself_holds_its_translated_ends_until_the_next_sweep() -> None:
    flow = Flow().open()
    flow.tracker.expire(flow.now)
    flow.server(TCP_RST)
    assert flow.client(TCP_SYN).state == NEW
    assert flow.server(TCP_ACK).state == INVALID
    begun = flow.client(TCP_SYN, BEGIN)
    assert begun.becomes == reversed_key(IN)._replace(source_port=40001)
    flow.tracker.end(ZONE, OUT, flow.now)
    flow.now += SWEEP_S
    flow.tracker.expire(flow.now)
    assert flow.client(TCP_SYN, BEGIN).becomes == reversed_key(IN)


def test_a_range_gives_many_addresses() -> None:
    tracker = Tracker()
    wide = Track(ZONE, 7, commit=True, nat=Nat(True, packed("203.0.113.1"), packed("203.0.113.254")))
    keys = [OUT._replace(source_port=port) for port in range(1000, 1100)]
    found = [tracker.track(Tracked(key, TCP_SYN), wide, NOTHING, 0).becomes for key in keys]
    assert len({ends.source for ends in found if ends}) > 50
    assert [ends.source_port for ends in found if ends] == list(range(1000, 1100))


def test_where_the_address_is_in_use_tcp_gets_another_port_and_other_protocols_go_on_as_they_are() -> None:
    tracker = Tracker()

    def begin(key: FlowKey) -> Found:
        return tracker.track(Tracked(key, TCP_SYN if key.protocol == TCP else 0), BEGIN, NOTHING, 0)

    clients = [OUT._replace(source=packed(f"0.1.0.{number}")) for number in range(1, 4)]
    ends = [begin(key).becomes for key in clients]
    assert [each and (each.source, each.source_port) for each in ends] == [(PR1X, port) for port in range(40000, 40003)]
    pings = [begin(key._replace(protocol=ICMP, source_port=7, destination_port=8 << 8)) for key in clients]
    assert [found.state for found in pings] == [NEW | CT_SNAT, NEW, NEW]


def test_a_full_zone_lets_packets_go_on_as_they_are() -> None:
    tracker = Tracker()
    tracker.limits[ZONE] = 1
    assert Flow(UDP, tracker).client(action=BEGIN).state == NEW | CT_SNAT
    other = Tracked(OUT._replace(protocol=UDP, source_port=1))
    assert tracker.track(other, BEGIN, NOTHING, 1) == Found(ZONE, NEW, first=other.key)
