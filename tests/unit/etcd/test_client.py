"""Etcd's client: endpoints, deadlines, and answers that are none."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.etcd import client as client_module
from anycast_sdn.etcd.client import (
    Change,
    Changes,
    Delete,
    DeleteBelow,
    Etcd,
    EtcdError,
    Is,
    Operation,
    Put,
    Tls,
    Unsure,
    Value,
)
from anycast_sdn.etcd.users import User

HEADER = {"header": {"revision": "7"}}
A = {"key": "L3gvYQ==", "value": "MQ==", "create_revision": "2", "mod_revision": "5", "lease": "9"}


def http(body: object, status: int = 200) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n%s" % (status, len(content), content)


class Endpoint:
    """A server that answers requests with these bytes, one after the other, the last of them again and again.

    None: it says nothing.  b"": it ends the connection.
    """

    def __init__(self, *answers: bytes | None) -> None:
        self.asked: list[Any] = []
        self.tokens: list[str] = []  # that came with each
        self._answers = list(answers)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rb") as file:
            while line := file.readline():
                fields: dict[str, str] = {}
                while (field := file.readline().decode().strip()):
                    name, _, value = field.partition(": ")
                    fields[name.lower()] = value
                self.tokens.append(fields.get("authorization", ""))
                self.asked.append((line.split()[1].decode(), json.loads(file.read(int(fields["content-length"])))))
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                if answer is None:
                    time.sleep(3)
                if not answer:
                    return
                connection.sendall(answer)


Make = Callable[..., Endpoint]


@pytest.fixture
def endpoint() -> Iterator[Make]:
    with ExitStack() as undo:

        def make(*answers: bytes | None) -> Endpoint:
            made = Endpoint(*answers)
            undo.callback(made.close)
            return made

        yield make


@pytest.fixture
def nowhere() -> str:
    """Where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def test_keys_are_read_page_by_page_at_one_revision(endpoint: Make) -> None:
    there = endpoint(http({**HEADER, "kvs": [A], "more": True}), http({"header": {"revision": "8"}, "kvs": [
        {"key": "L3gvYg==", "create_revision": "3", "mod_revision": "3"}]}))  # fmt: skip
    pauses: list[None] = []
    assert Etcd([there.url]).below("/x/", lambda: pauses.append(None)) == (
        7, {"/x/a": Value("1", 2, 5, 9), "/x/b": Value("", 3, 3)}
    )  # fmt: skip
    (_, first), (path, second) = there.asked
    assert (path, first["revision"], second["revision"], len(pauses)) == ("/v3/kv/range", 0, 7, 1)
    assert (first["key"], second["key"]) == ("L3gv", "L3gvYQA=")


def test_a_transaction_says_whether_it_was_carried_out_and_what_is_there_if_not(endpoint: Make) -> None:
    there = endpoint(
        http({**HEADER, "succeeded": True, "responses": [{"response_put": {}}]}),
        http({**HEADER, "responses": [{"response_range": {"kvs": [A]}}, {"response_range": {}}]}),
    )
    client = Etcd([there.url])
    operations: list[Operation] = [Put("/x/a", "1", 9), Delete("/x/b"), DeleteBelow("/x/c/")]
    assert client.transact([Is("/x/a", 4)], operations) == (True, 7, {})
    assert client.transact([Is("/x/a", 4)], operations, ["/x/a", "/x/b"]) == (False, 7, {"/x/a": Value("1", 2, 5, 9)})
    asked = there.asked[0][1]
    assert asked["compare"] == [{"key": "L3gvYQ==", "target": "MOD", "result": "EQUAL", "mod_revision": 4}]
    assert asked["success"][2] == {"request_delete_range": {"key": "L3gvYy8=", "range_end": "L3gvYzA="}}


def test_what_cannot_be_sent_is_sent_to_the_next_endpoint(endpoint: Make, nowhere: str) -> None:
    there = endpoint(http({**HEADER, "succeeded": True}))
    assert Etcd([nowhere, there.url]).transact((), [Put("a", "1")]).succeeded
    with pytest.raises(EtcdError, match=f"{nowhere}: Connection refused") as caught:
        Etcd([nowhere]).transact((), [Put("a", "1")])
    assert not isinstance(caught.value, Unsure)


@pytest.mark.parametrize("silent", [None, b"", http(b"<html>", 200), http({"error": "no leader"}, 503)])
def test_a_change_without_an_answer_is_unsure_and_is_not_repeated(endpoint: Make, silent: bytes | None) -> None:
    first, second = endpoint(silent), endpoint(http({**HEADER, "succeeded": True}))
    client = Etcd([first.url, second.url])
    began = time.monotonic()
    with pytest.raises(Unsure, match=first.url):
        client.transact((), [Put("a", "1")])
    assert time.monotonic() - began < 2
    assert second.asked == []
    assert client.transact((), [Put("a", "2")]).succeeded  # at the next endpoint
    assert len(second.asked) == 1


