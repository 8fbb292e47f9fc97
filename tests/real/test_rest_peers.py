"""REST clients that mean ill or write badly, against the controller as a process, over loopback; no testbed.

What each refusal looks like is shown in tests/unit (test_http1, test_rest_serving); here the whole process lives on.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from programs import ENVIRONMENT, Program, free_ports, wait_until

ROOT = Path(__file__).parents[2]
MEMORY = 2_000_000  # KiB of address space, for all that it does
FILES = 64  # the usual limit is 1,024: few show the same sooner


class Controller(NamedTuple):
    program: Program
    port: int

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def say(self, raw: bytes) -> bytes:
        """→ all that is answered until the connection ends."""
        received = b""
        with self.connect() as peer, contextlib.suppress(ConnectionResetError, BrokenPipeError):
            peer.sendall(raw)
            peer.shutdown(socket.SHUT_WR)
            while data := peer.recv(65536):
                received += data
        return received

    def curl(self, path: str, *options: str) -> str:
        """→ the status that the real curl gets."""
        url = f"http://127.0.0.1:{self.port}{path}"
        words = ["curl", "-gsS", "--noproxy", "*", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", *options, url]
        return subprocess.run(words, capture_output=True, text=True, check=True, env=ENVIRONMENT).stdout

    def memory(self) -> int:
        """Resident, in KiB."""
        status = Path(f"/proc/{self.program.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """Without switches; ends with the assurance that it has met no error of its own."""
    directory = tmp_path_factory.mktemp("rest")
    openflow, port = free_ports(2)
    run = [sys.executable, "-m", "anycast_sdn", "run", str(ROOT / "topologies" / "figure1.yaml"),
           "--openflow", f"127.0.0.1:{openflow}", "--rest", f"127.0.0.1:{port}", "--rest-host", "ctl.example",
           "--database", str(directory / "db")]  # fmt: skip
    limited = ["bash", "-c", f'ulimit -v {MEMORY}; ulimit -n {FILES}; exec "$@"', "run"]
    controller = Controller(Program([*limited, *run], cwd=ROOT), port)
    try:
        wait_until(lambda: "REST on" in controller.program.output(), "it listens")
        yield controller
        assert controller.program.process.poll() is None
        log = controller.program.output()
        assert "Traceback" not in log, log
    finally:
        controller.program.stop()


@pytest.mark.row("M27", "300 clients that send a byte now and then, with files for 64, keep nobody out", on="loopback")
def test_clients_that_dribble_keep_nobody_out(controller: Controller) -> None:
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(controller.connect()) for _ in range(300)]
        for byte in b"GET ":
            for peer in peers:
                with contextlib.suppress(OSError):  # most of them have had to make room
                    peer.send(bytes([byte]))
            began = time.monotonic()
            assert controller.curl("/healthz") == "503"  # there are no switches
            assert time.monotonic() - began < 2
    assert "make room for others" in controller.program.output()


@pytest.mark.row("M27", "a page with its own name for our address, or of another origin, is refused", on="loopback")
def test_pages_of_others_are_refused(controller: Controller) -> None:
    assert controller.curl("/v1/groups") == "200"
    assert controller.curl("/v1/groups", "-H", "Host: evil.example") == "421"
    assert controller.curl("/v1/groups", "-H", "Host: ctl.example:80") == "200"
    assert controller.curl("/v1/groups", "-H", "Origin: http://evil.example") == "403"
    absolute = ("--request-target", f"http://localhost:{controller.port}/v1/groups")
    assert controller.curl("/", *absolute) == "200"


_JSON = b"Content-Type: application/json\r\n"
_PATHS = [b"/v1/groups", b"/v1/groups/web", b"/v1/groups/web/servers/10.2.0.10", b"/v1/flows?limit=10",
          b"/v1/edges/arh1", b"/v1/topology?without=core", b"/v1/topology/links/arh1:1", b"/healthz", b"*",
          b"http://localhost/healthz", b"/%ff", b"/v1/groups/" + b"a" * 7000]  # fmt: skip
_BODIES = [b"{}", b'{"weight": 3}', b'{"name": "web", "prefixes": ["198.18.0.1/32"]}', b'{"cost": 5}', b"[" * 5000,
           b'{"prefixes": ["198.18.0.1/32", "2001:db8:a::1%x/128"], "servers": []}', b'{"weight": 1e400}', b"\xe9"]
_INSERTS = [b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"Content-Length: 3\r\n", b"\r\n\r\n", b"%2f", b"9" * 30,
            b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n"]  # fmt: skip


def request(chance: random.Random) -> bytes:
    """Mostly well-formed, sometimes with a few bytes that are others."""
    method = chance.choice([b"GET", b"PUT", b"POST", b"PATCH", b"DELETE", b"HEAD", b"OPTIONS", b"BREW"])
    body = chance.choice(_BODIES) if method in (b"PUT", b"POST", b"PATCH") else b""
    framing = b"Content-Length: %d\r\n" % len(body)
    if chance.random() < 0.3:
        framing, body = b"Transfer-Encoding: chunked\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    raw = b"%s %s HTTP/1.1\r\nHost: localhost\r\n%s%s\r\n%s" % (method, chance.choice(_PATHS), _JSON, framing, body)
    for _ in range(chance.choice([0, 0, 1, 3])):
        place = chance.randrange(min(len(raw), 200))
        cut = chance.choice([0, 0, 1, 20])
        raw = raw[:place] + chance.choice([*_INSERTS, chance.randbytes(2)]) + raw[place + cut :]
    return raw


@pytest.mark.row("M27", "1,000 mutated requests: JSON or a connection that ends, no fault, no memory", on="loopback")
def test_mutated_requests_do_no_harm(controller: Controller) -> None:
    chance, before, kinds = random.Random(27), controller.memory(), set()
    for _ in range(1000):
        raw = request(chance)
        for answer in re.split(rb"(?m)^HTTP/1\.1 ", controller.say(raw))[1:]:
            head, _, body = answer.partition(b"\r\n\r\n")
            kinds.add(status := int(head[:3]))
            assert status != 500, raw
            if body:
                json.loads(body)
                assert b"json\r\n" in head, raw
    assert {200, 400, 404, 405, 422} <= kinds
    assert controller.memory() - before < 30_000
    assert controller.curl("/v1/edges") == "200"
