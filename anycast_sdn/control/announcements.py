"""Announcements: which switches announce which prefixes to the fabric.

Rules that it keeps:
- A switch always announces what the network file gives it: its own addresses, its subnets and its translation
  prefixes.
- A server edge announces an ANY/n as long as it is *able* to serve it: a server behind it takes new flows (M8).  None
  does where the switch cannot be a server edge in that family (``Selecting``).
- An ANY/n that it withdraws while it could still deliver packets is *retiring* there for ``RETIRE_S``: routers at
  uplinks go on sending until they have processed the withdrawal, and these packets still reach a server.
- An event that may change whether a switch is able puts the switch and the ANY/n into a queue (``recheck``).  ``judge``
  examines a portion of the queue: one event may concern very many.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set

from anycast_sdn.control.prefix_queue import PrefixQueue
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Prefix
from anycast_sdn.description.model import Network

RETIRE_S = 5.0  # routers at uplinks have this long to process the withdrawal of an ANY/n
_NONE: frozenset[str] = frozenset()


class Announcements:
    """``delivers``: could this switch still deliver packets to a prefix that it no longer announces?"""

    def __init__(self, network: Network, delivers: Callable[[str, Prefix], bool]) -> None:
        self._delivers = delivers
        self._announcers = _always_announced(network)
        self._told: Set[Prefix] | None = None  # None: nobody else decides
        self._always: dict[str, list[Prefix]] = {switch.name: [] for switch in network.switches}
        for prefix, names in self._announcers.items():
            for name in sorted(names):
                self._always[name].append(prefix)
        self._able: dict[str, set[Prefix]] = {name: set() for name in self._always}  # ANY/n
        self._retiring: dict[Prefix, dict[str, float]] = {}  # switches that have withdrawn it → when retirement ends
        self._to_judge = PrefixQueue()
        self._changed = dict.fromkeys(self._announcers)
        self._announced: frozenset[Prefix] | None = None  # see ``announced``

    # ---------------------------------------------------------------- what is announced

    @property
    def announcers(self) -> Mapping[Prefix, frozenset[str]]:
        """Prefix → the switches that announce it."""
        return self._announcers

    @property
    def announced(self) -> frozenset[Prefix]:
        """The prefixes that any switch announces: the same object until there are others."""
        if self._announced is None:
            self._announced = frozenset(self._announcers)
        return self._announced

    def announcers_of(self, prefix: Prefix) -> frozenset[str]:
        """The switches that announce this very prefix."""
        return self._announcers.get(prefix, _NONE)

    def is_announced(self, prefix: Prefix) -> bool:
        return prefix in (self._announcers if self._told is None else self._told)

    @property
    def are_decided_here(self) -> bool:
        """Or does another controller?"""
        return self._told is None

    def told(self, announced: Set[Prefix]) -> None:
        """Another controller decides: these are announced, whatever follows from what is known here."""
        self._told = announced

    def of(self, switch: str) -> tuple[Sequence[Prefix], Collection[Prefix]]:
        """What a switch always announces, and the ANY/n that it is able to serve now, as copies."""
        return self._always[switch], tuple(self._able[switch])

    @property
    def retiring(self) -> Mapping[Prefix, Mapping[str, float]]:
        """Prefix → the switches where it is retiring, and until when."""
        return self._retiring

    def pop_changed(self) -> Iterable[Prefix]:
        """The prefixes that other switches may announce, or deliver to, than at the last call."""
        changed, self._changed = self._changed, {}
        return changed

    # ---------------------------------------------------------------- what may change it

    def recheck(self, dpid: int, services: Iterable[Prefix]) -> None:
        """Queue these ANY/n for ``judge``: this switch may be able to serve others, or by other servers."""
        self._to_judge.add(dpid, dict.fromkeys(services))

    def waiting(self) -> Iterable[int]:
        """The switches of which something is queued."""
        return self._to_judge.switches()

    def is_judging(self) -> bool:
        return bool(self._to_judge)

    def judge(self, switches: Mapping[int, ManagedSwitch], groups: Groups, most: int, now: float) -> None:
        """Examine up to ``most`` queued pairs of a switch and an ANY/n: is the switch able to serve it?"""
        for dpid, service in self._to_judge.pop(most):
            switch = switches[dpid]
            switch.reconciler.recheck_service(service)
            group = groups.owner(service)
            able = group is not None and bool(switch.serving.wanted(group, service.is_v6))
            self._set_able(switch.name, service, able, now)

    def _set_able(self, switch: str, service: Prefix, able: bool, now: float) -> None:
        if switch in self._retiring.get(service, ()):
            self._changed[service] = None  # the switch may have become unable to deliver
        if able is (service in self._able[switch]):
            return
        others = self.announcers_of(service) - {switch}
        self._announced = None
        if able:
            self._able[switch].add(service)
            self._announcers[service] = others | {switch}
        else:
            self._able[switch].discard(service)
            if others:
                self._announcers[service] = others
            else:
                del self._announcers[service]
            if self._delivers(switch, service):
                self._retiring.setdefault(service, {})[switch] = now + RETIRE_S
        self._changed[service] = None

    def tick(self, now: float) -> bool:
        """End the retirements whose time is over → were there any?"""
        over = [
            (service, name) for service, names in self._retiring.items() for name, end in names.items() if now >= end
        ]
        for service, name in over:
            del self._retiring[service][name]
            if not self._retiring[service]:
                del self._retiring[service]
            self._changed[service] = None
        return bool(over)


def _always_announced(network: Network) -> dict[Prefix, frozenset[str]]:
    """Prefix → the switches that announce it because of the network file alone, whatever servers are enrolled."""
    announced: dict[Prefix, set[str]] = {}
    for switch in network.switches:
        for address in switch.addresses:
            announced.setdefault(Prefix.host(address), set()).add(switch.name)
        for prefix in switch.translation_prefixes:
            announced.setdefault(prefix, set()).add(switch.name)
    for subnet in network.subnets:
        for gateway in subnet.gateways:
            announced.setdefault(gateway.prefix, set()).add(subnet.edge)
    return {prefix: frozenset(names) for prefix, names in announced.items()}
