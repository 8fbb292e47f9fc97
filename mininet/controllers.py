"""Several controllers of one network and the etcd in which they agree, all of it on this machine.

Each controller has relays of its own to every member of etcd, one between the switches and itself, and one between the
other controllers and itself: so it can be parted from any of them without a word (``relay``).  Whatever goes wrong, all
of it ends with the ``with`` block.
"""

from __future__ import annotations

import signal
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from programs import DEADLINE_S, ControllerProcess, Program, TestbedError, free_ports, undisturbed, wait_until
from relay import OpenFlowRelay, Relay, Relays

from anycast_sdn.etcd import client

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class EtcdMember:
    """One process of an etcd.  ``port``: for clients."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.port, peer_port = free_ports(2)
        self.url, self.peer = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{peer_port}"
        self._data = directory / name
        self._program: Program | None = None

    def start(self, cluster: Sequence[EtcdMember]) -> None:
        """``cluster``: all its members, this one too."""
        words = ["etcd", "--name", self.name, "--data-dir", str(self._data), "--logger", "zap", "--log-level", "error"]
        for option, url in (("listen-client", self.url), ("advertise-client", self.url), ("listen-peer", self.peer)):
            words += [f"--{option}-urls", url]
        words += ["--initial-advertise-peer-urls", self.peer]
        self._program = Program([*words, "--initial-cluster", ",".join(f"{each.name}={each.peer}" for each in cluster)])

    def answers(self) -> bool:
        """It does, and knows a leader of etcd."""
        try:
            with _DIRECT.open(f"{self.url}/health", timeout=2) as said:
                return b'"true"' in said.read()
        except (OSError, urllib.error.URLError):
            return False

    @property
    def runs(self) -> bool:
        return self._program is not None and self._program.process.poll() is None

    def kill(self) -> None:
        if self._program:
            self._program.process.kill()
            self._program.stop()

    def stop(self) -> None:
        self.kill()

    def log(self) -> str:
        return self._program.output() if self._program else ""


class Etcd:
    """An etcd of ``count`` members; a context manager."""

    def __init__(self, directory: Path, count: int = 3) -> None:
        self.members = [EtcdMember(f"etcd{number}", directory) for number in range(count)]

    def __enter__(self) -> Etcd:
        try:
            for each in self.members:
                each.start(self.members)
            wait_until(lambda: all(each.answers() for each in self.members), "etcd answers")
        except TestbedError as error:
            logs = "\n".join(each.log() for each in self.members)
            self.__exit__()
            raise TestbedError(f"{error}\n{logs}") from None
        return self

    def __exit__(self, *_: object) -> None:
        for each in self.members:
            each.stop()

    @property
    def url(self) -> str:
        """All of them, as --etcd takes it."""
        return ",".join(each.url for each in self.members)

    def restart(self, member: EtcdMember) -> None:
        """Starts a member that was killed; returns when it answers."""
        member.start(self.members)
        wait_until(member.answers, f"{member.name} answers")

    def below(self, prefix: str) -> dict[str, str]:
        """Keys that begin so, without that → their values."""
        for each in self.members:
            if each.runs:
                with suppress(client.EtcdError):
                    _, found = client.Etcd([each.url]).below(prefix)
                    return {key.removeprefix(prefix): value.text for key, value in found.items()}
        raise TestbedError("no member of etcd answers")


class Member(ControllerProcess):
    """A controller.  ``etcd``: its relays to etcd; ``switches``, ``peers``: the relays by which switches, and other
    members, reach it.  In ``options`` its directory is called OWN.
    """

    def __init__(
        self, name: str, network_file: Path, directory: Path, etcd: Etcd, relays: Relays, options: Sequence[str] = ()
    ) -> None:
        self.name = name
        (own := directory / name).mkdir()
        self.etcd = [Relay(relays, each.port) for each in etcd.members]
        urls = ",".join(f"http://127.0.0.1:{each.port}" for each in self.etcd)
        (port,) = free_ports(1)
        self.peers = Relay(relays, port)
        peer = ["--peer", f"127.0.0.1:{port}", "--advertise-peer", f"127.0.0.1:{self.peers.port}"]
        options = [option.replace("OWN", str(own)) for option in options]
        super().__init__(network_file, own, ["--etcd", urls, "--member", name, *peer, *options])
        self.switches = OpenFlowRelay(relays, self.openflow_port)

    def start(self, timeout_s: float = DEADLINE_S) -> None:
        self.peers.restore()
        super().start(timeout_s)

    def stop(self) -> None:
        self.thaw()
        super().stop()
        self.peers.refuse()  # as the port of a process that has ended

    def kill(self) -> None:
        self.process.kill()
        self.peers.refuse()
        self.stop()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self._program is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)

    def part_from_etcd(self) -> None:
        for relay in self.etcd:
            relay.swallow()

    def restore(self) -> None:
        """It reaches etcd, and switches and others reach it."""
        for relay in (*self.etcd, self.switches, self.peers):
            relay.restore()

    @property
    def runs(self) -> bool:
        return self._program is not None and self.process.poll() is None

    def _is_ready(self) -> bool:
        """It answers; whether its switches are connected is the leader's matter."""
        if self.process.poll() is not None:
            raise TestbedError(f"the controller ended with status {self.process.returncode}")
        try:
            return self.rest("GET", "/livez").status == 200
        except OSError:
            return False


