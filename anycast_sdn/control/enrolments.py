"""Enrolments: which switches a change of groups concerns.

A change may be about very many servers, as when the controller begins.  So it is recorded at once, and done in slices:
the edges of servers are told, of some hundred servers at a time (``tell``); rules for servers' replies change at all
client edges, of a few servers at a time (``work``).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from anycast_sdn.control.announcements import Announcements
from anycast_sdn.control.health import Health
from anycast_sdn.control.losses import Losses
from anycast_sdn.control.selecting import Selecting
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, AnycastGroup, Prefix
from anycast_sdn.description.model import Network

COST_OF_SERVICES = 16  # so many ANY/n cost as much as a server


@dataclass(slots=True)
class _Change:
    """``before``: the groups before it; None: the servers are the same, and have other ANY/n than before.

    ``told``: edges that have been told of the services.
    """

    group: str
    services: Mapping[Prefix, None]
    servers: Iterator[Address]
    before: Groups | None
    told: set[int] = field(default_factory=set)
    is_late: bool = False


class Enrolments:
    """``switches``: all, by name."""

    def __init__(
        self,
        network: Network,
        switches: Mapping[str, ManagedSwitch],
        selecting: Selecting,
        announcements: Announcements,
        losses: Losses,
        health: Health,
    ) -> None:
        self._network = network
        self._switches = switches
        self._selecting = selecting
        self._announcements = announcements
        self._losses = losses
        self._health = health
        self._to_tell: deque[_Change] = deque()
        # Servers that are in other groups than before → were they not enrolled at all before, or are they not now?
        self._changed: OrderedDict[Address, bool] = OrderedDict()

    def changed(self, before: Groups, groups: Groups) -> None:
        """The groups are others than ``before``."""
        present = self._present()
        for name in {**dict.fromkeys(before.names()), **dict.fromkeys(groups.names())}:
            old, new = before.get(name), groups.get(name)
            if old is not new:
                self._selecting.enrolment_changed(name, new)
                prefixes = self._group_changed(name, old, new, before, groups)
                for switch in present if prefixes else ():
                    switch.reconciler.recheck_anycast(prefixes)

    def _present(self) -> list[ManagedSwitch]:
        """Of all others everything is compared when they connect."""
        return [switch for switch in self._switches.values() if switch.synchronised]

    def _group_changed(
        self, name: str, old: AnycastGroup | None, new: AnycastGroup | None, before: Groups, groups: Groups
    ) -> Collection[Prefix]:
        """The server edges of the group's servers are to be told → the ANY/n that concern all client edges."""
        was, now = old.servers if old else {}, new.servers if new else {}
        servers = {**was, **now}
        changed = [] if was is now else [address for address in servers if was.get(address) is not now.get(address)]
        prefixes = dict.fromkeys((*(old.prefixes if old else ()), *(new.prefixes if new else ())))
        alike = old and new and old.affinity is new.affinity
        same = dict.fromkeys(old.prefixes).keys() & new.prefixes if old and new and alike else ()
        if old and old.keeps_at_lost_server and not (new and new.keeps_at_lost_server):
            self._losses.no_longer_kept()
        if changed:
            self._to_tell.append(_Change(name, prefixes, iter(changed), before))
        if len(same) < len(prefixes) and len(changed) < len(servers):
            others = dict.fromkeys(prefix for prefix in prefixes if prefix not in same)
            self._to_tell.append(_Change(name, others, iter(servers), None))
        serves, served = bool(new and groups.is_active(new)), bool(old and before.is_active(old))
        return prefixes if not (alike and len(same) == len(prefixes)) or serves is not served else ()

    def _edge_of(self, server: Address) -> ManagedSwitch | None:
        subnet = self._network.subnet_of(server)
        return self._switches[subnet.edge] if subnet else None

    # ---------------------------------------------------------------- in slices

    def tell(self, groups: Groups, most: int, now: float) -> None:
        """Tell the edges of about ``most`` servers."""
        while self._to_tell and most > 0:
            change = self._to_tell[0]
            for server in change.servers:
                most -= 1 + self._tell(change, server, groups, now)
                if most <= 0:
                    change.is_late = True
                    break
            else:
                self._to_tell.popleft()
                if change.is_late:  # edges may have connected meanwhile that did not know of these servers
                    self._selecting.recheck(change.group)

    def _tell(self, change: _Change, server: Address, groups: Groups, now: float) -> int:
        """→ what it has cost, beside the server itself."""
        cost, edge = 0, self._edge_of(server)
        if edge and edge.dpid not in change.told:
            change.told.add(edge.dpid)
            self._announcements.recheck(edge.dpid, change.services)
            cost = len(change.services) // COST_OF_SERVICES
        if change.before is None:
            return cost
        enrolled, was_enrolled = groups.of_server(server), change.before.of_server(server)
        if len(enrolled) != len(was_enrolled) or set(enrolled) != set(was_enrolled):  # there may be thousands of them
            self._changed[server] = self._changed.get(server, False) or bool(enrolled) != bool(was_enrolled)
        if edge and bool(enrolled) is not edge.serving.is_enrolled(server):
            edge.set_enrolled(server, bool(enrolled))
        if edge and enrolled:
            self._health.enrolled(server, edge, now)
        return cost

    def is_telling(self) -> bool:
        """Is there an edge that is still to be told?"""
        return bool(self._to_tell)

    def is_busy(self) -> bool:
        """Are there servers for which ``tell`` or ``work`` is to be called?"""
        return bool(self._changed or self._to_tell)

    def work(self, most: int) -> None:
        """Let the rules for replies of ``most`` servers be compared at all client edges."""
        present = self._present() if self._changed else ()
        for _ in range(min(most, len(self._changed))):
            address, was_removed_or_added = self._changed.popitem(last=False)
            if was_removed_or_added:
                self._losses.enrolment_changed(address)
            for switch in present:
                switch.reconciler.recheck_server(address)
