"""Witnesses of what becomes of flows when controllers die: a load that counts, captures on the wire, and the switches.

- ``Load``: known flows that go on, and new ones at a steady rate, on one host in one family (hosts/load.py).
- ``Wire``: whether each flow has kept its PR1X and its server, and no PR1X is in two flows, as captured at the servers.
- ``Fence``: whether a switch has taken a rule from anybody between its word that a controller is its master and that
  controller's first write: then it came from the one before.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from capture import Capture
from controllers import Controllers, Member
from programs import Program, TestbedError, wait_until
from relay import RoleReply
from testbed import Testbed

HOSTS = Path(__file__).parent / "hosts"
TCP_PORT, UDP_PORT = 7001, 7000
PORTS_APART = 4_000  # between the first ones of two loads
ENDS_S = 45.0
HELD_S = 0.05  # a role reply that a ``Fence`` looks at


class Result(NamedTuple):
    """``unanswered``: of ``asked`` requests in known UDP flows; ``unserved``: new flows; each by when.  ``moved``:
    answers of known flows that came from another server than before.
    """

    known: int
    lost: int
    why: list[str]
    moved: int
    asked: int
    unanswered: list[float]
    longest_s: float
    new: int
    unserved: list[float]

    def gap_s(self, since_s: float) -> float:
        """How long after this moment a new flow was unserved last."""
        return max((at - since_s for at in self.unserved if at >= since_s), default=0.0)


class Load:
    """``tcp``, ``udp``: known flows; ``new``: a second.  No two loads have the same ``number``: it says their ports."""

    def __init__(
        self, testbed: Testbed, host: str, address: str, number: int, *, tcp: int, udp: int, new: float
    ) -> None:
        self.first_port = 20_000 + number * PORTS_APART
        self.known = tcp + udp
        words = [sys.executable, str(HOSTS / "load.py"), address, str(TCP_PORT), str(UDP_PORT)]
        words += ["--tcp", str(tcp), "--udp", str(udp), "--new", str(new), "--first-port", str(self.first_port)]
        self._program: Program = testbed.spawn(host, words)

    def await_ready(self) -> None:
        """All its known flows are answered, and new ones begin."""
        wait_until(self._is_ready, "the known flows are answered")

    def _is_ready(self) -> bool:
        if self._program.process.poll() is not None:
            raise TestbedError(f"the load has ended: {self._program.output()}")
        return "ready" in self._program.output()

    def stop(self) -> None:
        """At once, without a result."""
        self._program.stop()

    def end(self) -> Result:
        self._program.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: self._program.process.poll() is not None, "the load ends", ENDS_S)
        said = self._program.output()
        if self._program.process.returncode:
            raise TestbedError(said)
        return Result(**json.loads(said.splitlines()[-1]))


def serve(testbed: Testbed, hosts: Iterable[str]) -> None:
    """Echo servers for loads; returns when they listen."""
    for host in hosts:
        testbed.spawn(host, [sys.executable, str(HOSTS / "echo_server.py"), host, str(TCP_PORT), str(UDP_PORT)])
    for host in hosts:
        testbed.wait_listening(host, TCP_PORT)


class Wire:
    """Captures at the servers; a context manager."""

    def __init__(self, testbed: Testbed, servers: Iterable[str]) -> None:
        expression = f"(ip or ip6) and (tcp dst port {TCP_PORT} or udp dst port {UDP_PORT})"
        self._captures: dict[str, Capture] = {name: testbed.capture(name, 0, expression) for name in servers}
        self._known: list[tuple[float, range]] = []

    def __enter__(self) -> Wire:
        with ExitStack() as stack:
            for capture in self._captures.values():
                stack.enter_context(capture)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def know(self, load: Load) -> None:
        """From now on the known flows of this load must keep their servers."""
        self._known.append((time.time(), range(load.first_port, load.first_port + load.known)))

    def faults(self) -> list[str]:
        """What must not be, a sentence each; to be read after the block."""
        return [*self._doubles(), *self._moves()]

    def flows(self) -> int:
        return len({flow for _, _, flow, _ in self._seen()})

    def _seen(self) -> Iterator[tuple[float, str, tuple[bool, int, int], str]]:
        """When, at which server, which flow (its family, protocol and source port), PR1X."""
        for server, capture in self._captures.items():
            for packet in capture.packets():
                key = packet.key
                yield packet.time_s, server, (len(key.source) == 16, key.protocol, key.source_port), packet.source

    def _doubles(self) -> Iterator[str]:
        flows: dict[str, tuple[bool, int, int]] = {}
        translated: dict[tuple[bool, int, int], str] = {}
        for _, _, flow, pr1x in sorted(self._seen()):
            if (other := flows.setdefault(pr1x, flow)) != flow:
                yield f"{pr1x} is in two flows: {other}, {flow}"
            if (before := translated.setdefault(flow, pr1x)) != pr1x:
                yield f"the flow {flow} had {before}, then {pr1x}"

    def _moves(self) -> Iterator[str]:
        servers: dict[tuple[bool, int, int], str] = {}
        for at, server, flow, _ in sorted(self._seen()):
            is_known = any(at > since and flow[2] in ports for since, ports in self._known)
            if is_known and (before := servers.setdefault(flow, server)) != server:
                yield f"the flow {flow} went to {before}, then to {server}"


class Fence:
    """Holds each reply that makes a controller a master, and looks at the switch's rules before and after that.

    The new master has written nothing yet.  So a rule that appears meanwhile is of the one before; rules may vanish,
    because they expire.  A member that was the master already, and asks again, writes on meanwhile.
    """

    def __init__(self, testbed: Testbed, controllers: Controllers) -> None:
        self._testbed = testbed
        self._names = {switch.dpid: switch.name for switch in testbed.network.switches}
        self.checked = 0
        self.faults: list[str] = []
        self._members = controllers.members
        self._masters = controllers.masters()
        for member in controllers.members:
            member.switches.watch = partial(self._look, member)

    def end(self) -> None:
        for member in self._members:
            member.switches.watch = None

    def refused_by(self, member: Member, since_s: float) -> int:
        """How many writes of this member switches have refused, because it is not their master."""
        return sum(at > since_s for at, _ in member.switches.refused)

    def _look(self, member: Member, reply: RoleReply) -> None:
        former = self._masters.get(reply.dpid)
        self._masters[reply.dpid] = member
        if former is member:
            return
        name = self._names[reply.dpid]
        before = self._rules(name)
        time.sleep(HELD_S)
        after = self._rules(name)
        self.checked += 1
        self.faults += [f"{name}, generation {reply.generation}: {rule}" for rule in sorted(after - before)]

    def _rules(self, switch: str) -> set[str]:
        return set(self._testbed.ofctl("dump-flows", switch, "--no-stats").splitlines()[1:])
