"""The running controller: OS-Ken's events and the clock → ``Controller`` → the switches' channels.

A few lines per handler; every decision is the ``Controller``'s.  One hub, one writer: a handler runs
to its end before the next starts, because nothing in it waits (``Channel.tell`` only queues).
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from os_ken import cfg
from os_ken.base import app_manager
from os_ken.controller import ofp_event
from os_ken.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.lib import hub

from anycast_sdn import settings
from anycast_sdn.api import rest
from anycast_sdn.control.controller import Controller, Outbox
from anycast_sdn.control.edge import Features
from anycast_sdn.control.reconcile import Tables
from anycast_sdn.control.registry import Registry
from anycast_sdn.control.views import FlowView
from anycast_sdn.core.model import Address, Groups, Network, Port
from anycast_sdn.openflow import channel, codec
from anycast_sdn.openflow.channel import Channel
from anycast_sdn.openflow.pipeline import DROPS, ROW, Kind, Table, cookie
from anycast_sdn.openflow.rules import AddFlow, DeleteCookie, Field, FinTimeout, FlowRule
from anycast_sdn.store.sqlite import SqliteStore

LOG = logging.getLogger(__name__)

TICK_S = 0.25
POLL_S = 1.0  # how often the switches' drop counters are read
ECHO_S, ECHOES_MISSED = 1.5, 2  # a silent switch is noticed within 6 s
_TRIAL_COOKIE = 0xA17C_FF00_0000_0001  # of the rule that finds out whether a switch has fin_timeout


class AnycastApp(app_manager.OSKenApp):  # type: ignore[misc]
    """The OS-Ken application."""

    def __init__(self, network: Network, groups: Groups) -> None:
        super().__init__()
        self.controller = Controller(network, groups, random.SystemRandom())
        self.channels: dict[int, Channel] = {}

    def start(self) -> None:
        super().start()
        channel.install(self)
        self.threads += [hub.spawn(self._every, TICK_S, self._tick), hub.spawn(self._every, POLL_S, self._poll)]

    # ---------------------------------------------------------------- connections

    @set_ev_cls(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])
    def _connection_changed(self, event: Any) -> None:
        switch: Channel = event.datapath
        if switch.state == DEAD_DISPATCHER:
            self._disconnected(switch)
        elif switch.id not in self.controller.edges:
            LOG.warning("switch %s is not in the network file: disconnected", switch.name)
            switch.close()
        else:
            if older := self.channels.get(switch.id):
                LOG.warning("switch %s has connected again: the older connection is closed", switch.name)
                older.close()
                self._disconnected(older)
            self.channels[switch.id] = switch
            _Introduction(switch, self._introduced).begin()

    def _disconnected(self, switch: Channel) -> None:
        if self.channels.get(switch.id) is switch:
            del self.channels[switch.id]
            self.controller.disconnected(switch.id)
            LOG.warning("switch %s is gone; its rules stay as they are", self._name(switch.id))

    def _introduced(self, switch: Channel, found: Tables, features: Features, ports: dict[int, bool]) -> None:
        if self.channels.get(switch.id) is not switch:
            return
        now = time.monotonic()
        for port, up in ports.items():
            self._send(self.controller.port_changed(switch.id, port, up, now))
        self._send(self.controller.synchronise(switch.id, found, features, now))
        name = self._name(switch.id)
        LOG.info("switch %s is ready: %d rules found, %d wanted", name, len(found.flows),
                 len(self.controller.edges[switch.id].installed.flows))  # fmt: skip
        if not features.fin_timeout:
            LOG.warning("switch %s has no fin_timeout: closed TCP connections stay for their idle validity", name)
        if not features.meters:
            LOG.warning("switch %s has no meters: nothing limits what it sends to the controller", name)

    def _name(self, dpid: int) -> str:
        return self.controller.edges[dpid].switch.name

    # ---------------------------------------------------------------- what switches say (channel.Listener)

    def packet_in(self, dpid: int, message: codec.PacketInMessage) -> None:
        if dpid in self.channels:
            self._send(self.controller.packet_in(dpid, *message, now=time.monotonic()))

    def rule_removed(self, dpid: int, cookie: int, idle_timeout: int) -> None:
        if dpid in self.channels:
            self._send(self.controller.rule_removed(dpid, cookie, idle_timeout, time.monotonic()))

    def rule_refused(self, dpid: int, cookie: int, reason: str) -> None:
        LOG.warning("switch %s refused a rule with cookie %#x: %s", self._name(dpid), cookie, reason)
        self._send(self.controller.rule_refused(dpid, cookie, time.monotonic()))

    def port_changed(self, dpid: int, port: int, up: bool) -> None:
        if dpid in self.channels:
            self._send(self.controller.port_changed(dpid, port, up, time.monotonic()))

    # ---------------------------------------------------------------- what the operator and the clock say

    def set_groups(self, groups: Groups) -> None:
        self._send(self.controller.set_groups(groups))

    def set_cost(self, end: Port, cost: int) -> None:
        """Raises NotFound."""
        self._send(self.controller.set_cost(end, cost))

    def _tick(self) -> None:
        self._send(self.controller.tick(time.monotonic()))

    def _poll(self) -> None:
        for switch in list(self.channels.values()):
            _DropCount(switch, self.controller.drops_counted).begin()

    def _every(self, seconds: float, act: Any) -> None:
        while self.is_active:
            hub.sleep(seconds)
            try:
                act()
            except Exception:
                LOG.exception("our own error; the controller goes on")

    def _send(self, out: Outbox) -> None:
        for dpid, messages in out.items():
            if switch := self.channels.get(dpid):
                switch.tell(messages)


class _Introduction:
    """Asks a new switch what it is and what it holds, one question after the other.

    The rules come last: whatever the switch says about them afterwards comes after ``done``.
    """

    def __init__(self, switch: Channel, done: Any) -> None:
        self._switch = switch
        self._done = done
        self._ports: dict[int, bool] = {}
        self._found = Tables()
        self._features = Features()

    def begin(self) -> None:
        self._switch.ask(codec.port_request(self._switch), self._take_ports)

    def _take_ports(self, body: bytes | None) -> None:
        self._ports = dict(codec.decode_ports(body or b""))
        trial = FlowRule(Table.ROUTES, 1, (Field("eth_type", 0x0800), Field("ip_proto", 6)), _TRIAL_COOKIE,
                         (FinTimeout(1),))  # fmt: skip
        self._switch.try_out(AddFlow(trial), self._take_trial)

    def _take_trial(self, fin_timeout: bool) -> None:
        self._switch.tell([DeleteCookie(_TRIAL_COOKIE)])
        self._fin_timeout = fin_timeout
        self._switch.ask(codec.meter_features_request(self._switch), self._take_meter_features)

    def _take_meter_features(self, body: bytes | None) -> None:
        meters = body is not None and codec.decode_meter_features(body) >= 4
        self._features = Features(self._fin_timeout, meters)
        if meters:
            self._switch.ask(codec.meter_request(self._switch), self._take_meters)
        else:
            self._ask_groups()

    def _take_meters(self, body: bytes | None) -> None:
        self._found.meters = {meter.number: meter for meter in codec.decode_meters(body or b"")}
        self._ask_groups()

    def _ask_groups(self) -> None:
        self._switch.ask(codec.group_request(self._switch), self._take_groups)

    def _take_groups(self, body: bytes | None) -> None:
        self._found.groups = {group.number: group for group in codec.decode_groups(body or b"")}
        self._switch.ask(codec.flow_stats_request(self._switch), self._take_flows)

    def _take_flows(self, body: bytes | None) -> None:
        rules, foreign = codec.decode_flow_stats(body or b"")
        self._found.flows = {rule.key: rule for rule in rules}
        if foreign:
            LOG.warning("switch %s held rules that are not ours: removed", self._switch.name)
            self._switch.tell(DeleteCookie(cookie) for cookie in foreign)
        self._done(self._switch, self._found, self._features, self._ports)


class _DropCount:
    """Reads what a switch's drop rules have counted."""

    def __init__(self, switch: Channel, done: Any) -> None:
        self._switch = switch
        self._done = done
        self._packets: dict[Kind, int] = {}

    def begin(self) -> None:
        for kind in DROPS:
            request = codec.aggregate_request(self._switch, ROW[kind].table, cookie(kind))
            self._switch.ask(request, partial(self._take, kind))

    def _take(self, kind: Kind, body: bytes | None) -> None:
        self._packets[kind] = codec.decode_aggregate(body) if body else 0
        if len(self._packets) == len(DROPS):
            self._done(self._switch.id, self._packets)