@pytest.mark.parametrize("silent", [None, b"", http(b"<html>", 200), http({"error": "no leader"}, 503)])
def test_what_only_reads_is_asked_at_the_next_endpoint(endpoint: Make, silent: bytes | None) -> None:
    first, second = endpoint(silent), endpoint(http({**HEADER, "kvs": [A]}))
    assert Etcd([first.url, second.url]).read("/x/a") == Value("1", 2, 5, 9)


def test_an_answer_that_drips_has_a_deadline(endpoint: Make) -> None:
    class Dripping(Endpoint):
        def _answer(self, connection: socket.socket) -> None:
            with suppress(OSError), connection:
                connection.sendall(b"HTTP/1.1 200 x\r\nContent-Length: 1000\r\n\r\n")
                for _ in range(40):
                    connection.sendall(b" ")
                    time.sleep(0.1)

    there = Dripping(b"")
    began = time.monotonic()
    with pytest.raises(Unsure, match="timed out"):
        Etcd([there.url]).transact((), [Put("a", "1")])
    assert time.monotonic() - began < 2
    there.close()


def test_an_answer_is_bounded(endpoint: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MOST_BYTES", 1 << 20)
    there = endpoint(http(b" " * (2 << 20)))
    with pytest.raises(EtcdError, match="it answers more than 1 MiB"):
        Etcd([there.url]).read("a")


@pytest.mark.parametrize(
    ("status", "error", "advice"),
    [
        (400, "etcdserver: user name is empty", "it wants a user's name and password: --etcd-user"),
        (403, "etcdserver: permission denied", "its user may not do that: etcdctl role grant-permission"),
        (404, "404 page not found", "etcd 3.4 or later is needed"),
    ],
)
def test_what_etcd_refuses_is_certain_and_says_what_to_do(
    endpoint: Make, status: int, error: str, advice: str
) -> None:
    there = endpoint(http({"error": error}, status) if status != 404 else http(error.encode(), 404))
    with pytest.raises(EtcdError, match=advice) as caught:
        Etcd([there.url]).transact((), [Put("a", "1")])
    assert not isinstance(caught.value, Unsure)


NO_NAME = http({"error": "etcdserver: user name is empty"}, 400)
INVALID = http({"error": "etcdserver: invalid auth token"}, 401)
WRONG = http({"error": "etcdserver: authentication failed, invalid user ID or password"}, 400)
NOT_ENABLED = http({"error": "etcdserver: authentication is not enabled"}, 412)
DONE = http({**HEADER, "succeeded": True})


def token(number: int) -> bytes:
    return http({**HEADER, "token": f"t{number}"})


class TestUsers:
    def test_a_token_is_got_when_it_is_wanted_and_again_when_it_does_not_count_any_more(self, endpoint: Make) -> None:
        there = endpoint(NO_NAME, token(1), DONE, DONE, INVALID, token(2), DONE, http({**HEADER, "kvs": [A]}))
        passwords = iter(["one", "two"])
        client = Etcd([there.url], user=User("ctl", lambda: next(passwords)))
        assert not client.has_asked_for_user
        for number in range(3):
            assert client.transact((), [Put("a", str(number))]).succeeded
        assert client.has_asked_for_user
        assert client.read("/x/a")
        assert there.tokens == ["", "", "t1", "t1", "t1", "", "t2", "t2"]
        asked = [body for path, body in there.asked if path == "/v3/auth/authenticate"]
        assert asked == [{"name": "ctl", "password": "one"}, {"name": "ctl", "password": "two"}]

    def test_a_watch_has_it_too(self, endpoint: Make) -> None:
        events = [{"kv": A}]
        there = endpoint(NO_NAME, token(1), DONE, watched({"result": {**HEADER, "events": events}}))
        client = Etcd([there.url], user=User("ctl", lambda: "x"))
        client.read("/x/a")
        assert next(client.watch("/x/", 4, 2.0)).revision == 5
        assert there.tokens[-1] == "t1"

    @pytest.mark.parametrize(
        ("answers", "reason"),
        [
            ((NO_NAME, WRONG), "--etcd-user, or its password, is wrong"),
            ((NO_NAME, token(1), INVALID), "invalid auth token"),
            ((NO_NAME, http({"error": "no leader"}, 503)), "no token for the user ctl: .*no leader"),
            ((NO_NAME, http(HEADER)), "no token for the user ctl"),
        ],
    )
    def test_without_one_nothing_is_done_and_the_reason_is_said(
        self, endpoint: Make, answers: tuple[bytes, ...], reason: str
    ) -> None:
        client = Etcd([endpoint(*answers).url], user=User("ctl", lambda: "x"))
        with pytest.raises(EtcdError, match=reason) as caught:
            client.transact((), [Put("a", "1")])
        assert not isinstance(caught.value, Unsure)

    def test_a_password_that_cannot_be_read_any_more_is_said(self, endpoint: Make) -> None:
        def password() -> str:
            raise ConfigurationError("the file is gone")

        client = Etcd([endpoint(NO_NAME).url], user=User("ctl", password))
        with pytest.raises(EtcdError, match="no token for the user ctl: the file is gone"):
            client.read("a")

    def test_an_etcd_that_has_no_users_any_more_is_asked_without_token(self, endpoint: Make) -> None:
        there = endpoint(NO_NAME, token(1), DONE, INVALID, NOT_ENABLED, DONE)
        client = Etcd([there.url], user=User("ctl", lambda: "x"))
        for number in range(2):
            assert client.transact((), [Put("a", str(number))]).succeeded
        assert (there.tokens[-1], client.has_asked_for_user) == ("", False)


def test_an_etcd_whose_quota_is_used_up_is_full_until_it_takes_something(endpoint: Make) -> None:
    full = http({"error": "etcdserver: mvcc: database space exceeded"}, 429)
    done = http(HEADER | {"succeeded": True})
    there = endpoint(full, http(HEADER), done, full, full, done)
    client = Etcd([there.url])
    with pytest.raises(EtcdError, match="alarm disarm") as caught:
        client.transact((), [Put("a", "1")])
    assert client.full == str(caught.value)
    client.read("a")
    client.transact((), [Delete("a")])
    assert client.full
    for key in ("a", "b"):
        with pytest.raises(EtcdError):
            client.transact((), [Put(key, "1")])
    client.transact((), [Put("a", "1")])
    assert not client.full


def test_a_lease_that_etcd_does_not_know_is_over(endpoint: Make) -> None:
    there = endpoint(http({"result": {"TTL": "2"}}), http({"result": {}}), http({"error": "lease not found"}, 404))
    client = Etcd([there.url])
    assert client.keep_alive(9)
    assert not client.keep_alive(9)
    client.revoke(9)


def watched(*lines: object) -> bytes:
    return b"HTTP/1.1 200 x\r\n\r\n" + b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def test_an_error_behind_a_head_of_200_is_not_taken_for_an_answer(endpoint: Make) -> None:
    """Of a lease it would mean that this is over."""
    with pytest.raises(EtcdError, match="no leader"):
        Etcd([endpoint(http({"error": {"message": "no leader"}})).url]).keep_alive(9)
    with pytest.raises(EtcdError, match="not an answer"):
        Etcd([endpoint(http({"status": "fine"})).url]).read("/x/a")


def test_keys_and_texts_of_others_that_are_no_text_are_read_all_the_same(endpoint: Make) -> None:
    foreign = {**A, "key": base64.b64encode(b"/x/\xff").decode(), "value": base64.b64encode(b"\xfe").decode()}
    page = http({**HEADER, "kvs": [foreign], "more": True})
    there = endpoint(page, http({**HEADER, "kvs": [{**A, "key": base64.b64encode(b"/x/\xff\x01").decode()}]}))
    revision, found = Etcd([there.url]).below("/x/")
    assert (revision, [value.text for value in found.values()]) == (7, ["\ufffd", "1"])
    assert base64.b64decode(there.asked[1][1]["key"]) == b"/x/\xff\x00"
    deleted = {"result": {"events": [{"type": "DELETE", "kv": {"key": foreign["key"], "mod_revision": "8"}}]}}
    changes = next(Etcd([endpoint(http(json.dumps(deleted).encode() + b"\n")).url]).watch("/x/", 7, 1.0))
    assert changes.changes == [Change(next(iter(found)), None)]


def test_a_watch_tells_what_changes_by_revision(endpoint: Make) -> None:
    events = [{"kv": A}, {"type": "DELETE", "kv": {"key": "L3gvYg==", "mod_revision": "6"}}, {"kv": {**A,
              "key": "L3gvYw==", "mod_revision": "6"}}]  # fmt: skip
    there = endpoint(watched({"result": {**HEADER, "created": True}}, {"result": {**HEADER, "events": events}}), b"")
    watch = Etcd([there.url]).watch("/x/", 4, 2.0)
    assert next(watch) == Changes(5, [Change("/x/a", Value("1", 2, 5, 9))])
    assert next(watch) == Changes(6, [Change("/x/b", None), Change("/x/c", Value("1", 2, 6, 9))])
    with pytest.raises(EtcdError, match=there.url):
        next(watch)
    assert there.asked[0][1]["create_request"]["start_revision"] == 5


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (watched({"result": {**HEADER, "canceled": True, "cancel_reason": "gone"}}), "the watch was ended.*gone"),
        (watched({"error": {"message": "no leader"}}), "the watch was ended.*no leader"),
        (watched("?"), "127.0.0.1"),
        (watched({"result": {**HEADER, "events": [{"kv": {}}]}}), "127.0.0.1"),
        (None, "timed out"),
        (b"", "127.0.0.1"),
    ],
)
def test_a_watch_that_is_none_ends_with_an_error(endpoint: Make, answer: bytes | None, reason: str) -> None:
    there = endpoint(answer)
    with pytest.raises(EtcdError, match=reason):
        next(Etcd([there.url]).watch("/x/", 4, 0.3))


@pytest.mark.parametrize("url", ["", "x", "ftp://a:1", "http://", "http://a:0", "http://a:99999", "http://a:b", "http://a:1/b"])
def test_what_is_no_endpoint_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="write http://HOST:PORT or https://HOST:PORT"):
        Etcd([url])


def test_files_that_are_no_certificates_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="--etcd-cert"):
        Etcd(["https://127.0.0.1:1"], Tls("/dev/null", "/dev/null", None))
