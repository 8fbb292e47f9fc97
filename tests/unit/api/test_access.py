"""Who a request comes from, and the limits of those who send it."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
from webob import Request

from anycast_sdn.api import access, tokens
from anycast_sdn.api.access import BY_LOOPBACK, BY_UNIX, CALLER, FAILURES, UNIX, Access
from anycast_sdn.api.problems import Problem
from anycast_sdn.api.tokens import NOBODY, Caller, Need, Token, Tokens
from anycast_sdn.core.controller_events import RestRefused
from anycast_sdn.core.events import Event
from anycast_sdn.core.model import packed

SECRET, OTHER = (tokens.secret_of(bytes([number]) * 32) for number in (1, 2))
FAR = "192.0.2.7"


def entry(name: str = "ci", secret: str = SECRET, **members: Any) -> Token:
    return Token.model_validate({"name": name, "sha256": tokens.sha256_of(secret), "scopes": ["read"]} | members)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def caller(access: Access, peer: str = FAR, given: str | None = None, certificate: tuple[str, ...] = ()) -> Caller:
    with access.admitted(peer, given, certificate) as found:
        return found


def refused(access: Access, peer: str = FAR, given: str | None = None) -> Problem:
    with pytest.raises(Problem) as raised, access.admitted(peer, given):
        pass
    return raised.value


def test_without_tokens_only_this_machine_is_served() -> None:
    nothing = Access(None)
    for local in ("127.0.0.1", "127.8.9.1", "::1"):
        assert caller(nothing, local) == BY_LOOPBACK
    assert caller(nothing, UNIX) == BY_UNIX
    for far in (FAR, "2001:db8::/64", "10.0.0.1", "fe80::/64", "0.0.0.0"):
        assert refused(nothing, far).status == 403
        assert refused(nothing, far, f"Bearer {SECRET}").status == 403
    assert refused(nothing, "127.0.0.1", f"Bearer {SECRET}").status == 401  # whoever presents something is checked


def test_with_tokens_everybody_needs_one_but_for_the_unix_socket() -> None:
    for known in (Tokens([entry()]), Tokens()):  # also when the last one was revoked
        some = Access(known)
        assert caller(some, "127.0.0.1") == NOBODY
        assert caller(some) == NOBODY
        assert caller(some, UNIX) == BY_UNIX
        assert refused(some, UNIX, "Bearer x").status == 401


@pytest.mark.parametrize("given", [
    "", "Bearer", "Bearer ", f"Basic {SECRET}", SECRET, f"Bearer {SECRET} ", f"Bearer {SECRET}, Bearer {SECRET}",
    f"Bearer {SECRET[:-1]}", f"Bearer {SECRET}=", "Bearer " + "a" * 100_000, "Bearer t\u00f6ken", f"Bearer\t{SECRET}",
    "Bearer \x00", f"Bearer  {OTHER}", f"Token {SECRET}", tokens.sha256_of(SECRET),
])  # fmt: skip
def test_what_is_not_one_known_token_is_refused(given: str) -> None:
    problem = refused(Access(Tokens([entry()])), given=given)
    assert problem.status == 401
    assert problem.headers["WWW-Authenticate"] == 'Bearer realm="anycast-sdn", error="invalid_token"'
    assert SECRET not in str(problem)


def test_a_token_is_known_however_its_scheme_is_written() -> None:
    some = Access(Tokens([entry()]))
    for given in (f"Bearer {SECRET}", f"bearer {SECRET}", f"BEARER  {SECRET}"):
        assert caller(some, given=given).name == "ci"


def test_an_expired_token_is_refused_from_its_moment_on() -> None:
    today = datetime(2027, 1, 31, tzinfo=UTC)
    for expires, status in ((today, 401), (today.replace(year=2028), 200)):
        some = Access(Tokens([entry(expires=expires)]), today=lambda: today)
        if status == 401:
            assert "has expired" in str(refused(some, given=f"Bearer {SECRET}"))
        else:
            assert caller(some, given=f"Bearer {SECRET}").name == "ci"


def test_a_certificate_has_the_rights_of_its_entry_and_a_token_counts_before_it() -> None:
    some = Access(Tokens([entry(), Token(name="web1", certificate="web1.example", scopes=("enrol:web",))]))
    assert caller(some, certificate=("web1.example",)).scopes == {"enrol:web"}
    assert caller(some, certificate=("web2.example",)) == NOBODY
    assert caller(some, given=f"Bearer {SECRET}", certificate=("web1.example",)).name == "ci"
    assert caller(Access(None), "127.0.0.1", certificate=("web1.example",)) == BY_LOOPBACK


def test_tokens_that_were_replaced_are_known_no_more() -> None:
    some = Access(Tokens([entry()]))
    some.replace(Tokens([entry("new", OTHER)]))
    assert refused(some, given=f"Bearer {SECRET}").status == 401
    assert caller(some, given=f"Bearer {OTHER}").name == "new"


def test_ten_thousand_failures_are_limited_by_address_and_reported_once_a_minute() -> None:
    clock, reported = Clock(), list[Event]()
    some = Access(Tokens([entry()]), clock, report=reported.append)
    statuses = [refused(some, given=f"Bearer {OTHER}").status for _ in range(10_000)]
    assert statuses == [401] * FAILURES + [429] * (10_000 - FAILURES)
    assert refused(some, given=f"Bearer {OTHER}").headers == {"Retry-After": "1"}
    assert refused(some, "192.0.2.8", f"Bearer {OTHER}").status == 401
    assert caller(some, given=f"Bearer {SECRET}").name == "ci"  # an address may be a proxy's
    [first] = reported
    assert OTHER not in str(first)
    clock.now += 60
    assert refused(some, given=f"Bearer {OTHER}").status == 401
    assert isinstance(reported[1], RestRefused)
    assert reported[1].refused == 10_000 + 2


def test_the_failures_of_many_addresses_take_little_memory() -> None:
    some = Access(Tokens(), Clock())
    for number in range(5000):
        refused(some, f"2001:db8:0:{number:x}::/64", "Bearer x")
    assert len(some._failures) == access.MAX_ADDRESSES


def test_a_token_has_a_rate_and_a_burst() -> None:
    clock = Clock()
    some = Access(Tokens([entry(requests_per_s=2, burst=3), entry("b", OTHER)]), clock)
    given = f"Bearer {SECRET}"
    for _ in range(3):
        caller(some, given=given)
    problem = refused(some, given=given)
    assert (problem.status, problem.headers["Retry-After"]) == (429, "1")
    assert caller(some, given=f"Bearer {OTHER}").name == "b"
    some.replace(Tokens([entry(requests_per_s=2, burst=3)]))  # a reload fills nothing
    assert refused(some, given=given).status == 429
    clock.now += 0.5
    assert caller(some, given=given).name == "ci"
    assert refused(some, given=given).status == 429


def test_a_token_has_so_many_requests_at_the_same_time() -> None:
    some = Access(Tokens([entry(concurrent=2)]), Clock())
    given = f"Bearer {SECRET}"
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(some.admitted(FAR, given))
        assert refused(some, given=given).status == 429
    caller(some, given=given)
    with pytest.raises(ValueError, match="x"), some.admitted(FAR, given):  # a fault gives its place back, too
        raise ValueError("x")
    with some.admitted(FAR, given), some.admitted(FAR, given):
        pass


def test_a_refusal_says_which_scope_is_missing() -> None:
    def asked_by(who: Caller | None, need: Need, group: str = "", address: str | None = None) -> Problem:
        request = Request.blank("/", environ={CALLER: who} if who else {})
        with pytest.raises(Problem) as raised:
            access.check(request, need, group, address)
        return raised.value

    web = Caller("web1", frozenset({"enrol:web"}), frozenset({packed("10.2.0.10")}))
    for need, scope in ((Need.ADMIN, "admin"), (Need.READ, "read"), (Need.ENROL, "enrol:dns")):
        problem = asked_by(web, need, "dns", "10.2.0.10")
        assert problem.status == 403
        assert f"this needs the scope {scope}; web1 has enrol:web" in str(problem)
        assert f'scope="{scope}"' in problem.headers["WWW-Authenticate"]
    assert "web1 is bound to 10.2.0.10" in str(asked_by(web, Need.ENROL, "web", "10.2.0.11"))
    assert "web1 is bound to 10.2.0.10" in str(asked_by(web, Need.ENROL, "web"))
    assert asked_by(None, Need.READ).status == 401
    without = asked_by(NOBODY, Need.ENROL, "web", "10.2.0.10")
    assert without.headers == {"WWW-Authenticate": 'Bearer realm="anycast-sdn"'}
