"""Servers that are lost, for the tests of what becomes of them and of their flows."""

from __future__ import annotations

from scenes import SERVICE, ask, drops, the_binding

from anycast_sdn.control.losses import LOST_AFTER_S
from anycast_sdn.description.model import Port

AS2, LINK = Port("ars2", 1), Port("core", 11)
SYN, RST = 0x02, 0x04
NOTICED_S = 2.5  # a silence; a port that goes down is noticed at once
OVER_S = LOST_AFTER_S + 0.5


def poll(net, v6=False, port=123, **options):
    ask(net, service=SERVICE[v6], port=port, service_port=123, **options)


def pinned(build, v6=False, *hosts, **options):
    """figure 1 with one flow that is pinned to as2, the nearest."""
    net = build("figure1", *(hosts or ("as2", "as3")), **options)
    poll(net, v6)
    assert the_binding(net).server == net.host("as2").address(v6)
    return net


def server(net, v6=False):
    """The host that the only flow is pinned to, if any."""
    found = the_binding(net).server
    return next((name for name in ("as2", "as3", "as4") if net.host(name).address(v6) == found), None)


def die(net):
    net.set_port(AS2, False)
    net.advance(OVER_S)


def counted(net, name="arh1"):
    return {counter: drops(net, name).get(counter, 0) for counter in ("freed", "server_lost", "server_returned")}
