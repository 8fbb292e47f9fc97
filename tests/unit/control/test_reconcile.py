"""From what a switch holds to what it should hold: which messages, and in which order."""

from __future__ import annotations

from anycast_sdn.control.reconcile import changes
from anycast_sdn.core.model import Neighbour, Prefix, packed
from anycast_sdn.description.model import Limits
from anycast_sdn.openflow import entries, meters
from anycast_sdn.openflow.rules import AddFlow, Barrier, DeleteFlow, DeleteGroup, DeleteMeter, SetGroup, SetMeter
from anycast_sdn.openflow.tables import Tables

HERE, THERE = Prefix.parse("10.1.0.0/24"), Prefix.parse("10.2.0.0/24")
ONE, OTHER = packed("10.2.0.10"), packed("10.2.0.11")
BUCKETS = {server: entries.bucket(server, bytes(6), Neighbour(bytes(6), 1)) for server in (ONE, OTHER)}
GROUP = entries.server_group(7, [ONE], BUCKETS)
SERVICE = entries.service(Prefix.parse("198.18.0.1/32"), 7)
METER = next(iter(meters.rules(Limits(), hosts=0, links=0)))


def kinds(wanted: Tables, installed: Tables) -> list[type]:
    return [type(message) for message in changes(wanted, installed)]


def test_nothing_is_sent_when_nothing_differs():
    tables = Tables.of([entries.route(HERE, 1), SERVICE], [GROUP], [METER])
    assert changes(tables, tables) == []


def test_a_rule_that_changes_is_sent_once_and_not_deleted():
    new = entries.route(HERE, 2)
    assert changes(Tables.of([new]), Tables.of([entries.route(HERE, 1)])) == [AddFlow(new)]


def test_new_rules_are_installed_before_old_ones_are_deleted():
    wanted, installed = Tables.of([entries.route(HERE, 1)]), Tables.of([entries.route(THERE, 1)])
    assert kinds(wanted, installed) == [AddFlow, Barrier, DeleteFlow]


def test_a_group_and_a_meter_are_installed_before_their_rules_and_deleted_after_them():
    tables = Tables.of([SERVICE], [GROUP], [METER])
    assert kinds(tables, Tables()) == [SetMeter, SetGroup, Barrier, AddFlow]
    assert kinds(Tables(), tables) == [DeleteFlow, Barrier, DeleteGroup, DeleteMeter]


def test_a_group_that_exists_is_changed_in_place():
    other = entries.server_group(7, [ONE, OTHER], BUCKETS)
    (first, barrier) = changes(Tables.of([SERVICE], [other]), Tables.of([SERVICE], [GROUP]))
    assert (first, barrier) == (SetGroup(other, exists=True), Barrier())
