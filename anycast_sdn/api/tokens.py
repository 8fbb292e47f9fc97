"""Tokens: who may do what over REST.  Values only: no file, no clock and no randomness here.

The rules this file keeps:

- A token is random (256 bits) and made by us: nobody can guess it, so its SHA-256 needs neither salt nor stretching.
  Only the SHA-256 is kept.
- An entry stands for a bearer token or for the name in a client certificate, never for both.
- What an entry may do is a set of scopes: ``read`` everything that is shown; ``enrol:GROUP`` (``enrol:*``: any group)
  change and read the servers of a group; ``admin`` everything.  An entry that is bound to addresses of servers enrols
  these and no others.
- The file has an entry in each line, as JSON: a large one is read in slices.  Empty lines and lines that begin with #
  are for people; a change of the file by us drops them.
- No text that is made here has a token in it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from anycast_sdn.core.model import Address, ConfigurationError, packed, text
from anycast_sdn.core.redaction import PREFIX

LONGEST = 512  # characters of a token that is presented
MOST = 10_000  # entries in a file

NAME = r"[0-9A-Za-z][0-9A-Za-z._@-]{0,63}"
SCOPE = r"read|admin|enrol:(?:\*|[0-9A-Za-z._-]{1,64})"


class TokensError(ConfigurationError):
    """A token or its file is not as it has to be."""


class Need(Enum):
    """What a resource requires of those who ask for it."""

    NOTHING = "nothing"
    READ = "read"
    ENROL = "enrol"  # in the group of the resource
    ADMIN = "admin"
    OWN = "read, or enrol"  # any scope: whoever handles it checks by what it is about (``access.check_caller``)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who has sent a request, as far as that is known, and what it may do."""

    name: str  # "" for nobody
    scopes: frozenset[str] = frozenset()
    servers: frozenset[Address] = frozenset()  # whose enrolment it may change; empty: any in its groups

    def may(self, need: Need, group: str = "", address: Address | None = None) -> bool:
        """``group`` and ``address`` of a server: what the resource belongs to, if it does."""
        if need is Need.NOTHING or "admin" in self.scopes or (need is Need.OWN and self.scopes):
            return True
        if need is Need.READ and "read" in self.scopes:
            return True
        return need is not Need.ADMIN and self._enrols(group, address)

    def _enrols(self, group: str, address: Address | None) -> bool:
        if not group or self.scopes.isdisjoint((f"enrol:{group}", "enrol:*")):
            return False
        return not self.servers or address in self.servers


NOBODY = Caller("")
ANYTHING = frozenset({"admin"})


