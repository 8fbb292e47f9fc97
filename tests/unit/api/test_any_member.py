"""REST on any member: the leader answers, once, and whoever is asked by a client finds out who that is."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any

import pytest
from webob import Request, Response

from anycast_sdn.api import any_member, member_client
from anycast_sdn.api.access import BY_LOOPBACK, CALLER, Access
from anycast_sdn.api.any_member import AnyMember, BetweenMembers, Leader
from anycast_sdn.api.endpoints import Endpoint
from anycast_sdn.api.hosts import Hosts
from anycast_sdn.api.member_client import STREAM, Elsewhere, MemberClient, NoAnswer
from anycast_sdn.api.member_client import Request as Passed
from anycast_sdn.api.server import Server
from anycast_sdn.api.streams import Stream
from anycast_sdn.api.tokens import NOBODY, Caller, Token, Tokens, secret_of, sha256_of
from anycast_sdn.cluster.steering import ClusterUnreachable
from anycast_sdn.core.model import packed
from tests.unit.rest_client import Client

SECRET = secret_of(bytes(32))


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(any_member, "PATIENCE_S", 0.05)


@dataclass
class Known:
    """What a member knows of the others (``Members``), as the test says."""

    own: str
    is_leader: bool = False
    other: Leader | None = None
    seen: int = 0
    gone_back: int = 0
    reached: list[int] = field(default_factory=list)
    problem: str = ""
    all_others: list[Leader] = field(default_factory=list)
    all_serving: set[str] = field(default_factory=set)

    def name(self) -> str:
        return self.own.partition("-")[0]

    def others(self) -> list[Leader]:
        return self.all_others

    def serving(self) -> set[str]:
        return self.all_serving

    def leads(self) -> bool:
        return self.is_leader

    def leader(self) -> Leader | None:
        return self.other

    def missing(self) -> str:
        return "no member leads now; there is m1"

    def revision(self) -> int:
        return self.seen

    def times_gone_back(self) -> int:
        return self.gone_back

    def reach(self, revision: int) -> None:
        if self.problem:
            raise ClusterUnreachable(self.problem)
        self.reached.append(revision)


class Said(Stream):
    """What a member says to others: two lines."""

    def __iter__(self) -> Any:
        yield b"flows 1\n"
        yield b"flows 2\n"

    def end(self) -> None:
        pass


class Member:
    """A controller with REST for clients and, on loopback, for other members."""

    def __init__(self, id: str) -> None:
        self.known = Known(id)
        self.client = Client(":memory:")
        self.asked: list[dict[str, Any]] = []
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        endpoint = Endpoint(listener, Hosts("127.0.0.1"))
        access = Access(Tokens([Token(name="m", sha256=sha256_of(SECRET), scopes=("admin",))]))
        between = BetweenMembers(self._own, self.known, Said)
        self.server = Server(between, [endpoint], access, _thread)
        self.server.start()
        self.rest = AnyMember(self._own, self.known)

    def _own(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.asked.append(environ)
        return self.client.api(environ, start_response)

    def follow(self, leader: Member, secret: str = SECRET) -> None:
        client = MemberClient(f"http://127.0.0.1:{leader.port}", leader.known.own, secret)
        self.known.is_leader = False
        self.known.other = Leader(leader.known.own, leader.known.own.partition("-")[0], client)
        self.known.all_others = [self.known.other]

    def ask(self, method: str, path: str, body: Any = None, caller: Caller = BY_LOOPBACK, **fields: str) -> Response:
        raw = b"" if body is None else json.dumps(body).encode()
        request = Request.blank(path, method=method, body=raw, content_type="application/json")
        request.headers.update({name.replace("_", "-"): value for name, value in fields.items()})
        request.environ |= {CALLER: caller, "RAW_PATH_INFO": request.environ["PATH_INFO"]}
        return request.get_response(self.rest)


def _thread(act: Callable[..., Any], *arguments: Any) -> None:
    threading.Thread(target=act, args=arguments, daemon=True).start()


@pytest.fixture
def members() -> Iterator[tuple[Member, Member]]:
    """The first leads."""
    leader, follower = Member("m0-1"), Member("m1-2")
    leader.known.is_leader = True
    follower.follow(leader)
    yield leader, follower
    leader.server.close()
    follower.server.close()


GROUP = {"prefixes": ["198.18.0.1/32"]}


def test_the_leader_answers_what_a_follower_is_asked(members: tuple[Member, Member]) -> None:
    leader, follower = members
    created = follower.ask("PUT", "/v1/groups/web", GROUP)
    assert (created.status_code, created.json["name"]) == (201, "web")
    assert created.headers["Location"] == "http://localhost/v1/groups/web"
    read = follower.ask("GET", "/v1/groups/web")
    assert read.headers["ETag"] == created.headers["ETag"] == leader.ask("GET", "/v1/groups/web").headers["ETag"]
    assert follower.ask("PUT", "/v1/groups/web", GROUP, If_Match='"another"').status_code == 412
    assert follower.ask("PUT", "/v1/groups/web", GROUP, If_Match=read.headers["ETag"]).status_code == 200
    assert follower.ask("GET", "/v1/groups?x=1").status_code == 400
    head = follower.ask("HEAD", "/v1/groups/web")
    assert (head.status_code, head.body, head.content_length) == (200, b"", read.content_length)
    assert follower.ask("DELETE", "/v1/groups/web").status_code == 204
    assert not follower.asked


OWN = ["/healthz", "/livez", "/readyz", "/metrics", "/v1/cluster", "/v1/events?type=flow", "/openapi.json", "/ui/", "/"]


@pytest.mark.parametrize("path", OWN)
def test_what_is_about_a_member_it_answers_by_itself(members: tuple[Member, Member], path: str) -> None:
    leader, follower = members
    assert follower.ask("GET", path).status_code in (200, 302)
    assert (len(leader.asked), len(follower.asked)) == (0, 1)


def test_the_member_that_is_asked_says_who_asks_and_the_leader_what_that_may_do(members: tuple[Member, Member]) -> None:
    _, follower = members
    bound = Caller("cms", frozenset({"enrol:web"}), frozenset({packed("10.2.0.10")}))
    follower.ask("PUT", "/v1/groups/web", GROUP)
    assert follower.ask("PUT", "/v1/groups/web/servers/10.2.0.10", {}, caller=bound).status_code == 201
    assert follower.ask("PUT", "/v1/groups/web/servers/10.2.0.11", {}, caller=bound).status_code == 403
    assert follower.ask("GET", "/v1/groups", caller=Caller("")).status_code == 401


def test_bodies_that_are_too_large_are_refused_before_they_are_passed_on(members: tuple[Member, Member]) -> None:
    leader, follower = members
    assert follower.ask("PUT", "/v1/groups/web", {"prefixes": ["x" * 70_000]}).status_code == 413
    assert not leader.asked


# ------------------------------------------------------------------------------ nobody answers


def test_without_a_leader_it_is_said_that_there_is_none() -> None:
    follower = Member("m1-2")
    answer = follower.ask("GET", "/v1/groups")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json["detail"] == "no member leads now; there is m1; nothing was done"
    assert follower.ask("GET", "/healthz").status_code == 200
    follower.server.close()


@pytest.mark.parametrize("verb", ["drain", "resume", "lead", "forget"])
def test_without_a_leader_any_member_does_what_gives_the_cluster_one(verb: str) -> None:
    """A member that drains while the last other one ends would stay without a leader otherwise."""
    follower = Member("m1-2")
    answer = follower.ask("POST", f"/v1/cluster/members/m1/{verb}")
    assert answer.status_code == 409
    assert answer.json["detail"] == "this controller is alone: it was started without --etcd"
    assert follower.ask("POST", f"/v1/cluster/members/m1/{verb}", caller=NOBODY).status_code == 401
    follower.server.close()


def test_a_member_that_leads_no_more_when_it_has_caught_up_answers_nothing_itself(
    members: tuple[Member, Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, follower = members
    monkeypatch.setattr(leader.known, "reach", lambda revision: setattr(leader.known, "is_leader", False))
    answer = follower.ask("PUT", "/v1/groups/web", GROUP)
    assert (answer.status_code, answer.json["detail"]) == (503, "m0: it does not lead; nothing was done")
    leader.known.is_leader = True
    assert leader.ask("PUT", "/v1/groups/web", GROUP).status_code == 503
    assert not leader.asked


def test_a_leader_that_does_not_answer_is_named(members: tuple[Member, Member]) -> None:
    leader, follower = members
    leader.server.close()
    answer = follower.ask("PUT", "/v1/groups/web", GROUP)
    assert answer.status_code == 503
    assert answer.json["detail"].startswith(f"m0, which leads, does not answer at http://127.0.0.1:{leader.port}: ")
    assert answer.json["detail"].endswith("nothing was done")


def test_whether_a_change_was_made_is_not_known_when_the_leader_ends_meanwhile(
    members: tuple[Member, Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, follower = members

    def end(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise OSError("the process ends")

    monkeypatch.setattr(leader.client, "api", end)
    answer = follower.ask("PUT", "/v1/groups/web", GROUP)
    assert answer.status_code == 503
    assert answer.json["detail"].endswith("whether this was done is not known")


def test_a_request_is_passed_on_once(members: tuple[Member, Member]) -> None:
    """Each of them takes the other for the leader."""
    leader, follower = members
    leader.follow(follower)
    answer = follower.ask("PUT", "/v1/groups/web", GROUP)
    assert (answer.status_code, answer.json["detail"]) == (503, "m0: it does not lead; nothing was done")
    assert not leader.asked
    assert not follower.asked


def test_a_member_that_has_begun_to_lead_meanwhile_answers_itself(members: tuple[Member, Member]) -> None:
    leader, follower = members
    leader.known.is_leader = False
    threading.Timer(0.02, lambda: setattr(follower.known, "is_leader", True)).start()
    any_member.PATIENCE_S = 5.0  # reset by the fixture
    assert follower.ask("PUT", "/v1/groups/web", GROUP).status_code == 201
    assert [each["REQUEST_METHOD"] for each in follower.asked] == ["PUT"]


def test_another_process_at_the_address_of_a_member_is_not_taken_for_it(members: tuple[Member, Member]) -> None:
    leader, _ = members
    client = MemberClient(f"http://127.0.0.1:{leader.port}", "m0-earlier", SECRET)
    with pytest.raises(Elsewhere, match="another member"):
        client.ask(Passed("GET", "/v1/groups", {}))
    with pytest.raises(Elsewhere, match="another member"):
        next(client.lines(1.0))


def test_who_does_not_know_the_secret_is_refused(members: tuple[Member, Member]) -> None:
    leader, follower = members
    follower.follow(leader, secret_of(bytes(31) + b"x"))
    answer = follower.ask("GET", "/v1/groups")
    assert answer.status_code == 503
    assert "it refuses this member: 401" in answer.json["detail"]
    assert not leader.asked


def test_who_shows_no_secret_at_all_is_refused_whoever_it_says_to_ask_for(members: tuple[Member, Member]) -> None:
    """Member ids are no secret: everybody who may read is shown them."""
    leader, _ = members
    forged = {member_client.TO: "m0-1", member_client.CALLER: '["root", ["admin"], []]', "Host": "127.0.0.1"}
    for method, path in (("DELETE", "/v1/groups/web"), ("GET", "/v1/groups"), ("GET", STREAM)):
        with closing(HTTPConnection("127.0.0.1", leader.port, timeout=5)) as connection:
            connection.request(method, path, headers=forged)
            answer = connection.getresponse()
            assert answer.status == 401, path
            assert "flows" not in answer.read().decode()
    assert not leader.asked


def test_what_is_no_stream_is_not_taken_for_one(
    members: tuple[Member, Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member may have too many of them."""
    leader, _ = members
    monkeypatch.setattr(leader.server, "_limit", 0)
    client = MemberClient(f"http://127.0.0.1:{leader.port}", "m0-1", SECRET)
    with pytest.raises(NoAnswer, match="it answers 503"):
        next(client.lines(1.0))


