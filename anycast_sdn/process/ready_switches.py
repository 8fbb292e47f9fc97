"""What is told of a switch that has become ready: what it held, and what it is not able to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.events import Event
from anycast_sdn.core.switch_events import SwitchConnected, SwitchDegraded
from anycast_sdn.views.switch_reports import without


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
    for judgement in managed.abilities.judgements:
        if not judgement.is_able:
            yield SwitchDegraded(name, judgement.role.value, judgement.sentence)
    for feature, effect in without(managed):
        yield SwitchDegraded(name, feature, effect)
