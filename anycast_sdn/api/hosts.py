"""Which names the REST endpoint answers to.

A web page of anybody's can have its own name lead to our address (DNS rebinding); what its visitors' browsers
then send here says that name as its host, or the page's as its origin.  So requests are taken only for what we
listen as: addresses that are ours, ``localhost`` on loopback, and names that the operator gives.  Ports do not
matter: a tunnel may have another one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from anycast_sdn.api.http1 import Head
from anycast_sdn.api.problems import Problem


class Hosts:
    def __init__(self, listening: str, names: Iterable[str] = ()) -> None:
        """``listening``: the address or name of the operator's choice; ``names``: others that lead here."""
        self._names = {_canonical(name) for name in (listening, *names)} - {"0.0.0.0", "::"}

    def check(self, head: Head, own: str) -> None:
        """``own``: our end of the connection.  Raises Problem."""
        host, _ = split(head.authority)
        if head.authority and not self._is_ours(host, own):
            raise Problem(421, f"{host!a} is not what this controller listens as; 'run --rest-host NAME' adds a name")
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
    """One spelling of each host: names in lower case, addresses as we write them, IPv4 as such."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host.lower().removesuffix(".")
    return str(getattr(address, "ipv4_mapped", None) or address)


def _same(origin: str, authority: str) -> bool:
    """Is it a page of ours?  The port counts; a proxy may speak https where we do not."""
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
