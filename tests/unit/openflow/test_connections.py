"""openflow.connections: how a connection of the tracker begins and ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.core.model import ICMP, ICMPV6, SCTP, TCP, UDP, WHOLE, packed
from anycast_sdn.openflow import codec
from anycast_sdn.openflow.connections import can_end, with_first_packet
from anycast_sdn.openflow.layout import FIVE_TABLES, THREE_TABLES, Layout
from anycast_sdn.openflow.rules import BeginConnection, EndConnection
from tests.unit.openflow.test_codec import DATAPATH, encode

ECHO = 8 << 8  # type and code of an echo request


@st.composite
def beginnings(draw: st.DrawFn) -> BeginConnection:
    size = draw(st.sampled_from((4, 16)))
    address = st.binary(min_size=size, max_size=size)
    frame, zone, port = draw(st.binary(max_size=1600)), draw(st.integers(1, 65535)), draw(st.integers(0, 65535))
    server = draw(st.none() | address)
    return BeginConnection(frame, draw(address), draw(address), draw(address), server, zone, port)


@pytest.mark.parametrize("layout", [FIVE_TABLES, THREE_TABLES], ids=["five tables", "three"])
@given(first=beginnings(), second=beginnings())
def test_a_template_gives_the_bytes_of_the_serialiser(
    layout: Layout, first: BeginConnection, second: BeginConnection
) -> None:
    encode = codec.encoder(layout).encode
    messages = [first, second, first]
    assert encode(DATAPATH, messages) == encode(DATAPATH, map(with_first_packet, messages))


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
