"""Who may use REST: tokens on the controller as a process, over loopback, asked by the real curl; no testbed."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import ENVIRONMENT, Program, wait_until

ROOT = Path(__file__).parents[2]
JSON = ("-H", "Content-Type: application/json")


class Service:
    """A controller without switches, its database and its tokens in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.secrets: list[str] = []
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
            self.openflow, self.port = one.getsockname()[1], other.getsockname()[1]
        self.program: Program | None = None

    def start(self, *options: str) -> None:
        words = [sys.executable, "-m", "anycast_sdn", "run", str(ROOT / "topologies" / "figure1.yaml"),
                 "--openflow", f"127.0.0.1:{self.openflow}", "--rest", f"127.0.0.1:{self.port}",
                 "--database", str(self.directory / "db.sqlite"), "--log-level", "debug", *options]  # fmt: skip
        self.program = Program(words, cwd=ROOT)
        wait_until(lambda: "waiting for" in self.log(), "it listens")

    def log(self) -> str:
        assert self.program
        return self.program.output()

    def reload(self) -> None:
        assert self.program
        before = self.log().count("SIGHUP")
        self.program.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.log().count("SIGHUP") > before, "it has read the files again")

    def command(self, *words: str, status: int = 0, **environment: str) -> str:
        """→ what ``anycast-sdn`` prints."""
        done = subprocess.run(
            [sys.executable, "-m", "anycast_sdn", *words],
            capture_output=True, text=True, cwd=self.directory, env={**ENVIRONMENT, **environment}, timeout=60,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stderr

    def token(self, name: str, *options: str) -> str:
        secret = self.command("token", "add", name, "--database", "db.sqlite", *options).strip()
        self.secrets.append(secret)
        return secret

    def curl(self, path: str, *options: str, token: str = "") -> tuple[int, Any]:
        """→ (status, the answer's JSON)."""
        bearer = ["-H", f"Authorization: Bearer {token}"] if token else []
        words = ["curl", "-gsS", "--noproxy", "*", "-m", "10", "-w", "\n%{http_code}", *bearer, *options]
        url = f"http://127.0.0.1:{self.port}{path}"
        done = subprocess.run([*words, url], capture_output=True, text=True, check=True, env=ENVIRONMENT)
        body, _, status = done.stdout.rpartition("\n")
        return int(status), json.loads(body) if body.strip() else None


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """At the end: it is alive, has met no error of its own, and no token is in any line of its log."""
    service = Service(tmp_path)
    yield service
    assert service.program
    alive = service.program.process.poll() is None
    log = service.log()
    service.program.stop()
    assert alive, log
    assert "Traceback" not in log, log
    assert not [secret for secret in service.secrets if secret in log]


@pytest.mark.row("M35", "a token of one group changes nothing in another, and nothing when revoked", on="loopback")
def test_a_token_has_its_own_rights_until_it_is_revoked(service: Service) -> None:
    admin, web = service.token("root", "--scope", "admin"), service.token("web", "--scope", "enrol:web")
    service.start()
    for group, prefix in (("web", "198.18.0.1/32"), ("dns", "198.18.0.53/32")):
        body = json.dumps({"prefixes": [prefix]})
        assert service.curl(f"/v1/groups/{group}", "-X", "PUT", *JSON, "-d", body, token=admin)[0] == 201
    enrol = ("-X", "PUT", *JSON, "-d", "{}")
    assert service.curl("/v1/groups/web/servers/10.2.0.10", *enrol)[0] == 401
    assert service.curl("/v1/groups/web/servers/10.2.0.10", *enrol, token=web)[0] == 201
    assert service.curl("/v1/groups/web/servers/10.2.0.10", token=web)[0] == 200
    status, problem = service.curl("/v1/groups/dns/servers/10.2.0.10", *enrol, token=web)
    assert (status, "enrol:dns" in problem["detail"]) == (403, True)
    for path, options in (
        ("/v1/groups/dns", ()),
        ("/v1/flows", ()),
        ("/v1/flows?group=web", ("-X", "DELETE")),
        ("/v1/groups/web", ("-X", "DELETE")),
        ("/v1/topology/links/arh1:1", ("-X", "PATCH", *JSON, "-d", '{"cost": 2}')),
    ):
        assert service.curl(path, *options, token=web)[0] == 403, path
    service.command("token", "revoke", "web", "--database", "db.sqlite")
    service.reload()
    assert service.curl("/v1/groups/web/servers/10.2.0.10", token=web)[0] == 401
    assert service.curl("/v1/groups/web/servers/10.2.0.10", token=admin)[0] == 200
