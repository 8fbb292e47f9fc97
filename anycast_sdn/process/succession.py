"""Succession: what the leader of a cluster leaves to the next one, and what the next one begins with.

The leader notes what it knows whenever that has changed; a member that becomes the leader reads the notes before it
decides anything.  A controller that is alone has nobody to leave anything to: its notes are ``NoNotes``.

A member that leads again, while nobody else has led in between, goes on with what it knows, and notes all of it anew:
etcd may have lost it.  It begins another term then, also where it has led all the time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from anycast_sdn.cluster.cluster import Cluster
from anycast_sdn.cluster.notes import ANNOUNCED, FEATURES, HEALTH, LINKS, LLDP_KEY, OPERATIONS, TERMS, Notes, name_of
from anycast_sdn.control import noted
from anycast_sdn.control.controller import Controller
from anycast_sdn.control.noted import Enrolment, Term
from anycast_sdn.control.operations import Operation, Operations
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.core.health import CheckName
from anycast_sdn.openflow.features import Tried
from anycast_sdn.process.bgp_sessions import BgpSessions
from anycast_sdn.process.faults import isolated

KEY_BYTES = 16  # of LLDP's
MOST_TERMS = 200  # of the past that are known
CLOCKS_S = 10.0  # apart, those of members, as far as is known
MOST_OPERATIONS = 200  # that have ended
_LEASE = CheckName("lease")


class Succession:
    """``react``: carries out what an event has led to (``AnycastApp``)."""

    def __init__(
        self,
        controller: Controller,
        cluster: Cluster,
        notes: Notes,
        bgp: BgpSessions,
        react: Callable[[Outcome], None],
    ) -> None:
        self._controller = controller
        self._cluster = cluster
        self.notes = notes
        self._bgp = bgp
        self._react = react
        self._led, self._term = cluster.leads(), cluster.term()
        self._has_led = False
        self._noted: dict[str, dict[str, str]] = {}  # prefix → the notes there, as this leader has left them
        self._heirs: list[Callable[[float], None]] = []
        self._laid_down: list[Callable[[], None]] = []
        self._operations: Operations | None = None
        self._seen: dict[str, float] = {}  # terms that have begun while this member ran → when, by its own clock
        notes.watch(self._see_terms)

    def on_take_over(self, begin: Callable[[float], None], operations: Operations | None = None) -> None:
        """``begin`` is called when this controller becomes the leader, before it decides anything.

        ``operations``: to be noted when they have ended.
        """
        self._heirs.append(begin)
        self._operations = operations or self._operations

    def on_stand_down(self, laid_down: Callable[[], None]) -> None:
        """``laid_down`` is called when this controller is the leader no more."""
        self._laid_down.append(laid_down)

    def look(self, now: float) -> None:
        """The leader may be another one than before."""
        leads, term = self._cluster.leads(), self._cluster.term()
        if leads is self._led and (term == self._term or not leads):
            return
        self._led, self._term = leads, term
        if not leads:
            for laid_down in self._laid_down:
                isolated(laid_down)()
            return
        self._noted.clear()
        self._controller.health.note_again()
        *_, last = Term(self.notes.member, 0.0), *self.terms()
        if not self._has_led or last.member != self.notes.member:
            for begin in (self.begin, *self._heirs):
                isolated(begin)(now)
        self._has_led = True
        self._begin_term()

    def begun_anew(self, now: float) -> None:
        """The controller has forgotten what it knew: it is told again, now or when it leads."""
        if self._cluster.leads():
            self.begin(now)
        else:
            self._has_led = False

    def begin(self, now: float) -> None:
        """The controller knows nothing of what its predecessors, or itself before, have decided: it is told."""
        key = _key_of(self.notes.get(LLDP_KEY))
        if key:
            self._controller.discovery.key = key
        links = list(noted.links(self.notes.below(LINKS)))
        checks = noted.health(self.notes.below(HEALTH))
        self._react(self._controller.take_over(self._cluster.term(), links, checks, now))

    # ---------------------------------------------------------------- what is noted

    @isolated
    def note(self) -> None:
        """To be called several times a second: the leader notes what has changed."""
        examined = self._controller.health.pop_unnoted()
        if not self.notes.member or not self._cluster.leads():
            return
        self._note_all(LINKS, noted.link_notes(self._controller.discovery.known()))
        self._note_all(ANNOUNCED, self._bgp.advertised())
        if self._operations:
            known = self._noted_below(OPERATIONS)
            ended = self._operations.ended(MOST_OPERATIONS)
            self._note_all(OPERATIONS, {each.id: known.get(each.id) or noted.operation_note(each) for each in ended})
        for enrolment in examined:
            self.notes.put(HEALTH + noted.health_key(enrolment), self._health_note(enrolment))

    def note_now(self) -> None:
        """As ``note``, and it is stored before this returns, if it can be."""
        self.note()
        self.notes.flush()

    def _health_note(self, enrolment: Enrolment) -> str | None:
        group = self._controller.groups.get(enrolment[0])
        if group is None or enrolment[1] not in group.servers:
            return None
        return noted.health_note(self._controller.health.checks(*enrolment))

    def _noted_below(self, prefix: str) -> Mapping[str, str]:
        if prefix not in self._noted:
            self._noted[prefix] = dict(self.notes.below(prefix))
        return self._noted[prefix]

    def _note_all(self, prefix: str, wanted: Mapping[str, str]) -> None:
        """The notes of this kind are these from now on."""
        present = self._noted_below(prefix)
        if present == wanted:
            return
        for key in present.keys() | wanted.keys():
            if present.get(key) != wanted.get(key):
                self.notes.put(prefix + key, wanted.get(key))
        self._noted[prefix] = dict(wanted)

    def _begin_term(self) -> None:
        term = Term(self.notes.member, round(time.time(), 3))
        self.notes.put(f"{TERMS}{self._cluster.term():016x}", noted.term_note(term))
        for key in sorted(self.notes.below(TERMS))[:-MOST_TERMS]:
            self.notes.put(TERMS + key, None)
        self.notes.put(LLDP_KEY, self._controller.discovery.key.hex())

    # ---------------------------------------------------------------- what others ask for

    def terms(self) -> Sequence[Term]:
        """Who has led, the present leader last."""
        return noted.terms(self.notes.below(TERMS))

    def _see_terms(self, changed: Collection[str]) -> None:
        for key in changed:
            if key.startswith(TERMS):
                if self.notes.get(key) is None:
                    self._seen.pop(key, None)
                else:
                    self._seen.setdefault(key, time.time())

    def others_leading(self, at: float) -> list[str]:
        """The names of other members that may have led at this time (s since the epoch).

        The clock of a leader may be any: where this member has seen a term begin, it goes by its own clock, too.
        """
        found = dict(sorted(self.notes.below(TERMS).items()))
        periods = [(term.member, (term.began, self._seen.get(TERMS + key, term.began)))
                   for key, note in found.items() for term in noted.terms({key: note})]  # fmt: skip
        ends = [*(max(began) for _, began in periods[1:]), math.inf]
        names = {  # no terms: nobody else has led
            name_of(member) for (member, began), end in zip(periods, ends, strict=False)
            if min(began) - CLOCKS_S <= at <= end + CLOCKS_S
        }  # fmt: skip
        return sorted(names - {name_of(self.notes.member)})

    def ended_operations(self) -> list[Operation]:
        """By this leader's predecessors."""
        return list(noted.operations(self.notes.below(OPERATIONS)))

    def expired_leases(self) -> set[Enrolment]:
        return {each for each, states in noted.health(self.notes.below(HEALTH)).items() if _LEASE in states}

    def tried(self, dpid: int) -> Tried | None:
        """What a former master of the switch has tried out."""
        return noted.tried(self.notes.get(f"{FEATURES}{dpid:016x}"))

    def note_tried(self, dpid: int, tried: Tried) -> None:
        if self._cluster.leads():
            self.notes.put(f"{FEATURES}{dpid:016x}", noted.tried_note(tried))


def _key_of(text: str | None) -> bytes | None:
    try:
        key = bytes.fromhex(text or "")
    except ValueError:
        return None
    return key if len(key) == KEY_BYTES else None
