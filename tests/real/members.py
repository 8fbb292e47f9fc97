"""Several controllers of one network, and the etcd in which they agree; all of it on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from support import Turn

from anycast_sdn.description import reading


class Etcd:
    """A member of etcd, on ports of its own; a context manager."""

    def __init__(self, directory: Path) -> None:
        from programs import free_ports

        self._directory = directory
        self.port, self._peer_port = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Etcd:
        import urllib.request

        from programs import Program, wait_until

        peer = f"http://127.0.0.1:{self._peer_port}"
        words = ["etcd", "--name", "m", "--data-dir", str(self._directory / "etcd"), "--initial-cluster", f"m={peer}"]
        for option, url in (("listen-client", self.url), ("advertise-client", self.url), ("listen-peer", peer)):
            words += [f"--{option}-urls", url]
        self.program = Program([*words, "--initial-advertise-peer-urls", peer])

        def answers() -> bool:
            try:
                return bool(urllib.request.urlopen(f"{self.url}/health", timeout=1).read())
            except OSError:
                return False

        wait_until(answers, "etcd answers")
        return self

    def __exit__(self, *_: object) -> None:
        self.program.stop()


class Members(NamedTuple):
    testbed: Any
    etcd: Etcd
    members: list[Any]


@contextmanager
def members(network_file: Path, directory: Path, count: int = 2) -> Iterator[Members]:
    """The network of a file, etcd, and so many controllers m0, m1 …, one after the other: m0 leads."""
    from testbed import ControllerProcess, Testbed

    class Member(ControllerProcess):
        def _is_ready(self) -> bool:
            """It answers; switches are connected to the one that leads."""
            try:
                return self.rest("GET", "/healthz").status in (200, 503)
            except OSError:
                return False

    with ExitStack() as undo:
        etcd = undo.enter_context(Etcd(directory))
        controllers = []
        for number in range(count):
            (own := directory / f"m{number}").mkdir()
            options = ("--etcd", etcd.url, "--member", f"m{number}")
            controllers.append(Member(network_file, own, options))
        ports = [controller.openflow_port for controller in controllers]
        testbed = Testbed(reading.load(network_file), *ports, alone=Turn.alone, as_in_the_file=False)
        undo.enter_context(testbed)
        testbed.take_zones(network_file)
        for controller in controllers:
            undo.enter_context(controller)
        yield Members(testbed, etcd, controllers)
        for controller in controllers:
            assert "Traceback" not in controller.log(), controller.log()
