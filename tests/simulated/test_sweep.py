"""Bindings without timeouts in the switch: the controller's sweep of their counters ends them (M19)."""

from __future__ import annotations

from scenes import SERVICE, ask, bindings, client_edge, payloads, the_binding

from anycast_sdn.core.model import TCP, UDP
from anycast_sdn.core.roles import Expiry
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.simulation.host import TCP_ACK

SHORT = {"udp_s": 4, "unanswered_s": 2}
FIN = 0x01


def binding_rules(net):
    kinds = (Kind.BINDING_OUT_UNANSWERED, Kind.BINDING_OUT, Kind.BINDING_IN)
    return [rule for rule in net.switches["arh1"].flows.values() if kind_of(rule.cookie) in kinds]


def keep_silent(frame, packet):
    return ()


def life_s(net) -> float:
    """Seconds from now until no binding is left."""
    start = net.now
    while bindings(net):
        net.advance(0.25)
    return net.now - start


def swept(build, **options):
    return build("figure1", "as2", expiry=Expiry.SWEEP, validity=SHORT, **options)


def test_an_idle_flow_ends_after_its_validity_and_not_before(build, v6):
    net = swept(build)
    ask(net, service=SERVICE[v6])
    assert [rule.idle_timeout for rule in binding_rules(net)] == [0, 0]
    assert 4 <= life_s(net) <= 4 + 1 + 2  # counters may be late, and a sweep comes every second
    net.settle()
    assert binding_rules(net) == []
    assert client_edge(net).addresses.use(net.now)["ipv6" if v6 else "ipv4"].resting == 1


def test_an_unanswered_flow_ends_soon(build):
    net = swept(build)
    net.host("as2").on_packet = keep_silent
    ask(net)
    assert 2 <= life_s(net) <= 5


def test_a_stream_from_the_client_alone_keeps_the_whole_binding(build, v6):
    net = swept(build)
    ask(net, service=SERVICE[v6])
    before = the_binding(net)
    net.host("as2").on_packet = keep_silent
    for _ in range(8):
        net.advance(3)
        ask(net, service=SERVICE[v6])
    assert the_binding(net) == before
    assert len(binding_rules(net)) == 2


def test_a_stream_from_the_server_alone_keeps_the_whole_binding(build, v6):
    net = swept(build)
    ask(net, service=SERVICE[v6])
    before = the_binding(net)
    as2 = net.host("as2")
    for _ in range(8):
        net.advance(3)
        net.send("as2", as2.packet(before.translated, UDP, 53, 40000, payload=b"news"))
    net.settle()
    assert the_binding(net) == before
    assert payloads(net.host("h1").received)[1:] == [b"news"] * 8


def test_a_closed_connection_ends_within_seconds(build):
    net = swept(build)
    ask(net, protocol=TCP, service_port=80)
    as2 = net.host("as2")
    net.send("as2", as2.packet(the_binding(net).translated, TCP, 80, 40000, tcp_flags=FIN | TCP_ACK))
    net.settle()
    ask(net, protocol=TCP, service_port=80, tcp_flags=FIN | TCP_ACK)
    assert life_s(net) <= 6


def test_few_bindings_have_timeouts_and_only_those_beyond_are_swept(build):
    net = build("figure1", "as2", validity=SHORT, expiry=Expiry.AUTO, idle_timeouts=3)
    for port in range(40000, 40005):
        ask(net, port=port)
    assert [binding.swept for binding in bindings(net)] == [False] * 3 + [True] * 2
    assert sorted(rule.idle_timeout for rule in binding_rules(net)) == [0] * 4 + [4] * 6
    assert life_s(net) <= 8
    ask(net, port=40009)
    assert not the_binding(net).swept


def test_a_restart_takes_swept_bindings_over(build):
    net = swept(build)
    ask(net)
    before = the_binding(net)
    net.restart_controller()
    net.settle()
    kept = {"since": 0, "choice": 0, "reply_s": None}  # these are not in the switch
    assert the_binding(net)._replace(**kept) == before._replace(**kept)
    assert life_s(net) <= 8
