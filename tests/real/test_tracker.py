"""The simulated switch tracks connections as real Open vSwitch does, in userspace.

The same rules and packets are given to both.  Every packet comes back to the controller from a rule for its exact
ct_state, which writes ct_label and ct_nw_src into its Ethernet addresses: so cookie and frame say all that was found.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from bridge import Bridge, bridge, run
from support import is_userspace

from anycast_sdn.core.model import ICMP, ICMPV6, SCTP, TCP, UDP, FlowKey, packed
from anycast_sdn.openflow.builders import ip_packet
from anycast_sdn.openflow.pipeline import cookie, number_of
from anycast_sdn.openflow.row import Kind, Table
from anycast_sdn.openflow.rules import (
    CT_DNAT,
    CT_ESTABLISHED,
    CT_INVALID,
    CT_NEW,
    CT_RELATED,
    CT_REPLY,
    CT_SNAT,
    CT_TRACKED,
    OFPP_CONTROLLER,
    TCP_ACK,
    TCP_FIN,
    TCP_SYN,
    Action,
    AddFlow,
    EndConnection,
    Field,
    FlowRule,
    Load,
    Message,
    Move,
    Nat,
    Output,
    PacketOut,
    Resubmit,
    SetField,
    Track,
    eth_type,
    match,
)
from anycast_sdn.simulation.effects import PacketIn
from anycast_sdn.simulation.switch import SimulatedSwitch
from anycast_sdn.simulation.tracker import Tracker

ZONE, ELSEWHERE = 60131, 60132  # no other bridge of the machine's Open vSwitch uses them; zones are shared
FOUND, AGAIN, MOVED = Table.PIN, Table.TRACK_OUT, Table.TRACKED_OUT
OTHER_ZONE, LOOK_AGAIN = Table.RESTORE_IN, Table.EGRESS
PUSH = 0x08
LABEL, SECOND_LABEL = bytes(12) + b"\x02ABC", bytes(12) + b"\x02XYZ"
CLIENTS = range(1, 4)
packet_of = partial(ip_packet, eth_src=b"\x06\0\0\0\0\1", eth_dst=b"\x02\xac\0\0\0\1")
LOOK_UP = Track(ZONE, FOUND, translate=True)


def peer(v6: bool) -> bytes:
    return packed("::1" if v6 else "0.0.0.1")


def inside(v6: bool, client: int) -> bytes:
    return packed(f"1::{client}" if v6 else f"0.1.0.{client}")


def translated(v6: bool, client: int) -> bytes:
    return packed(f"2001:db8:1:f::{client}" if v6 else f"203.0.113.{client}")


def begin(v6: bool, client: int, label: bytes | None = None, table: int = FOUND) -> Track:
    address = translated(v6, client)
    return Track(ZONE, table, commit=True, nat=Nat(True, address, address), label=label)


def rules() -> Iterator[FlowRule]:
    for v6 in (False, True):
        family, first = ("ipv6", "ct_ipv6_src") if v6 else ("ipv4", "ct_nw_src")
        for state in range(CT_TRACKED, 2 * CT_DNAT):
            if state & CT_TRACKED:
                shown: list[Action] = [Move("ct_label", "eth_src", 48)]
                if state & (CT_NEW | CT_ESTABLISHED | CT_RELATED | CT_REPLY):
                    shown.append(Move(first, "eth_dst", 32))
                fields = eth_type(v6), Field("ct_state", state)
                yield rule(FOUND, state, (*shown, Output(OFPP_CONTROLLER)), *fields)
        label = Track(ZONE, FOUND, commit=True, label=SECOND_LABEL)
        away = packed("2001:db8::9" if v6 else "192.0.2.9")
        yield rule(AGAIN, 1, (label,), eth_type(v6))
        yield rule(MOVED, 2, (SetField(f"{family}_src", away), Load(f"{family}_dst", away), label), eth_type(v6))
        yield rule(LOOK_AGAIN, 3, (LOOK_UP,), eth_type(v6))
        yield rule(OTHER_ZONE, 4, (Track(ELSEWHERE, FOUND, commit=True, label=LABEL),), eth_type(v6))


def rule(table: int, number: int, actions: tuple[Action, ...], *fields: Field) -> FlowRule:
    return FlowRule(table, 100, match(*fields), cookie(Kind.ROUTE, number), actions)


class Both:
    """A real bridge and a simulated switch."""

    def __init__(self, real: Bridge) -> None:
        self._real = real
        self._simulated = SimulatedSwitch()
        for each in rules():
            self._simulated.install_foreign(each)
        real.send(*map(AddFlow, rules()))

    def forget(self) -> None:
        for zone in (ZONE, ELSEWHERE):
            run("ovs-appctl", "dpctl/flush-conntrack", f"zone={zone}")
        self._simulated.tracker = Tracker()

    def tell(self, message: Message) -> list[PacketIn]:
        self._real.send(message)
        return [effect for effect in self._simulated.apply(message, 0.0) if isinstance(effect, PacketIn)]

    def send(self, frame: bytes, *actions: Action) -> int:
        """→ ct_state of the packet, which must be the same in both, and so must all else."""
        (expected,) = self.tell(PacketOut(frame, OFPP_CONTROLLER, actions))
        got = self._real.packet_in()
        state = number_of(got.cookie)
        said = f"{frame.hex()} with {actions}: real {state:#x}, simulated {number_of(expected.cookie):#x}"
        assert (got.cookie, got.frame.hex()) == (expected.cookie, expected.frame.hex()), said
        return state


@pytest.fixture(scope="module")
def switches() -> Iterator[Both]:
    if not is_userspace():
        pytest.skip("the simulated tracker is that of the userspace datapath")
    with bridge() as real:
        yield Both(real)


@pytest.fixture
def both(switches: Both) -> Iterator[Both]:
    switches.forget()
    yield switches
    switches.forget()


def out(v6: bool, protocol: int, client: int = 1, port: int = 40000) -> FlowKey:
    return FlowKey(inside(v6, client), peer(v6), protocol, port, 80)


def back(v6: bool, protocol: int, client: int = 1, port: int = 40000) -> FlowKey:
    return FlowKey(peer(v6), translated(v6, client), protocol, 80, port)


in_both = pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])


@in_both
def test_tcp_begins_is_pinned_and_closes(both: Both, v6: bool) -> None:
    def client(flags: int, *actions: Action) -> int:
        return both.send(packet_of(out(v6, TCP), tcp_flags=flags, acknowledged=1), *(actions or (LOOK_UP,)))

    def server(flags: int, *actions: Action) -> int:
        return both.send(packet_of(back(v6, TCP), tcp_flags=flags, acknowledged=1), *(actions or (LOOK_UP,)))

    tracked_in = CT_TRACKED | CT_ESTABLISHED | CT_REPLY | CT_DNAT
    assert server(TCP_SYN | TCP_ACK) == CT_TRACKED | CT_INVALID
    assert client(TCP_SYN) == CT_TRACKED | CT_NEW
    assert client(TCP_SYN, begin(v6, 1)) == CT_TRACKED | CT_NEW | CT_SNAT
    assert client(TCP_SYN) == CT_TRACKED | CT_NEW | CT_SNAT
    assert server(TCP_SYN | TCP_ACK, Track(ZONE, AGAIN, translate=True)) == tracked_in
    assert client(TCP_ACK, begin(v6, 2, LABEL)) == CT_TRACKED | CT_ESTABLISHED | CT_SNAT  # the label alone changes
    assert server(TCP_ACK, Track(ZONE, MOVED, translate=True)) == tracked_in
    assert client(TCP_FIN) == CT_TRACKED | CT_INVALID | CT_SNAT
    assert client(TCP_FIN | TCP_ACK) == CT_TRACKED | CT_ESTABLISHED | CT_SNAT
    assert server(TCP_FIN | TCP_ACK) == tracked_in
    both.tell(EndConnection(ZONE, *out(v6, TCP)))
    assert server(TCP_ACK) == CT_TRACKED | CT_NEW
    assert client(TCP_SYN, begin(v6, 1)) == CT_TRACKED | CT_NEW | CT_SNAT


@in_both
def test_an_address_that_is_in_use_gives_tcp_and_udp_another_port_and_others_nothing(both: Both, v6: bool) -> None:
    for port in (500, 511, 513, 1023, 40000, 65535):
        for client in CLIENTS:
            frame = packet_of(out(v6, UDP, client, port), payload=b"data")
            assert both.send(frame, begin(v6, 1)) == CT_TRACKED | CT_NEW | CT_SNAT
    pings = [packet_of(FlowKey(inside(v6, client), peer(v6), ICMPV6 if v6 else ICMP, 0, 0)) for client in CLIENTS]
    others = [packet_of(FlowKey(inside(v6, client), peer(v6), 47, 0, 0), payload=b"data") for client in CLIENTS]
    for frames in (pings, others):
        first, *refused = (both.send(frame, begin(v6, 1)) for frame in frames)
        assert first == CT_TRACKED | CT_NEW | CT_SNAT
        assert refused == [CT_TRACKED | CT_NEW] * 2


def test_behind_a_look_up_a_rule_has_the_translated_frame(both: Both) -> None:
    frame = packet_of(out(False, UDP), payload=b"data")
    both.send(frame, begin(False, 1))
    both.send(frame, Track(ZONE, translate=True), Load("ipv4_dst", packed("192.0.2.9")), Resubmit(LOOK_AGAIN))


def test_any_packets_are_found_alike(both: Both) -> None:
    """Except closing TCP: what has ended holds its ends until Open vSwitch sweeps, and nobody knows when."""
    rng = random.Random(7)
    states = {both.send(*any_packet(rng)) for _ in range(400)}
    assert len(states) >= 10


def any_packet(rng: random.Random) -> tuple[bytes, Action]:
    v6, client, reply = rng.random() < 0.5, rng.choice(CLIENTS), rng.random() < 0.5
    icmp = ICMPV6 if v6 else ICMP
    protocol, port = rng.choice((TCP, TCP, UDP, icmp, SCTP, 47)), rng.choice((1000, 40000, 0))
    key = (back if reply else out)(v6, protocol, client, port)
    options = {"acknowledged": 1, "tcp_flags": rng.choice((TCP_SYN, TCP_SYN | TCP_ACK, TCP_ACK, TCP_ACK | PUSH, 0))}
    if protocol == icmp:
        options = {"icmp_type": rng.choice((128, 129, 133) if v6 else (0, 8, 13, 14)), "identifier": rng.choice((5, 6))}
    frame = packet_of(key, payload=b"data" if protocol in (UDP, 47) else b"", **options)
    damage = rng.random()
    if damage < 0.05:
        frame = frame[:-1] + bytes((frame[-1] ^ 1,))
    elif damage < 0.25:
        frame = _error_about(frame, v6, icmp, rng.choice((key, key, out(v6, protocol, client))).source)
    return frame, rng.choice(_ACTIONS)(v6, client)


def _error_about(frame: bytes, v6: bool, icmp: int, destination: bytes) -> bytes:
    """An error that quotes the packet whole: of TCP in less, Open vSwitch 3.1 writes the checksum behind its end."""
    router = packed("2001:db8::7" if v6 else "192.0.2.7")
    key = FlowKey(router, destination, icmp, 0, 0)
    return packet_of(key, icmp_type=1 if v6 else 3, identifier=0, sequence=0, payload=frame[14:])


_ACTIONS: tuple[Callable[[bool, int], Track], ...] = (
    lambda v6, client: LOOK_UP,
    lambda v6, client: Track(ZONE, FOUND),
    lambda v6, client: begin(v6, client),
    lambda v6, client: begin(v6, client, LABEL),
    lambda v6, client: Track(ZONE, FOUND, commit=True),
    lambda v6, client: Track(ZONE, FOUND, commit=True, label=SECOND_LABEL),
    lambda v6, client: Track(ZONE, AGAIN, translate=True),
    lambda v6, client: Track(ZONE, AGAIN),
    lambda v6, client: Track(ZONE, MOVED, translate=True),
    lambda v6, client: Track(ZONE, LOOK_AGAIN),
    lambda v6, client: Track(ZONE, LOOK_AGAIN, commit=True),
    lambda v6, client: Track(ZONE, OTHER_ZONE, translate=True),
)
