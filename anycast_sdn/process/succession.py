"""Succession: what the leader of a cluster leaves to the next one, and what the next one begins with.

The leader notes what it knows whenever that has changed; a member that becomes the leader reads the notes before it
decides anything.  A controller that is alone has nobody to leave anything to: its notes are ``NoNotes``.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from anycast_sdn.cluster.cluster import Cluster
from anycast_sdn.cluster.notes import ANNOUNCED, LINKS, LLDP_KEY, TERMS, Notes
from anycast_sdn.control.controller import Controller
from anycast_sdn.control.discovery import KnownLink
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.description.model import Port
from anycast_sdn.process.bgp_sessions import BgpSessions
from anycast_sdn.process.faults import isolated

LOG = logging.getLogger(__name__)

KEY_BYTES = 16  # of LLDP's
MOST_TERMS = 200  # of the past that are known

Shown = dict[str, Any]


class Term(NamedTuple):
    """``began``: s since the epoch, by the clock of that member."""

    member: str  # its id
    began: float


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
        self._led = cluster.leads()
        self._has_led = False
        self._noted: dict[str, dict[str, str]] = {}  # prefix → the notes there, as this leader has left them
        self._heirs: list[Callable[[float], None]] = []

    def on_take_over(self, begin: Callable[[float], None]) -> None:
        """``begin`` is called when this controller becomes the leader, before it decides anything."""
        self._heirs.append(begin)

    def look(self, now: float) -> None:
        """The leader may be another one than before."""
        leads = self._cluster.leads()
        if leads is self._led:
            return
        self._led = leads
        if not leads:
            return
        self._noted.clear()
        *_, last = Term(self.notes.member, 0.0), *self.terms()
        if not self._has_led or last.member != self.notes.member:  # otherwise nobody has decided anything meanwhile
            for begin in (self._take_over_network, *self._heirs):
                isolated(begin)(now)
        self._has_led = True
        self._begin_term()

    def terms(self) -> list[Term]:
        """Who has led, the present leader last."""
        return list(filter(None, (_term(text) for _, text in sorted(self.notes.below(TERMS).items()))))

    def _begin_term(self) -> None:
        self.notes.put(f"{TERMS}{self._cluster.term():016x}", json.dumps([self.notes.member, round(time.time(), 3)]))
        for key in sorted(self.notes.below(TERMS))[:-MOST_TERMS]:
            self.notes.put(TERMS + key, None)
        self.notes.put(LLDP_KEY, self._controller.discovery.key.hex())

    @isolated
    def note(self) -> None:
        """To be called several times a second: the leader notes what has changed."""
        if self.notes.member and self._cluster.leads():
            self._note_all(LINKS, {_name(link): _link_text(link) for link in self._controller.discovery.known()})
            self._note_all(ANNOUNCED, self._bgp.advertised())

    def note_now(self) -> None:
        """As ``note``, and it is stored before this returns, if it can be."""
        self.note()
        self.notes.flush()

    def _note_all(self, prefix: str, wanted: Mapping[str, str]) -> None:
        """The notes of this kind are these from now on."""
        noted = self._noted.get(prefix)
        if noted is None:
            noted = self._noted[prefix] = dict(self.notes.below(prefix))
        if noted == wanted:
            return
        for key in noted.keys() | wanted.keys():
            if noted.get(key) != wanted.get(key):
                self.notes.put(prefix + key, wanted.get(key))
        self._noted[prefix] = dict(wanted)

    # ---------------------------------------------------------------- links

    def _take_over_network(self, now: float) -> None:
        if key := _key_of(self.notes.get(LLDP_KEY)):
            self._controller.discovery.key = key
        links = list(_links(self.notes.below(LINKS)))
        self._react(self._controller.take_over(self._cluster.term(), links, now))


def _name(link: KnownLink) -> str:
    return "~".join(map(str, sorted(link.ends)))


def _link_text(link: KnownLink) -> str:
    return json.dumps({"cost": link.cost, "down": link.down, "failures": link.failures}, sort_keys=True)


def _links(notes: Mapping[str, str]) -> Iterator[KnownLink]:
    for name, text in notes.items():
        try:
            (a, _, at_a), (b, _, at_b) = (end.rpartition(":") for end in name.split("~"))
            shown: Shown = json.loads(text)
            ends = frozenset((Port(a, int(at_a)), Port(b, int(at_b))))
            cost = None if shown.get("cost") is None else int(shown["cost"])
            yield KnownLink(ends, cost, bool(shown.get("down")), int(shown.get("failures", 0)))
        except (ValueError, TypeError, KeyError, AttributeError):
            LOG.warning("etcd has no usable note of link %s: it is taken as in the network file", ascii(name))


def _key_of(text: str | None) -> bytes | None:
    try:
        key = bytes.fromhex(text or "")
    except ValueError:
        return None
    return key if len(key) == KEY_BYTES else None


def _term(text: str) -> Term | None:
    try:
        member, began = json.loads(text)
        return Term(str(member), float(began))
    except (ValueError, TypeError):
        return None
