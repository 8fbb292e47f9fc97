"""Switches that are shared: one controller leads, and another one is the master of the switches (M37)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from scenes import SERVICE, ask, bindings, payloads, served_by, topology, web
from shared import SharedNetwork
from wires import LEADER, MASTER, TERM

from anycast_sdn.control.share import Share
from anycast_sdn.core.model import UDP, Neighbour, packed
from anycast_sdn.core.server_events import ServerLost, ServerReturned
from anycast_sdn.description.model import Port
from anycast_sdn.openflow.pipeline import binding_of, kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import Barrier, PacketOut, PutBinding
from anycast_sdn.process import sharing_lines
from anycast_sdn.process.sharing import HEARD, HOLDS, HOSTS, LEADS, PACKETS_A_BEAT, TOLD, WRITES
from anycast_sdn.simulation.observations import Sent

ARH1 = 1  # datapath id


def build(name="figure1", *hosts, **options):
    description = topology(name)
    return SharedNetwork(description, web(description, *hosts) if hosts else None, **options)


def rules(net, name="arh1"):
    return dict(net.switches[name].flows)


def held(net):
    return {name: (dict(each.flows), dict(each.groups), dict(each.meters)) for name, each in net.switches.items()}


def busy(**options):
    net = build("figure1", "as2", **options)
    for v6 in (False, True):
        ask(net, service=SERVICE[v6])
    assert all(flow.server for flow in bindings(net))
    return net


def goes_on(net, payload=b"still there?"):
    """The known flows do."""
    for v6 in (False, True):
        ask(net, service=SERVICE[v6], payload=payload)
    return payloads(net.host("h1").received)[-2:] == [payload, payload]


@pytest.mark.parametrize("shared", [None, ["arh1"], ["ars2", "ars3"]], ids=["all", "client edge", "server edges"])
def test_clients_are_served_by_the_master_of_their_switch(shared):
    net = busy(shared=shared)
    assert len(bindings(net)) == 2
    assert goes_on(net)
    shares = {switch.share for switch in net.controller.switches.values()}
    assert shares == {Share.REST} | ({Share.ALL} if shared else set())
    net.check_recompute_changes_nothing()


def test_enrolments_change_and_the_master_goes_on():
    net = busy()
    for hosts in (("as3",), ("as2", "as3"), ("as3",), ("as2",)):
        net.set_groups(web(net.network, *hosts))
        net.advance(1)
        ask(net, port=41000 + len(bindings(net)))
    assert served_by(net, "as3")
    assert goes_on(net)
    net.check_recompute_changes_nothing()


def test_a_server_edge_that_is_cut_off_loses_its_flows_to_another():
    net = build("figure1", "as2", "as3")
    ask(net)
    (flow,) = bindings(net)
    net.set_port(Port("ars2", 10), False)
    net.advance(10)
    ask(net)
    (after,) = bindings(net)
    assert (after.translated, after.server) == (flow.translated, net.host("as3").address(False))
    net.set_port(Port("ars2", 10), True)
    net.advance(10)
    net.check_recompute_changes_nothing()


@pytest.mark.parametrize("returns", [False, True])
def test_a_lost_server_is_said_to_be_back_by_the_master_only_if_it_is(returns):
    description = topology("figure1", quarantine_s=30, validity={"unanswered_s": 5})
    net = SharedNetwork(description, web(description, "as2"))
    ask(net)
    net.silent.add(net.host("as2").port)
    net.set_groups(web(description, *(("as2",) if returns else ("as3",))))
    net.advance(15)
    assert any(isinstance(event, ServerLost) for event in net.channels.reported)
    if returns:
        net.silent.clear()
    net.advance(45)
    assert any(isinstance(event, ServerReturned) for event in net.channels.reported) is returns


def test_a_client_that_moves_to_another_port_is_served_there():
    net = busy()
    other = next(port for port in net.network.subnet_of(net.host("h1").address(False)).ports
                 if port != net.host("h1").port.number)  # fmt: skip
    net.move("h1", other)
    for v6 in (False, True):
        ask(net, service=SERVICE[v6], port=42000, payload=b"moved")
    net.advance(8)  # it is silent at its former port
    for v6 in (False, True):
        ask(net, service=SERVICE[v6], port=42000, payload=b"moved")
    assert payloads(net.host("h1").received)[-2:] == [b"moved", b"moved"]
    net.check_recompute_changes_nothing()


def test_a_removed_server_that_has_flows_keeps_its_rules_when_another_controller_leads():
    """The next leader knows the flows some time after it has compared what the switch holds."""
    net = busy()
    server = net.host("as2").address(False)

    def of_server():
        kinds = [kind_of(rule.cookie) for rule in rules(net).values() if server in (each.value for each in rule.match)]
        return kinds.count(Kind.FIRST_REPLY)

    net.set_groups(web(net.network, "as3"))
    net.advance(1)
    assert of_server() == 1
    net.restart_controller()
    net.advance(1)
    assert of_server() == 1
    assert net.controller.by_name["ars2"].neighbours.is_watched(server)
    net.check_recompute_changes_nothing()


# ------------------------------------------------------------------------------ what others do to the switch


def test_rules_that_another_program_deletes_are_all_put_back_and_soon():
    """Of flows by the master, of all else by the leader, who hears of it from the master."""
    net = busy()
    net.advance(6)
    before, known = held(net), bindings(net)
    net.delete_rules("arh1")
    net.advance(1)
    (audit,) = [net.controller.audits[ARH1]]
    assert audit.may_miss_more or held(net) == before
    assert {key for key, rule in rules(net).items() if binding_of(rule.cookie)}
    net.advance(6)
    assert held(net) == before
    assert bindings(net) == known
    assert goes_on(net)


def test_rules_that_another_program_edits_are_put_right_by_whoever_decides_on_them():
    net = busy()
    net.advance(6)
    before = held(net)
    of_flow, other = (
        next(rule for rule in rules(net).values() if kind_of(rule.cookie) is kind)
        for kind in (Kind.BINDING_IN, Kind.NO_ROUTE)
    )
    for rule in (of_flow, other):
        net.switches["arh1"].flows[rule.key] = replace(rule, actions=())
    net.advance(25)
    assert held(net) == before
    assert goes_on(net)


# ------------------------------------------------------------------------------ floods


def flood(net, packets, source="10.1.0.99"):
    host = net.host("h1")
    frame = host.packet(SERVICE[False], UDP, 5000, 53)
    frame = frame[:26] + packed(source) + frame[30:]
    net.send("h1", *[frame] * packets)


def test_a_flood_from_sources_that_nobody_has_does_not_fill_the_lines_and_is_held_back():
    net = busy()
    net.advance(1)
    port = net.host("h1").port.number
    net.wire.said.clear()
    for _ in range(8):
        flood(net, 500)
        net.advance(0.25)
    heard = Counter(topic for member, topic, _ in net.wire.said if member == MASTER)[HEARD]
    assert heard < 8 * (PACKETS_A_BEAT * 4 + 20)
    assert net.channels.reported is not None
    assert port in net.controller.switches[ARH1]._throttle.held
    net.advance(10)
    assert port not in net.controller.switches[ARH1]._throttle.held
    assert goes_on(net)


def test_first_packets_that_the_master_refuses_hold_their_port_back_at_the_leader():
    net = busy()
    net.advance(1)
    managed, port = net.master.by_name["arh1"], net.host("h1").port.number
    managed.first_packets_refused(port, 1000)
    net.advance(0.5)
    assert port in net.controller.switches[ARH1]._throttle.held
    assert managed._throttle.held == frozenset()


# ------------------------------------------------------------------------------ lines


def bad_lines(net):
    """(member, topic, text) that must change nothing, by what is wrong with them."""
    generation = net.channels.generation(ARH1)
    gone = {net.host("h1").address(False): None, packed("10.1.0.77"): Neighbour(bytes(6), 1)}
    told = net.controller.told()._replace(announced=frozenset(), choices={})
    down = (ARH1, generation, "port_changed", 1, False)
    yield "older term", LEADER, TOLD, sharing_lines.told(TERM - 1, 1, 0, told)
    yield "older term", LEADER, HOSTS, sharing_lines.hosts(TERM - 1, ARH1, gone)
    yield "older term", LEADER, WRITES, sharing_lines.writes(TERM - 1, ARH1, generation, bytes(4))
    yield "not the leader", "third", TOLD, sharing_lines.told(TERM, 999, 0, told)
    yield "not the leader", "third", HOSTS, sharing_lines.hosts(TERM, ARH1, gone)
    yield "not the leader", "third", WRITES, sharing_lines.writes(TERM, ARH1, generation, bytes(4))
    yield "not the generation", LEADER, WRITES, sharing_lines.writes(TERM, ARH1, generation - 1, bytes(4))
    yield "not the generation", MASTER, HEARD, sharing_lines.heard(ARH1, generation - 1, *down[2:])
    yield "no such switch", LEADER, WRITES, sharing_lines.writes(TERM, 99, generation, bytes(4))
    yield "no such switch", LEADER, HOSTS, sharing_lines.hosts(TERM, 99, gone)
    yield "no such switch", MASTER, HEARD, sharing_lines.heard(99, *down[1:])
    yield "not the master", "third", HEARD, sharing_lines.heard(*down)
    yield "not the master", "third", HOLDS, "{}"
    yield "not the master", LEADER, HOLDS, "{}"
    yield "older term", LEADER, LEADS, str(TERM - 1)
    for topic in (LEADS, HOLDS, HEARD, TOLD, HOSTS, WRITES):
        for text in ("", "[]", "{", "null", "1 2 3", "-1", "1 1 1 @", "9" * 10_000, "[" * 10_000, "\udcff", '{"x": 1}'):
            yield "not readable", {HOLDS: MASTER, HEARD: MASTER}.get(topic, LEADER), topic, text


def test_lines_that_are_not_for_now_or_of_nobody_change_nothing():
    net = busy()
    net.advance(1)
    before, known = held(net), bindings(net)
    managed = dict(net.channels.leader.sharing.managed)
    for _, member, topic, text in bad_lines(net):
        for end in net.wire.ends.values():
            end.take(member, topic, text)
    net.settle()
    assert (held(net), bindings(net)) == (before, known)
    assert net.channels.leader.sharing.managed == managed
    assert goes_on(net)
    ask(net, port=43000)
    assert all(flow.server for flow in bindings(net))
    net.check_recompute_changes_nothing()


def test_a_line_that_cannot_be_read_is_logged_once(caplog):
    net = busy()
    for _ in range(5):
        net.wire.ends[LEADER].take(MASTER, HEARD, "nonsense")
        net.wire.ends[MASTER].take(LEADER, TOLD, "nonsense")
    assert len([record for record in caplog.records if "cannot be used" in record.message]) == 2


def test_what_a_leader_of_a_later_term_says_counts_before_etcd_has_told_of_it():
    net = busy()
    told = net.controller.told()
    net.wire.ends[MASTER].take("third", TOLD, sharing_lines.told(TERM + 1, 1, 0, told._replace(announced=frozenset())))
    net.wire.ends[MASTER].take(LEADER, TOLD, sharing_lines.told(TERM, 999, 0, told))
    assert not net.master.announcements.is_announced(next(iter(told.announced)))


def test_a_stream_that_breaks_and_comes_again_lets_the_leader_begin_anew_with_the_switches():
    net = busy()
    net.advance(1)
    net.wire.cut_off(LEADER, MASTER)
    net.set_cost(Port("ars2", 10), 7)  # what it writes now is lost
    net.advance(0.5)
    ask(net, payload=b"cut")
    assert payloads(net.host("h1").received)[-1] == b"cut"
    net.wire.mend()
    net.advance(3)
    assert set(net.channels.leader.sharing.managed) == net.channels.shared
    ask(net, port=44000)
    assert all(flow.server for flow in bindings(net))
    net.check_recompute_changes_nothing()


@pytest.mark.parametrize("cut", [(), (LEADER, MASTER), (MASTER, LEADER)], ids=["frozen", "deaf", "silent"])
@pytest.mark.parametrize("lasts_s", [0.5, 2, 24])
def test_switches_of_a_master_that_the_leader_does_not_hear_stay_as_they_are_until_it_does(cut, lasts_s):
    """Nobody takes a server, a link or a switch for dead because members do not hear each other."""
    net = busy()
    net.advance(1)
    before, known, reported = rules(net), bindings(net), len(net.channels.reported)
    net.channels.master.is_frozen = not cut
    net.wire.cut |= {cut} if cut else set()
    net.advance(lasts_s)
    assert bool(net.channels.leader.sharing.managed) is (lasts_s < 1)
    assert rules(net).items() >= {key: rule for key, rule in before.items() if binding_of(rule.cookie)}.items()
    assert goes_on(net)
    net.channels.master.is_frozen = False
    net.wire.mend()
    net.advance(10)
    assert set(net.channels.leader.sharing.managed) == net.channels.shared
    ask(net, port=44000)
    assert all(flow.server for flow in bindings(net))
    assert bindings(net)[:2] == known
    assert not net.channels.reported[reported:]
    net.check_recompute_changes_nothing()


# ------------------------------------------------------------------------------ other switches


def test_where_a_switch_keeps_no_order_a_barrier_stands_between_a_flows_rule_and_its_first_packet():
    net = build("figure1", "as2")
    for controller in (net.controller, net.master):
        here = controller.by_name["arh1"]
        here.features = replace(here.features, open_vswitch=False)
    net.observations.journal = []
    ask(net, port=45000, payload=b"asked")
    sent = [each.message for each in net.observations.journal if isinstance(each, Sent) and each.switch == "arh1"]
    first = next(at for at, each in enumerate(sent) if isinstance(each, PacketOut) and b"asked" in each.frame)
    rule = next(at for at, each in enumerate(sent) if isinstance(each, PutBinding))
    assert rule < first
    assert any(isinstance(each, Barrier) for each in sent[rule:first])
    assert payloads(net.host("h1").received)[-1:] == [b"asked"]
