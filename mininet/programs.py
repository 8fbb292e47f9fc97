"""Programs that the testbed starts: on hosts, and the controller.  All end with this process.

A program is started in a session of its own and ended by its own process id, never by name.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

DEADLINE_S = 30.0
# Programs get nothing of the caller's environment: no proxy, no language.
ENVIRONMENT = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
# The kernel ends a program when this process ends, for whatever reason.
TIED_TO_US = ("setpriv", "--pdeathsig", "KILL")

T = TypeVar("T")


class TestbedError(Exception):
    """The testbed could not be built, or something in it did not happen in time."""

    __test__: ClassVar = False  # pytest takes names in Test… for test classes


def wait_until(condition: Callable[[], T], what: str, timeout_s: float = DEADLINE_S) -> T:
    """The first truthy result of ``condition``; TestbedError naming ``what`` after the deadline."""
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TestbedError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.05)
    return result


@contextmanager
def undisturbed() -> Iterator[None]:
    """Defers signals that would end this process until the block, which removes things, is done."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def output_of(*words: str) -> str:
    """Runs a command in the root namespace → its output; TestbedError when it fails."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=2 * DEADLINE_S, env=ENVIRONMENT)
    if done.returncode != 0:
        raise TestbedError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def launch(words: Sequence[str], namespace_of: int | None = None, **options: Any) -> subprocess.Popen[Any]:
    """Starts a program, in the namespace of the process ``namespace_of`` if one is given."""
    enter = [] if namespace_of is None else ["mnexec", "-a", str(namespace_of)]
    defaults: dict[str, Any] = {"stdin": subprocess.DEVNULL, "env": ENVIRONMENT, "start_new_session": True}
    process: subprocess.Popen[Any] = subprocess.Popen([*enter, *TIED_TO_US, *words], **defaults | options)
    return process


def end(process: subprocess.Popen[Any], timeout_s: float = 5.0) -> None:
    """Ends what ``launch`` started, and its children: asks first, insists after the deadline."""
    if process.returncode is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    # With WNOWAIT the process keeps its id until the rest of its session is ended as well.
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Program:
    """A program in the background; its output goes to a file."""

    def __init__(self, words: Sequence[str], namespace_of: int | None = None, **options: Any) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as this object
        self.process = launch(words, namespace_of, stdout=self._output, stderr=subprocess.STDOUT, **options)

    def output(self) -> str:
        """Its standard output and error so far."""
        # pread, because the file's position is the program's, too.
        descriptor = self._output.fileno()
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")

    def stop(self) -> None:
        end(self.process)


class Answer(NamedTuple):
    """What the REST interface answered; ``body`` is None when there was none."""

    status: int
    body: Any


class ControllerProcess:
    """``anycast-sdn run`` for one network file, on ports of its own; a context manager.

    The ports and the database are the same for every ``start`` of one object, so that switches come
    back and enrolments are still there after ``stop`` and ``start``.
    """

    module: Sequence[str] = ("-m", "anycast_sdn")  # what Python is to run

    def __init__(self, network_file: Path | str, directory: Path | str, options: Sequence[str] = ()) -> None:
        self.network_file = Path(network_file)
        self.database = Path(directory) / "anycast.sqlite"
        self.openflow_port, self.rest_port = free_ports(2)
        self._options = options
        self._program: Program | None = None

    def __enter__(self) -> ControllerProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, timeout_s: float = DEADLINE_S) -> None:
        """Returns when all switches are connected and hold their rules; they must be running already."""
        words = [sys.executable, *self.module, "run", str(self.network_file)]
        words += ["--openflow", f"127.0.0.1:{self.openflow_port}", "--rest", f"127.0.0.1:{self.rest_port}"]
        self._program = Program([*words, "--database", str(self.database), *self._options])
        try:
            wait_until(self._is_ready, "the controller is ready", timeout_s)
        except TestbedError as error:
            self.stop()
            raise TestbedError(f"{error}\n{self.log()}") from None

    @property
    def process(self) -> subprocess.Popen[Any]:
        """As it was last started."""
        assert self._program is not None
        return self._program.process

    def stop(self) -> None:
        """Ends it with SIGTERM, after 5 s with SIGKILL."""
        if self._program is not None:
            self._program.stop()

    def kill(self) -> None:
        """Ends it as a crash would, without a chance to tidy up."""
        self.process.kill()
        self.stop()

    def log(self) -> str:
        """Its output since it was last started."""
        return self._program.output() if self._program else ""

    def rest(self, method: str, path: str, body: object = None, media: str = "application/json") -> Answer:
        """One REST call.  ``body`` is sent as JSON, or as it is when it is bytes already."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.rest_port}{path}", data, method=method)
        if data is not None:
            request.add_header("Content-Type", media)
        try:
            with _DIRECT.open(request, timeout=DEADLINE_S) as response:
                return Answer(response.status, json.loads(response.read() or "null"))
        except urllib.error.HTTPError as refusal:
            return Answer(refusal.code, json.loads(refusal.read() or "null"))

    def enrol(self, group: str, prefixes: Iterable[str], servers: Iterable[str]) -> None:
        """Makes a group and enrols its servers; returns when the network takes new flows to them.

        TestbedError when the controller refuses, or does not find one of the servers.
        """
        resource = f"/v1/groups/{group}"
        paths = [f"{resource}/servers/{server}" for server in servers]
        self._put(resource, {"prefixes": list(prefixes)})
        for path in paths:
            self._put(path, {})
        wait_until(
            lambda: all(self.rest("GET", path).body["reachable"] for path in paths),
            f"the servers of {group} are found",
        )
        self.await_routes()

    def await_routes(self) -> None:
        """Returns when all switches have confirmed their routes."""
        wait_until(lambda: not self.rest("GET", "/v1/topology").body["updating"], "routes are installed")

    def _put(self, path: str, body: object) -> None:
        answer = self.rest("PUT", path, body)
        if answer.status not in (200, 201, 204):
            raise TestbedError(f"PUT {path}: {answer.status} {answer.body}")

    def _is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise TestbedError(f"the controller ended with status {self.process.returncode}")
        try:
            _, health = self.rest("GET", "/healthz")
        except OSError:  # it does not listen yet
            return False
        # Not its status: first enrolments may name servers that are not there yet.
        switches = health.get("switches", {}).values()
        return bool(switches) and all(switch["connected"] for switch in switches)


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy


# A hundred for each process, below those that the kernel gives out: nobody takes them between a look and the start of
# a program that listens there.
_FIRST_PORT = 10_000 + os.getpid() % 220 * 100
_PORTS = itertools.cycle(range(_FIRST_PORT, _FIRST_PORT + 100))


def free_ports(count: int) -> list[int]:
    """TCP ports of the loopback interface for programs that this process starts."""
    return list(itertools.islice(filter(is_free, _PORTS), count))


def is_free(port: int) -> bool:
    """A TCP port of the loopback interface."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
