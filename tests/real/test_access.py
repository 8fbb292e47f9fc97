"""Who may use REST: the controller as a process, asked by the real curl, over loopback and in a namespace."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import wait_until
from rest_service import JSON, Service

ENROL = ("-X", "PUT", *JSON, "-d", "{}")
GROUPS = {"web": "198.18.0.1/32", "dns": "198.18.0.53/32"}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """At the end: it is alive, has met no error of its own, and no token is in any line of its log."""
    service = Service(tmp_path)
    yield service
    service.stop()


def make_groups(service: Service, admin: str) -> None:
    for group, prefix in GROUPS.items():
        body = json.dumps({"prefixes": [prefix]})
        assert service.curl(f"/v1/groups/{group}", "-X", "PUT", *JSON, "-d", body, token=admin)[0] == 201


@pytest.mark.row("M35", "a token of one group changes nothing in another, and nothing when revoked", on="loopback")
def test_a_token_has_its_own_rights_until_it_is_revoked(service: Service) -> None:
    admin, web = service.token("root", "--scope", "admin"), service.token("web", "--scope", "enrol:web")
    service.start()
    make_groups(service, admin)
    assert service.curl("/v1/groups/web/servers/10.2.0.10", *ENROL)[0] == 401
    assert service.curl("/v1/groups/web/servers/10.2.0.10", *ENROL, token=web)[0] == 201
    assert service.curl("/v1/groups/web/servers/10.2.0.10", token=web)[0] == 200
    assert service.curl("/v1/groups/dns/servers/10.2.0.10", *ENROL, token=admin)[0] == 201
    for method, path, body in (
        ("PUT", "/v1/groups/dns/servers/10.2.0.10", {}),
        ("PATCH", "/v1/groups/dns/servers/10.2.0.10", {"weight": 0}),
        ("DELETE", "/v1/groups/dns/servers/10.2.0.10", None),
        ("GET", "/v1/groups/dns/servers/10.2.0.10", None),
        ("POST", "/v1/groups/dns/servers", {"address": "10.2.0.11"}),
        ("GET", "/v1/groups/dns/servers", None),
        ("GET", "/v1/groups/dns", None),
        ("GET", "/v1/groups", None),
        ("POST", "/v1/groups", {"name": "x", "prefixes": ["198.18.0.2/32"]}),
        ("PATCH", "/v1/groups/web", {"prefixes": ["198.18.0.2/32"]}),
        ("DELETE", "/v1/groups/web", None),
        ("GET", "/v1/flows", None),
        ("DELETE", "/v1/flows?group=web", None),
        ("DELETE", "/v1/flows/arh1/1", None),
        ("GET", "/v1/edges", None),
        ("GET", "/v1/topology", None),
        ("PATCH", "/v1/topology/links/arh1:1", {"cost": 2}),
        ("GET", "/v1/nonsense", None),
        # Other spellings of one path are other paths.
        ("DELETE", "/v1/groups/web/../dns/servers/10.2.0.10", None),
        ("DELETE", "/v1/groups/web%2f..%2fdns/servers/10.2.0.10", None),
        ("DELETE", "/v1/groups/dns%00/servers/10.2.0.10", None),
        ("DELETE", "/v1/groups/WEB/servers/10.2.0.10", None),
    ):
        options = [*JSON, "-d", json.dumps(body)] if body is not None else []
        status, problem = service.curl(path, "--path-as-is", "-X", method, *options, token=web)
        assert (status, "scope" in problem["detail"]) in ((403, True), (404, False)), (method, path, problem)
        assert status == 403 or "%" in path or ".." in path, (method, path)
    assert service.curl("/v1/groups/dns/servers/10.2.0.10", token=admin)[1]["weight"] == 1
    service.command("token", "revoke", "web", "--database", "db.sqlite")
    service.reload()
    assert service.curl("/v1/groups/web/servers/10.2.0.10", token=web)[0] == 401
    assert service.curl("/v1/groups/web/servers/10.2.0.10", token=admin)[0] == 200


@pytest.mark.row("M35", "a token that is bound to a server enrols it and no other", on="loopback")
def test_a_token_that_is_bound_to_a_server_is_for_it_alone(service: Service) -> None:
    admin = service.token("root", "--scope", "admin")
    own = service.token("web1", "--scope", "enrol:web", "--server", "10.2.0.10")
    service.start()
    make_groups(service, admin)
    servers = "/v1/groups/web/servers"
    assert service.curl(f"{servers}/10.2.0.11", *ENROL, token=admin)[0] == 201
    assert service.curl(f"{servers}/10.2.0.10", *ENROL, token=own)[0] == 201
    assert service.curl(f"{servers}/10.2.0.10", "-X", "PATCH", *JSON, "-d", '{"weight": 2}', token=own)[0] == 200
    for method, path, body in (
        ("PUT", f"{servers}/10.2.0.11", {}),
        ("PATCH", f"{servers}/10.2.0.11", {"state": "draining"}),
        ("DELETE", f"{servers}/10.2.0.11", None),
        ("GET", f"{servers}/10.2.0.11", None),
        ("POST", servers, {"address": "10.2.0.12"}),
        ("GET", servers, None),
        ("GET", "/v1/groups/dns", None),
        ("PUT", "/v1/groups/dns/servers/10.2.0.10", {}),
        ("DELETE", f"{servers}/::ffff:10.2.0.10", None),
        ("DELETE", f"{servers}/10.2.0.010", None),
        ("DELETE", f"{servers}/10.2.0.10%25eth0", None),
    ):
        options = [*JSON, "-d", json.dumps(body)] if body is not None else []
        status, problem = service.curl(path, "-X", method, *options, token=own)
        assert status == 403, (method, path, problem)
    assert [each["address"] for each in service.curl("/v1/groups/web", token=own)[1]["servers"]] == ["10.2.0.10"]
    weights = {server["address"]: server["weight"] for server in service.curl(servers, token=admin)[1]["servers"]}
    assert weights == {"10.2.0.10": 2, "10.2.0.11": 1}
    assert service.curl(f"{servers}/10.2.0.10", "-X", "DELETE", token=own)[0] == 204


@pytest.mark.row("M35", "10,000 wrong tokens keep nobody out and fill no log", on="loopback")
def test_ten_thousand_wrong_tokens_are_limited_and_a_right_one_is_served_meanwhile(service: Service) -> None:
    reader = service.token("ci", "--scope", "read")
    service.start()
    wrong = "asdn_" + "w" * 43
    request = f"GET /v1/groups HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {wrong}\r\n\r\n".encode()
    statuses: list[int] = []
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as peer, peer.makefile("rb") as answers:
        for number in range(100):
            peer.sendall(request * 100)
            for _ in range(100):
                statuses.append(int(answers.readline().split()[1]))
                length = 0
                while (line := answers.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split()[1])
                answers.read(length)
            if number % 25 == 0:
                assert service.curl("/v1/groups", token=reader)[0] == 200
    assert len(statuses) == 10_000
    assert set(statuses) == {401, 429}
    assert statuses[0] == 401
    assert statuses.count(401) < 1000
    assert service.log().count("the token is not known here") <= 3
    assert wrong not in service.log()


def test_a_token_has_its_own_limits(service: Service) -> None:
    reader = service.token("ci", "--scope", "read")
    slow = service.token("slow", "--scope", "read", "--requests-per-s", "0.001", "--burst", "3")
    service.start()
    assert [service.curl("/v1/groups", token=slow)[0] for _ in range(5)] == [200, 200, 200, 429, 429]
    assert "slow may send 0.001 requests a second, and 3 at once" in service.curl("/v1/groups", token=slow)[1]["detail"]
    assert service.curl("/v1/groups", token=reader)[0] == 200
    service.reload()  # which fills nothing
    assert service.curl("/v1/groups", token=slow)[0] == 429


def test_tokens_are_taken_from_their_header_field_alone(service: Service) -> None:
    reader = service.token("ci", "--scope", "read")
    service.start()
    for path in (f"/v1/groups?access_token={reader}", f"/v1/groups?token={reader}", f"/v1/flows?group={reader}",
                 f"/v1/groups/{reader}", "/v1/groups?x=" + reader.replace("_", "%5F", 1)):  # fmt: skip
        status, problem = service.curl(path)
        assert (status, "does not belong in a URL" in problem["detail"]) == (400, True)
        assert service.curl(path, token=reader)[0] == 400
    bearer = f"Authorization: Bearer {reader}"
    for status, fields in (
        (401, [f"Authorization: Basic {reader}"]), (401, [f"Cookie: token={reader}"]), (401, [f"X-Token: {reader}"]),
        (401, [f"Proxy-Authorization: Bearer {reader}"]), (401, [f"Authorization_: Bearer {reader}"]),
        (400, [bearer, bearer]), (400, [bearer, "Authorization: Bearer x"]), (401, [f"{bearer},x"]),
        (401, [bearer + "x" * 20_000]), (431, [bearer + "x" * 40_000]), (401, ["Authorization: Bearer t\u00f6ken"]),
        (401, ["Authorization;"]), (200, [bearer]),
    ):  # fmt: skip
        options = [word for field in fields for word in ("-H", field)]
        assert service.curl("/v1/groups", *options)[0] == status, fields
    origin = ("-H", "Origin: http://evil.example")
    assert service.curl("/v1/groups", *origin, token=reader)[0] == 403
    assert service.curl("/v1/groups", "-H", "Host: evil.example", token=reader)[0] == 421


def test_health_shows_its_status_to_all_and_its_reasons_to_those_who_may_read(service: Service) -> None:
    reader, web = service.token("ci", "--scope", "read"), service.token("web", "--scope", "enrol:web")
    service.start()
    assert set(service.curl("/healthz")[1]) == {"status"}
    assert set(service.curl("/healthz", token=web)[1]) == {"status"}
    assert "reasons" in service.curl("/healthz", token=reader)[1]
    assert service.curl("/healthz", token="asdn_" + "x" * 43)[0] == 401


def test_a_file_that_cannot_be_read_leaves_the_tokens_as_they_are(service: Service) -> None:
    reader = service.token("ci", "--scope", "read")
    service.start()
    file = service.directory / "db.tokens"
    content = file.read_bytes()
    for spoil, reason in (
        (lambda: file.write_bytes(content[:-20]), "it is not JSON"),
        (lambda: file.unlink(), "No such file"),
        (lambda: (file.write_bytes(content), file.chmod(0o666)), "others may write it"),
    ):
        spoil()
        service.reload()
        wait_until(lambda said=reason: said in service.log(), f"the log says {reason}")
        assert service.curl("/v1/groups", token=reader)[0] == 200
        assert service.curl("/v1/groups")[0] == 401
    file.chmod(0o600)
    service.command("token", "revoke", "ci", "--database", "db.sqlite")  # the last one
    service.reload()
    assert service.curl("/v1/groups", token=reader)[0] == 401
    assert service.curl("/v1/groups")[0] == 401


def test_the_command_line_asks_with_a_token(service: Service) -> None:
    reader = service.token("ci", "--scope", "read")
    service.start()
    place = ("groups", "--rest", f"127.0.0.1:{service.port}")
    assert "this needs a token" in service.command(*place, status=1)
    assert service.command(*place, ANYCAST_SDN_TOKEN=reader) == "no groups\n"
    (service.directory / "token").write_text(reader)
    assert service.command(*place, "--token-file", "token") == "no groups\n"
    end = ("flows", "end", "--group", "web", "--rest", f"127.0.0.1:{service.port}", "--token-file", "token")
    assert "this needs the scope admin; ci has read" in service.command(*end, status=1)


@pytest.mark.row("M35", "without tokens, clients of other machines are refused", on="loopback, in a namespace")
def test_without_tokens_only_clients_of_this_machine_are_served(service: Service) -> None:
    service.start("--rest", "0.0.0.0:8080", namespace=True)
    inside = ["nsenter", "-t", str(service.process), "-n"]

    def asked(address: str, *options: str) -> int:
        words = [*inside, "curl", "-s", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", *options]
        url = f"http://{address}:8080/healthz"
        return int(subprocess.run([*words, url], capture_output=True, text=True, timeout=60).stdout)

    assert asked("127.0.0.1") == 503  # there are no switches
    assert asked("192.0.2.1") == 403  # 192.0.2.1 asks itself: not by loopback
    assert asked("192.0.2.1", "-H", "X-Forwarded-For: 127.0.0.1", "-H", "Host: localhost") == 421
    assert "clients of http://0.0.0.0:8080 on other machines are refused until there are tokens" in service.log()
    reader = service.token("ci", "--scope", "read")
    service.reload()
    wait_until(lambda: "clients need a token" in service.log(), "the file is read")
    assert asked("192.0.2.1") == 503
    assert asked("192.0.2.1", "-H", f"Authorization: Bearer {reader}") == 503
    assert "is not encrypted, so tokens can be read on their way" in service.log()


@pytest.mark.row("M35", "a unix socket serves those whom its mode lets in, and is gone at the end", on="loopback")
def test_a_unix_socket_is_for_those_whom_its_mode_lets_in(service: Service) -> None:
    service.token("ci", "--scope", "read")
    path = service.directory / "rest.sock"
    service.directory.chmod(0o755)
    service.start("--rest", f"unix:{path}")
    assert service.curl("http://localhost/v1/groups", "--unix-socket", str(path)) == (200, {"groups": []})
    assert service.command("groups", "--rest", f"unix:{path}") == "no groups\n"
    stranger = ["setpriv", "--reuid", "65534", "--clear-groups", "curl", "-s", "--unix-socket", str(path), "http://a/"]
    assert subprocess.run(stranger, timeout=60).returncode == 7
    assert path.stat().st_mode & 0o777 == 0o600
    service.kill()
    assert path.exists()
    service.start("--rest", f"unix:{path}")  # the old one is stale
    assert service.curl("http://localhost/v1/groups", "--unix-socket", str(path))[0] == 200
    again = service.command("run", service.network, "--rest", f"unix:{path}", "--openflow", "127.0.0.1:1",
                            "--database", ":memory:", status=1)  # fmt: skip
    assert "cannot listen" in again
    service.stop()
    assert not path.exists()
