"""A client of etcd's JSON gateway (API v3): transactions, leases and watches at one of several endpoints.

The rules that it keeps:

- Whatever waits has a deadline.  While etcd elects a leader it accepts requests and answers none, so the deadline is
  short, and the next request goes to the next endpoint.
- A change that was not answered may have been made.  That is ``Unsure``, and it is never repeated here: whoever
  asked knows how to find out.  ``EtcdError`` is certain: nothing was changed.  What only reads is repeated at each
  endpoint, and so is what could not be sent.
- Nothing is ever read that may be out of date: all reads are linearizable.
- Green threads share one connection, a request at a time; each watch has one of its own.
- A message names the endpoint that it comes from.  What etcd answers is bounded.
- Where etcd has users, a token stands for ours; what it refuses for want of one is asked again with a new one.
- An etcd whose quota is used up answers all that reads, keeps leases, and takes nothing: ``full`` says so.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.etcd.advice import FULL, advice, reason_of
from anycast_sdn.etcd.users import AUTHENTICATE, AUTHENTICATE_S, NO_USERS, User, refuses_token

DEADLINE_S = 0.5  # an election makes requests wait; another endpoint may answer at once
PAGE = 250  # keys in an answer: read and decoded in some milliseconds
MOST_OPERATIONS = 100  # of a transaction; etcd takes 128
MOST_BYTES = 64 << 20  # of an answer, or of what a watch sends at a time

# Without it a watch at a member that has lost the others is silent for ever.
_WATCH_HEADERS = {"Content-Type": "application/json", "Grpc-Metadata-hasleader": "true"}


class EtcdError(Exception):
    """etcd cannot be reached, or has refused a request: nothing was changed."""


class TokenRefused(EtcdError):
    """etcd wants a token, and has done nothing."""


class Unsure(EtcdError):
    """etcd has not answered: what was asked for may have been done, or may still be."""


class Value(NamedTuple):
    """What a key has.  ``created`` and ``modified``: the revisions at which; ``lease``: 0 without one."""

    text: str
    created: int
    modified: int
    lease: int = 0


class Put(NamedTuple):
    key: str
    text: str
    lease: int = 0


class Delete(NamedTuple):
    key: str


class DeleteBelow(NamedTuple):
    """All keys that begin so."""

    prefix: str


Operation = Put | Delete | DeleteBelow


class Is(NamedTuple):
    """A condition: the key was modified at this revision last; 0: there is no such key."""

    key: str
    modified: int


class NoneSince(NamedTuple):
    """A condition: no key that begins so has been written after this revision."""

    prefix: str
    revision: int


Condition = Is | NoneSince


class Done(NamedTuple):
    """``revision``: of etcd, after the transaction; ``succeeded``: the conditions held, and it was carried out.

    ``found``: what keys have that were asked for, if not.
    """

    succeeded: bool
    revision: int
    found: Mapping[str, Value]


class Change(NamedTuple):
    """Of a watched key; ``value`` is None when it has been deleted."""

    key: str
    value: Value | None


class Changes(NamedTuple):
    """All that changed at one revision."""

    revision: int
    changes: Sequence[Change]


class Tls(NamedTuple):
    """Files (PEM): the controller's certificate and key, and the CA of etcd's."""

    certificate: str | None
    key: str | None
    ca: str | None


class Etcd:
    """``endpoints``: http://HOST:PORT or https://HOST:PORT.

    ``connect``, ``lock``: a socket and a lock as the caller needs them: other ones in a thread than in the hub.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        tls: Tls | None = None,
        connect: Callable[..., socket.socket] = socket.create_connection,
        lock: Any = None,
        user: User | None = None,
    ) -> None:
        """Raises ConfigurationError."""
        self.endpoints = [_checked(endpoint) for endpoint in endpoints]
        self._tls = _context(tls) if any(each.startswith("https:") for each in self.endpoints) else None
        self._connect = connect
        self._user = user
        self._token = ""  # that stands for the user; "" while etcd wants none
        self._at = 0  # the endpoint in use
        self._has_certificate = bool(tls and tls.certificate)
        self._answering: set[str] = set()  # endpoints that have answered
        self._connection: http.client.HTTPConnection | None = None
        self._turn = lock or threading.Lock()
        self.written = 0  # the revision after the last transaction that was carried out
        self.full = ""  # what etcd has said when it took nothing, because its quota is used up; "" since it takes

    def below(self, prefix: str, pause: Callable[[], None] = lambda: None) -> tuple[int, dict[str, Value]]:
        """All keys that begin so, at one revision; ``pause``: called between pages.  Raises EtcdError."""
        found: dict[str, Value] = {}
        start, revision = prefix, 0
        while True:
            request = {"key": _coded(start), "range_end": _coded(_after(prefix)), "limit": PAGE, "revision": revision}
            answer = self._ask("kv/range", request, repeat=True)
            revision = revision or _revision(answer)
            found.update(map(_pair, answer.get("kvs", ())))
            if not answer.get("more"):
                return revision, found
            start = next(reversed(found)) + "\0"
            pause()

    def read(self, key: str, revision: int = 0) -> Value | None:
        """What the key has, or had at this revision; None: there is no such key.  Raises EtcdError."""
        answer = self._ask("kv/range", {"key": _coded(key), "revision": revision}, repeat=True)
        return next((_pair(found)[1] for found in answer.get("kvs", ())), None)

    def transact(
        self, conditions: Sequence[Condition], operations: Sequence[Operation], otherwise: Sequence[str] = ()
    ) -> Done:
        """Carry out all operations if all conditions hold; if not, none, and read these keys.

        Raises EtcdError, Unsure.
        """
        reads = [{"request_range": {"key": _coded(key)}} for key in otherwise]
        compare, success = list(map(_compare, conditions)), list(map(_request, operations))
        answer = self._ask("kv/txn", {"compare": compare, "success": success, "failure": reads})
        if any(isinstance(each, Put) for each in operations):  # it deletes even when it is full
            self.full = ""
        succeeded = answer.get("succeeded", False)
        self.written = _revision(answer) if succeeded else self.written
        found = () if succeeded else (each.get("response_range", {}) for each in answer.get("responses", ()))
        return Done(succeeded, _revision(answer), dict(_pair(kv) for each in found for kv in each.get("kvs", ())))

    def grant(self, seconds: int) -> int:
        """→ a new lease.  Raises EtcdError, Unsure."""
        return int(self._ask("lease/grant", {"TTL": seconds})["ID"])

    def keep_alive(self, lease: int) -> bool:
        """False: the lease has expired.  Raises EtcdError."""
        answer = self._ask("lease/keepalive", {"ID": lease}, repeat=True)
        return int(answer.get("result", {}).get("TTL", 0)) > 0  # etcd answers 200 for a lease that it does not know

    def revoke(self, lease: int) -> None:
        """With all its keys; nothing happens where there is none.  Raises EtcdError, Unsure."""
        try:
            self._ask("lease/revoke", {"ID": lease}, repeat=True)
        except Unsure:
            raise
        except EtcdError as error:
            if "lease not found" not in str(error):
                raise

    def compact(self, revision: int) -> None:
        """What was before this revision may be forgotten, of all keys of etcd.  Raises EtcdError."""
        try:
            self._ask("kv/compaction", {"revision": revision}, repeat=True)
        except EtcdError as error:
            if "has been compacted" not in str(error):
                raise

    def watch(self, prefix: str, after: int, deaf_s: float) -> Iterator[Changes]:
        """What changes below ``prefix`` after this revision, until the connection ends: then EtcdError.

        So it does if nothing at all comes for ``deaf_s`` seconds, and if etcd has forgotten what was at that revision.
        """
        request = {"key": _coded(prefix), "range_end": _coded(_after(prefix)), "start_revision": after + 1}
        body = json.dumps({"create_request": request})
        endpoint = self._endpoint
        try:
            connection = self._opened(endpoint, deaf_s)
        except OSError as error:
            raise EtcdError(f"{endpoint}: {reason_of(error)}") from error
        try:
            connection.request("POST", "/v3/watch", body, {**_WATCH_HEADERS, **self._fields()})
            response = connection.getresponse()
            while line := response.readline(MOST_BYTES):
                result = json.loads(line).get("result")
                if result is None or result.get("canceled"):
                    said = line.decode(errors="replace").strip()[:200]
                    raise EtcdError(f"{endpoint}: the watch was ended: {said}")
                by_revision: dict[int, list[Any]] = {}
                for event in result.get("events", ()):  # of several revisions, each of them whole
                    by_revision.setdefault(int(event["kv"]["mod_revision"]), []).append(event)
                for revision, events in by_revision.items():
                    yield Changes(revision, list(map(_change, events)))
            raise EtcdError(f"{endpoint}: the watch was ended")
        except (OSError, http.client.HTTPException, ValueError, KeyError, AttributeError) as error:
            raise EtcdError(f"{endpoint}: {reason_of(error)}") from error
        finally:
            connection.close()

    def problem_of(self, endpoint: str) -> str:
        """Why this one is not healthy; "" if it is."""
        try:
            connection = self._opened(endpoint, DEADLINE_S)
        except OSError as error:
            return reason_of(error)
        try:
            connection.request("GET", "/health")
            answer = json.loads(_content(connection.getresponse(), time.monotonic() + DEADLINE_S))
            healthy = str(answer.get("health")).lower() == "true"
            return "" if healthy else str(answer.get("reason") or "it says that it is not healthy")
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            return reason_of(error)
        finally:
            connection.close()

    def use_another_endpoint(self) -> None:
        self._at = (self._at + 1) % len(self.endpoints)
        self._drop()

    # ---------------------------------------------------------------- requests

    @property
    def _endpoint(self) -> str:
        return self.endpoints[self._at]

    @property
    def has_asked_for_user(self) -> bool:
        """If not, whoever reaches it may do anything there."""
        return bool(self._token)

    def _fields(self) -> dict[str, str]:
        return {"Authorization": self._token} if self._token else {}

    def _ask(self, path: str, body: dict[str, Any], repeat: bool = False) -> Any:
        """``repeat``: it changes nothing, so another endpoint may be asked the same.  Raises EtcdError, Unsure."""
        text = json.dumps(body)
        with self._turn:
            try:
                return self._tried(path, text, repeat)
            except TokenRefused:
                if not self._user:
                    raise
                self._authenticate(self._user)
                return self._tried(path, text, repeat)

    def _authenticate(self, user: User) -> None:
        """Raises EtcdError."""
        self._token = ""
        try:
            text = json.dumps({"name": user.name, "password": user.password()})
            self._token = str(self._tried(AUTHENTICATE, text, repeat=True)["token"])
        except (Unsure, ConfigurationError, KeyError) as error:  # what this is for was not even asked
            raise EtcdError(f"no token for the user {user.name}: {error}") from error
        except EtcdError as error:
            if NO_USERS not in str(error):  # it had
                raise

    def _tried(self, path: str, text: str, repeat: bool) -> Any:
        """At one endpoint after the other.  Raises EtcdError, Unsure."""
        for last in [*[False] * max(1, len(self.endpoints) - 1), True]:  # at least twice: etcd may have restarted
            endpoint = self._endpoint
            try:
                return self._answered(endpoint, path, text)
            except Unsure:
                self.use_another_endpoint()
                if last or not repeat:
                    raise
            except OSError as error:  # it was not sent
                self.use_another_endpoint()
                if last:
                    ended = isinstance(error, ssl.SSLZeroReturnError | ssl.SSLEOFError | ConnectionResetError)
                    is_tls = endpoint.startswith("https:") and endpoint not in self._answering
                    hint = " (if it does not speak TLS: write http://)" if ended and is_tls else ""
                    raise EtcdError(f"{endpoint}: {reason_of(error)}{hint}") from error
        raise AssertionError

    def _answered(self, endpoint: str, path: str, text: str) -> Any:
        """Raises OSError if the request could not be sent, EtcdError, Unsure."""
        within_s = AUTHENTICATE_S if path == AUTHENTICATE else DEADLINE_S
        ends_at = time.monotonic() + within_s
        if self._connection is None or self._connection.sock is None:
            self._connection = self._opened(endpoint, DEADLINE_S)
        connection = self._connection  # others may go to another endpoint meanwhile
        try:
            connection.sock.settimeout(within_s)
            fields = {"Content-Type": "application/json", **self._fields()}
            connection.request("POST", f"/v3/{path}", text, fields)
            response = connection.getresponse()
            content = _content(response, ends_at)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, ssl.SSLError) and "ALERT" in str(error):  # it refuses our certificate
                self._drop()
                raise EtcdError(f"{endpoint}: {reason_of(error)}") from error
            raise Unsure(f"{endpoint}: {reason_of(error)}{self._hint(endpoint, error)}") from error
        try:
            answer = json.loads(content)
            said = str(answer.get("error", response.status))
        except (ValueError, AttributeError):
            answer, said = {}, f"{response.status} {content[:100].decode(errors='replace').strip()!a}"
        is_ours = "header" in answer or "result" in answer
        if response.status == http.client.OK and is_ours and "error" not in answer:  # it may come after a head of 200
            self._answering.add(endpoint)
            return answer
        if response.status >= 500:
            raise Unsure(f"{endpoint}: {said}")
        if response.status == http.client.OK:
            self._drop()
            raise Unsure(f"{endpoint}: not an answer of etcd: {said}")
        reason = f"{endpoint}: {said}{advice(said)}"
        if FULL in said:
            self.full = self.full or reason  # each endpoint would say so
        raise TokenRefused(reason) if refuses_token(said) else EtcdError(reason)

    def _hint(self, endpoint: str, error: Exception) -> str:
        """What may be wrong where an endpoint ends the first connection without a word."""
        if endpoint in self._answering or isinstance(error, TimeoutError):
            return ""
        if endpoint.startswith("http:"):
            return " (if it speaks TLS: write https://)"
        return "" if self._has_certificate else " (if it wants a certificate: --etcd-cert and --etcd-key)"

    def _opened(self, endpoint: str, deadline_s: float) -> http.client.HTTPConnection:
        """Raises OSError."""
        place = urlsplit(endpoint)
        host, port = place.hostname or "", place.port or 2379
        connection: http.client.HTTPConnection
        if place.scheme == "https":
            connection = http.client.HTTPSConnection(host, port, timeout=deadline_s, context=self._tls)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=deadline_s)
        connection._create_connection = self._connect  # type: ignore[attr-defined]
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _drop(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None


def _content(response: http.client.HTTPResponse, ends_at: float) -> bytes:
    """Raises OSError, also for one that is too large or comes too slowly."""
    content = bytearray()
    while part := response.read1(1 << 16):
        content += part
        if len(content) > MOST_BYTES:
            raise OSError(f"it answers more than {MOST_BYTES >> 20} MiB")
        if time.monotonic() > ends_at:
            raise TimeoutError("timed out")
    response.close()  # read1 does not, and a connection takes no other request before
    return bytes(content)


def _checked(endpoint: str) -> str:
    """Raises ConfigurationError."""
    place = urlsplit(endpoint)
    try:
        valid = place.scheme in ("http", "https") and place.hostname and place.port != 0 and place.path in ("", "/")
    except ValueError:
        valid = False
    if not valid:
        raise ConfigurationError(f"--etcd {endpoint}: write http://HOST:PORT or https://HOST:PORT")
    return endpoint.rstrip("/")


def _context(tls: Tls | None) -> ssl.SSLContext:
    """Raises ConfigurationError."""
    try:
        context = ssl.create_default_context(cafile=tls.ca if tls else None)
        if tls and tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"the files of --etcd-cert, --etcd-key and --etcd-ca: {error}") from error
    return context


