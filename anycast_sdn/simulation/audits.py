"""Audits: the controller reads all that simulated switches hold, and compares it with what is wanted."""

from __future__ import annotations

from functools import partial

from anycast_sdn.control.audit import Audit
from anycast_sdn.openflow.pipeline import binding_of, kind_of
from anycast_sdn.openflow.requests import RulesRequest
from anycast_sdn.openflow.tables import Tables
from anycast_sdn.simulation.channels import ControlChannels

EVERYTHING = 1 << 40  # flows, or corrections


class Audits:
    def __init__(self, channels: ControlChannels) -> None:
        self._channels = channels

    def begin(self, name: str) -> None:
        """The controller reads all that a switch holds, and compares it with what is wanted."""
        audit = self._channels.audit_of(name)
        audit.begin()
        self._channels.request_tables(name, partial(self._take_tables, name, audit))

    def _take_tables(self, name: str, audit: Audit, held: Tables) -> None:
        audit.take_groups(held.groups.values())
        if self._channels.features.meters:
            audit.take_meters(held.meters.values())
        rules = [rule for rule in held.flows.values() if kind_of(rule.cookie) and not binding_of(rule.cookie)]
        audit.take_rules(rules, {rule.cookie for rule in held.flows.values() if kind_of(rule.cookie) is None})
        self._channels.react(audit.end(self._channels.now))
        self._channels.react(audit.repair_some(EVERYTHING)[0])
        self.request_flows(name, audit, audit.begin_flows())

    def request_flows(self, name: str, audit: Audit, requests: list[RulesRequest]) -> None:
        """The rules of bindings, one request after the other."""
        if requests:
            audit.begin_request(requests[0])
            self._channels.request_tables(name, partial(self._take_flows, name, audit, requests))

    def _take_flows(self, name: str, audit: Audit, requests: list[RulesRequest], held: Tables) -> None:
        audit.take_flows(requests[0], held.flows.values())
        self._channels.react(audit.end_flows(requests[0], EVERYTHING, self._channels.now)[0])
        self.request_flows(name, audit, requests[1:])
