"""RestService: the REST endpoints of the process, and the files that say who may use them.

Tokens and certificates are read at start, before anything listens, and again at SIGHUP.  A file that cannot be read
then leaves what it was for as it is, and is reported.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anycast_sdn.api import endpoints, server, token_file
from anycast_sdn.api.access import Access
from anycast_sdn.api.answers import Turn
from anycast_sdn.api.endpoints import Endpoint
from anycast_sdn.api.server import Application, Server
from anycast_sdn.api.tokens import Tokens, TokensError
from anycast_sdn.core.controller_events import RestReloaded
from anycast_sdn.core.events import Event
from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.core.places import Rest
from anycast_sdn.core.words import counted
from anycast_sdn.process.listening import is_exposed, listening
from anycast_sdn.trust.tls import Tls, TlsError

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RestOptions:
    """What the command line says."""

    places: Sequence[Rest]
    names: Sequence[str] = ()  # hosts that we listen as, too
    certificate: str | None = None
    key: str | None = None
    client_ca: str | None = None
    socket_mode: int = 0o600
    tokens: str | None = None  # None: beside the database, if it is there
    require_match: bool = False  # groups and servers are changed with If-Match only


class RestService:
    def __init__(self, options: RestOptions, database: str) -> None:
        """Reads the files.  Raises ConfigurationError."""
        self._options = options
        self._tls = self._read_tls()
        self._places = [self._resolved(place) for place in options.places]
        tokens = options.tokens
        self._path = Path(tokens).absolute() if tokens else token_file.beside(database)
        self._must_exist = tokens is not None
        self._count = 0
        self._warning = ""
        self._report: Callable[[Event], None] = lambda event: None
        self._access = Access(self._read_tokens(), report=lambda event: self._report(event))
        self._server: Server | None = None

    def __str__(self) -> str:
        """Where it listens."""
        return ", ".join(map(str, self._places))

    def serve(self, application: Application, report: Callable[[Event], None]) -> None:
        """``report`` gets the events.  Raises ConfigurationError when it cannot listen."""
        self._report = report
        opened: list[Endpoint] = []
        try:
            for place in self._places:
                opened.append(self._opened(place))
        except ConfigurationError:
            for endpoint in opened:
                endpoint.close()
            raise
        # Reading requests and answering them have separate queues: short requests do not wait for long ones.
        self._server = server.serve(application, opened, self._access, server.pause_in_line(), report)

    def close(self) -> None:
        """Requests that are here are answered."""
        if self._server:
            self._server.close()

    @property
    def busy(self) -> bool:
        return self._server is not None and self._server.busy

    def reload(self, pause: Callable[[], None]) -> None:
        """A file that cannot be read changes nothing.  In ``pause`` others run."""
        problems: list[str] = []
        try:
            known = self._read_tokens(Turn(pause).over)
        except TokensError as error:
            problems.append(f"{error}; the tokens stay as they were")
        else:
            if known is not None:
                self._access.replace(known)
        if self._tls:
            try:
                self._tls.reload()
            except TlsError as error:
                problems.append(f"{error}; TLS goes on with what it had")
        self._report(RestReloaded(tuple(problems)))
        self.report()

    def report(self) -> None:
        """Log who is served, and under which certificate."""
        if self._tls:
            LOG.log(logging.INFO if self._tls.is_valid else logging.WARNING, "REST: certificate %s", self._tls)
        if self._warning:
            LOG.warning("%s", self._warning)
        if self._access.by_tokens:
            LOG.info("REST: clients need a token: %s in %s", counted(self._count, "token"), self._path)
        else:
            where = f" (they would be in {self._path})" if self._path else ""
            LOG.info("REST: without tokens, only clients of this machine are served%s", where)
        for place in filter(_is_exposed, self._places):
            if not self._access.by_tokens:
                LOG.warning("REST: clients of %s on other machines are refused until there are tokens", place)
            elif place.scheme == "http":
                LOG.warning("REST: %s is not encrypted, so tokens can be read on their way: use --rest-tls-cert", place)

    # ---------------------------------------------------------------- places

    def _resolved(self, place: Rest) -> Rest:
        """With its scheme.  Raises ConfigurationError."""
        if place.scheme == "https" and not self._tls:
            raise ConfigurationError(f"--rest {place} needs a certificate: --rest-tls-cert and --rest-tls-key")
        return place if place.scheme else place._replace(scheme="https" if self._tls else "http")

    def _opened(self, place: Rest) -> Endpoint:
        if place.scheme != "unix":
            with listening("REST", "--rest", (place.host, place.port)):
                tls = self._tls if place.scheme == "https" else None
                return endpoints.at_address((place.host, place.port), self._options.names, tls)
        try:
            return endpoints.at_path(place.host, self._options.socket_mode, self._options.names)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigurationError(f"REST cannot listen on {place}: {reason} (--rest)") from error

    # ---------------------------------------------------------------- files

    def _read_tls(self) -> Tls | None:
        options = self._options
        if options.certificate:
            return Tls(options.certificate, options.key, options.client_ca)
        if options.key or options.client_ca:
            given = "--rest-tls-key" if options.key else "--rest-client-ca"
            raise ConfigurationError(f"{given} has no meaning without a certificate: give one with --rest-tls-cert")
        return None

    def _read_tokens(self, turn: Callable[[], None] = lambda: None) -> Tokens | None:
        """None: there is no file.  Raises TokensError."""
        path = self._path
        if path is None or not (self._must_exist or os.path.lexists(path)):
            return None
        known, self._warning = token_file.read(path, turn)
        self._must_exist, self._count = True, len(known)  # from now on, whatever becomes of the file
        return known


def _is_exposed(place: Rest) -> bool:
    """Can other machines connect there?"""
    return place.scheme != "unix" and is_exposed(place.host)
