"""One etcd process on loopback, which a test stops, starts, empties, and gives certificates."""

from __future__ import annotations

import json
import shutil
import ssl
import urllib.request
from base64 import b64encode
from pathlib import Path
from typing import Any

from programs import Program, free_ports, wait_until


class EtcdServer:
    """A context manager.  ``options``: of etcd; ``context``: how the test itself reaches it, if by TLS."""

    def __init__(self, directory: Path, *options: str, context: ssl.SSLContext | None = None) -> None:
        self.directory = directory
        self._options = options
        self._context = context
        port, self._peer_port = free_ports(2)
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{port}"

    def __enter__(self) -> EtcdServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        peer = f"http://127.0.0.1:{self._peer_port}"
        self.program = Program([
            "etcd", "--name", "m", "--data-dir", str(self.directory / "data"), "--initial-cluster", f"m={peer}",
            "--listen-client-urls", self.url, "--advertise-client-urls", self.url, "--listen-peer-urls", peer,
            "--initial-advertise-peer-urls", peer, *self._options,
        ])  # fmt: skip
        wait_until(self._answers, "etcd answers")

    def stop(self) -> None:
        self.program.process.kill()
        self.program.stop()

    def empty(self) -> None:
        """While it is stopped."""
        shutil.rmtree(self.directory / "data")

    def ask(self, path: str, **members: Any) -> Any:
        request = urllib.request.Request(f"{self.url}/v3/{path}", json.dumps(members).encode())
        with urllib.request.urlopen(request, timeout=10, context=self._context) as answer:
            return json.loads(answer.read())

    def put(self, key: str, text: str) -> int:
        """→ its revision."""
        answer = self.ask("kv/put", key=b64encode(key.encode()).decode(), value=b64encode(text.encode()).decode())
        return int(answer["header"]["revision"])

    def _answers(self) -> bool:
        try:
            self.put("ready", "")
        except OSError:
            return False
        return True
