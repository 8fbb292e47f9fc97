"""Announcements: which edges announce which prefixes to the fabric.

Rules that it keeps:
- An edge always announces what the network file gives it: its own addresses, its subnets and its translation
  prefixes.
- It announces an ANY/n for as long as a server behind it takes new flows for that (M8).
- An ANY/n that it withdraws while it still could deliver is *retiring* there for ``RETIRE_S``: routers beyond uplinks
  go on sending until they have processed the withdrawal, and those packets still find their server.
- Whether an edge is able is examined when something has happened that may have changed it, and not at once: what is
  to be examined waits in a queue, and ``judge`` takes some of that."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from anycast_sdn.control.suspects import Suspects
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Prefix
from anycast_sdn.description.model import Network

RETIRE_S = 5.0  # routers have this long to stop using an edge that has withdrawn ANY/n
_NOBODY: frozenset[str] = frozenset()


class Announcements:
    """``delivers``: could this edge still deliver to a prefix that it has ceased to announce?"""

    def __init__(self, network: Network, delivers: Callable[[str, Prefix], bool]) -> None:
        self._delivers = delivers
        self._edges = _always_announced(network)
        self._always: dict[str, list[Prefix]] = {switch.name: [] for switch in network.switches}
        for prefix, names in self._edges.items():
            for name in sorted(names):
                self._always[name].append(prefix)
        self._able: dict[str, set[Prefix]] = {name: set() for name in self._always}  # the ANY/n that each can serve
        self._retiring: dict[Prefix, dict[str, float]] = {}  # edges that have withdrawn it → when that is over
        self._suspects = Suspects()
        self._changed = dict.fromkeys(self._edges)

    # ---------------------------------------------------------------- what is announced

    @property
    def edges(self) -> Mapping[Prefix, frozenset[str]]:
        """Prefix → the edges that announce it."""
        return self._edges

    def edges_of(self, prefix: Prefix) -> frozenset[str]:
        """Those that announce this very prefix."""
        return self._edges.get(prefix, _NOBODY)

    def is_announced(self, prefix: Prefix) -> bool:
        return prefix in self._edges

    def of(self, edge: str) -> tuple[Sequence[Prefix], Collection[Prefix]]:
        """What an edge always announces, and the ANY/n that it is able to serve now; neither will change."""
        return self._always[edge], tuple(self._able[edge])

    @property
    def retiring(self) -> Mapping[Prefix, Mapping[str, float]]:
        """Prefix → the edges where it is retiring, and until when."""
        return self._retiring

    def pop_changed(self) -> Iterable[Prefix]:
        """The prefixes whose announcing or delivering edges may have changed since the last call."""
        changed, self._changed = self._changed, {}
        return changed

    # ---------------------------------------------------------------- what may change it

    def suspect(self, dpid: int, services: Iterable[Prefix]) -> None:
        """This switch may be able to serve ANY/n that it was not, or the reverse, or by other servers."""
        self._suspects.add(dpid, dict.fromkeys(services))

    def suspected(self) -> Iterable[int]:
        """The switches of which something waits to be judged."""
        return self._suspects.switches()

    def is_judging(self) -> bool:
        return bool(self._suspects)

    def judge(self, switches: Mapping[int, ManagedSwitch], groups: Groups, most: int, now: float) -> None:
        """Of the pairs of switch and ANY/n that wait, ``most`` at the most: is the switch able to serve it?"""
        for dpid, service in self._suspects.pop(most):
            switch = switches[dpid]
            switch.suspect_service(service)
            group = groups.owner(service)
            able = group is not None and bool(switch.serving.able(group, service))
            self._set_able(switch.name, service, able, now)

    def _set_able(self, edge: str, service: Prefix, able: bool, now: float) -> None:
        if edge in self._retiring.get(service, ()):
            self._changed[service] = None  # it may be unable to deliver any longer
        if able is (service in self._able[edge]):
            return
        others = self.edges_of(service) - {edge}
        if able:
            self._able[edge].add(service)
            self._edges[service] = others | {edge}
        else:
            self._able[edge].discard(service)
            if others:
                self._edges[service] = others
            else:
                del self._edges[service]
            if self._delivers(edge, service):
                self._retiring.setdefault(service, {})[edge] = now + RETIRE_S
        self._changed[service] = None

    def tick(self, now: float) -> bool:
        """→ Is the retirement of some ANY/n over?"""
        over = [
            (service, edge) for service, edges in self._retiring.items() for edge, end in edges.items() if now >= end
        ]
        for service, edge in over:
            del self._retiring[service][edge]
            if not self._retiring[service]:
                del self._retiring[service]
            self._changed[service] = None
        return bool(over)


def _always_announced(network: Network) -> dict[Prefix, frozenset[str]]:
    """Prefix → the edges that announce it by the network file, with or without servers."""
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
