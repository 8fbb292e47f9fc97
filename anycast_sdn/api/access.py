"""Who asks over REST, and may they: identification of each request, and the check of what its resource needs.

Theory of operation.  ``Access.admitted`` runs when nothing of a request but its head has been looked at, and gives it
a ``Caller``; ``check`` runs when the resource is known.  A caller is known by

1. its bearer token, if it presents one: then nothing else counts;
2. its client certificate, if there is an entry for one of the certificate's names;
3. where it comes from: whoever can open the unix socket may do everything, because the socket's file mode says who
   that is; so may this machine's own users by loopback, as long as there is no file of tokens.

The rules this file keeps:

- Without a file of tokens nobody else is served at all.  As soon as there is one, even an empty one, every client that
  does not come by the unix socket needs an entry: revoking the last token opens nothing.
- Whoever presents what is unknown, expired or malformed is refused, even where nothing is needed; past ``FAILURES``
  of these at once an address is answered with 429.  What is valid is served there, too: nobody guesses 256 bits, and an
  address may be a proxy's.
- A token is taken from the header field ``Authorization`` alone, and neither logged nor handed on to the application.
"""

from __future__ import annotations

import ipaddress
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from webob import Request

from anycast_sdn.api import tokens
from anycast_sdn.api.problems import Problem
from anycast_sdn.api.tokens import ANYTHING, NOBODY, Caller, Need, Token, Tokens
from anycast_sdn.core.controller_events import RestRefused
from anycast_sdn.core.events import Event
from anycast_sdn.core.model import Address, packed, text
from anycast_sdn.core.redaction import has_token
from anycast_sdn.core.token_bucket import TokenBucket

CALLER = "anycast_sdn.caller"  # in the WSGI environment
FAILURES = 20  # at once from one address
FAILURES_PER_S = 1.0
MAX_ADDRESSES = 1024  # whose failures are counted
QUIET_S = 60.0  # from one report to the next

UNIX = "unix"  # the peer of each connection by a unix socket
BY_UNIX, BY_LOOPBACK = Caller("the unix socket", ANYTHING), Caller("loopback", ANYTHING)

_BEARER = re.compile(r"bearer +([0-9A-Za-z._~+/-]+=*)", re.IGNORECASE)  # RFC 6750 §2.1
_CHALLENGE = 'Bearer realm="anycast-sdn"'


class Access:
    """``clock`` is monotonic, ``today`` the time of day."""

    def __init__(
        self,
        known: Tokens | None,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], datetime] = lambda: datetime.now(UTC),
        report: Callable[[Event], None] = lambda event: None,
    ) -> None:
        """``known``: None without a file of tokens; ``report`` gets the events."""
        self._tokens = known
        self._clock = clock
        self._today = today
        self._report = report
        self._limits: dict[str, _Limit] = {}  # by the name of the entry, of those that were used
        self._failures: dict[str, TokenBucket] = {}  # by address, those that failed last at the end
        self._failed = 0  # since that was last reported
        self._reported_at = -math.inf

    @property
    def by_tokens(self) -> bool:
        return self._tokens is not None

    def replace(self, known: Tokens) -> None:
        """The file was read again.  Limits of entries that are as they were go on."""
        self._tokens = known
        self._limits = {name: limit for name, limit in self._limits.items() if known.named(name)}

    @contextmanager
    def admitted(self, peer: str, authorization: str | None, certificate: Sequence[str] = ()) -> Iterator[Caller]:
        """The sender of a request, which is being worked on in this context.  Raises Problem.

        ``certificate``: the names in the verified client certificate.
        """
        try:
            entry = self._entry(peer, authorization, certificate)
        except _Unknown as unknown:
            raise self._failure(peer, str(unknown)) from None
        if entry is None:
            yield self._by_place(peer)
            return
        limit = self._limits.get(entry.name)
        if limit is None or limit.entry != entry:
            limit = self._limits[entry.name] = _Limit(entry, self._clock())
        limit.begin(self._clock())
        try:
            yield entry.caller
        finally:
            limit.end()

    def still_admits(
        self, caller: Caller, peer: str, authorization: str | None, certificate: Sequence[str] = ()
    ) -> bool:
        """Would a request like that of ``caller``, who was admitted by these, be served now as it was then?"""
        try:
            entry = self._entry(peer, authorization, certificate)
            return (entry.caller if entry else self._by_place(peer)) == caller
        except (_Unknown, Problem):
            return False

    # ---------------------------------------------------------------- who it is

    def _by_place(self, peer: str) -> Caller:
        if peer == UNIX:
            return BY_UNIX
        if self._tokens is not None:
            return NOBODY
        if ipaddress.ip_network(peer).is_loopback:
            return BY_LOOPBACK
        raise Problem(
            403,
            "without tokens this controller serves its own machine alone; 'anycast-sdn token add' makes one there, "
            "and SIGHUP lets the controller read it",
        )

    def _entry(self, peer: str, authorization: str | None, certificate: Sequence[str]) -> Token | None:
        """None: there is none, and none was presented.  Raises _Unknown, Problem."""
        known = self._tokens
        if authorization is None:
            found = known.of_certificate(certificate) if known else None
            return None if found and found.has_expired(self._today()) else found
        if known is None:
            self._by_place(peer)  # raises for other machines
        given = _BEARER.fullmatch(authorization) if len(authorization) <= tokens.LONGEST else None
        if given is None:
            raise _Unknown("the Authorization field is not a bearer token")
        found = known.of_secret(given[1]) if known else None
        if found is None:
            raise _Unknown("the token is not known here: it was revoked, or is another controller's")
        if found.has_expired(self._today()):
            raise _Unknown(f"the token {found.name} has expired")
        return found

    # ---------------------------------------------------------------- failures

    def _failure(self, peer: str, reason: str) -> Problem:
        now = self._clock()
        self._failed += 1
        if now - self._reported_at >= QUIET_S:
            self._report(RestRefused(peer, reason, self._failed))
            self._reported_at, self._failed = now, 0
        bucket = self._failures.pop(peer, None) or TokenBucket(FAILURES_PER_S, FAILURES, now)
        while len(self._failures) >= MAX_ADDRESSES:
            del self._failures[next(iter(self._failures))]
        self._failures[peer] = bucket
        if not bucket.take(now):
            wait = {"Retry-After": str(math.ceil(1 / FAILURES_PER_S))}
            return Problem(429, "too many requests of this address had no valid token", headers=wait)
        return unauthorized(reason, "invalid_token")


