"""BgpSessions: carries routes between the controller and the BGP speakers of its uplinks.

In a cluster every member has sessions, where the network file has one for it (``members``).  The leader decides what
is advertised, and notes it; the others advertise what it has noted, with a higher MED.  So routers have their routes
already when one of them takes over.  What routers advertise is taken from the leader's own sessions.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

from os_ken.lib import hub

from anycast_sdn.cluster.cluster import Cluster
from anycast_sdn.cluster.notes import ANNOUNCED, Notes, name_of
from anycast_sdn.control.controller import Controller
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.core.model import Prefix
from anycast_sdn.description.model import Uplink
from anycast_sdn.process.faults import isolated
from anycast_sdn.routing.bgp import Speaker
from anycast_sdn.views.reasons import Session

LOG = logging.getLogger(__name__)

Item = TypeVar("Item")

AT_ONCE = 100  # prefixes
UNHEARD_S = 10.0  # what was noted counts for so long while etcd cannot be heard


class BgpSessions:
    """``react``: carries out what an event has led to (``AnycastApp``)."""

    def __init__(
        self, controller: Controller, cluster: Cluster, notes: Notes, react: Callable[[Outcome], None]
    ) -> None:
        self._controller = controller
        self._cluster = cluster
        self._notes = notes
        self._react = react
        self._again: set[str] = set()  # uplinks whose routes the controller does not know any more
        self._uplinks = [uplink for uplink in controller.network.uplinks if uplink.bgp]
        own = (_of_member(uplink, notes.member) for uplink in self._uplinks)
        self.speakers = [Speaker(uplink) for uplink in own if uplink]
        # While another controller leads:
        self._ranks = {uplink.name: _rank(uplink, notes.member) for uplink in self._uplinks}
        self._advertised: dict[str, frozenset[Prefix]] = {}  # by this leader; uplink's name →
        self._noted: dict[str, frozenset[Prefix]] = {}  # by another; uplink's name →
        self._is_read = False  # has what was noted been read since it has changed?
        self._heard_at = 0.0
        self._written: Mapping[str, str] = {}  # what ``advertised`` has returned,
        self._written_for: dict[str, frozenset[Prefix]] = {}  # and for what
        notes.watch(self._changed)

    def begin_anew(self) -> None:
        """The controller has forgotten which routes were learned."""
        self._again = {speaker.uplink.name for speaker in self.speakers}

    def exchange(self, now: float) -> None:
        """Give learned routes to the controller, and prefixes to advertise to the speakers."""
        if not self._cluster.leads():
            self._advertised.clear()
        if not self._advertised:
            self._read(now)
        if self._cluster.leads():
            for uplink in self._uplinks:
                self._exchange(uplink, now)
        else:
            for speaker in self.speakers:
                self._follow(speaker)

    def advertised(self) -> Mapping[str, str]:
        """Prefix → the uplinks where the leader advertises it, as it is noted.  Others have turns meanwhile.

        Where it does not know yet what to advertise, that is what its predecessor did.
        """
        known = self._noted | self._advertised
        if known != self._written_for:
            uplinks: dict[Prefix, tuple[str, ...]] = {}
            for name, prefixes in sorted(known.items()):
                for prefix in prefixes:
                    uplinks[prefix] = (*uplinks.get(prefix, ()), name)
            written = {_text(prefix): _names_text(names) for prefix, names in _in_turns(uplinks.items())}
            self._written, self._written_for = written, known
        return self._written

    @isolated
    def _exchange(self, uplink: Uplink, now: float) -> None:
        """Members with a session at an uplink follow the leader, whether it has one there itself or not."""
        prefixes = self._controller.advertised(uplink, now)
        if prefixes is not None:
            self._advertised[uplink.name] = prefixes
        for speaker in self.speakers:
            if speaker.uplink.name == uplink.name:
                self._speak(speaker, prefixes, now)

    def _speak(self, speaker: Speaker, prefixes: frozenset[Prefix] | None, now: float) -> None:
        if events := speaker.pop_events():
            self._react(Outcome(events=events))
        name = speaker.uplink.name
        if (routes := speaker.pop_changed()) is not None or name in self._again:
            self._again.discard(name)
            self._react(self._controller.set_learned(name, speaker.routes if routes is None else routes, now))
        if prefixes is not None:
            speaker.announce(prefixes)
            speaker.start()

    # ---------------------------------------------------------------- while another controller leads

    @isolated
    def _follow(self, speaker: Speaker) -> None:
        """Only where this member has a session of its own: one address cannot have two sessions with a router."""
        rank, events = self._ranks[speaker.uplink.name], speaker.pop_events()
        if not rank:
            speaker.stop()
            return
        if events:
            self._react(Outcome(events=events))
        prefixes = self._noted.get(speaker.uplink.name, frozenset())
        if prefixes or speaker.is_started:  # before, routers keep what an earlier process of this member advertised
            speaker.announce(prefixes, rank)
            speaker.start()

    def _changed(self, keys: Collection[str]) -> None:
        self._is_read &= not any(key.startswith(ANNOUNCED) for key in keys)

    def _read(self, now: float) -> None:
        """Read what the leader advertises.  Nothing is known of that while etcd cannot be heard."""
        if self._notes.is_current:
            self._heard_at = now
        elif now - self._heard_at > UNHEARD_S:
            self._noted, self._is_read = {}, False
            return
        if self._is_read:
            return
        found: dict[str, set[Prefix]] = {}
        self._is_read = True
        for prefix, text in _in_turns(self._notes.below(ANNOUNCED).items()):
            try:
                for name in _names(text):
                    found.setdefault(name, set()).add(_prefix(prefix))
            except ValueError:
                LOG.warning("etcd has no usable note of %s, so it is not advertised", ascii(prefix))
        self._noted = {name: frozenset(prefixes) for name, prefixes in found.items() if name in self._ranks}

    # ---------------------------------------------------------------- what is shown

    def states(self) -> list[Session]:
        views = [speaker.view() for speaker in self._own()]
        return [Session(view.uplink, view.neighbour, view.state, view.problem) for view in views]

    def views(self) -> list[dict[str, object]]:
        return [speaker.view()._asdict() for speaker in self._own()]

    def _own(self) -> list[Speaker]:
        """Those that this controller should have now."""
        leads = self._cluster.leads()
        return [each for each in self.speakers if leads or self._ranks[each.uplink.name]]


def _of_member(uplink: Uplink, member: str) -> Uplink | None:
    """The uplink with the session of this member; None: it has none there.  "": of a controller that is alone."""
    if uplink.bgp is None:
        return None
    if not (member and uplink.bgp.members):
        return uplink
    session = uplink.bgp.of_member(name_of(member))
    return replace(uplink, bgp=session) if session else None


def _rank(uplink: Uplink, member: str) -> int:
    """Of a member with a session of its own, by the order in the file; 0: only the leader has one."""
    names = [each.name for each in uplink.bgp.members] if uplink.bgp else []
    return 1 + names.index(name_of(member)) if name_of(member) in names else 0


def _in_turns(items: Iterable[Item]) -> Iterator[Item]:
    """There may be thousands: after each ``AT_ONCE`` other green threads have a turn."""
    for number, item in enumerate(items, 1):
        yield item
        if number % AT_ONCE == 0:
            hub.sleep(0)


# Of thousands of prefixes few change at a time.
_text = lru_cache(1 << 14)(str)
_prefix = lru_cache(1 << 14)(Prefix.parse)


@lru_cache(1 << 10)
def _names(text: str) -> tuple[str, ...]:
    """Raises ValueError."""
    names = json.loads(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("not a list of names")
    return tuple(names)


@lru_cache(1 << 10)
def _names_text(names: tuple[str, ...]) -> str:
    return json.dumps(names)
