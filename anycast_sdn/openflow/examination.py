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
from anycast_sdn.openflow.cookie_trial import CookieTrial
from anycast_sdn.openflow.fallback_trials import FallbackTrials
from anycast_sdn.openflow.features import Features
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
        AbilityTrials(self._switch, self._take_lacks, self._ports).begin()

    def _take_lacks(self, lacks: tuple[Lack, ...]) -> None:
        self._features = replace(self._features, lacks=lacks)
        if self._features.open_vswitch or CONFIRMATION in self._switch.unanswered:
            self._take_cookies(self._features.open_vswitch or self._features.cookies)
        else:
            CookieTrial(self._switch, self._take_cookies).begin()

    def _take_cookies(self, keeps: bool) -> None:
        self._features = replace(self._features, cookies=keeps)
        if CONFIRMATION in self._switch.unanswered or not self._features.table_output:
            self._take_shown(())  # it is not known whether rules of probes are there, or no packet comes to them
            return
        PacketTrials(self._switch, secrets.token_bytes(NONCE), self._take_shown).begin()

    def _take_shown(self, shown: tuple[Lack, ...]) -> None:
        """What a switch has refused says why packets do not come back as they should."""
        lacks = causes((*self._features.lacks, *shown))
        tables, description = self._switch.tables, self._description
        self._done(replace(self._features, lacks=lacks, tables=tables, description=description))
