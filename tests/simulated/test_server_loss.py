"""A flow does not outlive its server's death: it is bound anew, or its client is told at once (M32)."""

from __future__ import annotations

from scenes import SERVICE, ask, the_binding

from anycast_sdn.core.bindings import State
from anycast_sdn.description.model import Port

AS2 = Port("ars2", 1)


def test_a_flow_whose_server_is_lost_goes_to_another_one_with_the_same_address(build, v6):
    net = build("figure1", "as2", "as3")
    ask(net, service=SERVICE[v6], port=123, service_port=123)
    before = the_binding(net)
    assert before.server == net.host("as2").address(v6)
    net.set_port(AS2, False)
    net.advance(3.5)
    assert the_binding(net).state is State.UNANSWERED
    ask(net, service=SERVICE[v6], port=123, service_port=123)
    after = the_binding(net)
    assert (after.server, after.translated) == (net.host("as3").address(v6), before.translated)
