"""Examination: all that is tried out at a switch, one trial after the other.

What a switch says of itself is known before; what it holds is none of this.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace

from anycast_sdn.openflow.abilities import Lack, causes
from anycast_sdn.openflow.ability_trials import AbilityTrials
from anycast_sdn.openflow.connection import Connection
from anycast_sdn.openflow.fallback_trials import FallbackTrials
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.listing_trial import ListingTrial
from anycast_sdn.openflow.packet_trials import PacketTrials
from anycast_sdn.openflow.pending import CONFIRMATION
from anycast_sdn.openflow.trials import Trials

NONCE = 8  # bytes by which packets of this examination are recognised


class Examination:
    """``description``: as ``OFPMP_DESC`` has it; ``ports``: which there are, and are they up?  ``features``: as far as
    they are known; ``done`` is called with what has been found.
    """

    def __init__(
        self,
        switch: Connection,
        description: tuple[str, ...],
        ports: Mapping[int, bool],
        features: Features,
        done: Callable[[Features], None],
    ) -> None:
        self._switch = switch
        self._description = description
        self._ports = ports
        self._features = features
        self._done = done

    def begin(self) -> None:
        Trials(self._switch, self._features, self._take_features).begin()

    def _take_features(self, features: Features) -> None:
        FallbackTrials(self._switch, features, self._take_fallbacks).begin()

    def _take_fallbacks(self, features: Features) -> None:
        self._features = features
        self._abilities = AbilityTrials(self._switch, self._take_lacks, self._ports)
        self._abilities.begin()

    def _take_lacks(self, lacks: tuple[Lack, ...]) -> None:
        confirmed = CONFIRMATION not in self._switch.unanswered
        untried = self._abilities.untried
        self._features = replace(self._features, lacks=lacks, untried=untried, confirmed=confirmed)
        if self._features.open_vswitch:
            self._take_kept(replace(self._features, cookies=True))
        elif CONFIRMATION in self._switch.unanswered:
            self._take_kept(self._features)
        else:
            ListingTrial(self._switch, self._features, self._take_kept).begin()

    def _take_kept(self, features: Features) -> None:
        self._features = features
        if CONFIRMATION in self._switch.unanswered:
            self._end((), "whether their rules are there is not known")
        elif not self._features.table_output:
            self._end((), "it does not let them pass its tables")
        else:
            self._packets = PacketTrials(self._switch, secrets.token_bytes(NONCE), self._take_shown)
            self._packets.begin()

    def _take_shown(self, shown: tuple[Lack, ...]) -> None:
        self._end(shown, self._packets.unshown)

    def _end(self, shown: tuple[Lack, ...], unshown: str) -> None:
        """What a switch has refused says why packets do not come back as they should."""
        lacks = causes((*self._features.lacks, *shown))
        found = replace(self._features, lacks=lacks, unshown=unshown)
        self._done(replace(found, tables=self._switch.tables, description=self._description))