def _coded(text: str) -> str:
    return b64encode(text.encode(errors="surrogateescape")).decode()


def _key(found: Any) -> str:
    """Another program may have written one that is no text: it stays the same key, and changes nothing else."""
    return b64decode(found["key"]).decode(errors="surrogateescape")


def _after(prefix: str) -> str:
    """The first key beyond all that begin so."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def _revision(answer: Any) -> int:
    return int(answer["header"]["revision"])


def _pair(found: Any) -> tuple[str, Value]:
    text = b64decode(found.get("value", "")).decode(errors="replace")
    value = Value(text, int(found["create_revision"]), int(found["mod_revision"]), int(found.get("lease", 0)))
    return _key(found), value


def _change(event: Any) -> Change:
    if event.get("type") == "DELETE":
        return Change(_key(event["kv"]), None)
    return Change(*_pair(event["kv"]))


def _compare(condition: Condition) -> dict[str, Any]:
    match condition:
        case Is(key, modified):
            return {"key": _coded(key), "target": "MOD", "result": "EQUAL", "mod_revision": modified}
        case NoneSince(prefix, revision):
            those = {"key": _coded(prefix), "range_end": _coded(_after(prefix))}
            return {**those, "target": "MOD", "result": "LESS", "mod_revision": revision + 1}


def _request(operation: Operation) -> dict[str, Any]:
    match operation:
        case Put(key, text, lease):
            return {"request_put": {"key": _coded(key), "value": _coded(text), "lease": lease}}
        case Delete(key):
            return {"request_delete_range": {"key": _coded(key)}}
        case DeleteBelow(prefix):
            return {"request_delete_range": {"key": _coded(prefix), "range_end": _coded(_after(prefix))}}
