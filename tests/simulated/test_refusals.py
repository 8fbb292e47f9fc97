"""A client that a service cannot take learns it at once: a TCP SYN is reset, other packets get ICMP errors (M30)."""

from __future__ import annotations

import pytest
from scenes import SERVICE, ask, bindings, drops, errors

from anycast_sdn.core.model import TCP, UDP, Prefix
from anycast_sdn.core.roles import Pooling
from anycast_sdn.openflow.frames import parse_ip

RST_ACK = 0x14
TINY = (Prefix.parse("203.0.113.0/30"), Prefix.parse("2001:db8:1:f::/126"))  # two addresses each
PLENTY = {"bindings_per_client": 10, "bindings_per_port": 10, "pooling": Pooling.FLOW}
WHY = {
    "no_service": {},
    "no_able_edge": {},
    "pool_empty": PLENTY | {"translation_prefixes": TINY},
    "client_full": PLENTY | {"bindings_per_client": 2},
    "port_full": PLENTY | {"bindings_per_port": 2},
}


@pytest.fixture(params=WHY)
def refusing(request, build, v6):
    """(a network that refuses h1's flows from port 50000 on, the reason)"""
    why = request.param
    net = build("figure1") if why == "no_service" else build("figure1", "as2", **WHY[why])
    if why == "no_able_edge":
        net.set_port(net.host("as2").port, up=False)
        net.settle()
    elif WHY[why]:
        for port in (40000, 40001):
            ask(net, service=SERVICE[v6], port=port)
    net.host("h1").received.clear()
    return net, why


def test_a_syn_is_reset_by_the_service_at_once(refusing, v6):
    net, why = refusing
    before = bindings(net)
    net.send("h1", net.host("h1").packet(SERVICE[v6], TCP, 50000, 80, sequence=2**32 - 1))
    net.advance(0.01)
    (reset,) = net.host("h1").received  # no ICMP error besides; its checksums are correct, or the host raises
    packet = parse_ip(reset)
    assert packet.key[:2] == (SERVICE[v6], net.host("h1").address(v6))
    assert packet.key[3:] == (80, 50000)
    assert reset[packet.l4 + 13] == RST_ACK
    assert reset[packet.l4 + 4 : packet.l4 + 12] == bytes(8)  # sequence 0, acknowledges 2**32 - 1 and the SYN
    assert drops(net, "arh1") == {why: 1}
    assert bindings(net) == before


def test_another_packet_gets_an_icmp_error(refusing, v6):
    net, why = refusing
    for protocol, options in ((UDP, {}), (TCP, {"tcp_flags": 0x10})):
        net.send("h1", net.host("h1").packet(SERVICE[v6], protocol, 50000, 80, **options))
        net.advance(0.01)
    prohibited, host = ((1, 1), (1, 0)) if v6 else ((3, 13), (3, 1))
    assert errors(net.host("h1")) == [host if why.startswith("no_") else prohibited] * 2
    assert drops(net, "arh1") == {why: 2}


def test_resets_are_limited_in_rate(build, v6):
    net = build("figure1")
    h1 = net.host("h1")
    net.send("h1", *(h1.packet(SERVICE[v6], TCP, port, 80) for port in range(50000, 50300)))
    net.settle()
    assert drops(net, "arh1")["no_service"] == 300
    assert 100 <= len(h1.received) <= 110


def test_a_syn_that_is_refused_twice_is_reset_twice(refusing, v6):
    net, _ = refusing
    for _ in range(2):
        ask(net, service=SERVICE[v6], port=50000, protocol=TCP, service_port=80)
    assert len(net.host("h1").received) == 2
