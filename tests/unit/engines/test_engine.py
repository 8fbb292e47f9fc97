"""What may be asked of any engine, whichever it is."""

from __future__ import annotations

import pytest

from anycast_sdn.openflow.pipeline import check, cookie
from anycast_sdn.openflow.reaction import Reaction
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.tables import Tables
from tests.unit.engines.samples import (
    CLIENT_EDGE,
    CORE,
    FEATURES,
    GROUPS,
    SERVER,
    SERVER_EDGE,
    controller,
    engine,
    read,
)

EVERY = pytest.mark.parametrize("dpid", [CLIENT_EDGE, CORE, SERVER_EDGE], ids=["client edge", "core", "server edge"])


@EVERY
def test_the_pipeline_declares_every_rule_that_it_wants(dpid: int) -> None:
    one = engine(dpid)
    services = [prefix for group in GROUPS for prefix in group.prefixes]
    places = [*one.places_of_server(SERVER, GROUPS)]
    places += [place for service in services for place in one.places_of_service(service, GROUPS)]
    assert all(map(check, [*one.wanted_rules(), *(rule for _, rule in places if rule)]))


@EVERY
def test_the_rules_for_one_server_are_wanted_while_it_is_enrolled(dpid: int) -> None:
    made = controller()
    made.synchronise(dpid, Tables(), FEATURES, 1)
    switch = made.switches[dpid]
    places = {key for key, _ in switch.engine.places_of_server(SERVER, made.groups)}
    assert places <= {rule.key for rule in switch.installed}


@EVERY
def test_an_engine_without_flows_sends_nothing(dpid: int) -> None:
    one = engine(dpid)
    assert len(one.flows) == 0
    for reaction in (one.end(7, 1), one.rule_refused(7, 1)):
        assert (reaction.messages, reaction.changed) == ([], False)
    assert one.tick(1, 9) == (Reaction(), False)
    assert one.begin_sweep(1) is None


@EVERY
@pytest.mark.parametrize("deleted", [False, True])
def test_a_report_about_a_rule_of_no_flow_changes_nothing(dpid: int, deleted: bool) -> None:
    one = engine(dpid)
    for kind in (Kind.BINDING_OUT, Kind.BINDING_IN, Kind.BINDING_OUT_UNANSWERED, Kind.ROUTE):
        assert one.rule_removed(cookie(kind, 7), deleted, False, 1) == Reaction()


@EVERY
def test_a_switch_may_connect_and_disconnect(dpid: int) -> None:
    one = engine(dpid)
    for _ in range(2):
        read(one)
    assert len(one.flows) == 0


def test_only_a_client_edge_takes_packets_of_flows_and_leases_addresses() -> None:
    assert engine(CORE).packet_handlers == {}
    assert engine(CORE).statistics(1).pools == {}
    assert {Kind.FIRST_PACKET, Kind.FIRST_REPLY} <= engine(CLIENT_EDGE).packet_handlers.keys()
    assert engine(CLIENT_EDGE).statistics(1).pools.keys() == {"ipv4", "ipv6"}
