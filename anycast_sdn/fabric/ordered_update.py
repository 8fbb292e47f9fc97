"""Ordered update: when each switch may install its new route, so that no packet on the way is lost or loops.

Switches install routes at different times.  If B switches over to next hop A while A still forwards to B, packets loop
between them until their TTL expires.  So updates are ordered, as in RFC 6976, but by a controller that has all routes:
a switch is sent its new route to a prefix only when every switch on the new path is *confirmed*, that is, has confirmed
that it holds the route that it should.  So new paths grow outwards from the edges that announce the prefix.

Why no packet loops: confirmed switches forward to confirmed switches only, as far as an edge.  The others hold routes
from before, which do not form a loop either and may end at a confirmed switch.  When the wanted routes change during an
update, the set of confirmed switches is determined again; the routes that switches may hold, including those that were
sent but not confirmed, still form no loop.  (Exception: a prefix that no edge announced just before.  Remaining routes
to a covering prefix that is being removed may let its packets loop.  These packets had no route before either.)

- A switch whose present path leads nowhere, because a link on it is down or the edge at its end cannot deliver, is sent
  its new route at once: it has nothing to lose.  So a failure is repaired in one step.
- An edge that no longer announces a prefix is treated like any other switch: it delivers until it may switch over.
- A switch without a route to a prefix uses the route to the longest prefix that covers it.  So a new route must also be
  safe for packets to those more specific prefixes for which the switch may have no route of its own.
- A switch that is disconnected cannot be sent routes: it is taken to hold those that were sent last.  A switch that has
  a working path does not switch over to it if packets would be lost there.
- A switch that has not been seen yet may hold any routes: it is taken to deliver the packets that it gets now, and no
  switch moves to it, except one that has no path at all.
- Silence is excused when the controller itself was late (``core.lateness``).

Large work is done in portions: ``judge`` examines some prefixes, each for all switches that wait for their route to it,
and leaves the others to the next call.  The result is the same as if their causes had come one after the other.
A confirmation can only help prefixes that cover the confirmed one or lie within it, so only these are judged again;
after any other event that may matter the caller calls ``judge_again``.  The routes of a switch that has connected are
compared with the wanted ones in portions, too; until then no prefix is judged, because it is not known which ones are
in flux.

Pure: ``judge`` returns what may be sent; the caller reports what was sent and confirmed.  A next hop is a port, or
``graph.LOCAL`` where the switch itself delivers.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from typing import NamedTuple

from anycast_sdn.core.lateness import Lateness
from anycast_sdn.core.model import Prefix
from anycast_sdn.core.prefixes import NestedPrefixes
from anycast_sdn.fabric.family_routing import FamilyRouting
from anycast_sdn.fabric.graph import LOCAL
from anycast_sdn.fabric.patience import USUAL_S, Patience
from anycast_sdn.fabric.routing import Changes, Routing

CONFIRM_S = USUAL_S  # other switches wait so long for a confirmation, and longer for one that is slow (``patience``)
MOST_TICKETS = (1 << 31) - 1  # see ``openflow.rules.Barrier``
PER_PREFIX = 3  # judging a prefix costs as much as judging so many routes, besides its own
COMPARISONS = 20  # so many routes of a switch that has connected are compared in the time in which one is judged
DIFFERENCE = 8  # a route that is not the wanted one costs as much as so many comparisons
LATE_S = 0.6  # more than this between two calls of ``pop_overdue``: the controller itself was late
_NO_SWITCHES: set[str] = set()


class _Ticket(NamedTuple):
    """Routes that a switch was sent together and has not confirmed."""

    switch: str
    prefixes: tuple[Prefix, ...]
    issued: float


class OrderedUpdate:
    """Leads switches from their installed routes to those that ``routing`` wants.

    ``installed``: the routes that a switch was sent last, read anew whenever they are needed.  ``delivers``: could a
    switch still deliver to a prefix that it announces no longer?  ``is_unseen``: is it still expected to connect for
    the first time since the start?
    """

    def __init__(
        self,
        routing: Routing | FamilyRouting,
        installed: Callable[[str], Mapping[Prefix, int]],
        delivers: Callable[[str, Prefix], bool],
        is_unseen: Callable[[str], bool],
    ) -> None:
        self._routing = routing
        self._installed = installed
        self._delivers = delivers
        self._is_unseen = is_unseen
        self._present: set[str] = set()
        self._to_compare: dict[str, list[Prefix]] = {}  # switches that have just connected; the last prefix is next
        # Prefix → switches that have not been sent the route that they should have; some may have disconnected since.
        self._waiting: dict[Prefix, set[str]] = {}
        self._unconfirmed: dict[Prefix, dict[str, int]] = {}  # … → those that were sent it → their last ticket
        self._in_flux = NestedPrefixes()  # prefixes in one of these two
        # Prefixes in ``_waiting`` whose switches may have to wait no longer, the oldest first.
        self._unjudged: OrderedDict[Prefix, None] = OrderedDict()
        self._just_confirmed: OrderedDict[Prefix, None] = OrderedDict()  # other switches may have waited for these
        self._tickets: dict[int, _Ticket] = {}
        self._busy: Counter[str] = Counter()  # switch → number of routes that it waits for, and of its tickets
        self._last_number = 0
        self._lateness = Lateness(LATE_S, CONFIRM_S)
        self.patience = Patience()

    def unconfirmed(self) -> set[str]:
        """The switches that have not been sent all routes that they should have, or have not confirmed them."""
        return (self._busy.keys() & self._present) | self._to_compare.keys()

    def connected(self, switch: str) -> None:
        """The switch can be sent routes from now on, and ``installed`` returns those that it holds."""
        self._present.add(switch)
        waited = (prefix for prefix, switches in self._waiting.items() if switch in switches)  # before it disconnected
        self._to_compare[switch] = list(dict.fromkeys((*self._installed(switch), *self._routing.announced(), *waited)))

    def remove_switch(self, switch: str) -> list[int]:
        """It has disconnected: it cannot be sent routes any more → its tickets.

        The caller calls ``confirmed`` for them, in portions.
        """
        self._present.discard(switch)
        self._to_compare.pop(switch, None)
        numbers = [number for number, ticket in self._tickets.items() if ticket.switch == switch]
        self._stop_timing(numbers)
        return numbers

    def want(self, changes: Changes) -> None:
        """These routes are wanted from now on."""
        for switch in changes.keys() & self._present:
            for prefix, hop in changes[switch].items():
                self._set_wanted(switch, prefix, hop)

    def _set_wanted(self, switch: str, prefix: Prefix, hop: int | None) -> bool:
        """This route is wanted (None: no route) → has the switch another one installed?"""
        differs = self._installed(switch).get(prefix) != hop
        (self._add_waiting if differs else self._remove_waiting)(switch, prefix)
        return differs

    def judge_again(self) -> None:
        """Judge all waiting routes again, because of an event other than ``want`` and ``confirmed``."""
        self._unjudged |= dict.fromkeys(self._waiting)

    def is_judging(self) -> bool:
        """Has ``judge`` left work for the next call?"""
        return bool(self._to_compare or self._unjudged or (self._just_confirmed and self._waiting))

    def judge(self, most: int | None = None) -> Changes:
        """Judge about ``most`` routes of those that may have become ready (None: all that wait) → those to send now."""
        self._compare(most)
        if self._to_compare:
            return {}
        if most is None:
            self.judge_again()
        ready: Changes = {}
        judged: dict[Prefix, list[str]] = {}
        for prefix in self._pop_unjudged(most):
            for switch in self._waiting[prefix]:
                if self._installed(switch):
                    judged.setdefault(prefix, []).append(switch)
                else:  # it has no route at all: nothing to lose
                    ready.setdefault(switch, {})[prefix] = self._routing.next_hops(prefix).get(switch)
        if judged:
            self._judge_paths(judged, ready)
        return ready

    def _compare(self, most: int | None) -> None:
        """Compare the routes that switches hold, which have connected, with the wanted ones."""
        work = 0
        while self._to_compare and (most is None or work < most * COMPARISONS):
            switch, prefixes = next(iter(self._to_compare.items()))
            while prefixes and (most is None or work < most * COMPARISONS):
                prefix = prefixes.pop()
                differs = self._set_wanted(switch, prefix, self._routing.next_hops(prefix).get(switch))
                work += DIFFERENCE if differs else 1
            if not prefixes:
                del self._to_compare[switch]

    def _pop_unjudged(self, most: int | None) -> list[Prefix]:
        """The prefixes to judge next, of about ``most`` waiting routes."""
        taken, work = [], 0
        if most is None or not self._waiting:
            self._just_confirmed.clear()
        while self._just_confirmed and work < most:  # type: ignore[operator]
            confirmed, _ = self._just_confirmed.popitem(last=False)
            near = (*self._in_flux.covering(confirmed), *self._in_flux.within(confirmed))
            self._unjudged |= {each: None for each in (confirmed, *near) if each in self._waiting}
            work += 1 + len(near)
        while self._unjudged and (most is None or work < most):
            prefix, _ = self._unjudged.popitem(last=False)
            for gone in self._waiting.get(prefix, _NO_SWITCHES) - self._present:
                self._remove_waiting(gone, prefix)
            if prefix in self._waiting:
                taken.append(prefix)
                work += len(self._waiting[prefix]) + PER_PREFIX
        return taken

    def _judge_paths(self, waiting: Mapping[Prefix, Sequence[str]], ready: Changes) -> None:
        """Add those of these routes to ``ready`` that may be sent."""
        known: dict[Prefix, _Paths] = {}
        for prefix, switches in waiting.items():
            paths = self._paths(prefix, known)
            within = [self._paths(each, known) for each in self._in_flux.within(prefix) if each != prefix]
            for switch in switches:
                onwards = paths.onwards(switch)
                # It will send packets to more specific prefixes there, too, when it has no route to these.
                concerned = [paths, *(inner for inner in within if inner.missing(switch))]
                if all(each.allow(switch, onwards) for each in concerned):
                    ready.setdefault(switch, {})[prefix] = self._routing.next_hops(prefix).get(switch)

    def _paths(self, prefix: Prefix, known: dict[Prefix, _Paths]) -> _Paths:
        """The paths to a prefix; ``known``: those computed before, to which this adds."""
        if prefix not in known:
            covering = {*self._routing.prefixes.covering(prefix), *self._in_flux.covering(prefix)}
            chain = sorted(covering, key=lambda each: each.length, reverse=True)
            layers = [self._layer(each) for each in chain]
            known[prefix] = _Paths(layers, self._routing.graph.neighbour, self._present, self._is_unseen)
        return known[prefix]

    def _layer(self, prefix: Prefix) -> _Layer:
        def installed(switch: str) -> int | None:
            return self._installed(switch).get(prefix)

        def delivers(switch: str) -> bool:
            return self._delivers(switch, prefix)

        waiting, unconfirmed = self._waiting.get(prefix, ()), self._unconfirmed.get(prefix, ())
        return _Layer(self._routing.next_hops(prefix), installed, delivers, waiting, unconfirmed)

    def issue(self, switch: str, prefixes: Sequence[Prefix], now: float) -> int:
        """The switch is sent its routes to these prefixes → the ticket with which it will confirm them."""
        number = self._last_number = self._last_number % MOST_TICKETS + 1
        self._tickets[number] = _Ticket(switch, tuple(prefixes), now)
        self.patience.sent(number, switch, now)
        self._busy[switch] += 1
        for prefix in prefixes:
            self._unconfirmed.setdefault(prefix, {})[switch] = number
            self._in_flux.add(prefix)
            self._remove_waiting(switch, prefix)
        return number

    def confirmed(self, switch: str, number: int) -> int:
        """The switch has installed the routes that it was sent with this ticket → how many.

        A number that is none of its tickets is ignored.
        """
        ticket = self._tickets.get(number)
        if ticket is None or ticket.switch != switch:
            return 0
        del self._tickets[number]
        self._less_busy(switch)
        for prefix in ticket.prefixes:
            unconfirmed = self._unconfirmed.get(prefix, {})
            if unconfirmed.get(switch) == number:  # no later route was sent
                del unconfirmed[switch]
                if not unconfirmed:
                    del self._unconfirmed[prefix]
                    self._end_flux(prefix)
                self._just_confirmed[prefix] = None
        return len(ticket.prefixes)

    def pop_overdue(self, now: float) -> list[tuple[str, int]]:
        """(switch, ticket) of those that should have been confirmed by now, each once.

        To be called several times a second; the caller calls ``confirmed`` for them, in portions.
        """
        excused = self._lateness.excuses(now)
        self._lateness.checked(now)
        if excused:
            return []
        patience = self.patience.of
        late = {number: each.switch for number, each in self._tickets.items()
                if now - each.issued > CONFIRM_S and now - each.issued > patience(each.switch)}  # fmt: skip
        self._stop_timing(late)
        return [(switch, number) for number, switch in late.items()]

    def _stop_timing(self, numbers: Iterable[int]) -> None:
        """These tickets do not become overdue any more."""
        for number in numbers:
            self._tickets[number] = self._tickets[number]._replace(issued=math.inf)

    def _add_waiting(self, switch: str, prefix: Prefix) -> None:
        switches = self._waiting.get(prefix)
        if switches is None:
            switches = self._waiting[prefix] = set()
            self._in_flux.add(prefix)
        if switch not in switches:
            switches.add(switch)
            self._busy[switch] += 1
        self._unjudged[prefix] = None

    def _remove_waiting(self, switch: str, prefix: Prefix) -> None:
        switches = self._waiting.get(prefix, ())
        if switch in switches:
            self._waiting[prefix].discard(switch)
            self._less_busy(switch)
            if not switches:
                del self._waiting[prefix]
                self._unjudged.pop(prefix, None)
                self._end_flux(prefix)

    def _less_busy(self, switch: str) -> None:
        """The switch waits for one route or ticket less."""
        self._busy[switch] -= 1
        if not self._busy[switch]:
            del self._busy[switch]

    def _end_flux(self, prefix: Prefix) -> None:
        """The prefix is in flux no longer, if no switch waits for its route to it or has to confirm one."""
        if prefix not in self._waiting and prefix not in self._unconfirmed:
            self._in_flux.discard(prefix)


class _Layer(NamedTuple):
    """The routes to one prefix."""

    wanted: Mapping[str, int]
    installed: Callable[[str], int | None]
    delivers: Callable[[str], bool]
    waiting: Container[str]
    unconfirmed: Container[str]

    def is_confirmed(self, switch: str) -> bool:
        return switch not in self.waiting and switch not in self.unconfirmed


_Step = bool | str  # the next switch on a path, or how it ends: True where no packet is lost that should arrive


class _Paths:
    """Where packets to one prefix go.  ``layers``: the prefix and those that cover it, the longest first."""

    def __init__(
        self,
        layers: Sequence[_Layer],
        neighbour: Callable[[str, int], str | None],
        present: Collection[str],
        is_unseen: Callable[[str], bool],
    ) -> None:
        self._layers = layers
        self._neighbour = neighbour
        self._present = present
        self._is_unseen = is_unseen
        self._is_safe: dict[str, bool] = {}  # switch → do its packets arrive by confirmed routes only?
        self._works: dict[str, bool] = {}  # switch → do its packets arrive by the installed routes?

    def onwards(self, switch: str) -> _Step:
        """The next step after this switch, which waits for its route, once it has that."""
        return self._as_wanted(switch, self._layers[0])

    def allow(self, switch: str, onwards: _Step) -> bool:
        """May the switch be sent the route by which these packets go ``onwards``?"""
        is_safe = onwards if isinstance(onwards, bool) else _follow(onwards, self._as_wanted, self._is_safe)
        return is_safe or not _follow(switch, self._as_installed, self._works)

    def missing(self, switch: str) -> bool:
        """Has the switch no route to the prefix itself?  Then it uses one to a prefix that covers it."""
        return self._layers[0].installed(switch) is None

    def _as_wanted(self, switch: str, about_to_be_sent: _Layer | None = None) -> _Step:
        """The next step by the wanted routes; False where the switch may not hold the wanted one yet."""
        if switch not in self._present:
            return not self._is_unseen(switch) and self._as_installed(switch)
        for layer in self._layers:
            if layer is not about_to_be_sent and not layer.is_confirmed(switch):
                return False
            hop = layer.wanted.get(switch)
            if hop is not None:
                return hop == LOCAL or self._neighbour(switch, hop) or False
        return True  # no edge announces it

    def _as_installed(self, switch: str) -> _Step:
        """The next step by the installed routes."""
        if self._is_unseen(switch):
            return True
        for layer in self._layers:
            hop = layer.installed(switch)
            if layer.wanted.get(switch) == LOCAL and (hop == LOCAL or switch in self._present):
                return True  # it delivers already or is sent that route at once: routes to LOCAL never wait
            if hop == LOCAL:
                return layer.delivers(switch)
            if hop is not None:
                return self._neighbour(switch, hop) or False
        return False


def _follow(start: str, step: Callable[[str], _Step], known: dict[str, bool]) -> bool:
    """How the path from here ends; ``known``: how others end, to which this adds the switches on the way."""
    trail = []
    here: _Step = start
    while isinstance(here, str) and here not in known:
        trail.append(here)
        known[here] = False  # if the path comes back here, it is a loop
        here = step(here)
    end = known[here] if isinstance(here, str) else here
    known.update(dict.fromkeys(trail, end))
    return end
