"""Switches that are shared: one controller leads, and another one is the master of the switches (M37)."""

from __future__ import annotations

from scenes import SERVICE, ask, bindings, topology, web
from shared import SharedNetwork


def build(name="figure1", *hosts, **options):
    description = topology(name)
    return SharedNetwork(description, web(description, *hosts) if hosts else None, **options)


def test_clients_are_served():
    net = build("figure1", "as2")
    for v6 in (False, True):
        ask(net, service=SERVICE[v6])
    assert all(flow.server for flow in bindings(net))
    assert len(bindings(net)) == 2
    net.check_recompute_changes_nothing()
