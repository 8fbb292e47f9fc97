"""A simulated network whose servers are enrolled in a registry, drained, and have leases."""

from __future__ import annotations

import random
from typing import Any

from scenes import SERVICE, ask, bindings

from anycast_sdn.control.life import Life, Moment, Todo
from anycast_sdn.control.operations import Operation
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.control.registry import Registry
from anycast_sdn.core.events import Event
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import TCP, Address, Server
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.store.memory import MemoryStore

EPOCH = 1.7e9  # s: the time of day when the network's clock is at 0
TICK_S = 0.25


class Lives:
    """``skew``: by how much the time of day has been set since the start."""

    def __init__(self, net: SimulatedNetwork) -> None:
        self.net = net
        self.skew = 0.0
        self.events: list[Event] = []
        self.store = MemoryStore()
        self.store.open(net.controller.groups)
        self.fails = False  # the store
        self.begin()

    def begin(self) -> None:
        """Of a controller that has just been started."""
        self.registry = Registry(self.net.network, self.store, self._changed)
        controller = self.net.controller
        switches = controller.switches.values()
        self.life = Life(self.net.network, switches, random.Random(7), controller.is_settled)
        self.life.enrolled(self.registry.groups, self.registry.edges, self.at, begins=True)
        self.net.react(self.net.controller.drain_edges(self.registry.edges, self.net.now))

    def restart(self) -> None:
        """The controller is started again; no switch is connected yet."""
        self.net.replace_controller()
        self.begin()

    @property
    def at(self) -> Moment:
        return Moment(self.net.now, EPOCH + self.net.now + self.skew)

    def _changed(self, groups: Groups) -> None:
        self.life.enrolled(groups, self.registry.edges, self.at)
        self.net.set_groups(groups)
        self.net.react(self.net.controller.drain_edges(self.registry.edges, self.net.now))

    def advance(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK_S)):
            self.net.advance(TICK_S)
            self.carry_out(self.life.tick(self.at))
            while self.life.is_busy():
                self.carry_out(self.life.tick(self.at))
        self.net.settle()

    def carry_out(self, todo: Todo) -> None:
        self.events += todo.events
        if todo.leases:
            self.net.react(self.net.controller.set_leases(todo.leases, self.net.now))
        edge, flows = todo.flows
        if flows:
            self.net.react(self.net.controller.close_flows(edge, flows, self.net.now))
        self.net.react(Outcome(events=todo.events))
        if todo.changes and not self.fails:
            self.registry.change_servers(todo.changes)

    # ---------------------------------------------------------------- what is asked for

    def address(self, host: str, v6: bool = False) -> Address:
        return self.net.host(host).address(v6)

    def drain(self, host: str, v6: bool = False, **asked: Any) -> Operation:
        server = self.registry.change_server(
            "web", self.address(host, v6), lambda server: self.life.draining(server, self.at.wall, **asked)
        )
        self.net.settle()
        assert server.drain
        return self.life.operations.get(server.drain.operation)

    def drain_edge(self, edge: str, **asked: Any) -> Operation:
        drain = self.registry.drain_edge(
            edge, lambda present: self.life.draining_edge(present, self.at.wall, **asked)
        )
        self.net.settle()
        return self.life.operations.get(drain.operation)

    def operation(self, of: Operation) -> Operation:
        return self.life.operations.get(of.id)

    def server(self, host: str, v6: bool = False) -> Server | None:
        return self.registry.group("web").servers.get(self.address(host, v6))


def talk(net: SimulatedNetwork, v6: bool = False, port: int = 40000, protocol: int = TCP, **options: Any) -> None:
    """A client's packet, which a server answers."""
    ask(net, service=SERVICE[v6], port=port, protocol=protocol, service_port=80, **options)


def server_of(net: SimulatedNetwork, port: int) -> str | None:
    """The host that serves this flow; None: nobody, or there is no such flow."""
    of = {address: host.name for host in net.network.hosts for address in host.addresses}
    return next((of.get(each.server) for each in bindings(net) if each.key.source_port == port and each.server), None)


