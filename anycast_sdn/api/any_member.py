"""REST on any member of a cluster: what the leader has to answer is asked there.

Theory of operation.  ``AnyMember`` is the WSGI application of what clients connect to, ``BetweenMembers`` that of what
other members connect to.  The first hands a request to this member's own application if it leads, or if the request
is about the member itself (``OWN``); otherwise it passes it on to the leader, and the answer back.  What each member
has in a log of its own (``HISTORY``) it asks of all, and puts together.

The rules this file keeps:

- A request is passed on once: what comes from another member is answered here, or refused.
- Between members nobody is answered who does not show their secret: who shows it is believed who asks.
- Who asks is found out, and its token judged, by the member that it asks, because only that knows from where it comes;
  the leader is told the result.  What the caller may do is checked where the request is carried out.
- A client that has changed something through a member sees the change through this member, whoever leads then: the
  revision of etcd with the last answer goes along, and another leader answers when it has read that.
- A request is passed on again only if nothing was done with it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qs

from webob import Response

from anycast_sdn.api import access, held_anywhere, pages
from anycast_sdn.api.held_anywhere import HISTORY
from anycast_sdn.api.member_client import (
    AFTER,
    ANSWER_S,
    BASE,
    CALLER,
    CONNECT_S,
    MOVED,
    REVISION,
    STREAM,
    TO,
    Elsewhere,
    MemberClient,
    NoAnswer,
)
from anycast_sdn.api.member_client import Request as Passed
from anycast_sdn.api.problems import Problem, response_to
from anycast_sdn.api.reading import MAX_BODY
from anycast_sdn.api.server import PROBES, Application
from anycast_sdn.api.streams import Stream
from anycast_sdn.api.tokens import NOBODY, Caller, Need
from anycast_sdn.cluster.steering import ClusterUnreachable
from anycast_sdn.core.model import packed, text

OWN = PROBES | {"/metrics", "/v1/cluster", "/v1/events", "/v1/caller", "/openapi.json"}
OF_MEMBERS = "/v1/cluster/members/"  # what any of them can do, in etcd: also to end that nobody leads
FIELDS = ("Accept", "Content-Encoding", "Content-Type", "If-Match", "If-None-Match", "Idempotency-Key", "Last-Event-ID")
PATIENCE_S = 0.5  # for a leader, when there is none: a take-over takes less
STEP_S = 0.02
LONGEST_WAIT_S = 600.0  # that a request may ask for

StartResponse = Callable[..., Any]


class Leader(NamedTuple):
    id: str
    name: str
    client: MemberClient


class Members(Protocol):
    """What is known of the others."""

    @property
    def own(self) -> str:
        """The id of this member."""

    def name(self) -> str:
        """What it is called."""

    def leads(self) -> bool: ...

    def leader(self) -> Leader | None:
        """Another member that leads; None: nobody, or this one."""

    def others(self) -> Sequence[Leader]:
        """All other members that are there, whether they lead or not."""

    def serving(self) -> Collection[str]:
        """The names of all members that may serve flows, besides the leader: of those that are missing, too."""

    def missing(self) -> str:
        """Who leads, or why nobody does, in a sentence."""

    def revision(self) -> int:
        """That of etcd which this member knows, or has made."""

    def times_gone_back(self) -> int:
        """How often etcd was made anew: then its revisions are others."""

    def reach(self, revision: int) -> None:
        """Have what etcd had then.  Raises ClusterUnreachable."""


class AnyMember:
    """``own``: the application of this member by itself."""

    def __init__(self, own: Application, members: Members) -> None:
        self._own = own
        self._members = members
        self._seen = (0, 0, "")  # (how often etcd had gone back, revision, who showed it), last

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path in OWN or path in ("/", "/ui") or path.startswith(pages.ROOT):
            return self._own(environ, start_response)
        try:
            if path == HISTORY:
                return self._ask_all(environ, start_response)
            return self._answer(environ, start_response)
        except Problem as problem:
            response = response_to(problem, environ.get("RAW_PATH_INFO", path))
            return response(environ, start_response)  # type: ignore[no-any-return]

    def _answer(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Raises Problem."""
        passed: Passed | None = None
        problem = ""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            if self._members.leads():
                catch_up(self._members, self._after(self._members.own))
                if self._members.leads():  # others had turns
                    return self._lead(environ, start_response, passed)
            if leader := self._members.leader():
                passed = passed or _passed(environ)
                try:
                    return self._pass_on(leader, passed, start_response)
                except Elsewhere as error:
                    problem = f"{leader.name}: {error}"
                except NoAnswer as error:
                    problem = f"{leader.name}, which leads, does not answer at {leader.client.url}: {error}"
                    if error.unsure:
                        raise _unavailable(f"{problem}; whether this was done is not known") from error
            if time.monotonic() > deadline:
                if environ["PATH_INFO"].startswith(OF_MEMBERS):
                    return self._own(_with_body(environ, passed), start_response)
                raise _unavailable(f"{problem or self._members.missing()}; nothing was done")
            time.sleep(STEP_S)

    def _lead(self, environ: dict[str, Any], start_response: StartResponse, passed: Passed | None) -> Iterable[bytes]:
        answer = self._own(_with_body(environ, passed), start_response)
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            self._note(self._members.revision(), self._members.own)
        return answer

    def _ask_all(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Each member has its own answer.  Raises Problem."""
        own = _Answer()
        own.body = b"".join(self._own(environ, own.start))
        found: dict[str, Any] = {}
        name = self._members.name()
        if environ["REQUEST_METHOD"] == "GET" and own.is_of_log:
            found = ask_each(self._members.others(), _passed(environ))
            if own.status.startswith("200"):
                found[name] = json.loads(own.body)
        if not found:
            start_response(own.status, own.fields)
            return [own.body]
        shown = held_anywhere.together(found, name, self._members.serving())
        response = Response(json_body=shown, cache_control="no-store")
        return response(environ, start_response)  # type: ignore[no-any-return]

    def _pass_on(self, leader: Leader, passed: Passed, start_response: StartResponse) -> Iterable[bytes]:
        """Raises Elsewhere, NoAnswer."""
        passed = passed._replace(fields={**passed.fields, AFTER: str(self._after(leader.id))})
        reply = leader.client.ask(passed, _wait_s(passed.target))
        self._note(reply.revision, leader.id)
        start_response(reply.status, reply.fields)
        return reply.body

    def _after(self, member: str) -> int:
        """What this member must have read before it answers; 0: it knows what clients have seen."""
        gone_back, revision, shown_by = self._seen
        return revision if shown_by != member and gone_back == self._members.times_gone_back() else 0

    def _note(self, revision: int, member: str) -> None:
        self._seen = max(self._seen, (self._members.times_gone_back(), revision, member))


class _Answer:
    """Of this member by itself."""

    def __init__(self) -> None:
        self.status, self.fields, self.body = "", list[tuple[str, str]](), b""

    def start(self, status: str, fields: list[tuple[str, str]], *more: Any) -> None:
        self.status, self.fields = status, fields

    @property
    def is_of_log(self) -> bool:
        """It is what the log has, that there is none, or that it cannot be read; and no error of who asks."""
        return self.status[:3] in ("200", "404", "503")


def ask_each(members: Sequence[Leader], request: Passed) -> dict[str, Any]:
    """What these members answer by themselves, by their names; nothing of those that do not, or have nothing."""
    found: dict[str, Any] = {}

    def ask(member: Leader) -> None:
        try:
            reply = member.client.ask(request, held_anywhere.ANSWER_S - ANSWER_S)
            if reply.status.startswith("200"):
                found[member.name] = json.loads(b"".join(reply.body))
        except (Elsewhere, NoAnswer, ValueError):
            pass  # its name is in the answer

    threads = [threading.Thread(target=ask, args=[member], daemon=True) for member in members]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(held_anywhere.ANSWER_S + CONNECT_S)
    return dict(found)


class BetweenMembers:
    """``own``: as ``AnyMember``'s; ``stream``: what this member says to others, for one that listens."""

    def __init__(self, own: Application, members: Members, stream: Callable[[], Stream]) -> None:
        self._own = own
        self._members = members
        self._stream = stream

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        try:
            access.check_caller(environ[access.CALLER], Need.ADMIN)  # before anything that it says is taken for true
            if environ.get(_variable(TO)) != self._members.own:
                raise Problem(421, "another member was here", headers={MOVED: "another member was at its address"})
            if environ["PATH_INFO"] == STREAM:
                start_response("200 OK", [("Content-Type", "application/x-ndjson"), self._revision()])
                return self._stream()
            if environ["PATH_INFO"] == HISTORY:
                return self._own(environ | _client(environ), start_response)
            if not self._members.leads():
                raise Problem(503, "this member does not lead", headers={MOVED: "it does not lead"})
            # A copy: for this server, it is the other member that asks.
            environ = environ | _client(environ)
            catch_up(self._members, _after(environ))
            if not self._members.leads():  # others had turns
                raise Problem(503, "this member does not lead", headers={MOVED: "it does not lead"})
        except Problem as problem:
            response = response_to(problem, environ.get("RAW_PATH_INFO", ""))
            return response(environ, start_response)  # type: ignore[no-any-return]

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, self._revision()], *more)

        return self._own(environ, start)

    def _revision(self) -> tuple[str, str]:
        return REVISION, str(self._members.revision())