# ------------------------------------------------------------------------------ what clients have seen


def test_another_leader_answers_when_it_has_read_what_clients_have_seen(members: tuple[Member, Member]) -> None:
    leader, follower = members
    leader.known.seen = 41
    follower.ask("PUT", "/v1/groups/web", GROUP)
    follower.ask("GET", "/v1/groups")
    assert leader.known.reached == [0, 0]
    other = Member("m2-3")
    other.known.is_leader, leader.known.is_leader = True, False
    follower.follow(other)
    follower.ask("GET", "/v1/groups")
    assert other.known.reached == [41]
    other.known.problem = "no answer"
    other.known.seen = 12
    follower.known.gone_back = 1  # etcd was made anew: its revisions say nothing any more
    other.known.problem = ""
    follower.ask("GET", "/v1/groups")
    assert other.known.reached == [41, 0]
    other.server.close()


def test_so_does_a_member_that_begins_to_lead_itself(members: tuple[Member, Member]) -> None:
    leader, follower = members
    leader.known.seen = 41
    follower.ask("PUT", "/v1/groups/web", GROUP)
    follower.known.is_leader = True
    follower.ask("GET", "/v1/groups")
    assert follower.known.reached == [41]
    follower.known.problem = "timed out"
    answer = follower.ask("GET", "/v1/groups")
    assert answer.status_code == 503
    assert "etcd does not answer: timed out" in answer.json["detail"]


