"""What of the running process decides who may use REST: the file of tokens, at start and at SIGHUP."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from anycast_sdn.api import token_file
from anycast_sdn.api.access import Access
from anycast_sdn.api.tokens import Tokens, TokensError
from anycast_sdn.core.words import counted

LOG = logging.getLogger(__name__)


class RestAccess:
    """``access``: what requests are checked by."""

    def __init__(self, path: str | None, database: str) -> None:
        """``path``: that of --tokens; None: beside the database, if there is one.  Raises TokensError."""
        self._path = Path(path).absolute() if path else token_file.beside(database)
        self._must_exist = path is not None
        self._count = 0
        self._warning = ""
        self.access = Access(self._read())

    def reload(self) -> None:
        """A file that cannot be read changes nothing."""
        try:
            known = self._read()
        except TokensError as error:
            LOG.error("%s; the tokens stay as they were", error)
            return
        if known is not None:
            self.access.replace(known)
        self.report()

    def report(self) -> None:
        """Log who is served."""
        if self._warning:
            LOG.warning("%s", self._warning)
        if self.access.by_tokens:
            LOG.info("REST: clients need a token; there are %s in %s", counted(self._count, "token"), self._path)
        else:
            where = f", which would be in {self._path}" if self._path else ""
            LOG.info("REST: there are no tokens%s: only clients of this machine are served", where)

    def _read(self) -> Tokens | None:
        """None: there is no file.  Raises TokensError."""
        path = self._path
        if path is None or not (self._must_exist or os.path.lexists(path)):
            return None
        known, self._warning = token_file.read(path)
        self._must_exist, self._count = True, len(known)  # from now on, whatever becomes of the file
        return known
