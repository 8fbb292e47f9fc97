"""Parts: what the ``Controller`` is made of, and how its parts are joined.

Those of one switch are in its ``ManagedSwitch``; all others are about the network: which links there are, which servers
take flows, who announces what, and the routes that follow.  Parts that depend on each other ask by functions that are
given to them here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set

from anycast_sdn.control.announcements import Announcements
from anycast_sdn.control.choices import Choices
from anycast_sdn.control.discovery import Discovery
from anycast_sdn.control.edge_distances import EdgeDistances
from anycast_sdn.control.enrolments import Enrolments
from anycast_sdn.control.health import Health
from anycast_sdn.control.losses import Losses
from anycast_sdn.control.removed_servers import RemovedServers
from anycast_sdn.control.reply_times import ReplyTimes
from anycast_sdn.control.reroutes import Reroutes
from anycast_sdn.control.routes import Routes
from anycast_sdn.control.selecting import Selecting
from anycast_sdn.control.service_reports import ServiceReports
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.control.uplinks import Uplinks
from anycast_sdn.core.decided import Decided
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, Prefix
from anycast_sdn.core.pool import RandomSource
from anycast_sdn.description.model import Network
from anycast_sdn.fabric.family_routing import Excluded
from anycast_sdn.openflow.judgement import Role


class Parts:
    """Of a network without groups.  ``random``: see ``core.pool``."""

    def __init__(self, network: Network, random: RandomSource) -> None:
        self.network = network
        self._random = random
        self._announced_before: Set[Prefix] = frozenset()  # see ``_decided_for``
        self._make({})

    def _make(self, kept: Mapping[int, ManagedSwitch]) -> None:
        """All parts, which know nothing yet, but for the flows of these switches (by datapath id)."""
        network, random = self.network, self._random
        self.is_beginning = True  # it is not all decided yet what follows from what is enrolled
        self.groups = Groups()
        self.announcements = Announcements(network, self._delivers)
        removed = RemovedServers(lambda: self.groups.servers())
        self.choices = Choices(lambda client, group, is_v6: self.selecting.choice(client, group, is_v6))
        self.switches = {
            switch.dpid: ManagedSwitch(
                switch, network, random, removed, self._decided_for(switch.name), kept.get(switch.dpid)
            )
            for switch in network.switches
        }
        self.by_name = {switch.name: switch for switch in self.switches.values()}
        self._in_order = [switch for _, switch in sorted(self.by_name.items())]
        self.discovery = Discovery(network, random.randrange(1 << 128).to_bytes(16, "big"))
        self.routes = Routes(self.by_name, self._delivers)
        self.discovery.late_s = self.routes.patience.late_s
        self.uplinks = Uplinks(self.by_name, self.routes.graph, self.announcements, self._delivers)
        self.reroutes = Reroutes(self._is_routed)
        self.losses = Losses(
            network, self.by_name, self.routes.next_hops, self.routes.has_route, removed,
            lambda group, server: self.selecting.takes_flows(group, server),
        )  # fmt: skip
        self.reply_times = ReplyTimes(self.by_name, self.choices.get)
        self.health = Health(
            network, self.by_name, random, self.reply_times,
            lambda client, group, is_v6: self.selecting.shares(client, group, is_v6),
        )  # fmt: skip
        distances = EdgeDistances(self.by_name, self.routes.graph_of, self.routes.has_route)
        self.selecting = Selecting(
            network, self.by_name, distances, self.health.status, lambda server: self.groups.of_server(server),
            self.choices,
        )  # fmt: skip
        self.service_reports = ServiceReports(
            network, self.by_name, self.selecting, self.routes.graph, self.routes.covering, self.uplinks.destinations,
            self.announcements.announcers_of,
        )  # fmt: skip
        self.enrolments = Enrolments(
            network, self.by_name, self.selecting, self.announcements, self.losses, self.health
        )
        for switch in self.switches.values():
            switch.watch_servers_and_routers()

    def have_begun(self) -> None:
        """All is decided that follows from what is enrolled."""
        self.is_beginning, self._announced_before = False, frozenset()

    def _decided_for(self, switch: str) -> Decided:
        """For as long as this controller lives: the flows of a switch may be kept when all else begins anew.

        What was announced until then still is, until all is decided.
        """
        return Decided(
            is_enrolled=lambda server: bool(self.groups.of_server(server)),
            is_announced=lambda prefix: self._reaches(switch, prefix),
            is_lost=lambda server, group: self.losses.has_lost(switch, server, group),
            slots=lambda group, is_v6: self.selecting.slots(switch, group, is_v6),
            choice_of=lambda group, is_v6: self.choices.number(switch, group, is_v6),
            can_serve=lambda is_v6, protocol: self.by_name[switch].abilities.can_bind(is_v6, protocol),
            term=lambda: self.by_name[switch].term,
        )

    def _reaches(self, client: str, service: Prefix) -> bool:
        """Is there an edge that is able to serve this ANY/n, for clients of this switch?"""
        if service in self._announced_before:
            return True
        cut_off = self.announcements.are_decided_here and self.routes.is_cut_off(client, service)
        return self.announcements.is_announced(service) and not cut_off

    def _delivers(self, name: str, prefix: Prefix) -> bool:
        """Could this switch still deliver packets to a prefix that it no longer announces?"""
        switch, group = self.by_name[name], self.groups.covering(prefix.network)
        return prefix in switch.egress.selected or (group is not None and bool(switch.serving.leaving(group, prefix)))

    def _unable_to_forward(self) -> Excluded:
        """Packets of a family that a switch cannot forward are lost there."""
        return {
            is_v6: frozenset(switch.name for switch in self._in_order if not switch.abilities.can(Role.CORE, is_v6))
            for is_v6 in (False, True)
        }

    def _is_routed(self) -> bool:
        return not (self.uplinks.waiting() or self.routes.is_busy() or self.routes.unconfirmed())

    def _services_of(self, server: Address) -> Iterator[Prefix]:
        for group in map(self.groups.get, self.groups.of_server(server)):
            yield from group.prefixes if group else ()

    def _recheck_services_of(self, switch: ManagedSwitch) -> None:
        for name in dict.fromkeys(name for each in switch.serving.enrolled for name in self.groups.of_server(each)):
            self.selecting.recheck(name)
        self.announcements.recheck(switch.dpid, switch.serving.services(self.groups))

    # ---------------------------------------------------------------- what may be read

    def switch(self, name: str) -> ManagedSwitch | None:
        return self.by_name.get(name)

    def switches_by_name(self) -> Sequence[ManagedSwitch]:
        """All of them, in the order of their names."""
        return self._in_order
