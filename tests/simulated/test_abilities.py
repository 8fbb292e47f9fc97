"""What follows from what a switch was found to lack: roles withdraw, one family at a time."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest
from scenes import SERVICE, ask, bindings, client_edge, drops, errors, managed, network, served_by, topology, web

from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import ICMP, ICMPV6, SCTP, TCP, UDP, Prefix
from anycast_sdn.core.selection import Exclusion
from anycast_sdn.core.switch_events import SwitchDegraded
from anycast_sdn.description.profile import ALL_OF_OPENFLOW, Elements, Profile
from anycast_sdn.description.profiles import PROFILES
from anycast_sdn.openflow.judgement import Role
from anycast_sdn.openflow.row import Table
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.views.reasons import reasons

ADDRESSES = {False: ("ipv4_src", "ipv4_dst"), True: ("ipv6_src", "ipv6_dst")}


def refusing(v6, **tables):
    """A switch that does not set addresses of a family."""
    return Profile(refuse=(Elements(set=ADDRESSES[v6], **tables),))


def health(net, name):
    """(sentence, effect) of what this switch cannot do."""
    found = reasons(net.controller, net.counters, (), "", net.now)
    return [(each.sentence, each.effect) for each in found if each.code == "switch.degraded" and name in each.sentence]


def in_use(net, v6):
    return client_edge(net).addresses.use(net.now)["ipv6" if v6 else "ipv4"]


def test_clients_of_a_switch_that_cannot_set_their_addresses_are_refused_and_the_other_family_is_served(build, v6):
    net = build("figure1", "as2", switch={"profiles": {"arh1": refusing(v6)}})
    ask(net, service=SERVICE[v6], protocol=UDP, port=40000)
    ask(net, service=SERVICE[not v6], protocol=UDP, port=40000)
    assert [len(flow.translated) == 16 for flow in bindings(net)] == [not v6]
    assert drops(net, "arh1")["switch_unable"] == 1
    assert errors(net.host("h1")) == [(1, 0) if v6 else (3, 1)]
    ((sentence, effect),) = health(net, "arh1")
    lost = "IPv6" if v6 else "IPv4"
    assert sentence == (
        f"switch arh1 cannot be a client edge for {lost}: it cannot set {lost} addresses "
        "(tables 1 and 3: bad action, bad set type)"
    )
    assert effect == f"New {lost} flows of its clients are refused."


@contextmanager
def playing(net, name, profile):
    """Without connecting anew: after an update of the switch, or what no trial has shown."""
    net.switches[name].profile = profile
    yield
    net.switches[name].profile = ALL_OF_OPENFLOW


def ask_often(net, v6):
    for port in range(40000, 40010):
        ask(net, service=SERVICE[v6], protocol=UDP, port=port)


def test_refused_flows_give_their_addresses_back_and_after_three_in_a_row_the_family_is_refused(build, v6):
    net = build("figure1", "as2")
    with playing(net, "arh1", refusing(v6)):
        ask_often(net, v6)
    use = in_use(net, v6)
    assert (use.leased, use.resting) == (0, 0)
    assert drops(net, "arh1")["rule_refused"] == 3
    assert drops(net, "arh1")["switch_unable"] == 7
    assert len(errors(net.host("h1"))) == 7
    lost = "IPv6" if v6 else "IPv4"
    says = f"switch arh1 cannot be a client edge for {lost}: it cannot hold the rules of {lost} flows"
    says += " (bad action, bad set type)"
    assert [sentence for sentence, _ in health(net, "arh1")] == [says]
    told = [event.sentence() for event in net.channels.reported if isinstance(event, SwitchDegraded)]
    assert told == [f"{says}; new {lost} flows of its clients are refused"]
    ask(net, service=SERVICE[not v6], protocol=UDP, port=40000)
    assert len(bindings(net)) == 1, "the other family goes on"


PING = {False: ICMP, True: ICMPV6}
NO_SCTP = Profile(refuse=(Elements(match=("sctp_src", "sctp_dst")),))
NO_PINGS = Profile(refuse=(Elements(match=("icmpv4_type", "icmpv6_type"), tables=(Table.CLIENT_OUT, Table.CLIENT_IN)),))
BAD_CHECKSUM = Profile(wrong=("icmpv6_checksum",))


def ask_of(net, v6, protocol):
    """Three flows of this protocol, and one each of UDP and TCP."""
    for number in range(3):
        ask(net, service=SERVICE[v6], protocol=protocol, port=40000 + number if protocol == SCTP else number)
    for each in (UDP, TCP):
        ask(net, service=SERVICE[v6], protocol=each, port=40000)


@pytest.mark.parametrize(
    ("protocol", "profile"),
    [(SCTP, NO_SCTP), (SCTP, PROFILES["extreme-s-series"]), (ICMP, NO_PINGS)],
    ids=["SCTP", "SCTP, a product", "pings"],
)
def test_flows_of_a_protocol_that_the_switch_is_known_to_refuse_are_refused_and_others_are_served(
    build, v6, protocol, profile
):
    net = build("figure1", "as2", switch={"profiles": {"arh1": profile}})
    of = PING[v6] if protocol == ICMP else protocol
    ask_of(net, v6, of)
    assert {flow.key.protocol for flow in bindings(net)} == {UDP, TCP}
    assert drops(net, "arh1")["switch_unable"] == 3
    assert drops(net, "arh1").get("rule_refused", 0) == 0, "the switch is not sent what it would refuse"
    assert errors(net.host("h1")) == [(1, 0) if v6 else (3, 1)] * 3
    assert managed(net, "arh1").abilities.can(Role.CLIENT_EDGE, v6)


def test_services_are_not_pinged_over_ipv6_where_the_switch_spoils_the_checksums(build):
    net = build("figure1", "as2", switch={"profiles": {"arh1": BAD_CHECKSUM}})
    ask_of(net, True, ICMPV6)
    assert {flow.key.protocol for flow in bindings(net)} == {UDP, TCP}
    assert drops(net, "arh1")["switch_unable"] == 3
    ask(net, service=SERVICE[False], protocol=ICMP, port=0)
    assert ICMP in {flow.key.protocol for flow in bindings(net)}, "those of IPv4 are right"


@pytest.mark.parametrize(("protocol", "profile"), [(SCTP, NO_SCTP), (ICMP, NO_PINGS)], ids=["SCTP", "pings"])
def test_refused_rules_of_pings_and_sctp_that_no_trial_has_foreseen_take_no_role_from_the_switch(
    build, v6, protocol, profile
):
    net = build("figure1", "as2")
    with playing(net, "arh1", profile):
        ask_of(net, v6, PING[v6] if protocol == ICMP else protocol)
    assert drops(net, "arh1")["rule_refused"] == 3
    assert {flow.key.protocol for flow in bindings(net)} == {UDP, TCP}
    assert not health(net, "arh1")


def test_a_flow_that_is_carried_out_in_between_keeps_the_family(build, v6):
    net = build("figure1", "as2")
    for port in range(40000, 40010):
        with playing(net, "arh1", ALL_OF_OPENFLOW if port % 2 else refusing(v6)):
            ask(net, service=SERVICE[v6], protocol=UDP, port=port)
    assert managed(net, "arh1").abilities.can(Role.CLIENT_EDGE, v6)
    assert len(bindings(net)) == 5


def test_a_full_table_is_no_inability(build, v6):
    net = build("figure1", "as2")
    with playing(net, "arh1", Profile(rules=0)):
        ask_often(net, v6)
    assert drops(net, "arh1")["rule_refused"] == 10
    assert managed(net, "arh1").abilities.can(Role.CLIENT_EDGE, v6)


def test_a_switch_that_connects_anew_and_takes_the_rules_serves_again(build, v6):
    net = build("figure1", "as2")
    with playing(net, "arh1", refusing(v6)):
        ask_often(net, v6)
    assert not managed(net, "arh1").abilities.can(Role.CLIENT_EDGE, v6)
    net.disconnect("arh1")
    net.connect("arh1")
    ask(net, service=SERVICE[v6], protocol=UDP, port=40010)
    assert len(bindings(net)) == 1
    assert not health(net, "arh1")


def test_a_family_that_the_network_does_not_have_is_not_missed(v6):
    without = topology("figure1")
    subnets = (
        replace(subnet, gateways=tuple(each for each in subnet.gateways if each.prefix.is_v6 is not v6))
        for subnet in without.subnets
    )
    net = SimulatedNetwork(
        replace(without, subnets=tuple(subnets), hosts=()), Groups(), profiles={"arh1": refusing(v6)}
    )
    assert managed(net, "arh1").features.lacks
    assert not health(net, "arh1")


# Neither in buckets nor, instead, in a rule for one server.
SETS_NO_SERVERS = Profile(refuse=(
    Elements(bucket_actions=("set_field",)), Elements(actions=("set_field",), tables=(Table.SERVICE,))
))  # fmt: skip


def announcers(net, v6):
    return net.controller.announcements.announcers_of(Prefix.host(SERVICE[v6]))


def test_a_server_edge_whose_groups_cannot_rewrite_announces_nothing_and_another_one_serves(build, v6):
    net = build("figure1", "as2", "as3", switch={"profiles": {"ars2": SETS_NO_SERVERS}})
    assert announcers(net, v6) == {"ars3"}
    ask(net, service=SERVICE[v6])
    assert [*served_by(net, "as2", "as3").values()] == [{"as3"}]
    choice = net.controller.choices.get(bindings(net)[0].choice)
    assert {standing.excluded for standing in choice.standings.values()} == {None, Exclusion.EDGE_UNABLE}
    (says, effect), *_ = health(net, "ars2")
    assert says.startswith("switch ars2 cannot be a server edge: it cannot")
    assert "set MACs in the buckets of a group (bad action, bad type)" in says
    assert effect == "Service addresses are not announced here."


def test_a_server_edge_that_lacks_one_family_serves_the_other(build, v6):
    net = build("figure1", "as2", "as3", switch={"profiles": {"ars2": refusing(v6)}})
    assert announcers(net, v6) == {"ars3"}
    assert announcers(net, not v6) == {"ars2", "ars3"}
    for family in (False, True):
        ask(net, service=SERVICE[family])
    lost, kept = (served_by(net, name) for name in ("as3", "as2"))
    assert [len(key.source) == 16 for key in lost] == [v6]
    assert [len(key.source) == 16 for key in kept] == [not v6]


def test_where_no_server_edge_is_able_clients_are_told_at_once(build, v6):
    net = build("figure1", "as2", switch={"profiles": {"ars2": refusing(v6)}})
    ask(net, service=SERVICE[v6])
    assert not bindings(net)
    assert drops(net, "arh1") == {"no_able_edge": 1}
    assert errors(net.host("h1")) == [(1, 0) if v6 else (3, 1)]
    found = reasons(net.controller, net.counters, (), "", net.now)
    assert "group.unserved" in {each.code for each in found}


def test_a_server_edge_that_refuses_its_groups_later_withdraws_and_takes_up_its_role_when_it_connects_anew(build, v6):
    net = build("figure1", "as2", "as3")
    only_as3, both = web(net.network, "as3"), web(net.network, "as2", "as3")
    net.set_groups(only_as3)
    net.settle()
    with playing(net, "ars2", SETS_NO_SERVERS):
        net.set_groups(both)
        net.advance(2)
        assert announcers(net, v6) == {"ars3"}
        ask(net, service=SERVICE[v6])
        assert [*served_by(net, "as2", "as3").values()] == [{"as3"}]
        told = [event.sentence() for event in net.channels.reported if isinstance(event, SwitchDegraded)]
        assert told[-1].startswith("switch ars2 cannot be a server edge: it cannot ")
        assert "(it has refused the group of a service)" in told[-1]
        assert "; service addresses are not announced here" in told[-1]
    net.disconnect("ars2")
    net.connect("ars2")
    net.advance(2)
    assert announcers(net, v6) == {"ars2", "ars3"}
    ask(net, service=SERVICE[v6], port=40001)
    assert len(served_by(net, "as2")) == 1


def no_forwarding(v6):
    """A switch that cannot forward a family: it does not match its addresses."""
    return Profile(refuse=(Elements(match=ADDRESSES[v6]),))


def passed(net, *switches):
    """Which of these have switches sent a packet that was no LLDP."""
    return {sighting.receiver for sighting in net.wires} & {*switches}


def test_a_family_goes_around_a_switch_that_cannot_forward_it_and_the_other_one_through_it(v6):
    net = network("ring", "as2", switch={"profiles": {"c2": no_forwarding(v6)}})
    for family, through in ((v6, {"c3", "c4", "c5", "c6"}), (not v6, {"c2", "c3"})):
        net.wires.clear()
        ask(net, service=SERVICE[family])
        assert passed(net, "c2", "c3", "c4", "c5", "c6") == through
        assert [len(flow.translated) == 16 for flow in bindings(net)][-1] is family
    (says, effect), *_ = health(net, "c2")
    lost = "IPv6" if v6 else "IPv4"
    assert says.startswith(f"switch c2 cannot be a core for {lost}: it cannot match {lost} packets")
    assert effect == f"{lost} packets are not sent through it."
    assert "rule_refused" not in drops(net, "c2"), "it is not sent what it would refuse"


def test_a_core_switch_that_connects_anew_and_forwards_again_is_used_again(build, v6):
    net = build("ring", "as2", switch={"profiles": {"c2": no_forwarding(v6)}})
    net.switches["c2"].profile = ALL_OF_OPENFLOW
    net.disconnect("c2")
    net.connect("c2")
    net.advance(3)
    net.wires.clear()
    ask(net, service=SERVICE[v6])
    assert passed(net, "c2", "c3", "c4", "c5", "c6") == {"c2", "c3"}
    assert not health(net, "c2")


def test_clients_that_a_family_is_cut_off_from_are_told_at_once_and_use_up_no_address(v6):
    net = network("figure1", "as2", switch={"profiles": {"core": no_forwarding(v6)}})
    ask(net, service=SERVICE[v6])
    assert drops(net, "arh1") == {"no_able_edge": 1}
    assert errors(net.host("h1")) == [(1, 0) if v6 else (3, 1)]
    assert in_use(net, v6).leased == 0
    ask(net, service=SERVICE[not v6])
    assert len(served_by(net, "as2")) == 1
