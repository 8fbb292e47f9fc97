"""Without: what a switch is used without, and what follows.  Pure.

What a role cannot be carried out without is in ``judgement``; what is done instead of something, in ``fallbacks``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from anycast_sdn.openflow.features import Features


class Without(NamedTuple):
    feature: str  # its name in events and in REST
    effect: str  # its subject is the switch


_EFFECTS = {  # one of ``Features`` → the effect where a switch lacks it
    "tcp_flags": "does not report FIN and RST: closed TCP connections stay for their idle validity",
    "fragments": "spoils later fragments of TCP and UDP over IPv4 when it sets an address: to and from services they "
    "are dropped, and counted as spoiled_fragment",
    "hairpin": "cannot send a packet back by the port where it came in: while routes change, some are lost",
    "meters": "has no meters: the controller itself drops what is beyond the limits, after it was sent",
}
_SPOILS_TCP = (
    "spoils later fragments of TCP over IPv4 when it sets an address: to and from services they are dropped, and "
    "counted as spoiled_fragment; those of UDP its connection tracker translates"
)


def used_without(features: Features, sets_addresses: bool = True, tracks_fragments: bool = False) -> Iterator[Without]:
    """``sets_addresses``: its roles need that; ``tracks_fragments``: its connection tracker translates some."""
    for feature, effect in _EFFECTS.items():
        if not getattr(features, feature) and (feature != "fragments" or sets_addresses):
            yield Without(feature, _SPOILS_TCP if feature == "fragments" and tracks_fragments else effect)
    if features.unshown:
        effect = f"was not, or not wholly, tried with packets: {features.unshown}"
        yield Without("packets", f"{effect}. That it does with them what its rules say is not shown")
