"""FollowedRules: flows of a switch whose master is another controller are known here, too, before they are needed.

The switch tells of all its rules, and then of each change (``openflow.flow_monitor``).  What is told of a flow is kept
until ``step`` makes the binding what its rules say, so a flow that has ended before its turn costs next to nothing.

Rules kept here:
- Of a binding's rules the latest counts.  When all that was told has had its turn, the bindings are those that a
  reading of these rules would make; besides, the addresses of flows that have ended rest.
- Nothing is sent, counted or recorded as this controller's doing: another one does it.
- What has been followed is used as a whole or not at all (``is_complete``): a binding that is missing here might have
  an address that counts as free.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Protocol

from anycast_sdn.core.bindings import Binding, Half, State
from anycast_sdn.core.client_edge import ClientEdge
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, Neighbour
from anycast_sdn.core.transitions import NO_DETAILS, Details, FlowEvent
from anycast_sdn.engines import found_rules
from anycast_sdn.engines.engine import Following, Reading
from anycast_sdn.openflow import readback
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.flow_monitor import Update
from anycast_sdn.openflow.pipeline import kind_of, number_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import FlowRule

FOLLOWED_AT_ONCE = 50  # flows in one slice: a few milliseconds
ENDED_AT_ONCE = 200  # rests, and the like
MOST_WAITING = 500_000  # flows that have not had their turn; more are not followed

Read = Callable[[bytes], Sequence[FlowRule]]  # entries of flow statistics → their rules


class Owner(Protocol):
    """The engine that has the flows."""

    edge: ClientEdge

    def begin_reading_the_rest(self, features: Features) -> Reading: ...


class FollowedRules(Following):
    """Of one connection of the switch."""

    def __init__(self, owner: Owner, read: Read) -> None:
        self._owner = owner
        self._edge = owner.edge
        self._read = read
        self._waiting: dict[int, dict[Half, bytes | None]] = {}  # binding's number → its rules as told; None: gone
        self._unlisted = {flow.number for flow in self._edge.bindings}  # they were known before, and are not told yet
        self._hosts: dict[Address, Neighbour] = {}
        self._is_listed = False  # all rules that there were have been told
        self._has_failed = False

    # ---------------------------------------------------------------- what is told

    def take(self, update: Update) -> None:
        kind, number = kind_of(update.cookie), number_of(update.cookie)
        if kind is Kind.HOST:
            self._take_host(update)
        elif kind in readback.HALF_OF and number and kind is not None:
            self._take_half(number, readback.HALF_OF[kind][0], None if update.is_gone else update.entry)

    def _take_half(self, number: int, half: Half, entry: bytes | None) -> None:
        self._unlisted.discard(number)
        waiting = self._waiting.get(number)
        if entry is None and self._edge.bindings.by_number(number) is None:
            if waiting:  # it comes and goes without a turn
                waiting.pop(half, None)
                if not waiting:
                    del self._waiting[number]
        elif waiting is not None:
            waiting[half] = entry
        elif len(self._waiting) < MOST_WAITING:
            self._waiting[number] = {half: entry}
        else:
            self._has_failed = True

    def _take_host(self, update: Update) -> None:
        for rule in self._read(update.entry):
            if host := readback.host(rule):
                address, mac, port = host
                if update.is_gone:
                    self._hosts.pop(address, None)
                else:
                    self._hosts[address] = Neighbour(mac, port)

    def listed(self) -> None:
        """All rules have been told: bindings without any are gone.  Theirs is the first turn: others may have …

        … got their addresses.
        """
        gone = {number: dict[Half, bytes | None].fromkeys(Half.BOTH.parts) for number in self._unlisted}
        self._waiting = gone | self._waiting
        self._unlisted = set()
        self._is_listed = True

    # ---------------------------------------------------------------- what follows

    @property
    def is_complete(self) -> bool:
        """Has all that was told had its turn?"""
        return self._is_listed and not self._waiting and not self._has_failed

    @property
    def has_more(self) -> bool:
        """Can ``step`` go on?"""
        return self._is_listed and bool(self._waiting) and not self._has_failed

    def step(self, groups: Groups, now: float) -> None:
        """The next flows have their turn.  To be called regularly.  After a fault nothing is complete any more."""
        edge = self._edge
        closed, watched, edge.record.is_watched = edge.closed.copy(), edge.record.is_watched, False
        try:
            edge.end_due(now, ENDED_AT_ONCE)
            for number in list(islice(self._waiting, FOLLOWED_AT_ONCE if self.has_more else 0)):
                self._follow(number, self._waiting.pop(number), groups, now)
        except Exception:
            self._has_failed = True
            raise
        finally:
            edge.closed, edge.record.is_watched = closed, watched

    def _follow(self, number: int, told: dict[Half, bytes | None], groups: Groups, now: float) -> None:
        rules = self._read(b"".join(filter(None, told.values())))
        if rules:
            if found := found_rules.binding_of(number, rules, groups, now):
                host = self._hosts.get(found.key.source)
                self._put(found._replace(port=host.port if host else 0), rules, now)
            else:
                self._has_failed = True
        for half in [half for half, entry in told.items() if entry is None]:
            if binding := self._edge.bindings.by_number(number):
                self._edge.rule_removed(number, half, binding.state, False, now)

    def _put(self, found: Binding, rules: Sequence[FlowRule], now: float) -> None:
        known = self._edge.bindings.by_number(found.number)
        if known and _begins_anew(known, found):
            if _is_same(known, found):
                found = found._replace(installed=known.installed | found.installed)
            self._apply(known, FlowEvent.FOUND_GONE, now)
            known = None
        if known is None:
            self._adopt(found, now)
            return
        if found.server and known.server is None:
            known = self._apply(known, FlowEvent.MEMBER_REPLY, now, Details(found.server, at=now))
        elif known.server and found.server is None:
            known = self._apply(known, FlowEvent.SERVER_LOST, now)
        elif known.state is State.PINNED:
            known = self._apply(
                known, FlowEvent.FOUND_AGAIN, now, Details(installed=known.installed | found.installed)
            )
        for half in found_rules.closed_halves(rules):
            self._edge.tcp_end(found.number, half, False, now)

    def _adopt(self, found: Binding, now: float) -> None:
        """Its rule may have taken the place of that of an earlier binding of the same flow, without a report."""
        if former := self._edge.bindings.by_key(found.key):
            self._apply(former, FlowEvent.FOUND_GONE, now)
        try:
            self._edge.adopt(found, now)
        except ValueError:
            self._has_failed = True

    def _apply(self, binding: Binding, event: FlowEvent, now: float, details: Details = NO_DETAILS) -> Binding | None:
        return self._edge.apply(binding, event, now, details).binding

    # ---------------------------------------------------------------- this controller is the master now

    def begin_reading(self, features: Features) -> Reading:
        """All is known that the switch holds of flows; it is asked for its other rules alone."""
        assert self.is_complete
        return self._owner.begin_reading_the_rest(features)

    def forget(self, now: float) -> bool:
        """It is not complete, so that the switch has to be read: forget what is known, in slices → is there more?"""
        edge = self._edge
        closed, watched, edge.record.is_watched = edge.closed.copy(), edge.record.is_watched, False
        try:
            for number in edge.bindings.numbers_after(0, ENDED_AT_ONCE):
                if binding := edge.bindings.by_number(number):
                    self._apply(binding, FlowEvent.FOUND_GONE, now)
        finally:
            edge.closed, edge.record.is_watched = closed, watched
        return len(edge.bindings) > 0


def _is_same(known: Binding, found: Binding) -> bool:
    return known.key == found.key and known.translated == found.translated and known.server == found.server


def _begins_anew(known: Binding, found: Binding) -> bool:
    """Is it another binding, a connection that was renewed after it had closed, or does something else end it now?

    ``found``: by those of its rules that were told.
    """
    same_ends = known.key == found.key and known.translated == found.translated
    other_server = known.server is not None and found.server is not None and known.server != found.server
    is_renewed = bool(known.closed & found.installed & ~found.closed)
    return not same_ends or other_server or is_renewed or known.swept is not found.swept
