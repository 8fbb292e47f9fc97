"""Which switch may turn to its new way, and when: an update of routes that takes no packet's way from it.

Switches take up what they are told in no order.  If B turns to A while A still sends by B, packets circle
between them until their TTL ends.  So updates are ordered, as in RFC 6976, but by the one who knows all
routes: a switch is told its new way to a prefix only when everybody on that way is *settled*, that is, has
confirmed that it holds what it should.  New ways grow outwards from the edges that announce the prefix.

Why no packet circles: the settled send to the settled only, all the way to an edge.  The others hold ways
from before, which do not circle either, and may end among the settled.  When other routes are wanted in the
middle of that, it is judged anew who is settled; all ways that a switch may hold, with those it was told but
has not confirmed, still make no circle.  (Only of prefixes that nobody announced just before may packets circle,
by what is left of a covering one that is being taken away: they had no way.)

- Who has nothing to lose does not wait: a switch is told at once when its present way leads nowhere, because
  a link on it is gone or the edge at its end cannot deliver.  So a failure is repaired in one step.
- An edge that announces a prefix no longer is a switch like all others: it delivers until it may turn.
- A switch without a way to a prefix takes the one to the longest prefix that covers it.  So a new way must
  also be good for packets to those prefixes within its own that the switch may have no way of their own to.
- A switch that is away cannot be told: what it was told last counts.  Nobody turns to it who has another way
  and would lose his packets there.
- A switch that has not been here yet may hold anything: it is believed to deliver what is sent to it now, and
  nobody turns to it, unless he has no way at all.
- Should we ourselves have been kept from looking, nobody is blamed for not having confirmed.

What can be large goes in slices: ``ready`` judges some prefixes, each for all switches that wait to be told their way
to it, and keeps the others for the next call.  That is as if what made them wait had happened one after the other.
A confirmation can only help prefixes that cover the confirmed one or lie within it, so these are judged again; after
anything else that may matter the caller says ``judge_again``.  What a switch that has connected holds is compared with
what it should hold in portions, too; meanwhile nobody is judged, because nobody knows yet what is in flux.

Pure: says what may be told, and is told what was.  Ways are ports, or ``network.LOCAL``: it delivers itself.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from typing import NamedTuple

from anycast_sdn.core.lateness import Lateness
from anycast_sdn.core.model import Prefix
from anycast_sdn.core.prefixes import NestedPrefixes
from anycast_sdn.fabric.graph import LOCAL
from anycast_sdn.fabric.routing import Changes, Routing

CONFIRM_S = 1.0  # a switch that does not confirm within this keeps nobody waiting any longer
MOST_TICKETS = (1 << 31) - 1  # see ``openflow.rules.Barrier``
PER_PREFIX = 3  # routes: the work that a prefix makes besides
COMPARED = 20  # routes of a switch that has connected: they are compared while one is judged, and
DIFFERENT = 8  # one that is not as it should be counts as so many of them
LATE_S = 0.6  # between two looks at who is overdue: longer than that, and it may be us
_NOBODY: set[str] = set()


class _Ticket(NamedTuple):
    """What a switch was told at one time and has not confirmed."""

    switch: str
    prefixes: tuple[Prefix, ...]
    issued: float


class OrderedUpdate:
    """From what switches hold to what ``routing`` wants.

    ``told``: switch → prefix → the way that it was told last; the caller keeps it.  ``delivers``: does a
    switch still deliver to a prefix that it announces no longer?  ``is_expected``: has it not been here yet, and
    is it about to?
    """

    def __init__(
        self,
        routing: Routing,
        told: Mapping[str, Mapping[Prefix, int]],
        delivers: Callable[[str, Prefix], bool],
        is_expected: Callable[[str], bool],
    ) -> None:
        self._routing = routing
        self._told = told
        self._delivers = delivers
        self._is_expected = is_expected
        self._present: set[str] = set()
        self._to_compare: dict[str, list[Prefix]] = {}  # switches that have just connected; the last prefix is next
        # Switches that have not been told what they should hold; some of them may have gone since.
        self._waiting: dict[Prefix, set[str]] = {}
        self._unconfirmed: dict[Prefix, dict[str, int]] = {}  # those that have, and their last ticket
        self._in_flux = NestedPrefixes()  # those that are in one of these two
        # Those that wait, and may have to wait no longer; the oldest first.
        self._unjudged: OrderedDict[Prefix, None] = OrderedDict()
        self._just_confirmed: OrderedDict[Prefix, None] = OrderedDict()  # what waits may do so because of these
        self._tickets: dict[int, _Ticket] = {}
        self._busy: Counter[str] = Counter()  # switch → what it waits for, and its tickets
        self._last_number = 0
        self._lateness = Lateness(LATE_S, CONFIRM_S)

    def unsettled(self) -> set[str]:
        """The switches that have not been told all that they should hold, or have not confirmed it; most often none."""
        return (self._busy.keys() & self._present) | self._to_compare.keys()

    def connected(self, switch: str) -> None:
        """It can be told from now on, and holds what ``told`` says."""
        self._present.add(switch)
        waited = (prefix for prefix, switches in self._waiting.items() if switch in switches)  # before it went
        self._to_compare[switch] = list(dict.fromkeys((*self._told[switch], *self._routing.announced(), *waited)))

    def disconnected(self, switch: str) -> list[int]:
        """It cannot be told any more → its tickets: the caller is to say that they are ``confirmed``, by and by."""
        self._present.discard(switch)
        self._to_compare.pop(switch, None)
        return [number for number, ticket in self._tickets.items() if ticket.switch == switch]

    def want(self, changes: Changes) -> None:
        """Other routes are wanted."""
        for switch in changes.keys() & self._present:
            for prefix, way in changes[switch].items():
                self._wants(switch, prefix, way)

    def _wants(self, switch: str, prefix: Prefix, way: int | None) -> bool:
        """→ Is it told something else?"""
        differs = self._told[switch].get(prefix) != way
        (self._waits if differs else self._waits_no_more)(switch, prefix)
        return differs

    def judge_again(self) -> None:
        """Something has happened that is neither a want nor a confirmation."""
        self._unjudged |= dict.fromkeys(self._waiting)

    def is_judging(self) -> bool:
        """Has ``ready`` left something for the next call?"""
        return bool(self._to_compare or self._unjudged or (self._just_confirmed and self._waiting))

    def ready(self, most: int | None = None) -> Changes:
        """What may be told now, after a look at about ``most`` routes of those that may have changed; None: at all."""
        if not self._compare(most):
            return {}
        if most is None:
            self.judge_again()
        ready: Changes = {}
        judged: dict[Prefix, list[str]] = {}
        for prefix in self._next_to_judge(most):
            for switch in self._waiting[prefix]:
                if self._told[switch]:
                    judged.setdefault(prefix, []).append(switch)
                else:  # it has no way to anything, and nothing to lose
                    ready.setdefault(switch, {})[prefix] = self._routing.ways(prefix).get(switch)
        if judged:
            self._judge(judged, ready)
        return ready

    def _compare(self, most: int | None) -> bool:
        """Looks at what those hold who have just connected → is it known of all of them what is not as it should be?"""
        work = 0
        while self._to_compare and (most is None or work < most * COMPARED):
            switch, prefixes = next(iter(self._to_compare.items()))
            while prefixes and (most is None or work < most * COMPARED):
                prefix = prefixes.pop()
                differs = self._wants(switch, prefix, self._routing.ways(prefix).get(switch))
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
        """Adds to ``ready`` what these may be told of what they wait for."""
        known: dict[Prefix, _Ways] = {}
        for prefix, switches in waiting.items():
            ways = self._ways(prefix, known)
            within = [self._ways(each, known) for each in self._in_flux.within(prefix) if each != prefix]
            for switch in switches:
                onwards = ways.onwards(switch)
                # What it has no way of its own to will go there, too.
                concerned = [ways, *(inner for inner in within if inner.missing(switch))]
                if all(each.allow(switch, onwards) for each in concerned):
                    ready.setdefault(switch, {})[prefix] = self._routing.ways(prefix).get(switch)

    def _ways(self, prefix: Prefix, known: dict[Prefix, _Ways]) -> _Ways:
        """The ways to a prefix and to those that cover it; ``known``: those of others, which grow."""
        if prefix not in known:
            covering = {*self._routing.prefixes.covering(prefix), *self._in_flux.covering(prefix)}
            chain = sorted(covering, key=lambda each: each.length, reverse=True)
            layers = [self._layer(each) for each in chain]
            known[prefix] = _Ways(layers, self._routing.graph.beyond, self._present, self._is_expected)
        return known[prefix]

    def _layer(self, prefix: Prefix) -> _Layer:
        def told(switch: str) -> int | None:
            return self._told[switch].get(prefix)

        def delivers(switch: str) -> bool:
            return self._delivers(switch, prefix)

        waiting, unconfirmed = self._waiting.get(prefix, ()), self._unconfirmed.get(prefix, ())
        return _Layer(self._routing.ways(prefix), told, delivers, waiting, unconfirmed)

    def issue(self, switch: str, prefixes: Sequence[Prefix], now: float) -> int:
        """The switch is told its ways to these → the ticket by which it will confirm that."""
        number = self._last_number = self._last_number % MOST_TICKETS + 1
        self._tickets[number] = _Ticket(switch, tuple(prefixes), now)
        self._busy[switch] += 1
        for prefix in prefixes:
            self._unconfirmed.setdefault(prefix, {})[switch] = number
            self._in_flux.add(prefix)
            self._waits_no_more(switch, prefix)
        return number

    def confirmed(self, switch: str, number: int) -> int:
        """The switch holds what it was told with this ticket → how many routes.

        What is none of its tickets is ignored.
        """
        ticket = self._tickets.get(number)
        if ticket is None or ticket.switch != switch:
            return 0
        del self._tickets[number]
        self._is_done(switch)
        for prefix in ticket.prefixes:
            unconfirmed = self._unconfirmed.get(prefix, {})
            if unconfirmed.get(switch) == number:  # the last that it was told
                del unconfirmed[switch]
                if not unconfirmed:
                    del self._unconfirmed[prefix]
                    self._perhaps_at_rest(prefix)
                self._just_confirmed[prefix] = None
        return len(ticket.prefixes)

    def overdue(self, now: float) -> list[tuple[str, int]]:
        """(switch, ticket) of all that should have been confirmed by now.  To be asked several times a second."""
        excused = self._lateness.excuses(now)
        self._lateness.look(now)
        if excused:
            return []
        return [
            (ticket.switch, number) for number, ticket in self._tickets.items() if now - ticket.issued > CONFIRM_S
        ]

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
    """The ways to one prefix."""

    wanted: Mapping[str, int]
    told: Callable[[str], int | None]
    delivers: Callable[[str], bool]
    waiting: Container[str]
    unconfirmed: Container[str]

    def is_settled(self, switch: str) -> bool:
        return switch not in self.waiting and switch not in self.unconfirmed


_Step = bool | str  # the next switch on a way; or its end: True where nothing is lost that should arrive


class _Ways:
    """Where packets to one prefix go.  ``layers``: the prefix and those that cover it, the longest first."""

    def __init__(
        self,
        layers: Sequence[_Layer],
        beyond: Callable[[str, int], str | None],
        present: Collection[str],
        is_expected: Callable[[str], bool],
    ) -> None:
        self._layers = layers
        self._beyond = beyond
        self._present = present
        self._is_expected = is_expected
        self._settled: dict[str, bool] = {}
        self._works: dict[str, bool] = {}

    def onwards(self, switch: str) -> _Step:
        """Where this switch, which waits, will send."""
        return self._as_wanted(switch, self._layers[0])

    def allow(self, switch: str, onwards: _Step) -> bool:
        """May the switch be told to send these packets there?"""
        settled = onwards if isinstance(onwards, bool) else _follow(onwards, self._as_wanted, self._settled)
        return settled or not _follow(switch, self._as_told, self._works)

    def missing(self, switch: str) -> bool:
        """Was it told no way to the very prefix?  Then it takes one that covers it."""
        return self._layers[0].told(switch) is None

    def _as_wanted(self, switch: str, about_to_be_told: _Layer | None = None) -> _Step:
        """False where it is not sure that the switch holds the way that it should."""
        if switch not in self._present:
            return not self._is_expected(switch) and self._as_told(switch)
        for layer in self._layers:
            if layer is not about_to_be_told and not layer.is_settled(switch):
                return False
            way = layer.wanted.get(switch)
            if way is not None:
                return way == LOCAL or self._beyond(switch, way) or False
        return True  # nobody announces it

    def _as_told(self, switch: str) -> _Step:
        if self._is_expected(switch):
            return True
        for layer in self._layers:
            way = layer.told(switch)
            if layer.wanted.get(switch) == LOCAL and (way == LOCAL or switch in self._present):
                return True  # or will at once: who delivers himself waits for nobody
            if way == LOCAL:
                return layer.delivers(switch)
            if way is not None:
                return self._beyond(switch, way) or False
        return False


def _follow(start: str, step: Callable[[str], _Step], known: dict[str, bool]) -> bool:
    """How the way from here ends; ``known``: how other ways did, which grows."""
    trail = []
    here: _Step = start
    while isinstance(here, str) and here not in known:
        trail.append(here)
        known[here] = False  # should the way come back here
        here = step(here)
    end = known[here] if isinstance(here, str) else here
    known.update(dict.fromkeys(trail, end))
    return end