class _Read:
    """A body that was read before."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def read(self, size: int) -> bytes:
        found, self._body = self._body[:size], self._body[size:]
        return found


def _with_body(environ: dict[str, Any], passed: Passed | None) -> dict[str, Any]:
    """What was tried elsewhere is answered here all the same: its body was read then."""
    return environ | {"wsgi.input": _Read(passed.body)} if passed and passed.body else environ


def catch_up(members: Members, revision: int) -> None:
    """Returns when this member has read what etcd had then.  Raises Problem."""
    try:
        members.reach(revision)
    except ClusterUnreachable as error:
        raise _unavailable(f"this member has not read what was changed last: etcd does not answer: {error}") from error


def _unavailable(sentence: str) -> Problem:
    return Problem(503, sentence, headers={"Retry-After": "1"})


# -------------------------------------------------------------------------------- what is passed on


def _passed(environ: dict[str, Any]) -> Passed:
    """Raises Problem."""
    fields = dict(_fields(environ))
    caller: Any = environ.get(access.CALLER)
    fields[BASE] = f"{environ['wsgi.url_scheme']}://{environ['HTTP_HOST']}"
    fields[CALLER] = json.dumps([caller.name, sorted(caller.scopes), sorted(map(text, caller.servers))])
    query = environ.get("QUERY_STRING", "")
    target = environ["RAW_PATH_INFO"] + (f"?{query}" if query else "")
    return Passed(environ["REQUEST_METHOD"], target, fields, _body(environ))


def _fields(environ: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in FIELDS:
        if value := environ.get("CONTENT_TYPE" if name == "Content-Type" else _variable(name)):
            yield name, value


def _variable(name: str) -> str:
    return "HTTP_" + name.upper().replace("-", "_")


def _body(environ: dict[str, Any]) -> bytes:
    """Raises Problem."""
    declared = int(environ.get("CONTENT_LENGTH") or 0)
    is_chunked = "HTTP_TRANSFER_ENCODING" in environ
    if declared > MAX_BODY:
        raise Problem(413, f"the body may have {MAX_BODY} bytes at most")
    if not declared and not is_chunked:
        return b""
    try:
        body: bytes = environ["wsgi.input"].read(MAX_BODY + 1 if is_chunked else declared)
    except OSError as error:
        raise Problem(400, "the body did not arrive whole") from error
    if len(body) > MAX_BODY:
        raise Problem(413, f"the body may have {MAX_BODY} bytes at most")
    if len(body) < declared:
        raise Problem(400, f"the body ended after {len(body)} of {declared} bytes")
    return body


def _after(environ: dict[str, Any]) -> int:
    """Raises Problem."""
    given = environ.get(_variable(AFTER), "0")
    if not given.isdecimal():
        raise Problem(400, "what the client has seen is not said as members say it")
    return int(given)


def _client(environ: dict[str, Any]) -> dict[str, Any]:
    """Who has asked the other member, and where.  Raises Problem."""
    try:
        name, scopes, servers = json.loads(environ.get(_variable(CALLER), ""))
        caller = Caller(name, frozenset(scopes), frozenset(map(packed, servers))) if name else NOBODY
        scheme, _, host = environ.get(_variable(BASE), "").partition("://")
        return {access.CALLER: caller, "wsgi.url_scheme": scheme, "HTTP_HOST": host}
    except (ValueError, TypeError) as error:
        raise Problem(400, "who asks is not said as members say it") from error


def _wait_s(target: str) -> float:
    """How long the client wants to wait (``wait`` of operations)."""
    given = parse_qs(target.partition("?")[2]).get("wait", ["0"])[0]
    try:
        return min(max(float(given), 0.0), LONGEST_WAIT_S)
    except ValueError:
        return 0.0
