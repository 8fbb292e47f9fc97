"""Scrape: what one answer of metrics is made of, and for which switches this member of a cluster answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.share import Share
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.histogram import Histogram
from anycast_sdn.core.model import AnycastGroup, Server, text
from anycast_sdn.engines.engine import Statistics
from anycast_sdn.views.cluster import ClusterState
from anycast_sdn.views.counters import Counters
from anycast_sdn.views.reasons import Session


@dataclass(frozen=True)
class BindingLog:
    """Of attribution, where it is written."""

    is_written: bool
    missing: int  # records, since the controller's start


@dataclass(frozen=True)
class Process:
    """What the process counts, besides the controller."""

    counters: Counters
    status: str  # of health
    sessions: Sequence[Session] = ()  # of BGP
    first_packets: Mapping[str, Histogram] = field(default_factory=dict)  # by switch: seconds until they are answered
    waiting: Mapping[str, int] = field(default_factory=dict)  # by switch: first packets and first replies
    stalls: Histogram = field(default_factory=Histogram)  # of the hub, in seconds
    requests: Mapping[tuple[str, str, int], int] = field(default_factory=dict)  # of REST: method, resource, status
    events: Mapping[tuple[str, str], int] = field(default_factory=dict)  # that operators are told of: type, severity
    binding_log: BindingLog | None = None
    cluster: ClusterState | None = None
    followed: Collection[str] | None = None  # switches that are connected to this member, which follows


class Enrolled(NamedTuple):
    """A server in a group, and what is known of it."""

    labels: tuple[str, str, str]  # its group, its address, its edge
    group: str
    server: Server
    switch: ManagedSwitch | None


class Scrape:
    """What one answer shows.  ``turn`` lets other green threads run."""

    def __init__(self, controller: Controller, process: Process, now: float, turn: Callable[[], None]) -> None:
        self.controller, self.process, self.now, self.turn = controller, process, now, turn
        self.switches = controller.switches_by_name()
        self.decides = process.followed is None  # on the network: the leader, or a controller that is alone
        clients = [switch for switch in self.switches if switch.described.client_edge]
        self.clients = [switch for switch in clients if self._serves(switch)]  # client edges
        self.statistics: Mapping[str, Statistics] = {switch.name: switch.statistics(now) for switch in self.clients}
        self.groups: Sequence[AnycastGroup] = list(controller.groups)
        self.servers = list(self._servers())

    def _serves(self, switch: ManagedSwitch) -> bool:
        """Are flows at this switch this member's?"""
        if self.decides:
            return switch.share is not Share.REST
        return switch.share is Share.FLOWS and switch.decides_on_flows

    def _servers(self) -> Iterator[Enrolled]:
        for group in self.groups:
            for address, server in group.servers.items():
                subnet = self.controller.network.subnet_of(address)
                switch = self.controller.switch(subnet.edge) if subnet else None
                labels = group.name, text(address), switch.name if switch else ""
                yield Enrolled(labels, group.name, server, switch)
                self.turn()
