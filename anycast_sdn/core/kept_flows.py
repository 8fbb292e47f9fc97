"""What has to be kept of flows outside of the controller's memory, where no switch can tell it after a restart (M20).

A switch that carries flows out by rules tells of them by these.  Its connection tracker cannot be asked for all that it
has.  So ``FlowChanges`` notes which bindings are as they were not before, and which have ended, for one who writes it
to a file; and a ``KeptFlow`` is what is found there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from anycast_sdn.core.bindings import NOT_KNOWN, Binding, Half
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import AS_THE_EDGE, Address, FlowKey


class KeptConnection(NamedTuple):
    """One of a flow that may have several, or one that a server has begun."""

    number: int  # the flow's
    protocol: int
    first: int  # the client's port, or the identifier of an echo
    second: int  # the service's port; of ICMP the client's type and code
    inward: bool  # begun by the server


class KeptFlow(NamedTuple):
    """A binding that was there when the controller ended; its group is that which has its service address now."""

    number: int
    key: FlowKey
    translated: Address
    server: Address | None
    since: float  # seconds since 1970
    port: int  # of its client; 0: not known
    translated_port: int = 0
    connections: tuple[KeptConnection, ...] = ()

    @classmethod
    def of(cls, flow: Binding, to_epoch: float, connections: Iterable[KeptConnection] = ()) -> KeptFlow:
        """``to_epoch``: what makes ``since`` a time of day."""
        since, ports = flow.since + to_epoch, (flow.port, flow.translated_port)
        return cls(flow.number, flow.key, flow.translated, flow.server, since, *ports, tuple(connections))

    def binding(self, groups: Groups, since: float) -> Binding:
        """``since``: on the clock of ``now``."""
        group = groups.covering(self.key.destination)
        name, validity = (group.name, group.validity) if group else ("", AS_THE_EDGE)
        installed = Half.BOTH if self.server else Half.OUT
        return Binding(
            self.number, self.key, self.translated, name, since, self.server, installed, validity=validity,
            reply_s=NOT_KNOWN if self.server else None, port=self.port, translated_port=self.translated_port,
        )  # fmt: skip


Noted: TypeAlias = Binding | KeptConnection | int  # as it is now; begun; the number of a binding that has ended


class FlowChanges:
    """Of one client edge.  Nothing is noted while nobody watches it; who does has to ``pop`` several times a second."""

    def __init__(self) -> None:
        self.is_watched = False
        self._noted: list[Noted] = []

    def note(self, before: Binding | None, after: Binding | None) -> None:
        """None: there was no binding, or there is none any more."""
        if not self.is_watched:
            return
        if after is None:
            assert before is not None
            self._noted.append(before.number)
        elif before is None or before.server != after.server:
            self._noted.append(after)

    def begun(self, connection: KeptConnection) -> None:
        if self.is_watched:
            self._noted.append(connection)

    def pop(self) -> list[Noted]:
        """In order."""
        noted, self._noted = self._noted, []
        return noted
