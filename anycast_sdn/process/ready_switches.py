"""What is told of a switch that has become ready: what it held, and what it is not able to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.events import Event
from anycast_sdn.core.switch_events import SwitchConnected, SwitchDegraded

WITHOUT = {  # one of ``Features`` → what is reported of a switch without it
    "tcp_flags": "does not report FIN and RST: closed TCP connections stay for their idle validity",
    "fragments": "spoils later fragments of TCP and UDP over IPv4 when it sets an address: to and from services they "
    "are dropped, and counted as spoiled_fragment",
    "hairpin": "cannot send a packet back by the port where it came in: while routes change, some are lost",
    "meters": "has no meters: nothing limits what it sends to the controller",
}

_SPOILS_TCP = (
    "spoils later fragments of TCP over IPv4 when it sets an address: to and from services they are dropped, and "
    "counted as spoiled_fragment; those of UDP its connection tracker translates"
)


class Found(NamedTuple):
    """What a switch held when it connected."""

    rules: int
    others: bool  # rules of other programs, which were removed
    unlisted: bool  # it does not list its rules, so that all were deleted


def ready_events(managed: ManagedSwitch, peer: str, found: Found) -> Iterator[Event]:
    """``peer``: the address of its connection."""
    name = managed.name
    wanted, flows = len(managed.installed), len(managed.engine.flows)
    yield SwitchConnected(name, peer, found.rules, wanted, flows, found.others, found.unlisted)
    features = managed.features
    for feature, effect in WITHOUT.items():
        if not getattr(features, feature) and (feature != "fragments" or managed.described.is_edge):
            tracked = feature == "fragments" and managed.engine.tracks_fragments
            yield SwitchDegraded(name, feature, _SPOILS_TCP if tracked else effect)
    if short := managed.engine.shortcoming:
        yield SwitchDegraded(name, short.lacks, f"{short.sentence}. {short.remedy}".rstrip(". "))
    for port, mtu in managed.mtus.items() if not features.packet_size else ():
        effect = f"larger packets than the mtu of its port {port}, {mtu}, are lost, without an ICMP error"
        yield SwitchDegraded(name, f"mtu of {port}", f"cannot compare the size of packets: {effect}")
