"""A flow belongs to the server that answered first, until it ends (M17, M20)."""

from __future__ import annotations

from scenes import (
    SECOND_SERVICE,
    SERVICE,
    ask,
    bindings,
    both_engines,
    client_edge,
    drops,
    group,
    payloads,
    the_binding,
    web,
)

from anycast_sdn.core.bindings import State
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import UDP, AnycastGroup, FlowKey, Prefix, Server
from anycast_sdn.description.model import Port
from anycast_sdn.openflow.frames import parse_ip
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.row import Kind

pytestmark = both_engines


def keep_silent(frame, packet):
    return ()


def hand_over(net, here, there, v6):
    """``here`` passes requests on to ``there``, which answers them from its own address."""
    first, second = net.host(here), net.host(there)
    first.on_packet = lambda frame, packet: [first.packet(second.address(v6), UDP, 9, 9, payload=frame)]

    def answer(frame, packet):
        if packet.key.destination_port != 9:
            return second.serve(frame, packet)
        request = frame[packet.l4 + 8 : packet.end]
        return [second.reply(request, parse_ip(request), source=second.address(v6))]

    second.on_packet = answer


def reply(net, server, v6=False, port=40000):
    """The server sends a packet to the client of the only binding, without a request."""
    host = net.host(server)
    net.send(server, host.packet(the_binding(net).translated, UDP, 53, port, payload=b"more"))
    net.settle()


def test_the_server_that_a_request_was_handed_over_to_gets_the_flow(build, v6):
    net = build("figure1", "as2", "as3")
    hand_over(net, "as2", "as3", v6)
    ask(net, service=SERVICE[v6], payload=b"first")
    as3 = net.host("as3").address(v6)
    assert the_binding(net).server == as3
    assert net.host("h1").flows() == [FlowKey(SERVICE[v6], net.host("h1").address(v6), UDP, 53, 40000)]
    ask(net, service=SERVICE[v6], payload=b"second")
    assert len(net.host("as2").received) == 1
    assert net.host("as3").flows()[-1] == FlowKey(the_binding(net).translated, as3, UDP, 40000, 53)
    assert payloads(net.host("h1").received) == [b"first", b"second"]


def test_a_host_that_is_not_enrolled_cannot_pin_a_flow(build, v6):
    net = build("figure1", "as2")
    net.host("as2").on_packet = keep_silent
    ask(net, service=SERVICE[v6])
    reply(net, "as3", v6)
    assert the_binding(net).state is State.UNANSWERED
    assert net.host("h1").received == []
    assert drops(net, "arh1") == {"unknown_translated": 1}  # the switch dropped it by itself


def test_a_server_of_another_group_cannot_pin_a_flow(build):
    net = build("figure1", "as2")
    both = Groups(
        {
            "web": group(net.network, "web", SERVICE, "as2"),
            "dns": group(net.network, "dns", SECOND_SERVICE, "as3"),
        }
    )
    net.set_groups(both)
    net.settle()
    net.host("as2").on_packet = keep_silent
    ask(net)
    reply(net, "as3")
    assert the_binding(net).state is State.UNANSWERED
    assert net.host("h1").received == []
    assert drops(net, "arh1") == {"stranger_reply": 1}


def test_a_reply_with_other_ports_cannot_pin_a_flow(build):
    net = build("figure1", "as2")
    net.host("as2").on_packet = keep_silent
    ask(net)
    reply(net, "as2", port=40001)
    assert the_binding(net).state is State.UNANSWERED
    assert drops(net, "arh1") == {"stranger_reply": 1}


def test_once_a_flow_is_pinned_replies_of_another_server_of_its_group_are_dropped(build):
    net = build("figure1", "as2", "as3")
    ask(net)
    reply(net, "as3")
    assert the_binding(net).server == net.host("as2").address(False)
    assert len(net.host("h1").received) == 1
    assert drops(net, "arh1") == {"stranger_reply": 1}


def test_a_server_may_answer_more_than_once(build):
    net = build("figure1", "as2")
    ask(net)
    reply(net, "as2")
    reply(net, "as2")
    assert payloads(net.host("h1").received)[1:] == [b"more", b"more"]


def test_a_pinned_flow_stays_when_another_server_becomes_nearest(build, v6):
    net = build("figure1", "as2", "as3")
    ask(net, service=SERVICE[v6])
    net.set_cost(Port("core", 11), 50)
    net.settle()
    ask(net, service=SERVICE[v6])
    ask(net, service=SERVICE[v6], port=40001)
    old, new = bindings(net)
    assert old.server == net.host("as2").address(v6)
    assert new.server == net.host("as3").address(v6)
    assert len(net.host("as2").received) == 2
    assert len(net.host("h1").received) == 3


def test_a_removed_server_keeps_its_flows_and_gets_no_new_ones(build, v6):
    net = build("figure1", "as2", "as3")
    ask(net, service=SERVICE[v6])
    net.set_groups(web(net.network, "as3"))
    net.settle()
    ask(net, service=SERVICE[v6])
    ask(net, service=SERVICE[v6], port=40001)
    old, new = bindings(net)
    assert old.server == net.host("as2").address(v6)
    assert new.server == net.host("as3").address(v6)
    assert len(net.host("h1").received) == 3


