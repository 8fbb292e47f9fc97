"""The host names that the REST endpoint accepts.

With DNS rebinding, the name of a foreign web page resolves to the controller's address, and the browsers of its
visitors send requests here, with that name as ``Host`` or the page's as ``Origin``.  So a request is accepted only if
its host is one that the controller listens as: its own addresses, ``localhost`` on loopback and at unix sockets, the
names in its certificate, and names that the operator gives.  The port in ``Host`` is not compared, because a tunnel may
have another one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from anycast_sdn.api.http1 import Head
from anycast_sdn.api.problems import Problem


class Hosts:
    def __init__(self, listening: str, names: Iterable[str] = ()) -> None:
        """``listening``: the host of --rest; ``names``: those of --rest-host."""
        self._names = {_canonical(name) for name in (listening, *names)} - {"0.0.0.0", "::"}

    def check(self, head: Head, own: str, certified: Iterable[str] = ()) -> None:
        """``own``: the connection's local address; ``certified``: the names in our certificate.  Raises Problem."""
        host, _ = split(head.authority)
        if head.authority and not self._is_ours(host, own) and not _is_among(_canonical(host), certified):
            raise Problem(421, f"this controller does not listen as {host!a}; 'run --rest-host NAME' adds a name")
        origin = head.fields.get("origin")
        if origin is not None and not _same(origin, head.authority):
            raise Problem(403, "web pages of other origins are not served")

    def _is_ours(self, host: str, own: str) -> bool:
        host, own = _canonical(host), _canonical(own)
        return host in self._names or host == own or (host == "localhost" and ipaddress.ip_address(own).is_loopback)


def split(authority: str) -> tuple[str, str]:
    """→ (host, port), "" when none is given: '[::1]:8080' → ('::1', '8080')."""
    host, bracket, port = authority.rpartition("]")
    if bracket:
        return host.removeprefix("["), port.removeprefix(":")
    host, _, port = authority.partition(":")
    return host, port


def _canonical(host: str) -> str:
    """One spelling of each host: names in lower case, addresses in their canonical form, IPv4-mapped ones as IPv4."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host.lower().removesuffix(".")
    return str(getattr(address, "ipv4_mapped", None) or address)


def _is_among(host: str, certified: Iterable[str]) -> bool:
    """A name such as *.example stands for all with one label more (RFC 9525 §6.3)."""
    label, _, rest = host.partition(".")
    return any(_canonical(name) in (host, f"*.{rest}" if label else host) for name in certified)


def _same(origin: str, authority: str) -> bool:
    """Is the origin the host of the request?  Ports are compared; the scheme is not: a proxy may speak https."""
    try:
        scheme, there, *rest = urlsplit(origin)
    except ValueError:
        return False
    default = {"http": "80", "https": "443"}.get(scheme)
    host, port = split(there)
    our_host, our_port = split(authority)
    return (
        default is not None
        and not any(rest)
        and (_canonical(host), port or default) == (_canonical(our_host), our_port or default)
    )
