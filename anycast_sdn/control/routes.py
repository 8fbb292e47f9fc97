"""Routes: from links and destinations to the routes that switches install.

Routes are computed (``fabric.routing``) and installed in an order that loses no packet (``fabric.ordered_update``).
Changes of links and of destinations are recorded at once; the routes that follow are computed a portion at a time.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.model import Prefix
from anycast_sdn.description.model import Link
from anycast_sdn.fabric.family_routing import NOBODY, Excluded, FamilyRouting
from anycast_sdn.fabric.graph import Graph
from anycast_sdn.fabric.ordered_update import OrderedUpdate
from anycast_sdn.fabric.patience import Patience
from anycast_sdn.fabric.routing import Changes


class Routes:
    """``switches``: by name; ``delivers``: could this switch still deliver to a prefix that it does not announce?"""

    def __init__(self, switches: Mapping[str, ManagedSwitch], delivers: Callable[[str, Prefix], bool]) -> None:
        self._routing = FamilyRouting(switches)
        self._update = OrderedUpdate(
            self._routing,
            installed=lambda name: switches[name].routes,
            delivers=delivers,
            is_unseen=lambda name: switches[name].unseen,
        )
        self._to_find: OrderedDict[Prefix, None] = OrderedDict()  # prefixes with other destinations
        self._confirmed: deque[tuple[str, int]] = deque()  # (switch, ticket)

    @property
    def graph(self) -> Graph:
        """The graph of the usable links; to be read only."""
        return self._routing.graph

    def graph_of(self, v6: bool) -> Graph:
        """Of the links that packets of this family cross; to be read only."""
        return self._routing.graph_of(v6)

    def is_cut_off(self, switch: str, prefix: Prefix) -> bool:
        """Has this switch no route there, while switches in between cannot forward its family?"""
        return self._routing.is_apart(prefix.is_v6) and not self.has_route(switch, prefix)

    def wanted(self, switch: str) -> dict[Prefix, int]:
        """What a switch should have installed when nothing waits any more: prefix → port, or LOCAL."""
        return self._routing.of(switch)

    def next_hops(self, prefix: Prefix) -> Mapping[str, int]:
        """Switch → the port of the route that it should have to this prefix, or LOCAL."""
        return self._routing.next_hops(prefix)

    def has_route(self, switch: str, prefix: Prefix) -> bool:
        """Should this switch have a route to this prefix, or to one that covers it?"""
        return any(switch in self.next_hops(covering) for covering in self.covering(prefix))

    def covering(self, prefix: Prefix) -> Iterator[Prefix]:
        """The prefixes with routes that cover this one, itself included, the longest first."""
        return self._routing.prefixes.covering(prefix)

    # ---------------------------------------------------------------- what changes them

    def set_links(self, links: Iterable[Link], excluded: Excluded = NOBODY) -> None:
        """``excluded``: the switches through which no packet of a family goes."""
        self._routing.begin_links(links, excluded)

    def reconsider(self, prefixes: Iterable[Prefix]) -> None:
        """These prefixes may have other destinations."""
        self._to_find |= dict.fromkeys(prefixes)

    def connected(self, switch: str) -> None:
        """The routes that the switch has installed have been read."""
        self._update.connected(switch)

    def disconnected(self, switch: str) -> None:
        """Other switches no longer wait for its confirmations."""
        self._confirmed += [(switch, ticket) for ticket in self._update.remove_switch(switch)]

    @property
    def patience(self) -> Patience:
        """How long switches take to confirm."""
        return self._update.patience

    def answered(self, tickets: Sequence[tuple[str, int]], now: float) -> None:
        """Switches have confirmed what was sent with these tickets."""
        for switch, number in tickets:
            self._update.patience.answered(switch, number, now)
        self.confirmed(tickets)

    def confirmed(self, tickets: Iterable[tuple[str, int]]) -> None:
        """These tickets are not waited for any more."""
        self._confirmed += tickets

    def pop_overdue(self, now: float) -> list[tuple[str, int]]:
        """(switch, ticket) of the routes that should have been confirmed by now, each once."""
        return self._update.pop_overdue(now)

    def judge_again(self) -> None:
        """After any event but a confirmation: routes that wait for other switches may have become free to go."""
        self._update.judge_again()

    # ---------------------------------------------------------------- what follows, a portion at a time

    def is_finding(self) -> bool:
        """Are there routes that are not computed yet?"""
        return bool(self._to_find) or self._routing.is_following()

    def is_busy(self) -> bool:
        """Has one of the methods below something left to do?"""
        return bool(self._confirmed) or self.is_finding() or self._update.is_judging()

    def unconfirmed(self) -> set[str]:
        """The switches that have not been sent all of their routes, or have not confirmed them."""
        return self._update.unconfirmed()

    def apply_confirmations(self, most: int) -> None:
        """Apply the barrier replies of about ``most`` routes."""
        freed = 0
        while self._confirmed and freed < most:
            freed += 1 + self._update.confirmed(*self._confirmed.popleft())

    def find(self, destinations: Callable[[Prefix], frozenset[str]], prefixes: int, most: int) -> None:
        """Compute routes after changes of links, and to at most ``prefixes`` prefixes, until about ``most`` differ."""
        changes = self._routing.follow_links(most)
        found = sum(map(len, changes.values()))
        self._update.want(changes)
        while self._to_find and prefixes and found < most:
            prefix, _ = self._to_find.popitem(last=False)
            changes = self._routing.announce_some({prefix: destinations(prefix)})
            found, prefixes = found + len(changes), prefixes - 1
            self._update.want(changes)

    def judge(self, most: int) -> Changes:
        """Judge about ``most`` routes → those that switches may install now."""
        return self._update.judge(most)

    def issue(self, switch: str, prefixes: Sequence[Prefix], now: float) -> int:
        """The switch is sent its routes to these → the ticket by which it confirms them."""
        return self._update.issue(switch, prefixes, now)

    def needless(self, switch: str, ticket: int) -> None:
        """Nothing had to be sent, because the switch has all of that installed: the ticket is confirmed."""
        self._update.confirmed(switch, ticket)
