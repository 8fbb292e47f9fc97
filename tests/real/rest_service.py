"""A controller without switches whose REST interface the real curl and openssl ask, over loopback."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from programs import ENVIRONMENT, Program, free_ports, wait_until

ROOT = Path(__file__).parents[2]
READ_AGAIN = "SIGHUP: read again"  # in the log
JSON = ("-H", "Content-Type: application/json")


class Service:
    """A controller without switches, its database and its tokens in a directory."""

    network = str(ROOT / "topologies" / "figure1.yaml")

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.secrets: list[str] = []
        self.openflow, self.port = free_ports(2)
        self.program: Program | None = None

    def start(self, *options: str, namespace: bool = False) -> None:
        """``options``: more than REST on ``port`` of loopback.

        ``namespace``: in a network namespace of its own, which has the address 192.0.2.1 besides loopback.
        """
        words = [sys.executable, "-m", "anycast_sdn", "run", self.network, "--openflow", f"127.0.0.1:{self.openflow}",
                 "--rest", f"127.0.0.1:{self.port}", "--database", str(self.directory / "db.sqlite"),
                 "--log-level", "debug", *options]  # fmt: skip
        if namespace:
            there = 'ip link set lo up && ip address add 192.0.2.1/32 dev lo && exec "$@"'
            words = ["unshare", "--net", "bash", "-c", there, "run", *words]
        self.program = Program(words, cwd=self.directory)
        process = self.program.process
        wait_until(lambda: "waiting for" in self.log() or process.poll() is not None, "it listens")
        assert process.poll() is None, self.log()

    @property
    def process(self) -> int:
        assert self.program
        return self.program.process.pid

    def log(self) -> str:
        assert self.program
        return self.program.output()

    def reload(self) -> None:
        assert self.program
        before = self.log().count(READ_AGAIN)
        self.program.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.log().count(READ_AGAIN) > before, "it has read the files again")

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

    def curl(self, path: str, *options: str, token: str = "", scheme: str = "http") -> tuple[int, Any]:
        """→ (status, the answer's JSON); (0, what curl says) when there is no answer."""
        bearer = ["-H", f"Authorization: Bearer {token}"] if token else []
        words = ["curl", "-gsS", "--noproxy", "*", "-m", "20", "-w", "\n%{http_code}", *bearer, *options]
        url = path if "://" in path else f"{scheme}://127.0.0.1:{self.port}{path}"
        done = subprocess.run(
            [*words, url], capture_output=True, text=True, env=ENVIRONMENT, cwd=self.directory, timeout=60
        )
        body, _, status = done.stdout.rpartition("\n")
        if done.returncode:
            return 0, done.stderr
        return int(status), json.loads(body) if body.strip() else None

    def kill(self) -> None:
        assert self.program
        self.program.process.kill()
        self.program.process.wait()

    def stop(self) -> None:
        """Asserts that it was alive, has met no error of its own, and has logged no token."""
        program, self.program = self.program, None
        if program is None:
            return
        alive = program.process.poll() is None
        program.stop()
        log = program.output()
        assert alive, log
        assert "Traceback" not in log, log
        assert "internal error" not in log, log
        assert not [secret for secret in self.secrets if secret in log]
