"""What has to be kept of flows outside of the controller's memory, where no switch can tell it after a restart (M20).

A switch that carries flows out by rules tells of them by these.  Its connection tracker cannot be asked for all that it
has.  So ``FlowChanges`` notes which bindings are as they were not before, and which have ended, for one who writes it
to a file; and a ``KeptFlow`` is what is found there.
"""

from __future__ import annotations

from typing import NamedTuple

from anycast_sdn.core.bindings import NOT_KNOWN, Binding, Half
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import AS_THE_EDGE, Address, FlowKey


class KeptFlow(NamedTuple):
    """A binding that was there when the controller ended; its group is that which has its service address now."""

    number: int
    key: FlowKey
    translated: Address
    server: Address | None
    since: float  # seconds since 1970
    port: int  # of its client; 0: not known
    translated_port: int = 0

    @classmethod
    def of(cls, flow: Binding, port: int, to_epoch: float) -> KeptFlow:
        """``to_epoch``: what makes ``since`` a time of day."""
        since, there = flow.since + to_epoch, flow.translated_port
        return cls(flow.number, flow.key, flow.translated, flow.server, since, port, there)

    def binding(self, groups: Groups, since: float) -> Binding:
        """``since``: on the clock of ``now``."""
        group = groups.covering(self.key.destination)
        name, validity = (group.name, group.validity) if group else ("", AS_THE_EDGE)
        installed = Half.BOTH if self.server else Half.OUT
        return Binding(
            self.number, self.key, self.translated, name, since, self.server, installed, validity=validity,
            reply_s=NOT_KNOWN if self.server else None, translated_port=self.translated_port,
        )  # fmt: skip


class FlowChanges:
    """Of one client edge.  Nothing is noted while nobody watches it; who does has to ``pop`` several times a second."""

    def __init__(self) -> None:
        self.is_watched = False
        self._noted: list[Binding | int] = []

    def note(self, before: Binding | None, after: Binding | None) -> None:
        """None: there was no binding, or there is none any more."""
        if not self.is_watched:
            return
        if after is None:
            assert before is not None
            self._noted.append(before.number)
        elif before is None or before.server != after.server:
            self._noted.append(after)

    def pop(self) -> list[Binding | int]:
        """In order: bindings as they are now, and the numbers of those that have ended."""
        noted, self._noted = self._noted, []
        return noted