# ------------------------------------------------------------------------------ the client


def test_connections_are_used_again_for_what_only_reads(members: tuple[Member, Member]) -> None:
    leader, _ = members
    client = MemberClient(f"http://127.0.0.1:{leader.port}", "m0-1", SECRET)
    ports = set()
    for _ in range(3):
        assert client.ask(Passed("GET", "/v1/groups", {member_client.CALLER: '["r", ["read"], []]'})).status == "200 OK"
        ports.add(client._idle[0][1].sock.getsockname()[1])
    assert len(ports) == 1
    client._idle[0][1].sock.shutdown(2)  # as if the other end had left it
    assert client.ask(Passed("GET", "/v1/groups", {member_client.CALLER: '["r", ["read"], []]'})).status == "200 OK"


def test_what_a_member_says_to_others_ends_with_it(members: tuple[Member, Member]) -> None:
    leader, _ = members
    client = MemberClient(f"http://127.0.0.1:{leader.port}", "m0-1", SECRET)
    lines = client.lines(1.0)
    assert [next(lines) for _ in range(3)] == [b"\n", b"flows 1\n", b"flows 2\n"]
    with pytest.raises(NoAnswer):
        next(lines)
    leader.server.close()
    with pytest.raises(ConnectionRefusedError):
        next(client.lines(1.0))


def test_a_stream_whose_lines_have_no_end_is_left(
    members: tuple[Member, Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, _ = members
    client = MemberClient(f"http://127.0.0.1:{leader.port}", "m0-1", SECRET)
    monkeypatch.setattr(member_client, "LONGEST_LINE", 7)
    lines = client.lines(1.0)
    assert next(lines) == b"\n"
    with pytest.raises(NoAnswer, match="more than 7 bytes"):
        next(lines)


def test_the_stream_is_not_for_clients(members: tuple[Member, Member]) -> None:
    leader, _ = members
    assert leader.ask("GET", STREAM).status_code == 404