class ControllerViews:
    """What the REST API shows, at the time of asking (``rest.Views``)."""

    def __init__(self, app: AnycastApp) -> None:
        self._app = app
        self._controller = app.controller

    def flows(self) -> Iterable[FlowView]:
        return self._controller.flows(time.monotonic(), time.time())

    def flow_summary(self) -> dict[str, Any]:
        return self._controller.flow_summary(time.monotonic())

    def edges(self) -> list[dict[str, Any]]:
        return self._controller.edge_views(time.monotonic())

    def topology(self) -> dict[str, Any]:
        return self._controller.topology()

    def set_link_cost(self, end: Port, cost: int) -> dict[str, Any]:
        self._app.set_cost(end, cost)
        return self._controller.link_view(end)

    def health(self) -> dict[str, Any]:
        return self._controller.health()

    def server_status(self, group_name: str, address: Address) -> dict[str, Any]:
        return self._controller.server_status(address)


def run(file: Path, openflow: tuple[str, int], rest_address: tuple[str, int], database: str) -> None:
    """Serve until interrupted.  Raises ConfigurationError, and OSError for an address in use."""
    network = settings.load(file)
    app: AnycastApp | None = None

    def on_change(groups: Groups) -> None:
        if app:
            app.set_groups(groups)

    registry = Registry(network, SqliteStore(database), on_change)
    host, port = openflow
    cfg.CONF([], project="anycast-sdn", default_config_files=[])
    for name, value in (
        ("ofp_listen_host", host),
        ("ofp_tcp_listen_port", port),
        ("echo_request_interval", ECHO_S),
        ("maximum_unreplied_echo_requests", ECHOES_MISSED),
    ):
        cfg.CONF.set_override(name, value)
    manager = app_manager.AppManager.get_instance()
    manager.load_apps(["os_ken.controller.ofp_handler"])
    app = manager.instantiate(AnycastApp, network, registry.groups)
    rest.serve(rest.RestApi(registry, ControllerViews(app)), rest_address)
    services = manager.instantiate_apps()
    LOG.info("%s: %d switches; OpenFlow on %s:%d, REST on http://%s:%d", network.name, len(network.switches),
             host, port, *rest_address)  # fmt: skip
    try:
        hub.joinall(services)
    finally:
        manager.close()
