"""openflow.connections: how a connection of the tracker begins and ends."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.core.model import ICMP, ICMPV6, SCTP, TCP, UDP, WHOLE, Prefix, packed
from anycast_sdn.core.roles import Conntrack
from anycast_sdn.core.tracked_address import TrackedLayout
from anycast_sdn.openflow import codec, tracked_entries
from anycast_sdn.openflow.connections import can_end, with_first_packet
from anycast_sdn.openflow.layout import FIVE_TABLES, THREE_TABLES, Layout
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import (
    OFPP_CONTROLLER,
    Action,
    BeginConnection,
    EndConnection,
    Load,
    Move,
    SetField,
    Track,
)
from tests.unit.openflow.test_codec import DATAPATH, encode

ECHO = 8 << 8  # type and code of an echo request


@st.composite
def beginnings(draw: st.DrawFn) -> BeginConnection:
    size = draw(st.sampled_from((4, 16)))
    address = st.binary(min_size=size, max_size=size)
    frame, zone, port = draw(st.binary(max_size=1600)), draw(st.integers(1, 65535)), draw(st.integers(0, 65535))
    server = draw(st.none() | address)
    in_port = draw(st.integers(1, OFPP_CONTROLLER))
    return BeginConnection(frame, draw(address), draw(address), draw(address), server, zone, port, in_port)


@pytest.mark.parametrize("layout", [FIVE_TABLES, THREE_TABLES], ids=["five tables", "three"])
@given(first=beginnings(), second=beginnings())
def test_a_template_gives_the_bytes_of_the_serialiser(
    layout: Layout, first: BeginConnection, second: BeginConnection
) -> None:
    encode = codec.encoder(layout).encode
    messages = [first, second, first]
    assert encode(DATAPATH, messages) == encode(DATAPATH, map(with_first_packet, messages))


def registers(actions: Iterable[Action]) -> set[str]:
    written = {action.name for action in actions if isinstance(action, SetField | Load)}
    written |= {action.destination for action in actions if isinstance(action, Move)}
    return {name for name in written if "reg" in name}


@pytest.mark.parametrize(
    ("client", "web"), [("10.1.0.0/24", "198.18.0.1/32"), ("2001:db8:1::/64", "2001:db8:a::1/128")]
)
def test_a_first_packet_comes_to_the_tracker_as_any_packet_of_its_client(client: str, web: str) -> None:
    """Open vSwitch makes a datapath flow for it alone if its ingress port, registers or next table are different."""
    subnet, service = Prefix.parse(client), Prefix.parse(web)
    rules = tracked_entries.service(service, 1, "web", TrackedLayout((subnet,), subnet.bits), Conntrack())
    rule = next(rule for rule in rules if kind_of(rule.cookie) is Kind.TRACK_OUT)
    own = rule.actions[-1]
    assert isinstance(own, Track)
    inside = translated = subnet.network
    sent = with_first_packet(BeginConnection(b"", inside, service.network, translated, None, own.zone, 7, in_port=3))
    (*_, begun) = sent.actions
    assert isinstance(begun, Track)
    assert (sent.in_port, begun.zone, begun.table) == (3, own.zone, own.table)
    assert registers(sent.actions) == registers(rule.actions)


def flow(source: str, destination: str, protocol: int, source_port: int, destination_port: int) -> EndConnection:
    return EndConnection(4, packed(source), packed(destination), protocol, source_port, destination_port)


@pytest.mark.parametrize(
    ("message", "body"),
    [  # behind the header, as ovs-ofctl 3.1.0 sends it: ct-flush BRIDGE zone=4 ct_nw_src=…
        (flow("1.2.3.4", "0.0.0.1", TCP, 1000, 80),
         "0000232000000020" "0600000000000000" "0000004800000000"
         "0000001400000000000000000000ffff0102030400000000" "0001001400000000000000000000ffff0000000100000000"
         "0002000803e80000" "0003000800500000" "0002000800040000"),
        (flow("2001::5", "::1", UDP, 1000, 80),
         "0000232000000020" "1100000000000000" "0000004800000000"
         "000000142001000000000000000000000000000500000000" "000100140000000000000000000000000000000100000000"
         "0002000803e80000" "0003000800500000" "0002000800040000"),
        (flow("1.2.3.4", "0.0.0.1", ICMP, 77, ECHO),  # there an empty tuple of the replies follows
         "0000232000000020" "0100000000000000" "0000005000000000"
         "0000001400000000000000000000ffff0102030400000000" "0001001400000000000000000000ffff0000000100000000"
         "00040008004d0000" "0005000508000000" "0006000500000000" "0002000800040000"),
    ],
)  # fmt: skip
def test_a_connections_end_has_the_bytes_of_ovs_ofctl(message: EndConnection, body: str) -> None:
    sent = encode(DATAPATH, [message])
    assert sent[8:].hex() == body
    built = codec._build(DATAPATH, message)
    built.xid = 0
    assert sent == codec.serialised(DATAPATH, built)


@pytest.mark.parametrize(
    ("message", "is_sent"),
    [
        (flow("2001::5", "::1", ICMPV6, 7, 128 << 8), False),  # Open vSwitch aborts
        (flow("1.2.3.4", "0.0.0.1", ICMP, 7, 3 << 8), False),  # as well
        (flow("1.2.3.4", "0.0.0.1", ICMP, 0, ECHO), True),
        (flow("1.2.3.4", "0.0.0.1", TCP, 0, 80), False),  # any port
        (flow("1.2.3.4", "0.0.0.1", UDP, 1000, 0), False),
        (flow("1.2.3.4", "0.0.0.1", WHOLE, 0, 0), False),
        (flow("1.2.3.4", "0.0.0.1", SCTP, 0, 0), True),  # a tracker that does not know its ports
        (flow("2001::5", "::1", 47, 0, 0), True),
    ],
)
def test_what_would_do_more_than_to_end_a_connection_is_not_sent(message: EndConnection, is_sent: bool) -> None:
    assert can_end(message) is is_sent
    assert bool(encode(DATAPATH, [message])) is is_sent
