"""FamilyRouting: the routes of both families, by the same links, or apart where switches cannot forward one of them.

A switch that cannot forward a family is left out of that family's links: no packet of it is sent there, also not to
what the switch itself announces.

As long as every switch forwards both families, one ``Routing`` has all routes, and costs what one costs.  A family that
has lost a switch gets one of its own, and keeps it.  Its prefixes go there one by one: the routes of all switches to
one prefix change together.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from anycast_sdn.core.model import Prefix
from anycast_sdn.core.prefixes import PrefixSet
from anycast_sdn.description.model import Link
from anycast_sdn.fabric.graph import Graph
from anycast_sdn.fabric.routing import Changes, Routing

Excluded = Mapping[bool, frozenset[str]]  # IPv6? → the switches that cannot forward that family
NOBODY: Excluded = {False: frozenset(), True: frozenset()}


class FamilyRouting:
    """As ``Routing``; ``graph``: of all working links, whatever crosses them."""

    def __init__(self, switches: Iterable[str]) -> None:
        self._switches = [*switches]
        self._common = Routing(self._switches)
        self._apart: dict[bool, Routing] = {}
        self._to_move: OrderedDict[Prefix, None] = OrderedDict()  # from the common one
        self.prefixes = PrefixSet()  # all that are announced

    @property
    def graph(self) -> Graph:
        return self._common.graph

    def graph_of(self, v6: bool) -> Graph:
        """Of the links that packets of this family cross."""
        return self._apart.get(v6, self._common).graph

    def is_apart(self, v6: bool) -> bool:
        """Has this family routes of its own?"""
        return v6 in self._apart

    @property
    def _all(self) -> Sequence[Routing]:
        return self._common, *self._apart.values()

    def _of(self, prefix: Prefix) -> Routing:
        apart = self._apart.get(prefix.is_v6)
        return apart if apart and prefix not in self._to_move else self._common

    def of(self, switch: str) -> dict[Prefix, int]:
        return {prefix: port for routing in self._all for prefix, port in routing.of(switch).items()}

    def announced(self) -> Iterator[Prefix]:
        for routing in self._all:
            yield from routing.announced()

    def next_hops(self, prefix: Prefix) -> Mapping[str, int]:
        return self._of(prefix).next_hops(prefix)

    def begin_links(self, links: Iterable[Link], excluded: Excluded = NOBODY) -> None:
        """These links work now; ``follow_links`` then changes the routes."""
        links = tuple(links)
        self._common.begin_links(links)
        for v6, unable in excluded.items():
            if unable and v6 not in self._apart:
                self._apart[v6] = Routing(self._switches)
                self._to_move |= dict.fromkeys(each for each in self._common.announced() if each.is_v6 is v6)
            if v6 in self._apart:
                self._apart[v6].begin_links(link for link in links if unable.isdisjoint((link.a.switch, link.b.switch)))

    def is_following(self) -> bool:
        return bool(self._to_move) or any(routing.is_following() for routing in self._all)

    def follow_links(self, most: int) -> Changes:
        """Change routes because of links, with the work of about ``most`` routes → those that differ."""
        changes: Changes = {}
        for routing in self._all:
            if routing.is_following():
                _add(changes, routing.follow_links(most))
        work = sum(map(len, changes.values()))
        while self._to_move and work < most:
            prefix = next(iter(self._to_move))
            moved = self._move(prefix, self._common.announcers_of(prefix))
            work += 1 + len(moved)
            _add(changes, moved)
        return changes

    def announce_some(self, announced: Mapping[Prefix, Collection[str]]) -> Changes:
        """These edges announce these prefixes now; one without edges is withdrawn → the routes that differ."""
        changes: Changes = {}
        for prefix, edges in announced.items():
            (self.prefixes.add if edges else self.prefixes.discard)(prefix)
            if prefix in self._to_move:
                _add(changes, self._move(prefix, edges))
            else:
                _add(changes, self._of(prefix).announce_some({prefix: edges}))
        return changes

    def _move(self, prefix: Prefix, edges: Collection[str]) -> Changes:
        del self._to_move[prefix]
        before = self._common.next_hops(prefix)
        self._common.announce_some({prefix: ()})
        self._apart[prefix.is_v6].announce_some({prefix: edges})
        now = self.next_hops(prefix)
        ports = ((switch, now.get(switch)) for switch in sorted(before.keys() | now.keys()))
        return {switch: {prefix: port} for switch, port in ports if port != before.get(switch)}


def _add(changes: Changes, more: Changes) -> None:
    for switch, routes in more.items():
        changes.setdefault(switch, {}).update(routes)
