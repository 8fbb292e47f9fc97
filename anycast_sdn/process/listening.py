"""Where the controller listens: who can connect there, and what the operator is told when it cannot."""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager

from anycast_sdn.core import words
from anycast_sdn.core.model import ConfigurationError

_ADVICE = {
    errno.EADDRINUSE: "another program listens there, perhaps a controller: end it, or take another port",
    errno.EADDRNOTAVAIL: "this machine has no such address: take one that it has",
    errno.EACCES: "only root may take ports below 1024: take another port",
}


def is_exposed(host: str) -> bool:
    """Can other machines connect there?"""
    try:
        return not ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host != "localhost"


@contextmanager
def listening(what: str, option: str, address: tuple[str, int]) -> Iterator[None]:
    """An OSError of what is done in this context becomes a ConfigurationError, with advice."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (")[0]
        advice = _ADVICE.get(error.errno or 0, f"{reason}: take another address")
        raise ConfigurationError(f"{what} cannot listen on {words.address(*address)}: {advice} ({option})") from error
