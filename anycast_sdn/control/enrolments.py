"""Enrolments: which switches a change of groups concerns.

The edges of servers are told at once.  The rules for servers' replies change at all client edges, of a few servers at a
time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from anycast_sdn.control.announcements import Announcements
from anycast_sdn.control.losses import Losses
from anycast_sdn.control.selecting import Selecting
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, AnycastGroup
from anycast_sdn.description.model import Network


class Enrolments:
    """``switches``: all, by name."""

    def __init__(
        self,
        network: Network,
        switches: Mapping[str, ManagedSwitch],
        selecting: Selecting,
        announcements: Announcements,
        losses: Losses,
    ) -> None:
        self._network = network
        self._switches = switches
        self._selecting = selecting
        self._announcements = announcements
        self._losses = losses
        # Servers that are in other groups than before → were they not enrolled at all before, or are they not now?
        self._changed: OrderedDict[Address, bool] = OrderedDict()

    def changed(self, before: Groups, groups: Groups) -> None:
        """The groups are others than ``before``."""
        for name in {**dict.fromkeys(before.names()), **dict.fromkeys(groups.names())}:
            old, new = before.get(name), groups.get(name)
            if old is not new:
                self._selecting.enrolment_changed(name, new)
                self._group_changed(old, new, before, groups)

    def _group_changed(
        self, old: AnycastGroup | None, new: AnycastGroup | None, before: Groups, groups: Groups
    ) -> None:
        """Recheck the server edges of the group's servers."""
        was, now = old.servers if old else {}, new.servers if new else {}
        servers = {**was, **now}
        changed = [] if was is now else [address for address in servers if was.get(address) is not now.get(address)]
        prefixes = dict.fromkeys((*(old.prefixes if old else ()), *(new.prefixes if new else ())))
        alike = old and new and old.affinity is new.affinity
        same = dict.fromkeys(old.prefixes).keys() & new.prefixes if old and new and alike else ()
        if old and old.keeps_at_lost_server and not (new and new.keeps_at_lost_server):
            self._losses.no_longer_kept()
        for switch in self._switches_of(changed):
            self._announcements.recheck(switch.dpid, prefixes)
        if len(same) < len(prefixes):
            others = dict.fromkeys(prefix for prefix in prefixes if prefix not in same)
            for switch in self._switches_of(servers):
                self._announcements.recheck(switch.dpid, others)
        serves, served = bool(new and groups.is_active(new)), bool(old and before.is_active(old))
        if not (alike and len(same) == len(prefixes)) or serves is not served:
            for switch in self._switches.values():
                switch.reconciler.recheck_anycast(prefixes)
        for address in changed:
            enrolled, was_enrolled = bool(groups.of_server(address)), bool(before.of_server(address))
            if set(groups.of_server(address)) != set(before.of_server(address)):
                self._changed[address] = self._changed.get(address, False) or enrolled != was_enrolled
            if enrolled != was_enrolled:
                for switch in self._switches_of([address]):
                    switch.set_enrolled(address, enrolled)

    def _switches_of(self, servers: Iterable[Address]) -> list[ManagedSwitch]:
        """The switches of the subnets of these servers."""
        subnets = filter(None, map(self._network.subnet_of, servers))
        return [self._switches[name] for name in dict.fromkeys(subnet.edge for subnet in subnets)]

    def is_busy(self) -> bool:
        """Are there servers for which ``work`` is to be called?"""
        return bool(self._changed)

    def work(self, most: int) -> None:
        """Let the rules for replies of ``most`` servers be compared at all client edges."""
        for _ in range(min(most, len(self._changed))):
            address, was_removed_or_added = self._changed.popitem(last=False)
            if was_removed_or_added:
                self._losses.enrolment_changed(address)
            for switch in self._switches.values():
                switch.reconciler.recheck_server(address)
