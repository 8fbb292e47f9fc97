"""A client of etcd's JSON gateway (API v3): transactions, leases and watches at one of several endpoints.

The rules that it keeps:

- Whatever waits has a deadline.  While etcd elects a leader it accepts requests and answers none, so the deadline is
  short, and the next request goes to the next endpoint.
- A request that was not answered may have been carried out.  That is ``Unsure``, and it is never repeated here: whoever
  asked knows how to find out.  ``EtcdError`` is certain: nothing was changed.
- Nothing is ever read that may be out of date: all reads are linearizable.
- Green threads share one connection, a request at a time; each watch has one of its own.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from anycast_sdn.core.model import ConfigurationError

DEADLINE_S = 0.5  # an election makes requests wait; another endpoint may answer at once
LARGE_S = 5.0  # for what is long: everything below a prefix
MOST_OPERATIONS = 100  # of a transaction; etcd takes 128

# Without it a watch at a member that has lost the others is silent for ever.
_WATCH_HEADERS = {"Content-Type": "application/json", "Grpc-Metadata-hasleader": "true"}


class EtcdError(Exception):
    """etcd cannot be reached, or has refused a request: nothing was changed."""


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


class Done(NamedTuple):
    """``revision``: of etcd, after the transaction; ``succeeded``: the conditions held, and it was carried out."""

    succeeded: bool
    revision: int


class Change(NamedTuple):
    """Of a watched key; ``value`` is None when it has been deleted."""

    key: str
    value: Value | None


class Changes(NamedTuple):
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
    ) -> None:
        """Raises ConfigurationError."""
        self.endpoints = [_checked(endpoint) for endpoint in endpoints]
        self._tls = _context(tls) if any(each.startswith("https:") for each in self.endpoints) else None
        self._connect = connect
        self._at = 0  # the endpoint in use
        self._connection: http.client.HTTPConnection | None = None
        self._turn = lock or threading.Lock()

    def below(self, prefix: str) -> tuple[int, dict[str, Value]]:
        """All keys that begin so, at one revision.  Raises EtcdError."""
        answer = self._ask("kv/range", {"key": _coded(prefix), "range_end": _coded(_after(prefix))}, LARGE_S)
        return _revision(answer), {key: value for key, value in map(_pair, answer.get("kvs", ()))}

    def transact(self, conditions: Sequence[Is], operations: Sequence[Operation]) -> Done:
        """Carry out all operations if all conditions hold, else none.  Raises EtcdError, Unsure."""
        compare = [
            {"key": _coded(each.key), "target": "MOD", "result": "EQUAL", "mod_revision": each.modified}
            for each in conditions
        ]
        answer = self._ask("kv/txn", {"compare": compare, "success": list(map(_request, operations))})
        return Done(answer.get("succeeded", False), _revision(answer))

    def grant(self, seconds: int) -> int:
        """→ a new lease.  Raises EtcdError, Unsure."""
        return int(self._ask("lease/grant", {"TTL": seconds})["ID"])

    def keep_alive(self, lease: int) -> bool:
        """False: the lease has expired.  Raises EtcdError."""
        answer = self._ask("lease/keepalive", {"ID": lease})
        return int(answer.get("result", {}).get("TTL", 0)) > 0  # etcd answers 200 for a lease that it does not know

    def revoke(self, lease: int) -> None:
        """With all its keys; nothing happens where there is none.  Raises EtcdError, Unsure."""
        try:
            self._ask("lease/revoke", {"ID": lease})
        except Unsure:
            raise
        except EtcdError as error:
            if "lease not found" not in str(error):
                raise

    def watch(self, prefix: str, after: int, deaf_s: float) -> Iterator[Changes]:
        """What changes below ``prefix`` after this revision, until the connection ends: then EtcdError.

        So it does if nothing at all comes for ``deaf_s`` seconds.
        """
        request = {"key": _coded(prefix), "range_end": _coded(_after(prefix)), "start_revision": after + 1}
        body = json.dumps({"create_request": request})
        connection = self._opened(deaf_s)
        try:
            connection.request("POST", "/v3/watch", body, _WATCH_HEADERS)
            response = connection.getresponse()
            while line := response.readline():
                result = json.loads(line).get("result")
                if result is None or result.get("canceled"):
                    raise EtcdError(f"the watch was ended: {line.decode(errors='replace').strip()}")
                yield Changes(_revision(result), list(map(_change, result.get("events", ()))))
            raise EtcdError("the watch was ended")
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise EtcdError(f"{self._endpoint}: {error}") from error
        finally:
            connection.close()

    def use_another_endpoint(self) -> None:
        self._at = (self._at + 1) % len(self.endpoints)
        self._drop()

    # ---------------------------------------------------------------- requests

    @property
    def _endpoint(self) -> str:
        return self.endpoints[self._at]

    def _ask(self, path: str, body: dict[str, Any], deadline_s: float = DEADLINE_S) -> Any:
        """Raises EtcdError, Unsure."""
        with self._turn:
            try:
                if self._connection is None:
                    self._connection = self._opened(deadline_s)
            except OSError as error:
                endpoint = self._endpoint
                self.use_another_endpoint()
                raise EtcdError(f"{endpoint}: {error.strerror or error}") from error
            try:
                if self._connection.sock:
                    self._connection.sock.settimeout(deadline_s)
                self._connection.request("POST", f"/v3/{path}", json.dumps(body), {"Content-Type": "application/json"})
                response = self._connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                endpoint = self._endpoint
                self.use_another_endpoint()
                raise Unsure(f"{endpoint}: {error or type(error).__name__}") from error
            if response.status == http.client.OK:
                return answer
            if response.status == http.client.SERVICE_UNAVAILABLE or response.status >= 500:
                self.use_another_endpoint()
                raise Unsure(f"{self._endpoint}: {answer.get('error', response.status)}")
            raise EtcdError(f"{self._endpoint}: {answer.get('error', response.status)}")

    def _opened(self, deadline_s: float) -> http.client.HTTPConnection:
        """Raises OSError."""
        place = urlsplit(self._endpoint)
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


def _checked(endpoint: str) -> str:
    """Raises ConfigurationError."""
    place = urlsplit(endpoint)
    try:
        valid = place.scheme in ("http", "https") and place.hostname and place.port != 0
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
    return b64encode(text.encode()).decode()


def _after(prefix: str) -> str:
    """The first key beyond all that begin so."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def _revision(answer: Any) -> int:
    return int(answer["header"]["revision"])


def _pair(found: Any) -> tuple[str, Value]:
    text = b64decode(found.get("value", "")).decode()
    value = Value(text, int(found["create_revision"]), int(found["mod_revision"]), int(found.get("lease", 0)))
    return b64decode(found["key"]).decode(), value


def _change(event: Any) -> Change:
    if event.get("type") == "DELETE":
        return Change(b64decode(event["kv"]["key"]).decode(), None)
    return Change(*_pair(event["kv"]))


def _request(operation: Operation) -> dict[str, Any]:
    match operation:
        case Put(key, text, lease):
            return {"request_put": {"key": _coded(key), "value": _coded(text), "lease": lease}}
        case Delete(key):
            return {"request_delete_range": {"key": _coded(key)}}
        case DeleteBelow(prefix):
            return {"request_delete_range": {"key": _coded(prefix), "range_end": _coded(_after(prefix))}}