class Token(BaseModel):
    """One entry of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=f"^{NAME}$")]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    certificate: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    scopes: Annotated[tuple[Annotated[str, Field(pattern=f"^(?:{SCOPE})$")], ...], Field(min_length=1, max_length=1000)]
    servers: Annotated[tuple[str, ...], Field(max_length=1000)] = ()
    created: AwareDatetime | None = None
    expires: AwareDatetime | None = None
    requests_per_s: Annotated[float, Field(gt=0, le=1e6)] = 100
    burst: Annotated[int, Field(ge=1, le=1_000_000)] = 500  # requests at once
    concurrent: Annotated[int, Field(ge=1, le=1000)] = 32  # requests that are being answered

    @model_validator(mode="after")
    def _is_whole(self) -> Token:
        if (self.sha256 is None) == (self.certificate is None):
            raise ValueError("an entry has either sha256 or certificate")
        for server in self.servers:
            packed(server)
        if self.servers and not any(scope.startswith("enrol:") for scope in self.scopes):
            raise ValueError("only an entry with a scope enrol:GROUP can be bound to servers")
        if self.servers and "admin" in self.scopes:
            raise ValueError("an entry with scope admin may do everything, so it cannot be bound to servers")
        return self

    @property
    def caller(self) -> Caller:
        return Caller(self.name, frozenset(self.scopes), frozenset(map(packed, self.servers)))

    def has_expired(self, at: datetime) -> bool:
        return self.expires is not None and self.expires <= at


class Tokens:
    """All entries of a file; immutable."""

    def __init__(self, entries: Iterable[Token] = (), turn: Callable[[], None] = lambda: None) -> None:
        """``turn`` is called after each one.  Raises TokensError when two have one name, token or certificate."""
        self._by_name: dict[str, Token] = {}
        self._by_digest: dict[bytes, Token] = {}
        self._by_certificate: dict[str, Token] = {}
        for entry in entries:
            if entry.name in self._by_name:
                raise TokensError(f"there are two entries of the name {entry.name}")
            self._by_name[entry.name] = entry
            if entry.sha256 is not None and self._by_digest.setdefault(bytes.fromhex(entry.sha256), entry) != entry:
                raise TokensError(f"the entry {entry.name} has the same token as another one")
            certificate = entry.certificate and canonical(entry.certificate)
            if certificate and self._by_certificate.setdefault(certificate, entry) != entry:
                raise TokensError(f"the entry {entry.name} has the same certificate as another one")
            turn()

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Token]:
        return iter(self._by_name.values())

    def named(self, name: str) -> Token | None:
        return self._by_name.get(name)

    def of_secret(self, secret: str) -> Token | None:
        """The entry of a token that somebody has presented.

        How long it takes tells at most how the SHA-256 of what was presented relates to those that are kept, from
        which no token follows.
        """
        digest = hashlib.sha256(secret.encode()).digest()
        found = self._by_digest.get(digest)
        return found if found and hmac.compare_digest(bytes.fromhex(found.sha256 or ""), digest) else None

    def of_certificate(self, names: Iterable[str]) -> Token | None:
        """The entry of a verified client certificate with these names; the first that has one."""
        return next((found for name in names if (found := self._by_certificate.get(canonical(name)))), None)

    def with_entry(self, entry: Token) -> Tokens:
        if entry.name in self._by_name:
            raise TokensError(f"there is a token of the name {entry.name} already: revoke it, or take another name")
        return Tokens([*self, entry])

    def without(self, name: str) -> Tokens:
        if name not in self._by_name:
            raise TokensError(f"there is no token of {named(name)}")
        return Tokens(entry for entry in self if entry.name != name)


def is_scope(given: str) -> bool:
    return re.fullmatch(SCOPE, given) is not None


def named(name: str) -> str:
    """A name in a sentence; what may be a token that was taken for its name is not repeated."""
    return "this name" if PREFIX in name else f"the name {name!a}"


def canonical(certificate: str) -> str:
    """Names of hosts and addresses have many spellings."""
    try:
        return text(packed(certificate))
    except ValueError:
        return certificate.lower().removesuffix(".")


def secret_of(random: bytes) -> str:
    """The token that is made of 32 random bytes."""
    return PREFIX + base64.urlsafe_b64encode(random).decode().rstrip("=")


def sha256_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


# ------------------------------------------------------------------------------ the file's text

_HEAD = "# Who may use REST of anycast-sdn; changed by 'anycast-sdn token'."


def parse(content: bytes, turn: Callable[[], None] = lambda: None) -> Tokens:
    """``turn`` is called after each entry.  Raises TokensError: where, and why, and nothing of the content itself."""
    entries: list[Token] = []
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip() and not line.startswith(b"#"):
            try:
                entries.append(_entry(line))
            except TokensError as error:
                raise TokensError(f"line {number}: {error}") from None
            turn()
        if len(entries) > MOST:
            raise TokensError(f"it has more than {MOST} entries")
    return Tokens(entries, turn)


def _entry(line: bytes) -> Token:
    try:
        return Token.model_validate(json.loads(line.decode(), object_pairs_hook=_without_duplicates))
    except RecursionError:
        raise TokensError("it is nested too deeply") from None
    except ValidationError as error:
        raise TokensError(reason(error)) from None
    except UnicodeDecodeError:
        raise TokensError("it is not UTF-8") from None
    except ValueError as error:
        raise TokensError(f"it is not JSON: {error}") from None


def reason(error: ValidationError) -> str:
    """The first thing that is wrong, and where; the value itself may be a secret."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"]))
    said = first["msg"].removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


def written(tokens: Tokens) -> bytes:
    """What ``parse`` reads."""
    lines = [json.dumps(entry.model_dump(mode="json", exclude_none=True)) for entry in tokens]
    return "".join(f"{line}\n" for line in [_HEAD, *lines]).encode()


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member is given twice")
    return members
