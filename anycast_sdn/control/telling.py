"""Telling: what the leader of a cluster has decided for the network, as masters of single switches have to know it.

The leader says it (``told``).  For a master it counts in place of what its own parts would decide (``be_told``).
"""

from __future__ import annotations

from collections.abc import Iterator

from anycast_sdn.control.parts import Parts
from anycast_sdn.control.share import Share, Told
from anycast_sdn.core.pool import RandomSource
from anycast_sdn.description.model import Network

CHOICES_AT_ONCE = 100  # that others are told of: some milliseconds


class Telling(Parts):
    def __init__(self, network: Network, random: RandomSource) -> None:
        super().__init__(network, random)
        self._told: Told | None = None  # by the leader
        self.obeys = False  # what the leader has decided for the network counts, and nothing that is decided here

    def told(self) -> Told:
        """What the masters of single switches have to know of the network.  What is as before is the same object."""
        edges = [name for name, switch in self.by_name.items() if switch.described.client_edge]
        clients = tuple(name for name in edges if self.by_name[name].share is Share.REST)
        choices = self.choices.for_others(clients, self._families, CHOICES_AT_ONCE)
        return Told(self.announcements.announced, *self.losses.known(), choices)

    def _families(self) -> Iterator[tuple[str, bool]]:
        for group in self.groups:
            yield from {(group.name, prefix.is_v6): None for prefix in group.prefixes}

    def be_told(self, told: Told) -> None:
        """By the leader.  It counts as soon as there is a switch here of which only the flows are decided on."""
        self._told = told
        if self.obeys or any(switch.share is Share.FLOWS for switch in self.switches.values()):
            self._obey()

    def _obey(self) -> None:
        if (told := self._told) is None:
            return
        self.obeys = True
        self.announcements.told(told.announced)
        self.losses.told(told.lost, told.failed, told.cut)
        self.choices.told(told.choices)
