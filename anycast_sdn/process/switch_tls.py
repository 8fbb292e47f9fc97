"""SwitchTls: how switches connect, by TLS or not, and what the operator is told about that.

The files are read at start, before anything listens, and again at SIGHUP; those that cannot be read then change
nothing.  Connections that there are stay as they are: a switch that is refused from then on would lose its controller
in the middle of its work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from anycast_sdn.core.controller_events import SwitchTlsReloaded
from anycast_sdn.core.events import Event
from anycast_sdn.core.words import address as written
from anycast_sdn.core.words import listed
from anycast_sdn.description.model import Switch
from anycast_sdn.openflow.wire import PlainWire, TlsWire, Wire
from anycast_sdn.process.listening import is_exposed
from anycast_sdn.trust.tls import Tls, TlsError

LOG = logging.getLogger(__name__)


class OpenFlowOptions(NamedTuple):
    """What the command line says."""

    address: tuple[str, int]
    tls: Sequence[str] | None = None  # certificate, key, CAs of switches


class SwitchTls:
    def __init__(self, options: OpenFlowOptions, switches: Iterable[Switch] = ()) -> None:
        """Reads the files.  ``switches``: of the network file, if there is one.  Raises ConfigurationError."""
        self._place = options.address
        self._bound = [switch.name for switch in switches if switch.certificate]
        self._tls = self._read(*options.tls) if options.tls else None

    @staticmethod
    def _read(certificate: str, key: str, ca: str) -> Tls:
        try:
            return Tls(certificate, key, ca, spoken=())
        except TlsError as error:
            raise TlsError(f"{error} (--openflow-tls)") from error

    def wire(self, socket: Any) -> Wire:
        """Of a connection that has been accepted."""
        return TlsWire(socket, self._tls.context) if self._tls else PlainWire(socket)

    def __str__(self) -> str:
        return f"switches connect by TLS; certificate {self._tls}" if self._tls else "switches connect without TLS"

    def reload(self, report: Callable[[Event], None]) -> None:
        """At SIGHUP."""
        if self._tls is None:
            return
        try:
            self._tls.reload()
        except TlsError as error:
            report(SwitchTlsReloaded(str(error)))
        else:
            report(SwitchTlsReloaded())
        self.report()

    def report(self) -> None:
        """Log who may connect, and under which certificate."""
        if self._tls:
            LOG.log(logging.INFO if self._tls.is_valid else logging.WARNING, "OpenFlow: %s", self)
            return
        if is_exposed(self._place[0]):
            LOG.warning(
                "OpenFlow: on %s, whoever can connect can say that it is a switch, and read and change what others "
                "send: use --openflow-tls, or keep the network of the switches apart", written(*self._place),
            )  # fmt: skip
        if self._bound:
            LOG.warning(
                "OpenFlow: the network file says certificate: of %s, and nothing looks at that without --openflow-tls",
                listed(self._bound),
            )
