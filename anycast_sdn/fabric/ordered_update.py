"""Ordered update: when each switch may install its new route, so that no packet on the way is lost or circles.

Switches install what they are sent at different times.  If B switches over to next hop A while A still forwards to B,
packets circle between them until their TTL ends.  So updates are ordered, as in RFC 6976, but by a controller that
knows all routes: a switch is sent its new route to a prefix only when every switch on the new path is *confirmed*,
that is, has confirmed that it holds the route that it should.  So new paths grow outwards from the edges that announce
the prefix.

Why no packet circles: confirmed switches forward to confirmed switches only, as far as an edge.  The others hold
routes from before, which do not circle either and may end at a confirmed switch.  When other routes are wanted in the
middle of an update, it is judged anew which switches are confirmed; all routes that a switch may hold, including
those that were sent but not confirmed, still form no circle.  (The exception is a prefix that nobody announced just
before: what is left of a covering prefix that is being removed may let its packets circle.  They had no route before
either.)

- A switch with nothing to lose does not wait: it is sent its route at once when its present path leads nowhere, because
  a link on it is down or the edge at its end cannot deliver.  So a failure is repaired in one step.
- An edge that no longer announces a prefix is treated like any other switch: it delivers until it may switch over.
- A switch without a route to a prefix uses the route to the longest prefix that covers it.  So a new route must also be
  safe for packets to those more specific prefixes for which the switch may have no route of its own.
- A switch that is disconnected cannot be sent anything: the routes that were sent last count.  No switch moves to it
  that has another path and would lose packets there.
- A switch that has not been seen yet may hold anything: it is taken to deliver what is sent to it now, and no switch
  moves to it, unless it has no path at all.
- Silence is excused when the controller itself was late (``core.lateness``).

What can be large goes in portions: ``ready`` judges some prefixes, each for all switches that wait for their route to
it, and leaves the others to the next call.  The result is the same as if their causes had come one after the other.
A confirmation can only help prefixes that cover the confirmed one or lie within it, so only these are judged again;
after any other event that may matter the caller says ``judge_again``.  What a switch that has connected holds is
compared with what it should hold in portions, too; meanwhile nothing is judged, because it is not yet known what is
in flux.

Pure: it says what may be sent, and is told what was.  A next hop is given as a port, or as ``graph.LOCAL`` where the
switch itself delivers.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from typing import NamedTuple

from anycast_sdn.core.lateness import Lateness
from anycast_sdn.core.model import Prefix
from anycast_sdn.core.prefixes import NestedPrefixes
from anycast_sdn.fabric.graph import LOCAL
from anycast_sdn.fabric.routing import Changes, Routing

CONFIRM_S = 1.0  # nobody waits for a switch that has not confirmed within this
MOST_TICKETS = (1 << 31) - 1  # see ``openflow.rules.Barrier``
PER_PREFIX = 3  # judging a prefix costs as much as so many routes, besides its own
COMPARED = 20  # routes of a switch that has connected are compared in the time in which one is judged
DIFFERENT = 8  # a route that is not as it should be costs as much as comparing so many
LATE_S = 0.6  # more than this between two calls of ``overdue``: the controller itself was late
_NOBODY: set[str] = set()


class _Ticket(NamedTuple):
    """Routes that a switch was sent together and has not confirmed."""

    switch: str
    prefixes: tuple[Prefix, ...]
    issued: float


class OrderedUpdate:
    """From what switches have installed to what ``routing`` wants.

    ``installed``: the routes that a switch was sent last, read anew whenever they are needed.  ``delivers``: could a
    switch still deliver to a prefix that it announces no longer?  ``is_unseen``: has it not connected yet since the
    start, and is about to?
    """

    def __init__(
        self,
        routing: Routing,
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
        # Switches that have not been sent the route that they should have; some may have disconnected since.
        self._waiting: dict[Prefix, set[str]] = {}
        self._unconfirmed: dict[Prefix, dict[str, int]] = {}  # those that have been sent it → their last ticket
        self._in_flux = NestedPrefixes()  # prefixes in one of these two
        # Prefixes in ``_waiting`` whose switches may have to wait no longer, the oldest first.
        self._unjudged: OrderedDict[Prefix, None] = OrderedDict()
        self._just_confirmed: OrderedDict[Prefix, None] = OrderedDict()  # others may have waited for these
        self._tickets: dict[int, _Ticket] = {}
        self._busy: Counter[str] = Counter()  # switch → number of routes that it waits for, and of its tickets
        self._last_number = 0
        self._lateness = Lateness(LATE_S, CONFIRM_S)

    def unconfirmed(self) -> set[str]:
        """The switches that have not been sent all routes that they should have, or have not confirmed them."""
        return (self._busy.keys() & self._present) | self._to_compare.keys()

    def connected(self, switch: str) -> None:
        """It can be sent routes from now on, and ``installed`` says what it holds."""
        self._present.add(switch)
        waited = (prefix for prefix, switches in self._waiting.items() if switch in switches)  # before it went
        self._to_compare[switch] = list(dict.fromkeys((*self._installed(switch), *self._routing.announced(), *waited)))

    def disconnected(self, switch: str) -> list[int]:
        """It cannot be sent anything any more → its tickets: the caller calls ``confirmed`` for them, by and by."""
        self._present.discard(switch)
        self._to_compare.pop(switch, None)
        numbers = [number for number, ticket in self._tickets.items() if ticket.switch == switch]
        self._expect_no_more(numbers)
        return numbers

    def want(self, changes: Changes) -> None:
        """Other routes are wanted."""
        for switch in changes.keys() & self._present:
            for prefix, hop in changes[switch].items():
                self._wants(switch, prefix, hop)

    def _wants(self, switch: str, prefix: Prefix, hop: int | None) -> bool:
        """→ Has it another route installed?"""
        differs = self._installed(switch).get(prefix) != hop
        (self._waits if differs else self._waits_no_more)(switch, prefix)
        return differs

    def judge_again(self) -> None:
        """Something has happened that is neither a want nor a confirmation."""
        self._unjudged |= dict.fromkeys(self._waiting)

    def is_judging(self) -> bool:
        """Has ``ready`` left something for the next call?"""
        return bool(self._to_compare or self._unjudged or (self._just_confirmed and self._waiting))

    def ready(self, most: int | None = None) -> Changes:
        """What may be sent now, after a look at about ``most`` routes of those that may have changed; None: at all."""
        if not self._compare(most):
            return {}
        if most is None:
            self.judge_again()
        ready: Changes = {}
        judged: dict[Prefix, list[str]] = {}
        for prefix in self._next_to_judge(most):
            for switch in self._waiting[prefix]:
                if self._installed(switch):
                    judged.setdefault(prefix, []).append(switch)
                else:  # it has no route at all, and nothing to lose
                    ready.setdefault(switch, {})[prefix] = self._routing.next_hops(prefix).get(switch)
        if judged:
            self._judge(judged, ready)
        return ready

    def _compare(self, most: int | None) -> bool:
        """Compares what switches that have connected hold with what they should → are all of them compared?"""
        work = 0
        while self._to_compare and (most is None or work < most * COMPARED):
            switch, prefixes = next(iter(self._to_compare.items()))
            while prefixes and (most is None or work < most * COMPARED):
                prefix = prefixes.pop()
                differs = self._wants(switch, prefix, self._routing.next_hops(prefix).get(switch))
                work += DIFFERENT if differs else 1
            if not prefixes:
                del self._to_compare[switch]
        return not self._to_compare

    def _next_to_judge(self, most: int | None) -> list[Prefix]:
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
            for gone in self._waiting.get(prefix, _NOBODY) - self._present:
                self._waits_no_more(gone, prefix)
            if prefix in self._waiting:
                taken.append(prefix)
                work += len(self._waiting[prefix]) + PER_PREFIX
        return taken

    def _judge(self, waiting: Mapping[Prefix, Sequence[str]], ready: Changes) -> None:
        """Adds to ``ready`` those of these routes that may be sent."""
        known: dict[Prefix, _Paths] = {}
        for prefix, switches in waiting.items():
            paths = self._paths(prefix, known)
            within = [self._paths(each, known) for each in self._in_flux.within(prefix) if each != prefix]
            for switch in switches:
                onwards = paths.onwards(switch)
                # Packets to more specific prefixes for which it has no route will go there, too.
                concerned = [paths, *(inner for inner in within if inner.missing(switch))]
                if all(each.allow(switch, onwards) for each in concerned):
                    ready.setdefault(switch, {})[prefix] = self._routing.next_hops(prefix).get(switch)

    def _paths(self, prefix: Prefix, known: dict[Prefix, _Paths]) -> _Paths:
        """The paths to a prefix; ``known``: those to others, to which this adds."""
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
        """The switch is sent its routes to these → the ticket by which it will confirm them."""
        number = self._last_number = self._last_number % MOST_TICKETS + 1
        self._tickets[number] = _Ticket(switch, tuple(prefixes), now)
        self._busy[switch] += 1
        for prefix in prefixes:
            self._unconfirmed.setdefault(prefix, {})[switch] = number
            self._in_flux.add(prefix)
            self._waits_no_more(switch, prefix)
        return number

    def confirmed(self, switch: str, number: int) -> int:
        """The switch has installed what it was sent with this ticket → how many routes.

        What is none of its tickets is ignored.
        """
        ticket = self._tickets.get(number)
        if ticket is None or ticket.switch != switch:
            return 0
        del self._tickets[number]
        self._is_done(switch)
        for prefix in ticket.prefixes:
            unconfirmed = self._unconfirmed.get(prefix, {})
            if unconfirmed.get(switch) == number:  # the last that it was sent
                del unconfirmed[switch]
                if not unconfirmed:
                    del self._unconfirmed[prefix]
                    self._perhaps_at_rest(prefix)
                self._just_confirmed[prefix] = None
        return len(ticket.prefixes)

    def overdue(self, now: float) -> list[tuple[str, int]]:
        """(switch, ticket) of all that should have been confirmed by now, each once.

        To be called several times a second; the caller calls ``confirmed`` for them, by and by.
        """
        excused = self._lateness.excuses(now)
        self._lateness.checked(now)
        if excused:
            return []
        late = {number: each.switch for number, each in self._tickets.items() if now - each.issued > CONFIRM_S}
        self._expect_no_more(late)
        return [(switch, number) for number, switch in late.items()]

    def _expect_no_more(self, numbers: Iterable[int]) -> None:
        """These tickets become overdue no more."""
        for number in numbers:
            self._tickets[number] = self._tickets[number]._replace(issued=math.inf)

    def _waits(self, switch: str, prefix: Prefix) -> None:
        switches = self._waiting.get(prefix)
        if switches is None:
            switches = self._waiting[prefix] = set()
            self._in_flux.add(prefix)
        if switch not in switches:
            switches.add(switch)
            self._busy[switch] += 1
        self._unjudged[prefix] = None

    def _waits_no_more(self, switch: str, prefix: Prefix) -> None:
        switches = self._waiting.get(prefix, ())
        if switch in switches:
            self._waiting[prefix].discard(switch)
            self._is_done(switch)
            if not switches:
                del self._waiting[prefix]
                self._unjudged.pop(prefix, None)
                self._perhaps_at_rest(prefix)

    def _is_done(self, switch: str) -> None:
        """With one of the things that keep it busy."""
        self._busy[switch] -= 1
        if not self._busy[switch]:
            del self._busy[switch]

    def _perhaps_at_rest(self, prefix: Prefix) -> None:
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


_Step = bool | str  # the next switch on a path; or its end: True where nothing is lost that should arrive


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
        self._is_safe: dict[str, bool] = {}  # switch → do packets arrive from there by confirmed routes alone?
        self._works: dict[str, bool] = {}  # switch → do packets arrive from there by what is installed?

    def onwards(self, switch: str) -> _Step:
        """Where this switch, which waits, will forward to."""
        return self._as_wanted(switch, self._layers[0])

    def allow(self, switch: str, onwards: _Step) -> bool:
        """May the switch be sent the route that forwards these packets there?"""
        is_safe = onwards if isinstance(onwards, bool) else _follow(onwards, self._as_wanted, self._is_safe)
        return is_safe or not _follow(switch, self._as_installed, self._works)

    def missing(self, switch: str) -> bool:
        """Has the switch no route to the very prefix?  Then it uses one to a prefix that covers it."""
        return self._layers[0].installed(switch) is None

    def _as_wanted(self, switch: str, about_to_be_sent: _Layer | None = None) -> _Step:
        """False where it is not certain that the switch holds the route that it should."""
        if switch not in self._present:
            return not self._is_unseen(switch) and self._as_installed(switch)
        for layer in self._layers:
            if layer is not about_to_be_sent and not layer.is_confirmed(switch):
                return False
            hop = layer.wanted.get(switch)
            if hop is not None:
                return hop == LOCAL or self._neighbour(switch, hop) or False
        return True  # nobody announces it

    def _as_installed(self, switch: str) -> _Step:
        if self._is_unseen(switch):
            return True
        for layer in self._layers:
            hop = layer.installed(switch)
            if layer.wanted.get(switch) == LOCAL and (hop == LOCAL or switch in self._present):
                return True  # it delivers, or will at once: an edge that delivers itself never waits
            if hop == LOCAL:
                return layer.delivers(switch)
            if hop is not None:
                return self._neighbour(switch, hop) or False
        return False


def _follow(start: str, step: Callable[[str], _Step], known: dict[str, bool]) -> bool:
    """How the path from here ends; ``known``: how others end, to which this adds."""
    trail = []
    here: _Step = start
    while isinstance(here, str) and here not in known:
        trail.append(here)
        known[here] = False  # should the path come back here
        here = step(here)
    end = known[here] if isinstance(here, str) else here
    known.update(dict.fromkeys(trail, end))
    return end