class _Unknown(Exception):
    """What was presented is not valid: why."""


class _Limit:
    """How many requests one entry may send, and have answered at the same time."""

    def __init__(self, entry: Token, now: float) -> None:
        self.entry = entry
        self._rate = TokenBucket(entry.requests_per_s, entry.burst, now)
        self._at_work = 0

    def begin(self, now: float) -> None:
        """Raises Problem."""
        entry = self.entry
        if self._at_work >= entry.concurrent:
            reason = f"{entry.name} has {self._at_work} requests that are being answered, which is its limit"
            raise Problem(429, reason, headers={"Retry-After": "1"})
        if not self._rate.take(now):
            wait = math.ceil(1 / entry.requests_per_s)
            reason = f"{entry.name} may send {entry.requests_per_s:g} requests a second, and {entry.burst} at once"
            raise Problem(429, reason, headers={"Retry-After": str(wait)})
        self._at_work += 1

    def end(self) -> None:
        self._at_work -= 1


def check_target(target: str) -> None:
    """Raises Problem when a request's target has a token in it: targets are logged, stored and handed on everywhere."""
    if has_token(unquote(target)):
        raise Problem(400, "a token does not belong in a URL, and is not taken from there: revoke it, it was exposed")


# -------------------------------------------------------------------------------- what it may do


def caller(request: Request) -> Caller:
    found: Any = request.environ.get(CALLER, NOBODY)
    return found if isinstance(found, Caller) else NOBODY


def check(request: Request, need: Need, group: str = "", address: str | Address | None = None) -> None:
    """Raises Problem when the sender of this request may not do what needs this.

    ``group``, ``address``: those of the resource, if it belongs to a group or to a server.
    """
    server = _packed(address) if isinstance(address, str) else address
    check_caller(caller(request), need, group, server)


def check_caller(who: Caller, need: Need, group: str = "", address: Address | None = None) -> None:
    """As ``check``, for what is known only when the request has been read."""
    if who.may(need, group, address):
        return
    if who is NOBODY:
        raise unauthorized("this needs a token, as Authorization: Bearer ...")
    raise _forbidden(who, need, group)


def unauthorized(reason: str, error: str = "") -> Problem:
    """RFC 6750 §3: a request without a token is told no error."""
    challenge = f'{_CHALLENGE}, error="{error}"' if error else _CHALLENGE
    return Problem(401, reason, headers={"WWW-Authenticate": challenge})


def _forbidden(who: Caller, need: Need, group: str) -> Problem:
    of_group = f"enrol:{group}"
    enrol = of_group if tokens.is_scope(of_group) else "enrol:GROUP"  # what a path says need not be a group's name
    wanted = {Need.ADMIN: "admin", Need.ENROL: enrol}.get(need, "read")
    has = ", ".join(sorted(who.scopes))
    reason = f"this needs the scope {wanted}; {who.name} has {has}"
    if need is not Need.ADMIN and who.may(need, group, next(iter(who.servers), None)):
        bound = ", ".join(sorted(map(text, who.servers)))
        reason = f"{who.name} is bound to {bound}: of the servers of this group it may use that alone"
    challenge = f'{_CHALLENGE}, error="insufficient_scope", scope="{wanted}"'
    return Problem(403, reason, headers={"WWW-Authenticate": challenge})


def _packed(address: str) -> Address | None:
    """None is bound to nobody: what is no address is reported by whoever handles the request."""
    try:
        return packed(address)
    except ValueError:
        return None
