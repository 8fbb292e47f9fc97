"""Tokens and their file's text: who may do what, and what is refused without repeating it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from anycast_sdn.api import tokens
from anycast_sdn.api.tokens import ANYTHING, NOBODY, Caller, Need, Token, Tokens, TokensError
from anycast_sdn.core.model import packed
from anycast_sdn.core.redaction import has_token, redacted

SECRET = tokens.secret_of(bytes(range(32)))
OWN, OTHER, SIX = packed("10.2.0.10"), packed("10.2.0.11"), packed("2001:db8:2::10")


def entry(name: str = "ci", secret: str = SECRET, **members: Any) -> Token:
    return Token.model_validate({"name": name, "sha256": tokens.sha256_of(secret), "scopes": ["read"]} | members)


def file_of(*entries: dict[str, Any]) -> bytes:
    return "".join(f"{json.dumps(each)}\n" for each in entries).encode()


def raw(**members: Any) -> dict[str, Any]:
    return {"name": "ci", "sha256": "0" * 64, "scopes": ["read"]} | members


def test_each_scope_allows_what_it_says_and_nothing_else() -> None:
    def allowed(*scopes: str) -> set[str]:
        who = Caller("x", frozenset(scopes))
        asked = {
            "status": who.may(Need.NOTHING), "list": who.may(Need.READ), "administer": who.may(Need.ADMIN),
            "read web": who.may(Need.READ, "web", OWN), "enrol web": who.may(Need.ENROL, "web", OWN),
            "read dns": who.may(Need.READ, "dns", OWN), "enrol dns": who.may(Need.ENROL, "dns", OWN),
            "change web": who.may(Need.ADMIN, "web"),
        }  # fmt: skip
        return {name for name, may in asked.items() if may}

    everything = allowed("admin")
    assert len(everything) == 8
    assert allowed("read") == {"status", "list", "read web", "read dns"}
    assert allowed("enrol:web") == {"status", "read web", "enrol web"}
    assert allowed("enrol:*") == {"status", "read web", "enrol web", "read dns", "enrol dns"}
    assert allowed("enrol:web", "read") == {"status", "list", "read web", "read dns", "enrol web"}
    assert allowed("enrol:we", "enrol:web2", "enrol:WEB") == {"status"}
    assert not NOBODY.may(Need.READ)
    assert Caller("x", ANYTHING).may(Need.ADMIN)


def test_what_is_bound_to_servers_enrols_these_alone() -> None:
    bound = Caller("x", frozenset({"enrol:web"}), frozenset({OWN, SIX}))
    assert bound.may(Need.ENROL, "web", OWN)
    assert bound.may(Need.ENROL, "web", SIX)
    assert bound.may(Need.READ, "web", OWN)
    for need in (Need.ENROL, Need.READ):
        assert not bound.may(need, "web", OTHER)
        assert not bound.may(need, "web", None)  # the group as a whole, the set of its servers
        assert not bound.may(need, "dns", OWN)
    reader = Caller("x", frozenset({"enrol:web", "read"}), frozenset({OWN}))
    assert reader.may(Need.READ, "web", OTHER)
    assert not reader.may(Need.ENROL, "web", OTHER)


def test_a_token_is_found_by_all_of_it_and_by_nothing_else() -> None:
    known = Tokens([entry(), entry("other", "asdn_" + "x" * 43)])
    assert known.of_secret(SECRET) == entry()
    for wrong in ("", "asdn_", SECRET[:-1], SECRET + "A", SECRET.lower(), SECRET.upper(), f" {SECRET}", "ü" * 43):
        assert known.of_secret(wrong) is None
    assert known.of_secret(tokens.sha256_of(SECRET)) is None  # what the file shows opens nothing


def test_certificates_are_found_by_any_of_their_names_however_they_are_written() -> None:
    one = Token(name="a", certificate="Agent.example.", scopes=("read",))
    other = Token(name="b", certificate="2001:DB8:0::1", scopes=("admin",))
    known = Tokens([one, other])
    assert known.of_certificate(["x", "agent.EXAMPLE"]) == one
    assert known.of_certificate(["2001:db8::1"]) == other
    for others in ([], ["gent.example"], ["*.example"], ["a"]):
        assert known.of_certificate(others) is None


def test_what_is_written_is_read_again() -> None:
    expires = datetime(2027, 1, 31, tzinfo=UTC)
    bound = Token(name="b", certificate="x", scopes=("enrol:web",), servers=("10.2.0.10",))
    entries = [entry(expires=expires, burst=3), bound]
    written = tokens.written(Tokens(entries))
    assert [*tokens.parse(written)] == [*tokens.parse(b"# a line for people\n\n" + written)] == entries
    assert len(tokens.parse(b"")) == len(tokens.parse(tokens.written(Tokens()))) == 0
    assert SECRET.encode() not in tokens.written(Tokens(entries))


def test_a_large_file_is_read_in_slices() -> None:
    entries = [entry(f"t{number}", f"s{number}") for number in range(500)]
    turns: list[int] = []
    assert len(tokens.parse(tokens.written(Tokens(entries)), lambda: turns.append(1))) == 500
    assert len(turns) == 1000  # when an entry is read, and when it is known
    with pytest.raises(TokensError, match="more than 10000 entries"):
        tokens.parse(tokens.written(Tokens(entries)) * 21)


def test_an_entry_expires_at_its_moment() -> None:
    at = datetime(2027, 1, 31, tzinfo=UTC)
    assert not entry(expires=at).has_expired(at - timedelta(seconds=1))
    assert entry(expires=at).has_expired(at)
    assert not entry().has_expired(at)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"x", "line 1: it is not JSON"),
        (b"#\n\n\xff", "line 3: it is not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "valid dictionary"),
        (b'{"name": "a", "name": "b"}', "a member is given twice"),
        (file_of(raw())[:-10], "line 1: it is not JSON"),
        (file_of(raw(), raw(name="b", sha256="1" * 64, extra=1)), "line 2: extra"),
        (file_of(raw(scopes=[])), "line 1: scopes"),
        (file_of(raw(scopes=["root"])), "scopes.0"),
        (file_of(raw(scopes=["enrol:"])), "scopes.0"),
        (file_of(raw(scopes=["read\n"])), "scopes.0"),
        (file_of(raw(sha256="0" * 63)), "sha256"),
        (file_of(raw(sha256=None)), "either sha256 or certificate"),
        (file_of(raw(certificate="x")), "either sha256 or certificate"),
        (file_of(raw(scopes=["enrol:web"], servers=["web1"])), "line 1: "),
        (file_of(raw(servers=["10.2.0.10"])), "enrol:GROUP"),
        (file_of(raw(scopes=["admin", "enrol:web"], servers=["10.2.0.10"])), "cannot be bound"),
        (file_of(raw(expires="2027-01-31T00:00:00")), "expires"),
        (file_of(raw(burst=0)), "burst"),
        (file_of(raw(requests_per_s="nan")), "requests_per_s"),
        (file_of(raw(), raw(sha256="1" * 64)), "two entries of the name ci"),
        (file_of(raw(), raw(name="b")), "the same token"),
    ],
)
def test_another_file_is_refused_with_the_place_and_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(TokensError, match=reason):
        tokens.parse(content)


def test_no_error_repeats_what_may_be_a_secret() -> None:
    for content in (
        file_of(raw(sha256=SECRET)), file_of(raw(name=SECRET * 2)), file_of(raw(scopes=[SECRET])), SECRET.encode(),
        file_of(raw(scopes=["enrol:web"], servers=[SECRET])),
    ):  # fmt: skip
        with pytest.raises(TokensError) as refused:
            tokens.parse(content)
        assert SECRET not in redacted(str(refused.value))
    with pytest.raises(TokensError) as refused:
        Tokens().without(SECRET)
    assert SECRET not in str(refused.value)


def test_tokens_are_recognised_where_they_do_not_belong() -> None:
    assert has_token(f"/v1/flows?x={SECRET}")
    assert not has_token("/v1/groups/asdn_web")
    assert redacted(f"a {SECRET} b") == "a asdn_… b"