class Controllers:
    """``count`` controllers and an etcd of three members; a context manager.  Nothing but relays runs before ``start``:
    switches may have to be there first.
    """

    def __init__(
        self, network_file: Path, network: str, directory: Path, count: int = 3, options: Sequence[str] = ()
    ) -> None:
        self.etcd = Etcd(directory)
        self.members: list[Member] = []
        self._undo = ExitStack()
        self._prefix = f"/anycast-sdn/{network}/"
        self._make = network_file, directory, count, options

    def __enter__(self) -> Controllers:
        file, directory, count, options = self._make
        with ExitStack() as undo:
            relays = undo.enter_context(Relays())
            for number in range(count):
                self.members.append(Member(f"m{number}", file, directory, self.etcd, relays, options))
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with undisturbed():
            for member in self.members:
                member.stop()
            self._undo.close()

    @property
    def openflow_ports(self) -> list[int]:
        """Where switches connect."""
        return [member.switches.port for member in self.members]

    def start(self) -> None:
        """Starts etcd, then them one after the other, so that the first one leads; it serves all switches then."""
        self._undo.enter_context(self.etcd)
        for member in self.members:
            member.start()
        self.await_all()

    def named(self, member: str) -> Member | None:
        """By its id in etcd, which is its name and what no other process ever has."""
        return next((each for each in self.members if each.name == member.rpartition("-")[0]), None)

    def keys(self) -> dict[str, str]:
        """What etcd has of the network."""
        return self.etcd.below(self._prefix)

    def leader(self) -> Member | None:
        """As etcd says."""
        return self.named(self.keys().get("leader", ""))

    def await_leader(self, other_than: Member | None = None, timeout_s: float = DEADLINE_S) -> Member:
        def found() -> Member | None:
            leader = self.leader()
            return leader if leader and leader is not other_than and leader.runs else None

        but = f" other than {other_than.name}" if other_than else ""
        leader = wait_until(found, f"a leader{but} is there", timeout_s)
        assert leader
        return leader

    def masters(self) -> dict[int, Member]:
        """Switch → the member whose word it takes, as the switches have said of the latest generation.

        When relays have read it is no order: one that is busy reads late what was said before.
        """
        replies = [(reply, member) for member in self.members for reply in member.switches.replies if reply.is_master]
        return {reply.dpid: member for reply, member in sorted(replies, key=lambda pair: pair[0].generation)}

    def await_masters(self, timeout_s: float = DEADLINE_S) -> Member:
        """Returns when the leader serves all switches → the leader."""

        def serves() -> Member | None:
            leader = self.leader()
            if not leader or not leader.runs:
                return None
            with suppress(OSError):
                health = leader.rest("GET", "/v1/health").body
                switches = (health or {}).get("switches", {}).values()
                if switches and all(switch["connected"] for switch in switches):
                    return leader
            return None

        leader = wait_until(serves, "a leader serves all switches", timeout_s)
        assert leader
        return leader

    def heal(self) -> Member:
        """All of it runs, and nothing is parted; returns when a leader serves all switches, and others could."""
        for each in self.etcd.members:
            if not each.runs:
                self.etcd.restart(each)
        for member in self.members:
            member.restore()
            member.thaw()
            if not member.runs:
                member.start()
        return self.await_all()

    def await_all(self) -> Member:
        """Returns when a leader serves all switches, and all of them are connected to every member → the leader."""
        leader = self.await_masters()
        switches = leader.switches.connected()
        relays = [member.switches for member in self.members]
        wait_until(lambda: all(each.connected() >= switches for each in relays), "all switches are connected to all")
        return leader