def test_a_draining_server_keeps_its_flows_and_gets_no_new_ones(build):
    net = build("figure1", "as2", "as3")
    ask(net)
    net.set_groups(web(net.network, "as2", "as3", draining=["as2"]))
    net.settle()
    ask(net)
    ask(net, port=40001)
    assert [binding.server for binding in bindings(net)] == [
        net.host("as2").address(False),
        net.host("as3").address(False),
    ]


def test_a_removed_server_keeps_its_flow_also_after_its_half_was_idle(build):
    net = build("figure1", "as2", "as3", validity={"udp_s": 3})
    ask(net)
    net.set_groups(web(net.network, "as3"))
    net.host("as2").on_packet = keep_silent
    for _ in range(8):
        net.advance(1)
        ask(net)
    assert not any(kind_of(rule.cookie) is Kind.BINDING_IN for rule in net.switches["arh1"].flows.values())
    reply(net, "as2")
    assert payloads(net.host("h1").received)[-1] == b"more"
    assert the_binding(net).server == net.host("as2").address(False)


def test_a_pinned_flow_survives_the_end_of_its_group(build):
    net = build("figure1", "as2")
    ask(net)
    net.set_groups(Groups({}))
    net.settle()
    ask(net)
    assert len(net.host("h1").received) == 2
    ask(net, port=40001)
    assert len(bindings(net)) == 1
    assert drops(net, "arh1") == {"no_service": 1}


def test_replies_of_a_removed_server_are_dropped_once_its_last_flow_has_ended(build):
    net = build("figure1", "as2", "as3", validity={"udp_s": 3})
    ask(net)
    translated = the_binding(net).translated
    net.set_groups(web(net.network, "as3"))
    net.advance(5)
    assert bindings(net) == []
    as2 = net.host("as2")
    net.send("as2", as2.packet(translated, UDP, 53, 40000))
    net.settle()
    assert drops(net, "arh1") == {"unknown_translated": 1}


def test_a_pinned_flow_reaches_its_server_by_another_path_when_a_link_fails(build):
    net = build("two-sites")
    ask(net)  # by c1 and c2
    net.set_port(Port("c1", 1), up=False)  # M24: now by c1, c4, c3 and c2
    net.settle()
    ask(net)
    assert len(net.seen("c1", "c2")) == 1
    assert len(net.seen("c3", "c2")) == 1
    assert len(net.host("as1").received) == 2
    assert len(net.host("h1").received) == 2


def test_a_flow_revived_to_a_server_that_is_not_enrolled_any_more_has_all_rules_that_it_needs(build, v6):
    net = build("figure1", "as2", validity={"udp_s": 3})
    ask(net, service=SERVICE[v6], payload=b"first")
    pinned = the_binding(net)
    net.advance(25)  # until the tracker has forgotten its connection, too
    assert bindings(net) == []
    net.set_groups(Groups())
    net.settle()
    ask(net, service=SERVICE[v6], payload=b"second")
    revived = the_binding(net)
    assert revived.number > pinned.number  # late reports about the former rules are not about these
    assert revived._replace(number=pinned.number) == pinned
    net.check_recompute_changes_nothing()
    net.advance(5)
    net.check_recompute_changes_nothing()


def test_a_flow_that_came_back_to_a_service_without_a_group_is_served_and_ends_like_any_other(build, v6):
    net = build("figure1", "as2", validity={"udp_s": 3})
    ask(net, service=SERVICE[v6], payload=b"first")
    net.advance(25)
    net.set_groups(Groups())
    net.settle()
    for payload in (b"second", b"third"):
        ask(net, service=SERVICE[v6], payload=payload)
    assert payloads(net.host("h1").received) == [b"first", b"second", b"third"]
    net.set_groups(web(net.network, "as3"))
    net.settle()
    ask(net, service=SERVICE[v6], payload=b"fourth")
    ask(net, service=SERVICE[v6], port=40001)
    servers = [net.host(name).address(v6) for name in ("as2", "as3")]
    assert [binding.server for binding in bindings(net)] == servers
    net.set_groups(Groups())
    net.advance(30)
    assert bindings(net) == []
    ask(net, service=SERVICE[v6], port=40002)
    assert drops(net, "arh1")["no_service"] == 1


def test_a_flow_cannot_come_back_to_an_address_that_a_service_of_another_size_has_had_since(build, v6):
    net = build("figure1", "as2", validity={"udp_s": 3})
    wide = Prefix.parse("2001:db8:a::/120" if v6 else "198.18.0.0/24")
    as2 = net.host("as2").address(v6)
    net.set_groups(Groups({"wide": AnycastGroup("wide", (wide,), {as2: Server(as2)})}))
    net.settle()
    ask(net, service=SERVICE[v6])
    net.advance(25)
    net.set_groups(Groups({"other": group(net.network, "other", SECOND_SERVICE, "as3")}))
    net.settle()
    before = client_edge(net).addresses.use(net.now)["ipv6" if v6 else "ipv4"]
    ask(net, service=SERVICE[v6], payload=b"late")
    net.advance(0.5)
    late = payloads(net.host("h1").received)[1:]
    if late:  # with rules for each flow, ANY/n does not matter
        assert late == [b"late"]
    else:
        assert (bindings(net), drops(net, "arh1")) == ([], {"no_service": 1})
        assert client_edge(net).addresses.use(net.now)["ipv6" if v6 else "ipv4"] == before
